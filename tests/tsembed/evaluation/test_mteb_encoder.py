"""Invariants of the encoder as MTEB sees it.

- mteb's own mock tasks run through it, all types that our routes cover.
- The route of every text follows the paper (§5.3): reranking as retrieval, pair classification, STS and summarization
  as classification; query and document by prompt type.
- The revision changes with any weight and any setting. A generic encoder encodes a text once, a routed one
  once per route. No more vectors are kept than memory has room for, whatever the corpus.
- Data that the hub does not give are one line with repository and revision.
- Scores are tidy; an interrupted evaluation reads finished tasks from its cache; an undefined correlation is 0.
"""

import errno
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.tiny import tiny
from tsembed.data.schema import MTEB_TYPE
from tsembed.encoder.text import Encoder
from tsembed.evaluation.mteb_encoder import MtebEncoder, evaluate, weights_hash
from tsembed.mote.experts import upcycle
from tsembed.tasks import INSTRUCTIONS, ROUTES, TASK_OF_TYPE, route_of


@pytest.fixture
def encoder(tokenizer):
    return Encoder(upcycle(tiny("bert"), ROUTES), tokenizer, instructions=dict(INSTRUCTIONS)).eval()


def model(encoder, revision="r"):
    return MtebEncoder(encoder, name="tsembed/test", revision=revision, max_tokens=32)


class Spy(Encoder):
    """Remembers which texts were encoded under which route."""

    def encode(self, texts, route, **settings):
        self.seen = [*getattr(self, "seen", []), (route, tuple(texts))]
        return super().encode(texts, route, **settings)


@pytest.mark.parametrize(
    ("task_type", "prompt_type", "route"),
    [
        ("Retrieval", "query", "search_query"),
        ("Retrieval", "document", "search_document"),
        ("Reranking", "query", "search_query"),
        ("Reranking", "document", "search_document"),
        ("Classification", None, "classification"),
        ("Clustering", None, "clustering"),
        ("PairClassification", None, "classification"),
        ("STS", None, "classification"),
        ("Summarization", None, "classification"),
    ],
)
def test_routes_are_the_papers(task_type, prompt_type, route):
    assert route_of(task_type, prompt_type) == route
    assert set(TASK_OF_TYPE) == set(MTEB_TYPE.values())


