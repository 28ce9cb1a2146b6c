"""Digits suite, captions: pictures and what they show, to train a backbone on before the tasks.

The captions say with the words of the suite what is in a picture. None of the suite's questions is asked, and no
evaluation set has a caption's form.
"""

import random

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from .classification import half, parity
from .glyphs import Glyph, Pool, canvas, picture
from .questions import NUMBERS, place


def caption_of_digit(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A digit -> "This is a red seven: an odd digit, five or more."."""
    glyph = queries.draw(rng)
    text = _said(glyph)
    return RankingExample(Input("", picture(glyph)), Input(text), (text,))


def digit_of_caption(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """The caption of a digit -> the digit."""
    glyph = queries.draw(rng)
    return RankingExample(Input(_said(glyph)), Input("", picture(glyph)), ("picture", glyph.name))


def caption_of_canvas(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Two to four digits -> what stands where, in words."""
    image, text = _canvas(rng, queries)
    return RankingExample(Input("", image), Input(text), (text,))


def canvas_of_caption(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """What stands where -> the canvas."""
    image, text = _canvas(rng, queries)
    return RankingExample(Input(text), Input("", image), (text,))


def _said(glyph: Glyph) -> str:
    return f"This is a {glyph.name}: an {parity(glyph.digit)} digit, {half(glyph.digit)}."


def _canvas(rng: random.Random, pool: Pool) -> tuple[bytes, str]:
    row = place(rng, pool, [None] * rng.randint(2, 4))
    names = [glyph.name for glyph in row]
    if len(row) == 2:
        total = NUMBERS[row[0].digit + row[1].digit]
        return canvas([row]), f"A {names[0]} left of a {names[1]}. Their sum is {total}."
    if len(row) == 3:
        return canvas([row]), f"A {names[0]} on the left, a {names[1]} in the middle, a {names[2]} on the right."
    upper, lower = (f"a {first} left of a {second}" for first, second in (names[:2], names[2:]))
    return canvas([row[:2], row[2:]]), f"In the upper row {upper}, in the lower row {lower}."
