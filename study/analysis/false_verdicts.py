"""How often the rule of `claims.py` gives a verdict where the true difference is zero: a simulation per design in use.

    python -m study.analysis.false_verdicts

A design is a number of seeds and of datasets; where the variance lies decides too, so every rate is the highest over
shares of variance that cover those of committed runs (`SHARES`), or that of the shares that are given.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from .random_effects import SCOPES, Scope

LIMIT = 0.06  # a design with more false verdicts gets none
SHARES = tuple(product((1.0,), (0.0, 0.05, 0.2, 0.5, 1.0, 4.0), (0.0, 0.5, 2.0, 10.0)))


class Shares(NamedTuple):
    """Variances of the two-way layout: of seeds, of datasets, and what both leave over."""

    seeds: float
    datasets: float
    residual: float


def shares_of(values: Float[np.ndarray, "seeds datasets"]) -> Shares:
    """Variance components of a matrix by the method of moments, none below zero."""
    from .random_effects import mean_squares

    seeds, datasets = values.shape
    squares = mean_squares(values)
    of_seeds, of_datasets = squares.seeds - squares.residual, squares.datasets - squares.residual
    return Shares(max(0.0, of_seeds / datasets), max(0.0, of_datasets / seeds), squares.residual)


def rate(
    seeds: int,
    datasets: int,
    shares: Sequence[float],
    scope: Scope,
    *,
    runs: int = 20_000,
    generator: np.random.Generator | None = None,
) -> float:
    """Share of simulated studies whose 95 % interval excludes the true difference.

    *Beyond*: the truth is the mean over all datasets that there could be. *These*: the mean over the drawn datasets, each
    with its own true difference; the residual is the seed's part of it.

    Args:
        seeds: 2 or more.
        datasets: 2 or more.
        shares: Variances of seeds, datasets and residual.
        scope: Which interval.
        runs: Simulated studies.
        generator: Of the draws; a fixed one by default.
    """
    from scipy.stats import t

    rng = generator or np.random.default_rng(0)
    of_seed = rng.normal(size=(runs, seeds, 1)) * np.sqrt(shares[0])
    of_dataset = rng.normal(size=(runs, 1, datasets)) * np.sqrt(shares[1])
    values = of_seed + of_dataset + rng.normal(size=(runs, seeds, datasets)) * np.sqrt(shares[2])
    truth = of_dataset.mean(axis=(1, 2)) if scope == "these" else np.zeros(runs)
    mean = values.mean(axis=(1, 2))
    rows, columns = values.mean(axis=2) - mean[:, None], values.mean(axis=1) - mean[:, None]
    residual = values - mean[:, None, None] - rows[:, :, None] - columns[:, None, :]
    ms_seeds = datasets * (rows**2).sum(axis=1) / (seeds - 1)
    ms_datasets = seeds * (columns**2).sum(axis=1) / (datasets - 1)
    ms_residual = (residual**2).sum(axis=(1, 2)) / ((seeds - 1) * (datasets - 1))
    # The same as `random_effects.effect`, for all studies at once; a test holds the two together.
    of_seeds, of_datasets = t.ppf(0.975, seeds - 1), t.ppf(0.975, datasets - 1)
    if scope == "these":
        reach = of_seeds * np.sqrt(ms_seeds / (seeds * datasets))
    else:
        both = ms_seeds + ms_datasets
        total = np.maximum(both - ms_residual, np.maximum(ms_seeds, ms_datasets))
        weighted = (ms_seeds * of_seeds + ms_datasets * of_datasets) / both
        reach = weighted * np.sqrt(total / (seeds * datasets))
    return float((np.abs(mean - truth) > reach).mean())


def table(designs: Iterable[tuple[int, int]], *, runs: int = 20_000) -> pd.DataFrame:
    """The highest false-verdict rate of every design over `SHARES`.

    Args:
        designs: (seeds, datasets).
        runs: Simulated studies per share.

    Returns:
        Columns seeds, datasets, these, beyond (rates), judged (whether both are at most `LIMIT`).
    """
    rows = []
    for seeds, datasets in sorted(set(designs)):
        rates = {scope: max(rate(seeds, datasets, shares, scope, runs=runs) for shares in SHARES) for scope in SCOPES}
        judged = max(rates.values()) <= LIMIT
        rows.append({"seeds": seeds, "datasets": datasets, **rates, "judged": judged})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(table(product((3, 5, 10), (4, 6, 9, 13, 22, 29))).to_string(index=False))
