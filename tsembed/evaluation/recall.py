"""Recall@1 on pairs held out of the training data: for choosing settings without looking at an evaluation set."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..encoder.text import Encoder
from ..tasks import TASKS, route_of_set
from ..training.batches import inputs_of

if TYPE_CHECKING:
    import datasets


def held_out_scores(
    encoder: Encoder, tables: "dict[str, datasets.Dataset]", tasks: dict[str, str], **encode: Any
) -> list[dict[str, Any]]:
    """One row per dataset: {task, dataset, metric, score}: queries (in %) whose own document is strictly nearest.

    The other documents of the dataset are the candidates, without those of the query's own group. Ties and
    non-finite scores count as wrong.
    """
    rows = []
    for name, table in tables.items():
        task = TASKS[tasks[name]]
        pairs = table[:]
        query_route, document_route = (
            route_of_set(encoder.routes, name, route) for route in (task.query_route, task.document_route)
        )
        queries = np.asarray(encoder.encode(inputs_of(pairs, "query"), query_route, **encode))
        documents = np.asarray(encoder.encode(inputs_of(pairs, "document"), document_route, **encode))
        score = 100 * recall_at_1(queries, documents, np.asarray(pairs["group"]))
        rows.append({"task": task.name, "dataset": name, "metric": "recall_at_1", "score": score})
    return rows


def recall_at_1(queries: np.ndarray, documents: np.ndarray, groups: np.ndarray) -> float:
    """Share of queries i whose document i is strictly nearer than every document of another group.

    Args:
        queries: (n, dim), unit norm.
        documents: (n, dim), unit norm; document i answers query i.
        groups: (n,) group of document i.

    Examples:
        >>> recall_at_1(np.ones((2, 1)), np.ones((2, 1)), np.array([0, 1]))  # a collapsed model
        0.0
    """
    scores = queries @ documents.T
    positive_scores = scores.diagonal().copy()
    scores[groups[:, None] == groups[None, :]] = -np.inf
    with np.errstate(invalid="ignore"):
        right = positive_scores > scores.max(axis=1)
    return float((right & np.isfinite(positive_scores) & ~np.isnan(scores).any(axis=1)).mean())
