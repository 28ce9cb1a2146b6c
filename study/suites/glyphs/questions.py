"""Glyphs suite, visual question answering: a canvas of four characters and a question -> a word or two.

All sets have one list of candidates. The answer is drawn first, evenly, and then a canvas that has it, so that guessing
the commonest answer gains nothing.
"""

import random
from collections.abc import Sequence

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from ..inks import INKS
from .characters import KINDS
from .pool import Glyph, Pool, canvas

NUMBERS = ("zero", "one", "two", "three", "four")
ANSWERS = (*KINDS, *INKS, *NUMBERS, "yes", "no")
PLACES = ("upper left", "upper right", "lower left", "lower right")


def kind_at(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four kinds: the one at a place."""
    cells, at = place(rng, queries, rng.sample(KINDS, 4)), rng.randrange(4)
    question = f"What kind of character is in the {PLACES[at]}?"
    return _asked(question, cells, cells[at].character.kind, negatives)


def kind_in_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four kinds in four inks: the kind in one of them."""
    cells, at = place(rng, queries, rng.sample(KINDS, 4), rng.sample(INKS, 4)), rng.randrange(4)
    return _asked(f"What kind of character is {cells[at].ink}?", cells, cells[at].character.kind, negatives)


def ink_of(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four kinds: the ink of one."""
    cells, at = place(rng, queries, rng.sample(KINDS, 4)), rng.randrange(4)
    return _asked(f"Which colour is the {cells[at].character.kind}?", cells, cells[at].ink, negatives)


def how_many_in_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four characters: how many have an ink."""
    ink, wanted = rng.choice(INKS), rng.randrange(5)
    others = [name for name in INKS if name != ink]
    inks = [ink] * wanted + [rng.choice(others) for _ in range(4 - wanted)]
    cells = place(rng, queries, [None] * 4, rng.sample(inks, 4))
    return _asked(f"How many characters are {ink}?", cells, NUMBERS[wanted], negatives)


def is_there(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four kinds: whether one is among them, yes and no equally often."""
    kinds = rng.sample(KINDS, 5)
    there = rng.random() < 0.5
    kind = kinds[rng.randrange(4) if there else 4]
    question = f"Is there {'an' if kind[0] in 'Aa' else 'a'} {kind}?"
    return _asked(question, place(rng, queries, kinds[:4]), "yes" if there else "no", negatives)


def ink_at(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four characters: the ink at a place."""
    cells, at = place(rng, queries, rng.sample(KINDS, 4)), rng.randrange(4)
    return _asked(f"Which colour is the character in the {PLACES[at]}?", cells, cells[at].ink, negatives)


def how_many_of_kind(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four characters: how many are of a kind."""
    kind, wanted = rng.choice(KINDS), rng.randrange(5)
    others = [name for name in KINDS if name != kind]
    kinds = [kind] * wanted + [rng.choice(others) for _ in range(4 - wanted)]
    return _asked(f"How many {kind}s are there?", place(rng, queries, rng.sample(kinds, 4)), NUMBERS[wanted], negatives)


def place(
    rng: random.Random, pool: Pool, kinds: Sequence[str | None], inks: Sequence[str] | None = None
) -> list[Glyph]:
    """Different characters; where a kind or the inks are not given, they are drawn."""
    cells: list[Glyph] = []
    for number, kind in enumerate(kinds):
        wanted = {} if kind is None else {"kind": kind}
        if inks is not None:
            wanted["ink"] = inks[number]
        taken = {cell.character for cell in cells}
        cells.append(pool.draw(rng, lambda glyph, taken=taken: glyph.character in taken, **wanted))
    return cells


def in_rows(cells: Sequence[Glyph]) -> list[Sequence[Glyph]]:
    """Four cells in two rows."""
    return [cells[:2], cells[2:]]


def _asked(question: str, cells: Sequence[Glyph], answer: str, negatives: bool) -> RankingExample:
    wrong = tuple(Input(other) for other in ANSWERS if other != answer) if negatives else ()
    query = Input(f"Answer the question about the picture. <image> {question}", canvas(in_rows(cells)))
    return RankingExample(query, Input(answer), (answer,), wrong)
