"""Digits suite, visual question answering: a canvas of digits and a question -> a word.

All sets have one list of candidates. The answer is drawn first, evenly, and then a canvas that has it, so that guessing
the commonest answer gains nothing.
"""

import random
from collections.abc import Sequence

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from ..inks import INKS, another
from .glyphs import NAMES, Glyph, Pool, canvas

NUMBERS = (*NAMES, *"ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen".split())
ANSWERS = (*NUMBERS, *INKS, "yes", "no")
MOST = 3  # the largest answer to "how many"

Cells = Sequence[Sequence[Glyph | None]]


def total(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Two digits: their sum."""
    wanted = rng.randrange(len(NUMBERS))
    left = rng.randint(max(0, wanted - 9), min(9, wanted))
    cells = [place(rng, queries, [left, wanted - left])]
    return _asked("What is the sum of the digits?", cells, NUMBERS[wanted], negatives)


def larger(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Two different digits: the larger one."""
    wanted = rng.randrange(1, len(NAMES))
    digits = [wanted, rng.randrange(wanted)]
    rng.shuffle(digits)
    return _asked("Which digit is the larger one?", [place(rng, queries, digits)], NAMES[wanted], negatives)


def left_of(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Three different digits in a row: the left neighbour of one."""
    digits = rng.sample(range(len(NAMES)), 3)
    at = rng.randrange(1, 3)
    question = f"Which digit is directly left of the {NAMES[digits[at]]}?"
    return _asked(question, [place(rng, queries, digits)], NAMES[digits[at - 1]], negatives)


def how_many_in_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Three to six digits: how many have an ink."""
    ink, wanted = rng.randrange(len(INKS)), rng.randrange(MOST + 1)
    rest = [another(rng, INKS, ink) for _ in range(rng.randint(3, 6) - wanted)]
    inks = [ink] * wanted + rest
    cells = scattered(rng, place(rng, queries, [None] * len(inks), inks))
    return _asked(f"How many digits are {INKS[ink]}?", cells, NAMES[wanted], negatives)


def ink_of(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four different digits: the ink of one."""
    row = place(rng, queries, rng.sample(range(len(NAMES)), 4))
    glyph = row[rng.randrange(4)]
    question = f"Which colour is the {NAMES[glyph.digit]}?"
    return _asked(question, [row[:2], row[2:]], INKS[glyph.ink], negatives)


def is_there(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four different digits: whether one is among them, yes and no equally often."""
    digits = rng.sample(range(len(NAMES)), 5)
    there = rng.random() < 0.5
    row = place(rng, queries, digits[:4])
    asked = digits[rng.randrange(4) if there else 4]
    question = f"Is there {'an' if asked == 8 else 'a'} {NAMES[asked]}?"
    return _asked(question, [row[:2], row[2:]], "yes" if there else "no", negatives)


def which_in_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Four digits in four inks: the one in an ink."""
    inks = rng.sample(range(len(INKS)), 4)
    row = place(rng, queries, rng.sample(range(len(NAMES)), 4), inks)
    glyph = row[rng.randrange(4)]
    return _asked(f"Which digit is {INKS[glyph.ink]}?", [row[:2], row[2:]], NAMES[glyph.digit], negatives)


def how_many_even(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Three to six digits: how many are even."""
    wanted = rng.randrange(MOST + 1)
    digits = [rng.randrange(0, 10, 2) for _ in range(wanted)]
    digits += [rng.randrange(1, 10, 2) for _ in range(rng.randint(3, 6) - wanted)]
    return _asked("How many digits are even?", scattered(rng, place(rng, queries, digits)), NAMES[wanted], negatives)


def place(
    rng: random.Random, pool: Pool, digits: Sequence[int | None], inks: Sequence[int] | None = None
) -> list[Glyph]:
    """Digits in different hands; where a digit or the inks are not given, they are drawn."""
    row: list[Glyph] = []
    for number, digit in enumerate(digits):
        ink = None if inks is None else inks[number]
        row.append(pool.draw(rng, digit=digit, ink=ink, but=[glyph.instance for glyph in row]))
    return row


def scattered(rng: random.Random, glyphs: Sequence[Glyph]) -> Cells:
    """Up to six digits in random cells of two rows of three."""
    cells = [*glyphs, *[None] * (6 - len(glyphs))]
    rng.shuffle(cells)
    return [cells[:3], cells[3:]]


def _asked(question: str, cells: Cells, answer: str, negatives: bool) -> RankingExample:
    wrong = tuple(Input(other) for other in ANSWERS if other != answer) if negatives else ()
    query = Input(f"Answer the question about the picture. <image> {question}", canvas(cells))
    return RankingExample(query, Input(answer), (answer,), wrong)
