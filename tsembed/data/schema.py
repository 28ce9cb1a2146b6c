"""What a dataset is before it becomes Arrow tables: a `DatasetSpec` in one of the formats, each with its row classes.

Every origin (embedded docstrings, a local folder, the hub) yields `DatasetSpec`s; `prepare.prepare` writes them. A row
is checked once, by `parse`, where it enters: an origin that checks its files first hands on `Row`s, any other one
dicts, which `prepare` parses. Later code trusts the row. docs/data_layout.md has the tables of columns that
`study.data.layout` makes of these classes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ..inputs import Input, check_item
from ..texts import is_blank, same_key
from .columns import (
    Binary,
    Grade,
    Id,
    Image,
    Integer,
    Kind,
    Label,
    MaybeText,
    Number,
    Numbers,
    OptionalTexts,
    Places,
    Text,
    Texts,
)

if TYPE_CHECKING:
    from .shards import Shard


class Row(BaseModel):
    """A checked row. Columns that its class does not name are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Pair(Row):
    """Two texts that belong together, and any number of texts that are like an answer and are none: hard negatives."""

    anchor: Text
    positive: Text
    negatives: OptionalTexts = None

    @model_validator(mode="after")
    def _negatives_are_none_of_its_texts(self):
        if not self.negatives:
            return self
        own = {same_key(self.positive): "positive", same_key(self.anchor): "anchor"}
        if both := next((text for text in self.negatives if same_key(text) in own), None):
            raise ValueError(f"{both!r:.60} is both {own[same_key(both)]!r} and one of 'negatives'")
        return self


class LabelledText(Row):
    """A text with its class or cluster; labels are stored as text."""

    text: Text
    label: Label


class Query(Row):
    """A query of a retrieval set."""

    query_id: Id
    query: Text


class Document(Row):
    """A document of a retrieval set, as it is scored: its title, if it has one, stands before its text."""

    doc_id: Id
    text: Text


class Judgement(Row):
    """How relevant a document is to a query: above 0 means relevant, and larger is better."""

    query_id: Id
    doc_id: Id
    score: Grade


class RankedQuery(Row):
    """A query with right and wrong answers."""

    query: Text
    positive: Texts
    negative: Texts


class JudgedPair(Row):
    """Two texts, and whether they mean the same."""

    a: Text
    b: Text
    label: Binary


class ScoredPair(Row):
    """Two texts, and how similar they are."""

    a: Text
    b: Text
    score: Number


class Summaries(Row):
    """A text, summaries by people, and summaries by machines with their relevance."""

    text: Text
    human_summaries: Texts
    machine_summaries: Texts
    relevance: Numbers


class Article(Row):
    """A generic text of the similarity analysis (MoTE §5.2)."""

    id: Id
    text: Text


def _has_content(text: str, image: bytes | None, name: str, column: str) -> None:
    if image is None and is_blank(text):
        raise ValueError(f"neither {name!r} nor {column!r}: an item has a text or a picture")
    try:
        check_item(Input(text, image))
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from None


class ImagePair(Row):
    """A training pair whose sides have a text, an image, or both (tsembed/inputs.py)."""

    query: MaybeText
    query_image: Image
    document: MaybeText
    document_image: Image
    group: Integer

    @model_validator(mode="after")
    def _sides(self):
        _has_content(self.query, self.query_image, "query", "query_image")
        _has_content(self.document, self.document_image, "document", "document_image")
        return self


class ImageQuery(Row):
    """A query that ranks its own candidates: their rows, and those of the right ones."""

    query: MaybeText
    query_image: Image
    candidates: Places
    positives: Places

    @model_validator(mode="after")
    def _side(self):
        _has_content(self.query, self.query_image, "query", "query_image")
        return self


class Candidate(Row):
    """A candidate of ranking queries: a text, an image, or both."""

    text: MaybeText
    image: Image

    @model_validator(mode="after")
    def _side(self):
        _has_content(self.text, self.image, "text", "image")
        return self


