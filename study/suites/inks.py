"""Pictures in coloured ink, for suites that draw them: 16 x 16 grey values in one of four colours on black.

The ink is our choice: a second thing to see in the same picture, so that two tasks can want different neighbours of it.
"""

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import UInt8

from tsembed.inputs import encode_png

SIZE = 16  # pixels of a cell's side
LEVELS = 17  # grey values 0..16
INKS = ("red", "green", "blue", "yellow")
COLOURS = ((255, 64, 64), (64, 224, 64), (96, 128, 255), (255, 224, 32))

Cell = tuple[UInt8[np.ndarray, "16 16"], int]  # grey values, and the index of an ink


def canvas(cells: Sequence[Sequence[Cell | None]]) -> bytes:
    """PNG of rows of cells, 16 x 16 pixels each; None leaves a cell black."""
    pixels = np.zeros((SIZE * len(cells), SIZE * len(cells[0])), np.uint8)
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            if cell is not None:
                grey, ink = cell
                place = (slice(SIZE * row, SIZE * (row + 1)), slice(SIZE * column, SIZE * (column + 1)))
                pixels[place] = grey + LEVELS * ink
    return encode_png(pixels, _palette())


def another(rng: random.Random, names: Sequence[str], value: int) -> int:
    """An index of `names` other than `value`, each equally often."""
    return (value + rng.randrange(1, len(names))) % len(names)


@cache
def _palette() -> UInt8[np.ndarray, "68 3"]:
    """Colour ink * LEVELS + level: the ink, as bright as the grey value."""
    bright = np.arange(LEVELS) / (LEVELS - 1)
    return np.rint(np.array(COLOURS)[:, None, :] * bright[None, :, None]).astype(np.uint8).reshape(-1, 3)
