"""Tests and intervals of the study: the paper's one-sided Welch test, and what the design calls for beside it.

The design is paired: every variant is scored on the same datasets after training on the same batches. So the
difference of two variants is taken per dataset and seed, its interval comes from a hierarchical bootstrap over both,
and the p-values of a table's rows are corrected by Holm.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

Verdict = Literal["reproduced", "contradicted", "inconclusive at this scale"]


ROUNDING = 1e-9  # a bound that differs from the value by less is that value


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def welch_less(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> float:
    """p-value of Welch's one-sided t-test, H_A: mean(a) < mean(b) (MoTE §5.2, Expression 1).

    nan for a sample of one.
    """
    from scipy.stats import ttest_ind_from_stats

    if min(len(a), len(b)) < 2:
        return float("nan")
    if np.ptp(a) == np.ptp(b) == 0:  # no spread: scipy warns and divides by zero
        return 0.5 if a[0] == b[0] else float(a[0] > b[0])
    samples = [value for x in (a, b) for value in (np.mean(x), np.std(x, ddof=1), len(x))]
    return float(ttest_ind_from_stats(*samples, equal_var=False, alternative="less").pvalue)


def paired_t(differences: Float[np.ndarray, " n"], alternative: str = "two-sided") -> float:
    """p-value of the t-test that paired differences have mean 0; nan for fewer than two.

    Args:
        differences: One per dataset, of two methods.
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


def bootstrap_error(values: Float[np.ndarray, "seeds datasets"]) -> float:
    """Standard deviation of `bootstrap`'s resampled means, in closed form; nan for a single value.

    With a_s and b_d the deviations of the seeds' and the datasets' means from the mean, and e_sd what both leave over:

        error^2 = sum a_s^2 / S^2 + sum b_d^2 / D^2 + sum e_sd^2 / (S D)^2
    """
    values = np.asarray(values, dtype=float)
    if values.size < 2:
        return float("nan")
    seeds, datasets = values.shape
    a = values.mean(axis=1, keepdims=True) - values.mean()
    b = values.mean(axis=0, keepdims=True) - values.mean()
    e = values - values.mean() - a - b
    squares = (a**2).sum() / seeds**2 + (b**2).sum() / datasets**2 + (e**2).sum() / (seeds * datasets) ** 2
    return float(np.sqrt(squares))


def minimal_detectable_effect(
    differences: Float[np.ndarray, "seeds datasets"], *, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Smallest true mean difference that the study's rule would see with some power; nan for a single observation.

        effect = (z_{1 - alpha/2} + z_power) * bootstrap_error(differences)

    The rule is that the (1 - alpha) interval of `bootstrap` excludes zero. Assumed: the mean is normal about the true
    difference with the bootstrap's error, and another run would vary as this one did. Few seeds or datasets make that
    error, and so the effect, too small by about sqrt(1 - 1/n). With one seed it speaks about datasets alone.

    Args:
        differences: Paired, of two methods, per seed and dataset.
        power: Probability of seeing the effect, in (0, 1).
        alpha: Probability of seeing one that is not there, in (0, 1).

    Raises:
        ValueError: If `power` or `alpha` is outside (0, 1).
    """
    from scipy.stats import norm

    for name, value in (("power", power), ("alpha", alpha)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be in (0, 1), got {value}")
    return float((norm.ppf(1 - alpha / 2) + norm.ppf(power)) * bootstrap_error(differences))


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
