"""Invariants of `tsembed mine`:

- negatives are those that sentence-transformers' own miner finds with the same model and limits; a pair may get fewer;
- a candidate above the share of the positive's score, or within the margin, is skipped;
- never mined: a positive of the same query anywhere in the data, in whatever case, the other way round, the query;
- the encoder may be one of sentence-transformers, one that `fit` wrote, or one that `Encoder.save` wrote, on the routes
  of the set's task;
- what is written is data for `fit`: other sets are copied, the task stays, and the training takes the negatives;
- a fault is one line, and nothing was written.
"""

import json

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from tests.tiny import tiny
from tsembed.cli import main
from tsembed.data.folder import text
from tsembed.encoder.backbones import embedded_folder
from tsembed.encoder.text import Encoder
from tsembed.fitting.fit import fit
from tsembed.fitting.mining import mine
from tsembed.settings import Data
from tsembed.tasks import INSTRUCTIONS

pytestmark = pytest.mark.usefixtures("code_cache")  # exports carry code
MINILM = "embedded:all-MiniLM-L6-v2"
THINGS = "lamp kettle window bicycle printer garden guitar oven camera tent".split()
VERBS = {"repair": "mending", "clean": "washing", "buy": "choosing"}
ROWS = [
    {"anchor": f"How do I {verb} a {thing}?", "positive": f"Notes on {doing} the {thing}."}
    for verb, doing in VERBS.items()
    for thing in THINGS
]


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(out, name="faq"):
    rows = [json.loads(line) for line in (out / f"pairs/{name}/train.jsonl").read_text().splitlines()]
    return {row["anchor"]: row.get("negatives", []) for row in rows}


@pytest.fixture
def data(tmp_path):
    lines(tmp_path / "data/pairs/faq/train.jsonl", ROWS)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def model():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(embedded_folder(MINILM), device="cpu")


def cosines(model, rows):
    """(anchors, documents), and the documents."""
    documents = [row["positive"] for row in rows]
    return model.encode([row["anchor"] for row in rows]) @ model.encode(documents).T, documents


def test_the_negatives_are_those_of_sentence_transformers_miner(tmp_path, data, model):
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    limits = {"absolute_margin": 0.45, "relative_margin": 0.5}
    triplets = mine_hard_negatives(Dataset.from_list(ROWS), model, num_negatives=4, verbose=False, **limits)
    expected = {row["anchor"]: [] for row in ROWS}
    for row in triplets:
        expected[row["anchor"]].append(row["negative"])
    mine(data, tmp_path / "out", backbone=MINILM, per_query=4, margin=0.45, max_relative_score=0.5)
    assert read(tmp_path / "out") == expected
    assert len({len(negatives) for negatives in expected.values()}) > 1  # ragged


def test_what_scores_nearly_as_high_as_the_positive_is_skipped(tmp_path, data, model):
    scores, documents = cosines(model, ROWS)
    highest = {}
    for name, limits in {
        "none": {"max_relative_score": None},
        "share": {"max_relative_score": 0.7},
        "margin": {"max_relative_score": None, "margin": 0.3},
    }.items():
        mine(data, tmp_path / name, backbone=MINILM, **limits)
        found = read(tmp_path / name)
        highest[name] = [
            (max(scores[i, documents.index(text)] for text in found[row["anchor"]]), scores[i, i])
            for i, row in enumerate(ROWS)
            if found[row["anchor"]]
        ]
    assert all(score <= 0.7 * positive + 1e-5 for score, positive in highest["share"])
    assert all(score <= positive - 0.3 + 1e-5 for score, positive in highest["margin"])
    assert len(highest["none"]) == len(ROWS)
    assert sum(score > max(0.7 * positive, positive - 0.3) for score, positive in highest["none"]) > 10


def test_answers_that_stand_elsewhere_and_the_query_are_never_mined(tmp_path, data):
    query = ROWS[0]["anchor"]
    mine(data, tmp_path / "before", backbone=MINILM, per_query=6, max_relative_score=None)
    one, two, three, four, five, *_ = read(tmp_path / "before")[query]
    lines(
        data / "pairs/faq/train.jsonl", [*ROWS, {"anchor": query, "positive": one}, {"anchor": "x", "positive": query}]
    )
    others = [
        {"anchor": query.upper(), "positive": two},
        {"anchor": query, "positive": f" {three.upper()}"},
        {"anchor": four, "positive": query},
    ]
    lines(data / "pairs/other/train.jsonl", others)
    mine(data, tmp_path / "after", backbone=MINILM, per_query=6, max_relative_score=None)
    after = read(tmp_path / "after")
    assert after[query][0] == five
    assert not {one, two, three, four, query} & set(after[query])
    assert len(after[query]) == 6
    assert query in {text for negatives in after.values() for text in negatives}  # a candidate of others it is


