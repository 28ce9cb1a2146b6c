"""Invariants of exports.

- What `SentenceTransformer` loads equals `Encoder.encode` of the trained model to 1e-5: one route, the average, all
  experts through every way to name a prompt, dense models with and without instructions; longer texts are cut alike.
- Dense exports need no code of ours; an export with all experts carries its own and imports nothing else of ours.
- With all experts a text without a known prompt is an error. mteb finds the right prompts by itself.
- The card holds the run's scores, data, licences, settings and commit; an average claims no score.
- Nothing is overwritten, a half-finished run is no run, and what fails leaves no folder behind.
"""

import ast
import hashlib
import json
import re

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModel

from study.runs.export import export, main
from tests.tiny import tiny
from tsembed.encoder.text import Encoder
from tsembed.export.sentence_transformers import CODE
from tsembed.mote.average import average_experts
from tsembed.mote.experts import upcycle
from tsembed.mote.token_routing import route_tokens
from tsembed.tasks import INSTRUCTIONS, ROUTES

pytestmark = pytest.mark.processor

TEXTS = ["one", "What is it?", "a few words here, and a comma", "the same word " * 30, "some more words "] * 2
TOKENS = 24
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture
def encoders(tokenizer):
    """Route -> embeddings are those of: MoTE with experts that differ, IC, EM."""
    routed = upcycle(tiny("bert"), ROUTES, [1])
    for name, p in routed.named_parameters():
        if ".experts." in name:
            p.data += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name)))
    return {
        "mote": Encoder(routed, tokenizer, instructions=dict(INSTRUCTIONS)).eval(),
        "ic": Encoder(tiny("bert"), tokenizer, instructions=dict(INSTRUCTIONS)).eval(),
        "em": Encoder(tiny("bert"), tokenizer, instructions=None).eval(),
    }


def make_run(folder, encoder, **changes):
    """A finished run of the encoder, as run.py leaves it."""
    run = folder / "runs" / "tiny" / "some" / "seed3"
    encoder.save(run / "model")
    variant = {
        "label": "Some",
        "tasks": ["classification", "clustering", "retrieval"],
        "trained": True,
        "blocks": "every",
        "batching": "task_aware",
        "temperature": 0.03,
    }
    training = {"steps": 7, "batch_size": 4, "learning_rate": 0.5, "weight_decay": 0.0, "precision": "fp32"}
    config = {
        "preset": "tiny",
        "variant_name": "some",
        "seed": 3,
        "data_sha256": "abc",
        "data": {"eval_rows": 20},
        "backbone": {"name": "embedded:all-MiniLM-L6-v2", "revision": None, "num_layers": 2},
        "training": training,
        "evaluation": {"max_tokens": TOKENS},
        "variant": variant,
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config | changes))
    scores = [
        {"task_type": "Retrieval", "dataset": "r1", "metric": "ndcg_at_10", "score": 60.25},
        {"task_type": "Retrieval", "dataset": "r2", "metric": "ndcg_at_10", "score": 61.75},
        {"task_type": "STS", "dataset": "s1", "metric": "cosine_spearman", "score": 33.33},
    ]
    (run / "scores.json").write_text(json.dumps(scores))
    env = {
        "commit": "c0ffee",
        "uncommitted_changes": True,
        "requirements_lock_sha256": "10c4",
        "gpus": [],
        "versions": {"torch": "9.9"},
        "processor": "abacus",
        "cores": 1,
    }
    (run / "env.json").write_text(json.dumps(env))
    (run / "done.json").write_text("{}")
    entry = {"name": "d1", "part": "train", "task": "retrieval", "rows": {"rows": 1234}, "licence": "CC BY 4.0"}
    data = {"sha256": "abc", "datasets": [entry | {"origin": "https://d1"}, entry | {"name": "d2", "part": "eval"}]}
    (folder / "runs" / "tiny" / "data").mkdir()
    (folder / "runs" / "tiny" / "data" / "manifest.json").write_text(json.dumps(data))
    return run


def load(folder, **kwargs):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True, **kwargs)


