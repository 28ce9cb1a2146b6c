"""Whole studies in checkouts of their own, for what is run by hand: `tests.cluster` and `tests.failures`."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests import checkout

COPIED = ("configs", "notebooks", "references", "study", "tsembed", "workflow", "reports/reference")
FILES = ("run_all.sh", "requirements.lock", "pyproject.toml")


def log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def copy_checkout(root: Path) -> Path:
    """The checkout without what has run in it."""
    root.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copy(checkout.ROOT / name, root / name)
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(checkout.ROOT / name, root / name, ignore=ignored, dirs_exist_ok=True)
    return root


def copy_data(preset: str, source: Path, target: Path) -> None:
    """Give a checkout the data that another one has prepared."""
    for folder in (source / "runs" / preset).glob("data*"):
        shutil.copytree(folder, target / "runs" / preset / folder.name, dirs_exist_ok=True)


def processes(root: Path) -> dict[int, str]:
    """Command lines of living processes that work in a checkout."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"TSEMBED_ROOT={root}\0".encode() in variables and command:  # a zombie has no command
            found[int(entry.name)] = command.replace(b"\0", b" ").decode()
    return found


def results(root: Path, preset: str) -> dict[str, object]:
    """Scores and weights of every run: what must not depend on how often a study was killed."""
    found: dict[str, object] = {}
    for mark in sorted((root / "runs" / preset).glob("*/seed*/done.json")):
        run = mark.parent
        name = f"{run.parent.name}/{run.name}"
        found[f"{name} scores"] = json.loads((run / "scores.json").read_text())
        for file in sorted(run.glob("model/*.safetensors")):
            found[f"{name} {file.name}"] = load_file(file)
        for table in sorted(run.glob("*.csv")):
            found[f"{name} {table.name}"] = table.read_text()
    return found


def differences(first: dict[str, object], second: dict[str, object]) -> list[str]:
    """The names of results that are not the same, to the bit."""
    return [name for name in sorted(first.keys() | second.keys()) if not _same(first.get(name), second.get(name))]


def _same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    return one == other


def _equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one == other


def wait_until(condition: Callable[[], object], what: str, seconds: float, every: float = 0.2) -> object:
    """What the condition gives as soon as it is true.

    Raises:
        TimeoutError: If it is not after so many seconds.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"still not after {seconds:.0f} s: {what}")
        time.sleep(every)
    return found
