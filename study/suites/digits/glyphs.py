"""Pictures of the digits suite: scikit-learn's handwritten digits in coloured ink, alone and on canvases.

Each of the 1,797 digits (8 x 8 grey values 0..16, in the package, no download) is shown at 16 x 16 pixels on black.
"""

import gzip
import hashlib
import random
from collections.abc import Collection, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from .. import inks
from ..inks import INKS, SIZE

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # of all grey values and digits, in order
SHARES = {"eval": 0.3, "validation": 0.1}  # of each digit's instances; the others train
BANK = 8  # instances per digit and ink that are documents in evaluation


class Glyph(NamedTuple):
    """One written digit in an ink."""

    digit: int
    instance: int  # row of load_digits()
    ink: int

    @property
    def name(self) -> str:
        """Ink and digit in words, as "red seven"."""
        return f"{INKS[self.ink]} {NAMES[self.digit]}"


class Pool:
    """Written digits to draw from.

    Args:
        instances: (digit, ink) -> the instances that there are.
    """

    def __init__(self, instances: dict[tuple[int, int], Sequence[int]]):
        self.instances = instances

    def draw(
        self, rng: random.Random, *, digit: int | None = None, ink: int | None = None, but: Collection[int] = ()
    ) -> Glyph:
        """A written digit, each digit and each ink equally often where it is not given.

        Args:
            rng: Draws what is not given.
            digit: 0 to 9; None: any.
            ink: Index in the list of colours; None: any.
            but: Instances that are taken already.
        """
        digit = rng.randrange(len(NAMES)) if digit is None else digit
        ink = rng.randrange(len(INKS)) if ink is None else ink
        found = self.instances[digit, ink]
        while (instance := found[rng.randrange(len(found))]) in but:
            pass
        return Glyph(digit, instance, ink)

    def bank(self, rng: random.Random) -> "Pool":
        """`BANK` of the pool's instances per digit and ink: few documents, which are embedded once for all sets."""
        return Pool({key: rng.sample(list(found), BANK) for key, found in self.instances.items()})


@cache
def pools() -> dict[str, Pool]:
    """The pools "train", "validation" and "eval". No instance is in two; the division is fixed, by the pixels' hash.

    Raises:
        ValueError: If scikit-learn has other digits than those that this suite was made with.
    """
    pixels, digits = _digits()
    found = hashlib.sha256(pixels.tobytes() + digits.tobytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"scikit-learn's digits have the sha256 {found}, not {SHA256}; install the pinned version")
    parts: dict[str, dict[tuple[int, int], list[int]]] = {part: {} for part in ("train", *SHARES)}
    for digit in range(len(NAMES)):
        distinct = {pixels[i].tobytes(): int(i) for i in np.flatnonzero(digits == digit)}
        order = [i for _, i in sorted((hashlib.sha256(data).digest(), i) for data, i in distinct.items())]
        for part, share in SHARES.items():
            count = round(share * len(distinct))
            chosen, order = order[:count], order[count:]
            parts[part] |= {(digit, ink): chosen for ink in range(len(INKS))}
        parts["train"] |= {(digit, ink): order for ink in range(len(INKS))}
    return {part: Pool(instances) for part, instances in parts.items()}


@cache
def picture(glyph: Glyph) -> bytes:
    """PNG of one digit, 16 x 16 pixels."""
    return canvas([[glyph]])


def canvas(cells: Sequence[Sequence[Glyph | None]]) -> bytes:
    """PNG of rows of cells, 16 x 16 pixels each; None leaves a cell black."""
    grey = _enlarged()
    return inks.canvas([[None if cell is None else (grey[cell.instance], cell.ink) for cell in row] for row in cells])


@cache
def _digits() -> tuple[UInt8[np.ndarray, "images 8 8"], UInt8[np.ndarray, " images"]]:
    """What `sklearn.datasets.load_digits` returns, from its file alone: importing scikit-learn takes seconds."""
    (package,) = find_spec("sklearn").submodule_search_locations
    with gzip.open(Path(package) / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",").astype(np.uint8)
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].copy()


@cache
def _enlarged() -> UInt8[np.ndarray, "images 16 16"]:
    return _digits()[0].repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)
