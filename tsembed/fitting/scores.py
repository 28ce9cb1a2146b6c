"""Scores of an encoder on a user's data: the test parts by MTEB (images: precision@1), and held-out training pairs."""

import json
from pathlib import Path
from typing import Any

from ..data.manifest import load_table
from ..encoder.image import ImageEncoder
from ..encoder.text import Encoder
from ..tasks import TASKS

HELD_OUT = "held-out pairs"  # their `task_type`


def score(encoder: Encoder, data: Path, manifest: dict, cache: Path, *, max_tokens: int) -> list[dict[str, Any]]:
    """Tidy scores, one row per set: {task_type, dataset, metric, score}, score in 0..100.

    Args:
        encoder: As it is.
        data: Prepared data.
        manifest: Of the data.
        cache: Folder where finished test parts are kept, so that an interrupted call goes on.
        max_tokens: Where an input is cut.
    """
    rows = _held_out(encoder, data, manifest, max_tokens)
    test_parts = [e for e in manifest["datasets"] if e["part"] == "eval"]
    if isinstance(encoder, ImageEncoder):
        from ..evaluation import precision_at_1

        return rows + precision_at_1.evaluate(encoder, data, manifest, seed=0, max_tokens=max_tokens)
    if not any(e["format"] != "wikipedia" for e in test_parts):
        return rows
    from ..evaluation.mteb_encoder import MtebEncoder, evaluate, weights_hash
    from ..evaluation.text_tasks import tasks

    revision = weights_hash(encoder, json.dumps({"max_tokens": max_tokens}))
    model = MtebEncoder(encoder, name="tsembed/fit", revision=revision, max_tokens=max_tokens)
    return rows + evaluate(model, tasks(data), cache)


def _held_out(encoder: Encoder, data: Path, manifest: dict, max_tokens: int) -> list[dict[str, Any]]:
    from ..evaluation.recall import held_out_scores

    entries = [e for e in manifest["datasets"] if e["part"] == "validation" and e["task"] in TASKS]
    tables = {e["name"]: load_table(data, "validation", e["name"]) for e in entries}
    rows = held_out_scores(encoder, tables, {e["name"]: e["task"] for e in entries}, max_tokens=max_tokens)
    return [{"task_type": HELD_OUT, "dataset": r["dataset"], "metric": r["metric"], "score": r["score"]} for r in rows]


def table(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str:
    """Untrained and trained scores side by side, a line per set, for a terminal."""
    trained = {(row["task_type"], row["dataset"]): row["score"] for row in after}
    width = max([len(row["dataset"]) for row in before], default=0)
    lines = [f"{'set':{width}}  {'measured by':22}  untrained  trained  difference"]
    for row in before:
        new = trained[row["task_type"], row["dataset"]]
        metric = f"{row['metric']}{' (held out)' if row['task_type'] == HELD_OUT else ''}"
        lines.append(
            f"{row['dataset']:{width}}  {metric:22}  {row['score']:9.1f}  {new:7.1f}  {new - row['score']:+10.1f}"
        )
    return "\n".join(lines)
