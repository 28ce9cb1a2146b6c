"""Gates of the experts, and what forward passes record of them: routing signatures and load balancing.

A routing signature of a sequence is, for every adapted layer, the mean over its tokens of the gates. The forward pass
computes the gates anyway, so a signature costs no second one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contrastive.losses import load_balancing_of  # noqa: F401  what `balance` is for
from .config import MoeLoraConfig
from .context import THREAD, ForwardPass


class LayerRouting(NamedTuple):
    """What one layer's router decided in one forward pass; padding counts nowhere."""

    layer: str  # the layer's path in the base model
    mean: Float[Tensor, "batch experts"]  # mean over a sequence's tokens of the gates, with gradient
    last: Float[Tensor, "batch experts"] | None  # gates of the last token, with gradient
    chosen: Float[Tensor, " experts"]  # how often a token chose the expert, among its top_k or as its best; no gradient
    tokens: Int[Tensor, ""]
    lengths: Float[Tensor, " batch"]  # tokens of each sequence
    sums: Float[Tensor, " experts"]  # sum over the tokens of the softmax over all experts, with gradient


def gate(
    logits: Float[Tensor, "*tokens experts"], top_k: int | None
) -> tuple[Float[Tensor, "*tokens experts"], Float[Tensor, "*tokens experts"]]:
    """The softmax over all experts, and the gates: the softmax over the `top_k` best, 0 for the others.

    With top_k = 1 a softmax would be the constant 1, and the router would never learn from the task. There the gate is
    p / stop_gradient(p), which is 1 in value and has p's gradient (our choice, as in `mote.token_routing`).

    >>> gate(torch.tensor([0.0, 0.0, -1.0]), 2)[1].tolist()
    [0.5, 0.5, 0.0]
    """
    probabilities = logits.softmax(-1)
    if top_k is None or top_k == logits.shape[-1]:
        return probabilities, probabilities
    kept = probabilities * _one_hot_of_best(probabilities, top_k)
    total = kept.sum(-1, keepdim=True)
    return probabilities, kept / (total.detach() if top_k == 1 else total)


def _one_hot_of_best(gates: Tensor, top_k: int) -> Tensor:
    """1 for the `top_k` largest, else 0; no gradient."""
    best = gates.detach().topk(top_k, dim=-1).indices
    return torch.zeros_like(gates).scatter(-1, best, 1.0)


@contextmanager
def routing_record(*, last: bool = False) -> Iterator[list[LayerRouting]]:
    """A list that the forward passes within the context fill: one entry per adapted layer, in the order of execution.

    A layer whose input has not the (batch, seq) axes of the mask, as in a vision tower, is left out. A recomputation
    under gradient checkpointing adds nothing.

    Args:
        last: Record the gates of every sequence's last token too.
    """
    outer = THREAD.record, THREAD.with_last
    THREAD.record, THREAD.with_last = [], last
    try:
        yield THREAD.record
    finally:
        THREAD.record, THREAD.with_last = outer


def layer_routing(
    layer: str,
    gates: int | Float[Tensor, "batch _ experts"],
    probabilities: int | Float[Tensor, "batch _ experts"],
    *,
    config: MoeLoraConfig,
    forward: ForwardPass,
) -> LayerRouting:
    """The record of a layer.

    Args:
        gates: Of every token, (batch, seq, experts); or the same for all tokens of a sequence, (batch, 1, experts); or
            the expert that all sequences take.
        probabilities: The softmax over all experts, in the same form.
    """
    mask, lengths = forward.mask, forward.lengths
    if isinstance(gates, int):
        expert, gates = gates, mask.new_zeros(len(mask), 1, config.num_experts)
        gates[..., expert] = 1
        probabilities = gates
    per_token = gates.shape[1] == mask.shape[1]
    mean = torch.bmm(forward.weights.to(gates.dtype).unsqueeze(1), gates)[:, 0] if per_token else gates[:, 0]
    last = None
    if forward.with_last:
        last = gates[torch.arange(len(gates), device=gates.device), _last_token(mask)] if per_token else mean
    counts = (mask if per_token else lengths).flatten().to(gates.dtype)  # tokens that each gate stands for
    chosen = counts @ _one_hot_of_best(gates, config.top_k or 1).flatten(0, 1)
    sums = lengths.to(mean.dtype) @ mean if probabilities is gates else counts @ probabilities.flatten(0, 1)
    return LayerRouting(layer, mean, last, chosen, lengths.sum().long(), lengths, sums)


def _last_token(mask: Float[Tensor, "batch seq"]) -> Int[Tensor, " batch"]:
    """Position of the last token that is no padding, whichever side is padded."""
    return (torch.arange(1, mask.shape[1] + 1, device=mask.device) * mask).argmax(1)


def signatures(record: Sequence[LayerRouting], form: str = "mean") -> Float[Tensor, "batch layers experts"]:
    """Routing signatures of the sequences of one forward call, with gradient.

    Args:
        record: Of one call, from `routing_record`.
        form: "mean" over the tokens, or those of the "last" token, which `routing_record(last=True)` records.

    Raises:
        ValueError: For another form, no layers, several calls in one record, or last tokens that were not recorded.
    """
    _check_one_call(record)
    if form not in ("mean", "last"):
        raise ValueError(f"form must be 'mean' or 'last', got {form!r}")
    if form == "last" and record[0].last is None:
        raise ValueError("the last tokens' gates were not recorded: use routing_record(last=True)")
    return torch.stack([one.mean if form == "mean" else one.last for one in record], dim=1)


def balance(record: Sequence[LayerRouting]) -> Float[Tensor, "1 layers columns"]:
    """What load balancing needs of one forward call, for `load_balancing_of`; sums over calls are those of all tokens.

    Columns: sum over the tokens of every expert's probability (with gradient), choices per expert, tokens. For top_k
    the probabilities are the softmax over all experts (our choice, as in Fedus et al. 2021), so that an expert which
    nobody chooses has a gradient.

    Raises:
        ValueError: For no layers, or several calls in one record.
    """
    _check_one_call(record)
    rows = [torch.cat([r.sums, r.chosen.to(r.sums.dtype), r.tokens.to(r.sums.dtype)[None]]) for r in record]
    return torch.stack(rows)[None]  # (1, layers, 2 * experts + 1)


def _check_one_call(record: Sequence[LayerRouting]) -> None:
    if not record:
        raise ValueError("the record is empty: no adapted layer had an input with the (batch, seq) axes of the mask")
    names = [one.layer for one in record]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"the record holds layer {twice} more than once: use one routing_record per forward call")
