"""Invariants of MTEB tasks over prepared data:

- every form is a task of its MTEB type with the paper's main score (Table 1), named like the dataset;
- an encoder that sees words scores far above chance on sets that words decide, a collapsed one at chance;
- candidates of a reranking task stand in an order that knows nothing of relevance;
- a large clustering set is split evenly, by seed.
"""

import json
import math
import zlib

import numpy as np
import pytest

from study.data import prepare
from study.presets import Data, Preset
from tsembed.data.manifest import read_manifest

mteb = pytest.importorskip("mteb")
from mteb.models import ModelMeta  # noqa: E402
from mteb.models.abs_encoder import AbsEncoder  # noqa: E402

from tsembed.evaluation import text_tasks  # noqa: E402

MAIN_SCORES = {
    "Retrieval": "ndcg_at_10",
    "Classification": "accuracy",
    "Clustering": "v_measure",
    "Reranking": "map_at_1000",
    "PairClassification": "max_ap",
    "STS": "cosine_spearman",
    "Summarization": "cosine_spearman",
}
pytestmark = pytest.mark.filterwarnings("ignore")  # of scikit-learn and scipy about the collapsed encoder


class Hashing(AbsEncoder):
    """Bags of hashed words; collapsed: one vector for every text."""

    def __init__(self, *, collapsed: bool):
        self.collapsed = collapsed
        self.mteb_model_meta = ModelMeta.create_empty(
            {"name": f"test/hashing-{collapsed}", "revision": "1", "modalities": ["text"]}
        )

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **_):
        return np.stack([self._vector(text) for batch in inputs for text in batch["text"]])

    def _vector(self, text):
        vector = np.full(512, 1e-3, dtype=np.float32)
        for word in [] if self.collapsed else text.split():
            vector[zlib.crc32(word.encode()) % 512] += 1
        return vector / np.linalg.norm(vector)


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """One set of every form, each decided by a shared word `w<n>`."""
    root, out = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("data")
    labelled = {
        part: [{"text": f"w{i % 4} {part} {i}", "label": f"l{i % 4}"} for i in range(count)]
        for part, count in (("train", 80), ("test", 60))
    }
    for form, name in (("classification", "colours"), ("clustering", "tools")):
        for part, rows in labelled.items():
            lines(root / form / name / f"{part}.jsonl", [row | {"text": f"{row['text']} {form}"} for row in rows])
    lines(root / "retrieval/manual/queries.jsonl", [{"query_id": f"q{i}", "query": f"w{i} asked"} for i in range(20)])
    corpus = [{"doc_id": f"d{i}", "title": "told", "text": f"w{i} of it"} for i in range(60)]
    lines(root / "retrieval/manual/corpus.jsonl", corpus)
    qrels = [{"query_id": f"q{i}", "doc_id": f"d{i}", "score": 2} for i in range(20)]
    lines(root / "retrieval/manual/qrels.jsonl", qrels)
    ranked = [
        {"query": f"w{i} ?", "positive": [f"w{i} yes"], "negative": [f"w{i + j} no" for j in range(1, 10)]}
        for i in range(0, 400, 10)
    ]
    lines(root / "reranking/answers/test.jsonl", ranked)
    pairs = [{"a": f"w{i} x", "b": f"w{i + i % 2} y", "label": 1 - i % 2} for i in range(40)]
    lines(root / "pair_classification/same/test.jsonl", pairs)
    alike = [
        {"a": "w1 w2 w3 w4", "b": " ".join(f"w{j + i % 5}" for j in range(1, 5)), "score": -i % 5} for i in range(30)
    ]
    for row, i in zip(alike, range(30), strict=True):
        row["score"] = 4 - i % 5
    lines(root / "sts/alike/test.jsonl", alike)
    summaries = [
        {
            "text": f"w{i} w{i + 1}",
            "human_summaries": [f"w{i} w{i + 1}"],
            "machine_summaries": [f"w{i} w{i + 1}", f"w{i} z", "z y"],
            "relevance": [5, 3, 1],
        }
        for i in range(12)
    ]
    lines(root / "summarization/short/test.jsonl", summaries)
    lines(root / "wikipedia/pages/passages.jsonl", [{"id": "1", "text": "An article."}])
    settings = Preset(name="t", about="", data=Data(source="local", path=root), variants={"em": 1})
    prepare.prepare(settings, out)
    return out


