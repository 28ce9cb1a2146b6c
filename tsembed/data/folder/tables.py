"""Tables beside JSON lines: CSV, TSV and Parquet files -> rows as dicts, with every fault named by file and row."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..columns import Kind

if TYPE_CHECKING:
    from .files import Faults

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LONGEST_CELL = 2**27  # characters; the csv module's own limit is 131,072, which a long document has


def delimited_rows(path: Path, faults: "Faults") -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and cells by the header's names of every row; a row with another number of cells is a fault.

    The line is the last one of a row whose cells have line breaks. Blank lines are passed over.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines, _long_cells():
        reader = csv.reader(lines, delimiter=DELIMITERS[path.suffix], strict=True)
        try:
            header = next(reader, [])
            if twice := [name for name, count in Counter(header).items() if count > 1]:
                faults.add(path, 1, f"the column {twice[0]!r} stands twice in the header")
                return
            for cells in reader:
                if len(cells) == len(header):
                    yield reader.line_num, dict(zip(header, cells, strict=True))
                elif cells:
                    faults.add(path, reader.line_num, f"{len(cells)} cells; the header names {len(header)} columns")
        except csv.Error as error:
            faults.add(path, reader.line_num, f"not {path.suffix[1:].upper()} ({error})")
        except UnicodeDecodeError as error:
            faults.add(path, None, f"not UTF-8 (after line {reader.line_num}, {error.reason})")


def parquet_rows(path: Path, faults: "Faults") -> Iterator[tuple[int, dict[str, Any]]]:
    """Number, from 1, and columns of every row that is not null throughout."""
    import pyarrow
    import pyarrow.parquet as parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        faults.add(path, None, f"not a readable Parquet file ({' '.join(str(error).split())})")


def typed(cells: dict[str, Any], kinds: dict[str, Kind]) -> dict[str, Any]:
    """The row of a table of texts, with numbers where a column has numbers, and lists where a cell has a JSON list.

    What cannot be read as such stays a text, which the column's rule then names.
    """
    return {name: _typed(cell, kinds[name].stored) if name in kinds else cell for name, cell in cells.items()}


def _typed(cell: str, stored: str) -> Any:
    if (stored == "float" and cell) or (stored in ("texts", "floats") and cell.lstrip().startswith("[")):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


@contextmanager
def _long_cells() -> Iterator[None]:
    """Within it the csv module takes cells of `LONGEST_CELL` characters; its limit is one of the whole process."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
