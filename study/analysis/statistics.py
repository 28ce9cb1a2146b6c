"""Tests over datasets and the bootstrap: the paper's one-sided Welch test, and what the design calls for beside it.

The design is paired: every variant is scored on the same datasets after training on the same batches. So the
difference of two variants is taken per dataset and seed, and the p-values of a table's rows are corrected by Holm. The
intervals that verdicts rest on are in `random_effects.py`; the bootstrap stands beside them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

ROUNDING = 1e-9  # values that differ by less are equal


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def welch_less(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> float:
    """p-value of Welch's one-sided t-test, H_A: mean(a) < mean(b) (MoTE §5.2, Expression 1).

    nan for a sample of one, and for two without spread, which say nothing of it.
    """
    from scipy.stats import ttest_ind_from_stats

    if min(len(a), len(b)) < 2 or (_all_equal(a) and _all_equal(b)):
        return float("nan")
    samples = [value for x in (a, b) for value in (np.mean(x), np.std(x, ddof=1), len(x))]
    return float(ttest_ind_from_stats(*samples, equal_var=False, alternative="less").pvalue)


def paired_t(differences: Float[np.ndarray, " n"], alternative: str = "two-sided") -> float:
    """p-value of the t-test that paired differences have mean 0; nan for fewer than two, or if all are equal.

    Args:
        differences: One per dataset, of two methods.
        alternative: "two-sided", "less" or "greater", of the mean difference.
    """
    from scipy.stats import ttest_1samp

    if len(differences) < 2 or _all_equal(differences):
        return float("nan")
    return float(ttest_1samp(differences, 0.0, alternative=alternative).pvalue)


def wilcoxon(differences: Float[np.ndarray, " n"], alternative: str = "two-sided") -> float:
    """p-value of Wilcoxon's signed-rank test of paired differences; nan for fewer than two, or if all are equal."""
    from scipy.stats import wilcoxon as test

    if len(differences) < 2 or _all_equal(differences):
        return float("nan")
    return float(test(differences, alternative=alternative).pvalue)


def holm(p_values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Holm's adjusted p-values of one family; nan stays nan and is not counted.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def effect_size(differences: Float[np.ndarray, " n"]) -> float:
    """Cohen's d_z of paired differences: mean / standard deviation; nan for fewer than two, or if all are equal.

    >>> effect_size(np.array([1.0, 2.0, 3.0]))
    2.0
    """
    if len(differences) < 2 or _all_equal(differences):
        return float("nan")
    return float(np.mean(differences) / np.std(differences, ddof=1))


def _all_equal(values: Float[np.ndarray, " n"]) -> bool:
    """Whether values differ by no more than rounding: they have no spread to divide by."""
    return bool(np.ptp(values) <= ROUNDING)


def bootstrap(
    values: Float[np.ndarray, "seeds datasets"], *, rng: np.random.Generator, resamples: int = 10_000
) -> Interval:
    """Mean over seeds and datasets with the 95 % percentile interval of a hierarchical bootstrap.

    Every resample draws seeds with replacement and datasets with replacement, the same datasets for all seeds,
    because the datasets are crossed with the seeds. With one seed only the datasets are drawn, and the interval does
    not hold the variation over seeds; with few datasets it is too narrow. Variation that belongs neither to seeds nor
    to datasets alone is counted up to three times, so the interval errs on the wide side where that dominates (Owen
    2007, The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 386-411).

    Args:
        values: A score, or a paired difference, per seed and dataset.
        rng: Of the resamples; a new Generator with a fixed seed gives the same interval again.
        resamples: How many; the interval's ends are quantiles of so many means.
    """
    values = np.asarray(values, dtype=float)
    seeds, datasets = values.shape
    seed_counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)  # (resamples, seeds)
    dataset_counts = rng.multinomial(datasets, np.full(datasets, 1 / datasets), size=resamples)
    means = np.einsum("rs,sd,rd->r", seed_counts, values, dataset_counts, optimize=True) / (seeds * datasets)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def intervals(rows: pd.DataFrame, value: str, by: Sequence[str], over: Sequence[str] = ()) -> pd.DataFrame:
    """Mean of a column and its 95 % hierarchical bootstrap interval over seeds, and over `over` crossed with them.

    Args:
        rows: Columns seed, `value`, and those of `by` and `over`.
        value: Name of the column.
        by: One row of the result each, in the order of appearance.
        over: What is drawn with replacement beside the seeds, as text or batch. With none, seeds alone are drawn,
            and one seed has an interval of width 0.

    Returns:
        Columns of `by`, then mean, low, high, seeds.
    """
    interval_rows = []
    for key, group in rows.groupby(list(by), sort=False):
        table = group.assign(all="").pivot_table(index="seed", columns=[*over, "all"], values=value).to_numpy()
        interval = bootstrap(table, rng=np.random.default_rng(0))
        interval_rows.append(dict(zip(by, key, strict=True)) | interval._asdict() | {"seeds": len(table)})
    return pd.DataFrame(interval_rows)
