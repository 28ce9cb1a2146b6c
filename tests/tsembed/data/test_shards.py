"""Invariants of pairs in shards.

- A shard has the rows of its Parquet file, in order, but those with a text of which nothing can be seen.
- It is whole or not there: what cannot be read is one line with file and rows, and leaves nothing.
- A table of shards reads any rows as one of Arrow does, in the order asked for, and goes to workers.
- Reading takes no memory that grows with the number of pairs.
"""

import pickle

import numpy as np
import pytest

from tsembed.data import shards
from tsembed.data.pairs import group_of
from tsembed.data.shards import BATCH, ShardedTable, sha256_of, write_shard, written_shard


def parquet(path, queries, documents, **columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"query": queries, "document": documents} | columns), path, row_group_size=1000)
    return path


def texts(name, count):
    return [f"{name} {i}" for i in range(count)]


@pytest.fixture
def table(tmp_path):
    """Three shards; the first has more than one batch."""
    made = []
    for number, count in enumerate((2 * BATCH + 5, 3, BATCH)):
        source = parquet(tmp_path / f"{number}.parquet", texts(f"q{number}", count), texts(f"d{number}", count))
        made.append(write_shard(source, tmp_path / f"{number}.arrow", sha256=sha256_of(source), key="key"))
    return ShardedTable(tmp_path, [shard._asdict() for shard in made])


def test_a_shard_has_the_rows_that_can_be_seen(tmp_path):
    queries = ["a", "", None, "\u200b\u00ad", "b", "é", "  ", "c"]
    documents = ["1", "2", "3", "4", "\t", "ü", "7", "日本"]
    source = parquet(tmp_path / "a.parquet", queries, documents, dataset=["x"] * 8)
    shard = write_shard(source, tmp_path / "a.arrow", sha256="hash", key="key")
    assert (shard.rows, shard.empty, shard.sha256, shard.key) == (3, 5, "hash", "key")
    read = ShardedTable(tmp_path, [shard._asdict()])[[0, 1, 2]]
    assert read["query"] == ["a", "é", "c"]
    assert read["document"] == ["1", "ü", "日本"]
    assert read["group"] == [group_of(text) for text in read["document"]]
    assert written_shard(tmp_path / "a.arrow", "key") == shard


def test_a_table_reads_what_was_written(table):
    sizes = (2 * BATCH + 5, 3, BATCH)
    queries = [text for number, count in enumerate(sizes) for text in texts(f"q{number}", count)]
    assert len(table) == sum(sizes)
    assert list(table["query"]) == queries
    rows = np.random.default_rng(0).integers(0, len(table), 500)
    assert table[rows.tolist()]["query"] == [queries[row] for row in rows]
    ends = [0, sizes[0] - 1, sizes[0], sizes[0] + 2, sizes[0] + 3, len(table) - 1, 0]
    assert table[ends]["document"] == [queries[row].replace("q", "d") for row in ends]
    assert table[2:5]["query"] == queries[2:5]
    assert pickle.loads(pickle.dumps(table))[[7]] == table[[7]]


def test_few_files_are_open_at_once(table, monkeypatch):
    monkeypatch.setattr(shards, "OPEN", 2)
    for row in (0, 2 * BATCH + 6, len(table) - 1, 0):
        assert table[[row]]["query"]
        assert len(table._open) <= 2


def test_what_was_made_with_other_settings_or_is_cut_is_not_there(tmp_path):
    source = parquet(tmp_path / "a.parquet", ["a"], ["b"])
    target = tmp_path / "a.arrow"
    assert written_shard(target, "key") is None
    write_shard(source, target, sha256="", key="key")
    assert written_shard(target, "other") is None
    target.write_bytes(target.read_bytes()[:-1])
    assert written_shard(target, "key") is None


def damaged(path):
    parquet(path, texts("q", 5000), texts("d", 5000))
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(content)


def not_utf8(path):
    import pyarrow as pa

    bad = pa.array([b"good", b"\xff\xfe"]).cast(pa.binary()).view(pa.string())
    parquet(path, bad, ["a", "b"])


FAULTS = {
    "damaged": (damaged, "cannot be read behind row 0"),
    "cut": (
        lambda path: path.write_bytes(parquet(path, ["a"], ["b"]).read_bytes()[:-9]),
        "cannot be read behind row 0",
    ),
    "not UTF-8": (not_utf8, "UTF8"),
    "numbers": (lambda path: parquet(path, [1], ["b"]), "column 'query' must be text, not int64"),
    "other columns": (
        lambda path: parquet(path, ["a"], ["b"]) and rename_column(path),
        r"column 'document' is missing \(it has: query, body\)",
    ),
}


def rename_column(path):
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(path).rename_columns(["query", "body"]), path)


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_read_is_one_line_and_leaves_nothing(name, tmp_path):
    make, line = FAULTS[name]
    source = tmp_path / "source" / "a.parquet"
    source.parent.mkdir()
    make(source)
    with pytest.raises(ValueError, match=line) as error:
        write_shard(source, tmp_path / "made" / "a.arrow", sha256="", key="key")
    assert str(error.value).startswith(str(source))
    assert "\n" not in str(error.value)
    assert list((tmp_path / "made").iterdir()) == []
