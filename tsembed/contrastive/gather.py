"""Gathering across ranks for in-batch negatives. Without a process group both functions return what they got."""

import torch
from torch import Tensor


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def gather_with_grad(rows: Tensor) -> tuple[Tensor, int]:
    """All ranks' rows in rank order, with gradient to every rank, and the index of this rank's first row.

    Keep the queries local and gather the documents with this: under the mean that DDP takes over ranks, the gradient
    is that of one process with the whole batch, without any world-size factor.

    Args:
        rows: (batch, dim), the same shape on every rank.
    """
    if not _distributed() or torch.distributed.get_world_size() == 1:
        return rows, 0
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous())), torch.distributed.get_rank() * rows.shape[0]


def gather(rows: Tensor) -> Tensor:
    """All ranks' rows in rank order, without gradient; the same shape on every rank."""
    if not _distributed() or torch.distributed.get_world_size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
