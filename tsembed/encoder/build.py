"""From settings or a folder to an encoder: backbone, experts or adapters, pooling, instructions."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..mote.checkpoint import check_files, local_folder, read_json
from ..mote.experts import TaskRouted, upcycle
from ..mote.offload import load_offloaded
from ..mote.token_routing import TokenRouted, route_tokens
from ..settings import Backbone, Variant
from ..strict import check
from ..tasks import INSTRUCTIONS, ROUTES
from .adapters import adapt, load_adapters
from .backbones import LoadedBackbone, check_tokenizer, from_checkpoint, model_folder, save_backbone, truncate
from .image import ImageEncoder
from .image_processing import IMAGE_FAMILIES, image_processor
from .sentence_transformers_folder import folder_settings
from .text import Encoder
from .tiny_qwen import random_parts

if TYPE_CHECKING:
    from peft import PeftModel

    from .backbones import BackboneModel


SETTINGS = {"pooling", "instructions", "routes", "base"}  # of an encoder, in its tsembed.json
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


def load_backbone(backbone: Backbone, *, texts: Iterable[str] = (), seed: int = 0) -> LoadedBackbone:
    """The backbone in fp32, with its tokenizer and, where it takes images, its image processor.

    Args:
        backbone: Name and revision, layers to keep, and bounds on the pixels of a picture.
        texts: The training texts, for the tokenizer of a random backbone.
        seed: Of random weights.

    Raises:
        ValueError: If the checkpoint lacks weights, the embedded weights are not the official ones, the folder has a
            module or a pooling that is not known here, the tokenizer is not the model's, or the hub does not give it.
    """
    from transformers import AutoTokenizer

    if backbone.name.startswith("random:"):
        return random_parts(backbone, texts, seed)
    name = backbone.name
    if not name.startswith("embedded:") and not Path(name).is_dir() and not HUB_NAME.fullmatch(name):
        raise ValueError(f"backbone {name}: no such folder, and no name of the hub (organisation/model)")
    folder = model_folder(name, backbone.revision)
    check_files(Path(folder))
    said = folder_settings(folder)  # before the weights are read: it may refuse them
    model = from_checkpoint(folder, backbone.key_mapping, backbone.dropout)
    if backbone.num_layers is not None:
        truncate(model, backbone.num_layers)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    check_tokenizer(name, model.get_input_embeddings(), tokenizer)
    if said is not None and said.max_tokens is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, said.max_tokens)
    pooling, prompts = ("mean", {}) if said is None else (said.pooling, said.prompts)
    if model.config.model_type not in IMAGE_FAMILIES:
        return LoadedBackbone(model, tokenizer, None, pooling, prompts)
    bounds = {key: getattr(backbone, key) for key in ("min_pixels", "max_pixels") if getattr(backbone, key)}
    processor = image_processor(model.config.model_type, folder, **bounds)
    return LoadedBackbone(model, tokenizer, processor, pooling, prompts)


def build(
    backbone: Backbone, variant: Variant, *, seed: int = 0, texts: Iterable[str] = (), start: Path | None = None
) -> Encoder:
    """The untrained encoder of a variant: backbone, experts or adapters where it has them, instructions where it uses
    them.

    Args:
        backbone: Not read where `start` is given, but for its name and pooling.
        variant: What is added to it: adapters, experts, instructions.
        seed: Of routers, adapters and random backbones; nothing else is drawn.
        texts: The training texts, for the tokenizer of a random backbone.
        start: A saved encoder whose weights take the place of the backbone's.

    Raises:
        ValueError: If the checkpoint lacks weights, the family has no experts, or the embedded weights are not the
            official ones.
    """
    if start is None:
        parts = load_backbone(backbone, texts=texts, seed=seed)
        base: dict[str, Any] = {"backbone": backbone.model_dump(mode="json", exclude_defaults=True)}
    else:
        loaded = load(start, "cpu")  # the training chooses the device
        processor = getattr(loaded, "image_processor", None)
        parts = LoadedBackbone(loaded.backbone, loaded.tokenizer, processor, loaded.pooling)
        base = {"folder": start}
    # In the order of the routes' indices, whatever order the settings have.
    experts = {route: variant.experts.get(route) for route in variant.routes} if variant.experts else None
    model: Any = parts.model  # what cannot be adapted or up-cycled is refused there
    if variant.adapter is not None:
        if backbone.name.startswith("random:") and start is None:
            raise ValueError(f"backbone {backbone.name!r} is random: an adapter on it needs `starts_from`")
        model = adapt(model, variant.adapter, experts, seed=seed)
    elif experts is not None:
        model = upcycle(model, {route: expert for route, expert in experts.items() if expert}, variant.blocks)
    if (routing := variant.token_routing) is not None:
        model = route_tokens(
            model, num_experts=routing.num_experts, top_k=routing.top_k, blocks=variant.blocks, seed=seed
        )
    instructions = dict(variant.instructions or INSTRUCTIONS) if variant.instruction and not variant.of_images else None
    return make(
        parts._replace(model=model),
        pooling=backbone.pooling or parts.pooling,
        instructions=instructions,
        routes=variant.routes,
        base=base if variant.adapter is not None else None,
    )


def save(encoder: Encoder, folder: str | Path) -> None:
    """Write weights (of the adapters alone, where there are some), config, tokenizer and tsembed.json, for `load`."""
    folder = Path(folder)
    save_backbone(encoder.backbone, folder)
    encoder.tokenizer.save_pretrained(folder)
    settings: dict[str, Any] = {"pooling": encoder.pooling, "instructions": encoder.instructions}
    if encoder.routes != ROUTES:
        settings["routes"] = encoder.routes
    if encoder.base is not None:
        settings["base"] = {
            key: os.path.relpath(value, folder) if key == "folder" else value for key, value in encoder.base.items()
        }
    (folder / "tsembed.json").write_text(json.dumps(settings, indent=2) + "\n")


def load(folder: str | Path, device: str | torch.device | None = None, *, offloaded: str | None = None) -> Encoder:
    """The encoder that `Encoder.save` wrote to a folder; an `ImageEncoder` where it was one.

    Args:
        folder: A folder, or "organisation/model" of the hub.
        device: Where it goes; by default to the accelerator if there is one, else to the CPU.
        offloaded: Of a MoTE encoder: read the expert of this route alone, and any other when it is used, in place
            (`mote.offload.load_offloaded`). The encoder then has the memory of a dense one.

    Raises:
        ValueError: If the folder is no saved encoder, or the backbone of its adapters is not where it was.
    """
    from transformers import AutoTokenizer

    folder = local_folder(folder)
    if not (folder / "tsembed.json").is_file():
        raise ValueError(f"{folder}: no tsembed.json, so this is no saved encoder")
    device = best_device() if device is None else torch.device(device)
    check_files(folder)
    settings = _settings(folder / "tsembed.json")
    backbone: BackboneModel
    if base := settings.get("base"):
        settings["base"] = base = {k: folder / v if k == "folder" else v for k, v in base.items()}
        backbone = _with_adapters(folder, base)
    elif offloaded is not None:
        backbone = load_offloaded(folder, offloaded, device=device)
    elif (folder / "mote.json").is_file():
        backbone = TaskRouted.from_pretrained(folder)
    elif (folder / "token_routing.json").is_file():
        backbone = TokenRouted.from_pretrained(folder)
    else:
        backbone = from_checkpoint(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    encoder = make(LoadedBackbone(backbone, tokenizer), folder, **settings)
    check_tokenizer(str(folder), encoder.word_embeddings, tokenizer)
    return encoder.to(device)


def _settings(path: Path) -> dict[str, Any]:
    """The content of a tsembed.json, as `Encoder` takes it.

    Raises:
        ValueError: If it is none, or has a setting that this version does not know.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold settings by name, not {content!r:.60}")
    if unknown := sorted(content.keys() - SETTINGS):
        raise ValueError(
            f"{path}: unknown settings {', '.join(unknown)}; a later version of tsembed may have written it"
        )
    wanted: dict[str, tuple[type, ...]] = {"instructions": (dict, type(None)), "routes": (list,), "base": (dict,)}
    for name, types in wanted.items():
        if not isinstance(content.get(name, types[0]()), types):
            raise ValueError(f"{path}: {name} must be a {types[0].__name__}, not {content[name]!r:.60}")
    return content


