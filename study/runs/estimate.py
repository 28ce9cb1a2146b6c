"""How long a preset's runs take on a GPU, estimated: the operations of its models over a share of what a card can do.

    python -m study estimate gpu
    python -m study estimate gpu --share 0.3        (another share of the card's peak)

Nobody has run these presets on a GPU, so nothing here is measured. A token costs 2 operations per weight of the blocks
in a forward pass, and 4 in a backward pass, of which a frozen backbone needs half. Gradient checkpointing adds a
forward pass, a gradient cache another one. A frozen vision tower costs 2 per weight and patch, once. Attention scores,
adapters and routers are left out: they are under a tenth at these lengths. All texts are taken to be as long as the
preset allows (far too long for `paper`: `--pair-tokens 180` takes a mean in place of it), but those of a benchmark,
whose lengths mteb knows; all pictures as large. Downloads, the preparation of data, probes and what MTEB computes on
the CPU (its clusterings, its classifiers) are not counted, nor are the sets of a folder, which are not known before it
is read.

`python -m benchmarks.multimodal 2b` measures on a card the share that is assumed here.
"""

import argparse
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from tsembed.settings import Backbone
from tsembed.tasks import TEXT_TASKS

from ..presets import Preset, RunSettings, load_preset, resolve

PEAK = {"H100": 989e12, "A100": 312e12}  # bf16 operations per second without sparsity, as published
SHARE = 0.2  # of the peak: what plain PyTorch code often reaches at these sizes; a guess until somebody measures it
CHARACTERS = 4  # of a token of English
WORDS = 64  # tokens of text beside a picture, and of a text alone
CANDIDATES = 1000  # distinct ones of an evaluation set of MMEB: as many as each of its queries has
NOMIC, QWEN = "nomic-ai/nomic-bert-2048", "Qwen/Qwen2-VL-2B-Instruct"


class Weights(NamedTuple):
    """Weights that every token, and every patch of a picture, passes: without the table of words."""

    blocks: int
    tower: int


class Work(NamedTuple):
    """Operations of some runs."""

    experiment: str
    trained: int  # runs with a training
    runs: int
    training: float
    evaluation: float


def weights(backbone: Backbone) -> Weights:
    """The weights of a backbone, counted on its architecture without reading any.

    >>> weights(Backbone(name="nomic-ai/nomic-bert-2048", revision="0"))
    Weights(blocks=113286144, tower=0)

    Raises:
        ValueError: If the architecture is not known here.
    """
    return _weights(backbone.name, backbone.num_layers)


@cache
def _weights(name: str, num_layers: int | None) -> Weights:
    import torch
    from transformers import AutoConfig, AutoModel, NomicBertConfig, Qwen2VLConfig

    from tsembed.encoder.backbones import embedded_folder
    from tsembed.encoder.tiny_qwen import SIZES

    text, vision = SIZES["random:qwen2-vl-2b"]
    if name == NOMIC:
        config: Any = NomicBertConfig()  # its defaults are this model's sizes
    elif name == QWEN:
        config = Qwen2VLConfig(text_config=text, vision_config=vision | {"hidden_size": text["hidden_size"]})
    elif name.startswith("embedded:"):
        config = AutoConfig.from_pretrained(embedded_folder(name), trust_remote_code=False)
    else:
        raise ValueError(f"the size of backbone {name!r} is not known here; known: {NOMIC}, {QWEN}, embedded:…")
    if num_layers is not None:
        config.num_hidden_layers = num_layers
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    tower = sum(p.numel() for p in model.visual.parameters()) if hasattr(model, "visual") else 0
    table = model.get_input_embeddings().weight.numel()
    return Weights(sum(p.numel() for p in model.parameters()) - tower - table, tower)


def training_operations(settings: RunSettings, pair_tokens: float | None = None) -> float:
    """Operations of a run's training; 0 without one.

    Args:
        settings: Of the run.
        pair_tokens: Of both texts of a pair in the mean; None: as many as the settings allow. Images take no notice.
    """
    training, variant, size = settings.training, settings.variant, weights(settings.backbone)
    if not variant.trained or training.steps == 0:
        return 0.0
    backward = 2 if variant.adapter is not None else 4
    passes = 2 + backward + 2 * training.gradient_checkpointing + 2 * (training.grad_cache_chunk_size is not None)
    pairs = _steps(settings) * training.batch_size
    if variant.of_images:
        tokens = _picture_tokens(settings.backbone)
        return pairs * (passes * size.blocks * (tokens + 2 * WORDS) + 2 * size.tower * 4 * tokens)
    pairs *= len(variant.tasks) / len(TEXT_TASKS)  # a specialised model takes the steps of its task
    allowed = training.max_query_tokens + training.max_document_tokens
    return pairs * passes * size.blocks * (allowed if pair_tokens is None else min(pair_tokens, allowed))


def _steps(settings: RunSettings) -> float:
    if settings.training.steps is not None:
        return settings.training.steps
    from ..data.hub.embedding_training_data import HUB_SOURCES

    return sum(source.filtered_pairs for source in HUB_SOURCES.values()) / settings.training.batch_size


