"""Invariants of checkpoints beside those of test_loop.py and test_loop_adapters.py.

- A training with frozen weights writes the trained ones alone; one without frozen weights writes all.
- A checkpoint of before, with all weights, still resumes to bitwise the weights of an uninterrupted run.
- One that was written beside other frozen weights, or that lacks a trained one, is refused.
- Two processes write it and resume from it.
"""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.ranks import run_ranks
from tests.tiny import train
from tests.tiny_images import BACKBONE, image_encoder
from tests.tsembed.training.test_loop_adapters import TASKS, make, settings, tables, weights
from tsembed.encoder.build import build
from tsembed.settings import Variant
from tsembed.training import checkpoints

pytestmark = pytest.mark.processor


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "model"
    image_encoder().save(folder)
    return folder


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """The weights of an uninterrupted run."""
    encoder = make(base, settings("LoRA"))
    assert train(settings("LoRA"), encoder, tables(), TASKS, tmp_path_factory.mktemp("whole"))
    return weights(encoder)


def interrupted(base, folder):
    """The checkpoint of step 4 of a run that was stopped behind it."""
    assert not train(settings("LoRA"), make(base, settings("LoRA")), tables(), TASKS, folder, stop_after=5)
    return folder / "checkpoints" / "step-00000004"


def resumed(base, folder):
    encoder = make(base, settings("LoRA"))
    assert train(settings("LoRA"), encoder, tables(), TASKS, folder, resume=True)
    return weights(encoder)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(p, other[name]) for name, p in one.items())


def test_frozen_weights_are_no_part_of_a_checkpoint(base, whole, tmp_path):
    checkpoint = interrupted(base, tmp_path)
    trained = {name: p for name, p in make(base, settings("LoRA")).named_parameters() if p.requires_grad}
    saved = load_file(checkpoint / "model.safetensors")
    assert {name.removeprefix("encoder.") for name in saved} == set(trained)
    size = sum(p.numel() * p.element_size() for p in trained.values())
    assert size <= (checkpoint / "model.safetensors").stat().st_size < 2 * size
    every_file = sum(path.stat().st_size for path in checkpoint.iterdir())
    assert every_file < (base / "model.safetensors").stat().st_size / 2
    assert equal(resumed(base, tmp_path), whole)


def test_a_checkpoint_with_all_weights_still_resumes(base, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(checkpoints, "_leave_out_frozen", lambda *_: None)
        checkpoint = interrupted(base, tmp_path)
    assert len(load_file(checkpoint / "model.safetensors")) >= len(whole)
    assert equal(resumed(base, tmp_path), whole)


def test_other_frozen_weights_are_refused_and_so_is_a_checkpoint_that_lacks_a_trained_one(base, tmp_path):
    checkpoint = interrupted(base, tmp_path / "run")
    image_encoder(seed=1).save(tmp_path / "other" / "model")
    with pytest.raises(ValueError, match=r"step-00000004 was written beside other frozen .* delete .*/run to start"):
        resumed(tmp_path / "other" / "model", tmp_path / "run")
    saved = load_file(checkpoint / "model.safetensors")
    lost = saved.pop(min(saved))
    assert lost.numel()
    save_file(saved, checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match="has other trained weights than the model, 'encoder.backbone"):
        resumed(base, tmp_path / "run")


def test_a_checksum_sees_every_bit_and_name():
    weight = torch.arange(6.0).view(2, 3)
    same = checkpoints._checksum({"b": weight.t().contiguous().t(), "a": weight.bfloat16()})
    assert same == checkpoints._checksum({"a": weight.bfloat16(), "b": weight.clone()})
    changed = weight.clone()
    changed[1, 2] = torch.nextafter(changed[1, 2], torch.tensor(9.0))
    others = [{"b": changed, "a": weight.bfloat16()}, {"c": weight, "a": weight.bfloat16()}, {"b": weight}]
    assert len({same, *map(checkpoints._checksum, others)}) == 4


def test_without_frozen_weights_all_are_written(tmp_path):
    chosen = settings(variant={})
    chosen = chosen.model_copy(update={"variant": Variant(label="x", tasks=chosen.variant.tasks)})
    encoder = build(BACKBONE, chosen.variant, texts=["number of the picture"])
    assert not train(chosen, encoder, tables(), TASKS, tmp_path, stop_after=5)
    checkpoint = tmp_path / "checkpoints" / "step-00000004"
    assert not (checkpoint / checkpoints.FROZEN).exists()
    names = {name.removeprefix("encoder.") for name in load_file(checkpoint / "model.safetensors")}
    assert names == set(encoder.state_dict())


def _two_ranks(rank, base, folder):
    chosen = settings("LoRA")
    assert train(chosen, encoder := make(base, chosen), tables(), TASKS, folder / "whole")
    assert not train(chosen, make(base, chosen), tables(), TASKS, folder / "cut", stop_after=5)
    assert train(chosen, other := make(base, chosen), tables(), TASKS, folder / "cut", resume=True)
    assert equal(weights(encoder), weights(other)), f"rank {rank}"


@pytest.mark.slow
def test_two_processes_resume_to_the_same_weights(base, tmp_path):
    run_ranks(_two_ranks, 2, base, tmp_path)
    assert (tmp_path / "cut" / "metrics.jsonl").read_text().count("\n") == 12
