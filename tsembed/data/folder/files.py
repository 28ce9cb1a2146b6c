"""Files of rows (JSON lines, plain or gzip, CSV, TSV, Parquet) -> checked rows, every fault named by file and line."""

import codecs
import gzip
import json
import pickle
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ...tasks import TEXT_TASKS
from ..archives import BROKEN_GZIP, check_no_pointer
from ..schema import Row, RowClass, kinds, parse
from .tables import DELIMITERS, delimited_rows, parquet_rows, typed

ENDINGS = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")  # of files of rows
MAX_FAULTS = 10  # of a set that are named with file and line
_FRONT_MATTER = re.compile(r"---\s*\n(.*?)\n---\s*(?:\n|$)", re.DOTALL)
SPOOLED = 1000  # rows of a spool that are in memory at a time


class Faults:
    """Collects the faults of a whole folder, up to `MAX_FAULTS` of each set and the number of the others."""

    def __init__(self, root: Path):
        self.root = root
        self._lines: dict[str, list[str]] = {}  # set -> a line per fault
        self._more: Counter[str] = Counter()  # set -> faults without a line
        self._files: set[Path] = set()

    def add(self, path: Path, line: int | None, rule: str) -> None:
        """Note a fault of a file.

        Args:
            path: Inside the root, or the root itself.
            line: Counted from 1; None where the fault is not of one line.
            rule: What does not hold.
        """
        place = path.relative_to(self.root) if path != self.root else path
        of_set = "/".join(place.parts[:2])
        lines = self._lines.setdefault(of_set, [])
        self._files.add(path)
        if len(lines) < MAX_FAULTS:
            lines.append(f"  {place}{f':{line}' if line else ''}: {rule}")
        else:
            self._more[of_set] += 1

    def names(self, path: Path) -> bool:
        """Whether a fault of this file is among them."""
        return path in self._files

    def stop(self) -> None:
        """Go on if there are no faults.

        Raises:
            ValueError: With a line per fault.
        """
        if not self._lines:
            return
        text = []
        for of_set, lines in self._lines.items():
            more = self._more[of_set]
            text += [*lines, *([f"  {of_set}: {more:,} more fault{'s' * (more > 1)}"] if more else [])]
        where = f"{self.root} does not follow the layout of docs/data_layout.md:"
        raise ValueError("\n".join([where, *text]))


def read(path: Path, row_class: type[RowClass], faults: Faults) -> Iterator[tuple[int, RowClass]]:
    """Line number and checked row of every good line; the others go to `faults`."""
    columns = kinds(row_class)
    for number, row in read_objects(path, faults):
        try:
            yield number, parse(row_class, typed(row, columns) if path.suffix in DELIMITERS else row)
        except ValueError as error:
            faults.add(path, number, str(error))


def read_objects(path: Path, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and columns of every row of a file of one of `ENDINGS`; what is no row goes to `faults`."""
    try:
        check_no_pointer(path)
    except (OSError, ValueError) as error:
        faults.add(path, None, str(error))
        return
    if path.suffix in DELIMITERS:
        yield from delimited_rows(path, faults)
    elif path.suffix == ".parquet":
        yield from parquet_rows(path, faults)
    else:
        yield from _json_lines(path, faults)


def files_by_stem(folder: Path, stems: Sequence[str], format: str, faults: Faults) -> dict[str, Path]:
    """Stem -> the file of rows of this name, of the files in a set's folder; others of these endings are faults."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem, _, ending = path.name.partition(".")
        if not {"jsonl", "csv", "tsv", "parquet"} & set(ending.split(".")):
            continue
        if f".{ending}" not in ENDINGS or stem not in stems:
            known = ", ".join(f"{name}.jsonl[.gz]" for name in stems)
            faults.add(path, None, f"unknown file; {format} has {known}, or the same as .csv, .tsv or .parquet")
        elif stem in files:
            faults.add(path, None, f"{files[stem].name} stands beside it; one of the two")
        else:
            files[stem] = path
    return files


def _json_lines(path: Path, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and JSON object of every line that is one; the others go to `faults`.

    A byte order mark before the first line, and blank lines after the last row, are no fault.
    """
    blank: list[int] = []  # numbers of blank lines that no row has followed yet
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if not line.strip():
                    blank.append(number)
                    continue
                for empty in blank:
                    faults.add(path, empty, "an empty line; every line is one JSON object")
                blank.clear()
                try:
                    row = _json_object(line)
                except ValueError as error:
                    faults.add(path, number, str(error))
                else:
                    yield number, row
    except BROKEN_GZIP as error:
        faults.add(path, None, f"not a complete gzip file ({error})")


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise ValueError("not JSON that can be read (lists or objects are nested too deep)") from None
    if not isinstance(row, dict):
        raise ValueError(f"a line is one JSON object, not {row!r:.60}")
    return row


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {name!r} stands twice in one object")
    return row


class Spool(Iterable[RowClass]):
    """Checked rows of one class on disk, in their order.

    The whole folder is checked before anything of it is written. The rows wait here, so that no file is parsed and
    no row is checked a second time, however large the file.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()
        self._end = 0
        self._batch: list[Row] = []

    def __del__(self) -> None:
        self._file.close()

    def add(self, row: RowClass) -> None:
        """Take in a row, after all others."""
        self._batch.append(row)
        if len(self._batch) == SPOOLED:
            self._flush()

    def __iter__(self) -> Iterator[RowClass]:
        self._flush()
        place = 0
        while place < self._end:
            self._file.seek(place)
            row_class, columns = pickle.load(self._file)
            place = self._file.tell()
            yield from (row_class.model_construct(**row) for row in columns)

    def _flush(self) -> None:
        if self._batch:
            self._file.seek(self._end)
            pickle.dump((type(self._batch[0]), [vars(row) for row in self._batch]), self._file)
            self._end, self._batch = self._file.tell(), []


def provenance(folder: Path) -> tuple[str, str]:
    """Origin and licence from the sentences `Origin: …` and `Licence…: …` of a README.md, else "not stated"."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    found = []
    for key in ("Origin", "Licence"):
        match = re.search(rf"^.*?\b{key}[^:\n]*:[ \t]*(.+?)\.?(?=\s+[A-Z][A-Za-z ]*:\s|\n|$)", text, re.MULTILINE)
        found.append(match[1].strip() if match else "not stated")
    return found[0], found[1]


def stated_task(folder: Path, faults: Faults) -> str | None:
    """The training task that a set of pairs names: in `task.json`, or in the YAML front matter of its README.md."""
    file, readme = folder / "task.json", folder / "README.md"
    if file.is_file():
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            faults.add(file, None, f"not JSON ({error})")
            return None
    elif readme.is_file() and (front := _FRONT_MATTER.match(readme.read_text(encoding="utf-8", errors="replace"))):
        file = readme
        try:
            content = yaml.safe_load(front[1])
        except yaml.YAMLError as error:
            faults.add(file, None, f"its front matter is not YAML ({' '.join(str(error).split())})")
            return None
        if not isinstance(content, dict) or "task" not in content:
            return None
    else:
        return None
    task = content.get("task") if isinstance(content, dict) else None
    if task not in TEXT_TASKS:
        faults.add(file, None, f"'task' must be one of {', '.join(TEXT_TASKS)}, not {task!r:.60}")
    return task