def _picture_tokens(backbone: Backbone) -> float:
    """Tokens of the largest picture; each is four patches of the tower."""
    return (backbone.max_pixels or 12_845_056) / (2 * backbone.patch_size) ** 2  # Qwen2-VL's own bound


def evaluation_operations(settings: RunSettings) -> float:
    """Operations of a run's evaluation, of a benchmark or of MMEB; sets of a folder are not known before it is read."""
    variant, size = settings.variant, weights(settings.backbone)
    if settings.evaluation.benchmark is not None and not variant.of_images:
        tokens = benchmark_tokens(settings.evaluation.benchmark, settings.evaluation.without)
        limit = settings.evaluation.max_tokens
        lengths = [pair for kind in variant.task_types for pair in tokens.get(kind, ())]
        return 2 * size.blocks * sum(texts * min(length, limit) for texts, length in lengths)
    if settings.data.source == "mmeb":
        from ..data.hub.mmeb import EVAL

        items = len(EVAL) * ((settings.data.eval_rows or 1000) + CANDIDATES)
        picture = _picture_tokens(settings.backbone)
        return items * (2 * size.blocks * (picture + WORDS) + 2 * size.tower * 4 * picture)
    return 0.0


@cache
def benchmark_tokens(benchmark: str, without: tuple[str, ...]) -> dict[str, list[tuple[float, float]]]:
    """MTEB type -> (texts, mean tokens of one) of its tasks, from the statistics that come with mteb."""
    import mteb

    found: dict[str, list[tuple[float, float]]] = {}
    for task in mteb.get_benchmark(benchmark).tasks:
        if task.metadata.name in without:
            continue
        for part in getattr(task, "tasks", [task]):  # of an aggregate, such as CQADupstack
            found.setdefault(part.metadata.type, []).extend(lengths_of(part))
    return found


def lengths_of(task: Any) -> list[tuple[float, float]]:
    """(texts, mean tokens of one) of each column of a task, or of an aggregate's parts, as mteb has counted them."""
    if hasattr(task, "tasks"):
        return [pair for part in task.tasks for pair in lengths_of(part)]
    found = []
    for split in task.eval_splits:
        statistics = (task.metadata.descriptive_stats or {}).get(split, {})
        subsets = statistics.get("hf_subset_descriptive_stats")
        for chosen in [subsets[name] for name in task.hf_subsets] if subsets else [statistics]:
            found.extend(_lengths(chosen))
    return found


def _lengths(statistics: Mapping[str, Any]) -> list[tuple[float, float]]:
    """(texts, mean tokens) of each column of texts."""
    columns = [value for value in statistics.values() if isinstance(value, dict) and value.get("total_text_length")]
    means = [(column["total_text_length"], column["average_text_length"]) for column in columns]
    return [(total / mean, mean / CHARACTERS) for total, mean in means]


def work(preset: Preset, pair_tokens: float | None = None) -> list[Work]:
    """The operations of a preset's experiments.

    Args:
        preset: All its runs.
        pair_tokens: As in `training_operations`.
    """
    rows = []
    for name in preset.all_experiments:
        settings = [resolve(preset, variant, seed) for variant, seed in preset.runs(name)]
        training = [training_operations(each, pair_tokens) for each in settings]
        evaluation = sum(map(evaluation_operations, settings))
        trained = sum(operations > 0 for operations in training)
        rows.append(Work(name or "text", trained, len(settings), sum(training), evaluation))
    return rows


def hours(operations: float, card: str, share: float = SHARE) -> float:
    """Hours of a card.

    >>> round(hours(3600 * 989e12, "H100", 0.5), 6)
    2.0
    """
    return operations / (share * PEAK[card]) / 3600


def table(rows: list[Work], share: float) -> list[str]:
    """The lines that `main` prints: a row per experiment and their sum."""
    total = Work("all", *(sum(row[i] for row in rows) for i in range(1, 5)))
    lines = [f"{'experiment':16} {'trained':>8} {'runs':>5} {'training':>12} {'evaluation':>12}  hours on one card"]
    for row in (*rows, total):
        times = ", ".join(f"{card} {hours(row.training + row.evaluation, card, share):.1f}" for card in PEAK)
        counts = f"{row.trained:8} {row.runs:5} {row.training:12.2e} {row.evaluation:12.2e}"
        lines.append(f"{row.experiment:16} {counts}  {times}")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """`python -m study estimate`: print operations and hours of a preset's experiments.

    Raises:
        SystemExit: With the reason, if the preset or the size of its backbone is not known.
    """
    parser = argparse.ArgumentParser(
        prog="python -m study estimate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("--share", type=float, default=SHARE, help=f"of the card's peak, in 0..1 (default: {SHARE})")
    parser.add_argument(
        "--pair-tokens", type=float, metavar="N", help="mean of a pair of texts, in place of the limits"
    )
    options = parser.parse_args(arguments)
    if not 0 < options.share <= 1:
        parser.error(f"--share must be in 0..1, got {options.share}")
    try:
        rows = work(load_preset(options.preset), options.pair_tokens)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print("\n".join(table(rows, options.share)))
    print(f"Operations over {options.share:.0%} of the card's peak; nothing is measured (--help says what is counted).")
