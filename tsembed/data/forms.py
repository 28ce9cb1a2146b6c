"""The forms that a dataset can have, and `Source`, one dataset in such a form before it becomes an Arrow table.

Every origin (embedded docstrings, a local folder, the hub) yields `Source`s; `sources.prepare` writes them. The forms
and their columns are those of the JSONL layout in docs/data_layout.md.
"""

from dataclasses import dataclass, field
from typing import Literal

# form -> table -> {column: type}. `list` is a list of texts, `floats` a list of numbers, `label` a text or an integer.
FORMS: dict[str, dict[str, dict[str, str]]] = {
    "pairs": {"rows": {"anchor": "text", "positive": "text"}},
    "classification": {"rows": {"text": "text", "label": "label"}},
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


@dataclass(frozen=True)
class Source:
    """One dataset: a training part, an evaluation part, or the articles of the similarity analysis.

    Args:
        name: Unique within its part; letters, digits, `_`, `-`, `.`.
        part: "train", "validation" (held out of a training part), or "eval".
        form: A key of `FORMS`.
        tables: Table name -> rows, with the columns of the form.
        origin: Where the text comes from, with a version.
        licence: As stated there.
        group: A family for in-/out-of-distribution comparisons: "seen" or "unseen" text, or "".
        task: The training task, for training parts of form "pairs" that are not retrieval; else by `TASK_OF_FORM`.
    """

    name: str
    part: Literal["train", "validation", "eval"]
    form: str
    tables: dict[str, list[dict]]
    origin: str
    licence: str
    group: str = ""
    task: str | None = None
    notes: dict[str, str] = field(default_factory=dict)
