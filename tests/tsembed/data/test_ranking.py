"""Invariants of ranking sets, and of pairs with pictures, as prepared:

- each distinct candidate is stored once; every list is shuffled by seed; the right candidate is in it, and known;
- a cap keeps queries with all of their candidates; chance is the mean share of right ones;
- what breaks the form is an error that names dataset and row; a picture that cannot be read names its file too;
- equal texts and equal pictures are one group; held-out rows of a source's own are kept apart.
"""

import dataclasses
import random

import numpy as np
import pytest

from study.data import prepare
from study.presets import Data, Preset
from study.suites.digits import suite
from tsembed.data import manifest, ranking
from tsembed.data.ranking import RankingExample
from tsembed.data.schema import DatasetSpec
from tsembed.inputs import Input, encode_png


def picture(value):
    return encode_png(np.full((4, 4), value, np.uint8))


def examples(count=6):
    """Query i asks for picture i among the four that follow it."""
    for i in range(count):
        answer, *negatives = (Input("", picture(10 * (j % 8))) for j in range(i, i + 5))
        yield RankingExample(Input(f"Which? <image> {i}", picture(200 + i)), answer, (str(i % 8),), negatives)


def source(part="eval", **change):
    made = ranking.tables(examples(), random.Random(0))
    tables = made if part == "eval" else {"rows": [ranking.pair(example) for example in examples()]}
    format = "ranking" if part == "eval" else "image_pairs"
    good = DatasetSpec("made_up", part, format, tables, "here", "mine", "seen", "image_retrieval")
    return dataclasses.replace(good, **change)


def preset(**data):
    return Preset(name="test", about="test", data=Data(source="digits", **data), variants={"em": 1})


@pytest.fixture
def prepared_of(monkeypatch, tmp_path):
    def run(*found, to="data", **data):
        monkeypatch.setattr(suite, "specs", lambda data: iter(found))
        return prepare.prepare(preset(**data), tmp_path / to), tmp_path / to

    return run


def test_each_candidate_is_stored_once_and_the_right_one_is_known():
    made = ranking.tables(examples(), random.Random(0))
    assert len(made["candidates"]) == 8
    assert len(made["queries"]) == 6
    for i, row in enumerate(made["queries"]):
        (right,) = row["positives"]
        assert made["candidates"][right]["image"] == picture(10 * i)
        assert right in row["candidates"]
        assert len(set(row["candidates"])) == 5
    assert not list(ranking.faults(made))


def test_the_place_of_the_right_candidate_says_nothing_and_comes_from_the_seed():
    many = [
        RankingExample(Input(f"q{i}"), Input(f"right {i}"), (), [Input(f"wrong {j}") for j in range(4)])
        for i in range(500)
    ]
    made = ranking.tables(many, random.Random(0))
    places = [row["candidates"].index(row["positives"][0]) for row in made["queries"]]
    assert max(abs(places.count(k) - 100) for k in range(5)) < 40
    assert ranking.tables(many, random.Random(0)) == made != ranking.tables(many, random.Random(1))


def test_a_cap_keeps_queries_with_their_candidates():
    made = ranking.tables(examples(), random.Random(0))
    small = ranking.subsample(made, 2, random.Random(3))
    assert len(small["queries"]) == 2
    assert not list(ranking.faults(small))
    whole = {row["query"]: {made["candidates"][k]["image"] for k in row["candidates"]} for row in made["queries"]}
    for row in small["queries"]:
        assert {small["candidates"][k]["image"] for k in row["candidates"]} == whole[row["query"]]
        assert small["candidates"][row["positives"][0]]["image"] == picture(10 * int(row["query"][-1]))
    assert {k for row in small["queries"] for k in row["candidates"]} == set(range(len(small["candidates"])))
    assert ranking.subsample(made, 6, random.Random(3)) is made


def test_prepared_tables_hold_pictures_as_bytes(prepared_of):
    made, folder = prepared_of(source("train"), source(), eval_rows=4)
    train, evaluation = made["datasets"]
    assert (train["task"], train["group"], evaluation["task"]) == ("image_retrieval", "seen", "image_retrieval")
    assert evaluation["notes"] == {"cap of queries": "4 of 6, drawn by seed"}
    assert evaluation["chance"] == pytest.approx(20.0)
    assert "answers" not in evaluation
    table = manifest.load_table(folder, "train", "made_up")
    assert table.column_names == ["query", "query_image", "document", "document_image", "group"]
    kinds = {name: feature.dtype for name, feature in table.features.items()}
    assert kinds["query_image"] == kinds["document_image"] == "binary"
    assert kinds["group"] == "int64"
    assert table[3]["query_image"] == picture(203)
    assert table[3]["document_image"] == picture(30)
    tables = manifest.load_table(folder, "eval", "made_up")
    assert set(tables) == {"queries", "candidates"}
    assert evaluation["rows"]["queries"] == 4
    assert tables["candidates"]["text"] == [""] * len(tables["candidates"])
    assert tables["candidates"].features["image"].dtype == "binary"


