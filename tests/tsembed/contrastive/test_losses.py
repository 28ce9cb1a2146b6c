"""Invariants of InfoNCE.

- Hand-worked values; weights of 1 change nothing, 0 drops, 2 counts twice; the positive's own weight is ignored.
- No gradient through the weights. The value does not overflow at low temperature.
- A document that shares a group of any kind with a query is no negative of it.
- A gathered call (first_positive) equals the part of a whole call.
- In chunks, value and gradients are those of the whole matrix, whatever the weights and under autocast; the gradients
  pass gradcheck; no tensor is as large as the whole matrix; weights are asked for once per chunk, in order.
"""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tsembed.contrastive.losses import info_nce, negatives_of


def unit(n, dim=8, seed=0):
    return torch.nn.functional.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_hand_worked_value():
    # s = [[2, 0], [0, 2]] at temperature 0.5: loss = log(1 + exp(-2))
    assert info_nce(torch.eye(2), torch.eye(2), temperature=0.5).item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_weights_drop_and_double_negatives():
    q, d = unit(3), unit(3, seed=1)
    s = (q @ d.T / 0.1).exp()
    w = torch.tensor([[9.0, 1.0, 0.0], [2.0, 0.0, 1.0], [0.0, 0.0, 5.0]])
    expected = -torch.stack(
        [(s[0, 0] / (s[0, 0] + s[0, 1])).log(), (s[1, 1] / (s[1, 1] + 2 * s[1, 0] + s[1, 2])).log(), torch.zeros(())]
    ).mean()
    torch.testing.assert_close(info_nce(q, d, temperature=0.1, negative_weights=w), expected)
    ones = info_nce(q, d, temperature=0.1, negative_weights=torch.ones(3, 3))
    torch.testing.assert_close(ones, info_nce(q, d, temperature=0.1))


def test_weights_get_no_gradient_and_dropped_negatives_give_finite_ones():
    q, d = unit(3).requires_grad_(), unit(3, seed=1).requires_grad_()
    w = torch.tensor([[1.0, 0.0, 1.0]] * 3, requires_grad=True)
    info_nce(q, d, temperature=0.03, negative_weights=w).backward()
    assert w.grad is None
    assert q.grad.isfinite().all()
    assert d.grad.isfinite().all()
    assert d.grad.abs().sum() > 0


