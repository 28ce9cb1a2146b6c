"""Glyphs suite, retrieval: text -> picture, picture -> text, picture -> another picture.

Three of the trained sets ask for different things with the same pictures: the same letter in another font and colour,
another letter in the same font, another letter in the same colour. The candidates of each hold what the other two ask
for, and nothing that shares two of the three with the query.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeVar

from tsembed.data.ranking import RankingExample
from tsembed.inputs import Input

from .descriptions import described_otherwise, description
from .pool import PROPERTIES, Glyph, Pool, picture

CANDIDATES = 20  # pictures that a query ranks, where it does not rank all
DESCRIPTIONS = 40  # descriptions that a query ranks
SHARED = ("character", "face", "ink")
TEMPTING = 6  # pictures, at most, that share with the query one thing that is not asked for

Item = TypeVar("Item")


def picture_of(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A description of a letter -> a picture of one; the first wrong ones differ from it in one thing alone."""
    answer = documents.draw(rng, is_letter=True)
    query = Input(f"Find a picture of this: {description(answer)}")
    wrong = _first(CANDIDATES - 1, described_otherwise(rng, documents, answer)) if negatives else []
    return _pictures(query, answer, ("described", description(answer)), wrong)


def description_of(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A letter -> its description; the first wrong ones differ from it in one thing alone."""
    glyph = queries.draw(rng, is_letter=True)
    text = description(glyph)
    query = Input("Find a description of the picture. <image>", picture(glyph))
    wrong = _first(DESCRIPTIONS - 1, map(description, described_otherwise(rng, queries, glyph))) if negatives else []
    return RankingExample(query, Input(text), (text,), tuple(map(Input, wrong)))


def same_character(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A letter -> the same letter in another font and colour."""
    answer = documents.draw(rng, is_letter=True)
    asked = queries.draw(rng, lambda glyph: _shared(glyph, answer) != {"character"}, character=answer.character.code)
    query = Input("Find the same letter in another font. <image>", picture(asked))
    wrong = _unlike_in(rng, documents, asked, "character") if negatives else []
    return _pictures(query, answer, ("character", answer.character.name), wrong)


def same_font(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A letter -> another letter in its font, in another colour."""
    asked = queries.draw(rng, is_letter=True)
    answer = next(_sharing(rng, documents, asked, "face"))
    query = Input("Find another letter in the same font. <image>", picture(asked))
    wrong = _unlike_in(rng, documents, asked, "face") if negatives else []
    return _pictures(query, answer, ("font", answer.face.file), wrong)


def same_ink(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A letter -> another letter in its colour, in another font."""
    asked = queries.draw(rng, is_letter=True)
    answer = next(_sharing(rng, documents, asked, "ink"))
    query = Input("Find another letter in the same colour. <image>", picture(asked))
    wrong = _unlike_in(rng, documents, asked, "ink") if negatives else []
    return _pictures(query, answer, ("ink", answer.ink), wrong)


def name_of(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A character -> its name in Unicode, among those of all characters that there are."""
    glyph = queries.draw(rng)
    text = glyph.character.name
    names = dict.fromkeys(other.character.name for other in documents.glyphs) if negatives else {}
    wrong = tuple(Input(name) for name in names if name != text)
    return RankingExample(Input("Find the name of the character. <image>", picture(glyph)), Input(text), (text,), wrong)


def picture_of_name(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A name in Unicode -> a picture of the character, among those of all others that there are."""
    answer = documents.draw(rng)
    query = Input(f"Find a picture of the character: {answer.character.name}")
    wrong = [glyph for glyph in documents.glyphs if glyph.character != answer.character] if negatives else []
    return _pictures(query, answer, ("character", answer.character.name), wrong)


def same_kind(rng: random.Random, queries: Pool, documents: Pool, negatives: bool) -> RankingExample:
    """A character -> another one of its kind in another colour; some wrong ones have its colour."""
    asked = queries.draw(rng)
    kind = asked.character.kind

    def unlike(**wanted: object) -> Iterator[Glyph]:
        while True:
            yield documents.draw(rng, lambda glyph: glyph.character.kind == kind, **wanted)

    answer = documents.draw(rng, lambda g: g.character == asked.character or g.ink == asked.ink, kind=kind)
    tempting = _first(TEMPTING, unlike(ink=asked.ink)) if negatives else []
    wrong = _first(CANDIDATES - 1, chain(tempting, unlike())) if negatives else []
    query = Input("Find another character of the same kind. <image>", picture(asked))
    return _pictures(query, answer, ("kind", kind), wrong)


def _shared(one: Glyph, other: Glyph) -> set[str]:
    return {name for name in SHARED if PROPERTIES[name](one) == PROPERTIES[name](other)}


def _sharing(rng: random.Random, pool: Pool, asked: Glyph, name: str | None) -> Iterator[Glyph]:
    """Letters that share one thing with `asked` and not the two others; none of the three where `name` is None."""
    if name == "character":
        found = [glyph for glyph in pool.all(character=asked.character.code) if _shared(glyph, asked) == {name}]
        yield from rng.sample(found, len(found))
        return
    wanted = {} if name is None else {name: PROPERTIES[name](asked)}
    while True:
        yield pool.draw(rng, lambda glyph: _shared(glyph, asked) != set(wanted), is_letter=True, **wanted)


def _unlike_in(rng: random.Random, pool: Pool, asked: Glyph, name: str) -> list[Glyph]:
    """The wrong candidates of a query for what shares `name` with it: some share another thing, the others nothing."""
    tempting = [_first(TEMPTING, _sharing(rng, pool, asked, other)) for other in SHARED if other != name]
    return _first(CANDIDATES - 1, chain(*tempting, _sharing(rng, pool, asked, None)))


def _first(count: int, items: Iterable[Item]) -> list[Item]:
    """The first `count` distinct items."""
    found: dict[Item, None] = {}
    for item in items:
        found[item] = None
        if len(found) == count:
            break
    return list(found)


def _pictures(query: Input, answer: Glyph, right: tuple[str, ...], wrong: Iterable[Glyph]) -> RankingExample:
    return RankingExample(query, Input("", picture(answer)), right, tuple(Input("", picture(glyph)) for glyph in wrong))
