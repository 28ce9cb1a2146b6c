"""Which codes train and which evaluate, so that no text is on both sides."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..words import normalised
from .tree import Code

EVAL_SHARE = 0.3  # of a seen chapter's categories


@dataclass(frozen=True)
class Pools:
    """Codes by use: `train` and `seen` are disjoint categories of the same chapters; `unseen` is the other chapters."""

    train: list[Code]
    seen: list[Code]
    unseen: list[Code]


def is_held_out(chapter: str) -> bool:
    """Whether no code of the chapter is trained: every third one, so that nobody has chosen them by their subject."""
    return int(chapter) % 3 == 0


def split_codes(codes: list[Code]) -> Pools:
    """The pools. The division is fixed: it depends on the codes, not on a seed.

    Evaluation takes whole categories of a seen chapter, in the order of the hash of their name. Training loses every
    code whose description is a text of evaluation, and every note that is one.
    """
    chosen = _evaluation_categories(codes)
    unseen = [code for code in codes if is_held_out(code.chapter)]
    seen = [code for code in codes if not is_held_out(code.chapter) and code.category in chosen]
    rest = [code for code in codes if not is_held_out(code.chapter) and code.category not in chosen]
    evaluated = {normalised(text) for code in seen + unseen for text in texts_of(code)}
    return Pools([left for code in rest if (left := _without(code, evaluated))], seen, unseen)


def texts_of(code: Code) -> Iterator[str]:
    """All texts of a code that an evaluation set may have."""
    yield code.description
    yield from code.included
    yield from (exclusion.note for exclusion in code.excluded)


def _evaluation_categories(codes: list[Code]) -> set[str]:
    categories: dict[str, dict[str, None]] = defaultdict(dict)
    for code in codes:
        categories[code.chapter][code.category] = None
    chosen: set[str] = set()
    for names in categories.values():
        in_order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen |= set(in_order[: int(EVAL_SHARE * len(names))])
    return chosen


def _without(code: Code, evaluated: set[str]) -> Code | None:
    """The code without the notes in `evaluated`, and without what it excludes; None without its description."""
    if normalised(code.description) in evaluated:
        return None
    included = tuple(note for note in code.included if normalised(note) not in evaluated)
    return replace(code, included=included, excluded=())
