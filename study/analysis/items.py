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
from functools import reduce

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from .. import paths
from ..data.manifest import load_table, read_manifest
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
    """

    def __init__(self, preset: str, *experiments: str, resamples: int = RESAMPLES):
        self.preset, self.experiments, self.resamples = preset, experiments, resamples
        self._rows = {method: rows for method, rows in load_items(preset, *experiments).groupby("method")}
        self._of_datasets: dict[tuple, float] = {}

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
            ValueError: If a run has no items of a dataset, as those of before they were written; names the first.
        """
        variances = [self._of_dataset(weights, tuple(seeds), dataset) for dataset in datasets]
        return 100.0**2 * sum(variances) / len(datasets) ** 2

    def _of_dataset(self, weights: Weights, seeds: tuple[int, ...], dataset: str) -> float:
        key = (tuple(weights.items()), seeds, dataset)
        if key not in self._of_datasets:
            self._of_datasets[key] = self._measure(weights, seeds, dataset)
        return self._of_datasets[key]

    def _measure(self, weights: Weights, seeds: tuple[int, ...], dataset: str) -> float:
        matrices = [_matrix(self._rows.get(name), name, seeds, dataset) for name in weights]
        common = reduce(pd.MultiIndex.intersection, (matrix.columns for matrix in matrices))
        if not len(common):
            raise ValueError(f"{dataset}: {', '.join(weights)} have no item in common")
        values = np.stack([matrix[common].to_numpy() for matrix in matrices])
        factors = np.array(list(weights.values()))
        rows = self._rows[next(iter(weights))]
        if rows.kind[rows.dataset == dataset].iloc[0] == "score":
            return mean_variance(np.einsum("m,msi->si", factors, values))
        statistic, reference = _metric(self.preset, dataset, self.experiments)
        return bootstrap_variance(
            statistic,
            reference[common.get_level_values("item").astype(int)],
            values,
            factors,
            splits=common.get_level_values("split").to_numpy(),
            resamples=self.resamples,
            generator=np.random.default_rng(0),
        )


def mean_variance(differences: Float[np.ndarray, "seeds items"]) -> float:
    """Variance of the mean of paired differences, seeds averaged first: var / items.

    >>> mean_variance(np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 4.0]]))  # 0, 1, 3: variance 7 / 3
    0.7777777777777778
    """
    of_items = differences.mean(axis=0)
    return float(of_items.var(ddof=1) / of_items.size) if of_items.size > 1 else math.nan


def bootstrap_variance(
    statistic: Statistic,
    reference: np.ndarray,
    values: Float[np.ndarray, "methods seeds items"],
    factors: Float[np.ndarray, " methods"],
    *,
    splits: Int[np.ndarray, " items"],
    resamples: int,
    generator: np.random.Generator,
) -> float:
    """Variance over draws of items of the weighted sum of the methods' statistics, averaged over seeds and splits.

    Args:
        statistic: Of the drawn reference and values; a draw in which it is not defined (nan) does not count.
        reference: What the items are compared with, (items,).
        values: Of every method, for the same items.
        factors: Of the sum; 1 and -1 for a difference.
        splits: Part of each item: draws stay within a part, and the statistic is the mean over parts.
        resamples: Number of draws.
        generator: Of the draws, which all methods and seeds share.
    """
    parts = [np.flatnonzero(splits == part) for part in np.unique(splits)]
    sums = []
    for _ in range(resamples):
        drawn = [generator.choice(part, part.size) for part in parts]
        of_methods = [
            np.mean([statistic(reference[part], of_seed[part]) for of_seed in of_method for part in drawn])
            for of_method in values
        ]
        sums.append(factors @ np.array(of_methods))
    return float(np.nanvar(sums, ddof=1))


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
    """Average precision of the values for a reference of 0 and 1; nan without a 1."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(reference, values)) if reference.any() else math.nan


def v_measure(reference: np.ndarray, values: np.ndarray) -> float:
    """V-measure of clusters (values) for labels (reference)."""
    from sklearn.metrics import v_measure_score

    return float(v_measure_score(reference, values))


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
