"""Gathering across ranks for in-batch negatives. Without a process group the functions return what they got."""

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
    return _GatherWithGrad.apply(rows), torch.distributed.get_rank() * rows.shape[0]


class _GatherWithGrad(torch.autograd.Function):
    """All ranks' rows; the gradient of a row is the sum of those that all ranks' losses have with respect to it."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        return gather(rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        # Summed whole and then cut: gloo has no reduce-scatter in all versions of torch that the library runs with.
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # autograd's own may be read by others
        torch.distributed.all_reduce(gradient)
        return gradient.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def gather_ragged(rows: Tensor) -> Tensor:
    """All ranks' rows in rank order, with gradient as `gather_with_grad`, where ranks have different numbers of them.

    Args:
        rows: (any number, ...), the same shape but for that on every rank.
    """
    if not _distributed() or torch.distributed.get_world_size() == 1:
        return rows
    counts = gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    if not any(counts):
        return rows
    padding = rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])
    padded, _ = gather_with_grad(torch.cat([rows, padding]))
    return torch.cat([part[:count] for part, count in zip(padded.split(max(counts)), counts, strict=True)])


def gather(rows: Tensor) -> Tensor:
    """All ranks' rows in rank order, without gradient; the same shape on every rank."""
    if not _distributed() or torch.distributed.get_world_size() == 1:
        return rows
    rows = rows.contiguous()
    parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, rows)
    return torch.cat(parts)
