"""Texts to padded chunks of similar length, so that padding is hardly computed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

if TYPE_CHECKING:
    from .image_processing import Pictures


# Fixed cost of one more forward pass, in tokens, by type of device: a chunk is only split off where it saves more
# padding than this. On one thread of two processors 26 to 54 were measured (`python -m benchmarks.pass_cost`; LOG.md,
# entries 18 and 25). "auto", which also counts where a type is not named: measured when it is needed (pass_cost.py).
FORWARD_PASS_COST_TOKENS: dict[str, int | Literal["auto"]] = {"cpu": 48, "cuda": "auto"}


class Chunk(NamedTuple):
    """Sequences of similar length, padded to the longest."""

    input_ids: Int[Tensor, "batch seq"]
    attention_mask: Int[Tensor, "batch seq"]
    routes: str | Tensor  # one route, or a route index per sequence
    positions: Int[Tensor, " batch"]  # where the sequences stand in the whole
    pictures: "Pictures | None" = None  # of the sequences that have one, in their order


def chunks(
    tokens: Sequence[Sequence[int]],
    routes: str | Tensor,
    *,
    pad_id: int,
    max_tokens: int | None = None,
    padding_side: str = "right",
    pass_cost: int | None = None,
) -> list[Chunk]:
    """Split token sequences by length into the chunks that cost least, shortest first.

    The cost of a chunk is (sequences x longest) + pass_cost tokens; the best split is found exactly, by dynamic
    programming over the distinct lengths.

    Args:
        tokens: Token ids per sequence, each with at least one.
        routes: One route for all, or int64 (batch,) route indices.
        pad_id: Fills the padding; the mask is 0 there.
        max_tokens: Upper bound of a chunk's size with padding (a longer single sequence is a chunk of its own).
        padding_side: "right" puts the padding behind the tokens, anything else before them.
        pass_cost: What one more forward pass costs, in tokens, >= 0; None: what it costs on a CPU.
    """
    if pass_cost is None:
        pass_cost = int(FORWARD_PASS_COST_TOKENS["cpu"])
    lengths = np.array([len(t) for t in tokens])
    order = np.argsort(lengths, kind="stable")
    parts = []
    for start, stop in _split(lengths[order], max_tokens, pass_cost):
        positions = order[start:stop]
        longest = int(lengths[order[stop - 1]])
        input_ids = np.full((stop - start, longest), pad_id, dtype=np.int64)
        mask = np.zeros((stop - start, longest), dtype=np.int64)
        for row, position in enumerate(positions):
            at = slice(0, lengths[position]) if padding_side == "right" else slice(longest - lengths[position], None)
            input_ids[row, at] = tokens[position]
            mask[row, at] = 1
        where = torch.from_numpy(positions)
        chunk_routes = routes if isinstance(routes, str) else routes[where]
        parts.append(Chunk(torch.from_numpy(input_ids), torch.from_numpy(mask), chunk_routes, where))
    return parts


def _split(lengths: np.ndarray, max_tokens: int | None, pass_cost: int) -> list[tuple[int, int]]:
    """Bounds of the cheapest chunks of sorted lengths."""
    if not len(lengths):
        return []
    distinct, counts = np.unique(lengths, return_counts=True)
    ends = np.cumsum(counts)
    best = np.zeros(len(ends) + 1)  # best[k]: cost of the first k distinct lengths
    cut = np.zeros(len(ends) + 1, dtype=int)
    starts = np.concatenate([[0], ends])
    for k in range(1, len(ends) + 1):
        costs = best[:k] + (starts[k] - starts[:k]) * distinct[k - 1] + pass_cost
        cut[k] = int(np.argmin(costs))
        best[k] = costs[cut[k]]
    bounds, k = [], len(ends)
    while k:
        bounds.append((int(starts[cut[k]]), int(starts[k])))
        k = cut[k]
    bounds.reverse()
    if max_tokens is None:
        return bounds
    limited = []
    for start, stop in bounds:
        while start < stop:  # the longest sequence of a chunk that still fits decides its size
            size = 1
            while start + size < stop and (size + 1) * lengths[start + size] <= max_tokens:
                size += 1
            limited.append((start, start + size))
            start += size
    return limited
