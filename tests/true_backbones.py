"""Small copies of the backbones that presets name: the true file names, key names, formats and configs, random weights.

What transformers makes of them is what it makes of the true ones: only sizes and values differ.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

WIDTH, BLOCKS = 32, 4
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]


def minilm(folder: Path) -> None:
    """sentence-transformers/all-MiniLM-L6-v2: its own files, and the keys of its own weights."""
    from safetensors.torch import load_file, save_file

    from tsembed.encoder.backbones import embedded_folder

    official = Path(embedded_folder("embedded:all-MiniLM-L6-v2"))
    shutil.copytree(official, folder, ignore=shutil.ignore_patterns("model.safetensors"), copy_function=shutil.copyfile)
    config = json.loads((official / "config.json").read_text())
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps(config | sizes))
    small = {config["hidden_size"]: WIDTH, config["intermediate_size"]: 2 * WIDTH}
    weights = {}
    for name, tensor in load_file(official / "model.safetensors").items():
        kept = tensor[tuple(slice(small.get(size, size)) for size in tensor.shape)]
        weights[name] = kept.contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def minilm_before_training(folder: Path) -> None:
    """nreimers/MiniLM-L6-H384-uncased: a BertModel of 2020, in one pickle and without sentence-transformers' files."""
    from safetensors.torch import load_file

    minilm(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "data_config.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "1_Pooling")
    torch.save(weights, folder / "pytorch_model.bin")


def nomic_bert(folder: Path) -> None:
    """nomic-ai/nomic-bert-2048: a masked language model with a prefix before its keys, and code that nobody runs."""
    from safetensors.torch import save_file

    from tsembed.encoder.backbones import embedded_folder

    folder.mkdir(parents=True)
    config = {
        "activation_function": "swiglu",
        "architectures": ["NomicBertForPreTraining"],
        "attn_pdrop": 0.0,
        "auto_map": {"AutoModel": "modeling_hf_nomic_bert.NomicBertModel"},
        "embd_pdrop": 0.0,
        "layer_norm_epsilon": 1e-12,
        "model_type": "nomic_bert",
        "n_positions": 2048,
        "resid_pdrop": 0.0,
        "rotary_emb_base": 1000,
        "torch_dtype": "float32",
        "vocab_size": 30528,
    }
    # transformers' class does not read the true file's names of sizes (n_embd, …): its defaults are those sizes.
    config |= {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": BLOCKS}
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 2}))
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (config["vocab_size"], WIDTH),
        "bert.embeddings.token_type_embeddings.weight": (2, WIDTH),
        **_norm("bert.emb_ln"),
        "cls.predictions.decoder.weight": (config["vocab_size"], WIDTH),
        "cls.predictions.transform.dense.weight": (WIDTH, WIDTH),
        **_norm("cls.predictions.transform.layer_norm"),
    }
    for block in (f"bert.encoder.layers.{i}" for i in range(BLOCKS)):
        shapes |= {f"{block}.attn.Wqkv.weight": (3 * WIDTH, WIDTH), f"{block}.attn.out_proj.weight": (WIDTH, WIDTH)}
        shapes |= {f"{block}.mlp.{name}.weight": (2 * WIDTH, WIDTH) for name in ("fc11", "fc12")}
        shapes |= {f"{block}.mlp.fc2.weight": (WIDTH, 2 * WIDTH)} | _norm(f"{block}.norm1") | _norm(f"{block}.norm2")
    weights = _drawn(shapes, torch.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    torch.save(weights, folder / "pytorch_model.bin")
    for name in ("configuration_hf_nomic_bert.py", "modeling_hf_nomic_bert.py"):
        (folder / name).write_text("raise RuntimeError('code of a checkpoint was run')\n")
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(Path(embedded_folder("embedded:all-MiniLM-L6-v2"), name), folder / name)


def qwen2_vl(folder: Path) -> None:
    """Qwen/Qwen2-VL-2B-Instruct: bf16 in two files with an index, a flat config, keys of the class of 2024."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    ids = _qwen_tokenizer(folder)
    image = {"patch_size": 14, "temporal_patch_size": 2}
    vision = {"depth": 2, "embed_dim": WIDTH, "mlp_ratio": 2, "num_heads": 2, "hidden_size": WIDTH, **image}
    config = {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": max(ids.values()) + 1,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_attention_heads": 4,
        "num_hidden_layers": BLOCKS,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]},
        "rope_theta": 1e6,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vision_config": vision | {"in_chans": 3, "spatial_merge_size": 2, "spatial_patch_size": 14},
        "vocab_size": max(ids.values()) + 2,
    }
    processor = {"min_pixels": 3136, "max_pixels": 12845056, "merge_size": 2, **image}
    processor |= {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor"}
    written = {"config": config, "preprocessor_config": processor, "generation_config": {"do_sample": True}}
    for name, content in written.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    weights = _drawn(_qwen_shapes(config["vocab_size"]), torch.bfloat16)
    index = {}
    for number, names in enumerate((list(weights)[:20], list(weights)[20:]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in names}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


# What a preset calls a backbone -> what makes a small copy of it in a folder.
MAKERS: dict[str, Callable[[Path], None]] = {
    "embedded:all-MiniLM-L6-v2": minilm,
    "nreimers/MiniLM-L6-H384-uncased": minilm_before_training,
    "nomic-ai/nomic-bert-2048": nomic_bert,
    "Qwen/Qwen2-VL-2B-Instruct": qwen2_vl,
}


def _qwen_tokenizer(folder: Path) -> dict[str, int]:
    """Write a byte-level tokenizer with Qwen2's special tokens, and return their ids."""
    from tests.tiny_images import TEXTS
    from tsembed.encoder.tiny_qwen import train_tokenizer

    tokenizer = train_tokenizer(TEXTS)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL}, replace_extra_special_tokens=False)
    tokenizer.pad_token, tokenizer.eos_token = "<|endoftext|>", "<|im_end|>"
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(folder)
    return {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}


