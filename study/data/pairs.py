"""Forms -> training pairs: columns `query`, `document` and `group`, in a training and a validation part.

Pairs with pictures have `query_image` and `document_image` beside them.

`group` is a stable 64-bit number of the label, or of the document where there are no labels; two pairs of one group are
never each other's negatives. Pairs of the same query need no number here: `tsembed.training.batches.groups_of` compares
the texts of a batch. Every draw comes from a `random.Random` that is seeded with a text, so the same settings give the
same rows on every machine.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

from ..presets import Data
from .schema import FORMS, TASK_OF_FORM, Source

COLUMNS = {"query": "text", "document": "text", "group": "int"}
Part = Literal["train", "validation"]


def columns_of(form: str) -> dict[str, str]:
    """The columns of a prepared training table, and their types."""
    return FORMS[form]["rows"] if form == "image_pairs" else COLUMNS


def task_of(source: Source) -> str:
    """The training task of a training source."""
    return source.task or TASK_OF_FORM[source.form]


def pairs(
    source: Source, rows: Iterable[dict], data: Data, held: Iterable[dict] | None = None
) -> Iterator[tuple[Part, dict]]:
    """Training and validation pairs of a training source; what was left out is counted in `source.notes`.

    At most `data.validation_rows` pairs, and never more than a tenth, are held out; at most `data.train_rows` are kept.

    Args:
        source: Its form decides how rows become pairs; its notes get the counts.
        rows: The rows of the source, of a form of `TRAINING_FORMS`; read once. Labelled rows are held in memory, pairs
            are streamed.
        data: Bounds on the number of pairs, and the seed.
        held: The rows to hold out, where the source has chosen them (form image_pairs).
    """
    rng = random.Random(f"{data.seed}/{source.name}/pairs")
    if source.form == "image_pairs":
        return _split(rows, data, rng) if held is None else _chosen(rows, held, data, rng)
    if source.form == "pairs":
        return _split(_paired(rows), data, rng)
    return _labelled(source, rows, data, rng)


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


def _paired(rows: Iterable[dict]) -> Iterator[dict]:
    for row in rows:
        document = row["positive"]
        yield {"query": row["anchor"], "document": document, "group": group_of(document)}


def _chosen(rows: Iterable[dict], held: Iterable[dict], data: Data, rng: random.Random) -> Iterator[tuple[Part, dict]]:
    """Rows and held-out rows as the source has divided them, each up to what the settings allow."""
    kept = rows if data.train_rows is None else reservoir(rows, data.train_rows, rng)
    yield from (("train", row) for row in kept)
    yield from (("validation", row) for row in islice(held, data.validation_rows))


def _split(rows: Iterable[dict], data: Data, rng: random.Random) -> Iterator[tuple[Part, dict]]:
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


def _labelled(source: Source, rows: Iterable[dict], data: Data, rng: random.Random) -> Iterator[tuple[Part, dict]]:
    """Same-label pairs: every text once as query, its partner drawn among the label's other training texts.

    A held-out text is never a training text, neither as query nor as document.
    """
    texts: dict[str, dict[str, None]] = defaultdict(dict)  # label -> its distinct texts, in order
    repeated = 0
    for row in rows:
        repeated += row["text"] in texts[row["label"]]
        texts[row["label"]][row["text"]] = None
    single = [label for label, members in texts.items() if len(members) < 2]
    members = {label: list(found) for label, found in texts.items() if len(found) > 1}
    held = _held_out(members, data, rng)
    partners = {label: [i for i in range(len(found)) if (label, i) not in held] for label, found in members.items()}
    queries = [(label, i) for label, found in members.items() for i in range(len(found)) if (label, i) not in held]
    if data.train_rows is not None and len(queries) > data.train_rows:
        queries = [queries[i] for i in sorted(rng.sample(range(len(queries)), data.train_rows))]
    if repeated:
        source.notes["repeated"] = f"{repeated} rows merged: the same text with the same label stands there before"
    if single:
        source.notes["single"] = f"{len(single)} labels have one text and give no pair"
    for part, chosen in (("train", queries), ("validation", sorted(held))):
        for label, i in chosen:
            others = partners[label]
            partner = others[rng.randrange(len(others))]
            while partner == i:
                partner = others[rng.randrange(len(others))]
            pair = {"query": members[label][i], "document": members[label][partner]}
            yield part, pair | {"group": group_of(source.name, label)}


def _held_out(members: dict[str, list[str]], data: Data, rng: random.Random) -> set[tuple[str, int]]:
    """Texts for validation; every label keeps two texts at least for training."""
    total = sum(map(len, members.values()))
    free = [
        (label, i) for label, texts in members.items() for i in sorted(rng.sample(range(len(texts)), len(texts) - 2))
    ]
    return set(rng.sample(free, min(data.validation_rows, total // 10, len(free))))
