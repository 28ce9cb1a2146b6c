"""Invariants of token-level routing.

- At initialisation it equals the dense model for every family, top-1 and top-2, whatever the routers say.
- It equals the plain form (every expert on every token, then the gated sum), in value and in gradient.
- Tokens of one sequence go to several experts, and the router gets a gradient from the task loss, top-1 too.
- An embedding does not depend on its batch-mates or padding. Checkpointing changes no gradient.
- Load balancing counts tokens, not padding, and evens out the use of the experts.
"""

import copy

import pytest
import torch

from tests.tiny import FAMILIES, tiny
from tests.tsembed.mote.test_experts import batch
from tsembed.contrastive.losses import load_balancing_of
from tsembed.mote.experts import upcycle
from tsembed.mote.token_routing import Routing, TokenRouted, balance, route_tokens, routing_record


def disturbed(model_type="bert", scale=3.0, **settings):
    """A routed model of which the experts and the routers differ."""
    routed = route_tokens(tiny(model_type), **settings)
    generator = torch.Generator().manual_seed(2)
    for name, p in routed.named_parameters():
        if ".experts." in name:
            p.data += 0.05 * torch.randn(p.shape, generator=generator)
        if ".router." in name:
            p.data += scale * 0.1 * torch.randn(p.shape, generator=generator)
    return routed


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("top_k", [1, 2])
def test_equals_dense_at_initialisation(model_type, top_k):
    dense = tiny(model_type)
    routed = route_tokens(copy.deepcopy(dense), num_experts=3, top_k=top_k)
    with routing_record() as record:
        found = routed(**batch()).last_hidden_state
    torch.testing.assert_close(found, dense(**batch()).last_hidden_state, atol=2e-6, rtol=0)
    assert [r.block for r in record] == [0, 1]
    assert all(len(r.chosen.unique()) > 1 for r in record), "one expert took all tokens: nothing was dispatched"


def plain_block(routed, block, residual):
    """A BERT block's expert on every token by every expert, then the gated sum: (batch, seq, dim)."""
    layer = routed.model.encoder.layer[block]
    enter, middle, leave = layer.attention.output.LayerNorm, layer.intermediate, layer.output
    p = enter.router(residual.flatten(0, 1)).view(*residual.shape[:2], -1)  # (batch, seq, experts)
    top, chosen = p.topk(routed.top_k, dim=-1)
    gates = torch.zeros_like(p).scatter(-1, chosen, top / top.sum(-1, keepdim=True).detach())
    outputs = []
    for norm, up, down in zip(enter.experts, middle.experts, leave.experts, strict=True):
        h = norm(residual)
        outputs.append(down(up(h), h))
    return (torch.stack(outputs, -1) * gates.unsqueeze(-2)).sum(-1)


@pytest.mark.parametrize("top_k", [1, 2])
def test_equals_the_plain_form_in_value_and_gradient(top_k):
    routed = disturbed(num_experts=4, top_k=top_k, blocks=[1])
    layer = routed.model.encoder.layer[1]
    residual = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(3))
    target = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(4))

    def fast(x):
        h = layer.attention.output.LayerNorm(x)
        return layer.output(layer.intermediate(h), h)

    found = {}
    for name, function in (("fast", fast), ("plain", lambda x: plain_block(routed, 1, x))):
        routed.zero_grad()
        x = residual.clone().requires_grad_()
        value = function(x)
        (value * target).sum().backward()
        found[name] = {"value": value.detach(), "x": x.grad, **gradients(routed)}
    assert {n.split(".experts.")[0] for n in found["fast"]} >= {"model.encoder.layer.1.output"}
    router = next(n for n in found["fast"] if ".router." in n)
    assert found["fast"][router].abs().max() > 0, "the router learns nothing from the loss"
    for name, tensor in found["fast"].items():
        torch.testing.assert_close(tensor, found["plain"][name], atol=2e-5, rtol=1e-4, msg=name)


