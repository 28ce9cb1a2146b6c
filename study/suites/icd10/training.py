"""Training datasets of the codes: inclusion terms per chapter (retrieval), sections (clustering), chapters."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from tsembed.data.schema import DatasetSpec

from ..words import normalised
from .labels import labelled
from .tree import LICENCE, ORIGIN, Code

MIN_ROWS = 32  # a dataset with fewer rows is listed as unused
REPEATS = 5  # most terms of one code


def specs(train: list[Code]) -> Iterator[DatasetSpec]:
    """Training datasets; at most as many rows as there are: `tsembed.data.pairs.pairs` draws `train_rows` of them.

    Args:
        train: Codes of `Pools.train`.
    """
    by_chapter: dict[str, list[Code]] = defaultdict(list)
    for code in train:
        by_chapter[code.chapter].append(code)
    for chapter, members in by_chapter.items():
        yield _spec(f"icd_inclusion_{int(chapter):02d}", "pairs", inclusions(members))
    yield _spec("icd_section", "clustering", sections(train))
    yield _spec("icd_chapter", "classification", chapters(train))


def _spec(name: str, format: str, rows: list[dict]) -> DatasetSpec:
    if len(rows) < MIN_ROWS:
        notes = {"reason": f"{len(rows)} rows, fewer than {MIN_ROWS}"}
        return DatasetSpec(name, "unused", format, {}, ORIGIN, LICENCE, notes=notes)
    return DatasetSpec(name, "train", format, {"rows": rows}, ORIGIN, LICENCE)


def inclusions(codes: list[Code]) -> list[dict]:
    """{anchor: what a code includes, positive: its description}, each anchor once."""
    rows: dict[str, dict] = {}
    for code in codes:
        for term in code.included[:REPEATS]:
            rows.setdefault(normalised(term), {"anchor": term, "positive": code.description})
    return list(rows.values())


def sections(codes: list[Code]) -> list[dict]:
    """{text: description, label: section}, for sections with two or more descriptions."""
    rows = [{"text": text, "label": label} for text, label in labelled(codes, lambda code: code.section)]
    sizes = Counter(row["label"] for row in rows)
    return [row for row in rows if sizes[row["label"]] > 1]


def chapters(codes: list[Code]) -> list[dict]:
    """{text: description, label: chapter}, as many of each chapter as of the smallest that has `MIN_ROWS`, spread over
    its codes."""
    by_chapter: dict[str, list[str]] = defaultdict(list)
    for text, label in labelled(codes, lambda code: code.chapter):
        by_chapter[label].append(text)
    by_chapter = {label: texts for label, texts in by_chapter.items() if len(texts) >= MIN_ROWS}
    most = min(map(len, by_chapter.values()), default=0)
    return [
        {"text": texts[i * len(texts) // most], "label": label}
        for label, texts in by_chapter.items()
        for i in range(most)
    ]
