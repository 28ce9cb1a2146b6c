"""Glyphs suite, descriptions: what can be seen of a letter, in words, and which letters differ in little of it."""

import random
from collections import defaultdict
from collections.abc import Iterator

from .pool import PROPERTIES, Glyph, Pool

SEEN_OF_LETTERS = ("ink", "weight", "slope", "family", "case", "kind")


def description(glyph: Glyph) -> str:
    """A letter as "bold slanted red capital Greek letter in DejaVu Serif", a sign as "red arrow"."""
    if not glyph.character.is_letter:
        return f"{glyph.ink} {glyph.character.kind}"
    face, character = glyph.face, glyph.character
    said = f"{face.weight} {face.slope} {glyph.ink} {character.case} {character.kind} in {face.family}"
    return " ".join(said.split())  # some scripts have no cases


def seen_of(glyph: Glyph) -> dict[str, object]:
    """What a letter's description says: property -> value."""
    return {name: PROPERTIES[name](glyph) for name in SEEN_OF_LETTERS}


def described_otherwise(rng: random.Random, pool: Pool, letter: Glyph) -> Iterator[Glyph]:
    """Letters of the pool with other descriptions than `letter`, those first that differ in one thing alone."""
    wanted = seen_of(letter)
    near = [other for name in wanted for other in _differing_in(rng, pool, wanted, name)]
    yield from rng.sample(near, len(near))
    while True:
        yield pool.draw(rng, lambda glyph: seen_of(glyph) == wanted, is_letter=True)


def _differing_in(rng: random.Random, pool: Pool, wanted: dict[str, object], name: str) -> list[Glyph]:
    """A letter for each other value of the property `name`, where the pool has one."""
    of_value: dict[object, list[Glyph]] = defaultdict(list)
    for glyph in pool.all(is_letter=True, **{key: value for key, value in wanted.items() if key != name}):
        of_value[PROPERTIES[name](glyph)].append(glyph)
    return [found[rng.randrange(len(found))] for value, found in of_value.items() if value != wanted[name]]
