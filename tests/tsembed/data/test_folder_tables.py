"""Invariants of tables in a folder of sets:

- CSV, TSV and Parquet give the rows that the same JSON lines give, in every format, lists and numbers included;
- what is no row of a table is a fault with file, row and rule, beside the faults of the other files.
"""

import csv
import json

import pytest

from study.presets import Data
from tsembed.data.folder import text

ROWS = {
    "pairs/faq/train": [{"anchor": f"why, {i}?", "positive": f'he said "{i}"\nand left'} for i in range(3)],
    "classification/moods/train": [{"text": f"gl\u00fccklich {i}", "label": i % 2} for i in range(4)],
    "classification/moods/test": [{"text": f"traurig {i}", "label": i % 2} for i in range(4)],
    "retrieval/manual/queries": [{"query_id": 7, "query": "filter"}],
    "retrieval/manual/corpus": [{"doc_id": i, "title": "T" * i, "text": f"page {i}"} for i in range(2)],
    "retrieval/manual/qrels": [{"query_id": 7, "doc_id": 1, "score": 2}],
    "reranking/answers/test": [{"query": "q", "positive": ['p, "a"'], "negative": ["n", "m"]}],
    "pair_classification/same/test": [{"a": "x", "b": "y", "label": i} for i in range(2)],
    "sts/alike/test": [{"a": "x", "b": "y", "score": score} for score in (1.5, 2.0, -3e-2)],
    "summarization/notes/test": [
        {"text": "t", "human_summaries": ["h"], "machine_summaries": ["m", "n"], "relevance": [1, 2.5]}
    ],
    "wikipedia/pages/passages": [{"id": 1, "text": "[not a list]"}],
}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(
                {name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()}
                for row in rows
            )
    return path


def found(root):
    return [
        (spec.part, spec.format, spec.name, {name: [vars(row) for row in rows] for name, rows in spec.tables.items()})
        for spec in text.specs(Data(source="local", path=root))
    ]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_a_table_gives_the_rows_of_the_same_json_lines(tmp_path, ending):
    for name, rows in ROWS.items():
        write(tmp_path / f"lines/{name}.jsonl", rows)
        write(tmp_path / f"tables/{name}{ending}", rows)
    tables = found(tmp_path / "tables")
    assert len(tables) == 9
    assert tables == found(tmp_path / "lines")


FAULTS = [
    ("pairs/faq/train.csv", b"anchor,positive\na,b\nc\n", ":3: 1 cells; the header names 2 columns"),
    ("pairs/faq/train.csv", b"anchor,positive\na,b,c\n", ":2: 3 cells; the header names 2 columns"),
    ("pairs/faq/train.csv", b"anchor,anchor\na,b\n", ":1: the column 'anchor' stands twice in the header"),
    (
        "pairs/faq/train.csv",
        b"anchor;positive\na;b\n",
        r":2: column 'anchor' is missing \(the row has: anchor;positive",
    ),
    ("pairs/faq/train.csv", b'anchor,positive\na,"b\nc\n', r":3: not CSV \(unexpected end of data"),
    ("pairs/faq/train.tsv", b"anchor\tpositive\na\t\n", ":2: 'positive' is empty"),
    ("pairs/faq/train.csv", "anchor,positive\na,\u00e9\n".encode("latin-1"), ": not UTF-8"),
    ("pairs/faq/train.csv", b"", ": no row"),
    ("pairs/faq/train.parquet", b"", ": not a readable Parquet file"),
    ("pairs/faq/train.parquet", b"PAR1 cut off", ": not a readable Parquet file"),
    ("pairs/faq/train.csv", b"version https://git-lfs.github.com/spec/v1\nsize 7\n", ": a pointer of Git LFS"),
    ("sts/alike/test.csv", b"a,b,score\nx,y,high\n", ":2: 'score' must be a finite number, not 'high'"),
    ("reranking/r/test.csv", b"query,positive,negative\nq,p,n\n", ":2: 'positive' must be a list with at least one"),
    ("sts/alike/train.parquet", b"nobody reads it", ": not a readable Parquet file"),
    ("pairs/faq/tset.csv", b"", ": unknown file; pairs has .* or the same as .csv, .tsv or .parquet"),
    ("pairs/faq/train.csv.gz", b"", ": unknown file"),
]


@pytest.mark.parametrize(("name", "content", "rule"), FAULTS)
def test_what_is_no_row_is_a_fault_with_file_row_and_rule(tmp_path, name, content, rule):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="does not follow the layout") as error:
        found(tmp_path)
    assert error.match(f"  {name}{rule}")


def test_a_null_in_parquet_is_no_text(tmp_path):
    write(tmp_path / "pairs/faq/train.parquet", [{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": None}])
    with pytest.raises(ValueError, match=r"train\.parquet:2: 'positive' must be a text, not None"):
        found(tmp_path)


def test_a_table_beside_json_lines_is_one_too_many(tmp_path):
    for ending in (".jsonl", ".csv"):
        write(tmp_path / f"pairs/faq/train{ending}", ROWS["pairs/faq/train"])
    with pytest.raises(ValueError, match=r"train\.jsonl: train\.csv stands beside it; one of the two"):
        found(tmp_path)


def test_a_cell_may_be_longer_than_the_csv_module_takes_by_itself(tmp_path):
    limit = csv.field_size_limit()
    write(tmp_path / "pairs/faq/train.csv", [{"anchor": "a", "positive": "b" * (limit + 1)}])
    ((_, _, _, tables),) = found(tmp_path)
    assert len(tables["rows"][0]["positive"]) == limit + 1
    assert csv.field_size_limit() == limit
