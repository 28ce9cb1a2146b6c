"""Texts that have nearly the same words: found by their MinHash sketches (Broder 1997), then counted exactly."""

import re
import zlib
from collections import defaultdict

import numpy as np
from jaxtyping import UInt64

from ..texts import same_key

SIMILAR = 0.8  # words in common, of all words of the two texts
FEWEST_WORDS = 5  # distinct ones; two short texts share most of their words by chance
LONGEST = 256  # words of a text that count
MOST_TEXTS = 200_000  # that are remembered
BANDS, ROWS = 10, 2  # two texts with a share s of words in common meet with probability 1 - (1 - s^2)^10
_DRAWN = np.random.default_rng(0).integers(1, 2**31, (2, BANDS * ROWS), dtype=np.uint64)  # of the hash functions
_PRIME = np.uint64(2**31 - 1)


class NearDuplicates:
    """Remembers texts, and finds out whether another one is nearly one of them."""

    def __init__(self) -> None:
        self._texts: list[frozenset[int]] = []  # words as numbers
        self._buckets: dict[tuple[int, ...], list[int]] = defaultdict(list)

    def add(self, text: str) -> None:
        """Remember a text; a short one, or one beyond `MOST_TEXTS`, is not."""
        words = _words(text)
        if len(words) >= FEWEST_WORDS and len(self._texts) < MOST_TEXTS:
            for key in _keys(words):
                self._buckets[key].append(len(self._texts))
            self._texts.append(words)

    def __contains__(self, text: str) -> bool:
        words = _words(text)
        if len(words) < FEWEST_WORDS or not self._texts:
            return False
        met = {place for key in _keys(words) for place in self._buckets.get(key, ())}
        return any(len(words & self._texts[place]) >= SIMILAR * len(words | self._texts[place]) for place in met)


def _words(text: str) -> frozenset[int]:
    return frozenset(zlib.crc32(word.encode()) for word in re.findall(r"\w+", same_key(text))[:LONGEST])


def _keys(words: frozenset[int]) -> list[tuple[int, ...]]:
    """What texts of the same band have in common: the smallest hash values of their words."""
    hashes: UInt64[np.ndarray, "words functions"] = np.fromiter(words, np.uint64, len(words))[:, None] * _DRAWN[0]
    smallest = ((hashes + _DRAWN[1]) % _PRIME).min(0).tolist()
    return [(band, *smallest[ROWS * band : ROWS * band + ROWS]) for band in range(BANDS)]
