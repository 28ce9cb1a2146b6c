"""Glyphs suite, captions: pictures and what they show, to train a backbone on before the tasks.

The captions say with the words of the suite what is in a picture. None of the suite's questions is asked, and no
evaluation set has a caption's form.
"""

import random

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from .descriptions import description
from .pool import Glyph, Pool, canvas, picture
from .questions import in_rows, place


def caption_of_glyph(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A character -> "This is a bold slanted red capital Greek letter in STIX, with acute."."""
    glyph = _drawn(rng, queries)
    text = _said(glyph)
    return RankingExample(Input("", picture(glyph)), Input(text), (text,))


def glyph_of_caption(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """The caption of a character -> the character."""
    glyph = _drawn(rng, queries)
    return RankingExample(Input(_said(glyph)), Input("", picture(glyph)), ("captioned", _said(glyph)))


def caption_of_canvas(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """Two to four characters -> what stands where, in words."""
    image, text = _canvas(rng, queries)
    return RankingExample(Input("", image), Input(text), (text,))


def canvas_of_caption(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """What stands where -> the canvas."""
    image, text = _canvas(rng, queries)
    return RankingExample(Input(text), Input("", image), ("captioned", text))


def _drawn(rng: random.Random, pool: Pool) -> Glyph:
    """A letter in every second caption, since more can be said of these."""
    return pool.draw(rng, is_letter=rng.random() < 0.5)


def _said(glyph: Glyph) -> str:
    mark = glyph.character.mark
    return f"This is a {description(glyph)}{f', with {mark}' if mark else ''}."


def _canvas(rng: random.Random, pool: Pool) -> tuple[bytes, str]:
    row = place(rng, pool, [None] * rng.choice((2, 4)))
    names = [f"{glyph.ink} {glyph.character.kind}" for glyph in row]
    if len(row) == 2:
        return canvas([row]), f"A {names[0]} left of a {names[1]}."
    upper, lower = (f"a {first} left of a {second}" for first, second in (names[:2], names[2:]))
    return canvas(in_rows(row)), f"In the upper row {upper}, in the lower row {lower}."
