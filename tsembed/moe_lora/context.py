"""The forward pass under way: mask, routes and record, which every adapted layer reads.

They are held per thread and only while the base model's `forward` runs, not as state of a module: a recomputation under
gradient checkpointing then sees what its own forward pass saw, never what a later one left behind. A `threading.local`,
not a `ContextVar`, because `torch.compile` traces the former and breaks its graph at the latter.
"""

import threading
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from .question import QuestionGates


class ForwardPass(NamedTuple):
    """What the layers need to know of the call of the base model."""

    mask: Float[Tensor, "batch seq"] | None  # 1 for a token, 0 for padding; None where the input has no such axes
    lengths: Float[Tensor, " batch"] | None  # tokens per sequence, padding left out
    routes: Mapping[str, int | Tensor]  # of task-routed adapters: the expert, or one-hot gates (batch, 1, experts)
    questions: Mapping[str, "QuestionGates"]  # of question-routed adapters
    record: list | None  # the `LayerRouting`s of this call
    with_last: bool  # whether the record has the last token's gates

    def fits(self, x: Tensor) -> bool:
        """Whether a layer's input has the mask's (batch, seq) axes; that of a vision tower has not."""
        return self.mask is not None and x.dim() == 3 and x.shape[:2] == self.mask.shape

    @property
    def weights(self) -> Float[Tensor, "batch seq"]:
        """Weights of a sequence's tokens in its mean; all 0 for a sequence of padding only."""
        assert self.mask is not None
        assert self.lengths is not None
        return self.mask / self.lengths.clamp(min=1).unsqueeze(1)


class _Thread(threading.local):
    def __init__(self):
        self.forward: ForwardPass | None = None
        self.record: list | None = None
        self.with_last = False


THREAD = _Thread()


def forward_pass(
    mask: Tensor | None, routes: Mapping[str, int | Tensor], questions: Mapping[str, "QuestionGates"] | None = None
) -> ForwardPass:
    """The context of a call with this mask (batch, seq), which fills the record that is open, if any."""
    if mask is not None:
        mask = mask.to(torch.float32)
    lengths = None if mask is None else mask.sum(1)
    return ForwardPass(mask, lengths, routes, questions or {}, THREAD.record, THREAD.with_last)


class _Recomputation:
    """The context of an earlier forward pass; it can be entered again, as a second backward pass does."""

    def __init__(self, forward: ForwardPass | None):
        self.forward = None if forward is None else forward._replace(record=None)
        self.outer: list[ForwardPass | None] = []

    def __enter__(self):
        self.outer.append(THREAD.forward)
        THREAD.forward = self.forward

    def __exit__(self, *_):
        THREAD.forward = self.outer.pop()


def checkpoint_contexts():
    """For `torch.utils.checkpoint(context_fn=…)`: a recomputation runs in the context of its own forward pass."""
    return nullcontext(), _Recomputation(THREAD.forward)
