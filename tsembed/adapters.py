"""Low-rank adapters on a frozen backbone: PEFT's LoRA, or MoE-LoRA on the same layers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from .variants import Adapter

if TYPE_CHECKING:
    from peft import PeftModel


def adapt(model: nn.Module, adapter: Adapter, experts: Mapping[str, str] | None = None, *, seed: int) -> "PeftModel":
    """The model with adapters, everything else frozen. At initialisation it equals the model.

    Args:
        experts: Route -> expert, for an adapter that is routed by task.
        seed: Of the adapters' initial weights.

    Raises:
        ValueError: If a target module is unknown, or the family of the model has no default ones.
    """
    from peft import LoraConfig, get_peft_model

    from .moe_lora import MoeLoraConfig
    from .moe_lora.model import TARGET_MODULES

    targets = adapter.target_modules or TARGET_MODULES.get(model.config.model_type)
    shared = {
        "r": adapter.r, "lora_alpha": adapter.lora_alpha, "lora_dropout": adapter.lora_dropout,
        "target_modules": None if targets is None else list(targets),
    }  # fmt: skip
    if adapter.kind == "lora":
        config = LoraConfig(**shared)
    else:
        routed = {"routes": dict(experts or {})} if adapter.router == "task" else {"num_experts": adapter.num_experts}
        config = MoeLoraConfig(
            **shared, **routed, router=adapter.router, top_k=adapter.top_k, load_balancing=adapter.load_balancing,
            shared_experts=adapter.shared_experts, init_seed=seed,
        )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config)
