"""A folder of sets in the layout of docs/data_layout.md -> `DatasetSpec`s. Nothing is dropped silently.

The whole folder is checked first, so that one error names up to ten faults of every set with file, line and rule. The
checked rows wait in a `Spool`. A training row with a text that an evaluation part of the same folder scores is left out
and counted in the manifest's notes (contamination). Of a retrieval set that is its queries and its relevant documents;
the other documents of a corpus are no such texts: a corpus may hold what was seen in training, as in MTEB. A relevant
document is compared with its title, as it is scored, and without, as a training file may hold the same passage.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import model_validator

from ...settings import Data
from ...texts import check_unicode, same_key
from ..columns import Kind
from ..near_duplicates import NearDuplicates
from ..schema import FORMATS, NAME, DatasetSpec, Document, Row, kinds
from .contamination import NEGATIVES, Evaluated, digest, text_columns, texts_of, uncontaminated
from .files import Faults, Spool, files_by_stem, provenance, read, read_objects, stated_task

TRAIN_AND_TEST = {"train": "train", "test": "eval"}
# format -> stem of a file -> the part that it serves. The other parts of a format are listed in the manifest as unused.
USED: dict[str, dict[str, str]] = {
    "pairs": {"train": "train"},
    "classification": TRAIN_AND_TEST,
    "clustering": TRAIN_AND_TEST,
    "retrieval": {"queries": "eval", "corpus": "eval", "qrels": "eval"},
    "reranking": {"test": "eval"},
    "pair_classification": {"test": "eval"},
    "sts": {"test": "eval"},
    "summarization": {"test": "eval"},
    "wikipedia": {"passages": "eval"},
}
SPLITS = ("train", "dev", "test")
UNSEEN = "a task type that stays unseen in training (MoTE §5.3)"
REASON = {format: UNSEEN for format in ("reranking", "pair_classification", "sts", "summarization")} | {
    "pairs": "pairs are no MTEB task type; their train part alone is used",
    "classification": "the train and test parts alone are used",
    "clustering": "the train and test parts alone are used",
    "images": "images are no text",
}


class TitledDocument(Document):
    """A document as the file has it: its title before its text, as MTEB joins them, and the text alone."""

    untitled: Any = None  # of no kind: a corpus is stored as `Document`s

    @model_validator(mode="before")
    @classmethod
    def _join(cls, row: dict[str, Any]) -> dict[str, Any]:
        text, title = row.get("text"), row.get("title")
        if not isinstance(text, str) or title is None:
            return row | {"untitled": text}
        if not isinstance(title, str):
            raise ValueError(f"'title' must be a text, not {title!r:.60}")
        try:
            check_unicode(title)
        except ValueError as error:
            raise ValueError(f"'title': {error}") from None
        return row | {"text": f"{title} {text}".strip(), "untitled": text}


class Set(NamedTuple):
    """The files of one dataset by stem (`train`, `queries`, …), in the folder `format/name`, and its rows."""

    format: str
    name: str
    folder: Path
    files: dict[str, Path]
    rows: dict[str, Spool]  # stem -> rows, of the parts that are used; filled by `_check`
    has: set[str]  # columns that a row may lack and some row has; filled by `_check`

    def row_class(self, stem: str) -> type[Row]:
        """The class of the rows of a file."""
        if stem == "corpus":
            return TitledDocument
        return FORMATS[self.format][stem if self.format == "retrieval" else "rows"]


def specs(data: Data) -> Iterator[DatasetSpec]:
    """All datasets of the folder `data.path`.

    Raises:
        ValueError: If there is no such folder, or with the faults found in it, up to ten per set.
    """
    root = _root(data)
    faults = Faults(root)
    sets = _sets(root, faults)
    evaluated = Evaluated(set(), NearDuplicates())
    for dataset in sets:
        _check(dataset, evaluated, faults)
    names: dict[tuple[str, str], Set] = {}
    for dataset in sets:
        for part in {part for stem, part in USED[dataset.format].items() if stem in dataset.files}:
            other = names.setdefault((part, dataset.name), dataset)
            if other is not dataset:
                rule = f"{other.format}/{other.name} has a part for {part} too; a name is used once in {part}"
                faults.add(dataset.folder, None, rule)
    tasks = {s.name: stated_task(s.folder, faults) for s in sets if s.format == "pairs"}
    faults.stop()
    if not sets:
        raise ValueError(
            f"{root} has no dataset; the layout is <format>/<set>/*.jsonl[.gz], or .csv, .tsv, .parquet "
            "(docs/data_layout.md)"
        )
    for folder in _folders(root / "images"):
        notes = {"reason": REASON["images"]}
        yield DatasetSpec(folder.name, "unused", "images", {}, *provenance(folder), notes=notes)
    for dataset in sets:
        task = None
        if dataset.format == "pairs":
            task = data.task_of_pairs.get(dataset.name) or tasks[dataset.name]
        yield from _specs(dataset, evaluated, task)


def fingerprint(data: Data) -> list[str]:
    """Name, size and time of every file that `specs` reads: a cheap mark of the folder's content."""
    root = _root(data)
    files = sorted(p for format in USED for p in (root / format).glob("*/*") if p.is_file())
    stats = [(p.relative_to(root).as_posix(), p.stat()) for p in files]
    return [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]


