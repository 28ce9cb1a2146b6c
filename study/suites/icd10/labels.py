"""Descriptions with their label: each text once, and none that two labels have."""

from collections import defaultdict
from collections.abc import Callable

from ..words import normalised
from .tree import Code


def labelled(codes: list[Code], label_of: Callable[[Code], str]) -> list[tuple[str, str]]:
    """(description, label) of the broad codes, without descriptions that stand under two labels."""
    labels: dict[str, set[str]] = defaultdict(set)
    texts: dict[str, str] = {}
    for code in codes:
        key = normalised(code.description)
        labels[key].add(label_of(code))
        if code.is_broad:
            texts.setdefault(key, code.description)
    return [(text, min(labels[key])) for key, text in texts.items() if len(labels[key]) == 1]