# Format -> table -> class of its rows.
FORMATS: dict[str, dict[str, type[Row]]] = {
    "pairs": {"rows": Pair},
    # An evaluation part also has `train`, the rows that MTEB fits its classifier on; its labels cover those of `rows`.
    "classification": {"train": LabelledText, "rows": LabelledText},
    "clustering": {"rows": LabelledText},
    "retrieval": {"queries": Query, "corpus": Document, "qrels": Judgement},
    "reranking": {"rows": RankedQuery},
    "pair_classification": {"rows": JudgedPair},
    "sts": {"rows": ScoredPair},
    "summarization": {"rows": Summaries},
    "wikipedia": {"rows": Article},
    "image_pairs": {"rows": ImagePair},
    "ranking": {"queries": ImageQuery, "candidates": Candidate},
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

# Which training task a training part of a format serves. The other formats stay unseen, as in the paper (§5.3).
TASK_OF_FORMAT = {"classification": "classification", "clustering": "clustering", "pairs": "retrieval"}
TRAINING_FORMATS = (*TASK_OF_FORMAT, "image_pairs")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Rows = Iterable[Row | dict[str, Any]]


@dataclass(frozen=True)
class DatasetSpec:
    """One dataset: a training part or an evaluation part (the articles of the similarity analysis are one).

    Args:
        name: Unique within its part; letters, digits, `_`, `-`, `.`. Of an evaluation part: the MTEB task's name.
        part: "train", "eval", or "unused": listed in the manifest with `notes["reason"]`, without tables.
        format: A key of `FORMATS`.
        tables: Table name -> rows: `Row`s of the format's class, or dicts that are still to be checked. A generator is
            read once, and may return notes. A training part has the table `rows` only; one of format "image_pairs" may
            bring the rows that are held out, as `validation`. A dict may name the file of its picture in
            `<column>_path`, for messages.
        origin: Where the text comes from, with a version.
        licence: As stated there.
        group: A family for in-/out-of-distribution comparisons: "seen" or "unseen" text, or "".
        task: The training task, for training parts of format "pairs" that are not retrieval; else by `TASK_OF_FORMAT`.
            Of the formats "image_pairs" and "ranking": one of `tasks.IMAGE_TASKS`; in training also captions.
        notes: What a reader of the manifest must know, and what is known before the rows are read.
        answers: How many answers a question of the set can have, where they are few.
        hard_negatives: Whether some row of format "pairs" has negatives: then the prepared table has their column.
        shards: Of a training part of format "pairs" that lies in its folder already, in place of `tables`.
    """

    name: str
    part: Literal["train", "eval", "unused"]
    format: str
    tables: Mapping[str, Rows]
    origin: str
    licence: str
    group: str = ""
    task: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    answers: int | None = None
    hard_negatives: bool = False
    shards: "tuple[Shard, ...]" = ()


RowClass = TypeVar("RowClass", bound=Row)
Yielded = TypeVar("Yielded")


class Noted(Iterable[Yielded]):
    """What a generator yields; when it has been read to its end, `notes` are what it returned."""

    def __init__(self, items: Iterable[Yielded]):
        self._items: Any = items
        self.notes: dict[str, str] = {}

    def __iter__(self) -> Iterator[Yielded]:
        self.notes = dict((yield from self._items) or {})


def parse(row_class: type[RowClass], row: dict[str, Any]) -> RowClass:
    """The checked row: the columns of the class alone, in their stored types.

    Raises:
        ValueError: With the column, the rule and the value, if a column is missing, has another type or is empty, or if
            an item has neither a text nor a picture, or a mark without a picture.

    >>> parse(LabelledText, {"text": "a", "label": 3, "extra": None})
    LabelledText(text='a', label='3')
    """
    try:
        return row_class.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    if first["type"] == "missing":
        there = ", ".join(map(_printed, row)) or "nothing"
        raise ValueError(f"column {first['loc'][0]!r} is missing (the row has: {there})")
    raise ValueError(str(first["ctx"]["error"]))


def _printed(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def kinds(row_class: type[Row]) -> dict[str, Kind]:
    """Column -> kind of the rows of a class.

    >>> kinds(Judgement)["score"]
    Kind(stored='float', rule='whole number up to 1000')
    """
    metadata = {name: column.metadata for name, column in row_class.model_fields.items()}
    return {name: part for name, parts in metadata.items() for part in parts if isinstance(part, Kind)}


def needed(row_class: type[Row]) -> list[str]:
    """The columns that no row of a class may lack.

    >>> needed(Pair)
    ['anchor', 'positive']
    """
    return [name for name in kinds(row_class) if row_class.model_fields[name].is_required()]


def row_classes(format: str, part: str) -> dict[str, type[Row]]:
    """The tables of a format in a part, each with its row class: a training part has `rows` only.

    >>> list(row_classes("classification", "eval")), list(row_classes("classification", "train"))
    (['train', 'rows'], ['rows'])
    """
    tables = FORMATS[format]
    return tables if part == "eval" else {"rows": tables["rows"]}
