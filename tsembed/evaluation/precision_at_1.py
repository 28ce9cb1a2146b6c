"""Precision@1 of the prepared ranking sets, as MMEB scores (Jiang et al. 2024, https://arxiv.org/abs/2410.05160)."""

import hashlib
import random
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from ..data.manifest import load_table
from ..inputs import Input
from ..tasks import TASK_OF_IMAGE_TYPE, TASKS, route_of_set
from .items import Items, write

if TYPE_CHECKING:
    import datasets

    from ..encoder.text import Encoder


TYPE_OF_TASK = {task: task_type for task_type, task in TASK_OF_IMAGE_TYPE.items()}
METRIC = "precision_at_1"


def evaluate(
    encoder: "Encoder",
    data: Path,
    manifest: dict,
    *,
    seed: int,
    sets_per_type: int | None = None,
    only: Collection[str] | None = None,
    items_file: Path | None = None,
    **encode: Any,
) -> list[dict[str, Any]]:
    """Tidy scores, one row per ranking set: {task_type, dataset, metric, score}, score in 0..100.

    Ties and non-finite scores count as wrong. Candidates stand in an order by seed, when they are encoded and when they
    are ranked, so that what a place does to a number (padding, rounding) is no advantage. Each distinct item is encoded
    once per route, over all sets.

    Args:
        encoder: Its `encode(items, route, **encode)` gives (n, dim), unit norm.
        data: Prepared data; `manifest` describes them.
        manifest: The manifest of `data`.
        seed: Of the order in which candidates stand.
        sets_per_type: As in `evaluation_sets`.
        only: Names of the sets to score, out of those; None: all.
        items_file: Where to write whether each query is right (evaluation/items.py).
        encode: As in `Encoder.encode`.
    """
    memory = Memory(encoder, encode)
    selected = [e for e in evaluation_sets(manifest, sets_per_type) if only is None or e["name"] in only]
    rows: list[dict[str, Any]] = []
    hits: dict[str, Items] = {}
    for entry in selected:
        begin = time.monotonic()
        print(f"{len(rows) + 1}/{len(selected)}  {entry['name']}  is being scored", flush=True)
        tables = load_table(data, "eval", entry["name"])
        task = TASKS[entry["task"]]
        rng = random.Random(f"{seed}/{entry['name']}")
        query_route, document_route = (
            route_of_set(encoder.routes, entry["name"], route) for route in (task.query_route, task.document_route)
        )
        queries = memory.embed(items(tables["queries"], "query", "query_image"), query_route, rng)
        documents = memory.embed(items(tables["candidates"], "text", "image"), document_route, rng)
        questions = zip(tables["queries"]["candidates"], tables["queries"]["positives"], strict=True)
        right = [
            is_first(queries[i], documents, np.array(rng.sample(candidates, len(candidates))), positives)
            for i, (candidates, positives) in enumerate(questions)
        ]
        hits[entry["name"]] = Items("score", [str(row) for row in range(len(right))], right)
        score = 100 * float(np.mean(right))
        rows.append({"task_type": TYPE_OF_TASK[task.name], "dataset": entry["name"], "metric": METRIC, "score": score})
        seconds = time.monotonic() - begin
        print(f"{len(rows)}/{len(selected)}  {entry['name']}  {METRIC} {score:.2f}  {seconds:.1f} s", flush=True)
    if items_file is not None:
        write(items_file, hits)
    return rows


def evaluation_sets(manifest: dict, sets_per_type: int | None = None) -> list[dict]:
    """The manifest's entries of ranking sets, in the order in which they are scored.

    Args:
        manifest: Of prepared data.
        sets_per_type: Only the first so many sets of each meta-task, of those seen in training and of the others.
    """
    sets: dict[tuple[str, str], list[dict]] = {}
    for entry in manifest["datasets"]:
        if entry["part"] == "eval" and entry["format"] == "ranking":
            sets.setdefault((entry["task"], entry["group"]), []).append(entry)
    return [entry for entries in sets.values() for entry in entries[:sets_per_type]]


def is_first(
    query: Float[np.ndarray, " dim"],
    documents: Float[np.ndarray, "docs dim"],
    candidates: Int[np.ndarray, " candidates"],
    positives: Sequence[int],
) -> bool:
    """Whether a right candidate is nearer to the query than every wrong one; False if any score is not finite.

    Args:
        query: Unit norm.
        documents: Unit norm, one per row.
        candidates: Rows of `documents`; `positives` are the right ones among them.
        positives: The right ones among the candidates, as rows of `documents`.

    >>> is_first(np.ones(1), np.ones((3, 1)), np.array([0, 1, 2]), [0])  # a collapsed model
    False
    """
    with np.errstate(invalid="ignore", over="ignore"):
        scores = documents[candidates] @ query
    if not np.isfinite(scores).all():
        return False
    right = np.isin(candidates, positives)
    return bool(scores[right].max() > scores[~right].max())


def items(table: "datasets.Dataset", text: str, image: str) -> list[Input]:
    """The items of two columns of a prepared table."""
    return [Input(*pair) for pair in zip(table[text], table[image], strict=True)]


class Memory:
    """Embeddings of the items that were encoded before, by route."""

    def __init__(self, encoder: "Encoder", settings: dict[str, Any]):
        self.encoder, self.settings = encoder, settings
        self._vectors: dict[tuple[str, bytes], np.ndarray] = {}

    def embed(self, inputs: Sequence[Input], route: str, rng: random.Random) -> Float[np.ndarray, "items dim"]:
        """Embeddings in the order of the items; new ones are encoded in an order drawn from `rng`."""
        keys = [(route, _digest(item)) for item in inputs]
        new = {key: item for key, item in zip(keys, inputs, strict=True) if key not in self._vectors}
        order = rng.sample(list(new), len(new))
        vectors = self.encoder.encode([new[key] for key in order], route, **self.settings) if order else ()
        self._vectors |= dict(zip(order, vectors, strict=True))
        return np.stack([self._vectors[key] for key in keys])


def _digest(item: Input) -> bytes:
    digest = hashlib.sha256(item.text.encode())
    digest.update(b"\0" + item.image if item.image is not None else b"")
    return digest.digest()
