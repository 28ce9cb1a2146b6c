"""How much a mean difference over datasets would vary if other queries of these datasets had been drawn.

Runs of the same datasets share their queries, so the spread over seeds does not show what the choice of queries gives.
The items of a run do (evaluation/items.py). With d_i the paired difference of item i, or another weighted sum of
methods (contrasts.py), averaged over seeds, a mean of n items varies by

    var(d_i) / n

A metric of the whole set (rank correlation, average precision, v-measure) is computed again on items drawn with
replacement, the same ones for all methods and seeds; its difference varies as it does over these draws. The mean
over D datasets varies by the sum over datasets / D^2.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from tsembed.data.manifest import load_table, read_manifest

from .. import paths
from ..presets import load_preset
from .contrasts import Weights
from .results import load_items

RESAMPLES = 200
Statistic = Callable[[np.ndarray, np.ndarray], float]  # of reference (items,) and values (items,), in 0..1; nan: none


class QueryVariance:
    """The variance that the choice of queries gives to differences between the runs of a preset.

    Args:
        preset: A name in configs/presets.
        experiments: As in `results.load_scores`.
        resamples: Draws per dataset, where the metric is no mean over items; the draws are always the same ones.
        partial: Leave out the runs that are not finished.
    """

    def __init__(self, preset: str, *experiments: str, resamples: int = RESAMPLES, partial: bool = False):
        self.preset, self.experiments, self.resamples = preset, experiments, resamples
        self._rows = {
            method: rows for method, rows in load_items(preset, *experiments, partial=partial).groupby("method")
        }
        self._of_methods: dict[tuple, OfMethod] = {}

    def of(self, weights: Weights, scores: pd.DataFrame, types: Sequence[str]) -> float:
        """Variance, in points squared, of the mean of a weighted sum of methods over the datasets of some types.

        Args:
            weights: Method -> factor.
            scores: As `results.load_scores` returns them.
            types: Task types.

        Returns:
            0.0 where a method has no items: its runs were made before they were written.
        """
        if not self.known(*weights):
            return 0.0
        chosen = scores[scores.method.isin(list(weights)) & scores.task_type.isin(types)]
        methods = chosen.groupby("seed").method.nunique()
        return self(weights, list(methods.index[methods == len(weights)]), list(chosen.dataset.unique()))

    def known(self, *methods: str) -> bool:
        """Whether the runs of all these methods have items; those of before they were written have none."""
        return all(method in self._rows for method in methods)

    def __call__(self, weights: Weights, seeds: Sequence[int], datasets: Sequence[str]) -> float:
        """Variance, in points squared, of a weighted sum of methods averaged over seeds and datasets.

        Args:
            weights: Method -> factor; methods as in `results.load_scores`.
            seeds: Of all methods.
            datasets: That all methods are scored on.

        Raises:
            ValueError: If a run has no items of a dataset, as those of before they were written (names the first), or
                two methods have other items of one.
        """
        variances = [self._of_dataset(weights, tuple(seeds), dataset) for dataset in datasets]
        return 100.0**2 * sum(variances) / len(datasets) ** 2

    def _of_dataset(self, weights: Weights, seeds: tuple[int, ...], dataset: str) -> float:
        found = {method: self._of_method(method, seeds, dataset) for method in weights}
        if all(each.is_mean for each in found.values()):
            series = [weights[method] * pd.Series(each.values, each.items) for method, each in found.items()]
            return mean_variance(pd.concat(series, axis=1, join="inner").sum(axis=1).to_numpy())
        first, *others = found
        for other in others:
            if not found[other].items.equals(found[first].items):
                raise ValueError(f"{dataset}: {other} has other items than {first}, so their draws are not the same")
        total = np.sum([weights[method] * each.values for method, each in found.items()], axis=0)
        return float(np.nanvar(total, ddof=1))

    def _of_method(self, method: str, seeds: tuple[int, ...], dataset: str) -> "OfMethod":
        key = (method, seeds, dataset)
        if key not in self._of_methods:
            rows = self._rows.get(method)
            values = _matrix(rows, method, seeds, dataset)
            if rows.kind[rows.dataset == dataset].iloc[0] == "score":
                self._of_methods[key] = OfMethod(values.columns, True, values.to_numpy().mean(axis=0))
            else:
                statistic, reference = _metric(self.preset, dataset, self.experiments)
                draws = resampled(
                    statistic,
                    reference[values.columns.get_level_values("item").astype(int)],
                    values.to_numpy(),
                    splits=values.columns.get_level_values("split").to_numpy(),
                    resamples=self.resamples,
                    generator=np.random.default_rng(0),
                )
                self._of_methods[key] = OfMethod(values.columns, False, draws)
        return self._of_methods[key]


class OfMethod(NamedTuple):
    """A method on a dataset, its seeds averaged: the value of each item, or the metric of each draw of items."""

    items: pd.MultiIndex  # (split, item)
    is_mean: bool  # whether the metric is the mean of the items' values
    values: np.ndarray


def mean_variance(values: Float[np.ndarray, " items"]) -> float:
    """Variance of the mean of items: var / items.

    >>> mean_variance(np.array([0.0, 1.0, 3.0]))  # variance 7 / 3
    0.7777777777777778
    """
    return float(values.var(ddof=1) / values.size) if values.size > 1 else math.nan


def resampled(
    statistic: Statistic,
    reference: np.ndarray,
    values: Float[np.ndarray, "seeds items"],
    *,
    splits: Int[np.ndarray, " items"],
    resamples: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, " resamples"]:
    """A statistic of items drawn with replacement, averaged over seeds and splits.

    Methods that are drawn with generators of one state share their draws, so that their differences are paired.

    Args:
        statistic: Of the drawn reference and values; nan where it is not defined.
        reference: What the items are compared with, (items,).
        values: Of one method.
        splits: Part of each item: draws stay within a part, and the statistic is the mean over parts.
        resamples: Number of draws.
        generator: Of the draws, which all seeds share.
    """
    parts = [np.flatnonzero(splits == part) for part in np.unique(splits)]
    found = []
    for _ in range(resamples):
        drawn = [generator.choice(part, part.size) for part in parts]
        found.append(np.mean([statistic(reference[part], of_seed[part]) for of_seed in values for part in drawn]))
    return np.array(found)


def rank_correlation(reference: np.ndarray, values: np.ndarray) -> float:
    """Spearman's; 0 where the values are constant, as in a score, and nan where the reference is.

    >>> round(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2])), 6)
    0.5
    """
    from scipy.stats import rankdata

    first, second = (rankdata(x) - (len(x) + 1) / 2 for x in (reference, values))
    if not first.any():
        return math.nan
    return float(first @ second / np.sqrt((first @ first) * (second @ second))) if second.any() else 0.0


def average_precision(reference: np.ndarray, values: np.ndarray) -> float:
    """Average precision of the values for a reference of 0 and 1; nan without a 1. Equal values are one threshold.

    scikit-learn's takes ten times as long, and this is called for every draw.
    """
    order = np.argsort(-values, kind="stable")
    ordered, right = values[order], np.cumsum(reference[order] > 0)
    if not right[-1]:
        return math.nan
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # last row of each threshold
    found = right[ends]
    return float(np.diff(found, prepend=0) @ (found / (ends + 1)) / right[-1])


def v_measure(reference: np.ndarray, values: np.ndarray) -> float:
    """V-measure of clusters (values) for labels (reference); scikit-learn's takes ten times as long."""
    _, labels = np.unique(reference, return_inverse=True)
    _, clusters = np.unique(values, return_inverse=True)
    table = np.bincount(labels * (clusters.max() + 1) + clusters) / len(labels)
    of_labels, of_clusters = (_entropy(np.bincount(each) / len(each)) for each in (labels, clusters))
    shared = of_labels + of_clusters - _entropy(table)
    if not of_labels + of_clusters:
        return 1.0
    return float(2 * shared / (of_labels + of_clusters))


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


