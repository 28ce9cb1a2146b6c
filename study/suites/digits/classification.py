"""Digits suite, classification: a picture of one digit and a question about it -> a label.

The four questions that are trained have one list of candidates, all of their labels: whoever looks at the picture but
not at the question is right in one of the sets at most.
"""

import random

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from ..inks import INKS
from .glyphs import NAMES, Glyph, Pool, picture

PARITY, HALF = ("even", "odd"), ("less than five", "five or more")
LABELS = (*NAMES, *PARITY, *HALF, *INKS)
PAIRS = tuple(f"{ink} {name}" for ink in INKS for name in NAMES)
TRIPLES = tuple(f"{ink}, {parity}, {half}" for ink in INKS for parity in PARITY for half in HALF)


def parity(digit: int) -> str:
    """The label of a digit: even or odd."""
    return PARITY[digit % 2]


def half(digit: int) -> str:
    """The label of a digit: less than five, or five or more."""
    return HALF[digit >= 5]


def which_digit(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn digit with its label: one of ten digits. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng)
    return _labelled("Which digit is it?", glyph, NAMES[glyph.digit], LABELS, negatives)


def which_parity(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn digit with its label: even or odd. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng)
    return _labelled("Is the digit even or odd?", glyph, parity(glyph.digit), LABELS, negatives)


def which_half(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn digit with its label: less than five, or five or more. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng)
    return _labelled("Is the digit less than five, or five or more?", glyph, half(glyph.digit), LABELS, negatives)


def which_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn digit with its label: one of the colours. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng)
    return _labelled("Which colour is the digit?", glyph, INKS[glyph.ink], LABELS, negatives)


def ink_and_digit(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn digit with its label: a colour and a digit together. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng)
    return _labelled("Which colour is it, and which digit?", glyph, glyph.name, PAIRS, negatives)


def ink_parity_half(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A drawn digit with its label: colour, parity and half together. With `negatives` all labels are candidates."""
    glyph = queries.draw(rng)
    label = f"{INKS[glyph.ink]}, {parity(glyph.digit)}, {half(glyph.digit)}"
    question = "Which colour is the digit, is it even or odd, and is it less than five, or five or more?"
    return _labelled(question, glyph, label, TRIPLES, negatives)


def _labelled(question: str, glyph: Glyph, label: str, labels: tuple[str, ...], negatives: bool) -> RankingExample:
    wrong = tuple(Input(other) for other in labels if other != label) if negatives else ()
    return RankingExample(Input(f"{question} <image>", picture(glyph)), Input(label), (label,), wrong)
