"""The forms that a dataset can have, and `Source`, one dataset in such a form before it becomes an Arrow table.

Every origin (embedded docstrings, a local folder, the hub) yields `Source`s; `prepare.prepare` checks and writes them.
The forms and their columns are those of the JSONL layout in docs/data_layout.md.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tsembed.inputs import MARK

# form -> table -> {column: type}. `text` and `id` are non-empty texts, `list` a non-empty list of texts, `floats` a
# non-empty list of numbers, `label` a text or an integer (stored as text), `binary` 0 or 1, `int` an integer, `maybe` a
# text that may be empty, `image` an encoded picture or None, `places` a non-empty list of rows of another table. A type
# with `?` at its end may be missing, None or empty, which is stored as None.
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
    # Pictures: each side of a pair, each query and each candidate has a text, an image, or both (data/items.py).
    "image_pairs": {
        "rows": {
            "query": "maybe",
            "query_image": "image",
            "document": "maybe",
            "document_image": "image",
            "group": "int",
        }
    },
    "ranking": {
        "queries": {"query": "maybe", "query_image": "image", "candidates": "places", "positives": "places"},
        "candidates": {"text": "maybe", "image": "image"},
    },
}
SIDES = (("query", "query_image"), ("document", "document_image"), ("text", "image"))  # text and picture of one item

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
TRAINING_FORMS = (*TASK_OF_FORM, "image_pairs")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Source:
    """One dataset: a training part or an evaluation part (the articles of the similarity analysis are one).

    Args:
        name: Unique within its part; letters, digits, `_`, `-`, `.`. Of an evaluation part: the MTEB task's name.
        part: "train", "eval", or "unused": listed in the manifest with `notes["reason"]`, without tables.
        form: A key of `FORMS`.
        tables: Table name -> rows, any iterable (a generator is read once), with the columns of the form. A training
            part has the table `rows` only; one of form "image_pairs" may bring the rows that are held out, as
            `validation`. `label` may be an integer; it is stored as text. A row may name the file of its picture in
            `<column>_path`, for messages.
        origin: Where the text comes from, with a version.
        licence: As stated there.
        group: A family for in-/out-of-distribution comparisons: "seen" or "unseen" text, or "".
        task: The training task, for training parts of form "pairs" that are not retrieval; else by `TASK_OF_FORM`.
            Of the forms "image_pairs" and "ranking": one of `tasks.IMAGE_TASKS`; in training also captions.
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
        ValueError: With the column, the rule and the value, if a column is missing, has another type or is empty, or if
            an item has neither a text nor a picture, or a mark without a picture.

    >>> clean({"text": "a", "label": 3, "extra": None}, {"text": "text", "label": "label"})
    {'text': 'a', 'label': '3'}
    """
    made = {name: _value(row, name, kind) for name, kind in types.items()}
    for text, image in SIDES:
        if types.get(image) == "image":
            _item(made[text], made[image], text, image)
    return made


def _item(text: str, picture: bytes | None, name: str, column: str) -> None:
    marks = text.count(MARK)
    if picture is None and not text.strip():
        raise ValueError(f"neither {name!r} nor {column!r}: an item has a text or a picture")
    if marks > (picture is not None):
        raise ValueError(f"{name!r} has {marks} marks {MARK} for {int(picture is not None)} pictures: {text!r:.60}")


def _value(row: dict[str, Any], name: str, kind: str) -> Any:
    if kind.endswith("?"):
        return _value(row, name, kind[:-1]) if row.get(name) not in (None, "", []) else None
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
    if kind in _PLAIN:
        rule, holds = _PLAIN[kind]
        if not holds(value):
            raise ValueError(f"{name!r} must be {rule}, not {value!r:.60}")
        return value
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name!r} must be a list with at least one item, not {value!r:.60}")
    each = _text if kind == "list" else _number
    return [each(item, f"{name}[{i}]") for i, item in enumerate(value)]


_PLAIN: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "maybe": ("a text, empty or not", lambda value: isinstance(value, str)),
    "int": ("an integer", lambda value: type(value) is int),
    "image": ("the bytes of a picture, or None", lambda value: value is None or isinstance(value, bytes) and value),
    "places": (
        "a list of at least one row number",
        lambda value: isinstance(value, list) and value and all(type(item) is int and item >= 0 for item in value),
    ),
}


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
