"""Low-rank adapters on a frozen backbone: PEFT's LoRA, or MoE-LoRA on the same layers."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..settings import Adapter
from .image_processing import IMAGE_FAMILIES

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from .backbones import BackboneModel


def adapt(
    model: "PreTrainedModel", adapter: Adapter, experts: Mapping[str, str | None] | None = None, *, seed: int
) -> "PeftModel":
    """The model with adapters, everything else frozen. At initialisation it equals the model.

    Args:
        model: A Hugging Face model; its layers are replaced in place.
        adapter: Kind, rank, router and the layers to adapt.
        experts: Route -> expert, for an adapter that is routed by task; None: shared experts alone.
        seed: Of the adapters' initial weights.

    Raises:
        ValueError: If a target module is unknown, or the family of the model has no default ones.
    """
    from peft import LoraConfig, get_peft_model

    from ..moe_lora.config import MoeLoraConfig
    from ..moe_lora.model import TARGET_MODULES

    targets = adapter.target_modules or TARGET_MODULES.get(model.config.model_type)
    shared: dict[str, Any] = {
        "r": adapter.r,
        "lora_alpha": adapter.lora_alpha,
        "lora_dropout": adapter.lora_dropout,
        "target_modules": None if targets is None else list(targets),
    }
    routed: dict[str, Any]
    config: LoraConfig | MoeLoraConfig
    if adapter.kind == "lora":
        config = LoraConfig(**shared, exclude_modules=_in_tower(model, targets or ()) or None)
    else:
        routed = {"routes": dict(experts or {})} if adapter.router == "task" else {"num_experts": adapter.num_experts}
        config = MoeLoraConfig(
            **shared,
            **routed,
            router=adapter.router,
            top_k=adapter.top_k,
            load_balancing=adapter.load_balancing,
            shared_experts=adapter.shared_experts,
            scale_gates=adapter.scale_gates,
            init_seed=seed,
        )
    with torch.random.fork_rng(devices=[]), quiet_peft():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def _in_tower(model: "PreTrainedModel", targets: Sequence[str]) -> list[str]:
    """Modules of the vision tower that have the name of a target: PEFT would adapt them too."""
    family = IMAGE_FAMILIES.get(model.config.model_type)
    if family is None:
        return []
    names = [f"{family.tower}.{name}" for name, _ in model.get_submodule(family.tower).named_modules()]
    return [name for name in names if name.endswith(tuple(f".{target}" for target in targets))]


def load_adapters(model: "BackboneModel", folder: Path) -> "PeftModel":
    """The model with the adapters of a folder, which can be trained on."""
    from peft import PeftModel

    from .. import moe_lora  # noqa: F401  makes PEFT know the method

    with quiet_peft():
        return PeftModel.from_pretrained(model, folder, is_trainable=True)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """PEFT 0.21 reads a property of models that transformers 5 has renamed, and each use warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
