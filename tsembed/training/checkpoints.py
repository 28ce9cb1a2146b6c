"""Checkpoints of a training: written under a temporary name, renamed when whole, and resumed from.

Frozen weights are no part of them: whoever resumes builds the same model first, and adapters are a hundredth of their
backbone. What they were is kept as a checksum. Sharded checkpoints (FSDP, DeepSpeed) are whole.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..files import move_folder, write_text
from .sampler import TaskSampler
from .stages import SpecialisationSchedule

if TYPE_CHECKING:
    from accelerate import Accelerator

FROZEN = "frozen.txt"  # of a checkpoint without the frozen weights: their checksum
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the size of an element in bytes


def _checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first; a half-written one still has its temporary name."""
    return sorted((folder / "checkpoints").glob("step-*[0-9]"))


def save_checkpoint(
    accelerator: "Accelerator",
    folder: Path,
    step: int,
    sampler: TaskSampler,
    stages: SpecialisationSchedule,
    pass_cost: int | None = None,
) -> None:
    """Trained weights, optimiser, random states and the sampler's identity; the name appears when all is written.

    Args:
        accelerator: Of the training.
        folder: The run's.
        step: Steps done.
        sampler: Of the training's batches.
        stages: Of its negatives.
        pass_cost: What the batches were split by; a resumed training splits them alike.
    """
    target = folder / "checkpoints" / f"step-{step:08d}"
    partial = target.with_suffix(".partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    hook = accelerator.register_save_state_pre_hook(_leave_out_frozen)
    accelerator.save_state(str(partial))
    hook.remove()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        progress = {"step": step, "sampler": sampler.state_dict(), "stages": stages.state_dict()}
        progress["forward_pass_cost_tokens"] = pass_cost
        (partial / "progress.json").write_text(json.dumps(progress))
        older = _checkpoints(folder)
        move_folder(partial, target)
        for path in older:
            shutil.rmtree(path)
    accelerator.wait_for_everyone()


def resume_from(
    accelerator: "Accelerator", folder: Path, sampler: TaskSampler, stages: SpecialisationSchedule, resume: bool
) -> tuple[int, int | None]:
    """Load the newest checkpoint, if any; the number of steps done, and what their batches were split by, if known.

    Raises:
        ValueError: If there is one and `resume` is False, or if it is of other data or other frozen weights.
    """
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        stages.load_state_dict(stages.state_dict(), 0)
        return 0, None
    if not resume:
        raise ValueError(
            f"{folder} has a checkpoint ({checkpoints[-1].name}); resume it, or delete the folder to start anew"
        )
    progress = json.loads((checkpoints[-1] / "progress.json").read_text(encoding="utf-8"))
    if progress["sampler"] != sampler.state_dict():
        raise ValueError(
            f"{checkpoints[-1]} was written with other data or another schedule; delete {folder} to start anew"
        )
    hook = accelerator.register_load_state_pre_hook(_load_trained)
    accelerator.load_state(str(checkpoints[-1]))
    hook.remove()
    stages.load_state_dict(progress["stages"], progress["step"])
    return progress["step"], progress.get("forward_pass_cost_tokens")


def _leave_out_frozen(models: Sequence[nn.Module], weights: Sequence[dict[str, Tensor]], folder: str) -> None:
    """Accelerate's hook before saving: takes the frozen weights out; sharded models have no `weights` here."""
    for model, state in zip(models, weights, strict=False):
        if frozen := _frozen(model):
            for name in frozen:
                state.pop(name, None)
            write_text(Path(folder) / FROZEN, _checksum(frozen))


def _load_trained(models: list[nn.Module], folder: str) -> None:
    """Accelerate's hook before loading: reads one without frozen weights; a whole one is left to Accelerate."""
    from safetensors.torch import load_model

    if not models or not (Path(folder) / FROZEN).is_file():
        return
    model = models.pop()
    frozen = _frozen(model)
    if (Path(folder) / FROZEN).read_text(encoding="utf-8") != _checksum(frozen):
        raise ValueError(
            f"{folder} was written beside other frozen weights than the model has now, as after a new training of its "
            f"base; delete {Path(folder).parent.parent} to start anew"
        )
    missing, unexpected = load_model(model, Path(folder) / "model.safetensors", strict=False)
    if faults := sorted({*missing, *unexpected} - set(frozen)):
        raise ValueError(f"{folder} has other trained weights than the model, {faults[0]!r} among them")


def _frozen(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """A text that is the same, on every device, for the same names and bits: bits are summed as integers."""
    sums: list[Any] = []
    for name, tensor in sorted(tensors.items()):
        bits = tensor.detach().contiguous().view(INTEGERS[tensor.element_size()])
        sums.append((name, list(tensor.shape), bits.sum(dtype=torch.int64).item()))
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()
