"""Glyphs suite, pools: characters in fonts and inks to draw from, divided into training, validation and evaluation.

No character is in two parts, in whatever font or ink.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from .. import inks
from ..inks import INKS
from .characters import Character
from .fonts import FACES, Face, looks

# Parts that the characters go to in turn: 60 % train, 10 % are for validation, 30 % for evaluation.
TURNS = ("train", "eval", "train", "train", "eval", "train", "validation", "train", "eval", "train")
BANK = 3  # glyphs of a character that are documents in evaluation, each in a face and an ink of its own


class Glyph(NamedTuple):
    """A character in a face and an ink."""

    character: Character
    face_index: int
    ink_index: int

    @property
    def face(self) -> Face:
        """The font file with its family, weight and slope."""
        return FACES[self.face_index]

    @property
    def ink(self) -> str:
        """Its colour."""
        return INKS[self.ink_index]


# What glyphs are drawn by, each with its value for a glyph.
PROPERTIES: dict[str, Callable[[Glyph], object]] = {
    "character": lambda glyph: glyph.character.code,
    "is_letter": lambda glyph: glyph.character.is_letter,
    "kind": lambda glyph: glyph.character.kind,
    "case": lambda glyph: glyph.character.case,
    "mark": lambda glyph: glyph.character.mark,
    "face": lambda glyph: glyph.face_index,
    "family": lambda glyph: glyph.face.family,
    "weight": lambda glyph: glyph.face.weight,
    "slope": lambda glyph: glyph.face.slope,
    "ink": lambda glyph: glyph.ink,
}


class Pool:
    """Glyphs to draw from.

    Args:
        glyphs: All that there are.
    """

    def __init__(self, glyphs: Sequence[Glyph]):
        self.glyphs = glyphs
        self._values: dict[str, dict[object, int]] = {}  # property -> value -> its number
        self._numbers: dict[str, Int[np.ndarray, " glyphs"]] = {}
        for name, value_of in PROPERTIES.items():
            values: dict[object, int] = {}
            self._numbers[name] = np.array([values.setdefault(value_of(glyph), len(values)) for glyph in glyphs])
            self._values[name] = values
        self._found: dict[tuple, list[Int[np.ndarray, " found"]]] = {}

    def draw(self, rng: random.Random, but: Callable[[Glyph], bool] = lambda glyph: False, **wanted: object) -> Glyph:
        """A glyph, each kind of character equally often where it is not given.

        Args:
            rng: Draws what is not given.
            but: Whether a glyph must not be drawn.
            wanted: Property (of `PROPERTIES`) -> its value.

        Raises:
            ValueError: If no glyph has what is wanted.
        """
        groups = self._groups(**wanted)
        if not groups:
            raise ValueError(f"no glyph of the pool has {wanted}")
        while True:
            group = groups[rng.randrange(len(groups))]
            glyph = self.glyphs[group[rng.randrange(len(group))]]
            if not but(glyph):
                return glyph

    def has(self, **wanted: object) -> bool:
        """Whether a glyph has what is wanted."""
        return bool(self._groups(**wanted))

    def all(self, **wanted: object) -> list[Glyph]:
        """All glyphs that have what is wanted."""
        return [self.glyphs[place] for group in self._groups(**wanted) for place in group]

    def bank(self, rng: random.Random) -> "Pool":
        """Up to `BANK` glyphs of each character: few documents, which are embedded once for all sets."""
        of_character: dict[Character, list[Glyph]] = defaultdict(list)
        for glyph in self.glyphs:
            of_character[glyph.character].append(glyph)
        chosen = []
        for found in of_character.values():
            faces = sorted({glyph.face_index for glyph in found})
            faces = rng.sample(faces, min(BANK, len(faces)))
            inks_of_faces = rng.sample(range(len(INKS)), len(faces))
            looks_of_bank = zip(faces, inks_of_faces, strict=True)
            chosen += [Glyph(found[0].character, face, ink) for face, ink in looks_of_bank]
        return Pool(chosen)

    def _groups(self, **wanted: object) -> list[Int[np.ndarray, " found"]]:
        """Places of the glyphs that have what is wanted, one array for each kind of character."""
        key = tuple(sorted(wanted.items()))
        if key not in self._found:
            fits = np.ones(len(self.glyphs), bool)
            for name, value in wanted.items():
                fits &= self._numbers[name] == self._values[name].get(value, -1)
            found = np.flatnonzero(fits)
            kinds = self._numbers["kind"][found]
            self._found[key] = [found[kinds == kind] for kind in np.unique(kinds)]
        return self._found[key]


@cache
def pools() -> dict[str, Pool]:
    """The pools "train", "validation" and "eval". The division is fixed, by the hash of the characters' names.

    Raises:
        ValueError: If matplotlib has other fonts than those that this suite was made with.
    """
    parts: dict[str, list[Character]] = {part: [] for part in ("train", "validation", "eval")}
    for number, character in enumerate(sorted(looks(), key=_place)):
        parts[TURNS[number % len(TURNS)]].append(character)
    return {part: Pool(_in_all_inks(sorted(found))) for part, found in parts.items()}


def _place(character: Character) -> tuple[str, str, str, bytes]:
    """Alike characters stand together, so that each part has its share of them; who goes where among them is chance."""
    return character.kind, character.case, character.mark, hashlib.sha256(character.name.encode()).digest()


def _in_all_inks(found: Sequence[Character]) -> list[Glyph]:
    faces = looks()
    return [Glyph(each, face, ink) for each in found for face in faces[each] for ink in range(len(INKS))]


@cache
def picture(glyph: Glyph) -> bytes:
    """PNG of one glyph, 16 x 16 pixels."""
    return canvas([[glyph]])


def canvas(cells: Sequence[Sequence[Glyph | None]]) -> bytes:
    """PNG of rows of cells, 16 x 16 pixels each; None leaves a cell black."""
    return inks.canvas([[None if cell is None else _cell(cell) for cell in row] for row in cells])


def _cell(glyph: Glyph) -> inks.Cell:
    return looks()[glyph.character][glyph.face_index], glyph.ink_index
