"""Invariants of MoE-LoRA frozen into plain LoRA.

- Under a route it equals the task-routed model; with gates, a model whose gates are these for every token.
- The result is PEFT's own LoRA at the smallest rank, merges into dense weights, and shares nothing with the original.
- Mean gates are weighted by tokens over all calls.
"""

import pytest
import torch
from peft import PeftModel

from tests.tiny import tiny
from tests.tsembed.moe_lora.models import ROUTES, adapted, batch, embed, peft_of_old_names
from tsembed.moe_lora.layer import MoeLoraLinear
from tsembed.moe_lora.merge import mean_gates, to_lora
from tsembed.moe_lora.routing import routing_record

pytestmark = peft_of_old_names

TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


def mean_gates_of(model):
    with routing_record() as record:
        model(**batch())
    return mean_gates(record)


@pytest.mark.parametrize("shared", [0, 2])
@pytest.mark.parametrize("model_type", ["bert", "qwen2"])
def test_a_route_becomes_a_plain_lora_model_of_its_experts_rank(shared, model_type, tmp_path):
    model = adapted(model_type, router="task", routes=ROUTES, shared_experts=shared)
    for route in ("query", "passage", "answer"):
        lora = to_lora(model, route=route)
        assert lora.peft_config["default"].peft_type == "LORA"
        assert lora.peft_config["default"].r == (1 + shared) * 2
        assert not any(isinstance(module, MoeLoraLinear) for module in lora.modules())
        expected = embed(model, batch(), routes=route)
        torch.testing.assert_close(embed(lora, batch()), expected, **TOLERANCE)
    lora.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny(model_type, vocabulary=99), tmp_path)
    torch.testing.assert_close(embed(again, batch()), expected, **TOLERANCE)
    torch.testing.assert_close(embed(again.merge_and_unload(), batch()), expected, **TOLERANCE)


@pytest.mark.parametrize(
    "settings", [{"router": "token", "top_k": 2}, {"router": "sequence"}, {"router": "sequence", "scale_gates": True}]
)
def test_gates_that_are_the_same_for_all_tokens_are_frozen_exactly(settings):
    model = (
        adapted(shared_experts=1, **settings, top_k=None)
        if "top_k" not in settings
        else adapted(shared_experts=1, num_experts=2, **settings)
    )
    for name, weight in model.named_parameters():
        if "router" in name:
            weight.data.zero_()  # every gate is 1 / num_experts
    gates = mean_gates_of(model)
    lora = to_lora(model, gates=gates)
    experts = model.peft_config["default"].num_experts
    assert lora.peft_config["default"].r == (experts + 1) * 2
    torch.testing.assert_close(next(iter(gates.values())), torch.full((experts,), 1 / experts))
    torch.testing.assert_close(embed(lora, batch()), embed(model, batch()), **TOLERANCE)


def test_mean_gates_are_nearer_than_no_adapter_and_not_exact():
    model = adapted()
    expected, base = embed(model, batch()), embed(tiny("bert", vocabulary=99), batch())
    error = (embed(to_lora(model, gates=mean_gates_of(model)), batch()) - expected).norm()
    assert 0.01 < error / (base - expected).norm() < 0.9


def test_mean_gates_are_weighted_by_tokens_over_calls():
    model = adapted("qwen2", layers_to_transform=[0], layers_pattern="layers")
    together = mean_gates_of(model)
    with routing_record() as record:
        for i in range(4):
            model(**{k: v[i : i + 1] for k, v in batch().items()})
    apart = mean_gates(record)
    assert together.keys() == apart.keys()
    assert len(together) == 7
    for layer, gates in together.items():
        torch.testing.assert_close(apart[layer], gates, atol=1e-5, rtol=0)
        assert gates.sum() == pytest.approx(1)
        assert not gates.requires_grad
    lengths, means = record[0].lengths, torch.cat([one.mean for one in record if one.layer == record[0].layer])
    assert lengths.tolist() == [5]
    assert (means.mean(0) - apart[record[0].layer]).abs().max() > 1e-4


def test_nothing_is_shared_with_the_original():
    model = adapted(router="task", routes=ROUTES, modules_to_save=["embeddings.LayerNorm"])
    model.base_model.model.embeddings.LayerNorm.modules_to_save["default"].weight.data.fill_(0.5)
    expected = embed(model, batch(), routes="query")
    lora = to_lora(model, route="query")
    torch.testing.assert_close(embed(lora, batch()), expected, **TOLERANCE)
    for tensor in (*lora.parameters(), *lora.buffers()):
        tensor.data.zero_()
    assert torch.equal(embed(model, batch(), routes="query"), expected)


def test_another_adapter_and_the_mode_go_along():
    model = adapted()
    model.add_adapter("other", adapted(num_experts=1).peft_config["default"])
    for name, weight in model.named_parameters():
        if "moe_lora_B.other" in name:
            weight.data.normal_()
    model.set_adapter("other")
    gates = {name: torch.ones(1) for name in mean_gates_of(model)}
    torch.testing.assert_close(
        embed(to_lora(model, gates=gates, adapter="other"), batch()), embed(model, batch()), **TOLERANCE
    )
    assert not to_lora(model, gates=gates, adapter="other").training
    assert to_lora(model.train(), gates=gates, adapter="other").training


def test_one_expert_merges_through_peft():
    model = adapted(num_experts=1)
    expected = embed(model, batch())
    model.merge_adapter()
    torch.testing.assert_close(embed(model, batch()), expected, **TOLERANCE)
    with pytest.raises(ValueError, match=r"merged into the base weights: call unmerge_adapter\(\)"):
        to_lora(model, gates={})
    model.unmerge_adapter()
    dense = model.merge_and_unload()
    assert not any(isinstance(module, MoeLoraLinear) for module in dense.modules())
    torch.testing.assert_close(embed(dense, batch()), expected, **TOLERANCE)


def test_bad_arguments_are_named():
    model, task = adapted(), adapted(router="task", routes=ROUTES)
    gates = mean_gates_of(model)
    name = next(iter(gates))
    for call, message in (
        (lambda: to_lora(model), "give a route or gates, got neither"),
        (lambda: to_lora(task, route="query", gates=gates), "give a route or gates, got both"),
        (lambda: to_lora(model, route="query"), "a route is for router='task', adapter 'default' has router='token'"),
        (lambda: to_lora(task, route="sts"), "'sts' has no expert; routes: query"),
        (lambda: to_lora(model, gates=gates, adapter="x"), "no MoE-LoRA adapter 'x'; its adapters: default"),
        (lambda: to_lora(tiny("bert"), gates=gates), "no MoE-LoRA adapter 'default'; its adapters: none"),
        (lambda: to_lora(model, gates={}), f"gates have no layer {name}"),
        (lambda: to_lora(model, gates=gates | {name: torch.ones(2)}), rf"gates of {name} must have shape \(3,\)"),
        (lambda: mean_gates([]), "the record is empty"),
        (lambda: model.merge_adapter(), "its 3 experts have gates that depend on the input"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
