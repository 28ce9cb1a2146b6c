"""How long an input may be: what the backbone's positions and its tokenizer allow."""

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .backbones import BackboneModel

UNKNOWN = 10**9  # transformers writes 1e30 where a tokenizer's limit is unknown
DEFAULT = 512  # tokens, where neither tokenizer nor model says a limit


def longest_input(tokenizer: "PreTrainedTokenizerBase", config: Any) -> int:
    """Tokens of the longest input, special tokens included.

    Args:
        tokenizer: Its `model_max_length` is a limit.
        config: The text model's; its positions are the other one, learned or not.
    """
    limits = [tokenizer.model_max_length]
    if positions := getattr(config, "max_position_embeddings", None):
        limits.append(positions - first_position(config))
    return min([limit for limit in limits if limit < UNKNOWN], default=DEFAULT)


def learned_positions(backbone: "BackboneModel") -> int | None:
    """How many tokens have a learned position; None where positions are computed."""
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - first_position(backbone.config.get_text_config())
    return None


def first_position(config: Any) -> int:
    """Index of a text's first position: RoBERTa and its kin count from behind the padding's index."""
    if config.model_type in ("roberta", "xlm-roberta"):
        return config.pad_token_id + 1
    return 2 if config.model_type == "mpnet" else 0  # MPNet's padding index is 1 whatever its config says