def _qwen_shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    patch = {"visual.patch_embed.proj.weight": (WIDTH, 3, 2, 14, 14)}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, WIDTH), **patch}
    for block in (f"visual.blocks.{i}" for i in range(2)):
        shapes |= _linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH) | _linear(f"{block}.attn.proj", WIDTH, WIDTH)
        shapes |= _linear(f"{block}.mlp.fc1", 2 * WIDTH, WIDTH) | _linear(f"{block}.mlp.fc2", WIDTH, 2 * WIDTH)
        shapes |= _norm(f"{block}.norm1") | _norm(f"{block}.norm2")
    shapes |= _norm("visual.merger.ln_q") | _linear("visual.merger.mlp.0", 4 * WIDTH, 4 * WIDTH)
    shapes |= _linear("visual.merger.mlp.2", WIDTH, 4 * WIDTH)
    for block in (f"model.layers.{i}" for i in range(BLOCKS)):
        for name, out in (("q_proj", WIDTH), ("k_proj", WIDTH // 2), ("v_proj", WIDTH // 2)):
            shapes |= _linear(f"{block}.self_attn.{name}", out, WIDTH)
        shapes |= {
            f"{block}.self_attn.o_proj.weight": (WIDTH, WIDTH),
            f"{block}.mlp.down_proj.weight": (WIDTH, 2 * WIDTH),
        }
        shapes |= {f"{block}.mlp.{name}.weight": (2 * WIDTH, WIDTH) for name in ("gate_proj", "up_proj")}
        shapes |= {f"{block}.{name}.weight": (WIDTH,) for name in ("input_layernorm", "post_attention_layernorm")}
    return shapes | {"model.norm.weight": (WIDTH,)}


def _linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def _drawn(shapes: dict[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Random matrices; vectors are near 1 where they scale and near 0 where they are added."""
    generator = torch.Generator().manual_seed(0)
    drawn = {}
    for name, shape in shapes.items():
        scales = len(shape) == 1 and name.endswith("weight")
        drawn[name] = (scales + 0.05 * torch.randn(shape, generator=generator)).to(dtype)
    return drawn
