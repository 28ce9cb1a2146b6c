"""What is measured of a trained encoder by the settings of its run: scores, and probes beside them."""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsembed.settings import Variant

from ..presets import Evaluation, RunSettings
from .dealing import Share, cost, cost_of_prepared, deal

if TYPE_CHECKING:
    import pandas as pd


ARTICLES = 128  # of the similarity analysis (MoTE §5.2)


def score(
    settings: RunSettings,
    encoder,
    data: Path,
    manifest: dict,
    cache: Path,
    items_file: Path | None = None,
    share: Share | None = None,
) -> list[dict[str, Any]]:
    """Tidy scores of an encoder on the evaluation sets of a run's settings.

    Args:
        settings: Evaluation, variant and data say what is scored, and how.
        encoder: What the run has trained.
        data: Prepared data.
        manifest: The manifest of `data`.
        cache: Folder where mteb keeps the results of finished tasks, and the items of each.
        items_file: Where to write what each item gave to the scores (evaluation/items.py); those of a benchmark of
            mteb's are not written.
        share: Where several processes score: this one. All but the first score their sets and return no rows; the
            first waits for them and returns all.
    """
    if settings.variant.of_images:
        return _score_images(settings, encoder, data, manifest, items_file, share)
    evaluation, encode = settings.evaluation, _encoding(settings)
    from tsembed.evaluation.mteb_encoder import MtebEncoder, evaluate, weights_hash

    routes = settings.variant.task_of_type
    scored = evaluation.model_dump() | {"precision": encode["precision"], "task_of_type": routes}
    if settings.variant.instructions is not None:
        scored["instructions"] = settings.variant.instructions
    revision = weights_hash(encoder, json.dumps(scored))
    name = f"tsembed/{settings.preset}-{settings.variant_name}-seed{settings.seed}"
    model = MtebEncoder(encoder, name=name, revision=revision, task_of_type=routes, **encode)
    selected_tasks = [t for t in mteb_tasks(evaluation, data) if t.metadata.type in settings.variant.task_types]
    with_items = items_file is not None and evaluation.benchmark is None
    pieces = cache / "items" / revision if with_items else None
    if share is not None and share.processes > 1:
        mine = deal({t.metadata.name: cost(t, data) for t in selected_tasks}, share.processes)[share.process]
        share.done(evaluate(model, [task for task in selected_tasks if task.metadata.name in mine], cache, pieces))
        if share.process > 0:
            return []
        scores = _in_order(share.wait(), [task.metadata.name for task in selected_tasks])
    else:
        scores = evaluate(model, selected_tasks, cache, pieces)
    if pieces is None or items_file is None:
        return scores
    from tsembed.evaluation import items

    items.join([pieces / task.metadata.name / items.FILE for task in selected_tasks], items_file)
    return scores


def _score_images(
    settings: RunSettings, encoder, data: Path, manifest: dict, items_file: Path | None, share: Share | None
) -> list[dict[str, Any]]:
    """`score` where the sets are of images. An image that several sets have is embedded once by each process."""
    from tsembed.evaluation import items, precision_at_1

    few, seed = settings.evaluation.sets_per_type, settings.data.seed
    how = {"seed": seed, "sets_per_type": few} | _encoding(settings)
    if share is None or share.processes == 1:
        return precision_at_1.evaluate(encoder, data, manifest, items_file=items_file, **how)
    names = [entry["name"] for entry in precision_at_1.evaluation_sets(manifest, few)]
    mine = deal({name: cost_of_prepared(name, data) for name in names}, share.processes)[share.process]
    own_items = share.items_file(share.process)
    share.done(precision_at_1.evaluate(encoder, data, manifest, only=mine, items_file=own_items, **how))
    if share.process > 0:
        return []
    scores = _in_order(share.wait(), names)
    if items_file is not None:
        items.join([share.items_file(process) for process in range(share.processes)], items_file, order=names)
    return scores


def _in_order(scores: list[dict[str, Any]], datasets: list[str]) -> list[dict[str, Any]]:
    """Scores in the order in which one process has them."""
    return sorted(scores, key=lambda row: datasets.index(row["dataset"]))


