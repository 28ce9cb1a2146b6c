"""The families of encoders that can have task experts: where their blocks are, and what of a block makes up an expert.

Exports carry a copy of this file beside `experts.py`.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from .checkpoint import load_weights

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class Family(NamedTuple):
    """Names of an encoder family: the list of blocks, and the modules of a block that make up an expert."""

    blocks: str
    expert: tuple[str, ...]


_BERT = Family("encoder.layer", ("attention.output.LayerNorm", "intermediate", "output"))
_QWEN = Family("layers", ("post_attention_layernorm", "mlp"))
FAMILIES: dict[str, Family] = {  # by config.model_type
    "nomic_bert": Family("layers", ("post_attention_layernorm", "mlp", "post_mlp_layernorm")),
    "bert": _BERT,
    "xlm-roberta": _BERT,
    "roberta": _BERT,
    "mpnet": Family("encoder.layer", ("attention.LayerNorm", "intermediate", "output")),
    "distilbert": Family("transformer.layer", ("sa_layer_norm", "ffn", "output_layer_norm")),
    "modernbert": Family("layers", ("mlp_norm", "mlp")),
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "qwen2_vl_text": _QWEN,
    "qwen2_vl": Family("language_model.layers", _QWEN.expert),
    "qwen2_5_vl": Family("language_model.layers", _QWEN.expert),
}


def block_indices(blocks: str | Sequence[int], depth: int) -> tuple[int, ...]:
    """Indices of the blocks that have experts.

    Args:
        blocks: "every", "every_other" (1, 3, 5, …), "last_half", "last", or indices.
        depth: Number of the model's blocks.

    Raises:
        ValueError: If an index is outside the model, or stands twice.
    """
    if blocks == "every":
        return tuple(range(depth))
    if blocks == "every_other":
        return tuple(range(1, depth, 2))
    if blocks == "last_half":
        return tuple(range(depth // 2, depth))
    if blocks == "last":
        return (depth - 1,)
    indices = () if isinstance(blocks, str) else tuple(blocks)
    wrong = [i for i in indices if isinstance(i, str) or not 0 <= i < depth]
    if wrong or not indices or len(set(indices)) < len(indices):
        raise ValueError(
            "blocks must be 'every', 'every_other', 'last_half', 'last' or different indices in "
            f"0..{depth - 1}, got {blocks!r}"
        )
    return indices


def blocks_of(model: "PreTrainedModel") -> nn.ModuleList:
    """The list of blocks of a model of one of `FAMILIES`."""
    blocks = model.get_submodule(FAMILIES[model.config.model_type].blocks)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def new_encoder(config: "PreTrainedConfig") -> "PreTrainedModel":
    """An encoder of the config with weights yet to be loaded, without the pooling head that no route uses."""
    from transformers import AutoModel

    with torch.device("cpu"):
        return AutoModel.from_config(config, **pooler_off(config.model_type))


def check_no_task_head(model: "PreTrainedModel") -> None:
    """Check that a model of one of `FAMILIES` is the encoder itself.

    Raises:
        ValueError: If it has a head of a task around the encoder, as BertForSequenceClassification; names the submodule
            to pass in its place.
    """
    blocks = FAMILIES[model.config.model_type].blocks
    paths = [name.removesuffix(f".{blocks}") for name, _ in model.named_modules() if f".{name}".endswith(f".{blocks}")]
    if blocks in paths:
        return
    inside = f"pass the encoder inside, model.{paths[0]}" if paths else f"it has no blocks at {blocks}"
    raise ValueError(f"a {type(model).__name__} is no plain encoder: {inside}")


def drop_pooling_head(model: nn.Module) -> None:
    """Take out the pooling head that BERT and its kin have: no loss reaches it, and dense models are made without."""
    if getattr(model, "pooler", None) is not None:
        model.register_module("pooler", None)


def pooler_off(model_type: str) -> dict[str, bool]:
    """Keyword that leaves out the pooling head of the families that have one: mean pooling never uses it."""
    return {"add_pooling_layer": False} if model_type in ("bert", "xlm-roberta", "roberta", "mpnet") else {}


def dense_model(
    config: "PreTrainedConfig", kind: "type[PreTrainedModel]", weights: Mapping[str, Tensor]
) -> "PreTrainedModel":
    """The dense encoder with these weights, each stored as it comes, in evaluation mode."""
    dense = kind(copy.deepcopy(config), **pooler_off(config.model_type))
    load_weights(dense, weights)
    return dense.eval()
