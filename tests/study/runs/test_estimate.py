"""Invariants of the estimated hours.

- Operations are those of a calculation by hand: passes, weights, tokens, and the part of the steps that a model takes.
- What the presets and docs/running.md say is what the command prints.
"""

import re

import pytest

from study import cli, paths
from study.presets import load_preset, resolve
from study.runs import estimate

NOMIC = 12 * (4 * 768**2 + 3 * 768 * 3072 + 4 * 768) + 2 * 768 + 2 * 768  # blocks; norm and types of the embeddings


def of_gpu(variant):
    return resolve(load_preset("gpu"), variant, 0)


def test_weights_are_those_of_the_architecture():
    assert estimate.weights(of_gpu("em").backbone) == (NOMIC, 0)
    blocks, tower = estimate.weights(of_gpu("vl_lora").backbone)
    linear = 28 * (2 * 1536**2 + 2 * 1536 * 256 + 3 * 1536 * 8960)
    assert linear < blocks < 1.001 * linear
    assert 6.6e8 < tower < 6.7e8
    with pytest.raises(ValueError, match="the size of backbone 'org/other' is not known here; known: nomic-ai"):
        estimate.weights(of_gpu("em").backbone.model_copy(update={"name": "org/other"}))


def test_operations_of_a_training_by_hand():
    pairs, tokens, passes = 1000 * 512, 128 + 256, 2 + 4 + 2  # forward, backward, checkpointing
    assert estimate.training_operations(of_gpu("em")) == pairs * tokens * passes * NOMIC
    assert estimate.training_operations(of_gpu("sem_retrieval")) == pytest.approx(pairs * tokens * passes * NOMIC / 3)
    assert estimate.training_operations(of_gpu("base")) == estimate.training_operations(of_gpu("vl_base")) == 0
    blocks, tower = estimate.weights(of_gpu("vl_lora").backbone)
    passes = 2 + 2 + 2 + 2  # half a backward pass, checkpointing, the gradient cache
    per_pair = passes * blocks * (512 + 2 * estimate.WORDS) + 2 * tower * 2048
    assert estimate.training_operations(of_gpu("vl_lora")) == 300 * 256 * per_pair


def test_the_length_of_pairs_can_be_given():
    paper = resolve(load_preset("paper"), "mote", 0)
    whole = estimate.training_operations(paper)
    assert estimate.training_operations(paper, 180) == pytest.approx(whole * 180 / 4096)
    assert estimate.training_operations(paper, 10_000) == whole
    images = resolve(load_preset("paper"), "vl_lora", 0)
    assert estimate.training_operations(images, 180) == estimate.training_operations(images)


def test_operations_of_an_evaluation():
    em, sem, route = (
        estimate.evaluation_operations(of_gpu(name)) for name in ("em", "sem_retrieval", "mote_cluster_route")
    )
    assert 0 < sem < em
    assert 0 < route < em
    types = estimate.benchmark_tokens("MTEB(eng, v1)", tuple(of_gpu("em").evaluation.without))
    assert sum(texts for texts, _ in types["Clustering"]) > 2e6
    every = sum(texts * length for lengths in types.values() for texts, length in lengths)
    assert em < 2 * NOMIC * every, "long texts are cut"
    blocks, tower = estimate.weights(of_gpu("vl_base").backbone)
    items = 36 * (500 + estimate.CANDIDATES)
    per_item = 2 * blocks * (512 + estimate.WORDS) + 2 * tower * 2048
    assert estimate.evaluation_operations(of_gpu("vl_base")) == items * per_item


@pytest.mark.parametrize("name", ["gpu", "local-gpu"])
def test_presets_and_guide_say_what_the_command_prints(name, capsys):
    assert cli.main(["estimate", name]) == 0
    last = capsys.readouterr().out.splitlines()[-2]
    printed = [round(float(number)) for number in re.findall(r"(?:H100|A100) ([\d.]+)", last)]
    said = re.compile(r"an estimated (\d+) hours (?:of training )?of an H100 or (\d+) of an A100")
    texts = [load_preset(name).about] + ([(paths.ROOT / "docs/running.md").read_text()] if name == "gpu" else [])
    assert [[int(number) for number in said.search(text).groups()] for text in texts] == [printed] * len(texts)


def test_faults_are_named(capsys):
    with pytest.raises(SystemExit, match="error: 'other' is not in"):
        estimate.main(["other"])
    with pytest.raises(SystemExit):
        estimate.main(["gpu", "--share", "2"])
    assert "--share must be in 0..1, got 2.0" in capsys.readouterr().err
