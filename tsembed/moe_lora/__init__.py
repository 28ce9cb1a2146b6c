"""MoE-LoRA: a mixture of LoRA experts per linear layer, as a tuner of PEFT (TSEmbed, https://arxiv.org/abs/2603.04772).

    y = W x + (lora_alpha / r) * sum_e p_e(x) B_e A_e x

Importing this package makes PEFT know it, so it must be imported before `PeftModel.from_pretrained` reads an adapter:

    from peft import get_peft_model
    from tsembed.moe_lora import MoeLoraConfig, routing_record, signatures

    model = get_peft_model(AutoModel.from_pretrained(...), MoeLoraConfig(num_experts=4, r=16))
    with routing_record() as record:
        hidden = model(input_ids=..., attention_mask=...).last_hidden_state
    signatures(record)  # (batch, layers, experts)

Number of experts, rank, form of the router and where it stands are our choice: our summaries do not give them.
"""

from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType, register_peft_method

from ..contrastive.losses import load_balancing_of
from .config import MoeLoraConfig
from .layer import MoeLoraLinear
from .merge import mean_gates, to_lora
from .model import MoeLoraModel
from .routing import LayerRouting, balance, routing_record, signatures

__all__ = [
    "LayerRouting",
    "MoeLoraConfig",
    "MoeLoraLinear",
    "MoeLoraModel",
    "balance",
    "load_balancing_of",
    "mean_gates",
    "routing_record",
    "signatures",
    "to_lora",
]

if PeftType("MOE_LORA") not in PEFT_TYPE_TO_TUNER_MAPPING:  # a second import, as after a reload, changes nothing
    register_peft_method(name="moe_lora", config_cls=MoeLoraConfig, model_cls=MoeLoraModel, prefix="moe_lora_")
