"""Invariants of evaluation sets that cannot tell one model from another:

- each kind is refused when the data are prepared, with the set, the rule and the value that breaks it;
- all sets of a folder that are refused stand in one error, and no manifest is written;
- the smallest number of rows is asked of a user's folder, whole: a preset that draws fewer of it may do so;
- a set that only the draw has spoilt is refused too, and the message says that it is the draw.
"""

import json

import pytest

from study.data import prepare
from study.presets import Data, Preset
from study.suites.digits import suite
from tsembed.data import ranking, scorable
from tsembed.data.schema import DatasetSpec

SUMMARY = {"human_summaries": ["h"], "machine_summaries": ["m", "n"]}
# One sound set of every format: file -> rows.
SOUND = {
    "classification/colours/train": [{"text": f"paint {i}", "label": f"l{i % 2}"} for i in range(40)],
    "classification/colours/test": [{"text": f"ink {i}", "label": f"l{i % 2}"} for i in range(12)],
    "clustering/tools/test": [{"text": f"drill {i}", "label": i % 4} for i in range(12)],
    "retrieval/manual/queries": [{"query_id": f"q{i}", "query": f"ask {i}"} for i in range(12)],
    "retrieval/manual/corpus": [{"doc_id": f"d{i}", "text": f"page {i}"} for i in range(3)],
    "retrieval/manual/qrels": [{"query_id": f"q{i}", "doc_id": f"d{i % 3}", "score": 1} for i in range(12)],
    "reranking/answers/test": [{"query": f"q {i}", "positive": ["p"], "negative": ["n"]} for i in range(12)],
    "pair_classification/same/test": [{"a": f"x {i}", "b": "y", "label": i % 2} for i in range(12)],
    "sts/alike/test": [{"a": f"x {i}", "b": "y", "score": i % 3} for i in range(12)],
    "summarization/short/test": [SUMMARY | {"text": f"t {i}", "relevance": [1, 2.5]} for i in range(12)],
    "wikipedia/pages/passages": [{"id": "1", "text": "An article."}],
}


def prepared(tmp_path, changed, **data):
    """The manifest of the sound sets with some files changed: file -> rows, or a function of a row."""
    for name, rows in SOUND.items():
        change = changed.get(name, rows)
        path = tmp_path / "own" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "".join(json.dumps(row) + "\n" for row in ([*map(change, rows)] if callable(change) else change))
        )
    settings = Data(source="local", path=tmp_path / "own", **data)
    preset = Preset(name="test", about="test", data=settings, variants={"em": 1})
    return prepare.prepare(preset, tmp_path / "data")


def refused(tmp_path, changed, **data):
    """The lines of the error, without the first."""
    with pytest.raises(ValueError, match="cannot tell one model from another, so no manifest was written") as error:
        prepared(tmp_path, changed, **data)
    assert not (tmp_path / "data" / "manifest.json").exists()
    return str(error.value).splitlines()[1:]


def test_sound_sets_are_prepared_and_a_preset_may_draw_fewer_than_a_folder_must_have(tmp_path):
    made = prepared(tmp_path, {}, eval_rows=8)
    rows = {e["format"]: e["rows"].get("rows") or e["rows"]["queries"] for e in made["datasets"] if e["part"] == "eval"}
    assert rows.pop("wikipedia") == 1, "articles are compared and not scored"
    assert set(rows.values()) == {8}
    assert scorable.FEWEST == 10


KINDS = [
    ("classification/colours/test", lambda row: row | {"label": "l0"}, "all 12 rows have the label 'l0'; two"),
    ("clustering/tools/test", lambda row: row | {"label": 7}, "all 12 rows have the label '7'; two labels are needed"),
    ("clustering/tools/test", lambda row: row | {"label": row["text"]}, "the 12 rows have 12 labels, each once"),
    ("sts/alike/test", lambda row: row | {"score": 2.5}, "all 12 pairs have the score 2.5; two different scores"),
    ("pair_classification/same/test", lambda row: row | {"label": 1}, "all 12 pairs have the label 1; both 0 and 1"),
    (
        "summarization/short/test",
        lambda row: row | {"relevance": [3, 3]},
        "none of the 12 texts has summaries of different relevance (the relevance of the first one's is [3.0, 3.0])",
    ),
    (
        "retrieval/manual/qrels",
        [*SOUND["retrieval/manual/qrels"], *({"query_id": "q0", "doc_id": f"d{i}", "score": 2} for i in (1, 2))],
        "query 'q0': all 3 documents of the corpus are relevant",
    ),
]


@pytest.mark.parametrize(("file", "change", "rule"), KINDS)
def test_a_set_that_scores_all_models_alike_is_refused(tmp_path, file, change, rule):
    (line,) = refused(tmp_path, {file: change})
    assert line.startswith(f"  {file.rpartition('/')[0]}: {rule}")