def _root(data: Data) -> Path:
    if data.path is None:
        raise ValueError("a local source needs a folder: `data.path` in the preset, or --data FOLDER")
    if not data.path.is_dir():
        raise ValueError(f"{data.path} is no folder")
    return data.path


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.is_dir() and not p.name.startswith("."))


def _sets(root: Path, faults: Faults) -> list[Set]:
    sets = []
    for format_folder in _folders(root):
        if format_folder.name not in USED:
            if format_folder.name != "images":
                faults.add(format_folder, None, f"unknown format; known formats: {', '.join([*USED, 'images'])}")
            continue
        for folder in _folders(format_folder):
            if not NAME.fullmatch(folder.name):
                faults.add(folder, None, "a set's name has letters, digits, '_', '-' and '.' only")
            files = _files(format_folder.name, folder, faults)
            sets.append(Set(format_folder.name, folder.name, folder, files, {}, set()))
    order = list(FORMATS)
    return sorted(sets, key=lambda dataset: (order.index(dataset.format), dataset.name))


def _files(format: str, folder: Path, faults: Faults) -> dict[str, Path]:
    stems = tuple(USED[format]) if format in ("retrieval", "wikipedia") else SPLITS
    files = files_by_stem(folder, stems, format, faults)
    needed = {"retrieval": list(stems), "wikipedia": list(stems)}.get(format, [])
    if format == "classification" and "test" in files:
        needed = ["train"]
    for stem in needed:
        if stem not in files:
            faults.add(folder, None, f"{stem}.jsonl[.gz] is missing")
    if not files and not needed:
        faults.add(folder, None, "no .jsonl[.gz] file")
    return files


def _check(dataset: Set, evaluated: Evaluated, faults: Faults) -> None:
    """Reads every file of a set: its columns, then the rules that tie rows together.

    Fills `dataset.rows`, `dataset.has` and `evaluated`.
    """
    seen: dict[str, dict] = {}  # stem -> what later rows refer to: labels of train; ids, of a corpus with the digests
    for stem in sorted(dataset.files, key=["train", "queries", "corpus", "passages", "qrels", "dev", "test"].index):
        path, row_class, part = dataset.files[stem], dataset.row_class(stem), USED[dataset.format].get(stem)
        if part is None:
            _check_unread(path, faults)
            continue
        columns = kinds(row_class)
        texts, identity = text_columns(columns), _identity_column(columns)
        known, number, rows = seen.setdefault(stem, {}), 0, Spool[Row]()
        row: Any  # of the set's class
        for number, row in read(path, row_class, faults):
            if rule := _rule(dataset.format, stem, row, seen, identity):
                faults.add(path, number, rule)
                continue
            if isinstance(row, TitledDocument):
                known[row.doc_id] = {digest(row.text), digest(row.untitled or row.text)}
                row = Document.model_construct(doc_id=row.doc_id, text=row.text)
            elif stem == "qrels":
                known[row.query_id, row.doc_id] = None
                if row.score > 0:
                    evaluated.digests.update(seen["corpus"][row.doc_id])
            else:
                if identity:
                    known[getattr(row, identity)] = None
                if part == "eval" and dataset.format != "wikipedia":
                    evaluated.add(texts_of(row, texts))
            dataset.has.update([NEGATIVES] if getattr(row, NEGATIVES, None) else [])
            rows.add(row)
        dataset.rows[stem] = rows
        if not number and not faults.names(path):
            faults.add(path, None, "no row")


