"""A training in TensorBoard, Trackio or Weights & Biases, through Accelerate. No extra brings their packages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator

NAMES = ("tensorboard", "trackio", "wandb")
PROJECT = "tsembed"
FOLDER = "logs"  # in the run's folder, of trackers that write files


def check(name: str) -> None:
    """That a tracker is known and its package is installed.

    Args:
        name: Of the tracker.

    Raises:
        ValueError: With what to install.
    """
    if name not in NAMES:
        raise ValueError(f"log_with {name!r} is unknown; known: {', '.join(NAMES)}")
    from accelerate.tracking import get_available_trackers

    if name not in [str(tracker) for tracker in get_available_trackers()]:
        raise ValueError(f"log_with {name!r} needs the package {name}, which is not installed: pip install {name}")


def options(name: str | None, folder: Path) -> dict[str, Any]:
    """What `Accelerator` is told of a tracker; nothing without one.

    Args:
        name: Of the tracker.
        folder: The run's.
    """
    return {} if name is None else {"log_with": [name], "project_dir": folder / FOLDER}


@contextmanager
def tracked(accelerator: "Accelerator", config: dict[str, Any]) -> Iterator[None]:
    """Within it what `accelerator.log` is given goes to the trackers; afterwards their runs are finished.

    `Accelerator.end_training` would also take the processes apart, which is not ours to do.

    Args:
        accelerator: With the `options` of the trackers.
        config: Settings; TensorBoard stores numbers and texts alone, so the others are left out.
    """
    if accelerator.log_with:
        folder = Path(accelerator.logging_dir)
        folder.mkdir(parents=True, exist_ok=True)
        simple = {key: value for key, value in config.items() if isinstance(value, int | float | str)}
        accelerator.init_trackers(PROJECT, simple, {"wandb": {"dir": str(folder)}})
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
