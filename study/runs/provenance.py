"""Where a result comes from: commit, versions, lock, hardware."""

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import paths

PACKAGES = ("torch", "transformers", "peft", "accelerate", "sentence-transformers", "mteb", "datasets", "numpy")


def environment() -> dict[str, Any]:
    """What is saved as env.json beside every result."""
    import os

    import torch

    from tsembed.encoder.precision import mixed_precision

    lock = paths.ROOT / "requirements.lock"
    return {
        **commit(),
        "requirements_lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in PACKAGES},
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "auto_precision": mixed_precision("auto"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def commit() -> dict[str, Any]:
    """The checkout's commit and whether it has changes; "unknown" and None where it is no repository of its own.

    A checkout without git that stands inside another repository has nothing to do with that one's commit.
    """
    top = _git("rev-parse", "--show-toplevel")
    head = _git("rev-parse", "HEAD") if top and Path(top).resolve() == paths.ROOT.resolve() else None
    if head is None:
        return {"commit": "unknown", "uncommitted_changes": None}
    code = ("tsembed", "study", "configs", "workflow")  # a new file counts where it would be code or settings
    states = [_git("status", "--porcelain", "--untracked-files=no"), _git("status", "--porcelain", "--", *code)]
    return {"commit": head, "uncommitted_changes": None if None in states else any(states)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(paths.ROOT), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        with open("/proc/meminfo") as lines:
            kib = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal"))
        return round(kib / 2**20, 1)
    except (OSError, StopIteration):
        return None
