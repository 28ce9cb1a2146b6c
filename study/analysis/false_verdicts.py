"""How often the rule of `claims.py` gives a verdict where the true difference is zero: a simulation per design in use.

    python -m study.analysis.false_verdicts

A design is a number of seeds and of datasets; where the variance lies decides too, so every rate is the highest over
shares of variance that cover those of committed runs (`SHARES`), or that of the shares that are given.

A normal two-way layout without replication has a mean and three mean squares that are independent of each other, each
mean square a chi-squared number times its expectation. So these four are drawn, and no matrix of differences.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from .random_effects import SCOPES, MeanSquares, Scope, mean_squares

LIMIT = 0.06  # a design with more false verdicts gets none
SHARES = tuple(product((1.0,), (0.0, 0.05, 0.2, 0.5, 1.0, 4.0, 16.0, 100.0), (0.0, 0.5, 2.0, 10.0, 40.0)))
RUNS = 100_000


class Shares(NamedTuple):
    """Variances of the two-way layout: of seeds, of datasets, and what both leave over."""

    seeds: float
    datasets: float
    residual: float


class Rates(NamedTuple):
    """How often a 95 % interval excludes what is true."""

    these: float  # on these datasets: the truth is the mean over them, each with its own true difference
    beyond: float  # beyond them: the truth is the mean over all datasets that there could be


def shares_of(values: Float[np.ndarray, "seeds datasets"]) -> Shares:
    """Variance components of a matrix by the method of moments, none below zero; nan for one seed or one dataset.

    >>> shares_of(np.array([[0.0, 2.0], [2.0, 4.0]]))
    Shares(seeds=2.0, datasets=2.0, residual=0.0)
    """
    seeds, datasets = values.shape
    squares = mean_squares(values)
    of_seeds, of_datasets = squares.seeds - squares.residual, squares.datasets - squares.residual
    return Shares(*np.maximum([of_seeds / datasets, of_datasets / seeds, squares.residual], 0.0).tolist())


def half_widths(squares: MeanSquares, seeds: int, datasets: int, scope: Scope) -> Float[np.ndarray, " runs"]:
    """Half the width of `random_effects.effect`'s 95 % interval, for many studies of one design at once.

    Args:
        squares: With an array of runs in place of each number.
        seeds: 2 or more.
        datasets: 2 or more.
        scope: Which interval.
    """
    from scipy.stats import t

    of_seeds, of_datasets = t.ppf(0.975, seeds - 1), t.ppf(0.975, datasets - 1)
    these = of_seeds * np.sqrt(squares.seeds / (seeds * datasets))
    if scope == "these":
        return these
    both = squares.seeds + squares.datasets
    total = np.maximum(both - squares.residual, np.maximum(squares.seeds, squares.datasets))
    weighted = (squares.seeds * of_seeds + squares.datasets * of_datasets) / both
    return np.maximum(these, weighted * np.sqrt(total / (seeds * datasets)))


def rates(seeds: int, datasets: int, shares: Sequence[float], *, runs: int = RUNS) -> Rates:
    """Share of simulated studies with a false verdict, the residual being the seed's part of a dataset's difference.

    Args:
        seeds: 2 or more.
        datasets: 2 or more.
        shares: Variances of seeds, datasets and residual, not all zero.
        runs: Simulated studies.
    """
    normal, squares = _draws(seeds, datasets, runs)
    of_seeds, of_datasets, residual = shares
    squares = MeanSquares(
        (datasets * of_seeds + residual) * squares.seeds,
        (seeds * of_datasets + residual) * squares.datasets,
        residual * squares.residual,
    )
    on_these = of_seeds / seeds + residual / (seeds * datasets)
    variances = (on_these, on_these + of_datasets / datasets)
    excluded = [
        np.abs(normal) * np.sqrt(variance) > half_widths(squares, seeds, datasets, scope)
        for scope, variance in zip(SCOPES, variances, strict=True)
    ]
    return Rates(*(float(runs_with.mean()) for runs_with in excluded))


@lru_cache(maxsize=4)
def _draws(seeds: int, datasets: int, runs: int) -> tuple[np.ndarray, MeanSquares]:
    """The standardised mean and mean squares of `runs` studies: the same for all shares, so that these compare."""
    rng = np.random.default_rng(0)
    free = (seeds - 1, datasets - 1, (seeds - 1) * (datasets - 1))
    return rng.normal(size=runs), MeanSquares(*(rng.chisquare(f, size=runs) / f for f in free))


@lru_cache(maxsize=256)
def highest_rates(seeds: int, datasets: int, *, runs: int = RUNS) -> Rates:
    """The highest `rates` of a design over `SHARES`, each by itself; nan for one seed or one dataset."""
    if min(seeds, datasets) < 2:
        return Rates(float("nan"), float("nan"))
    return Rates(*np.max([rates(seeds, datasets, shares, runs=runs) for shares in SHARES], axis=0).tolist())


def keeps_limit(seeds: int, datasets: int) -> bool:
    """Whether a design gives false verdicts in at most `LIMIT` of the studies, wherever its variance lies."""
    highest = highest_rates(seeds, datasets)
    return max(highest.these, highest.beyond) <= LIMIT


def table(designs: Iterable[tuple[int, int]], *, runs: int = RUNS) -> pd.DataFrame:
    """The highest false-verdict rates of every design over `SHARES`.

    Args:
        designs: (seeds, datasets), each 2 or more.
        runs: Simulated studies per share.

    Returns:
        Columns seeds, datasets, these, beyond (see `Rates`), within_limit.
    """
    rows = []
    for seeds, datasets in sorted(set(designs)):
        highest = highest_rates(seeds, datasets, runs=runs)
        within = max(highest.these, highest.beyond) <= LIMIT
        rows.append({"seeds": seeds, "datasets": datasets, **highest._asdict(), "within_limit": within})
    return pd.DataFrame(rows, columns=["seeds", "datasets", *Rates._fields, "within_limit"])


if __name__ == "__main__":
    print(table(product((3, 5, 10), (4, 6, 9, 13, 22, 29))).to_string(index=False))
