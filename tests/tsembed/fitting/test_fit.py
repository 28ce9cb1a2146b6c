"""Invariants of `tsembed fit`:

- any part of the layout, or a table, is enough: pairs alone, pairs and a classification, a CSV file, all parts;
- what is written is what SentenceTransformer loads, with the backbone's pooling, and its card has both scores;
- the untrained backbone is scored beside the trained encoder, on the same sets;
- an interrupted training goes on to the weights of an undisturbed one; without --resume, or with other settings, it is
  an error that says what to do; a second call does nothing;
- Matryoshka dimensions reach the export: an embedding is cut by `truncate_dim`, and similarity normalises it;
- a fault of the data or of a setting is one line, and nothing was trained.
"""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from transformers import AutoTokenizer

from tests.tiny import tiny
from tsembed.cli import main
from tsembed.encoder.backbones import embedded_folder
from tsembed.fitting.fit import fit

pytestmark = pytest.mark.usefixtures("code_cache")  # exports carry code
WORDS = "river stone lamp bread cloud train glass paper wheel garden".split()


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def pairs(folder, count=40):
    rows = [{"anchor": f"{WORDS[i % 10]} {i}", "positive": f"about {WORDS[i % 10]} number {i}"} for i in range(count)]
    lines(folder / "pairs/faq/train.jsonl", rows)


def classification(folder):
    for part, count in (("train", 40), ("test", 12)):
        rows = [{"text": f"{part} {WORDS[i % 2]} {i}", "label": WORDS[i % 2]} for i in range(count)]
        lines(folder / f"classification/kinds/{part}.jsonl", rows)


def all_parts(folder):
    pairs(folder)
    classification(folder)
    lines(
        folder / "clustering/groups/train.jsonl", [{"text": f"g {WORDS[i % 4]} {i}", "label": i % 4} for i in range(40)]
    )
    lines(
        folder / "clustering/groups/test.jsonl", [{"text": f"t {WORDS[i % 4]} {i}", "label": i % 4} for i in range(12)]
    )
    lines(folder / "retrieval/manual/queries.jsonl", [{"query_id": f"q{i}", "query": f"ask {i}"} for i in range(12)])
    lines(folder / "retrieval/manual/corpus.jsonl", [{"doc_id": f"d{i}", "text": f"page {i}"} for i in range(3)])
    qrels = [{"query_id": f"q{i}", "doc_id": f"d{i % 3}", "score": 1} for i in range(12)]
    lines(folder / "retrieval/manual/qrels.jsonl", qrels)
    lines(
        folder / "sts/alike/test.jsonl", [{"a": f"x {i}", "b": f"y {WORDS[i % 5]}", "score": i % 3} for i in range(12)]
    )


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A tiny BERT that pools by the mean."""
    target = tmp_path_factory.mktemp("backbone") / "bert"
    tiny("bert").save_pretrained(target)
    AutoTokenizer.from_pretrained(embedded_folder("embedded:all-MiniLM-L6-v2")).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def cls_backbone(backbone, tmp_path_factory):
    """The same as a folder of sentence-transformers that pools by its first token."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    target = tmp_path_factory.mktemp("backbone") / "cls"
    first = Transformer(str(backbone))
    SentenceTransformer(modules=[first, Pooling(32, pooling_mode="cls")], device="cpu").save(str(target))
    return target


SHORT = {"steps": 4, "batch_size": 8, "max_tokens": 24}


def loaded(out):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(out), device="cpu", trust_remote_code=True)


def test_pairs_alone_are_enough(tmp_path, backbone):
    pairs(tmp_path / "data")
    said = []
    done = fit(tmp_path / "data", tmp_path / "out", backbone=str(backbone), **SHORT, report=said.append)
    assert said[0] == "retrieval: 36 pairs"
    assert not any("cut at" in line for line in said)
    assert any(line.startswith("4 steps of 8 pairs (32 pairs in all)") for line in said)
    assert "test parts: none" in said
    assert [row["dataset"] for row in done.before] == [row["dataset"] for row in done.after] == ["faq"]
    model = loaded(tmp_path / "out")
    vectors = model.encode_query(["river", "stone"])
    assert vectors.shape == (2, 32)
    assert not np.allclose(vectors, model.encode_document(["river", "stone"]))  # routes have experts of their own
    assert not (tmp_path / "out.work").exists()
    assert "not trained on" in (tmp_path / "out/README.md").read_text().lower()


