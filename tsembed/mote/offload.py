"""MoTE inference in the memory of a dense encoder: one expert is active, the others are elsewhere.

`load_offloaded` leaves the other experts in the checkpoint's file, on any device; it never reads more than the shared
weights and one expert. `offload` keeps them on the CPU, which saves memory on a GPU and none on the CPU itself, where
a switch then only exchanges pointers. Either way the active weights are overwritten in place.

    model = load_offloaded("runs/cpu/mote/seed0/model", "search_document")
    model("search_document", input_ids=..., attention_mask=...).last_hidden_state
    model.switch("search_query")  # a forward pass under another route does it too
"""

import copy
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .checkpoint import check_weights, expert_of, local_folder, read_settings, shapes
from .experts import TaskRouted, upcycle
from .families import FAMILIES, new_encoder, pooler_off
from .per_expert import PerExpert

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


class Offloaded(TaskRouted):
    """A `TaskRouted` with one expert in memory, for inference. Made by `offload` or `load_offloaded`.

    A forward pass under a route whose expert is not active switches first: the embedding is always the route's own,
    and what alternating routes cost is time. So encode all texts of a route before the next. A batch whose routes
    need several experts is an error. Switch and forward pass are one step under a lock, so threads may share a model.

    Attributes:
        model: A plain dense encoder, with the active expert's weights.
        active: Name of the active expert.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        routes: Mapping[str, str],
        blocks: Sequence[int],
        write: Callable[[str], None],
        route: str,
    ):
        super().__init__(model, routes, blocks)
        self._write, self._lock = write, threading.RLock()
        self.active: str | None = None
        self.requires_grad_(False).eval()
        self.switch(route)

    def switch(self, route: str) -> None:
        """Make the expert of a route the active one.

        Raises:
            ValueError: If the route is unknown, or the checkpoint's file is no longer the one that was loaded.
        """
        if route not in self.routes:
            raise ValueError(f"route {route!r} has no expert; routes: {', '.join(self.routes)}")
        self._activate(self.routes[route])

    def _activate(self, expert: str) -> None:
        with self._lock:
            if expert != self.active:
                self.active = None  # a write that fails halfway leaves no expert that counts as active
                self._write(expert)
                self.active = expert

    def forward(self, routes: str | Sequence[str] | Tensor, *, pool: Callable | None = None, **inputs: Tensor):
        """The encoder's output under the routes, as of `TaskRouted`; switches if need be.

        Raises:
            ValueError: If a route is unknown, or the batch needs more than one expert.
        """
        _, counts = self._sort(routes, next(iter(inputs.values())).shape[0])
        needed = [expert for expert, n in zip(self.expert_names, counts, strict=True) if n]
        if len(needed) > 1:
            raise ValueError(f"an offloaded model has one expert at a time, this batch needs {needed}: split it")
        with self._lock:
            if needed:
                self._activate(needed[0])
            output = self.model(**inputs)
        return output if pool is None else pool(output.last_hidden_state, inputs["attention_mask"])

    def dense_state_dict(self, expert: str) -> dict[str, Tensor]:
        """A copy of one expert's weights and all that is shared, under the dense encoder's names; switches."""
        with self._lock:
            self._activate(expert)
            return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def save_pretrained(self, folder: str | Path) -> None:
        """Not possible: the model has one expert only."""
        raise ValueError(f"{folder}: an offloaded model has one expert at a time; save the model that it was made from")


def offload(routed: TaskRouted, route: str, *, device: str | torch.device | None = None) -> Offloaded:
    """The model with the expert of a route on the device and all experts on the CPU, pinned for a GPU.

    On the CPU it shares all weights with `routed`, which stays as it is; drop it to free what it holds on a GPU.

    Args:
        routed: All its experts are in memory.
        route: Its expert is the first to be active.
        device: Of the active expert and the shared weights; by default where they are.

    Raises:
        ValueError: If the model is offloaded already, or the route is unknown.
    """
    if isinstance(routed, Offloaded):
        raise ValueError("this model is offloaded already")
    if route not in routed.routes:
        raise ValueError(f"route {route!r} has no expert; routes: {', '.join(routed.routes)}")
    device = torch.device(device) if device is not None else next(routed.parameters()).device
    experts: dict[str, dict[str, Tensor]] = {name: {} for name in routed.expert_names}
    for name, tensor in routed.model.state_dict().items():
        owner, dense = expert_of(name)
        if owner is not None:
            host_copy = tensor.detach().cpu()
            experts[owner][dense] = host_copy.pin_memory() if device.type == "cuda" else host_copy
    # Modules of its own around the same tensors, as moving or switching must not touch `routed`.
    same: dict[int, Tensor] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in routed.model.parameters()}
    same |= {id(b): b for b in routed.model.buffers()}
    model = copy.deepcopy(routed.model, same)
    active = routed.routes[route]
    for name, module in [(n, m) for n, m in model.named_modules() if isinstance(m, PerExpert)]:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, module.experts[active])
    model.to(device)  # type: ignore[arg-type]  # transformers decorates `to`, and the decorator's type takes self

    def write(expert: str) -> None:
        for name, new in experts[expert].items():
            weight = model.get_parameter(name)
            if weight.device == new.device and weight.dtype == new.dtype:
                weight.data = new
            else:
                weight.data.copy_(new, non_blocking=True)

    return Offloaded(model, routed.routes, routed.blocks, write, route)


def load_offloaded(folder: str | Path, route: str, *, device: str | torch.device = "cpu") -> Offloaded:
    """A MoTE checkpoint with one expert in memory and the others left in its file.

    A switch reads one expert from the file, at the speed of the page cache or of the disk. The file must stay as it is.

    Args:
        folder: What `TaskRouted.save_pretrained` wrote, or "organisation/model" of the hub.
        route: Its expert is the first to be active.
        device: Of the active expert and the shared weights.

    Raises:
        ValueError: As `TaskRouted.from_pretrained`, and if the route is unknown.
    """
    folder = local_folder(folder)
    config, routes, blocks = read_settings(folder)
    file = _WeightFile(folder / "model.safetensors")
    dense = new_encoder(config)
    try:
        with torch.device("meta"):
            whole = upcycle(type(dense)(config, **pooler_off(config.model_type)), routes, blocks)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    check_weights(
        file.path,
        file.shapes,
        shapes(whole.model.state_dict()),
        model_type=config.model_type,
        blocks=FAMILIES[config.model_type].blocks,
    )
    plans: dict[str | None, list[tuple[str, nn.Module, str]]] = {expert: [] for expert in (None, *whole.expert_names)}
    for name in file.shapes:
        owner, path = expert_of(name)
        parent, _, last = path.rpartition(".")
        module = dense.get_submodule(parent)
        if owner in (None, routes.get(route)):  # memory of the file's own dtype: bf16 stays bf16, fp32 loses nothing
            tensor = getattr(module, last)
            tensor.data = tensor.data.to(file.entries[name][0])
        plans[owner].append((name, module, last))
    file.read(plans[None])
    dense.to(device)  # type: ignore[arg-type]  # as in `offload`
    return Offloaded(dense, routes, blocks, lambda expert: file.read(plans[expert]), route)


class _WeightFile:
    """A safetensors file whose tensors are read into memory that is there already.

    The library's own reader maps the file instead: the first use of every page then costs more than this whole read,
    and the pages of experts used before stay resident.
    """

    def __init__(self, path: Path):
        self.path, self.mark = path, _mark(path)
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(length, self.mark[1])))  # no more than the file has
            header.pop("__metadata__", None)
            self.entries = {n: (_DTYPES[e["dtype"]], tuple(e["shape"]), e["data_offsets"]) for n, e in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: no readable safetensors file ({type(error).__name__}: {error})") from None
        self.start = 8 + length

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape per tensor."""
        return {name: shape for name, (_, shape, _) in self.entries.items()}

    def read(self, plan: Sequence[tuple[str, nn.Module, str]]) -> None:
        """Write tensors of the file over weights: (name in the file, the weight's module, its name there)."""
        if _mark(self.path) != self.mark:
            raise ValueError(f"{self.path} has changed since it was loaded: load the model again")
        with self.path.open("rb") as file:
            for name, module, last in plan:
                dtype, shape, (begin, end) = self.entries[name]
                weight = getattr(module, last).data
                direct = weight.device.type == "cpu" and weight.dtype == dtype and weight.is_contiguous()
                into = weight if direct else torch.empty(shape, dtype=dtype)
                file.seek(self.start + begin)
                if file.readinto(into.view(-1).view(torch.uint8).numpy().data) != end - begin:
                    raise ValueError(f"{self.path} ends within {name}")
                if not direct:
                    weight.copy_(into)


def _mark(path: Path) -> tuple[int, int, int]:
    """Changes when the file is written or replaced."""
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns
