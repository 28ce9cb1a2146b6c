"""Batches that worker processes make: each is sent as a few large tensors.

A tensor that a worker sends takes a file descriptor in both processes until it is freed. A batch in chunks has hundreds
of small ones, and some batches are on their way at any time: more than the 1,024 files that a process may usually open.
"""

import io
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .batches import Batch, StepBatches

ALIGNED = 64  # elements: a tensor within a larger one begins as one of its own would, or kernels may round otherwise


class Packed(NamedTuple):
    """A batch whose tensors lie behind each other in one tensor per type.

    Attributes:
        values: The tensors of a type, flat, in shared memory.
        places: Type, first element and shape of each tensor, in the order in which `rest` names them.
        rest: The batch pickled, with a number in place of each tensor.
    """

    values: dict[torch.dtype, Tensor]
    places: list[tuple[torch.dtype, int, torch.Size]]
    rest: bytes


def number_of_workers(chosen: int | None, device: torch.device) -> int:
    """What the settings choose; without a choice 0 on a CPU, which the training needs itself, else 2.

    >>> number_of_workers(None, torch.device("cpu")), number_of_workers(None, torch.device("cuda"))
    (0, 2)
    """
    if chosen is not None:
        return chosen
    return 0 if device.type == "cpu" else 2


def load_batches(batches: StepBatches, steps: range, workers: int) -> Iterator[list[Batch]]:
    """The micro-batches of each step, in order.

    Args:
        batches: Of the whole run.
        steps: Which of them.
        workers: Processes that make them ahead of their use; 0: they are made here, when they are asked for.
    """
    loader = torch.utils.data.DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=pack if workers else _as_it_is,
        generator=torch.Generator(),  # of its own: drawing from the global one would change the dropout masks
    )
    return map(unpack, loader) if workers else iter(loader)


def pack(batch: Any) -> Packed:
    """The batch for its way to another process, in one tensor per type."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(batch)
    sizes: dict[torch.dtype, int] = {}
    places = []
    for tensor in pickler.tensors:
        start = -(-sizes.get(tensor.dtype, 0) // ALIGNED) * ALIGNED
        places.append((tensor.dtype, start, tensor.shape))
        sizes[tensor.dtype] = start + tensor.numel()
    # In shared memory from the start, or sending would copy them once more.
    values = {dtype: torch.empty(size, dtype=dtype).share_memory_() for dtype, size in sizes.items()}
    packed = Packed(values, places, file.getvalue())
    for tensor, view in zip(pickler.tensors, _views(packed), strict=True):
        view.copy_(tensor)
    return packed


def unpack(packed: Packed) -> Any:
    """The batch that was packed; its tensors are views, nothing is copied."""
    return _Unpickler(io.BytesIO(packed.rest), _views(packed)).load()


def _views(packed: Packed) -> list[Tensor]:
    return [packed.values[dtype][start : start + shape.numel()].view(shape) for dtype, start, shape in packed.places]


class _Pickler(pickle.Pickler):
    """Pickles everything but tensors, which it lists."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.tensors: list[Tensor] = []

    def persistent_id(self, value: Any) -> int | None:
        """The number of a tensor; None for what is pickled as usual."""
        if not isinstance(value, Tensor):
            return None
        self.tensors.append(value)
        return len(self.tensors) - 1


class _Unpickler(pickle.Unpickler):
    """Puts listed tensors where they were."""

    def __init__(self, file: io.BytesIO, tensors: list[Tensor]):
        super().__init__(file)
        self.tensors = tensors

    def persistent_load(self, number: int) -> Tensor:
        """The tensor of a number."""
        return self.tensors[number]


def _as_it_is(batch: Any) -> Any:
    return batch