def test_texts_that_are_cut_are_counted(backbone, tokenizer):
    from datasets import Dataset

    from tsembed.encoder.build import build
    from tsembed.settings import Backbone, Variant
    from tsembed.training.lengths import cut_texts

    encoder = build(Backbone(name=str(backbone)), Variant(label="EM", instruction=False))
    table = Dataset.from_dict({"query": ["river"] * 3, "document": ["river", "river " * 6, "river " * 7]})
    tables, tasks = {"faq": table, "same": table.select([0])}, dict.fromkeys(("faq", "same"), "retrieval")
    lines = cut_texts(encoder, tables, tasks, {"query": 3, "document": 8})  # two of them are special tokens
    assert lines == ["faq: 1 of 3 documents are cut at 8 tokens"]


def test_a_classification_is_scored_before_and_after_with_the_backbones_pooling(tmp_path, cls_backbone):
    pairs(tmp_path / "data")
    classification(tmp_path / "data")
    fitted = fit(tmp_path / "data", tmp_path / "out", backbone=str(cls_backbone), variant="ic", **SHORT)
    assert {row["metric"] for row in fitted.before} == {"recall_at_1", "accuracy"}
    assert [row["dataset"] for row in fitted.before] == [row["dataset"] for row in fitted.after]
    assert json.loads((tmp_path / "out/1_Pooling/config.json").read_text())["pooling_mode_cls_token"]
    card = (tmp_path / "out/README.md").read_text()
    assert "| task type | dataset | metric | score | untrained |" in card
    score, untrained = (
        next(r["score"] for r in rows if r["metric"] == "accuracy") for rows in (fitted.after, fitted.before)
    )
    assert f"| Classification | kinds | accuracy | {score:.1f} | {untrained:.1f} |" in card
    assert loaded(tmp_path / "out").encode(["river"]).shape == (1, 32)


def test_a_csv_file_by_the_command(tmp_path, backbone, capsys):
    rows = "".join(f"{WORDS[i % 10]} {i},about {WORDS[i % 10]} {i}\n" for i in range(40))
    (tmp_path / "faq.csv").write_text("question,answer\n" + rows)
    words = ["fit", tmp_path / "faq.csv", "--backbone", backbone, "--variant", "em", "--out", tmp_path / "out"]
    words += ["--steps", 3, "--batch-size", 8, "--max-tokens", 24]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "loss of retrieval" in said
    assert "untrained  trained  difference" in said
    assert loaded(tmp_path / "out").encode(["river"]).shape == (1, 32)
    assert main([str(word) for word in words]) == 0  # a second call does nothing
    assert capsys.readouterr().out == f"{tmp_path / 'out'} is done\n"


@pytest.mark.parametrize("variant", ["mote", "moe_lora", "tsembed"])
def test_all_parts_and_every_kind_of_expert(tmp_path, backbone, variant):
    all_parts(tmp_path / "data")
    fitted = fit(tmp_path / "data", tmp_path / "out", backbone=str(backbone), variant=variant, experts=True, **SHORT)
    assert {row["task_type"] for row in fitted.after} >= {"Classification", "Clustering", "Retrieval", "STS"}
    assert loaded(tmp_path / "out").encode(["river"], prompt_name="classification").shape == (1, 32)
    if variant == "mote":
        routes = sorted(path.name for path in (tmp_path / "out/experts").iterdir())
        assert routes == ["classification", "clustering", "search_document", "search_query"]
        query = loaded(tmp_path / "out/experts/search_query").encode(["river"])
        assert np.allclose(query, loaded(tmp_path / "out").encode_query(["river"]), atol=1e-5)
    else:
        import tsembed

        assert tsembed.load(tmp_path / "out/adapters").encode(["river"], "search_query").shape == (1, 32)


def test_half_way_is_the_mean_of_trained_and_untrained_weights(tmp_path, backbone):
    from safetensors.torch import load_file

    pairs(tmp_path / "data")
    chosen = {"backbone": str(backbone), "variant": "em", "evaluate": False, "learning_rate": 1e-2, **SHORT}
    for name, half in (("whole", False), ("half", True)):
        fit(tmp_path / "data", tmp_path / name, half_way=half, **chosen)
    base, whole, half = (
        load_file(path / "model.safetensors") for path in (backbone, tmp_path / "whole", tmp_path / "half")
    )
    name = "encoder.layer.0.output.dense.weight"
    assert (whole[name] - base[name]).abs().max() > 1e-3
    assert (half[name] - (whole[name] + base[name]) / 2).abs().max() < 1e-6
    with pytest.raises(ValueError, match="half_way: moe_lora trains adapters"):
        fit(tmp_path / "data", tmp_path / "x", half_way=True, **chosen | {"variant": "moe_lora"})


