"""Tests and intervals of the study: the paper's one-sided Welch test, and what the design calls for beside it.

The design is paired: every variant is scored on the same datasets after training on the same batches. So the
difference of two variants is taken per dataset and seed, its interval comes from a hierarchical bootstrap over both,
and the p-values of a table's rows are corrected by Holm.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Verdict = Literal["reproduced", "contradicted", "inconclusive at this scale"]


ROUNDING = 1e-9  # a bound that differs from the value by less is that value


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def welch_less(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> float:
    """p-value of Welch's one-sided t-test, H_A: mean(a) < mean(b) (MoTE §5.2, Expression 1)."""
    from scipy.stats import ttest_ind

    return float(ttest_ind(a, b, equal_var=False, alternative="less").pvalue)


def paired_t(differences: Float[np.ndarray, " n"], alternative: str = "two-sided") -> float:
    """p-value of the t-test that paired differences have mean 0; nan for fewer than two.

    Args:
        alternative: "two-sided", "less" or "greater", of the mean difference.
    """
    from scipy.stats import ttest_1samp

    if len(differences) < 2:
        return float("nan")
    if np.ptp(differences) == 0:  # all equal: scipy warns and divides by zero
        return 1.0 if differences[0] == 0 else 0.0
    return float(ttest_1samp(differences, 0.0, alternative=alternative).pvalue)


def wilcoxon(differences: Float[np.ndarray, " n"], alternative: str = "two-sided") -> float:
    """p-value of Wilcoxon's signed-rank test of paired differences; 1 if all are 0, nan for fewer than two."""
    from scipy.stats import wilcoxon as test

    if len(differences) < 2:
        return float("nan")
    if not np.any(differences):
        return 1.0
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
    """Cohen's d_z of paired differences: mean / standard deviation; nan for fewer than two.

    >>> effect_size(np.array([1.0, 2.0, 3.0]))
    2.0
    """
    if len(differences) < 2:
        return float("nan")
    spread = float(np.std(differences, ddof=1))
    return float(np.mean(differences) / spread) if spread else float("nan")


def bootstrap(
    values: Float[np.ndarray, "seeds datasets"], *, rng: np.random.Generator, resamples: int = 10_000
) -> Interval:
    """Mean over seeds and datasets with the 95 % percentile interval of a hierarchical bootstrap.

    Every resample draws seeds with replacement and datasets with replacement, the same datasets for all seeds,
    because the datasets are crossed with the seeds. With one seed only the datasets are drawn, and the interval does
    not hold the variation over seeds; with few datasets it is too narrow.

    Args:
        values: A score, or a paired difference, per seed and dataset.
        rng: Of the resamples; a new Generator with a fixed seed gives the same interval again.
    """
    values = np.asarray(values, dtype=float)
    seeds, datasets = values.shape
    seed_counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)  # (resamples, seeds)
    dataset_counts = rng.multinomial(datasets, np.full(datasets, 1 / datasets), size=resamples)
    means = np.einsum("rs,sd,rd->r", seed_counts, values, dataset_counts, optimize=True) / (seeds * datasets)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def verdict(interval: Interval, claimed: Literal["greater", "less"], *, than: float = 0.0) -> Verdict:
    """Whether the interval bears out the claim that the quantity is greater (less) than a value.

    It does if the whole interval lies on the claimed side, contradicts if the whole lies on the other, and else the
    question is open at this scale.

    >>> verdict(Interval(1.0, 0.2, 2.0), "greater"), verdict(Interval(1.0, -0.2, 2.0), "less")
    ('reproduced', 'inconclusive at this scale')
    """
    if claimed not in ("greater", "less"):
        raise ValueError(f"a claim is 'greater' or 'less', not {claimed!r}")
    above, below = interval.low > than + ROUNDING, interval.high < than - ROUNDING
    if above or below:
        return "reproduced" if above == (claimed == "greater") else "contradicted"
    return "inconclusive at this scale"