def test_unroutable_texts_are_errors():
    with pytest.raises(ValueError, match="'Speech' has no route; known types: Retrieval"):
        route_of("Speech", None)
    with pytest.raises(ValueError, match="needs prompt_type 'query' or 'document', not None"):
        route_of("Retrieval", None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # mteb's own mock tasks warn, of tiny classes and of deprecated calls
def test_mteb_mock_run_passes(encoder):
    import mteb
    from mteb.results.task_result import TaskError

    results = mteb.mock_run(model(encoder)).task_results
    assert not [name for name, result in results.items() if isinstance(result, TaskError)]
    assert sum(result is not None for result in results.values()) >= 20


def rows(n):
    return [f"{word} {i}" for i, word in enumerate(["river", "stone", "cloud", "lamp"] * (n // 4))]


def prepared(folder, sign=1):
    """An evaluation folder with two STS sets, one of pairs that are all alike, and a retrieval set."""
    from study.data import prepare
    from study.presets import Data, Preset
    from tsembed.settings import Backbone

    data = folder / "text"
    pairs = zip(rows(12), reversed(rows(12)), strict=True)
    sets = {
        "sts/alike/test": [{"a": t, "b": t, "score": float(i % 5)} for i, t in enumerate(rows(12))],
        "sts/unlike/test": [{"a": a, "b": b, "score": sign * float(i % 5)} for i, (a, b) in enumerate(pairs)],
        "retrieval/small/queries": [{"query_id": str(i), "query": t} for i, t in enumerate(rows(12))],
        "retrieval/small/corpus": [{"doc_id": str(i), "text": f"about {t}"} for i, t in enumerate(rows(12))],
        "retrieval/small/qrels": [{"query_id": str(i), "doc_id": str(i), "score": 1} for i in range(12)],
    }
    for name, content in sets.items():
        path = data / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
        (path.parent / "README.md").write_text("Origin: made here. Licence as stated there: none. Counts: 12.\n")
    preset = Preset(
        name="test", about="", backbone=Backbone(name="tiny"), data=Data(source="local", path=data), variants={"em": 1}
    )
    prepare.prepare(preset, folder / "data")
    return folder / "data"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_scores_are_tidy_and_finished_tasks_are_not_run_again(encoder, tmp_path):
    from tsembed.evaluation.text_tasks import tasks

    folder = prepared(tmp_path)
    spy = Spy(encoder.backbone, encoder.tokenizer, instructions=encoder.instructions).eval()
    found = evaluate(model(spy), tasks(folder), tmp_path / "cache")
    assert {(r["task_type"], r["dataset"], r["metric"]) for r in found} == {
        ("STS", "alike", "cosine_spearman"),
        ("STS", "unlike", "cosine_spearman"),
        ("Retrieval", "small", "ndcg_at_10"),
    }
    assert {r["dataset"]: r["score"] for r in found}["alike"] == 0.0  # every pair has similarity 1
    assert {route for route, _ in spy.seen} == {"classification", "search_query", "search_document"}
    spy.seen = []
    assert evaluate(model(spy), tasks(folder), tmp_path / "cache") == found
    assert spy.seen == []
    evaluate(model(spy, revision="other"), tasks(folder), tmp_path / "cache")
    assert spy.seen


def test_a_score_of_other_data_under_the_same_name_is_not_taken_from_the_cache(encoder, tmp_path):
    from tsembed.evaluation.text_tasks import tasks

    scores = []
    for name, sign in (("first", 1), ("second", -1)):
        folder = prepared(tmp_path / name, sign)
        (task,) = [task for task in tasks(folder) if task.metadata.name == "unlike"]
        scores += [row["score"] for row in evaluate(model(encoder), [task], tmp_path / "cache")]
    assert scores[0] == pytest.approx(-scores[1]) != 0


def test_a_full_disk_is_no_fault_of_the_hub_where_the_data_are_prepared(encoder, tmp_path, monkeypatch):
    import mteb

    from tsembed.evaluation.text_tasks import tasks

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "cache"))

    task = tasks(prepared(tmp_path))[0]
    monkeypatch.setattr(mteb, "evaluate", full)
    with pytest.raises(OSError, match="No space left on device"):
        evaluate(model(encoder), [task], tmp_path / "cache")


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_a_generic_encoder_encodes_a_text_once(tokenizer, tmp_path):
    from tsembed.evaluation.text_tasks import tasks

    spy = Spy(tiny("bert"), tokenizer, instructions=None).eval()
    evaluate(model(spy), [t for t in tasks(prepared(tmp_path)) if t.metadata.name == "alike"], tmp_path / "cache")
    texts = [text for _, batch in spy.seen for text in batch]
    assert len(texts) == len(set(texts)) == 12  # both sides of a pair are the same text


def test_the_vectors_of_a_large_corpus_are_not_kept(tokenizer, tmp_path, monkeypatch):
    from tsembed.evaluation import mteb_encoder
    from tsembed.evaluation.text_tasks import tasks

    (task,) = [t for t in tasks(prepared(tmp_path)) if t.metadata.name == "small"]
    scores = []
    for kept in (100, 15):  # 12 queries and 12 documents
        monkeypatch.setattr(mteb_encoder, "MOST_KEPT", kept)
        wrapped = model(Spy(tiny("bert"), tokenizer, instructions=None).eval(), revision=str(kept))
        scores.append(evaluate(wrapped, [task], tmp_path / "cache")[0]["score"])
        assert len(wrapped._vectors) == {100: 24, 15: 12}[kept]
    assert scores[0] == scores[1]


def test_data_that_the_hub_does_not_give_are_one_line(encoder, tmp_path):
    import mteb

    from tsembed.hub import HubError

    with pytest.raises(HubError, match=r"^mteb/biosses-sts@d3fb88f8f02e[0-9a-f]*: .*HF_HUB_OFFLINE") as error:
        evaluate(model(encoder), [mteb.get_task("BIOSSES")], tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_a_routed_encoder_encodes_a_text_once_per_route(encoder):
    from mteb.types import PromptType

    spy = Spy(encoder.backbone, encoder.tokenizer, instructions=encoder.instructions).eval()
    wrapped, found = model(spy), {}
    metadata = SimpleNamespace(name="small", type="Retrieval")
    for side in (PromptType.query, PromptType.document) * 2:
        loader = [{"text": ["river", "stone", "river"]}]
        split = {"hf_split": "test", "hf_subset": "default"}
        found[side] = wrapped.encode(loader, task_metadata=metadata, prompt_type=side, **split)
        assert np.array_equal(found[side][0], found[side][2])
    assert spy.seen == [("search_query", ("river", "stone")), ("search_document", ("river", "stone"))] + [
        ("search_query", ()),
        ("search_document", ()),
    ]
    assert np.abs(found[PromptType.query] - found[PromptType.document]).max() > 1e-3


def test_the_revision_changes_with_weights_and_settings(encoder):
    first = weights_hash(encoder, "a")
    assert first == weights_hash(encoder, "a") != weights_hash(encoder, "b")
    next(encoder.parameters()).data[0, 0] += 1e-6
    assert weights_hash(encoder, "a") != first
    halved = encoder.bfloat16()
    assert weights_hash(halved, "a") == weights_hash(halved, "a") != first


def test_similarity_is_the_cosine():
    a = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    wrapped = MtebEncoder.__new__(MtebEncoder)
    torch.testing.assert_close(wrapped.similarity(a, a), torch.tensor([[1.0, 0.6], [0.6, 1.0]]))
    torch.testing.assert_close(wrapped.similarity_pairwise(a, a), torch.ones(2))
