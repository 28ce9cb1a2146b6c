"""Draws that suites share: by turns from groups, and equally many texts of every label."""

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

TRAIN_PER_LABEL = 16  # least classifier rows of a label
LABELS = 20  # most clusters of a set
TEXTS_PER_LABEL = (6, 30)  # least and most texts of a cluster

Tables = dict[str, list[dict]]


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


def classification(items: Iterable[tuple[str, str]], size: int, rng: random.Random) -> Tables:
    """Equally many texts of every label: `size` in `rows`, and half of it, but at least 16 of each, in `train`.

    Labels with fewer than 24 texts, or than half of what is wanted, are left out; the rarest label that is left decides
    how many texts each has. Where it has no more than the half that is for `train`, that is 16 of each.
    """
    by_label: dict[str, list[str]] = defaultdict(list)
    for text, label in items:
        by_label[label].append(text)
    wanted = max(TRAIN_PER_LABEL * 3 // 2, size // max(1, len(by_label)) * 3 // 4)
    by_label = {label: texts for label, texts in sorted(by_label.items()) if len(texts) >= wanted}
    if not by_label:
        return {"train": [], "rows": []}
    per_label = size // len(by_label)
    rarest = min(map(len, by_label.values()))
    fit = max(TRAIN_PER_LABEL, per_label // 2)
    fit = fit if fit < rarest else TRAIN_PER_LABEL
    test = max(1, min(per_label, rarest - fit))
    tables: Tables = {"train": [], "rows": []}
    for label, texts in by_label.items():
        drawn = [{"text": text, "label": label} for text in rng.sample(texts, fit + test)]
        tables["train"] += drawn[:fit]
        tables["rows"] += drawn[fit:]
    for rows in tables.values():
        rng.shuffle(rows)
    return tables


def clustering(items: list[tuple[str, str, str]], size: int, rng: random.Random) -> Tables:
    """Up to `LABELS` labels, evenly over their groups, with up to `TEXTS_PER_LABEL` texts, of (group, label, text)."""
    by_label: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group, label, text in items:
        by_label[group, label].append(text)
    large = [name for name, texts in by_label.items() if len(texts) >= TEXTS_PER_LABEL[0]]
    labels = sample_evenly(large, lambda name: name[0], min(LABELS, max(2, size // TEXTS_PER_LABEL[0])), rng)
    most = min(TEXTS_PER_LABEL[1], size // max(1, len(labels)))
    rows = [
        {"text": text, "label": label}
        for group, label in labels
        for text in rng.sample(by_label[group, label], min(most, len(by_label[group, label])))
    ]
    rng.shuffle(rows)
    return {"rows": rows}
