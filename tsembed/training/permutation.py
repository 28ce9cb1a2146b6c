"""A keyed permutation in constant memory, for pools of pairs whose order as an array would take gigabytes."""

import hashlib

import numpy as np

ROUNDS = 6


class KeyedPermutation:
    """A permutation of 0 … size - 1, of which any part is computed on its own.

    A Feistel network (Luby and Rackoff 1988, https://doi.org/10.1137/0217022) permutes the numbers of an even count of
    bits; what it sends outside of the range it is applied to once more, until it is inside (cycle walking, Black and
    Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9): less than four times in the mean.

    Args:
        size: >= 1.
        key: Two permutations of different keys have nothing to do with each other.

    Raises:
        ValueError: If `size` is no positive number.

    Examples:
        >>> sorted(KeyedPermutation(5, "a key").take(np.arange(5)).tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(self, size: int, key: str):
        if size < 1:
            raise ValueError(f"size {size} must be >= 1")
        self.size = size
        half = max(1, -(-(size - 1).bit_length() // 2))
        self._half, self._mask = np.uint64(half), np.uint64(2**half - 1)
        digest = hashlib.blake2b(f"{size}/{key}".encode(), digest_size=8 * ROUNDS).digest()
        self._keys = np.frombuffer(digest, dtype="<u8").astype(np.uint64)

    def take(self, places: np.ndarray) -> np.ndarray:
        """What stands at these places.

        Args:
            places: (n,) integers, 0 <= place < size.

        Returns:
            (n,) int64, each 0 <= number < size; different places have different numbers.
        """
        numbers = self._permute(places.astype(np.uint64))
        while (outside := numbers >= self.size).any():
            numbers[outside] = self._permute(numbers[outside])
        return numbers.astype(np.int64)

    def _permute(self, numbers: np.ndarray) -> np.ndarray:
        left, right = numbers >> self._half, numbers & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right ^ key) & self._mask)
        return left << self._half | right


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit of the number (the finaliser of SplitMix64, Steele et al. 2014)."""
    numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)  # modulo 2^64
    numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return numbers ^ numbers >> np.uint64(31)
