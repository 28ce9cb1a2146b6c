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

from .config import NO_EXPERT, MoeLoraConfig
from .context import THREAD, ForwardPass


class LayerRouting(NamedTuple):
    """What one layer's router decided in one forward pass. All that follows from it is computed when it is asked for.

    Padding counts nowhere.
    """

    layer: str  # the layer's path in the base model
    gates: int | Float[Tensor, "batch _ experts"]  # of every token; the same for all of a sequence; or of everyone
    probabilities: int | Float[Tensor, "batch _ experts"]  # the softmax over all experts, in the same form
    config: MoeLoraConfig
    forward: ForwardPass

    @property
    def mean(self) -> Float[Tensor, "batch experts"]:
        """Mean over a sequence's tokens of the gates, with gradient."""
        gates = self._expanded(self.gates)
        return _means(gates[None], self.forward)[:, 0] if self._per_token else gates[:, 0]

    @property
    def last(self) -> Float[Tensor, "batch experts"] | None:
        """Gates of the last token, with gradient; None if the record was opened without them."""
        if not self.forward.with_last:
            return None
        return self._last_gates

    @property
    def _last_gates(self) -> Float[Tensor, "batch experts"]:
        if not isinstance(self.gates, Tensor) or not self._per_token:
            return self.mean
        return self.gates[torch.arange(len(self.gates), device=self.gates.device), _last_token(self._mask)]

    @property
    def chosen(self) -> Float[Tensor, " experts"]:
        """How often a token chose the expert, among its top_k or as its best; no gradient."""
        best = _one_hot_of_best(self._expanded(self.gates), self.config.top_k or 1)
        return self._counts(best.dtype) @ best.flatten(0, 1)

    @property
    def sums(self) -> Float[Tensor, " experts"]:
        """Sum over the tokens of the softmax over all experts, with gradient."""
        probabilities = self._expanded(self.probabilities)
        return self._counts(probabilities.dtype) @ probabilities.flatten(0, 1)

    @property
    def lengths(self) -> Float[Tensor, " batch"]:
        """Tokens of each sequence."""
        assert self.forward.lengths is not None
        return self.forward.lengths

    @property
    def tokens(self) -> Int[Tensor, ""]:
        """Of all sequences."""
        return self.lengths.sum().long()

    @property
    def _mask(self) -> Float[Tensor, "batch seq"]:
        """Of the call; a layer is recorded only where its input fits a mask."""
        assert self.forward.mask is not None
        return self.forward.mask

    @property
    def _per_token(self) -> bool:
        return isinstance(self.gates, Tensor) and self.gates.shape[1] == self._mask.shape[1]

    def _counts(self, dtype: torch.dtype) -> Float[Tensor, " gated"]:
        """Tokens that each gate stands for."""
        return (self._mask if self._per_token else self.lengths).flatten().to(dtype)

    def _expanded(self, gates: int | Tensor) -> Float[Tensor, "batch _ experts"]:
        if isinstance(gates, Tensor):
            return gates
        one_hot = self._mask.new_zeros(len(self._mask), 1, self.config.num_experts)
        if gates != NO_EXPERT:
            one_hot[..., gates] = 1
        return one_hot


def _means(
    gates: Float[Tensor, "layers batch seq experts"], forward: ForwardPass
) -> Float[Tensor, "batch layers experts"]:
    """Mean over each sequence's tokens."""
    return torch.einsum("bs,lbse->ble", forward.weights.to(gates.dtype), gates)


def gate(
    logits: Float[Tensor, "*tokens experts"], top_k: int | None
) -> tuple[Float[Tensor, "*tokens experts"], Float[Tensor, "*tokens experts"]]:
    """The softmax over all experts, and the gates: the softmax over the `top_k` best, 0 for the others.

    With top_k = 1 a softmax would be the constant 1, and the router would never learn from the task. There the gate is
    p / stop_gradient(p), which is 1 in value and has p's gradient (our choice, as in `mote.token_routing`).

    Examples:
        >>> gate(torch.tensor([0.0, 0.0, -1.0]), 2)[1].tolist()
        [0.5, 0.5, 0.0]
    """
    probabilities = logits.softmax(-1)
    if top_k is None or top_k == logits.shape[-1]:
        return probabilities, probabilities
    gates = probabilities * _one_hot_of_best(probabilities, top_k)
    total = gates.sum(-1, keepdim=True)
    return probabilities, gates / (total.detach() if top_k == 1 else total)


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
    if form == "last" and not record[0].forward.with_last:
        raise ValueError("the last tokens' gates were not recorded: use routing_record(last=True)")
    if form == "mean" and all(one._per_token for one in record):
        return _means(
            torch.stack([one._expanded(one.gates) for one in record]), record[0].forward
        )  # one product for all layers
    return torch.stack([one.mean if form == "mean" else one._last_gates for one in record], dim=1)


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
    names = [layer_routing.layer for layer_routing in record]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"the record holds layer {twice} more than once: use one routing_record per forward call")