def test_one_route_is_a_plain_dense_model(encoders, tmp_path):
    encoder, out = encoders["mote"], tmp_path / "out"
    main([str(make_run(tmp_path, encoder)), str(out), "--route", "search_query"])
    model = load(out)
    expected = encoder.encode(TEXTS, "search_query", max_tokens=TOKENS)
    for found in (model.encode(TEXTS), model.encode_query(TEXTS), model.encode_document(TEXTS)):
        np.testing.assert_allclose(found, expected, **CLOSE)
    assert np.abs(expected - encoder.encode(TEXTS, "search_document", max_tokens=TOKENS)).max() > 1e-2
    assert model.max_seq_length == TOKENS
    assert not list(out.glob("*.py"))
    assert type(model[0]).__module__.startswith("sentence_transformers.")
    head = {name: p for name, p in model.named_parameters() if ".pooler." in name}
    expected_size = sum(p.numel() for p in tiny("bert").parameters()) + sum(p.numel() for p in head.values())
    assert sum(p.numel() for p in model.parameters()) == expected_size


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "mpnet"])
def test_whoever_reads_a_dense_export_finds_every_weight_and_no_keyword(model_type, tokenizer, tmp_path):
    """`AutoModel` draws a pooling head that a file lacks; other backends refuse the keyword that leaves it out."""
    Encoder(tiny(model_type), tokenizer).save(tmp_path / "model")
    export(tmp_path / "model", tmp_path / "out")
    _, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert set(json.loads((tmp_path / "out" / "sentence_bert_config.json").read_text())) == {
        "max_seq_length",
        "do_lower_case",
    }
    heads = [p for name, p in AutoModel.from_pretrained(tmp_path / "out").named_parameters() if "pooler" in name]
    assert len(heads) == 2
    assert not any(p.any() for p in heads)


@pytest.mark.parametrize("model_type", ["nomic_bert", "xlm-roberta", "mpnet", "distilbert", "modernbert", "qwen3"])
def test_one_route_of_every_family_is_a_plain_dense_model(model_type, tokenizer, tmp_path):
    encoder = Encoder(upcycle(tiny(model_type), ROUTES), tokenizer, instructions=dict(INSTRUCTIONS)).eval()
    next(p for name, p in encoder.named_parameters() if ".experts.clustering." in name).data += 0.1
    encoder.save(tmp_path / "model")
    export(tmp_path / "model", tmp_path / "out", route="clustering")
    found = load(tmp_path / "out").encode(TEXTS)
    np.testing.assert_allclose(found, encoder.encode(TEXTS, "clustering"), **CLOSE)


def by_prompt(model):
    """Route -> embeddings by every way to name it."""
    ways = {
        route: [model.encode(TEXTS, prompt_name=route), model.encode(TEXTS, prompt=f"{route}: ")] for route in ROUTES
    }
    ways["search_query"].append(model.encode_query(TEXTS))
    ways["search_document"].append(model.encode_document(TEXTS))
    ways["classification"] += [
        model.encode(TEXTS, prompt_name="Classification"),
        model.encode(TEXTS, prompt_name="STS"),
    ]
    ways["clustering"].append(model.encode(TEXTS, prompt_name="Clustering"))
    return ways


@pytest.mark.parametrize("which", ["average", "ic"])
def test_dense_models_with_instructions_take_prompts_by_name(which, encoders, tmp_path):
    encoder, out = encoders["ic"], tmp_path / "out"
    if which == "average":
        encoder = encoders["mote"]
        export(make_run(tmp_path, encoder), out, average=True)
        encoder = Encoder(
            average_experts(encoder.backbone), encoder.tokenizer, instructions=encoder.instructions
        ).eval()
    else:
        export(make_run(tmp_path, encoder), out)
    model = load(out)
    for route, found in by_prompt(model).items():
        expected = encoder.encode(TEXTS, route, max_tokens=TOKENS)
        for vectors in found:
            np.testing.assert_allclose(vectors, expected, **CLOSE)
    expected = encoder.encode(TEXTS, "classification", max_tokens=TOKENS)
    np.testing.assert_allclose(model.encode(TEXTS), expected, **CLOSE)


