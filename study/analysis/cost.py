"""What a model costs: parameters, bytes, seconds of a training step."""

import json
import struct
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from . import statistics
from .results import run_folders


def model_size(folder: Path) -> tuple[int, int]:
    """Parameters and bytes of a saved model, from the headers of its safetensors files.

    Raises:
        ValueError: If the folder has no such file.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} has no safetensors file, so its parameters cannot be counted")
    parameters = size = 0
    for path in files:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        parameters += sum(prod(entry["shape"]) for entry in tensors)
        size += sum(end - begin for begin, end in (entry["data_offsets"] for entry in tensors))
    return parameters, size


def training_seconds(folder: Path, batch_size: int) -> float | None:
    """Seconds of all training steps of a run, also of those before an interruption; None where it has no log.

    The wall time of the process that finished a run is not it: a run that is resumed at its last step takes seconds.

    Args:
        folder: Of the run, with metrics.jsonl.
        batch_size: Pairs in a step.
    """
    path, seconds, done = folder / "metrics.jsonl", 0.0, 0
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            seconds += (row["step"] + 1 - done) * batch_size / row["examples_per_s"]
        except (ValueError, KeyError):
            continue  # a line that a killed process did not end
        done = row["step"] + 1
    return round(seconds, 1) if done else None


def sizes(preset: str, methods: Sequence[str], *experiments: str) -> pd.DataFrame:
    """Parameters and bytes of what each method saved (adapters without their backbone); index method."""
    folders = {variant: folder for (variant, _), folder in run_folders(preset, *experiments).items()}
    rows = [(method, *_size_of_run(folders[method])) for method in methods]
    return pd.DataFrame(rows, columns=["method", "parameters", "bytes"]).set_index("method")


def _size_of_run(folder: Path) -> tuple[int, int]:
    """Of its model, or as it was counted when the run ended: the results of a run can outlive its model."""
    done = json.loads((folder / "done.json").read_text())
    return (done["parameters"], done["bytes"]) if "parameters" in done else model_size(folder / "model")


def load_steps(preset: str, methods: Sequence[str], *experiments: str) -> pd.DataFrame:
    """The training logs: method, seed, step, stage (1 or 2), loss, grad_norm, seconds (wall time of the step)."""
    frames = []
    for (variant, seed), folder in run_folders(preset, *experiments).items():
        if variant in methods:
            pairs = yaml.safe_load((folder / "config.yaml").read_text())["training"]["batch_size"]
            rows = pd.read_json(folder / "metrics.jsonl", lines=True)
            stage = rows.stage if "stage" in rows else 1
            rows = rows[["step", "loss", "grad_norm"]].assign(stage=stage, seconds=pairs / rows.examples_per_s)
            frames.append(rows.assign(method=variant, seed=seed))
    return pd.concat(frames, ignore_index=True)


def time_ratios(steps: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Time of a step as a ratio to a baseline's, with its 95 % hierarchical bootstrap interval over seeds and steps.

    The ratio is taken between the same steps of the same seed, which train on the same batch; the mean is geometric.

    Args:
        steps: As `load_steps` returns it.
        baseline: The method that every other is divided by; its own ratio is 1.

    Returns:
        Index method; columns mean, low, high, seeds.
    """
    table = np.log(steps.pivot(index=["seed", "step"], columns="method", values="seconds"))
    ratios = table.sub(table[baseline], axis=0).reset_index().melt(["seed", "step"], value_name="ratio").dropna()
    ratio_intervals = statistics.intervals(ratios, "ratio", ["method"], ["step"]).set_index("method")
    ratio_intervals[["mean", "low", "high"]] = np.exp(ratio_intervals[["mean", "low", "high"]])
    return ratio_intervals


def second_stage(steps: pd.DataFrame) -> pd.DataFrame:
    """First step of the second stage of each run that has one: columns method, seed, step."""
    return steps[steps.stage == 2].groupby(["method", "seed"], sort=False).step.min().reset_index()