def test_matryoshka_dimensions_reach_the_export(tmp_path, backbone, capsys):
    from sentence_transformers import SentenceTransformer

    pairs(tmp_path / "data")
    words = ["fit", tmp_path / "data", "--backbone", backbone, "--out", tmp_path / "out", "--matryoshka", "8,16"]
    words += ["--steps", 3, "--batch-size", 8, "--max-tokens", 24, "--no-eval"]
    assert main([str(word) for word in words]) == 0
    done = json.loads((tmp_path / "out/fit.json").read_text())
    assert done["config"]["training"]["matryoshka_dims"] == [8, 16]
    card = (tmp_path / "out/README.md").read_text()
    assert "Trained with Matryoshka dimensions 32, 16, 8" in card
    assert 'SentenceTransformer("out", trust_remote_code=True, truncate_dim=8)' in card
    whole = loaded(tmp_path / "out").encode_query(["river", "stone"])
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=True, truncate_dim=8)
    cut = model.encode_query(["river", "stone"])
    assert np.allclose(cut, whole[:, :8], atol=1e-6)
    unit = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    assert np.linalg.norm(cut, axis=1).max() < 0.99
    assert np.allclose(model.similarity(cut, cut), unit @ unit.T, atol=1e-5)
    assert np.allclose(model.encode_query(["river", "stone"], normalize_embeddings=True), unit, atol=1e-5)
    capsys.readouterr()
    words[-1:] = ["--no-eval", "--matryoshka", "64"]
    words[words.index(tmp_path / "out")] = tmp_path / "other"
    assert main([str(word) for word in words]) == 1
    assert "matryoshka_dims [64]: 64 is not in 1..32, the model's dimensions" in capsys.readouterr().err
    assert not (tmp_path / "other.work/metrics.jsonl").exists()


@pytest.mark.slow
def test_kill_9_then_resume_gives_the_weights_of_an_undisturbed_training(tmp_path, backbone):
    pairs(tmp_path / "data", 400)
    chosen = {"steps": 140, "batch_size": 8, "max_tokens": 24, "evaluate": False}
    fit(tmp_path / "data", tmp_path / "whole", backbone=str(backbone), **chosen)
    words = [
        sys.executable,
        "-m",
        "tsembed.cli",
        "fit",
        tmp_path / "data",
        "--backbone",
        backbone,
        "--out",
        tmp_path / "out",
    ]
    words += ["--steps", 140, "--batch-size", 8, "--max-tokens", 24, "--no-eval"]
    started = subprocess.Popen([str(word) for word in words], env=os.environ, stdout=subprocess.DEVNULL)
    checkpoints = tmp_path / "out.work/checkpoints"
    while started.poll() is None and not any(checkpoints.glob("step*")):
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert any(checkpoints.glob("step*"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="holds an interrupted training: resume it"):
        fit(tmp_path / "data", tmp_path / "out", backbone=str(backbone), **chosen)
    with pytest.raises(ValueError, match=r"other settings \(seed was 0, is 1\)"):
        fit(tmp_path / "data", tmp_path / "out", backbone=str(backbone), resume=True, seed=1, **chosen)
    fit(tmp_path / "data", tmp_path / "out", backbone=str(backbone), resume=True, **chosen)
    whole, resumed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "out"))
    assert whole == resumed


def test_faults_are_one_line_before_anything_is_trained(tmp_path, backbone, capsys):
    lines(tmp_path / "data/pairs/faq/train.jsonl", [{"anchor": "a", "positive": ""}])
    words = ["fit", str(tmp_path / "data"), "--backbone", str(backbone), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "pairs/faq/train.jsonl:1: 'positive' is empty" in said
    pairs(tmp_path / "good")
    words[1] = str(tmp_path / "good")
    assert main([*words, "--max-tokens", "100000"]) == 1
    assert "positions that the backbone has" in capsys.readouterr().err
    (tmp_path / "out2").mkdir()
    (tmp_path / "out2/mine.txt").write_text("keep")
    words[-1] = str(tmp_path / "out2")
    assert main(words) == 1
    assert "is not empty" in capsys.readouterr().err
