"""Invariants of the cost of a forward pass.

- "auto" finds the fixed part of a pass's time, in tokens; a type of device with a number takes that.
- `encode` asks once per device and precision, splits by the answer, and gives the same embeddings whatever it is.
- Measuring draws nothing at random and leaves the encoder's mode.
- A pass that is measured is one of those that `encode` makes: of the route, in the precision.
"""

import time

import numpy as np
import pytest
import torch

from tests.tiny import tiny
from tests.tiny_images import image_encoder
from tsembed.encoder import chunks, pass_cost
from tsembed.encoder.text import Encoder

TEXTS = [" ".join(["fjord"] * n) for n in (1, 2, 3, 5, 8, 13, 21, 34) for _ in range(2)]


@pytest.fixture
def encoder(tokenizer):
    return Encoder(tiny("bert", dropout=0.1), tokenizer).eval()


def setting(monkeypatch, cost):
    monkeypatch.setitem(chunks.FORWARD_PASS_COST_TOKENS, "cpu", cost)


def passes(encoder, **more):
    """Embeddings of the texts, and the sizes of the forward passes that made them."""
    sizes = []
    hook = encoder.backbone.register_forward_pre_hook(
        lambda _, __, inputs: sizes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    vectors = encoder.encode(TEXTS, "clustering", **more)
    hook.remove()
    return vectors, sizes


@pytest.mark.parametrize(("fixed", "found"), [(0.01, 1024), (0.04, 4096)])
def test_auto_finds_the_fixed_part_of_a_pass(encoder, fixed, found, monkeypatch):
    setting(monkeypatch, "auto")
    measured = pass_cost.of_device(
        encoder, lambda chunk: time.sleep(fixed + 1e-5 * chunk.input_ids.numel()), "clustering"
    )
    assert measured in (found // 2, found, found * 2)  # of a clock that a busy machine disturbs


def test_a_device_with_a_number_is_not_measured(encoder):
    assert pass_cost.of_device(encoder, pytest.fail, "clustering") == chunks.FORWARD_PASS_COST_TOKENS["cpu"] == 48


def test_encode_asks_once_per_precision_and_gives_the_same_embeddings(encoder, monkeypatch):
    expected, few = passes(encoder)
    setting(monkeypatch, "auto")
    answers = []
    monkeypatch.setattr(pass_cost, "of_device", lambda *_: answers.append(1) or 1)
    encoder.pass_costs.clear()
    found, many = passes(encoder)
    passes(encoder)
    assert len(answers) == 1
    assert len(few) < len(many) == len({len(text) for text in TEXTS})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    passes(encoder, precision="bf16")
    assert len(answers) == 2
    encoder.encode("a single text", "clustering", precision="auto")
    assert len(answers) == 2


def test_measuring_draws_nothing_and_leaves_the_mode(encoder, monkeypatch):
    setting(monkeypatch, "auto")
    monkeypatch.setattr(pass_cost, "ROWS", (1, 2, 4))
    encoder.train()
    drawn = torch.get_rng_state()
    _, sizes = passes(encoder)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert encoder.training
    measured = sizes[: 3 * (1 + pass_cost.REPEATS)]
    assert [rows for rows, _ in measured] == [rows for rows in (1, 2, 4) for _ in range(1 + pass_cost.REPEATS)]
    assert {tokens for _, tokens in measured} == {pass_cost.TOKENS}
    assert pass_cost.BOUNDS[0] <= encoder.pass_costs["cpu", "fp32"] <= pass_cost.BOUNDS[1]


def test_it_is_measured_in_the_precision_of_the_call(encoder, monkeypatch):
    setting(monkeypatch, "auto")
    monkeypatch.setattr(pass_cost, "ROWS", (1, 2, 4))
    dtypes = set()
    query = encoder.backbone.encoder.layer[0].attention.self.query
    query.register_forward_hook(lambda _, __, output: dtypes.add(output.dtype))
    pass_cost.of_encoder(encoder, "clustering", "bf16")
    assert dtypes == {torch.bfloat16}


def test_an_encoder_of_images_is_measured_too(monkeypatch):
    setting(monkeypatch, "auto")
    monkeypatch.setattr(pass_cost, "ROWS", (1, 2, 4))
    encoder = image_encoder()
    before = encoder.encode(["red", "green field"], "image_retrieval")
    assert ("cpu", "fp32") in encoder.pass_costs
    setting(monkeypatch, 48)
    encoder.pass_costs.clear()
    np.testing.assert_allclose(encoder.encode(["red", "green field"], "image_retrieval"), before, atol=1e-5)


def test_the_default_budget_of_a_pass_grows_with_its_cost(encoder, monkeypatch):
    setting(monkeypatch, "auto")
    largest = []
    for cost in (16, 2048):
        encoder.pass_costs["cpu", "fp32"] = cost
        long = [" ".join(["fjord"] * 100)] * 40
        hook = encoder.backbone.register_forward_pre_hook(
            lambda _, __, inputs: largest.append(inputs["input_ids"].numel()), with_kwargs=True
        )
        encoder.encode(long, "clustering")
        hook.remove()
    assert len(largest) > 2
    assert max(largest[:-1]) <= pass_cost.TOKEN_BUDGET < largest[-1]