def test_a_dense_model_without_instructions_has_no_prompts(encoders, tmp_path):
    encoder = encoders["em"]
    export(make_run(tmp_path, encoder), tmp_path / "out")
    model = load(tmp_path / "out")
    expected = encoder.encode(TEXTS, "clustering", max_tokens=TOKENS)
    for found in (model.encode(TEXTS), model.encode_query(TEXTS), model.encode_document(TEXTS)):
        np.testing.assert_allclose(found, expected, **CLOSE)


def test_all_experts_take_the_route_of_the_prompt(encoders, tmp_path, code_cache):
    encoder, out = encoders["mote"], tmp_path / "all"
    export(make_run(tmp_path, encoder), out)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        load(out)
    model = load(out, trust_remote_code=True)
    assert type(model[0]).__module__.startswith("transformers_modules.")
    listed = dict(re.findall(r"^- `(\w+\.py)`: `([0-9a-f]{64})`$", (out / "README.md").read_text(), re.MULTILINE))
    assert listed == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.glob("**/*.py")}
    assert len(listed) == len(CODE)
    for route, found in by_prompt(model).items():
        expected = encoder.encode(TEXTS, route, max_tokens=TOKENS)
        for vectors in found:
            np.testing.assert_allclose(vectors, expected, **CLOSE)
        inside = model.encode([INSTRUCTIONS[route] + text for text in TEXTS])
        np.testing.assert_allclose(inside, expected, **CLOSE)
    mixed = model.encode(["search_query: one", "clustering: one", "search_query: What is it?"])
    expected = [
        encoder.encode([t], r)[0] for t, r in [("one", ROUTES[2]), ("one", ROUTES[1]), ("What is it?", ROUTES[2])]
    ]
    np.testing.assert_allclose(mixed, expected, **CLOSE)
    with pytest.raises(ValueError, match="the text 'one' has no known prompt.*encode_query.*'clustering: '"):
        model.encode(["one"])
    with pytest.raises(ValueError, match="the text 'query : one' has no known prompt"):
        model.encode(["one"], prompt="query: ")
    with pytest.raises(ValueError, match="takes none"):
        load(out, trust_remote_code=True, model_kwargs={"dtype": "bfloat16"})
    model.save(str(tmp_path / "again"), create_model_card=False)
    again = load(tmp_path / "again", trust_remote_code=True)
    np.testing.assert_array_equal(again.encode_query(TEXTS), model.encode_query(TEXTS))


def test_a_task_is_the_same_as_the_prompt_of_its_route(encoders, tmp_path, code_cache):
    export(make_run(tmp_path, encoders["mote"]), tmp_path / "all")
    model = load(tmp_path / "all", trust_remote_code=True)
    assert model.get_model_kwargs() == ["task"]
    routes = {"query": "search_query", "document": "search_document"} | {route: route for route in ROUTES}
    for task, route in routes.items():
        np.testing.assert_array_equal(model.encode(TEXTS, task=task), model.encode(TEXTS, prompt_name=route))
    both = model.encode_query(TEXTS, prompt_name="clustering")  # its task is "query"; the prompt takes precedence
    np.testing.assert_array_equal(both, model.encode(TEXTS, prompt_name="clustering"))
    with pytest.raises(ValueError, match="task 'sts' is unknown; tasks: query, document, classification"):
        model.encode(TEXTS, task="sts")


def test_a_missing_route_is_an_error_of_the_embedding_not_of_the_tokens(encoders, tmp_path, code_cache):
    export(make_run(tmp_path, encoders["mote"]), tmp_path / "all")
    model = load(tmp_path / "all", trust_remote_code=True)
    features = model.preprocess(["one", "clustering: a"])  # as the trainer's model card counts tokens
    assert features["routes"].tolist() == [-1, 1]
    assert features["attention_mask"].sum(1).tolist() == [
        3,
        6,
    ]  # "cluster", "##ing", ":", "a"
    with pytest.raises(ValueError, match="the text 'one' has no known prompt and no task"):
        model(features)
    assert model.preprocess(["one " * 50], task="query", max_length=7)["input_ids"].shape == (1, 7)


