"""Glyphs suite, classification: a picture of one character and a question about it -> a label.

The questions that are trained have one list of candidates, all labels: whoever looks at the picture but not at the
question is right in one of the sets at most.
"""

import random

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from ..inks import INKS
from .characters import CASES, KINDS, MARKS
from .fonts import FAMILIES, SLOPES, WEIGHTS
from .pool import Glyph, Pool, picture

LABELS = (*KINDS, *CASES, *WEIGHTS, *SLOPES, *FAMILIES, *MARKS, *INKS)
INKS_AND_KINDS = tuple(f"{ink} {kind}" for ink in INKS for kind in KINDS)
STYLES = tuple(f"{weight}, {slope}" for weight in WEIGHTS for slope in SLOPES)


def which_kind(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn character with its label: one of the kinds. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng)
    return _labelled("What kind of character is it?", glyph, glyph.character.kind, LABELS, negatives)


def which_case(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn letter with its label: capital or small. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng, is_letter=True, case=rng.choice(CASES))
    return _labelled("Is the letter capital or small?", glyph, glyph.character.case, LABELS, negatives)


def which_weight(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn letter with its label: regular or bold. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng, is_letter=True)
    return _labelled("Is the letter regular or bold?", glyph, glyph.face.weight, LABELS, negatives)


def which_family(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn letter with its label: a family of fonts. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng, is_letter=True, family=rng.choice(FAMILIES))
    return _labelled("Which font is the letter set in?", glyph, glyph.face.family, LABELS, negatives)


def which_mark(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn letter with its label: the one mark that it has. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng, is_letter=True, mark=rng.choice(MARKS))
    return _labelled("Which mark does the letter have?", glyph, glyph.character.mark, LABELS, negatives)


def which_slope(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn letter with its label: upright or slanted. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng, is_letter=True)
    return _labelled("Is the letter upright or slanted?", glyph, glyph.face.slope, LABELS, negatives)


def ink_and_kind(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn character with its label: a colour and a kind together. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng)
    label = f"{glyph.ink} {glyph.character.kind}"
    return _labelled("Which colour is it, and what kind of character?", glyph, label, INKS_AND_KINDS, negatives)


def _labelled(question: str, glyph: Glyph, label: str, labels: tuple[str, ...], negatives: bool) -> RankingExample:
    wrong = tuple(Input(other) for other in labels if other != label) if negatives else ()
    return RankingExample(Input(f"{question} <image>", picture(glyph)), Input(label), (label,), wrong)
