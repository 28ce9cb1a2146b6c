"""An encoder as the modules of sentence-transformers: Transformer (or all experts), Pooling, Normalize."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from ..encoder.backbones import save_backbone
from ..tasks import INSTRUCTIONS, ROUTES, TASKS
from .run import Run, task_of_type

# What an export with all experts carries of our code.
CODE = ("sentence_transformer.py", "experts.py", "per_expert.py", "families.py", "checkpoint.py")
_HOME = Path(__file__).parent.parent / "mote"
_PROBES = ("one", "a few words, and a comma", "a text that is longer than the others are " * 30)


class Prompts(NamedTuple):
    """Prompt per name, and the name that `encode` takes without one."""

    of: dict[str, str]
    default: str | None


def code_hashes() -> dict[str, str]:
    """The sha256 of each file of our code that an export with all experts carries, by its name."""
    return {name: hashlib.sha256((_HOME / name).read_bytes()).hexdigest() for name in CODE}


def prompts_of(encoder, route: str | None, run: Run | None) -> Prompts:
    """Prompts by name: query, document, the routes, and MTEB's types, so that mteb takes the right ones by itself.

    A dense model without a prompt name takes `classification`, as the paper does for tasks without an instruction of
    their own (MoTE §5.3); one route's model always takes its own. With all experts there is no default.

    Raises:
        ValueError: If two routes have the same instruction, so that a prompt does not tell them apart.
    """
    if not encoder.specialised:
        return Prompts({}, None)
    if route is not None:
        instruction = (encoder.instructions or {}).get(route, "")
        return Prompts(
            {name: instruction for name in (route, "query", "document")} if instruction else {},
            route if instruction else None,
        )
    texts = encoder.instructions or INSTRUCTIONS
    prompts = {"query": texts["search_query"], "document": texts["search_document"]} | {r: texts[r] for r in ROUTES}
    for mteb_type, task in task_of_type(run).items():
        if TASKS[task].query_route == TASKS[task].document_route:
            prompts[mteb_type] = texts[TASKS[task].query_route]
    routed = _routed(encoder)
    if routed and len(set(texts.values())) < len(texts):
        raise ValueError(f"two routes have the same instruction, so a prompt names no expert: {texts}")
    return Prompts(prompts, None if routed else "classification")


def write(encoder, folder: Path, prompts: Prompts, tokens: int) -> None:
    """Weights, tokenizer and the files by which sentence-transformers puts the modules together."""
    from importlib.metadata import version

    if _routed(encoder):
        save_backbone(encoder.backbone, folder)
    else:
        _save_dense(encoder.backbone, folder)
    encoder.tokenizer.save_pretrained(folder)
    first, requirements = "sentence_transformers.models.Transformer", {}
    if _routed(encoder):
        first, requirements = "sentence_transformer.TaskRoutedTransformer", {"sentence-transformers": ">=6"}
        for name in CODE:
            shutil.copyfile(_HOME / name, folder / name)
        texts = encoder.instructions or INSTRUCTIONS
        settings = {
            "prompts": {route: texts[route] for route in encoder.backbone.routes},
            "prepend": encoder.instructions is not None,
            "max_seq_length": tokens,
        }
        _dump(folder / "task_routed.json", settings)
    else:
        _dump(folder / "sentence_bert_config.json", {"max_seq_length": tokens, "do_lower_case": False})
    types = (first, "sentence_transformers.models.Pooling", "sentence_transformers.models.Normalize")
    places = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(zip(places, types, strict=True))
    ]
    _dump(folder / "modules.json", modules)
    pooling = {
        "word_embedding_dimension": encoder.backbone.config.hidden_size,
        "pooling_mode_cls_token": encoder.pooling == "cls",
        "pooling_mode_mean_tokens": encoder.pooling == "mean",
        "pooling_mode_lasttoken": encoder.pooling == "last",
        "include_prompt": True,
    }
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    _dump(folder / "1_Pooling" / "config.json", pooling)
    _dump(folder / "2_Normalize" / "config.json", {})
    packages = {"sentence_transformers": "sentence-transformers", "transformers": "transformers", "pytorch": "torch"}
    about = {
        "model_type": "SentenceTransformer",
        "__version__": {key: version(name) for key, name in packages.items()},
        "prompts": prompts.of,
        "default_prompt_name": prompts.default,
        "similarity_fn_name": "cosine",
        "requirements": requirements,
    }
    _dump(folder / "config_sentence_transformers.json", about)


def _save_dense(backbone, folder: Path) -> None:
    """Weights of a dense model, with a pooling head of zeros where its family has one.

    No loss reaches that head and `drop_pooling_head` took it out, but `AutoModel` makes one, at random and with a
    warning where the file has none. The keyword that leaves it out is no way round: the ONNX and OpenVINO backends do
    not know it.
    """
    import torch
    from transformers import AutoModel

    from ..mote.families import pooler_off

    if not pooler_off(backbone.config.model_type):
        save_backbone(backbone, folder)
        return
    with torch.device("meta"):
        head = {k: w for k, w in AutoModel.from_config(backbone.config).state_dict().items() if k.startswith("pooler.")}
    zeros = {key: torch.zeros(weight.shape, dtype=backbone.dtype) for key, weight in head.items()}
    backbone.save_pretrained(str(folder), state_dict=backbone.state_dict() | zeros, save_original_format=False)


def verify(encoder, folder: Path, route: str | None, tokens: int) -> None:
    """Read the folder back and compare a few embeddings with the model's own.

    Raises:
        RuntimeError: If they differ by more than 1e-5.
    """
    from sentence_transformers import SentenceTransformer

    if _routed(encoder):
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

        from ..mote.sentence_transformer import TaskRoutedTransformer

        first = TaskRoutedTransformer.load(str(folder))
        parts = [first, Pooling.load(str(folder), subfolder="1_Pooling"), Normalize()]
        again = SentenceTransformer(modules=parts, prompts=first.prompts, device="cpu")
    else:
        again = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    for name in [route] if route else ROUTES if encoder.specialised else ROUTES[:1]:
        embeddings = again.encode(list(_PROBES), prompt_name=name if name in again.prompts else None)
        _same(encoder.encode(_PROBES, name, max_tokens=tokens), embeddings, name)


def verify_images(encoder, folder: Path, route: str | None, tokens: int) -> None:
    """The same of a model of pictures, by `Encoder.load`.

    Raises:
        RuntimeError: If they differ by more than 1e-5.
    """
    import numpy as np

    from ..encoder.text import Encoder
    from ..inputs import Input, encode_png

    picture = encode_png(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    items = [*_PROBES, Input("", picture), Input("a <image> between words", picture)]
    again = Encoder.load(folder)
    for name in [route] if route else encoder.routes:
        expected, actual = (one.encode(items, name, max_tokens=tokens) for one in (encoder, again))
        _same(expected, actual, name)


def _same(expected, actual, route: str) -> None:
    if not abs(actual - expected).max() < 1e-5:
        raise RuntimeError(f"the exported model differs from the trained one under {route}; nothing was written")


def _routed(encoder) -> bool:
    from ..mote.experts import TaskRouted

    return isinstance(encoder.backbone, TaskRouted)


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
