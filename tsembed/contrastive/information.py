"""Mutual information between what a sequence is of, its task or its set, and the experts that it takes.

It says how far experts have specialised: 0 where routing ignores the task, log(tasks) where each task has an expert of
its own. As a loss (Mod-Squad, https://arxiv.org/abs/2212.08066, eq. 4) it makes routers specialise.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

TINY = 1e-12  # of a probability: 0 log 0 is 0


def mutual_information(
    sums: Float[Tensor, "labels layers experts"], counts: Float[Tensor, " labels"]
) -> Float[Tensor, " layers"]:
    """Mutual information between label and expert, in nats, per layer, with gradient.

        I = sum_t P(t) KL(p_t || p),   p_t: mean routing of label t,  p: of all

    Every label that occurs has the same P(t), so a frequent one weighs no more.

    Args:
        sums: Sum of the sequences' routing signatures per label.
        counts: Sequences per label.

    Examples:
        >>> mutual_information(torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]]), torch.tensor([1.0, 2.0])).item()  # log 2
        0.6931471824645996
    """
    here = counts > 0
    means = sums[here] / counts[here, None, None]  # (labels that occur, layers, experts)
    overall = means.mean(0)
    ratio = means.clamp_min(TINY).log() - overall.clamp_min(TINY).log()
    return (means * ratio).sum(-1).mean(0)


def information_of(
    signatures: Float[Tensor, "sequences layers experts"], labels: Int[Tensor, " sequences"]
) -> Float[Tensor, " layers"]:
    """`mutual_information` of some sequences, each with its label, an index >= 0."""
    return mutual_information(*totals(signatures, labels, int(labels.max()) + 1))


def totals(
    signatures: Float[Tensor, "sequences layers experts"], labels: Int[Tensor, " sequences"], size: int
) -> tuple[Float[Tensor, "labels layers experts"], Float[Tensor, " labels"]]:
    """Sum of the signatures and number of the sequences, per label from 0 to `size` - 1."""
    sums = signatures.new_zeros(size, *signatures.shape[1:]).index_add(0, labels, signatures)
    return sums, torch.bincount(labels, minlength=size).to(signatures.dtype)


def noise(
    signatures: Float[Tensor, "sequences layers experts"],
    labels: Int[Tensor, " sequences"],
    *,
    draws: int = 50,
    generator: torch.Generator,
) -> float:
    """Standard deviation of the mean information over the layers, by bootstrap over the sequences of each label.

    Args:
        signatures: On the CPU.
        labels: On the CPU.
        draws: Samples of the bootstrap, >= 2.
        generator: Of the samples.
    """
    order = labels.argsort(stable=True)
    signatures, labels = signatures[order], labels[order]
    counts = torch.bincount(labels)
    starts = (counts.cumsum(0) - counts)[labels]  # of each sequence's label
    found = []
    for _ in range(draws):
        drawn = starts + (torch.rand(len(labels), generator=generator) * counts[labels]).long()
        found.append(information_of(signatures[drawn], labels).mean())
    return float(torch.stack(found).std())
