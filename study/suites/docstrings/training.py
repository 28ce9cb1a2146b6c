"""Training datasets of the embedded text: retrieval and clustering per package, classification over all."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from tsembed.data.schema import DatasetSpec

from ..words import normalised
from .labels import description, first_words, masked, question
from .packages import Record

BODY_WORDS = (12, 100)  # least and most words of a document
MIN_ROWS = 32  # a dataset with fewer rows is listed as unused
REPEATS = 3  # most rows of a dataset with the same parameter description


def specs(train: list[Record], avoid: set[str], about: dict[str, tuple[str, str]]) -> Iterator[DatasetSpec]:
    """Training datasets; at most as many rows as there are: `tsembed.data.pairs.pairs` draws `train_rows` of them.

    Args:
        train: Records of `Pools.train`.
        avoid: Keys of texts that evaluation may use; no row has one.
        about: Package -> (origin, licence).
    """
    by_package: dict[str, list[Record]] = defaultdict(list)
    for record in train:
        by_package[record.package].append(record)
    for package, members in by_package.items():
        for name, format, rows in (
            ("body", "pairs", bodies(members)),
            ("parameter", "pairs", parameters(members)),
            ("module", "clustering", modules(members)),
        ):
            kept = [
                row for row in rows if not any(normalised(row[c]) in avoid for c in ("anchor", "positive") if c in row)
            ]
            yield _spec(f"docs_{name}_{package}", format, kept, *about[package])
    origin = "; ".join(about[package][0] for package in by_package)
    licence = ", ".join(dict.fromkeys(about[package][1] for package in by_package))
    yield _spec("docs_role", "classification", roles(train, avoid), origin, licence)


def _spec(name: str, format: str, rows: list[dict], origin: str, licence: str) -> DatasetSpec:
    if len(rows) < MIN_ROWS:
        notes = {"reason": f"{len(rows)} rows, fewer than {MIN_ROWS}"}
        return DatasetSpec(name, "unused", format, {}, origin, licence, notes=notes)
    return DatasetSpec(name, "train", format, {"rows": rows}, origin, licence)


def bodies(records: list[Record]) -> list[dict]:
    """{anchor: summary, positive: body}, each body once."""
    rows: dict[str, dict] = {}
    for record in records:
        body = first_words(record.body, BODY_WORDS[1])
        if len(body.split()) >= BODY_WORDS[0]:
            rows.setdefault(normalised(body), {"anchor": record.summary, "positive": body})
    return list(rows.values())


def parameters(records: list[Record]) -> list[dict]:
    """{anchor: question about a parameter, positive: its description}, each question once."""
    rows: dict[str, dict] = {}
    repeats: Counter[str] = Counter()
    for record in records:
        for name, text in record.params.items():
            asked, answer = question(record, name), description(text)
            if answer and asked not in rows and repeats[normalised(answer)] < REPEATS:
                repeats[normalised(answer)] += 1
                rows[asked] = {"anchor": asked, "positive": answer}
    return list(rows.values())


def modules(records: list[Record]) -> list[dict]:
    """{text: summary, label: module}, for modules with two or more distinct summaries."""
    rows = {normalised(r.summary): {"text": r.summary, "label": r.module} for r in reversed(records)}
    sizes = Counter(row["label"] for row in rows.values())
    return [row for row in reversed(rows.values()) if sizes[row["label"]] > 1]


def roles(records: list[Record], avoid: set[str]) -> list[dict]:
    """{text: summary without its verb, label: role}, as many of each role as of the rarest, spread over the records."""
    by_role: dict[str, list[str]] = defaultdict(list)
    for text, label in masked(records).items():
        if normalised(text) not in avoid:
            by_role[label].append(text)
    most = min(map(len, by_role.values()), default=0)
    return [
        {"text": texts[i * len(texts) // most], "label": label}
        for label, texts in sorted(by_role.items())
        for i in range(most)
    ]
