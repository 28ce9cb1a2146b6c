"""The forms that a dataset can have, and `Source`, one dataset in such a form before it becomes an Arrow table.

Every origin (embedded docstrings, a local folder, the hub) yields `Source`s; `sources.prepare` checks and writes them.
The forms and their columns are those of the JSONL layout in docs/data_layout.md.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# form -> table -> {column: type}. `text` and `id` are non-empty texts, `list` a non-empty list of texts, `floats` a
# non-empty list of numbers, `label` a text or an integer (stored as text), `binary` 0 or 1.
FORMS: dict[str, dict[str, dict[str, str]]] = {
    "pairs": {"rows": {"anchor": "text", "positive": "text"}},
    # An evaluation part also has `train`, the rows that MTEB fits its classifier on; its labels cover those of `rows`.
    "classification": {"train": {"text": "text", "label": "label"}, "rows": {"text": "text", "label": "label"}},
    "clustering": {"rows": {"text": "text", "label": "label"}},
    "retrieval": {
        "queries": {"query_id": "id", "query": "text"},
        "corpus": {"doc_id": "id", "text": "text"},
        "qrels": {"query_id": "id", "doc_id": "id", "score": "float"},
    },
    "reranking": {"rows": {"query": "text", "positive": "list", "negative": "list"}},
    "pair_classification": {"rows": {"a": "text", "b": "text", "label": "binary"}},
    "sts": {"rows": {"a": "text", "b": "text", "score": "float"}},
    "summarization": {
        "rows": {"text": "text", "human_summaries": "list", "machine_summaries": "list", "relevance": "floats"}
    },
    "wikipedia": {"rows": {"id": "id", "text": "text"}},  # generic articles of the similarity analysis (MoTE §5.2)
}

MTEB_TYPE = {
    "classification": "Classification",
    "clustering": "Clustering",
    "retrieval": "Retrieval",
    "reranking": "Reranking",
    "pair_classification": "PairClassification",
    "sts": "STS",
    "summarization": "Summarization",
}

# Which training task a training part of a form serves. The other forms stay unseen, as in the paper (§5.3).
TASK_OF_FORM = {"classification": "classification", "clustering": "clustering", "pairs": "retrieval"}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Source:
    """One dataset: a training part or an evaluation part (the articles of the similarity analysis are one).

    Args:
        name: Unique within its part; letters, digits, `_`, `-`, `.`. Of an evaluation part: the MTEB task's name.
        part: "train", "eval", or "unused": listed in the manifest with `notes["reason"]`, without tables.
        form: A key of `FORMS`.
        tables: Table name -> rows, any iterable (a generator is read once), with the columns of the form. A training
            part has the table `rows` only. `label` may be an integer; it is stored as text.
        origin: Where the text comes from, with a version.
        licence: As stated there.
        group: A family for in-/out-of-distribution comparisons: "seen" or "unseen" text, or "".
        task: The training task, for training parts of form "pairs" that are not retrieval; else by `TASK_OF_FORM`.
        notes: What a reader of the manifest must know, as counts of left-out rows. Read after the tables.
    """

    name: str
    part: Literal["train", "eval", "unused"]
    form: str
    tables: Mapping[str, Iterable[dict]]
    origin: str
    licence: str
    group: str = ""
    task: str | None = None
    notes: dict[str, str] = field(default_factory=dict)


def columns(form: str, part: str) -> dict[str, dict[str, str]]:
    """The tables of a form in a part, each with its columns: a training part has `rows` only.

    >>> list(columns("classification", "eval")), list(columns("classification", "train"))
    (['train', 'rows'], ['rows'])
    """
    tables = FORMS[form]
    return tables if part == "eval" else {"rows": tables["rows"]}


def clean(row: dict[str, Any], types: dict[str, str]) -> dict[str, Any]:
    """The row with the columns of `types` only, in their stored types (labels as text, scores as float).

    Raises:
        ValueError: With the column, the rule and the value, if a column is missing, has another type or is empty.

    >>> clean({"text": "a", "label": 3, "extra": None}, {"text": "text", "label": "label"})
    {'text': 'a', 'label': '3'}
    """
    return {name: _value(row, name, kind) for name, kind in types.items()}


def _value(row: dict[str, Any], name: str, kind: str) -> Any:
    if name not in row:
        raise ValueError(f"column {name!r} is missing (the row has: {', '.join(row) or 'nothing'})")
    value = row[name]
    if kind in ("text", "id"):
        return _text(value, name)
    if kind == "label":
        return str(value) if type(value) is int else _text(value, name, "a text or an integer")
    if kind == "binary":
        if type(value) is not int or value not in (0, 1):
            raise ValueError(f"{name!r} must be 0 or 1, not {value!r:.60}")
        return value
    if kind == "float":
        return _number(value, name)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name!r} must be a list with at least one item, not {value!r:.60}")
    each = _text if kind == "list" else _number
    return [each(item, f"{name}[{i}]") for i, item in enumerate(value)]


def _text(value: Any, name: str, wanted: str = "a text") -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be {wanted}, not {value!r:.60}")
    if not value.strip():
        raise ValueError(f"{name!r} is empty")
    return value


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{name!r} must be a finite number, not {value!r:.60}")
    return float(value)
