"""Invariants of the gradient cache.

- Value and every gradient are those of the plain path, whatever the size of the chunks: with dropout, a loss of the
  routers' statistics and EANS weights from cached signatures, in chunks of InfoNCE too, and under autocast.
- The random generators end where the plain path leaves them; without their repetition the gradients would be wrong.
- The activations of one chunk at a time are alive. The ranks add up their gradients once a step.
- Two ranks give the gradient of one process with the whole batch, and with dropout that of the plain path on two ranks.
- `backward` may scale; outputs without gradient are constants; a loss that is not finite is returned as it is.
"""

import weakref
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from tests.ranks import run_ranks
from tests.tiny import tiny
from tsembed.contrastive import grad_cache
from tsembed.contrastive.eans import negative_weights
from tsembed.contrastive.gather import gather, gather_with_grad
from tsembed.contrastive.grad_cache import cached_backward
from tsembed.contrastive.losses import info_nce, load_balancing_of
from tsembed.mote.token_routing import balance, route_tokens, routing_record

PAIRS, EXPERTS = 8, 4


class Pairs(nn.Module):
    """Both sides of some chunks in one forward call: what DDP needs for one backward pass."""

    def __init__(self, dropout=0.0):
        super().__init__()
        model = tiny("bert", vocabulary=50).train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        self.model = route_tokens(model, num_experts=EXPERTS)

    def forward(self, chunks):
        found = [self.embed(chunk) for chunk in chunks]
        return {name: torch.cat([outputs[name] for outputs in found]) for name in found[0]}

    def embed(self, chunk):
        outputs = {"groups": chunk["groups"]}
        for side in ("queries", "documents"):
            ids, mask = chunk[side]
            with routing_record() as record:
                hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1) / mask.sum(1)[:, None, None]  # (batch, seq, 1)
            outputs[side] = nn.functional.normalize((hidden * weights).sum(1), dim=-1)
            probabilities = torch.stack([r.all_probabilities.view(*ids.shape, -1) for r in record], dim=2)
            outputs[f"{side}_signatures"] = (probabilities * weights.unsqueeze(-1)).sum(1)  # (batch, layers, experts)
            outputs[f"{side}_tokens"] = torch.cat([r.probabilities for r in record])  # of as many rows as tokens
            outputs[f"{side}_balance"] = balance(record)  # (1, layers, columns)
        return outputs


def batch():
    """Token ids and masks of different lengths, and groups of which two are the same."""
    generator = torch.Generator().manual_seed(7)
    sides = {}
    for side in ("queries", "documents"):
        lengths = torch.randint(3, 10, (PAIRS, 1), generator=generator)
        mask = (torch.arange(9) < lengths).long()
        sides[side] = (torch.randint(1, 50, (PAIRS, 9), generator=generator) * mask, mask)
    return sides | {"groups": torch.tensor([*range(PAIRS - 1), 0])}


def cut(whole, size, rows=slice(None)):
    """Chunks of `size` pairs of the given rows."""
    numbers = torch.arange(PAIRS)[rows].split(size)
    return [
        {s: tuple(t[n] for t in whole[s]) for s in ("queries", "documents")} | {"groups": whole["groups"][n]}
        for n in numbers
    ]


def loss_of(balancing=0.1, chunk=None):
    """InfoNCE with EANS weights from the cached signatures, and load balancing."""

    def loss(out):
        documents, first = gather_with_grad(out["documents"])
        signatures = gather(out["documents_signatures"])
        negatives = out["groups"][:, None] != gather(out["groups"])

        def weights(rows):
            return negative_weights(out["queries_signatures"][rows], signatures, beta=3.0, negatives=negatives[rows])

        value = info_nce(
            out["queries"], documents, temperature=0.05, negative_weights=weights, first_positive=first, chunk=chunk
        )
        sides = ("queries", "documents")
        value = value + balancing * load_balancing_of(torch.cat([out[f"{side}_balance"] for side in sides]))
        return value + balancing * sum(out[f"{side}_tokens"].square().mean() for side in sides)

    return loss


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def plain(chunks, loss, dropout=0.0, wrap=lambda m: m):
    """Loss, gradients and the next random number after one step with all chunks' activations alive."""
    model = wrap(Pairs(dropout))
    torch.manual_seed(3)
    value = loss(model(chunks))
    value.backward()
    return value.detach(), gradients(model), torch.rand(())


