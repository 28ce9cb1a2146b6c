"""Invariants of the measurement of inference, at tiny size.

- Every contestant is measured on every workload that it can take; ratios are positive and EM's own is 1.
- A token meets as many parameters in MoTE as in a dense model, in TLR the routers more, with top-2 one expert more.
- An offloaded model has a dense one's weights; a bar says what was measured and whether it holds.
- Contestants take turns in a drawn order, and the ratio is taken within a round.
"""

import importlib
import json

import numpy as np
import pytest
import torch

from tests.tiny import tiny
from tsembed.settings import Backbone

efficiency = importlib.import_module("benchmarks.efficiency")
timing = importlib.import_module("benchmarks.timing")
BLOCKS, DIM, EXPERTS = 2, 32, 4


@pytest.fixture(scope="module")
def result(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    tiny("bert", layers=BLOCKS).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    found = efficiency.measure(Backbone(name=str(folder)), rounds=3)
    return json.loads(json.dumps(found))  # as a notebook reads it


def size(result, quantity):
    return {row["contestant"]: row[quantity] for row in result["sizes"]}


def test_every_contestant_is_measured_on_every_workload_it_can_take(result):
    names = {"em", "ic", "mote", "mixed", "offloaded", "ea", "tlr", "tlr_top2"}
    assert set(size(result, "label")) == names
    expected = {(w, c, p) for w in efficiency.WORKLOADS for c in names for p in efficiency.PARTS}
    measured = {(r["workload"], r["contestant"], r["part"]) for r in result["times"]}
    assert expected - measured == {("query", "mixed", p) for p in efficiency.PARTS}
    assert not measured - expected


def test_ratios_are_positive_and_em_is_one(result):
    for row in result["times"]:
        assert 0 < row["low"] <= row["median"] <= row["high"]
        assert row["seconds"] > 0
        assert row["contestant"] != "em" or row["median"] == row["low"] == row["high"] == 1


def test_the_feed_forward_is_a_part_of_the_model(result):
    seconds = {(r["workload"], r["contestant"], r["part"]): r["seconds"] for r in result["times"]}
    for (workload, contestant, part), value in seconds.items():
        assert part == "model" or 0 < value < seconds[workload, contestant, "model"]


def test_active_parameters(result):
    total, active = size(result, "total_parameters"), size(result, "active_parameters")
    dense, router = total["em"], BLOCKS * EXPERTS * DIM
    expert = (total["mote"] - dense) // (EXPERTS - 1)
    assert expert > 0
    assert total["tlr"] == total["mote"] + router
    assert all(active[n] == dense for n in ("em", "ic", "ea", "mote", "mixed", "offloaded"))
    assert active["tlr"] == dense + router
    assert active["tlr_top2"] == dense + router + expert


def test_an_offloaded_model_has_a_dense_ones_weights_and_peak(result):
    weights, peak = size(result, "weight_bytes"), size(result, "peak_bytes")
    assert weights["offloaded"] <= 1.01 * weights["em"] < weights["mote"]
    assert peak["offloaded"] <= 1.03 * peak["em"]
    assert all(peak[n] > weights[n] for n in peak)


def test_activations_count_what_is_alive_at_once():
    def call():
        first = torch.ones(1000)  # 4,000 bytes
        second = first + 1
        del first
        return second * 2  # with `second` again two tensors

    assert 8000 <= efficiency.activations(call, torch.device("cpu")) < 8300


def test_tokens_are_spread_over_the_experts(result):
    assert set(result["spread"]) == {"tlr", "tlr_top2"}
    assert all(0 <= low < 0.25 < high <= 1 for low, high in result["spread"].values())


def test_a_bar_holds_by_the_median():
    times = [
        {"workload": w, "contestant": c, "part": p, "median": 1.04, "low": 1.01, "high": 1.045}
        for w in efficiency.WORKLOADS
        for c in ("mote", "mixed", "tlr")
        for p in efficiency.PARTS
    ]
    sizes = [{"contestant": c, "weight_bytes": 100, "peak_bytes": n} for c, n in (("em", 200), ("offloaded", 210))]
    found = efficiency.bars({"times": times, "sizes": sizes, "switch_milliseconds": 2.0})
    said = {(b["contestant"], b["quantity"], b["workload"]): (b["holds"], b["beyond_noise"]) for b in found}
    assert said["mote", "model", "batch"] == (False, False)
    assert said["mixed", "model", "batch"] == (True, True)
    assert said["offloaded", "peak", "batch"] == (False, True)
    assert said["offloaded", "weights", "batch"] == (True, True)


def test_contestants_take_turns_after_a_warm_up():
    calls = []
    taking_part = {n: lambda n=n: calls.append(n) or (len(calls), 1) for n in "abc"}
    found = timing.in_turn(taking_part, 6, np.random.default_rng(0))
    rounds = [tuple(calls[i : i + 3]) for i in range(3, len(calls), 3)]
    assert calls[:3] == list("abc")
    assert all(sorted(r) == list("abc") for r in rounds)
    assert len(set(rounds)) > 1
    assert all(found[n].shape == (6, 2) for n in "abc")


def test_the_ratio_is_taken_within_a_round():
    found = timing.median_ratio(np.array([1.1, 22.0, 330.0]), np.array([1.0, 20.0, 300.0]))
    assert found.low == pytest.approx(1.1)
    assert found.median == pytest.approx(1.1)
    assert found.high == pytest.approx(1.1)


def test_training_on_pictures_is_measured_at_any_size():
    multimodal = importlib.import_module("benchmarks.multimodal")
    found = multimodal.measure("tiny", steps=8, batch=4, cached=2)
    assert found["weights"] == "random"
    assert found["pairs_per_s"] > 0
    assert found["tokens_per_s"] > found["pairs_per_s"]
    assert 0 < found["adapters"] < found["parameters"]
    assert torch.cuda.is_available() or (found["mfu"] is None and found["memory_gib"] is None)
    assert 0 < multimodal.measure("tiny", steps=8, batch=4, cached=2, measure_peak=True)["mfu"] < 1


def test_a_share_of_the_peak_is_of_the_operations_that_the_model_needs():
    from torch.utils.flop_counter import FlopCounterMode

    mfu, moe_lora = (importlib.import_module(f"benchmarks.{name}") for name in ("mfu", "moe_lora"))
    model = moe_lora.backbone(384)
    model.set_attn_implementation("eager")  # whose products are counted; without scores, hardly any at eight tokens
    size = mfu.weights(model)
    assert size["frozen"] == 0
    ids = torch.randint(moe_lora.VOCABULARY, (4, 8))
    with FlopCounterMode(display=False) as forward:
        model(input_ids=ids)
    assert mfu.operations(32, embedding=size["trained"]) == pytest.approx(forward.get_total_flops(), rel=0.02)
    with FlopCounterMode(display=False) as step:
        model(input_ids=ids).last_hidden_state.sum().backward()
    assert mfu.operations(32, **size) == pytest.approx(step.get_total_flops(), rel=0.02)
    model.requires_grad_(False)
    model.embeddings.word_embeddings.requires_grad_(True)  # the gradient goes through all blocks
    with FlopCounterMode(display=False) as through:
        model(input_ids=ids).last_hidden_state.sum().backward()
    size = mfu.weights(model)
    assert size["trained"] == 0
    assert mfu.operations(32, **size) == pytest.approx(through.get_total_flops(), rel=0.02)


def test_no_peak_is_taken_for_a_cpu_that_nobody_has_measured():
    mfu = importlib.import_module("benchmarks.mfu")
    assert mfu.peak("cpu") is None
    assert mfu.share(1e9, 1.0, None) is None
    assert 1e8 < mfu.peak("cpu", measure=True) < 1e14
