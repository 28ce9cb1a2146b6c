"""A folder of JSONL files in the layout of docs/data_layout.md -> `Source`s. Nothing is dropped silently.

The whole folder is checked first, so that one error names up to ten faults with file, line and rule. Then the sources
are read, each in a stream. A training row with a text that an evaluation part of the same folder scores is left out and
counted in the manifest's notes (contamination). Of a retrieval set that is its queries and its relevant documents; the
other documents of a corpus are no such texts: a corpus may hold what was seen in training, as in MTEB. A relevant
document is compared with its title, as it is scored, and without, as a training file may hold the same passage.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...presets import Data
from ..schema import FORMS, NAME, Source
from .files import UNTITLED, Faults, provenance, read, stated_task

TRAIN_AND_TEST = {"train": "train", "test": "eval"}
# form -> stem of a file -> the part that it serves. The other parts of a form are listed in the manifest as unused.
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
REASON = {form: UNSEEN for form in ("reranking", "pair_classification", "sts", "summarization")} | {
    "pairs": "pairs are no MTEB task type; their train part alone is used",
    "classification": "the train and test parts alone are used",
    "clustering": "the train and test parts alone are used",
    "images": "images are no text",
}


class Set(NamedTuple):
    """The files of one dataset by stem (`train`, `queries`, …), in the folder `form/name`."""

    form: str
    name: str
    folder: Path
    files: dict[str, Path]

    def types(self, stem: str) -> dict[str, str]:
        """Kind of every column of the file with this stem."""
        tables = FORMS[self.form]
        return tables[stem if self.form == "retrieval" else "rows"]


def sources(data: Data) -> Iterator[Source]:
    """All datasets of the folder `data.path`.

    Raises:
        ValueError: If there is no such folder, or with the first ten faults found in it.
    """
    root = _root(data)
    faults = Faults(root)
    sets = _sets(root, faults)
    held: set[bytes] = set()  # digests of the texts that are evaluated
    for dataset in sets:
        _check(dataset, held, faults)
    names: dict[tuple[str, str], Set] = {}
    for dataset in sets:
        for part in {USED[dataset.form].get(stem) for stem in dataset.files} & {"train", "eval"}:
            other = names.setdefault((part, dataset.name), dataset)
            if other is not dataset:
                rule = f"{other.form}/{other.name} has a part for {part} too; a name is used once in {part}"
                faults.add(dataset.folder, None, rule)
    tasks = {s.name: stated_task(s.folder, faults) for s in sets if s.form == "pairs"}
    faults.stop()
    if not sets:
        raise ValueError(f"{root} has no dataset; the layout is <form>/<set>/*.jsonl[.gz] (docs/data_layout.md)")
    for folder in _folders(root / "images"):
        yield Source(folder.name, "unused", "images", {}, *provenance(folder), notes={"reason": REASON["images"]})
    for dataset in sets:
        yield from _yield(dataset, held, data.task_of_pairs.get(dataset.name) or tasks.get(dataset.name))


def fingerprint(data: Data) -> list[str]:
    """Name, size and time of every file that `sources` reads: a cheap mark of the folder's content."""
    root = _root(data)
    files = sorted(p for form in USED for p in (root / form).glob("*/*") if p.is_file())
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
    found = []
    for form_folder in _folders(root):
        if form_folder.name not in USED:
            if form_folder.name != "images":
                faults.add(form_folder, None, f"unknown form; known forms: {', '.join([*USED, 'images'])}")
            continue
        for folder in _folders(form_folder):
            if not NAME.fullmatch(folder.name):
                faults.add(folder, None, "a set's name has letters, digits, '_', '-' and '.' only")
            files = _files(form_folder.name, folder, faults)
            found.append(Set(form_folder.name, folder.name, folder, files))
    order = list(FORMS)
    return sorted(found, key=lambda dataset: (order.index(dataset.form), dataset.name))


def _files(form: str, folder: Path, faults: Faults) -> dict[str, Path]:
    allowed = USED[form] if form in ("retrieval", "wikipedia") else SPLITS
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem, _, ending = path.name.partition(".")
        if "jsonl" not in ending:
            continue
        if ending not in ("jsonl", "jsonl.gz") or stem not in allowed:
            faults.add(path, None, f"unknown file; {form} has {', '.join(f'{s}.jsonl[.gz]' for s in allowed)}")
        elif stem in files:
            faults.add(path, None, f"{files[stem].name} stands beside it; one of the two")
        else:
            files[stem] = path
    needed = {"retrieval": list(allowed), "wikipedia": list(allowed)}.get(form, [])
    if form == "classification" and "test" in files:
        needed = ["train"]
    for stem in needed:
        if stem not in files:
            faults.add(folder, None, f"{stem}.jsonl[.gz] is missing")
    if not files and not needed:
        faults.add(folder, None, "no .jsonl[.gz] file")
    return files