METRIC_OF_FORMAT: dict[str, tuple[Statistic, str]] = {  # of a whole set, and the column that it compares with
    "sts": (rank_correlation, "score"),
    "pair_classification": (average_precision, "label"),
    "clustering": (v_measure, "label"),
}


def _matrix(rows: pd.DataFrame | None, method: str, seeds: Sequence[int], dataset: str) -> pd.DataFrame:
    """Values seeds x (split, item), of the items that all seeds have."""
    there = set() if rows is None else set(rows.seed[rows.dataset == dataset])
    if missing := sorted(set(seeds) - there):
        raise ValueError(f"{method} seed {missing[0]} has no items of {dataset}: made before they were written?")
    matrix = rows[rows.dataset == dataset].pivot(index="seed", columns=["split", "item"], values="value")
    return matrix.loc[list(seeds)].dropna(axis=1)


def _metric(preset: str, dataset: str, experiments: Sequence[str]) -> tuple[Statistic, np.ndarray]:
    """Metric of a whole set and what the rows of its prepared table are compared with."""
    plan = load_preset(preset)
    for name in experiments or ("",):
        if name not in plan.all_experiments:
            continue
        folder = paths.data_dir(preset, plan.experiment_with_same_data(name))
        for entry in read_manifest(folder)["datasets"]:
            if entry["part"] == "eval" and entry["name"] == dataset:
                statistic, column = METRIC_OF_FORMAT[entry["format"]]
                return statistic, np.array(load_table(folder, "eval", dataset)["rows"][column])
    raise ValueError(f"preset {preset} has no evaluation set {dataset!r}")