def _check_unread(path: Path, faults: Faults) -> None:
    """That a file whose columns nobody reads has rows."""
    if not sum(1 for _ in read_objects(path, faults)) and not faults.names(path):
        faults.add(path, None, "no row")


def _identity_column(columns: dict[str, Kind]) -> str | None:
    """The column by which other rows refer to a row; of `qrels`, which refers to two others, the first."""
    return next((column for column in ("query_id", "doc_id", "id", "label") if column in columns), None)


def _rule(format: str, stem: str, row: Any, seen: dict[str, dict], identity: str | None) -> str | None:
    """The rule beyond its own columns that a row breaks, or None."""
    if format == "classification" and stem == "test" and row.label not in seen.get("train", {}):
        return f"unknown label {row.label!r}: the train part has no row with it"
    if format == "summarization" and len(row.relevance) != len(row.machine_summaries):
        return f"{len(row.relevance)} 'relevance' scores for {len(row.machine_summaries)} 'machine_summaries'"
    if identity and stem in ("queries", "corpus", "passages") and getattr(row, identity) in seen[stem]:
        return f"{identity} {getattr(row, identity)!r} stands in an earlier line; an id is used once"
    if format == "reranking":
        negative = {same_key(text) for text in row.negative}
        if both := next((text for text in row.positive if same_key(text) in negative), None):
            return f"{both!r:.60} is both 'positive' and 'negative'"
    if stem != "qrels":
        return None
    for column, table in (("query_id", "queries"), ("doc_id", "corpus")):
        if getattr(row, column) not in seen.get(table, {}):
            return f"unknown {column} {getattr(row, column)!r}: not in {table}"
    if (row.query_id, row.doc_id) in seen[stem]:
        return f"query {row.query_id!r} and document {row.doc_id!r} stand in an earlier line"
    return None


def _specs(dataset: Set, evaluated: Evaluated, task: str | None) -> Iterator[DatasetSpec]:
    origin, licence = provenance(dataset.folder)
    parts = USED[dataset.format]
    stems = [stem for stem in dataset.files if parts.get(stem) == "eval"]
    if "train" in parts and "train" in dataset.files:
        rows = {"rows": uncontaminated(dataset.rows["train"], dataset.row_class("train"), evaluated)}
        hard = NEGATIVES in dataset.has
        yield DatasetSpec(dataset.name, "train", dataset.format, rows, origin, licence, task=task, hard_negatives=hard)
    if stems:
        tables: dict[str, Iterable[Row]] = {
            stem if dataset.format == "retrieval" else "rows": dataset.rows[stem] for stem in stems
        }
        if dataset.format == "classification":
            tables["train"] = uncontaminated(dataset.rows["train"], dataset.row_class("train"), evaluated)
        yield DatasetSpec(dataset.name, "eval", dataset.format, tables, origin, licence)
    for stem in dataset.files:
        if stem not in parts:
            reason = {"reason": REASON[dataset.format], "file": f"{dataset.format}/{dataset.name}/{stem}"}
            yield DatasetSpec(dataset.name, "unused", dataset.format, {}, origin, licence, notes=reason)
