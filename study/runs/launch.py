"""Commands that a notebook starts: prepare the data of a run, and the run itself. Does not import torch.

`python -m study train PRESET VARIANT SEED` becomes the command of a training without its scores, as a cluster's job.
"""

import argparse
import fcntl
import os
import subprocess
import sys
from pathlib import Path

from .. import paths
from ..presets import load_preset, resolve
from .on_node import srun


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


def launch_command(preset: str, variant: str, seed: int, *, only_training: bool = False) -> list[str]:
    """Command of one run: through Accelerate where it has several processes, else plain (the same loop, sooner up).

    A run has a process per GPU of the machine; the environment variable TSEMBED_PROCESSES says another number.
    TSEMBED_NODES is the number of nodes of the Slurm job that it trains on, each with so many processes;
    TSEMBED_ACCELERATE names another file of configs/accelerate. Runs that share a process are small, and have one
    process: ranks part after a run and do not meet again. Does not import torch, so a notebook can call it before its
    launch.

    Args:
        preset: A name in configs/presets.
        variant: A variant, or an experiment whose runs share a process.
        seed: Of the run.
        only_training: Stop at the trained model: scores are the work of one process, and other GPUs would idle.

    Raises:
        ValueError: If there is no such file, it cannot train the variant, or a variable is not a whole number > 0.
    """
    nodes, processes = nodes_per_training(), processes_per_node() or gpus() or 1
    module = ["-m", "study", "run", preset, variant, str(seed), "--resume", *["--only-training"] * only_training]
    if nodes * processes == 1 or len(load_preset(preset).variants_of_node(variant, seed)) > 1:
        return [sys.executable, *module]
    options = ["--config_file", str(_launcher(preset, variant, seed)), "--num_processes", str(nodes * processes)]
    if nodes == 1:
        return [sys.executable, "-m", "accelerate.commands.launch", *options, *module]
    return [*srun(nodes, min(processes, gpus())), sys.executable, "-m", "study.runs.on_node", *options, *module]


def nodes_per_training() -> int:
    """TSEMBED_NODES: the nodes of a cluster that one training takes, 1 where nothing is said.

    Raises:
        ValueError: If it is not a whole number > 0.
    """
    return _whole_number("TSEMBED_NODES") or 1


def processes_per_node() -> int | None:
    """TSEMBED_PROCESSES: the processes of a training on one node, each with a GPU; None where nothing is said.

    Raises:
        ValueError: If it is not a whole number > 0.
    """
    return _whole_number("TSEMBED_PROCESSES")


def processes_per_scoring() -> int:
    """TSEMBED_SCORING: the processes, each with a GPU, of a cluster's job that scores a model; 1 where nothing is said.

    Raises:
        ValueError: If it is not a whole number > 0.
    """
    return _whole_number("TSEMBED_SCORING") or 1


def _whole_number(variable: str) -> int | None:
    text = os.environ.get(variable) or None
    if text is not None and (not text.isdecimal() or int(text) < 1):
        raise ValueError(f"{variable} must be a whole number > 0, not {text!r}")
    return None if text is None else int(text)


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
    """Whether `./run_all.sh PRESET` is at work in this checkout: it holds the lock of runs/.

    What it started knows that by TSEMBED_SESSION, also on another machine, where the lock may not be seen.
    """
    if os.environ.get("TSEMBED_SESSION"):
        return True
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


def main(arguments: list[str] | None = None) -> None:
    """`python -m study train`: train one variant with one seed, on all GPUs of the job, and keep the model."""
    parser = argparse.ArgumentParser(prog="python -m study train", description=main.__doc__.partition(": ")[2])
    parser.add_argument("preset")
    parser.add_argument("variant")
    parser.add_argument("seed", type=int)
    options = parser.parse_args(arguments)
    command = launch_command(options.preset, options.variant, options.seed, only_training=True)
    os.execvp(command[0], command)