def test_the_hash_is_of_the_pictures_content(prepared_of):
    rows = [ranking.pair(example) for example in examples()]
    other = [*rows[:2], rows[2] | {"query_image": picture(99)}, *rows[3:]]
    first, second, third = (
        prepared_of(source("train", tables={"rows": found}), to=name)[0]["datasets"][0]["sha256"]
        for name, found in (("a", rows), ("b", rows), ("c", other))
    )
    assert first == second != third
    assert first[:12] == "fca1ef44824d"  # on any machine


def test_many_large_pictures_do_not_fill_the_memory(prepared_of, monkeypatch):
    from tsembed.data import arrow

    monkeypatch.setattr(arrow, "BATCH_BYTES", 300)
    flushed, flush = [], arrow.TableWriter._flush
    monkeypatch.setattr(arrow.TableWriter, "_flush", lambda self: (flushed.append(len(self._batch)), flush(self)))
    _, folder = prepared_of(source("train"))
    assert max(flushed) < 6
    assert len(manifest.load_table(folder, "train", "made_up")) == 6


def test_equal_texts_and_equal_answers_are_one_group():
    text = [ranking.pair(RankingExample(Input("a"), Input(answer)))["group"] for answer in ("red", "red", "blue")]
    assert text[0] == text[1] != text[2]
    shown = [
        ranking.pair(RankingExample(Input("a"), Input("", picture(i)), key))["group"] for i, key in enumerate("xxy")
    ]
    assert shown[0] == shown[1] != shown[2]
    assert not set(shown) & set(text)


def test_held_out_rows_of_the_sources_own_stay_apart(prepared_of):
    rows = [ranking.pair(example) for example in examples()]
    parts = {"rows": rows[:4], "validation": rows[4:]}
    made, folder = prepared_of(source("train", tables=parts), validation_rows=1, train_rows=3)
    assert {e["part"]: e["rows"]["rows"] for e in made["datasets"]} == {"train": 3, "validation": 1}
    assert manifest.load_table(folder, "validation", "made_up")["query"] == [rows[4]["query"]]
    assert not set(manifest.load_table(folder, "train", "made_up")["query"]) & {row["query"] for row in rows[4:]}


def test_without_them_rows_are_held_out_at_random(prepared_of):
    rows = [ranking.pair(example) for example in examples(40)]
    made, _ = prepared_of(source("train", tables={"rows": rows}), validation_rows=4)
    assert {e["part"]: e["rows"]["rows"] for e in made["datasets"]} == {"train": 36, "validation": 4}


def broken(table, row, **change):
    made = ranking.tables(examples(), random.Random(0))
    made[table][row] |= change
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": None}, "task None is none of image_classification, "),
        ({"format": "image_pairs"}, "format 'image_pairs' cannot be one of part 'eval'"),
        ({"tables": broken("queries", 1, candidates=[])}, "queries row 2: 'candidates' must be a list of at least one"),
        ({"tables": broken("queries", 1, candidates=[0, -1])}, "queries row 2: 'candidates' must be a list"),
        ({"tables": broken("queries", 1, candidates=[0, 99])}, "queries row 2: candidate 99 is no row of the 8"),
        ({"tables": broken("queries", 1, candidates=[0, 0, 1])}, "queries row 2: a candidate stands twice"),
        ({"tables": broken("queries", 1, positives=[7])}, "queries row 2: positive 7 is not among its candidates"),
        ({"tables": broken("queries", 1, candidates=[3], positives=[3])}, "all of its 1 candidates are right"),
        (
            {"tables": broken("candidates", 2, image=b"torn", image_path="shelf/7.png")},
            r"'made_up', candidates row 3: 'image', shelf/7\.png: not a readable image",
        ),
        ({"tables": broken("queries", 4, query_image=b"torn")}, "queries row 5: 'query_image', without a file: not a"),
    ],
)
def test_what_breaks_the_form_is_an_error(prepared_of, change, message):
    with pytest.raises(ValueError, match=message):
        prepared_of(source(**change))
