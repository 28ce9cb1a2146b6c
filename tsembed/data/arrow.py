"""Rows -> one Arrow table on disk, in a stream, with their number and a platform-independent hash."""

import hashlib
import json
from pathlib import Path
from typing import Any

from .columns import Kind

BATCH = 1000  # rows held in memory
BATCH_BYTES = 64 * 2**20  # of the pictures held in memory


class TableWriter:
    """Writes rows as a `datasets` folder: `add` each row, then `close`.

    Args:
        folder: Must not exist yet.
        columns: Column -> kind.
    """

    def __init__(self, folder: Path, columns: dict[str, Kind]):
        import pyarrow as pa

        arrow = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bytes": pa.binary()}
        arrow |= {"texts": pa.list_(pa.string()), "floats": pa.list_(pa.float64()), "ints": pa.list_(pa.int64())}
        self.folder, self.columns = folder, list(columns)
        self.schema = pa.schema([(name, arrow[kind.stored]) for name, kind in columns.items()])
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._stream = folder.with_name(f"{folder.name}.stream")
        self._writer = pa.ipc.new_stream(str(self._stream), self.schema)
        self._batch: list[dict] = []
        self._images = [name for name, kind in columns.items() if kind.stored == "bytes"]
        self._bytes = 0
        self._digest = hashlib.sha256()
        self.rows = 0

    def add(self, row: dict[str, Any]) -> None:
        """Take in a row with the table's columns, and write the batch when it is full."""
        values = [row[name] for name in self.columns]
        line = json.dumps(values, ensure_ascii=False, separators=(",", ":"), default=_sha256)
        self._digest.update(line.encode() + b"\n")
        self._batch.append(row)
        self.rows += 1
        self._bytes += sum(len(row[name] or b"") for name in self._images)
        if len(self._batch) == BATCH or self._bytes >= BATCH_BYTES:
            self._flush()

    def close(self) -> str:
        """Finishes the folder; returns the sha256 of the rows as JSON lines, which every machine computes alike.

        A picture stands in its line with its own sha256.
        """
        import datasets

        self._flush()
        self._writer.close()
        shown = datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            datasets.Dataset.from_file(str(self._stream)).save_to_disk(str(self.folder))
        finally:
            if not shown:
                datasets.enable_progress_bars()
        self._stream.unlink()
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Leaves nothing, for a table that got no row."""
        self._writer.close()
        self._stream.unlink()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._batch:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._batch, schema=self.schema))
            self._batch, self._bytes = [], 0


def _sha256(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()
