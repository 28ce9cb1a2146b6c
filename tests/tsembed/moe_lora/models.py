"""Tiny random models with a MoE-LoRA adapter, and inputs for them."""

import pytest
import torch
from peft import get_peft_model

from tests.tiny import tiny
from tsembed.moe_lora.config import MoeLoraConfig

# peft 0.21 reads a property of models that transformers 5.23 has renamed.
peft_of_old_names = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

FAMILIES = ("bert", "nomic_bert", "qwen2", "qwen3", "xlm-roberta", "mpnet", "distilbert", "modernbert")
ROUTES = {"query": "q", "document": "d", "passage": "d", "answer": "a"}  # not in alphabetical order
ROUTERS = {"token": {}, "sequence": {}, "question": {}, "task": {"routes": ROUTES}}
VOCABULARY = 99


def adapted(model_type="bert", *, base=None, task_type=None, disturbed=True, **settings):
    """A tiny model with an adapter whose experts differ and whose routers choose, in evaluation mode."""
    settings = {"num_experts": 3, "r": 2, "lora_alpha": 4, "init_seed": 0} | settings
    if settings.get("router") == "task":
        del settings["num_experts"]
    base = tiny(model_type, vocabulary=VOCABULARY) if base is None else base
    model = get_peft_model(base, MoeLoraConfig(task_type=task_type, **settings)).eval()
    return disturb(model) if disturbed else model


def disturb(model, seed=1):
    """Give every B random weights and make the routers sure of themselves."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "moe_lora_B" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator).to(weight)
        if "moe_lora_router" in name:
            weight.data = torch.randn(weight.shape, generator=generator).to(weight)
    return model


def batch(n=4, seq=7, lengths=(5, 7, 3, 6), side="right"):
    """Token ids and mask of n sequences, padded to seq; the tokens of a sequence depend on its index only."""
    ids, mask = torch.zeros(n, seq, dtype=torch.long), torch.zeros(n, seq, dtype=torch.long)
    for i, length in enumerate(lengths[:n]):
        tokens = torch.randint(5, VOCABULARY, (length,), generator=torch.Generator().manual_seed(i))
        at = slice(0, length) if side == "right" else slice(seq - length, seq)
        ids[i, at], mask[i, at] = tokens, 1
    return {"input_ids": ids, "attention_mask": mask}


def pool(hidden, mask):
    """Mean over the tokens of the mask: (batch, dim)."""
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def embed(model, inputs, **kwargs):
    """Pooled output of a model."""
    return pool(model(**inputs, **kwargs).last_hidden_state, inputs["attention_mask"])


def qwen2_vl():
    """A tiny random Qwen2-VL: two text layers, one vision block, patches of 4, merged 2 by 2."""
    from transformers import Qwen2VLConfig, Qwen2VLModel

    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4},
    }
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 4, "mlp_ratio": 2}
    config = Qwen2VLConfig(
        text_config=text, vision_config=vision, image_token_id=4, vision_start_token_id=2, vision_end_token_id=3
    )
    torch.manual_seed(0)
    return Qwen2VLModel(config).eval()


def pictures(n=2):
    """Inputs of n sequences with a picture of 4 image tokens each, the second one padded."""
    ids = torch.tensor([[2, 4, 4, 4, 4, 3, 11, 12], [2, 4, 4, 4, 4, 3, 13, 0]])[:n]
    pixels = torch.randn(n * 16, 3 * 2 * 4 * 4, generator=torch.Generator().manual_seed(0))
    return {
        "input_ids": ids,
        "attention_mask": (ids != 0).long(),
        "pixel_values": pixels,
        "image_grid_thw": torch.tensor([[1, 4, 4]] * n),
        "mm_token_type_ids": (ids == 4).int(),
    }
