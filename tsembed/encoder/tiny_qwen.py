"""A small Qwen2-VL with random weights and a tokenizer of the training texts, to be pre-trained on captions.

It is transformers' own class in small, so whatever runs on it runs on Qwen2-VL-2B too. Sizes are ours.
"""

from collections.abc import Iterable
from typing import Any

import torch

from ..settings import Backbone
from .backbones import LoadedBackbone
from .image_processing import IMAGE_FAMILIES, image_processor

SPECIAL = ("<|pad|>", "<|unknown|>", "<|endoftext|>", *IMAGE_FAMILIES["qwen2_vl"].tokens)
# Name -> language model, vision tower: ours, to be trained from nothing; and those of Qwen2-VL-2B, to measure time and
# memory with.
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "random:qwen2-vl": (
        {
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
        },
        {"depth": 2, "embed_dim": 128, "num_heads": 4, "mlp_ratio": 2},
    ),
    "random:qwen2-vl-2b": (
        {
            "vocab_size": 151936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4},
    ),
}


def random_parts(backbone: Backbone, texts: Iterable[str], seed: int):
    """Model, tokenizer and image processor.

    Args:
        backbone: `name` in `SIZES`, `num_layers` of the language model, `patch_size`, bounds on the pixels.
        texts: What the tokenizer is trained on.
        seed: Of the weights.

    Raises:
        ValueError: If the name is another one, or there is no text.
    """
    from transformers import Qwen2VLConfig, Qwen2VLModel

    if backbone.name not in SIZES:
        raise ValueError(f"backbone {backbone.name!r}: the random backbones are {', '.join(SIZES)}")
    text, vision = SIZES[backbone.name]
    layers = {"num_hidden_layers": backbone.num_layers} if backbone.num_layers else {}
    tokenizer = train_tokenizer(texts)
    image, start, end = (tokenizer.convert_tokens_to_ids(SPECIAL[i]) for i in (4, 3, 5))
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen2VLConfig(
        text_config={"vocab_size": len(tokenizer)} | text | layers | ids,
        vision_config=vision | {"hidden_size": text["hidden_size"], "patch_size": backbone.patch_size},
        image_token_id=image,
        video_token_id=len(tokenizer),
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2VLModel(config)
    unit = (2 * backbone.patch_size) ** 2  # pixels per token
    processor = image_processor(
        "qwen2_vl",
        patch_size=backbone.patch_size,
        min_pixels=backbone.min_pixels or unit,
        max_pixels=backbone.max_pixels or 64 * unit,
    )
    return LoadedBackbone(model.eval(), tokenizer, processor)


def train_tokenizer(texts: Iterable[str], vocabulary: int = 2000):
    """A byte-level BPE tokenizer of the texts, with Qwen2-VL's special tokens for pictures.

    Raises:
        ValueError: If there is no text.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = list(texts)
    if not texts:
        raise ValueError("a random backbone needs the training texts for its tokenizer")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    pad, unknown, end = SPECIAL[:3]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unknown,
        eos_token=end,
        additional_special_tokens=list(SPECIAL[3:]),
        padding_side="right",
    )