def best_device() -> torch.device:
    """The accelerator of this machine, or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def make(parts: LoadedBackbone, folder: Path | None = None, **settings: Any) -> Encoder:
    """The encoder of these parts, in evaluation mode: an `ImageEncoder` where the backbone takes images.

    Args:
        parts: Model, tokenizer and, where the model takes images and there is no `folder`, the image processor.
        folder: Where the image processor is read from, if it is not among the parts.
        settings: As `Encoder` takes them.
    """
    model_type = parts.model.config.model_type
    if model_type not in IMAGE_FAMILIES:
        return Encoder(parts.model, parts.tokenizer, **settings).eval()
    processor = parts.image_processor or image_processor(model_type, str(folder))
    return ImageEncoder(parts.model, parts.tokenizer, processor, **settings).eval()


def _with_adapters(folder: Path, base: Mapping[str, Any]) -> "PeftModel":
    """The frozen backbone with the adapters of a folder."""
    if "folder" in base:
        if not (base["folder"] / "tsembed.json").is_file():
            raise ValueError(f"{folder}: its backbone, {base['folder'].resolve()}, is not there")
        model = load(base["folder"], "cpu").backbone
    else:
        model = load_backbone(check(Backbone, base["backbone"], f"{folder}/tsembed.json")).model
    return load_adapters(model, folder)
