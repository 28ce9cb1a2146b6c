"""What a user has -> datasets: a folder in the layout of docs/data_layout.md, a table, or what `datasets` saved."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..data.folder import images, text
from ..data.folder.files import ENDINGS, Faults, provenance, read_objects
from ..data.schema import FORMATS, NAME, DatasetSpec, needed
from ..settings import Data
from .names import FORMATS_OF_A_TABLE

# Names that tables give to the columns of a format, besides its own.
OTHER_NAMES = {
    "anchor": ("query", "question", "sentence1", "title"),
    "positive": ("document", "answer", "passage", "context", "sentence2", "body"),
    "text": ("sentence",),
    "label": ("class", "category"),
}
# Columns with hard negatives beside a pair: a list, or a text each, as sentence-transformers' miner writes them.
NEGATIVE = re.compile(r"negatives|negative(?:_(\d+))?")


class Source(NamedTuple):
    """The datasets of a user's folder or file."""

    specs: Iterator[DatasetSpec]
    fingerprint: list[str]  # changes when the input does
    of_images: bool


def source(data: Data, *, format: str | None = None, columns: Mapping[str, str] | None = None) -> Source:
    """The datasets of `data.path`.

    Args:
        data: Its path is a folder in the layout of docs/data_layout.md, which may have any part of it, a folder that
            `datasets` saved (`save_to_disk`), or a table: CSV, TSV, Parquet, or JSON lines.
        format: Of a table: one of `FORMATS_OF_A_TABLE`; by its columns if not given.
        columns: Of a table: column of the format -> its name in the table.

    Raises:
        ValueError: If there is nothing of that kind, or a table's columns are not those of a format.
    """
    path = data.path
    if path is None or not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    saved = path.is_dir() and any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
    if path.is_file() or saved:
        parts = _saved(path) if saved else {"train": _table(path)}
        return Source(_specs_of_table(path, parts, format, columns or {}), _fingerprint(path), False)
    if format or columns:
        raise ValueError(f"{path} is a folder of sets, whose layout says format and columns: leave them out")
    folders = {child.name for child in path.iterdir() if child.is_dir()}
    if folders & set(text.USED):
        return Source(text.specs(data), text.fingerprint(data), False)
    if "images" in folders:
        return Source(images.specs(data), images.fingerprint(data), True)
    known = ", ".join([*text.USED, "images"])
    raise ValueError(
        f"{path} has none of the folders {known} (docs/data_layout.md), and is no table ({', '.join(ENDINGS)})"
    )


def _fingerprint(path: Path) -> list[str]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]


def _saved(path: Path) -> dict[str, Any]:
    import datasets

    loaded = datasets.load_from_disk(str(path))
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}


def _table(path: Path) -> Iterator[dict[str, Any]]:
    if not path.name.endswith(ENDINGS):
        raise ValueError(f"{path.name}: a table is one of {', '.join(ENDINGS)}")
    faults = Faults(path.parent)
    for _, row in read_objects(path, faults):
        yield row
    faults.stop()


def _specs_of_table(
    path: Path, parts: dict[str, Any], format: str | None, columns: Mapping[str, str]
) -> Iterator[DatasetSpec]:
    name = path.name.split(".")[0]
    if not NAME.fullmatch(name):
        raise ValueError(f"{path.name}: the name of a dataset has letters, digits, '_', '-' and '.' only")
    origin, licence = provenance(path if path.is_dir() else path.parent)
    if "train" not in parts:
        raise ValueError(f"{path} has the splits {', '.join(parts)} and no split 'train'")
    rows = {part: list(parts[part]) for part in parts}
    if not rows["train"]:
        raise ValueError(f"{path}: no row to train on")
    format, names = _columns_of(path, list(rows["train"][0]), format, columns)
    renamed = {part: [{key: row.get(names[key]) for key in names} for row in rows[part]] for part in rows}
    hard = _add_negatives(rows["train"], renamed["train"], columns.get("negatives")) if format == "pairs" else False
    yield DatasetSpec(name, "train", format, {"rows": renamed["train"]}, origin, licence, hard_negatives=hard)
    if format != "pairs" and renamed.get("test"):
        tables = {"rows": renamed["test"]} | ({"train": renamed["train"]} if format == "classification" else {})
        yield DatasetSpec(name, "eval", format, tables, origin, licence)


def _add_negatives(rows: list[dict[str, Any]], pairs: list[dict[str, Any]], column: str | None) -> bool:
    """Gives each pair the negatives of its row, if it has some; returns whether any has.

    Args:
        rows: As the table has them. In JSON lines each row has columns of its own.
        pairs: The same rows with the columns of a pair.
        column: The name that the user gives to `negatives`; None: by `NEGATIVE`.
    """
    there = dict.fromkeys(name for row in rows for name in row if isinstance(name, str))
    if column is None:
        matches = [match for name in there if (match := NEGATIVE.fullmatch(name))]
        chosen = [match[0] for match in sorted(matches, key=lambda match: int(match[1] or 0))]
    elif column in there:
        chosen = [column]
    else:
        raise ValueError(f"negatives={column}: the table has no such column (it has {', '.join(there)})")
    for row, pair in zip(rows, pairs, strict=True):
        negatives: list[Any] = []
        for value in (row.get(name) for name in chosen):
            if value not in (None, ""):  # a row may have fewer than the others
                negatives += value if isinstance(value, list) else [value]
        if negatives:
            pair["negatives"] = negatives
    return any("negatives" in pair for pair in pairs)


def _columns_of(
    path: Path, there: list[str], format: str | None, columns: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """The format of a table, and for each of the format's columns its name in the table."""
    if format is not None and format not in FORMATS_OF_A_TABLE:
        raise ValueError(f"format {format!r}: a table is one of {', '.join(FORMATS_OF_A_TABLE)}")
    for wanted in (format,) if format else ("pairs", "classification"):
        names = {}
        for column in needed(FORMATS[wanted]["rows"]):
            choices = (columns[column],) if column in columns else (column, *OTHER_NAMES[column])
            names[column] = next((choice for choice in choices if choice in there), "")
        if all(names.values()):
            return wanted, names
    formats = {name: ", ".join(needed(FORMATS[name]["rows"])) for name in FORMATS_OF_A_TABLE}
    known = "; ".join(f"{name}: {listed}" for name, listed in formats.items())
    raise ValueError(
        f"{path} has the columns {', '.join(there)}, which are those of no format ({known}); "
        "name them: --columns anchor=NAME positive=NAME"
    )
