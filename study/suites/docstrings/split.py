"""Which records train and which evaluate, so that no sentence is on both sides."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from ..words import normalised
from .packages import HELD_OUT, Record
from .parsing import sentences

EVAL_SHARE = 0.3  # of a seen package's records, in whole modules
REPEATS = 3  # bodies that may have the same sentence
_HELD_OUT = {package.name for package in HELD_OUT}


@dataclass(frozen=True)
class Pools:
    """Records by use: `train` and `seen` are disjoint modules of one group of packages; `unseen` is the other group."""

    train: list[Record]
    seen: list[Record]
    unseen: list[Record]


def split_records(records: list[Record]) -> Pools:
    """The pools. The division is fixed: it depends on the records, not on a seed.

    Evaluation takes whole modules. A summary that says the same as an earlier one of its pool is left out, so that
    every text has one right answer. A sentence that many bodies have (a warning, a licence) is left out of all of them.
    Training loses every sentence that an evaluation record has.
    """
    chosen = _evaluation_modules(records)
    repeats = Counter(normalised(sentence) for record in records for sentence in set(record.body))
    records = [replace(r, body=tuple(s for s in r.body if repeats[normalised(s)] <= REPEATS)) for r in records]
    unseen = _distinct([r for r in records if r.package in _HELD_OUT])
    seen = _distinct([r for r in records if r.package not in _HELD_OUT and r.module in chosen])
    said = {normalised(sentence) for record in seen + unseen for sentence in _sentences(record)}
    train = [r for r in records if r.package not in _HELD_OUT and r.module not in chosen]
    return Pools([kept for r in train if (kept := _without(r, said))], seen, unseen)


def _evaluation_modules(records: list[Record]) -> set[str]:
    """Modules of every package in the order of their hash, as long as they fit into its evaluation share."""
    sizes: dict[str, Counter] = defaultdict(Counter)
    for record in records:
        sizes[record.package][record.module] += 1
    chosen: set[str] = set()
    for modules in sizes.values():
        room = EVAL_SHARE * modules.total()
        for module in sorted(modules, key=lambda m: hashlib.sha256(m.encode()).digest()):
            if modules[module] <= room:
                chosen.add(module)
                room -= modules[module]
    return chosen


def _distinct(records: list[Record]) -> list[Record]:
    first: dict[str, Record] = {}
    for record in records:
        first.setdefault(normalised(record.summary), record)
    return list(first.values())


def _sentences(record: Record) -> list[str]:
    said = [s for description in record.params.values() for s in sentences(description, strict=False)]
    return [record.summary, *record.body, *said]


def _without(record: Record, said: set[str]) -> Record | None:
    """The record without the sentences in `said`; None without its summary. A description goes with its first one."""
    if normalised(record.summary) in said:
        return None
    params = {}
    for name, description in record.params.items():
        parts = sentences(description, strict=False)
        if normalised(parts[0]) not in said:
            params[name] = " ".join(s for s in parts if normalised(s) not in said)
    return replace(record, body=tuple(s for s in record.body if normalised(s) not in said), params=params)