def test_trained_encoders_take_the_routes_of_the_task(tmp_path, data):
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder(MINILM))
    backbone = tmp_path / "backbone"
    tiny("bert").save_pretrained(backbone)
    tokenizer.save_pretrained(backbone)
    fit(data, tmp_path / "fitted", backbone=str(backbone), steps=4, batch_size=8, learning_rate=1e-2, evaluate=False)
    encoder = Encoder(tiny("bert"), tokenizer, instructions=dict(INSTRUCTIONS))
    encoder.save(tmp_path / "saved")
    (data / "pairs/faq/task.json").write_text('{"task": "clustering"}')

    def best(query, document):
        vectors = [np.asarray(side) for side in (query, document)]
        scores = vectors[0] @ vectors[1].T
        np.fill_diagonal(scores, -np.inf)
        return {row["anchor"]: [documents[i]] for row, i in zip(ROWS, scores.argmax(1), strict=True)}

    anchors, documents = [row["anchor"] for row in ROWS], [row["positive"] for row in ROWS]
    from sentence_transformers import SentenceTransformer

    fitted = SentenceTransformer(str(tmp_path / "fitted"), trust_remote_code=True, device="cpu")
    wanted = {
        "saved": best(*(encoder.encode(texts, "clustering") for texts in (anchors, documents))),
        "fitted": best(*(fitted.encode(texts, prompt_name="clustering") for texts in (anchors, documents))),
    }
    for name, expected in wanted.items():
        mine(data, tmp_path / f"of {name}", backbone=str(tmp_path / name), per_query=1, max_relative_score=None)
        assert read(tmp_path / f"of {name}") == expected
    assert wanted["saved"] != wanted["fitted"]
    assert best(*(encoder.encode(texts, "search_query") for texts in (anchors, documents))) != wanted["saved"]


def test_the_command_writes_data_for_fit(tmp_path, data, capsys):
    lines(data / "classification/kinds/train.jsonl", [{"text": f"{i} {i % 2}", "label": i % 2} for i in range(20)])
    (data / "pairs/faq/task.json").write_text('{"task": "clustering"}')
    (data / "pairs/faq/README.md").write_text("Origin: our shop.\n")
    words = ["mine", data, "--backbone", MINILM, "--out", tmp_path / "mined", "--per-query", 2]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "faq: 30 pairs, " in said
    out = tmp_path / "mined"
    assert (out / "classification/kinds/train.jsonl").read_bytes() == (
        data / "classification/kinds/train.jsonl"
    ).read_bytes()
    assert json.loads((out / "pairs/faq/task.json").read_text()) == {"task": "clustering"}
    assert json.loads((out / "pairs/faq/mined.json").read_text())["per_query"] == 2
    assert (out / "pairs/faq/README.md").read_text() == "Origin: our shop.\n"
    words = ["fit", out, "--backbone", MINILM, "--variant", "em", "--out", tmp_path / "out", "--hard-negatives", 1]
    words += ["--steps", 2, "--batch-size", 8, "--max-tokens", 16, "--no-eval"]
    assert main([str(word) for word in words]) == 0
    assert "hard negatives of a pair: up to 1, in faq" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/fit.json").read_text())["config"]["training"]["hard_negatives"] == 1
    assert "hard negatives of a pair" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl.gz"])
def test_the_mined_file_takes_the_place_of_a_training_file_of_any_kind(tmp_path, ending):
    place = tmp_path / f"data/pairs/faq/train{ending}"
    place.parent.mkdir(parents=True)
    table = pd.DataFrame(ROWS)
    if ending == ".parquet":
        table.to_parquet(place)
    elif ending == ".jsonl.gz":
        table.to_json(place, orient="records", lines=True)
    else:
        table.to_csv(place, sep="\t" if ending == ".tsv" else ",", index=False)
    mine(tmp_path / "data", tmp_path / "out", backbone=MINILM, max_relative_score=0.9)
    assert sorted(path.name for path in (tmp_path / "out/pairs/faq").iterdir()) == ["mined.json", "train.jsonl"]
    assert read(tmp_path / "out").keys() == {row["anchor"] for row in ROWS}
    specs = list(text.specs(Data(path=tmp_path / "out")))
    assert [(spec.name, spec.part) for spec in specs] == [("faq", "train")]


def test_a_table_becomes_a_folder(tmp_path):
    path = tmp_path / "faq.csv"
    path.write_text("query,answer\n" + "".join(f'"{row["anchor"]}","{row["positive"]}"\n' for row in ROWS))
    done = mine(path, tmp_path / "out", backbone=MINILM)
    assert done.pairs == {"faq": 30}
    assert done.negatives["faq"] == sum(map(len, read(tmp_path / "out").values())) > 0


def test_a_fault_is_one_line_and_nothing_is_written(tmp_path, data, capsys):
    out = tmp_path / "out"

    def said(*more, where=out, given=data):
        assert main([str(word) for word in ["mine", given, "--backbone", MINILM, "--out", where, *more]]) == 1
        assert not where.exists()
        return capsys.readouterr().err

    assert "max_relative_score must be in (0, 1], got 1.2" in said("--max-relative-score", 1.2)
    assert "margin must be finite and >= 0, got -1.0" in said("--margin", -1)
    assert "is inside" in said(where=data / "mined")
    assert "no candidate is below the limits (max_relative_score 0.95, margin 2.0)" in said("--margin", 2)
    lines(tmp_path / "labels/classification/kinds/train.jsonl", [{"text": f"{i}", "label": i % 2} for i in range(20)])
    assert "has no set of pairs" in said(given=tmp_path / "labels")
    (tmp_path / "bad.csv").write_text("query,answer\na,\n")
    assert "bad, row 1: 'positive' is empty" in said(given=tmp_path / "bad.csv")
