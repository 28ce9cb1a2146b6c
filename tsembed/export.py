"""A trained run as a folder that `SentenceTransformer(folder)` loads, with a model card.

    python -m tsembed.export runs/cpu/mote/seed0 OUT --route search_query

One route, the average of the experts, or a dense model: Transformer, Pooling, Normalize, without code of ours. All
experts: the folder carries three files of tsembed/mote/, and is loaded with `trust_remote_code=True`; a text takes the
expert of its prompt. Adapters are merged into the backbone (`export_adapters.py`); a model of pictures becomes a plain
folder of transformers, which `Encoder.load` reads too.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .tasks import INSTRUCTIONS, ROUTES, TASK_OF_TYPE, TASKS

CODE = ("sentence_transformer.py", "experts.py", "checkpoint.py")  # what an export with all experts carries
DEFAULT_TOKENS = 512  # as of Encoder.encode, for a model folder: it does not say at how many tokens it was evaluated
_PROBES = ("one", "a few words, and a comma", "a text that is longer than the others are " * 30)


class Run(NamedTuple):
    """What a finished run's folder says about its model."""

    config: dict[str, Any]  # the settings, as in config.yaml
    env: dict[str, Any]
    scores: list[dict[str, Any]]
    manifest: dict[str, Any]  # of the data that it was trained on
    data: Path  # their folder


class Prompts(NamedTuple):
    """Prompt per name, and the name that `encode` takes without one."""

    of: dict[str, str]
    default: str | None


def export(source: Path, out: Path, *, route: str | None = None, average: bool = False) -> None:
    """Write the model of a run's folder, or of a folder that `Encoder.save` wrote, to `out`.

    Args:
        out: Must not exist, or be empty. It appears when all is written and its embeddings are the model's own.
        route: Export the dense model of this route.
        average: Export the dense model of the averaged experts; of learned routers, at their mean gates.

    Raises:
        ValueError: If the source is neither, or unfinished, if it has no such route or no experts, or if `out` is not
            empty.
    """
    from . import export_adapters
    from .encoder import Encoder
    from .image_encoder import ImageEncoder
    from .model_card import model_card

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not empty: nothing was written; name another folder")
    model, run = read_source(source)
    trained, measured = Encoder.load(model), None
    if export_adapters.has_adapters(trained):
        export_adapters.check(trained, source, route, average, run)
        encoder = export_adapters.merged(trained, route, run)
        if average:  # of a learned router: no longer the trained model
            trained, measured = encoder, export_adapters.scores_of(encoder, run)
    else:
        encoder = trained = choose(trained, source, route, average)
    images = isinstance(encoder, ImageEncoder)
    prompts = Prompts({}, None) if images else prompts_of(encoder, route, run)
    tokens = run.config["evaluation"]["max_tokens"] if run else _most_tokens(encoder)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if images:
            encoder.save(partial)
        else:
            write(encoder, partial, prompts, tokens)
        card = model_card(encoder, run, prompts, tokens, out.name, route, average, measured)
        (partial / "README.md").write_text(card)
        (verify_images if images else verify)(trained, partial, route, tokens)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_source(folder: Path) -> tuple[Path, Run | None]:
    """The model's folder, and what is known of its run.

    Raises:
        ValueError: If the folder is no run and no model, or if the run or its data are not complete.
    """
    import yaml

    from .data.prepared import manifest

    if (folder / "tsembed.json").is_file():
        return folder, None
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"{folder} is no run (config.yaml) and no saved encoder (tsembed.json)")
    way_on = "; a trained model can be exported without its scores from the run's folder model/"
    needed = ("done.json", "scores.json", "env.json", "model/tsembed.json")
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise ValueError(f"{folder} is a half-finished run (no {', '.join(missing)}): finish it first{way_on}")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    found = {path.parent: manifest(path.parent) for path in sorted(folder.parent.parent.glob("data*/manifest.json"))}
    data = next((place for place, listing in found.items() if listing["sha256"] == config["data_sha256"]), None)
    if data is None:
        known = ", ".join(map(str, found)) or f"{folder.parent.parent} has none"
        raise ValueError(f"the data that {folder} was trained on are not there ({known}){way_on}")
    env, scores = (json.loads((folder / name).read_text()) for name in ("env.json", "scores.json"))
    return folder / "model", Run(config, env, scores, found[data], data)


def choose(encoder, source: Path, route: str | None, average: bool):
    """The encoder to export: all experts, or a dense one.

    Raises:
        ValueError: If the model has no such route, no experts to average, or routes its tokens.
    """
    from transformers import PreTrainedModel

    from .encoder import Encoder
    from .mote.experts import TaskRouted, average_experts

    backbone = encoder.backbone
    routed = isinstance(backbone, TaskRouted)
    known = tuple(backbone.routes) if routed else ROUTES if encoder.instructions else ()
    if route is not None and average:
        raise ValueError("a route and the average of the experts exclude each other")
    if route is not None and route not in known:
        has = f"its routes: {', '.join(known)}" if known else "it has neither experts nor instructions: name no route"
        raise ValueError(f"{source} has no route {route!r}; {has}")
    if average and not routed:
        raise ValueError(f"{source} has no experts to average: export it without --average")
    if routed and route is not None:
        backbone = backbone.extract_expert(route)
    elif average:
        backbone = average_experts(backbone)
    elif not routed and not isinstance(backbone, PreTrainedModel):
        raise ValueError(f"{source}: a {type(backbone).__name__} routes single tokens; no plain model equals it")
    return Encoder(backbone, encoder.tokenizer, pooling=encoder.pooling, instructions=encoder.instructions).eval()


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
        own = (encoder.instructions or {}).get(route, "")
        return Prompts({name: own for name in (route, "query", "document")} if own else {}, route if own else None)
    texts = encoder.instructions or INSTRUCTIONS
    prompts = {"query": texts["search_query"], "document": texts["search_document"]} | {r: texts[r] for r in ROUTES}
    for mteb_type, task in task_of_type(run).items():
        if TASKS[task].query_route == TASKS[task].document_route:
            prompts[mteb_type] = texts[TASKS[task].query_route]
    routed = _routed(encoder)
    if routed and len(set(texts.values())) < len(texts):
        raise ValueError(f"two routes have the same instruction, so a prompt names no expert: {texts}")
    return Prompts(prompts, None if routed else "classification")


