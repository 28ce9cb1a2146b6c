"""Invariants of the mutual information of label and expert.

- It is 0 for routing that ignores the label, log(labels) for an expert per label, and blind to frequency.
- Its gradient drives experts apart; a label alone has none.
- Its noise is the spread over samples of the sequences: none where all of a label are routed alike, less with more.
"""

import math

import pytest
import torch

from tsembed.contrastive.information import information_of, mutual_information, noise


def test_by_hand():
    counts = torch.tensor([2.0, 0.0, 1.0])
    alike = torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]], [[0.5, 0.5]]])
    assert mutual_information(alike, counts).tolist() == pytest.approx([0.0], abs=1e-6)
    apart = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]])
    assert mutual_information(apart, counts).tolist() == pytest.approx([math.log(2)])
    three_quarters = torch.tensor([[[1.5, 0.5]], [[0.0, 0.0]], [[0.25, 0.75]]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert mutual_information(three_quarters, counts).tolist() == pytest.approx([expected])
    both = torch.cat([alike, apart], dim=1)
    assert mutual_information(both, counts).tolist() == pytest.approx([0.0, math.log(2)], abs=1e-6)


def routing(sequences, spread, seed=0):
    """Two labels with gates (0.6, 0.4) and (0.4, 0.6), plus noise: signatures of one layer, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(sequences) % 2
    first = 0.6 - 0.2 * labels + spread * torch.randn(sequences, generator=generator)
    first = first.clamp(0.01, 0.99)
    return torch.stack([first, 1 - first], dim=1)[:, None, :], labels


def test_the_gradient_drives_experts_apart_and_a_label_alone_has_none():
    logits = torch.tensor([[[0.1, 0.0]], [[0.0, 0.1]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(information_of(logits.softmax(-1), torch.tensor([0, 1])).mean(), logits)
    assert gradient[0, 0, 0] > 0
    assert gradient[1, 0, 1] > 0
    (alone,) = torch.autograd.grad(information_of(logits.softmax(-1), torch.tensor([1, 1])).mean(), logits)
    assert alone.abs().max() < 1e-7
    torch.autograd.gradcheck(
        lambda x: information_of(x.softmax(-1), torch.tensor([0, 1, 1])),
        torch.randn(3, 2, 4, dtype=torch.double, requires_grad=True),
    )


def test_noise_is_the_spread_over_samples_of_the_sequences():
    def found(sequences, spread):
        return noise(*routing(sequences, spread), draws=200, generator=torch.Generator().manual_seed(1))

    assert found(40, 0.0) == pytest.approx(0.0, abs=1e-6)
    assert found(40, 0.1) > 2 * found(640, 0.1) > 0
    # The spread of the value itself over other sequences of the same kind.
    values = torch.stack([information_of(*routing(160, 0.1, seed)).mean() for seed in range(200)])
    assert found(160, 0.1) == pytest.approx(float(values.std()), rel=0.35)
