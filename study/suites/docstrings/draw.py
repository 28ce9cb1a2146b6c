"""Draws that several sets of the docstring suite share."""

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from .labels import description, normalised
from .packages import Record

Tables = dict[str, list[dict]]


class Described(NamedTuple):
    """One parameter of a record with its description."""

    record: Record
    name: str
    text: str


def sample_evenly(items: Iterable, by: Callable[[Any], Hashable], size: int, rng: random.Random) -> list:
    """`size` items drawn by turns from the groups `by`, so that a large group does not crowd out the others."""
    groups: dict[Hashable, list] = defaultdict(list)
    for item in items:
        groups[by(item)].append(item)
    for members in groups.values():
        rng.shuffle(members)
    drawn: list = []
    while groups and len(drawn) < size:
        for name in list(groups):
            drawn.append(groups[name].pop())
            if not groups[name]:
                del groups[name]
    return drawn[:size]


def parameter_descriptions(records: list[Record], most: int = 40) -> list[Described]:
    """All parameters with a description, each description once."""
    first: dict[str, Described] = {}
    for record in records:
        for name, text in record.params.items():
            if answer := description(text, most):
                first.setdefault(normalised(answer), Described(record, name, answer))
    return list(first.values())
