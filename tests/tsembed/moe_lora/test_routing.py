"""Invariants of gates, records and load balancing.

- Gates sum to 1 and are 0 outside the top_k; with top_k = 1 the router still has a gradient.
- A record's means, choices and sums are those of the tokens, padding left out, whichever side is padded.
- Load balancing over several calls is `contrastive.losses.load_balancing` of all their tokens, in value and gradient.
"""

import pytest
import torch

from tests.plain import load_balancing
from tests.tsembed.moe_lora.models import adapted, batch, peft_of_old_names
from tsembed.contrastive.losses import load_balancing_of
from tsembed.moe_lora.config import MoeLoraConfig
from tsembed.moe_lora.context import forward_pass
from tsembed.moe_lora.routing import LayerRouting, balance, gate, routing_record, signatures

pytestmark = peft_of_old_names

MASK = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0]])
P = torch.tensor([[[0.9, 0.1], [0.3, 0.7], [0.0, 1.0]], [[0.5, 0.5], [0.2, 0.8], [1.0, 0.0]], [[0.5, 0.5]] * 3])


def record_of(gates, *, probabilities=None, last=True, **settings):
    probabilities = gates if probabilities is None else probabilities
    forward = forward_pass(MASK, {})._replace(with_last=last)
    config = MoeLoraConfig(num_experts=gates.shape[-1], **settings)
    return LayerRouting("layer", gates, probabilities, config, forward)


def test_gates_by_hand():
    logits = torch.tensor([0.0, 2.0, 1.0]).log_softmax(-1)
    probabilities, gates = gate(logits, None)
    assert probabilities is gates
    torch.testing.assert_close(gates, torch.tensor([0.0900, 0.6652, 0.2447]), atol=1e-4, rtol=0)
    torch.testing.assert_close(gate(logits, 2)[1], torch.tensor([0.0, 0.7311, 0.2689]), atol=1e-4, rtol=0)
    assert gate(logits, 1)[1].tolist() == [0.0, 1.0, 0.0]
    assert torch.equal(gate(logits, 3)[1], gate(logits, None)[1])


@pytest.mark.parametrize("top_k", [1, 2, 3, None])
def test_gates_sum_to_one_over_at_most_top_k(top_k):
    probabilities, gates = gate(torch.randn(50, 5), top_k)
    torch.testing.assert_close(gates.sum(-1), torch.ones(50))
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(50))
    assert ((gates > 0).sum(-1) == (top_k or 5)).all()


def test_top_k_is_a_softmax_over_the_best_in_value_and_gradient():
    logits, weights = torch.randn(20, 5, dtype=torch.double, requires_grad=True), torch.randn(20, 5)
    best = logits.topk(2, dim=-1)
    plain = torch.zeros_like(logits).scatter(-1, best.indices, best.values.softmax(-1))
    ours = gate(logits, 2)[1]
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(*(torch.autograd.grad((g * weights).sum(), logits)[0] for g in (ours, plain)))


def test_the_router_of_top_1_has_a_gradient():
    logits = torch.tensor([0.0, 1.0], requires_grad=True)
    gate(logits, 1)[1][1].backward()
    p = torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(logits.grad, torch.stack([p - 1, 1 - p]))  # of log p


def test_a_record_by_hand():
    one = record_of(P)
    torch.testing.assert_close(one.mean, torch.tensor([[0.6, 0.4], [0.2, 0.8], [0.0, 0.0]]))
    torch.testing.assert_close(one.last[:2], torch.tensor([[0.3, 0.7], [0.2, 0.8]]))
    torch.testing.assert_close(one.sums, torch.tensor([1.4, 1.6]))
    assert one.chosen.tolist() == [1, 2]
    assert one.tokens == 3
    assert one.lengths.tolist() == [2, 1, 0]
    assert one.tokens.dtype == torch.int64
    assert record_of(P, last=False).last is None


def test_a_record_of_gates_per_sequence_by_hand():
    one = record_of(P[:, :1])
    assert torch.equal(one.mean, P[:, 0])
    assert torch.equal(one.last, P[:, 0])
    torch.testing.assert_close(one.sums, torch.tensor([2.3, 0.7]))
    assert one.chosen.tolist() == [3, 0]  # the tie of the second goes to expert 0
    fixed = LayerRouting("layer", 1, 1, MoeLoraConfig(num_experts=2), forward_pass(MASK, {}))
    assert fixed.mean.tolist() == [[0, 1]] * 3
    assert fixed.chosen.tolist() == [0, 3]