def test_tokens_of_one_sequence_go_to_several_experts():
    routed = disturbed()
    with routing_record() as record:
        routed(**batch(n=1))
    assert all(len(r.chosen.unique()) > 1 for r in record)


def test_an_embedding_does_not_depend_on_batch_mates_or_padding():
    routed, inputs = disturbed(top_k=2), batch()
    together = routed(**inputs).last_hidden_state[0, :4]
    alone = routed(**{k: v[:1, :4] for k, v in inputs.items()}).last_hidden_state[0]
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)


def test_padding_is_not_recorded():
    with routing_record() as record:
        disturbed()(**batch(n=5, seq=7))
    assert record[0].probabilities.shape == (5 * 7 - 3, 4)
    assert record[0].chosen.shape == (32, 1)


def test_checkpointing_changes_no_gradient():
    found = []
    for checkpointing in (False, True):
        routed = disturbed().train()
        if checkpointing:
            routed.gradient_checkpointing_enable()
        with routing_record() as record:
            first = routed(**batch()).last_hidden_state.sum()
            second = routed(**batch(n=3, seq=5)).last_hidden_state.square().sum()
        (first + second + load_balancing_of(balance(record))).backward()
        found.append(gradients(routed))
    assert found[0].keys() == found[1].keys()
    assert any(".router." in n for n in found[0])
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, atol=1e-5, rtol=1e-4, msg=name)


def test_balance_counts_probabilities_choices_and_tokens_without_padding():
    mask = torch.tensor([[1, 1, 0]])
    probabilities = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    one = Routing(0, probabilities, torch.tensor([[0], [1], [0]]), mask)
    assert torch.allclose(balance([one])[0, 0], torch.tensor([1.1, 0.9, 1.0, 1.0, 2.0]))
    assert torch.allclose(balance([one, one])[0, 0], 2 * balance([one])[0, 0])


def test_load_balancing_pushes_the_router_towards_even_use():
    routed = disturbed(scale=8.0)
    routers = [p for n, p in routed.named_parameters() if ".router." in n]
    optimizer = torch.optim.SGD(routers, lr=0.5)
    losses = []
    for _ in range(40):
        with routing_record() as record:
            routed(**batch(n=16))
        loss = load_balancing_of(balance(record))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] > 1.1
    assert losses[-1] < 1 + 0.7 * (losses[0] - 1)


def test_a_loaded_model_has_no_pooling_head_and_does_not_drop_out(tmp_path):
    route_tokens(tiny("bert", head=True, dropout=0.1), num_experts=2).save_pretrained(tmp_path)
    loaded = TokenRouted.from_pretrained(tmp_path)
    assert torch.equal(*(loaded(**batch()).last_hidden_state for _ in range(2)))
    active = loaded.train()
    assert not torch.equal(*(active(**batch()).last_hidden_state for _ in range(2)))


def test_saving_and_loading_change_nothing(tmp_path):
    routed = disturbed(num_experts=3, top_k=2, blocks=[1])
    routed.save_pretrained(tmp_path)
    loaded = TokenRouted.from_pretrained(tmp_path).eval()
    assert (loaded.num_experts, loaded.top_k, loaded.blocks) == (3, 2, (1,))
    assert torch.equal(loaded(**batch()).last_hidden_state, routed(**batch()).last_hidden_state)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"top_k must be in 1\.\.num_experts \(2\), got 3"):
        route_tokens(tiny("bert"), num_experts=2, top_k=3)
    with pytest.raises(ValueError, match="has experts already"):
        route_tokens(upcycle(tiny("bert"), ["a"]).model)
    with pytest.raises(ValueError, match="no token_routing.json"):
        TokenRouted.from_pretrained(tmp_path)
    routed = disturbed(num_experts=2)
    routed.save_pretrained(tmp_path)
    (tmp_path / "token_routing.json").write_text('{"num_experts": 3, "top_k": 1, "blocks": [0, 1]}')
    with pytest.raises(ValueError, match="do not fit token_routing.json"):
        TokenRouted.from_pretrained(tmp_path)