def cached(chunks, loss, dropout=0.0, wrap=lambda m: m, **options):
    """The same with a gradient cache."""
    model = wrap(Pairs(dropout))
    torch.manual_seed(3)
    value = cached_backward(lambda chunk: model([chunk]), chunks, loss, **options)
    return value, gradients(model), torch.rand(())


def assert_same(found, expected, **tolerances):
    tolerances = tolerances or {"atol": 2e-6, "rtol": 1e-4}
    torch.testing.assert_close(found[0], expected[0], **tolerances)
    assert set(found[1]) == set(expected[1])
    assert len(found[1]) > 30
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, **tolerances, msg=lambda text, n=name: f"{n}: {text}")
    routers = [gradient.abs().max() for name, gradient in found[1].items() if "router" in name]
    assert len(routers) == 2
    assert min(routers) > 1e-4


@pytest.mark.parametrize("info_nce_chunk", [None, 3])
@pytest.mark.parametrize("size", [1, 3, 4, PAIRS])
def test_equals_the_plain_path_in_value_and_every_gradient(size, info_nce_chunk):
    chunks, loss = cut(batch(), size), loss_of(chunk=info_nce_chunk)
    expected, found = plain(chunks, loss, dropout=0.1), cached(chunks, loss, dropout=0.1)
    assert_same(found, expected)
    assert torch.equal(found[2], expected[2])  # the generator stands where the plain path leaves it
    assert not found[0].requires_grad
    assert abs(plain(chunks, loss)[0] - expected[0]) > 1e-3  # dropout is active


def test_the_second_pass_repeats_the_masks_of_the_first(monkeypatch):
    chunks, loss = cut(batch(), 3), loss_of()
    expected = plain(chunks, loss, dropout=0.1)
    monkeypatch.setattr(grad_cache._RandomState, "restore", lambda self: None)
    with pytest.raises(AssertionError):
        assert_same(cached(chunks, loss, dropout=0.1), expected)


def test_the_auxiliary_loss_and_the_weights_take_part():
    chunks = cut(batch(), 3)
    expected = cached(chunks, loss_of())
    assert abs(cached(chunks, loss_of(balancing=0.0))[0] - expected[0]) > 1e-2
    unweighted = cached(chunks, lambda out: info_nce(out["queries"], out["documents"], temperature=0.05))
    assert abs(unweighted[0] - cached(chunks, loss_of(balancing=0.0))[0]) > 1e-3


def test_size_of_the_chunks_does_not_matter():
    chunks = [cut(batch(), size) for size in (2, PAIRS)]
    assert_same(cached(chunks[0], loss_of()), cached(chunks[1], loss_of()), atol=1e-5, rtol=1e-3)


def test_an_autocast_around_the_call_loses_no_gradient():
    chunks, loss = cut(batch(), 3), loss_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = cached(chunks, loss), plain(chunks, loss)
    assert_same(found, expected, atol=2e-3, rtol=2e-2)