def task_of_type(run: Run | None) -> dict[str, str]:
    """MTEB type -> task, as the run was evaluated."""
    return TASK_OF_TYPE | (run.config["variant"].get("task_of_type") or {} if run else {})


def write(encoder, folder: Path, prompts: Prompts, tokens: int) -> None:
    """Weights, tokenizer and the files by which sentence-transformers puts the modules together."""
    from importlib.metadata import version

    from .mote.experts import pooler_off

    encoder.backbone.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    first, requirements = "sentence_transformers.models.Transformer", {}
    if _routed(encoder):
        first, requirements = "sentence_transformer.TaskRoutedTransformer", {"sentence-transformers": ">=6"}
        for name in CODE:
            shutil.copyfile(Path(__file__).parent / "mote" / name, folder / name)
        texts = encoder.instructions or INSTRUCTIONS
        settings = {
            "prompts": {route: texts[route] for route in encoder.backbone.routes},
            "prepend": encoder.instructions is not None, "max_seq_length": tokens,
        }  # fmt: skip
        _dump(folder / "task_routed.json", settings)
    else:
        head = pooler_off(encoder.backbone.config.model_type)
        settings = {"max_seq_length": tokens, "do_lower_case": False} | ({"model_args": head} if head else {})
        _dump(folder / "sentence_bert_config.json", settings)
    types = (first, "sentence_transformers.models.Pooling", "sentence_transformers.models.Normalize")
    places = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(zip(places, types, strict=True))
    ]
    _dump(folder / "modules.json", modules)
    pooling = {
        "word_embedding_dimension": encoder.backbone.config.hidden_size,
        "pooling_mode_mean_tokens": encoder.pooling == "mean", "pooling_mode_lasttoken": encoder.pooling == "last",
        "include_prompt": True,
    }  # fmt: skip
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    _dump(folder / "1_Pooling" / "config.json", pooling)
    _dump(folder / "2_Normalize" / "config.json", {})
    packages = {"sentence_transformers": "sentence-transformers", "transformers": "transformers", "pytorch": "torch"}
    about = {
        "model_type": "SentenceTransformer", "__version__": {key: version(name) for key, name in packages.items()},
        "prompts": prompts.of, "default_prompt_name": prompts.default, "similarity_fn_name": "cosine",
        "requirements": requirements,
    }  # fmt: skip
    _dump(folder / "config_sentence_transformers.json", about)


def verify(encoder, folder: Path, route: str | None, tokens: int) -> None:
    """Read the folder back and compare a few embeddings with the model's own.

    Raises:
        RuntimeError: If they differ by more than 1e-5.
    """
    from sentence_transformers import SentenceTransformer

    if _routed(encoder):
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

        from .mote.sentence_transformer import TaskRoutedTransformer

        first = TaskRoutedTransformer.load(str(folder))
        parts = [first, Pooling.load(str(folder), subfolder="1_Pooling"), Normalize()]
        again = SentenceTransformer(modules=parts, prompts=first.prompts, device="cpu")
    else:
        again = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    for name in [route] if route else ROUTES if encoder.specialised else ROUTES[:1]:
        found = again.encode(list(_PROBES), prompt_name=name if name in again.prompts else None)
        _same(encoder.encode(_PROBES, name, max_tokens=tokens), found, name)


def verify_images(encoder, folder: Path, route: str | None, tokens: int) -> None:
    """The same of a model of pictures, by `Encoder.load`.

    Raises:
        RuntimeError: If they differ by more than 1e-5.
    """
    import numpy as np

    from .data.items import Item, encode_png
    from .encoder import Encoder

    picture = encode_png(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    items = [*_PROBES, Item("", picture), Item("a <image> between words", picture)]
    again = Encoder.load(folder)
    for name in [route] if route else encoder.routes:
        _same(*(one.encode(items, name, max_tokens=tokens) for one in (encoder, again)), name)


def _same(expected, found, route: str) -> None:
    if not abs(found - expected).max() < 1e-5:
        raise RuntimeError(f"the exported model differs from the trained one under {route}; nothing was written")


def _routed(encoder) -> bool:
    from .mote.experts import TaskRouted

    return isinstance(encoder.backbone, TaskRouted)


def _most_tokens(encoder) -> int:
    config = encoder.backbone.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", DEFAULT_TOKENS)
    return min(DEFAULT_TOKENS, positions, encoder.tokenizer.model_max_length)


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _no_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tsembed.export", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run, or a folder that Encoder.save wrote")
    parser.add_argument("out", type=Path, help="the folder to write; it must not exist, or be empty")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--route", help=f"one route's dense model: {', '.join(ROUTES)}")
    which.add_argument("--average", action="store_true", help="the dense model of the averaged experts")
    options = parser.parse_args(arguments)
    _no_bars()
    try:
        export(options.run, options.out, route=options.route, average=options.average)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"{options.out}: its README.md says how to load it")


if __name__ == "__main__":
    main()
