"""Digits suite, grounding: a canvas and a phrase -> the cell that it names, cut out.

The candidates are all cells of the canvas, and cells of other canvases: some of the same digit and ink in another hand,
some of the same digit in another ink, and others. What is right is the very cell, so its documents are grouped by the
instance.
"""

import random
from collections.abc import Sequence
from itertools import count

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from ..inks import INKS, another
from .glyphs import NAMES, Glyph, Pool, canvas, picture
from .questions import place

CANDIDATES = 20
LIKE = (4, 4)  # of the other canvases' cells: same digit and ink, same digit
ROWS, COLUMNS = ("upper", "lower"), ("left", "middle", "right")


def digit_in_row(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the seven in the upper row": there is another seven in the other row."""
    digit, row = rng.randrange(len(NAMES)), rng.randrange(2)
    digits = [another(rng, NAMES, digit) for _ in range(6)]
    columns = rng.choices(range(3), k=2)  # of the digit, in each row
    digits[columns[0]] = digits[3 + columns[1]] = digit
    phrase = f"the {NAMES[digit]} in the {ROWS[row]} row"
    return _found(rng, documents, phrase, place(rng, documents, digits), 3 * row + columns[row], negatives)


def cell_at(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the left digit in the lower row"."""
    at = rng.randrange(6)
    phrase = f"the {COLUMNS[at % 3]} digit in the {ROWS[at // 3]} row"
    return _found(rng, documents, phrase, place(rng, documents, [None] * 6), at, negatives)


def digit_in_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the red seven": there is a seven in another ink, and another red digit."""
    digit, ink = rng.randrange(len(NAMES)), rng.randrange(len(INKS))
    looks = [(digit, ink), (digit, another(rng, INKS, ink)), (another(rng, NAMES, digit), ink)]
    while len(looks) < 6:
        if (look := (rng.randrange(len(NAMES)), rng.randrange(len(INKS)))) != (digit, ink):
            looks.append(look)
    order = rng.sample(range(6), 6)
    row = place(rng, documents, [looks[i][0] for i in order], [looks[i][1] for i in order])
    return _found(rng, documents, f"the {INKS[ink]} {NAMES[digit]}", row, order.index(0), negatives)


def ink_in_row(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the red digit in the upper row": there is another red digit in the other row."""
    ink, row = rng.randrange(len(INKS)), rng.randrange(2)
    inks = [another(rng, INKS, ink) for _ in range(6)]
    columns = rng.choices(range(3), k=2)
    inks[columns[0]] = inks[3 + columns[1]] = ink
    phrase = f"the {INKS[ink]} digit in the {ROWS[row]} row"
    return _found(rng, documents, phrase, place(rng, documents, [None] * 6, inks), 3 * row + columns[row], negatives)


def left_neighbour(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "the digit directly left of the six": there is one six, and it is not on the left."""
    digit, at = rng.randrange(len(NAMES)), rng.choice([1, 2, 4, 5])
    digits = [another(rng, NAMES, digit) for _ in range(6)]
    digits[at] = digit
    phrase = f"the digit directly left of the {NAMES[digit]}"
    return _found(rng, documents, phrase, place(rng, documents, digits), at - 1, negatives)


def _found(
    rng: random.Random, pool: Pool, phrase: str, cells: Sequence[Glyph], at: int, negatives: bool
) -> RankingExample:
    answer = cells[at]
    query = Input(f"Find this part of the picture. <image> {phrase}", canvas([cells[:3], cells[3:]]))
    right = ("cell", str(answer.instance), INKS[answer.ink])
    if not negatives:
        return RankingExample(query, Input("", picture(answer)), right)
    chosen = dict.fromkeys([answer, *cells])
    alike, same = LIKE
    for number in count():
        if len(chosen) == CANDIDATES:
            break
        ink = answer.ink if number < alike else None
        chosen[pool.draw(rng, digit=answer.digit if number < alike + same else None, ink=ink)] = None
    wrong = tuple(Input("", picture(glyph)) for glyph in list(chosen)[1:])
    return RankingExample(query, Input("", picture(answer)), right, wrong)