class _Box:
    """A tensor that a graph keeps for its backward pass."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_activations_of_one_chunk_at_a_time_are_alive():
    model, chunks, alive, kept = Pairs(), cut(batch(), 2), weakref.WeakSet(), []

    def pack(tensor):
        box = _Box(tensor)
        alive.add(box)
        return box

    def embed(chunk):
        kept.append(len(alive))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
            return model([chunk])

    cached_backward(embed, chunks, loss_of())
    assert kept == [0] * 7  # four chunks, of which the last is embedded once
    outputs = [embed(chunk) for chunk in chunks]  # as the plain path
    assert len(outputs) == 4
    assert kept[7] == 0
    assert kept[8] > 20
    assert kept[10] > 2 * kept[8]


def test_ranks_synchronise_at_the_last_backward_pass_only():
    model, chunks, events = Pairs(), cut(batch(), 3), []

    def embed(chunk):
        events.append("embed")
        return model([chunk])

    @contextmanager
    def no_sync():
        events.append("off")
        yield
        events.append("on")

    def backward(share):
        events.append("backward")
        share.backward()

    cached_backward(embed, chunks, loss_of(), backward=backward, no_sync=no_sync)
    quiet = ["off", "embed", "backward", "on"]  # of the third chunk, then of the first
    assert events == ["embed", "embed", *quiet, *quiet, "embed", "backward"]
    events.clear()
    cached_backward(embed, chunks[:1], loss_of(), backward=backward, no_sync=no_sync)
    assert events == ["embed", "backward"]


@pytest.mark.parametrize("size", [3, PAIRS])
def test_backward_may_scale(size):
    chunks = cut(batch(), size)
    whole = cached(chunks, loss_of())
    half = cached(chunks, loss_of(), backward=lambda share: (share / 2).backward())
    assert_same((half[0], {name: 2 * gradient for name, gradient in half[1].items()}), whole)


def test_outputs_without_gradient_are_constants():
    weight, rows = nn.Parameter(torch.ones(3)), [torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]])]

    def embed(row):
        return {"scores": row @ weight, "factor": row[:, 0], "unused": (row * weight).sum(1), "count": row[:, 1].long()}

    value = cached_backward(embed, rows, lambda out: (out["scores"] * out["factor"] * out["count"]).sum())
    assert value.item() == 6 * 1 * 2 + 15 * 4 * 5
    torch.testing.assert_close(weight.grad, 2 * rows[0][0] + 20 * rows[1][0])


def test_a_loss_that_is_not_finite_is_returned():
    weight = nn.Parameter(torch.ones(()))
    value = cached_backward(
        lambda row: {"x": row * weight}, [torch.ones(1)] * 2, lambda out: out["x"].sum() * torch.inf
    )
    assert value == torch.inf


def ddp(model):
    found = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
    found.reductions = []
    found.register_comm_hook(found.reductions, _count)
    return found


def _count(reductions, bucket):
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    reductions.append(bucket.is_last())
    return allreduce_hook(None, bucket)


def _two_ranks(rank, folder):
    rows, made = slice(4 * rank, 4 * rank + 4), []

    def wrap(model):
        made.append(ddp(model))
        return made[-1]

    def no_sync():
        return made[-1].no_sync()

    for size in (1, 3):
        chunks = cut(batch(), size, rows)
        found = cached(chunks, loss_of(0.0, chunk=2), wrap=wrap, no_sync=no_sync)
        torch.save(found, folder / f"whole-{size}-{rank}.pt")
        assert sum(made[-1].reductions) == 1, made[-1].reductions
        found = cached(chunks, loss_of(), 0.1, wrap=wrap, no_sync=no_sync)
        torch.save((found, plain(chunks, loss_of(), 0.1, wrap=wrap)), folder / f"dropout-{size}-{rank}.pt")


@pytest.mark.slow
def test_two_ranks_equal_one_process_and_the_plain_path(tmp_path):
    run_ranks(_two_ranks, 2, tmp_path)
    whole = plain(cut(batch(), PAIRS), loss_of(0.0))
    for size in (1, 3):
        found = [torch.load(tmp_path / f"whole-{size}-{rank}.pt") for rank in (0, 1)]
        mean = (found[0][0] + found[1][0]) / 2
        for _, own, _ in found:
            own = {name.removeprefix("module."): gradient for name, gradient in own.items()}
            assert_same((mean, own), whole, atol=1e-5, rtol=1e-3)
        for rank in (0, 1):
            assert_same(*torch.load(tmp_path / f"dropout-{size}-{rank}.pt"), atol=1e-5, rtol=1e-3)


def test_bad_chunks_name_what_is_wrong():
    weight = nn.Parameter(torch.ones(2))
    rows = [torch.ones(1, 2), torch.zeros(1, 2)]
    with pytest.raises(ValueError, match="chunks is empty, must be at least one"):
        cached_backward(lambda row: {"x": row * weight}, [], lambda out: out["x"].sum())
    with pytest.raises(ValueError, match=r"chunk 1 gives \['y'\], chunk 0 \['x'\]: must be the same"):
        cached_backward(lambda row: {"x" if row.any() else "y": row * weight}, rows, lambda out: out["x"].sum())
    with pytest.raises(ValueError, match="output 'x' of chunk 0 has no first axis"):
        cached_backward(lambda row: {"x": (row * weight).sum()}, rows, lambda out: out["x"].sum())
    with pytest.raises(ValueError, match=r"the loss depends on none of \['x'\]"):
        cached_backward(lambda row: {"x": row * weight}, rows, lambda out: out["x"].detach().sum())
    with pytest.raises(ValueError, match=r"chunk 1: the loss depends on \['x'\], and none of them has a gradient"):
        cached_backward(lambda row: {"x": row}, rows, lambda out: out["x"].sum())
