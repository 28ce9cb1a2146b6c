"""Commands that a notebook starts: prepare the data of a run, and the run itself. Does not import torch."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from .. import paths
from ..presets import load_preset, resolve


def data_folder(preset: str, variant: str) -> Path:
    """Folder of the prepared data that a preset's variant is trained on."""
    return paths.data_dir(preset, _experiment(preset, variant))


def prepare_command(preset: str, variant: str) -> list[str]:
    """Command that prepares the data that a preset's variant is trained on."""
    experiment = _experiment(preset, variant)
    return [sys.executable, "-m", "study", "data", preset, *(["--experiment", experiment] if experiment else [])]


def _experiment(preset: str, variant: str) -> str:
    """The experiment whose prepared data a variant, or an experiment whose runs share a process, reads."""
    settings = load_preset(preset)
    experiment = variant if variant in settings.experiments else settings.experiment_of(variant)
    return settings.experiment_with_same_data(experiment)


def launch_command(preset: str, variant: str, seed: int) -> list[str]:
    """Command of one run: through Accelerate on a machine with several GPUs, else plain (the same loop, sooner up).

    Runs that share a process are small, and have one process: ranks part after a run and do not meet again. Does not
    import torch, so a notebook can call it before its launch. The environment variable TSEMBED_PROCESSES overrides the
    number of GPUs; TSEMBED_ACCELERATE names another file of configs/accelerate.

    Raises:
        ValueError: If there is no such file, or it cannot train the variant.
    """
    processes = int(os.environ.get("TSEMBED_PROCESSES") or gpus() or 1)
    module = ["-m", "study", "run", preset, variant, str(seed), "--resume"]
    if processes == 1 or len(load_preset(preset).variants_of_node(variant, seed)) > 1:
        return [sys.executable, *module]
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(_launcher(preset, variant, seed)),
    ]
    return [*launch, "--num_processes", str(processes), *module]


def _launcher(preset: str, variant: str, seed: int) -> Path:
    """The file of configs/accelerate that TSEMBED_ACCELERATE names."""
    folder = paths.CONFIGS / "accelerate"
    name = os.environ.get("TSEMBED_ACCELERATE") or "ddp"
    if name not in (known := sorted(path.stem for path in folder.glob("*.yaml"))):
        raise ValueError(f"TSEMBED_ACCELERATE {name!r}: no such file in {folder}; there are {', '.join(known)}")
    chosen = resolve(load_preset(preset), variant, seed).variant
    if chosen.ranks_may_differ and name != "ddp":
        raise ValueError(
            f"TSEMBED_ACCELERATE {name!r}: each process of {variant} may use other experts, for which "
            f"{name} would wait; use ddp"
        )
    return folder / f"{name}.yaml"


def study_is_running() -> bool:
    """Whether `./run_all.sh PRESET` is at work in this checkout: it holds the lock of runs/."""
    path = paths.RUNS / ".lock"
    if not path.is_file():
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def gpus() -> int:
    """Number of NVIDIA GPUs that processes of ours may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return listing.count("GPU ")
