"""Invariants of InfoNCE.

- Hand-worked values; weights of 1 change nothing, 0 drops, 2 counts twice; the positive's own weight is ignored.
- No gradient through the weights. The value does not overflow at low temperature.
- A gathered call (first_positive) equals the part of a whole call.
"""

import math

import pytest
import torch

from tsembed.contrastive.losses import info_nce, same_group_weights


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
    assert w.grad is None and q.grad.isfinite().all() and d.grad.isfinite().all() and d.grad.abs().sum() > 0


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


def test_same_group_documents_are_no_negatives():
    w = same_group_weights(torch.tensor([7, 8]), torch.tensor([7, 8, 7, 9]))
    assert w.tolist() == [[0, 1, 0, 1], [1, 0, 1, 1]]
