"""On what a training ran: versions of packages and hardware, for the model card."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = ("tsembed", "torch", "transformers", "peft", "accelerate", "sentence-transformers", "mteb", "datasets")


def environment() -> dict[str, Any]:
    """Versions, processor, cores and GPUs."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # used from a checkout, or an extra that is not installed
            continue
    return {
        "versions": versions,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