def scores(prepared, *, collapsed):
    """Main score by task type; asserts that MTEB took the metric of the paper's Table 1 for it."""
    found = {}
    for task in text_tasks.tasks(prepared):
        result = mteb.evaluate(
            Hashing(collapsed=collapsed), [task], cache=None, co2_tracker=False, show_progress_bar=False
        ).task_results[0]
        row = result.scores["test"][0]
        kind = task.metadata.type
        assert np.isclose(row["main_score"], row[MAIN_SCORES[kind]], equal_nan=True)
        found[kind] = row["main_score"]
    return found


def test_every_form_is_a_task_of_its_type(prepared):
    tasks = {task.metadata.name: task.metadata for task in text_tasks.tasks(prepared)}
    assert set(tasks) == {"colours", "tools", "manual", "answers", "same", "alike", "short"}
    assert {meta.type: meta.main_score for meta in tasks.values()} == MAIN_SCORES
    assert all(len(meta.dataset["revision"]) == 64 for meta in tasks.values())


def test_task_types_are_a_choice(prepared):
    assert [t.metadata.type for t in text_tasks.tasks(prepared, ("STS", "Retrieval"))] == ["Retrieval", "STS"]


def test_words_decide_and_a_collapsed_encoder_is_at_chance(prepared):
    good, collapsed = scores(prepared, collapsed=False), scores(prepared, collapsed=True)
    assert set(good) == set(MAIN_SCORES)
    assert good.pop("Clustering") > 0.7  # k-means may stop at a local optimum
    assert all(score > 0.95 for score in good.values()), good
    assert collapsed["Classification"] == pytest.approx(0.25)
    assert collapsed["Clustering"] == pytest.approx(0)
    assert collapsed["Retrieval"] < 0.3  # the order of the corpus, not of relevance
    chance = sum(1 / rank for rank in range(1, 11)) / 10  # mean of 1/rank of one positive among ten
    assert abs(collapsed["Reranking"] - chance) < 0.2
    assert collapsed["PairClassification"] == pytest.approx(0.5)
    assert math.isnan(collapsed["STS"])
    assert math.isnan(collapsed["Summarization"])  # no rank correlation exists


def test_the_candidates_of_a_query_stand_in_an_order_that_knows_nothing_of_relevance(prepared):
    (task,) = text_tasks.tasks(prepared, ("Reranking",))
    task.load_data()
    split = task.dataset["default"]["test"]
    places = [candidates.index(next(iter(split["relevant_docs"][q]))) for q, candidates in split["top_ranked"].items()]
    assert len(places) == 40
    assert len(set(places)) > 5


def test_a_task_is_evaluated_again_after_it_was_unloaded(prepared):
    task = text_tasks.tasks(prepared, ("STS",))[0]
    task.load_data()
    task.unload_data()
    task.load_data()
    assert len(task.dataset["test"]) == 30


def test_a_large_clustering_set_is_split_evenly(prepared, monkeypatch):
    monkeypatch.setattr(text_tasks, "CLUSTERING_SET", 25)
    splits = []
    for _ in range(2):
        task = text_tasks.tasks(prepared, ("Clustering",))[0]
        task.load_data()
        splits.append(task.dataset["test"]["sentences"][:])
    assert [len(texts) for texts in splits[0]] == [20, 20, 20]
    assert splits[0] == splits[1]
    assert len({text for texts in splits[0] for text in texts}) == 60


def test_two_sets_of_one_name_are_an_error(prepared, tmp_path):
    made = read_manifest(prepared)
    twice = made["datasets"] + [next(e for e in made["datasets"] if e["format"] == "sts") | {"name": "manual"}]
    (tmp_path / "manifest.json").write_text(json.dumps(made | {"datasets": twice}))
    with pytest.raises(ValueError, match=r"\['manual'\] have the same name"):
        text_tasks.tasks(tmp_path)