def test_a_query_whose_candidates_are_all_right_is_a_fault_whatever_its_origin():
    """A folder's rows are refused before that, by line: a text is right or wrong, not both."""
    rows = [{"query": f"q {i}", "positive": ["p"], "negative": ["p", "p"] if i in (4, 9) else ["n"]} for i in range(12)]
    assert list(scorable.faults("reranking", {"rows": rows})) == [
        "row 5, query 'q 4': all of its 1 distinct candidates are relevant (2 such queries)"
    ]


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("classification/colours/test", "9 rows"),
        ("clustering/tools/test", "9 rows"),
        ("retrieval/manual/qrels", "9 queries with a relevant document"),
        ("reranking/answers/test", "9 rows"),
        ("pair_classification/same/test", "9 rows"),
        ("sts/alike/test", "9 rows"),
        ("summarization/short/test", "9 texts with summaries of different relevance"),
    ],
)
def test_a_test_part_with_fewer_than_ten_is_refused(tmp_path, file, rule):
    assert refused(tmp_path, {file: SOUND[file][:9]}) == [
        f"  {file.rpartition('/')[0]}: {rule}; a test part needs at least 10"
    ]
    assert prepared(tmp_path, {file: SOUND[file][:10]})


def test_only_rows_that_are_scored_count(tmp_path):
    alike = [row | {"relevance": [2, 2]} for row in SOUND["summarization/short/test"][:3]]
    none = [row | {"score": 0} for row in SOUND["retrieval/manual/qrels"][:3]]
    changed = {
        "summarization/short/test": alike + SOUND["summarization/short/test"][3:],
        "retrieval/manual/qrels": none + SOUND["retrieval/manual/qrels"][3:],
    }
    assert refused(tmp_path, changed) == [
        "  retrieval/manual: 9 queries with a relevant document; a test part needs at least 10",
        "  summarization/short: 9 texts with summaries of different relevance; a test part needs at least 10",
    ]


def test_a_test_label_whose_training_rows_were_all_left_out_is_refused(tmp_path):
    """Without the rule the evaluation dies of a KeyError: the labels are numbered by the training rows."""
    leaked = [{"text": "INK 1", "label": "l1"}]
    train = [row | {"label": f"l{i % 2 * 2}"} for i, row in enumerate(SOUND["classification/colours/train"])] + leaked
    (line,) = refused(tmp_path, {"classification/colours/train": train})
    assert line.startswith("  classification/colours: no training row is left of the test label 'l1'")


def test_all_refused_sets_of_a_folder_stand_in_one_error(tmp_path):
    changed = {file: change for file, change, _ in KINDS}
    changed["sts/alike/test"] = [{"a": "x", "b": "y", "score": 1}]
    lines = refused(tmp_path, changed)
    names = [line.split(":")[0].strip() for line in lines]
    assert names == [
        "classification/colours",
        "clustering/tools",
        "retrieval/manual",
        "pair_classification/same",
        "sts/alike",
        "sts/alike",
        "summarization/short",
    ]
    assert lines[5] == "  sts/alike: 1 rows; a test part needs at least 10"
    assert prepared(tmp_path, {})["datasets"], "and with sound files the same call goes through"


def test_what_only_the_draw_has_spoilt_is_put_down_to_the_draw(tmp_path):
    pairs = [{"a": f"x {i}", "b": "y", "label": int(i == 0)} for i in range(100)]
    (line,) = refused(tmp_path, {"pair_classification/same/test": pairs}, eval_rows=5)
    assert line == (
        "  pair_classification/same: as scored, with eval_rows 5: all 5 pairs have the label 0; both 0 and 1 are needed"
    )


def ranked(*queries):
    candidates = [{"text": text, "image": None} for text in ("true", "false", "maybe")]
    rows = [
        {"query": f"q{i}", "query_image": None, "candidates": list(range(size)), "positives": [right]}
        for i, (size, right) in enumerate(queries)
    ]
    return {"queries": rows, "candidates": candidates}


@pytest.mark.parametrize(
    ("queries", "rule"),
    [
        (((2, 0), (2, 0), (3, 0)), "all 3 queries have the same answer, 'true'; two are needed"),
        (((2, 1), (1, 0), (1, 0)), "queries row 2: all of its 1 candidates are right (2 such queries)"),
    ],
)
def test_sets_of_images_are_refused_together_too(tmp_path, monkeypatch, queries, rule):
    assert not list(ranking.faults(ranked(*queries)))
    specs = [
        DatasetSpec(name, "eval", "ranking", ranked(*asked), "here", "mine", "seen", "image_classification")
        for name, asked in (("one", queries), ("sound", ((2, 0), (2, 1))), ("two", queries))
    ]
    monkeypatch.setattr(suite, "specs", lambda data: iter(specs))
    preset = Preset(name="test", about="test", data=Data(source="digits"), variants={"em": 1})
    with pytest.raises(ValueError, match="digits: these evaluation sets cannot tell") as error:
        prepare.prepare(preset, tmp_path / "data")
    assert str(error.value).splitlines()[1:] == [f"  ranking/one: {rule}", f"  ranking/two: {rule}"]
    assert not (tmp_path / "data" / "manifest.json").exists()