def test_parts_of_a_gathered_batch_average_to_the_whole():
    q, d = unit(4), unit(4, seed=1)
    parts = [info_nce(q[i : i + 2], d, temperature=0.05, first_positive=i) for i in (0, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(), info_nce(q, d, temperature=0.05))


def test_low_temperature_and_half_precision_stay_finite():
    q = unit(4).bfloat16()
    assert info_nce(q, -q, temperature=1e-3).isfinite()


def test_bad_arguments_name_value_and_rule():
    with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
        info_nce(torch.eye(2), torch.eye(2), temperature=0.0)
    with pytest.raises(ValueError, match=r"documents 1\.\.2 of 2"):
        info_nce(torch.eye(2), torch.eye(2), temperature=1.0, first_positive=1)


def test_a_shared_group_of_any_kind_makes_a_document_no_negative():
    queries = torch.tensor([[7, 1], [8, 2]])
    documents = torch.tensor([[7, 1], [8, 2], [7, 3], [9, 2], [1, 7], [9, 3]])  # the fifth shares across kinds only
    assert negatives_of(queries, documents).int().tolist() == [[0, 1, 0, 1, 1, 1], [1, 0, 1, 0, 1, 1]]


def gradients(q, d, temperature=0.05, autocast=False, **options):
    """Loss and both gradients, under an upstream factor."""
    q, d = q.detach().requires_grad_(), d.detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = info_nce(q, d, temperature=temperature, **options)
    return loss.detach(), *torch.autograd.grad(3 * loss, (q, d))


def masked(batch, docs):
    """Weights of which some are 0, among them the positives' own, which do not count."""
    w = 2 * torch.rand(batch, docs, generator=torch.Generator().manual_seed(2))
    return w.masked_fill(w < 0.4, 0.0)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("form", ["none", "tensor", "function"])
def test_chunks_equal_the_whole_in_value_and_gradient(chunk, form):
    q, d, w = unit(7), unit(10, seed=1), masked(7, 10)
    weights = {"none": None, "tensor": w, "function": lambda rows: w[rows]}[form]
    expected = gradients(q, d, negative_weights=None if form == "none" else w, first_positive=2)
    found = gradients(q, d, negative_weights=weights, first_positive=2, chunk=chunk)
    assert expected[1].abs().sum() > 0.1
    assert expected[2].abs().sum() > 0.1
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(gradients(q, d, negative_weights=weights, first_positive=2)[0], expected[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_equal_the_whole_under_autocast(dtype):
    q, d, w = unit(6).to(dtype), unit(6, seed=1).to(dtype), masked(6, 6)
    outside = gradients(q, d, negative_weights=w)
    expected, found = (gradients(q, d, autocast=True, negative_weights=w, chunk=chunk) for chunk in (None, 4))
    assert found[0].dtype == torch.float32
    assert found[1].dtype == dtype
    for a, b, c in zip(found, expected, outside, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)


@pytest.mark.parametrize("chunk", [None, 2])
def test_gradients_agree_with_finite_differences(chunk):
    q, d, w = unit(5).double().requires_grad_(), unit(6, seed=1).double().requires_grad_(), masked(5, 6)
    assert torch.autograd.gradcheck(
        lambda q, d: info_nce(q, d, temperature=0.5, negative_weights=w, first_positive=1, chunk=chunk), (q, d)
    )


def test_only_wanted_gradients_are_computed_and_a_second_backward_pass_gives_the_same():
    q, d = unit(4).requires_grad_(), unit(4, seed=1)
    loss = info_nce(q, d, temperature=0.1, chunk=2)
    first, second = (torch.autograd.grad(loss, q, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert first.abs().sum() > 0
    with torch.no_grad():
        assert not info_nce(q, d, temperature=0.1, chunk=2).requires_grad
    with pytest.raises(RuntimeError, match="can be differentiated once only; use chunk=None"):
        torch.autograd.grad(info_nce(q, d, temperature=0.1, chunk=2), q, create_graph=True)


class Largest(TorchDispatchMode):
    """The most elements of a tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **options or {})
        self.elements = max([self.elements, *(t.numel() for t in tree_leaves(made) if isinstance(t, torch.Tensor))])
        return made


def test_chunks_never_make_the_whole_matrix():
    q, d = unit(64, dim=4), unit(64, dim=4, seed=1)
    found = []
    for chunk in (None, 8):
        with Largest() as largest:
            gradients(q, d, negative_weights=lambda rows: torch.ones(len(q[rows]), 64), chunk=chunk)
        found.append(largest.elements)
    assert found == [64 * 64, 8 * 64]


def test_weights_are_asked_for_once_per_chunk_without_gradient():
    q, d, asked = unit(5).requires_grad_(), unit(5, seed=1), []

    def weights(rows):
        asked.append((rows.start, rows.stop, torch.is_grad_enabled()))
        return torch.ones(rows.stop - rows.start, 5)

    info_nce(q, d, temperature=0.1, negative_weights=weights, chunk=2).backward()
    assert asked == [(0, 2, False), (2, 4, False), (4, 5, False)]
    info_nce(q, d, temperature=0.1, negative_weights=weights).backward()
    assert asked[3:] == [(0, 5, False)]


def test_chunks_stay_finite_where_a_dropped_document_is_the_most_similar():
    q = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    d = torch.cat([-q, q[:1]])  # the last is the first query's own text, far more similar than its positive
    w = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    for chunk in (None, 1):
        loss, q_grad, d_grad = gradients(q, d, 0.005, negative_weights=w, chunk=chunk)
        assert loss.isfinite()
        assert q_grad.isfinite().all()
        assert d_grad.isfinite().all()


def test_bad_chunks_and_weights_name_value_and_rule():
    with pytest.raises(ValueError, match="chunk must be >= 1, got 0"):
        info_nce(torch.eye(2), torch.eye(2), temperature=1.0, chunk=0)
    with pytest.raises(ValueError, match=r"gave \(1, 2\) for queries 0\.\.1, must be \(2, 2\)"):
        info_nce(torch.eye(2), torch.eye(2), temperature=1.0, negative_weights=lambda rows: torch.ones(1, 2), chunk=2)
