"""Pairs in shards: each a Parquet file that becomes one Arrow file on its own, and is read at random from disk.

A shard is written under a temporary name, renamed, and recorded last; so it is whole or not there, shards are made in
any order by any number of processes, and a killed call loses those that it was at work on. Nothing is kept in memory: a
table of 50 million pairs takes what one of a million takes.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..files import write_text
from ..texts import is_blank, same_key
from .pairs import group_of

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("query", "document")
READ = 16_384  # rows that are checked at once
BATCH = 4096  # rows of a record batch: what a random access looks up
OPEN = 64  # shards of a table that are mapped at once


class Shard(NamedTuple):
    """What is known of a shard that is written.

    Attributes:
        file: Name of the Arrow file within the dataset's folder.
        rows: Pairs in it.
        empty: Rows that were left out, for one of their texts has nothing that can be seen.
        unwanted: Rows that were left out, for one of their texts was to be.
        bytes: Size of the Arrow file.
        sha256: Of the Parquet file that it was made of.
        key: Of the settings that it was made with.
    """

    file: str
    rows: int
    empty: int
    unwanted: int
    bytes: int
    sha256: str
    key: str


def write_shard(source: Path, target: Path, *, sha256: str, key: str, unwanted: Set[str] = frozenset()) -> Shard:
    """Make the Arrow file of one Parquet file, and its record beside it.

    Args:
        source: A Parquet file with the text columns `query` and `document`.
        target: The Arrow file; replaced if it exists.
        sha256: Of the source.
        key: Of the settings.
        unwanted: Keys (`texts.same_key`) of texts; a row that has one of them is left out.

    Raises:
        ValueError: With file and rows, if a column is missing, is no text or not UTF-8, or the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    schema = pa.schema([(name, pa.large_string()) for name in COLUMNS])
    rows = empty = left_out = read = 0
    try:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            file = pq.ParquetFile(source)
            if absent := [name for name in COLUMNS if name not in file.schema_arrow.names]:
                raise ValueError(f"column {absent[0]!r} is missing (it has: {', '.join(file.schema_arrow.names)})")
            rest = schema.empty_table()
            for batch in file.iter_batches(batch_size=READ, columns=list(COLUMNS), use_threads=False):
                seen = _visible(pa.Table.from_batches([batch]), schema)
                kept = _without(seen, unwanted) if unwanted else seen
                read += len(batch)
                empty += len(batch) - len(seen)
                left_out += len(seen) - len(kept)
                rows += len(kept)
                together = pa.concat_tables([rest, kept]).combine_chunks()
                whole = len(together) - len(together) % BATCH
                writer.write_table(together.slice(0, whole), max_chunksize=BATCH)
                rest = together.slice(whole)
            writer.write_table(rest)
        size = partial.stat().st_size
        partial.replace(target)
    except (ValueError, OSError) as error:  # Arrow's own are both
        if isinstance(error, OSError) and error.errno is not None:  # of the system: a full disk
            raise
        reason = " ".join(str(error).split())
        raise ValueError(f"{source}: cannot be read behind row {read:,} ({reason:.200})") from None
    finally:
        partial.unlink(missing_ok=True)
    shard = Shard(target.name, rows, empty, left_out, size, sha256, key)
    write_text(_record(target), json.dumps(shard._asdict()))
    return shard


def written_shard(target: Path, key: str) -> Shard | None:
    """What is recorded of an Arrow file, if it is whole and was made with these settings.

    Args:
        target: The Arrow file.
        key: Of the settings.
    """
    try:
        shard = Shard(**json.loads(_record(target).read_text(encoding="utf-8")))
        return shard if shard.key == key and target.stat().st_size == shard.bytes else None
    except (OSError, ValueError, TypeError):
        return None


class ShardedTable:
    """The pairs of some shards as one table: `table[[3, 70_000_000]]` gives their columns, read from disk.

    Args:
        folder: With the Arrow files.
        shards: "file" and "rows" of each, in order.
    """

    streamed = True  # its order is computed (`training.permutation`), for an array of it would not fit

    def __init__(self, folder: Path, shards: Sequence[Mapping[str, Any]]):
        self.folder = folder
        self.files = [shard["file"] for shard in shards]
        self.ends = np.cumsum([shard["rows"] for shard in shards])
        self._open: OrderedDict[int, pa.RecordBatchFileReader] = OrderedDict()

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": OrderedDict()}  # a worker opens its own

    def __getitem__(self, asked: Any) -> Any:
        """Columns of the rows of a list or slice, {"query": […], "document": […], "group": […]}; or a whole column, as
        an iterator, by its name."""
        if isinstance(asked, str):
            return self._column(asked)
        rows = np.arange(*asked.indices(len(self))) if isinstance(asked, slice) else np.asarray(asked, dtype=np.int64)
        read: dict[str, list] = {name: [None] * len(rows) for name in COLUMNS}
        owners = np.searchsorted(self.ends, rows, side="right")
        for owner in np.unique(owners):
            reader = self._reader(int(owner))
            first = self.ends[owner - 1] if owner else 0
            for place in np.flatnonzero(owners == owner):
                number, row = divmod(int(rows[place] - first), BATCH)
                batch = reader.get_batch(number)  # mapped, not read
                for name in COLUMNS:
                    read[name][place] = batch.column(name)[row].as_py()
        return read | {"group": [group_of(text) for text in read["document"]]}

    def _column(self, name: str) -> Iterator[str]:
        for owner in range(len(self.files)):
            reader = self._reader(owner)
            for number in range(reader.num_record_batches):
                yield from reader.get_batch(number).column(name).to_pylist()

    def _reader(self, owner: int) -> "pa.RecordBatchFileReader":
        import pyarrow as pa

        if owner not in self._open:
            if len(self._open) == OPEN:
                self._open.popitem(last=False)
            self._open[owner] = pa.ipc.open_file(pa.memory_map(str(self.folder / self.files[owner])))
        self._open.move_to_end(owner)
        return self._open[owner]


def sha256_of(path: Path) -> str:
    """The hash of a file's content.

    Args:
        path: Of any size.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(target: Path) -> Path:
    return target.with_suffix(".json")


def _visible(table: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """The rows of which both texts can be seen, as the schema has them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in COLUMNS:
        kind = table.schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise ValueError(f"column {name!r} must be text, not {kind}")
    table = table.cast(schema)
    table.validate(full=True)  # that it is UTF-8
    seen = np.ones(len(table), dtype=bool)
    for name in COLUMNS:
        of_column = pc.fill_null(pc.match_substring_regex(table[name], "[!-~]"), False)  # ASCII that can be seen
        visible = of_column.to_numpy().copy()
        for place in np.flatnonzero(~visible):  # few: look at each
            text = table[name][int(place)].as_py()
            visible[place] = text is not None and not is_blank(text)
        seen &= visible
    return table.filter(pa.array(seen))


def _without(table: "pa.Table", unwanted: Set[str]) -> "pa.Table":
    import pyarrow as pa

    sides = (table[name].to_pylist() for name in COLUMNS)
    return table.filter(
        pa.array([unwanted.isdisjoint(map(same_key, pair)) for pair in zip(*sides, strict=True)], pa.bool_())
    )
