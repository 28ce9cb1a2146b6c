"""Formats -> training pairs: columns `query`, `document` and `group`, in a training and a validation part.

Pairs with pictures have `query_image` and `document_image` beside them, those with hard negatives `negatives`.

`group` is a stable 64-bit number of the label, or of the document where there are no labels; two pairs of one group are
never each other's negatives. Pairs of the same query need no number here: `tsembed.training.batches.groups_of` compares
the texts of a batch. Every draw comes from a `random.Random` that is seeded with a text, so the same settings give the
same rows on every machine.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from ..settings import Data
from .columns import Kind
from .schema import TASK_OF_FORMAT, DatasetSpec, ImagePair, Row, kinds

UNBALANCED = 0.9  # share of one label in the texts of a set that is worth a note
TEXT, NUMBER = Kind("text", "text"), Kind("int", "integer")
COLUMNS = {"query": TEXT, "document": TEXT, "group": NUMBER}
NEGATIVES = {"negatives": Kind("texts", "list of texts")}  # beside them, where some row has hard negatives
Part = Literal["train", "validation"]


def columns_of(spec: DatasetSpec) -> dict[str, Kind]:
    """The columns of the prepared table of a training dataset, and their kinds."""
    if spec.format == "image_pairs":
        return kinds(ImagePair)
    return COLUMNS | NEGATIVES if spec.hard_negatives else COLUMNS


def task_of(spec: DatasetSpec) -> str:
    """The training task of a training dataset."""
    return spec.task or TASK_OF_FORMAT[spec.format]


def pairs(
    spec: DatasetSpec, rows: Iterable[Row], data: Data, held_out: Iterable[Row] | None = None
) -> Generator[tuple[Part, dict], None, dict[str, str] | None]:
    """Training and validation pairs of a training dataset; returns what was left out, as notes.

    At most `data.validation_rows` pairs, and never more than a tenth, are held out; at most `data.train_rows` are kept.

    Args:
        spec: Its format decides how rows become pairs.
        rows: Of a format of `TRAINING_FORMATS`; read once. Labelled rows are held in memory, pairs are streamed.
        data: Bounds on the number of pairs, and the seed.
        held_out: The rows to hold out, where the origin has chosen them (format image_pairs).
    """
    rng = random.Random(f"{data.seed}/{spec.name}/pairs")
    if spec.format == "image_pairs":
        images = map(vars, rows)
        return _split(images, data, rng) if held_out is None else _chosen(images, map(vars, held_out), data, rng)
    if spec.format == "pairs":
        return _split(_paired(rows, spec.hard_negatives), data, rng)
    return _labelled(spec.name, rows, data, rng)


def group_of(*parts: str) -> int:
    """A stable signed 64-bit number of the texts.

    >>> group_of("banking", "card") == group_of("banking", "card") != group_of("bankingcard", "")
    True
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part.encode() + b"\0")
    return int.from_bytes(digest.digest(), "little", signed=True)


def reservoir(rows: Iterable[dict], size: int, rng: random.Random) -> list[dict]:
    """`size` rows drawn without replacement from a stream of unknown length, in their order (Vitter's algorithm R)."""
    kept: list[tuple[int, dict]] = []
    for count, row in enumerate(rows):
        if count < size:
            kept.append((count, row))
        elif (place := rng.randrange(count + 1)) < size:
            kept[place] = (count, row)
    return [row for _, row in sorted(kept, key=lambda item: item[0])]


def _paired(rows: Iterable[Any], hard_negatives: bool) -> Iterator[dict]:
    for row in rows:
        pair = {"query": row.anchor, "document": row.positive, "group": group_of(row.positive)}
        yield pair | {"negatives": row.negatives or []} if hard_negatives else pair


def _chosen(
    rows: Iterable[dict], held_out: Iterable[dict], data: Data, rng: random.Random
) -> Generator[tuple[Part, dict], None, None]:
    """Rows and held-out rows as the origin has divided them, each up to what the settings allow."""
    kept = rows if data.train_rows is None else reservoir(rows, data.train_rows, rng)
    yield from (("train", row) for row in kept)
    yield from (("validation", row) for row in islice(held_out, data.validation_rows))


def _split(rows: Iterable[dict], data: Data, rng: random.Random) -> Generator[tuple[Part, dict], None, None]:
    """Streams pairs: those that fall out of the validation reservoir are training pairs."""
    held: list[dict] = []

    def train() -> Iterator[dict]:
        count = 0
        for count, row in enumerate(rows, start=1):
            if len(held) < data.validation_rows:
                held.append(row)
                continue
            place = rng.randrange(count)
            if place < len(held):
                held[place], row = row, held[place]
            yield row
        rng.shuffle(held)
        surplus = held[count // 10 :]
        del held[count // 10 :]
        yield from surplus

    kept = train() if data.train_rows is None else reservoir(train(), data.train_rows, random.Random(rng.random()))
    yield from (("train", row) for row in kept)
    yield from (("validation", row) for row in held)


def _labelled(
    name: str, rows: Iterable[Any], data: Data, rng: random.Random
) -> Generator[tuple[Part, dict], None, dict[str, str]]:
    """Same-label pairs: every text once as query, its partner drawn among the label's other training texts.

    A held-out text is never a training text, neither as query nor as document.
    """
    distinct: dict[str, dict[str, None]] = defaultdict(dict)  # label -> its distinct texts, in order
    repeated = 0
    for row in rows:
        repeated += row.text in distinct[row.label]
        distinct[row.label][row.text] = None
    texts = {label: list(of_label) for label, of_label in distinct.items() if len(of_label) > 1}
    held_out = _held_out(texts, data, rng)
    free = {label: [i for i in range(len(of_label)) if (label, i) not in held_out] for label, of_label in texts.items()}
    queries = [(label, i) for label, places in free.items() for i in places]
    if data.train_rows is not None and len(queries) > data.train_rows:
        queries = [queries[i] for i in sorted(rng.sample(range(len(queries)), data.train_rows))]
    drawn_by_part: dict[Part, list[tuple[str, int]]] = {"train": queries, "validation": sorted(held_out)}
    for part, drawn in drawn_by_part.items():
        for label, i in drawn:
            partners = free[label]
            partner = partners[rng.randrange(len(partners))]
            while partner == i:
                partner = partners[rng.randrange(len(partners))]
            pair = {"query": texts[label][i], "document": texts[label][partner]}
            yield part, pair | {"group": group_of(name, label)}
    notes = {}
    if repeated:
        notes["repeated"] = f"{repeated} rows merged: the same text with the same label stands there before"
    sizes = {label: len(of_label) for label, of_label in distinct.items()}
    largest, total = max(sizes, key=sizes.__getitem__, default=""), sum(sizes.values())
    if len(sizes) > 1 and sizes[largest] >= UNBALANCED * total:
        notes["balance"] = f"label {largest!r:.40} has {sizes[largest]:,} of {total:,} texts"
    if single := len(distinct) - len(texts):
        notes["single"] = f"{single} labels have one text and give no pair"
    return notes


def _held_out(texts: dict[str, list[str]], data: Data, rng: random.Random) -> set[tuple[str, int]]:
    """(label, place) of the texts for validation; every label keeps two texts at least for training."""
    total = sum(map(len, texts.values()))
    free = [(label, i) for label, some in texts.items() for i in sorted(rng.sample(range(len(some)), len(some) - 2))]
    return set(rng.sample(free, min(data.validation_rows, total // 10, len(free))))
