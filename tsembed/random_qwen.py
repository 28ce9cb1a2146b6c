"""A small Qwen2-VL with random weights and a tokenizer of the training texts, to be pre-trained on captions.

It is transformers' own class in small, so whatever runs on it runs on Qwen2-VL-2B too. Sizes are ours.
"""

from collections.abc import Iterable

import torch

from .config import Backbone
from .images import IMAGE_FAMILIES, image_processor

SPECIAL = ("<|pad|>", "<|unknown|>", "<|endoftext|>", *IMAGE_FAMILIES["qwen2_vl"].tokens)


def random_parts(backbone: Backbone, texts: Iterable[str], seed: int):
    """Model, tokenizer and image processor.

    Args:
        backbone: `name` "random:qwen2-vl", `num_layers` of the language model, `patch_size`, `max_pixels`.
        texts: What the tokenizer is trained on.
        seed: Of the weights.

    Raises:
        ValueError: If the name is another one, or there is no text.
    """
    from transformers import Qwen2VLConfig, Qwen2VLModel

    from .backbones import Parts

    if backbone.name != "random:qwen2-vl":
        raise ValueError(f"backbone {backbone.name!r}: the only random backbone is random:qwen2-vl")
    tokenizer = train_tokenizer(texts)
    image, start, end = (tokenizer.convert_tokens_to_ids(SPECIAL[i]) for i in (4, 3, 5))
    dim, heads = 192, 6
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": dim, "intermediate_size": 512,
            "num_hidden_layers": backbone.num_layers or 4, "num_attention_heads": heads, "num_key_value_heads": 2,
            "max_position_embeddings": 1024, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        },
        vision_config={
            "depth": 2, "embed_dim": 128, "hidden_size": dim, "num_heads": 4, "mlp_ratio": 2,
            "patch_size": backbone.patch_size,
        },
        image_token_id=image, video_token_id=len(tokenizer), vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2VLModel(config)
    unit = (2 * backbone.patch_size) ** 2  # pixels per token
    processor = image_processor(
        "qwen2_vl", patch_size=backbone.patch_size, min_pixels=backbone.min_pixels or unit,
        max_pixels=backbone.max_pixels or 64 * unit,
    )  # fmt: skip
    return Parts(model.eval(), tokenizer, processor)


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
        vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    pad, unknown, end = SPECIAL[:3]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token=unknown, eos_token=end,
        additional_special_tokens=list(SPECIAL[3:]), padding_side="right",
    )  # fmt: skip