def test_experts_without_instructions_take_the_prompt_as_a_name_alone(encoders, tmp_path, code_cache):
    encoder = encoders["mote"]
    encoder.instructions = None
    export(make_run(tmp_path, encoder), tmp_path / "bare")
    model = load(tmp_path / "bare", trust_remote_code=True)
    for route in ROUTES:
        expected = encoder.encode(TEXTS, route, max_tokens=TOKENS)
        np.testing.assert_allclose(model.encode(TEXTS, prompt_name=route), expected, **CLOSE)
        np.testing.assert_allclose(model.encode(TEXTS, task=route), expected, **CLOSE)
    with pytest.raises(ValueError, match="has no known prompt"):
        model.encode(["clustering: one"])


def test_the_code_that_is_carried_needs_none_of_ours():
    from pathlib import Path

    import tsembed.mote

    for name in CODE:
        tree = ast.parse((Path(tsembed.mote.__file__).parent / name).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 or (node.level == 1 and f"{node.module}.py" in CODE), (name, node.module)
                assert node.module.partition(".")[0] != "tsembed"


def test_mteb_finds_the_prompts(encoders, tmp_path):
    import mteb
    from mteb.models.abs_encoder import get_prompt_name
    from mteb.types import PromptType

    export(make_run(tmp_path, encoders["ic"]), tmp_path / "out")
    prompts = json.loads((tmp_path / "out" / "config_sentence_transformers.json").read_text())["prompts"]
    cases = {
        ("NFCorpus", PromptType.query): "search_query: ",
        ("NFCorpus", PromptType.document): "search_document: ",
        ("AskUbuntuDupQuestions", PromptType.query): "search_query: ",
        ("STSBenchmark", None): "classification: ",
        ("Banking77Classification", None): "classification: ",
        ("BiorxivClusteringP2P", None): "clustering: ",
    }
    for (task, prompt_type), expected in cases.items():
        assert prompts[get_prompt_name(prompts, mteb.get_task(task).metadata, prompt_type)] == expected, task


def test_the_card_holds_what_the_run_measured(encoders, tmp_path):
    run = make_run(tmp_path, encoders["mote"])
    export(run, tmp_path / "query", route="search_query")
    export(run, tmp_path / "average", average=True)
    export(run / "model", tmp_path / "model", route="classification")
    card = (tmp_path / "query" / "README.md").read_text()
    front = yaml.safe_load(re.match(r"---\n(.*?)---\n", card, re.DOTALL).group(1))
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert "| Retrieval | 2 | 61.0 |" in card
    assert "| Retrieval | r2 | ndcg_at_10 | 61.8 |" in card
    assert "s1" not in card  # STS takes another route
    assert "| d1 | retrieval | 1,234 | CC BY 4.0 | https://d1 |" in card
    assert "d2" not in card
    assert "c0ffee and uncommitted changes" in card
    assert "abacus" in card
    assert f"cut at {TOKENS} tokens" in card
    assert "seed 3" in card
    assert "first 2 blocks" in card
    assert 'SentenceTransformer("query")' in card
    average = (tmp_path / "average" / "README.md").read_text()
    assert "not evaluated" in average
    assert "61.0" not in average
    assert "no measured scores" in (tmp_path / "model" / "README.md").read_text()
    assert load(tmp_path / "model").max_seq_length == 512
    for text in (card, average):
        assert str(tmp_path) not in text


def test_the_hub_reads_the_scores_from_the_card(encoders, tmp_path):
    from huggingface_hub import ModelCard

    run = make_run(tmp_path, encoders["mote"])
    scores = json.loads((run / "scores.json").read_text())
    export(run, tmp_path / "all")
    card = ModelCard.load(tmp_path / "all" / "README.md")
    (model,) = card.data.to_dict()["model-index"]
    assert model["name"] == "all"
    assert len(scores) == 3
    assert [
        {
            "task_type": result["task"]["type"],
            "dataset": result["dataset"]["name"],
            "metric": metric["type"],
            "score": metric["value"],
        }
        for result in model["results"]
        for metric in result["metrics"]
    ] == scores


def test_the_hub_is_told_no_score_that_is_not_the_exported_models(encoders, tmp_path):
    from huggingface_hub import ModelCard

    run = make_run(tmp_path, encoders["mote"])
    export(run, tmp_path / "query", route="search_query")
    export(run, tmp_path / "average", average=True)
    of_query = ModelCard.load(tmp_path / "query" / "README.md").data
    assert [(result.dataset_name, result.metric_value) for result in of_query.eval_results] == [
        ("r1", 60.25),
        ("r2", 61.75),
    ]
    assert ModelCard.load(tmp_path / "average" / "README.md").data.eval_results is None


@pytest.mark.parametrize(
    ("which", "arguments", "message"),
    [
        ("mote", {"route": "sts"}, "has no route 'sts'; its routes: classification, clustering"),
        ("em", {"route": "clustering"}, "it has neither experts nor instructions"),
        ("ic", {"average": True}, "has no experts to average"),
        ("mote", {"average": True, "route": "clustering"}, "exclude each other"),
    ],
)
def test_what_a_model_does_not_have_is_named(which, arguments, message, encoders, tmp_path):
    run = make_run(tmp_path, encoders[which])
    with pytest.raises(ValueError, match=message):
        export(run, tmp_path / "out", **arguments)
    assert not list(tmp_path.glob("out*"))


def test_token_routing_and_equal_instructions_are_errors(tokenizer, encoders, tmp_path):
    Encoder(route_tokens(tiny("bert")), tokenizer, instructions=None).save(tmp_path / "tlr")
    with pytest.raises(ValueError, match="a TokenRouted routes single tokens"):
        export(tmp_path / "tlr", tmp_path / "out")
    encoders["mote"].instructions = {route: "same: " for route in ROUTES}
    encoders["mote"].save(tmp_path / "same")
    with pytest.raises(ValueError, match="a prompt names no expert"):
        export(tmp_path / "same", tmp_path / "out")


def test_nothing_is_overwritten_and_half_a_run_is_none(encoders, tmp_path, monkeypatch):
    run, out = make_run(tmp_path, encoders["em"]), tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    with pytest.raises(SystemExit, match="out exists and is not empty: nothing was written"):
        main([str(run), str(out)])
    assert [p.name for p in out.iterdir()] == ["mine"]
    (out / "mine").unlink()
    with pytest.raises(ValueError, match="no run .config.yaml. and no saved encoder"):
        export(tmp_path, out)
    monkeypatch.setattr("tsembed.export.folder.verify", lambda *_: (_ for _ in ()).throw(RuntimeError("differs")))
    with pytest.raises(RuntimeError, match="differs"):
        export(run, out)
    assert not list(out.iterdir())
    assert not list(tmp_path.glob("out.*"))
    monkeypatch.undo()
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"data_sha256": "other"}))
    with pytest.raises(ValueError, match="are not there .* run's folder model/"):
        export(run, out)
    (run / "done.json").unlink()
    with pytest.raises(ValueError, match=r"half-finished run \(no done.json\)"):
        export(run, out)


