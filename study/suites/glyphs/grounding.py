"""Glyphs suite, grounding: a canvas of four characters and a phrase -> the cell that it names, cut out.

The candidates are all cells of the canvas, and cells of other canvases: some of the same kind and ink, some of the same
kind, and others. What is right is the very cell.
"""

import random
from collections.abc import Sequence

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from ..inks import INKS
from .characters import KINDS, LETTERS
from .pool import Glyph, Pool, canvas, picture
from .questions import PLACES, in_rows, place

CANDIDATES = 20
LIKE = (4, 4)  # of the other canvases' cells: of the same kind and ink, of the same kind


def cell_at(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the character in the upper left"."""
    at = rng.randrange(4)
    cells = place(rng, documents, [None] * 4)
    return _found(rng, documents, f"the character in the {PLACES[at]}", cells, at, negatives)


def cell_in_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the red character": each of the four has another ink."""
    at = rng.randrange(4)
    cells = place(rng, documents, [None] * 4, rng.sample(INKS, 4))
    return _found(rng, documents, f"the {cells[at].ink} character", cells, at, negatives)


def cell_of_kind(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the arrow": each of the four is of another kind."""
    at = rng.randrange(4)
    cells = place(rng, documents, rng.sample(KINDS, 4))
    return _found(rng, documents, f"the {cells[at].character.kind}", cells, at, negatives)


def bold_cell(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the bold letter": three others are regular."""
    at, cells = rng.randrange(4), []
    for number in range(4):
        weight, taken = "bold" if number == at else "regular", [cell.character for cell in cells]
        kind = rng.choice(LETTERS)
        cells.append(documents.draw(rng, lambda g, taken=taken: g.character in taken, kind=kind, weight=weight))
    return _found(rng, documents, "the bold letter", cells, at, negatives)


def beside_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the character beside the red one", in the same row: each of the four has another ink."""
    at = rng.randrange(4)
    cells = place(rng, documents, [None] * 4, rng.sample(INKS, 4))
    return _found(rng, documents, f"the character beside the {cells[at ^ 1].ink} one", cells, at, negatives)


def _found(
    rng: random.Random, pool: Pool, phrase: str, cells: Sequence[Glyph], at: int, negatives: bool
) -> RankingExample:
    answer = cells[at]
    query = Input(f"Find this part of the picture. <image> {phrase}", canvas(in_rows(cells)))
    right = ("cell", answer.character.name, answer.face.file, answer.ink)
    if not negatives:
        return RankingExample(query, Input("", picture(answer)), right)
    chosen = dict.fromkeys([answer, *cells])
    alike, same = LIKE
    while len(chosen) < CANDIDATES:
        others = len(chosen) - len(cells)
        wanted = {"kind": answer.character.kind} if others < alike + same else {}
        chosen[pool.draw(rng, **wanted | ({"ink": answer.ink} if others < alike else {}))] = None
    wrong = tuple(Input("", picture(glyph)) for glyph in list(chosen)[1:])
    return RankingExample(query, Input("", picture(answer)), right, wrong)
