"""Digits suite, captions: pictures and what they show, to train a backbone on before the tasks.

The captions say with the words of the suite what is in a picture. None of the suite's questions is asked, and no
evaluation set has a caption's form.
"""

import random

from .digits_classification import half, parity
from .digits_images import INKS, NAMES, Glyph, Pool, canvas, picture
from .digits_questions import NUMBERS, place
from .items import Item
from .ranking import Example


def caption_of_digit(rng: random.Random, queries: Pool, documents: Pool, others: bool) -> Example:
    """A digit -> "This is a red seven: an odd digit, five or more."."""
    glyph = queries.draw(rng)
    text = _said(glyph)
    return Example(Item("", picture(glyph)), Item(text), (text,))


def digit_of_caption(rng: random.Random, queries: Pool, documents: Pool, others: bool) -> Example:
    """The caption of a digit -> the digit."""
    glyph = queries.draw(rng)
    return Example(Item(_said(glyph)), Item("", picture(glyph)), ("picture", glyph.name))


def caption_of_canvas(rng: random.Random, queries: Pool, documents: Pool, others: bool) -> Example:
    """Two to six digits -> what stands where, in words."""
    image, text = _canvas(rng, queries)
    return Example(Item("", image), Item(text), (text,))


def canvas_of_caption(rng: random.Random, queries: Pool, documents: Pool, others: bool) -> Example:
    """What stands where -> the canvas."""
    image, text = _canvas(rng, queries)
    return Example(Item(text), Item("", image), (text,))


def _said(glyph: Glyph) -> str:
    return f"This is a {glyph.name}: an {parity(glyph.digit)} digit, {half(glyph.digit)}."


def _canvas(rng: random.Random, pool: Pool) -> tuple[bytes, str]:
    kind = rng.randrange(3)
    if kind == 0:
        first, second = pair = place(rng, pool, [None, None])
        low, high = sorted((first.digit, second.digit))
        said = f"The digit on the left is a {first.name}, the one on the right a {second.name}."
        more = "They are the same digit." if low == high else f"The larger one is {NAMES[high]}."
        return canvas([pair]), f"{said} {more} The sum of {NAMES[low]} and {NAMES[high]} is {NUMBERS[low + high]}."
    if kind == 1:
        row = place(rng, pool, [None] * 3)
        said = [f"a {glyph.name}" for glyph in row]
        return canvas([row]), f"There is {said[0]} on the left, {said[1]} in the middle, {said[2]} on the right."
    row = place(rng, pool, [None] * 6)
    upper, lower = (", ".join(f"a {glyph.name}" for glyph in part) for part in (row[:3], row[3:]))
    counts = [sum(glyph.ink == ink for glyph in row) for ink in range(len(INKS))]
    said = ", ".join(f"{NAMES[count]} {name}" for count, name in zip(counts, INKS, strict=True))
    return canvas([row[:3], row[3:]]), f"Upper row: {upper}. Lower row: {lower}. How many of each colour: {said}."
