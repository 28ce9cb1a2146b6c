"""One module of a block, once per expert, and how many sequences of the pass under way each expert has."""

import copy
import threading
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn


class _Thread(threading.local):
    """Sequences per expert of the forward pass under way.

    Not a module's state, so that a recomputation under gradient checkpointing can never see the routes of a later
    forward pass; and not a `ContextVar`, at which `torch.compile` breaks its graph.
    """

    def __init__(self):
        self.counts: tuple[int, ...] | None = None


_THREAD = _Thread()


class SequencesPerExpert:
    """Context with the given counts; it can be entered again, as a second backward pass does."""

    def __init__(self, counts: tuple[int, ...] | None):
        self.counts = counts
        self.outer: list[tuple[int, ...] | None] = []

    def __enter__(self):
        self.outer.append(_THREAD.counts)
        _THREAD.counts = self.counts

    def __exit__(self, *_):
        _THREAD.counts = self.outer.pop()


def checkpoint_contexts():
    """For `torch.utils.checkpoint(context_fn=…)`: the recomputation runs under the routes of its own forward pass."""
    return nullcontext(), SequencesPerExpert(_THREAD.counts)


class PerExpert(nn.Module):
    """One module of a block, once per expert; sequences arrive sorted by expert."""

    def __init__(self, dense: nn.Module, names: Sequence[str]):
        super().__init__()
        self.experts = nn.ModuleDict({name: copy.deepcopy(dense) for name in names})

    def forward(self, *inputs: Tensor) -> Tensor:  # each (batch, seq, ...)
        """What the experts make of the sequences, each its own slice, in the order of the inputs: (batch, seq, ...).

        Raises:
            RuntimeError: Outside a forward pass of a `TaskRouted`, which says how many sequences each expert has.
        """
        counts = _THREAD.counts
        if counts is None:
            raise RuntimeError(
                "no route is set: call the TaskRouted model with a route, and enable gradient checkpointing on it, "
                "not on the model inside"
            )
        active = [(expert, n) for expert, n in zip(self.experts.values(), counts, strict=True) if n]
        if len(active) == 1:
            return active[0][0](*inputs)
        slices = zip(*(x.split([n for _, n in active]) for x in inputs), strict=True)
        return torch.cat([expert(*part) for (expert, _), part in zip(active, slices, strict=True)])
