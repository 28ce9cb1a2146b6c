"""Weighted sums of several methods' scores, paired by seed and dataset, with both intervals.

A difference of two methods is one; so are a main effect of the 2 x 2 design and a difference of two differences.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsembed.tasks import SEEN_TYPES, UNSEEN_TYPES

from .gains import matrix
from .random_effects import interval_columns

if TYPE_CHECKING:
    from .items import QueryVariance

Weights = Mapping[str, float]  # method -> its factor
GROUPS: dict[str, tuple[str, ...]] = {  # over which datasets a mean is taken: all of these types, each counted once
    "seen types": SEEN_TYPES,
    "unseen types": UNSEEN_TYPES,
    "all": (*SEEN_TYPES, *UNSEEN_TYPES),
}


def difference(method: str, baseline: str) -> Weights:
    """The weights of a method minus a baseline.

    >>> difference("mote", "ic")
    {'mote': 1.0, 'ic': -1.0}
    """
    return {method: 1.0, baseline: -1.0}


def contrast(scores: pd.DataFrame, weights: Weights, types: Sequence[str]) -> Float[np.ndarray, "seeds datasets"]:
    """Weighted sum of the methods' scores over the datasets of some types, on the seeds that all of them have.

    Args:
        scores: Columns method, seed, task_type, dataset, score.
        weights: Method -> factor.
        types: Task types.

    Raises:
        ValueError: If a method lacks a dataset of another, or no seed is in all of them.
    """
    tables = {method: matrix(scores, method, types) for method in weights}
    datasets = {method: frozenset(table.columns) for method, table in tables.items()}
    if len(set(datasets.values())) > 1:
        raise ValueError(f"{', '.join(tables)} are not scored on the same datasets of {', '.join(types)}")
    seeds = reduce(pd.Index.intersection, (table.index for table in tables.values()))
    if seeds.empty:
        raise ValueError(f"no seed in common: {', '.join(tables)}")
    columns = next(iter(tables.values())).columns
    parts = [weights[method] * table.loc[seeds, columns].to_numpy() for method, table in tables.items()]
    return np.sum(parts, axis=0)


def contrast_rows(
    scores: pd.DataFrame,
    contrasts: Mapping[str, Weights],
    groups: Mapping[str, Sequence[str]] = GROUPS,
    *,
    query_variance: "QueryVariance | None" = None,
) -> pd.DataFrame:
    """Every contrast over every group of task types, as the mean of the group's datasets.

    Args:
        scores: Columns method, seed, task_type, dataset, score.
        contrasts: Name -> weights; the first method of the weights gives the row its look in figures.
        groups: Name -> task types.
        query_variance: Of the runs that the scores are of; None leaves the choice of queries out of the intervals.

    Returns:
        Rows: contrast, method (the first of its weights), group, datasets, seeds, gain, and what `interval_columns`
        gives.
    """
    rows = []
    for name, weights in contrasts.items():
        for group, types in groups.items():
            values = contrast(scores, weights, types)
            design = {"datasets": values.shape[1], "seeds": values.shape[0], "gain": float(values.mean())}
            row = {"contrast": name, "method": next(iter(weights)), "group": group}
            variance = query_variance.of(weights, scores, types) if query_variance else 0.0
            rows.append(row | design | interval_columns(values, variance))
    return pd.DataFrame(rows)


def group_means(
    scores: pd.DataFrame, methods: Sequence[str], groups: Mapping[str, Sequence[str]] = GROUPS
) -> pd.DataFrame:
    """Mean score of the datasets of every group, per method: columns method, group, datasets, seeds, score."""
    rows = contrast_rows(scores, {method: {method: 1.0} for method in methods}, groups)
    return rows.rename(columns={"gain": "score"})[["method", "group", "datasets", "seeds", "score"]]