def test_a_merged_adapter_is_compared_with_the_trained_model(tokenizer, tmp_path, monkeypatch):
    from tsembed.encoder.adapters import adapt
    from tsembed.export import dense
    from tsembed.settings import Adapter

    tiny("bert").save_pretrained(tmp_path / "base")
    base = {"backbone": {"name": str(tmp_path / "base")}}
    adapted = adapt(tiny("bert"), Adapter(kind="lora", r=2), None, seed=0)
    for name, p in adapted.named_parameters():
        p.data += 0.1 * ("lora_B" in name)
    encoder = Encoder(adapted, tokenizer, base=base).eval()
    before = encoder.encode(TEXTS, "search_query")
    plain = dense.merged(encoder, None)
    np.testing.assert_allclose(plain.encode(TEXTS, "search_query"), before, **CLOSE)
    np.testing.assert_array_equal(encoder.encode(TEXTS, "search_query"), before)
    assert not any("lora" in name for name, _ in plain.named_parameters())


def test_an_export_that_differs_is_not_written(encoders, tmp_path, monkeypatch):
    monkeypatch.setattr(Encoder, "encode", lambda self, texts, route, **_: np.ones((len(texts), 32)))
    with pytest.raises(RuntimeError, match="differs from the trained one"):
        export(make_run(tmp_path, encoders["em"]), tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
