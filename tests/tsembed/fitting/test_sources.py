"""Invariants of what a user may bring:

- CSV, TSV, Parquet, JSON lines (plain or gzip) and what `datasets` saved give the same rows, by the columns' names;
- other names of columns are known or given; a table of no format says which columns it has and which are wanted;
- hard negatives stand in a list, or in a column each as sentence-transformers' miner writes them; a row may have fewer;
- a folder in the layout may have any part of it; one with none of it, and a missing one, are an error.
"""

import csv
import gzip
import json

import pytest

from tsembed.fitting.sources import source
from tsembed.settings import Data

ROWS = [{"question": f"what is {i}?", "answer": f'it is {i}, "quoted"'} for i in range(3)]
RENAMED = [{"anchor": row["question"], "positive": row["answer"]} for row in ROWS]


def written(tmp_path, ending):
    import datasets

    path = tmp_path / f"faq{ending}"
    if ending in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, ["question", "answer"], delimiter="\t" if ending == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    elif ending == ".parquet":
        datasets.Dataset.from_list(ROWS).to_parquet(path)
    elif ending == "":
        datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(path)
    else:
        content = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl", ".jsonl.gz", ""])
def test_every_kind_of_table_gives_the_same_rows(tmp_path, ending):
    (spec,) = source(Data(path=written(tmp_path, ending))).specs
    assert (spec.name, spec.part, spec.format) == ("faq", "train", "pairs")
    assert spec.tables["rows"] == RENAMED


def test_columns_of_other_names_are_given(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"left": "a", "right": "b"}) + "\n")
    (spec,) = source(Data(path=path), columns={"anchor": "left", "positive": "right"}).specs
    assert spec.tables["rows"] == [{"anchor": "a", "positive": "b"}]
    with pytest.raises(ValueError, match=r"columns left, right, which are those of no format .*--columns"):
        list(source(Data(path=path)).specs)


def test_labels_are_a_classification_and_its_test_split_is_scored(tmp_path):
    import datasets

    parts = {
        part: datasets.Dataset.from_list([{"sentence": f"{part} {i}", "label": i % 2} for i in range(4)])
        for part in ("train", "test")
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "mood")
    train, test = source(Data(path=tmp_path / "mood")).specs
    assert (train.format, train.part, test.format, test.part) == ("classification", "train", "classification", "eval")
    assert test.tables["rows"][0] == {"text": "test 0", "label": 0}
    assert test.tables["train"] == train.tables["rows"]
    clusters, _ = source(Data(path=tmp_path / "mood"), format="clustering").specs
    assert clusters.format == "clustering"


def test_a_line_that_is_no_json_names_file_and_line(tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"question": "a", "answer": "b"}\n{"question": \n')
    with pytest.raises(ValueError, match=r"broken\.jsonl:2: not JSON"):
        list(source(Data(path=path)).specs)


def test_a_damaged_table_names_its_file(tmp_path):
    for name in ("faq.parquet", "faq.csv"):
        path = written(tmp_path, f".{name.partition('.')[2]}")
        path.write_bytes(path.read_bytes()[:30] + b'\n"')
        with pytest.raises(ValueError, match=f"{name}.*: not (a readable Parquet file|CSV)"):
            list(source(Data(path=path)).specs)


def test_what_is_nothing_of_the_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        source(Data(path=tmp_path / "gone"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="none of the folders pairs, classification"):
        source(Data(path=tmp_path / "empty"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"notes\.txt: a table is one of \.jsonl, \.jsonl\.gz, \.csv"):
        list(source(Data(path=tmp_path / "notes.txt")).specs)


def test_hard_negatives_are_a_list_or_a_column_each(tmp_path):
    path = tmp_path / "faq.csv"
    path.write_text("query,answer,negative_10,negative_2\na,b,ten,two\nc,d,,\ne,f,,only\n")
    (spec,) = source(Data(path=path)).specs
    assert spec.hard_negatives
    assert [row.get("negatives") for row in spec.tables["rows"]] == [["two", "ten"], None, ["only"]]
    path = tmp_path / "other.jsonl"
    rows = [{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d", "negatives": ["x", "y"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (spec,) = source(Data(path=path)).specs  # the first row has none
    assert [row.get("negatives") for row in spec.tables["rows"]] == [None, ["x", "y"]]
    path.write_text(json.dumps({"anchor": "a", "positive": "b", "wrong": "x", "negative": "y"}) + "\n")
    (spec,) = source(Data(path=path), columns={"negatives": "wrong"}).specs
    assert spec.tables["rows"][0]["negatives"] == ["x"]
    with pytest.raises(ValueError, match="negatives=bad: the table has no such column"):
        list(source(Data(path=path), columns={"negatives": "bad"}).specs)


def test_pairs_without_negatives_have_none(tmp_path):
    (spec,) = source(Data(path=written(tmp_path, ".parquet"))).specs
    assert not spec.hard_negatives
