"""Task experts for your own encoder: MoTE (text) and MoE-LoRA with expert-aware negatives (TSEmbed, text and images).

The names below are imported when they are first used, so `import tsembed` loads no torch. Everything else is in the
modules of the parts: `mote`, `moe_lora`, `contrastive`, `data`, `encoder`, `training`, `evaluation`, `export` and
`fitting`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contrastive.eans import negative_weights
    from .contrastive.losses import info_nce
    from .encoder.build import load
    from .encoder.text import Encoder
    from .export.hub import push_to_hub
    from .fitting.fit import fit
    from .fitting.mining import mine
    from .moe_lora.config import MoeLoraConfig
    from .mote.average import average_experts
    from .mote.experts import TaskRouted, upcycle
    from .training.sampler import TaskSampler

__version__ = "0.2.0"

__all__ = [
    "Encoder",
    "MoeLoraConfig",
    "TaskRouted",
    "TaskSampler",
    "average_experts",
    "fit",
    "info_nce",
    "load",
    "mine",
    "negative_weights",
    "push_to_hub",
    "upcycle",
]

_MODULE_OF_NAME = {
    "Encoder": "encoder.text",
    "MoeLoraConfig": "moe_lora",  # the package, not its module: importing it makes PEFT know the method
    "TaskRouted": "mote.experts",
    "TaskSampler": "training.sampler",
    "average_experts": "mote.average",
    "fit": "fitting.fit",
    "info_nce": "contrastive.losses",
    "load": "encoder.build",
    "mine": "fitting.mining",
    "negative_weights": "contrastive.eans",
    "push_to_hub": "export.hub",
    "upcycle": "mote.experts",
}
_EXTRA_OF_PACKAGE = {
    "peft": "peft",
    "accelerate": "train",
    "datasets": "train",
    "pyarrow": "train",
    "yaml": "train",
    "sentence_transformers": "export",
    "PIL": "images",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'tsembed' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f".{_MODULE_OF_NAME[name]}", __name__), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _EXTRA_OF_PACKAGE:
            raise
        remedy = f"pip install 'tsembed[{_EXTRA_OF_PACKAGE[package]}]'"
        raise ModuleNotFoundError(f"tsembed.{name} needs {package}: {remedy}", name=package) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