def _check(dataset: Set, held: set[bytes], faults: Faults) -> None:
    """Reads every file of a set once: its columns, then the rules that tie rows together; fills `held`."""
    seen: dict[str, dict] = {}  # stem -> what later rows refer to: labels of train; ids, of a corpus with the digests
    for stem in sorted(dataset.files, key=["train", "queries", "corpus", "passages", "qrels", "dev", "test"].index):
        path, types = dataset.files[stem], dataset.types(stem)
        evaluated = USED[dataset.form].get(stem) == "eval" and dataset.form != "wikipedia"
        known, number = seen.setdefault(stem, {}), 0
        if stem == "corpus":
            types = types | {UNTITLED: "maybe"}
        for number, row in read(path, types, faults):
            if rule := _rule(dataset.form, stem, row, seen):
                faults.add(path, number, rule)
            elif stem == "corpus":
                known[row["doc_id"]] = {_digest(row["text"]), _digest(row[UNTITLED] or row["text"])}
            elif stem == "qrels":
                known[row["query_id"], row["doc_id"]] = None
                if row["score"] > 0:
                    held |= seen["corpus"][row["doc_id"]]
            else:
                known[row.get("query_id") or row.get("id") or row.get("label")] = None
                if evaluated:
                    held.update(_digest(text) for text in _texts(row, types))
        if not number and not faults.names(path):
            faults.add(path, None, "no row")


def _rule(form: str, stem: str, row: dict, seen: dict[str, dict]) -> str | None:
    """The rule beyond its own columns that a row breaks, or None."""
    if form == "classification" and stem == "test" and row["label"] not in seen.get("train", {}):
        return f"unknown label {row['label']!r}: the train part has no row with it"
    if form == "summarization" and len(row["relevance"]) != len(row["machine_summaries"]):
        return f"{len(row['relevance'])} 'relevance' scores for {len(row['machine_summaries'])} 'machine_summaries'"
    for column, table in (("query_id", "queries"), ("doc_id", "corpus"), ("id", "passages")):
        if stem == table and row[column] in seen[stem]:
            return f"{column} {row[column]!r} stands in an earlier line; an id is used once"
        if stem == "qrels" and column in row and row[column] not in seen.get(table, {}):
            return f"unknown {column} {row[column]!r}: not in {table}"
    if stem == "qrels" and (row["query_id"], row["doc_id"]) in seen[stem]:
        return f"query {row['query_id']!r} and document {row['doc_id']!r} stand in an earlier line"
    if stem == "qrels" and not row["score"].is_integer():
        return f"'score' must be a whole number, not {row['score']}"
    return None


def _texts(row: dict, types: dict[str, str]) -> Iterator[str]:
    for column, kind in types.items():
        if kind == "text":
            yield row[column]
        elif kind == "list":
            yield from row[column]


def _digest(text: str) -> bytes:
    """Of the text without case and repeated white space, so that trivial variants count as the same text."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).digest()


def _rows(dataset: Set, stem: str) -> Iterator[dict]:
    faults = Faults(dataset.folder)
    for _, row in read(dataset.files[stem], dataset.types(stem), faults):
        yield row
    faults.stop()  # only if the file has changed since it was checked


def _uncontaminated(dataset: Set, held: set[bytes], notes: dict[str, str]) -> Iterator[dict]:
    removed = 0
    types = dataset.types("train")
    for row in _rows(dataset, "train"):
        if any(_digest(text) in held for text in _texts(row, types)):
            removed += 1
        else:
            yield row
    if removed:
        notes["contamination"] = f"{removed} train rows left out: an evaluation part scores a text of theirs"


def _yield(dataset: Set, held: set[bytes], task: str | None) -> Iterator[Source]:
    origin, licence = provenance(dataset.folder)
    evaluated = [stem for stem in dataset.files if USED[dataset.form].get(stem) == "eval"]
    if USED[dataset.form].get("train") and "train" in dataset.files:
        notes: dict[str, str] = {}
        rows = _uncontaminated(dataset, held, notes)
        task = task if dataset.form == "pairs" else None
        yield Source(dataset.name, "train", dataset.form, {"rows": rows}, origin, licence, task=task, notes=notes)
    if evaluated:
        notes = {}
        tables = {stem if dataset.form == "retrieval" else "rows": _rows(dataset, stem) for stem in evaluated}
        if dataset.form == "classification":
            tables["train"] = _uncontaminated(dataset, held, notes)
        yield Source(dataset.name, "eval", dataset.form, tables, origin, licence, notes=notes)
    for stem in dataset.files:
        if stem not in USED[dataset.form]:
            reason = {"reason": REASON[dataset.form], "file": f"{dataset.form}/{dataset.name}/{stem}"}
            yield Source(dataset.name, "unused", dataset.form, {}, origin, licence, notes=reason)
