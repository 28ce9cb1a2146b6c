"""Digits suite, retrieval: text -> picture, picture -> text, picture -> another picture.

Two of the trained sets ask for opposite things with the same pictures: the same digit in another colour, and another
digit in the same colour. The candidates of each hold what the other one asks for.
"""

import random
from collections.abc import Callable, Iterable
from itertools import count

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from ..inks import INKS, another
from .classification import PAIRS, PARITY, parity
from .glyphs import NAMES, Glyph, Pool, picture

CANDIDATES = 20  # pictures that a query ranks
TEMPTING = 6  # of them, those that agree with the query in what is not asked for


def picture_of(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "a red seven" -> a picture of one; the wrong ones have the digit or the ink."""
    answer = documents.draw(rng)

    def wrong() -> Iterable[Glyph]:
        yield from (documents.draw(rng, digit=answer.digit, ink=i) for i in _but(INKS, answer.ink))
        yield from (documents.draw(rng, digit=d, ink=answer.ink) for d in _but(NAMES, answer.digit))
        while True:
            yield documents.draw(rng, digit=another(rng, NAMES, answer.digit), ink=another(rng, INKS, answer.ink))

    query = Input(f"Find a picture of this: a {answer.name}")
    return _pictures(query, answer, ("picture", answer.name), wrong, negatives)


def caption_of(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A picture -> "a red seven", among the 40 captions that there are."""
    glyph = queries.draw(rng)
    text = f"a {glyph.name}"
    wrong = tuple(Input(f"a {pair}") for pair in PAIRS if pair != glyph.name) if negatives else ()
    return RankingExample(Input("Find a caption for the picture. <image>", picture(glyph)), Input(text), (text,), wrong)


def same_digit(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A picture -> the same digit in another hand and ink; some wrong ones have its ink."""
    asked = queries.draw(rng)
    answer = documents.draw(rng, digit=asked.digit, ink=another(rng, INKS, asked.ink), but=(asked.instance,))

    def wrong() -> Iterable[Glyph]:
        for number in count():
            ink = asked.ink if number < TEMPTING else None
            yield documents.draw(rng, digit=another(rng, NAMES, asked.digit), ink=ink)

    query = Input("Find another picture of the same digit. <image>", picture(asked))
    return _pictures(query, answer, ("digit", NAMES[asked.digit]), wrong, negatives)


def same_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A picture -> another digit in its ink; some wrong ones are its digit."""
    asked = queries.draw(rng)
    answer = documents.draw(rng, digit=another(rng, NAMES, asked.digit), ink=asked.ink)

    def wrong() -> Iterable[Glyph]:
        for number in count():
            digit = asked.digit if number < TEMPTING else None
            yield documents.draw(rng, digit=digit, ink=another(rng, INKS, asked.ink), but=(asked.instance,))

    query = Input("Find another picture in the same colour. <image>", picture(asked))
    return _pictures(query, answer, ("ink", INKS[asked.ink]), wrong, negatives)


def same_parity(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A picture -> another digit that is even if it is even, odd if it is odd."""
    asked = queries.draw(rng)
    alike = [d for d in range(asked.digit % 2, len(NAMES), 2) if d != asked.digit]
    unlike = range(1 - asked.digit % 2, len(NAMES), 2)
    answer = documents.draw(rng, digit=rng.choice(alike))

    def wrong() -> Iterable[Glyph]:
        for number in count():
            yield documents.draw(rng, digit=rng.choice(unlike), ink=asked.ink if number < TEMPTING else None)

    query = Input("Find another digit that is even or odd like this one. <image>", picture(asked))
    return _pictures(query, answer, ("parity", parity(asked.digit)), wrong, negatives)


def parity_in_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """ "an odd digit in red" -> a picture of one; the wrong ones are even, or in another ink."""
    answer = documents.draw(rng)

    def wrong() -> Iterable[Glyph]:
        for number in count():
            if number % 2:
                yield documents.draw(rng, digit=rng.randrange(1 - answer.digit % 2, 10, 2), ink=answer.ink)
            else:
                yield documents.draw(rng, ink=another(rng, INKS, answer.ink))

    said = f"{('an even', 'an odd')[answer.digit % 2]} digit in {INKS[answer.ink]}"
    right = ("parity in ink", PARITY[answer.digit % 2], INKS[answer.ink])
    return _pictures(Input(f"Find a picture of this: {said}"), answer, right, wrong, negatives)


def _pictures(
    query: Input, answer: Glyph, right: tuple[str, ...], wrong: Callable[[], Iterable[Glyph]], negatives: bool
) -> RankingExample:
    """The example with the first distinct wrong pictures, `CANDIDATES` with the answer."""
    chosen: dict[Glyph, None] = {}
    if negatives:
        for glyph in wrong():
            chosen[glyph] = None
            if len(chosen) == CANDIDATES - 1:
                break
    return RankingExample(
        query, Input("", picture(answer)), right, tuple(Input("", picture(glyph)) for glyph in chosen)
    )


def _but(names: tuple[str, ...], value: int) -> list[int]:
    return [i for i in range(len(names)) if i != value]