def test_top_k_counts_every_choice_and_sums_the_softmax_over_all():
    probabilities, gates = gate(torch.randn(3, 3, 4), 2)
    one = record_of(gates, probabilities=probabilities, top_k=2)
    kept = MASK.bool()
    assert one.chosen.tolist() == (gates[kept] > 0).sum(0).tolist()
    assert one.chosen.sum() == 2 * one.tokens
    torch.testing.assert_close(one.sums, probabilities[kept].sum(0))
    torch.testing.assert_close(one.mean[0], gates[0, :2].mean(0))


@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_load_balancing_over_calls_is_that_of_all_tokens(top_k):
    logits = torch.randn(2, 3, 3, 4, requires_grad=True)
    calls, tokens, chosen = [], [], []
    for call in logits:
        probabilities, gates = gate(call, top_k)
        calls.append(balance([record_of(gates, probabilities=probabilities, top_k=top_k)]))
        tokens.append(probabilities[MASK.bool()])
        chosen.append(probabilities.topk(top_k or 1, dim=-1).indices[MASK.bool()])
    ours, plain = load_balancing_of(torch.cat(calls)), load_balancing(torch.cat(tokens), torch.cat(chosen))
    assert calls[0].shape == (1, 1, 9)
    assert plain > 1
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(*(torch.autograd.grad(v, logits, retain_graph=True)[0] for v in (ours, plain)))


def test_load_balancing_is_the_mean_over_layers_and_its_gradient_flows_through_the_probabilities_alone():
    even, one = torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0]), torch.tensor([2.0, 0.0, 2.0, 0.0, 2.0])
    statistics = torch.stack([even, one])[None].requires_grad_()
    value = load_balancing_of(statistics)
    assert value.item() == 1.5
    value.backward()
    assert statistics.grad[..., 2:].abs().max() == 0
    assert statistics.grad[..., :2].abs().max() > 0


def test_a_record_has_an_entry_per_layer_and_call_and_ends_with_its_context():
    model = adapted(layers_to_transform=[1])
    with routing_record() as outer:
        model(**batch())
        with routing_record(last=True) as inner:
            model(**batch())
        model(**batch())
    model(**batch())
    names = [one.layer for one in inner]
    assert names == [
        f"encoder.layer.1.{m}"
        for m in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        )
    ]
    assert [one.layer for one in outer] == 2 * names
    assert signatures(inner).shape == (4, 6, 3)
    assert inner[0].mean.requires_grad
    torch.testing.assert_close(signatures(inner).sum(-1), torch.ones(4, 6))
    assert balance(inner).shape == (1, 6, 7)


@pytest.mark.parametrize("form", ["mean", "last"])
def test_a_signature_does_not_depend_on_padding_or_its_side(form):
    model = adapted("qwen2")
    found = []
    for inputs in (batch(), batch(seq=12), batch(side="left"), batch(n=2)):
        with routing_record(last=True) as record:
            model(**inputs)
        found.append(signatures(record, form))
    assert (found[0][0] - found[0][1]).abs().max() > 0.1
    for other in found[1:]:
        torch.testing.assert_close(other, found[0][: len(other)], atol=1e-5, rtol=0)


def test_the_last_tokens_gates_are_those_of_the_sequence_cut_there():
    model = adapted("qwen2")
    with routing_record(last=True) as record:
        model(**batch())
    with routing_record() as alone:
        model(input_ids=batch()["input_ids"][:1, 4:5], position_ids=torch.tensor([[4]]))
    torch.testing.assert_close(record[0].last[:1], alone[0].mean)  # the first layer sees the embeddings alone


def test_bad_records_are_named():
    with pytest.raises(ValueError, match="the record is empty"):
        signatures([])
    twice = [record_of(P, last=False)] * 2
    with pytest.raises(ValueError, match="holds layer layer more than once: use one routing_record per forward"):
        balance(twice)
    with pytest.raises(ValueError, match="form must be 'mean' or 'last', got 'first'"):
        signatures(twice[:1], "first")
    with pytest.raises(ValueError, match=r"use routing_record\(last=True\)"):
        signatures(twice[:1], "last")
    with pytest.raises(ValueError, match=r"2 \* experts \+ 1 columns, got 4"):
        load_balancing_of(torch.zeros(1, 1, 4))
