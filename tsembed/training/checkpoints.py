"""Checkpoints of a training: written under a temporary name, renamed when whole, and resumed from."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import move_folder
from .sampler import TaskSampler
from .stages import SpecialisationSchedule

if TYPE_CHECKING:
    from accelerate import Accelerator


def _checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first; a half-written one still has its temporary name."""
    return sorted((folder / "checkpoints").glob("step-*[0-9]"))


def save_checkpoint(
    accelerator: "Accelerator", folder: Path, step: int, sampler: TaskSampler, stages: SpecialisationSchedule
) -> None:
    """Weights, optimiser, random states and the sampler's identity; the name appears when all is written."""
    target = folder / "checkpoints" / f"step-{step:08d}"
    partial = target.with_suffix(".partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        progress = {"step": step, "sampler": sampler.state_dict(), "stages": stages.state_dict()}
        (partial / "progress.json").write_text(json.dumps(progress))
        older = _checkpoints(folder)
        move_folder(partial, target)
        for path in older:
            shutil.rmtree(path)
    accelerator.wait_for_everyone()


def resume_from(
    accelerator: "Accelerator", folder: Path, sampler: TaskSampler, stages: SpecialisationSchedule, resume: bool
) -> int:
    """Load the newest checkpoint, if any, and return the number of steps done."""
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        stages.load_state_dict(stages.state_dict(), 0)
        return 0
    if not resume:
        raise ValueError(
            f"{folder} has a checkpoint ({checkpoints[-1].name}); resume it, or delete the folder to start anew"
        )
    progress = json.loads((checkpoints[-1] / "progress.json").read_text())
    if progress["sampler"] != sampler.state_dict():
        raise ValueError(
            f"{checkpoints[-1]} was written with other data or another schedule; delete {folder} to start anew"
        )
    accelerator.load_state(str(checkpoints[-1]))
    stages.load_state_dict(progress["stages"], progress["step"])
    return progress["step"]