def probe(settings: RunSettings, encoder, data: Path, manifest: dict) -> "dict[str, pd.DataFrame]":
    """What is measured of a model beside its scores: name -> table."""
    from tsembed.data.manifest import load_table, training_tasks
    from tsembed.encoder.build import build

    from ..probes import lora_experts
    from ..probes.drift import expert_drift
    from ..probes.gradients import set_gradients_conflict, task_gradients_conflict
    from ..probes.negative_weights import negative_weights_by_relation
    from ..probes.similarity import inter_task_similarity, similarity_by_layer
    from ..probes.token_experts import expert_shares

    variant, encode = settings.variant, _encoding(settings)
    articles = [d["name"] for d in manifest["datasets"] if d["format"] == "wikipedia"]
    probes = {}
    if encoder.specialised and articles:
        texts = [text for name in articles for text in load_table(data, "eval", name)["rows"]["text"]]
        drawn = random.Random(settings.data.seed).sample(texts, min(ARTICLES, len(texts)))
        _say("similarity of the routes")
        probes["similarity"] = inter_task_similarity(encoder, drawn, **encode)
        if variant.probe:
            _say("similarity by layer")
            probes["layers"] = similarity_by_layer(encoder, drawn, **encode)
        if variant.token_routing is not None:
            _say("experts of tokens")
            probes["routing"] = expert_shares(encoder, drawn, **encode)
    if variant.probe:
        trained = training_tasks(manifest, "train", variant)
        tables = {name: load_table(data, "train", name) for name in trained}
        _say("conflict of the tasks' gradients")
        probes["gradients"] = task_gradients_conflict(encoder, tables, trained, settings)
        if variant.of_images:
            _say("conflict of the sets' gradients")
            probes["set_gradients"] = set_gradients_conflict(encoder, tables, trained, settings)
        if variant.adapter is None:
            _say("drift of the weights")
            dense = build(settings.backbone, Variant(label="dense")).backbone.to(encoder.device)
            probes["drift"] = expert_drift(encoder.backbone, dense)
    if variant.probe and variant.adapter is not None and variant.adapter.kind == "moe_lora":
        part = "validation" if training_tasks(manifest, "validation", variant) else "train"
        tasks_of_part = training_tasks(manifest, part, variant)
        pairs = {name: load_table(data, part, name) for name in tasks_of_part}
        _say("use of the experts")
        tables_of_routing = lora_experts.measure(encoder, pairs, tasks_of_part, **encode)
        probes |= dict(zip(("use", "proxy", "information"), tables_of_routing, strict=True))
        _say("weights of the negatives")
        probes["weights"] = negative_weights_by_relation(encoder, tables, trained, settings)
    return probes


def _say(what: str) -> None:
    """A line about what is measured now: some of it takes longer than the scores."""
    print(f"measuring: {what}", flush=True)


def _encoding(settings: RunSettings) -> dict[str, Any]:
    """How texts and pictures are encoded in evaluation, as `Encoder.encode` takes it."""
    evaluation, precision = settings.evaluation, settings.training.precision
    return {"max_tokens": evaluation.max_tokens, "token_budget": evaluation.token_budget, "precision": precision}


def mteb_tasks(evaluation: Evaluation, data: Path) -> list:
    """The MTEB tasks of a benchmark, or of the prepared evaluation sets."""
    if evaluation.benchmark is None:
        from tsembed.evaluation.text_tasks import tasks

        all_tasks = tasks(data)
    else:
        import mteb

        all_tasks = list(mteb.get_benchmark(evaluation.benchmark).tasks)
    if unknown := set(evaluation.without) - {task.metadata.name for task in all_tasks}:
        raise ValueError(f"evaluation.without: {sorted(unknown)} are no tasks of {evaluation.benchmark or data}")
    by_type: dict[str, list] = {}
    for task in all_tasks:
        if task.metadata.name not in evaluation.without:
            by_type.setdefault(task.metadata.type, []).append(task)
    return [task for tasks in by_type.values() for task in tasks[: evaluation.sets_per_type]]
