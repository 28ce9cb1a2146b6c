"""The tables and sentences about training size and model size."""

import pandas as pd

from ..figures.scale import rate_text
from ..method_styles import METHODS
from ..style import MISSING
from .write import gain, gain_interval


def curve_table(points: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """A row per learning rate and number of pairs: mean score of every method, differences with every seed's value.

    Args:
        points: As `analysis.scale.curve` returns it.
        differences: As `analysis.scale.curve_differences` returns it.
    """
    scores = points.groupby(["learning_rate", "pairs", "method"], sort=False).score.mean()
    methods, names = list(dict.fromkeys(points.method)), list(dict.fromkeys(differences.contrast))
    rows = []
    for rate, pairs in sorted(set(zip(points.learning_rate, points.pairs, strict=True))):
        row = {"Learning rate": rate_text(rate), "pairs": f"{pairs:,}"}
        for method in methods:
            mean = scores.get((rate, pairs, method))
            row[METHODS[method].label] = MISSING if mean is None else f"{mean:.1f}"
        here = differences[(differences.learning_rate == rate) & (differences.pairs == pairs)].sort_values("seed")
        for name in names:
            row[name] = _with_seeds(here.difference[here.contrast == name])
        rows.append(row)
    return pd.DataFrame(rows)


def _with_seeds(values: pd.Series) -> str:
    """A mean and the values that it is of.

    >>> _with_seeds(pd.Series([1.0, 2.0])), _with_seeds(pd.Series([], dtype=float))
    ('+1.5 (+1.0; +2.0)', '–')
    """
    return MISSING if values.empty else f"{gain(values.mean(), 1)} ({'; '.join(gain(value, 1) for value in values)})"


def curve_sentence(differences: pd.DataFrame) -> str:
    """How each difference changes from the fewest to the most pairs, per learning rate with at least two sizes."""
    sentences = []
    means = differences.groupby(["contrast", "learning_rate", "pairs"], sort=False).difference.mean().reset_index()
    for (name, rate), line in means.groupby(["contrast", "learning_rate"]):
        line = line.sort_values("pairs")
        if len(line) > 1:
            first, last = line.iloc[0], line.iloc[-1]
            sentences.append(
                f"{name} at a learning rate of {rate_text(rate)} is {gain(first.difference, 1)} points after "
                f"{first.pairs:,.0f} pairs and {gain(last.difference, 1)} after {last.pairs:,.0f}."
            )
    return " ".join(sentences)


def blocks_sentence(rows: pd.DataFrame) -> str:
    """Each difference over all datasets per number of blocks, a sentence per difference."""
    everything = rows[rows.group == "all"]
    sentences = []
    for name, line in everything.groupby("contrast", sort=False):
        values = [f"{gain(r.gain, 1)} points with {r.blocks} blocks" for r in line.itertuples()]
        sentences.append(f"{name} over all datasets is {', '.join(values)}.")
    return " ".join(sentences)


def growth_sentence(growth: pd.DataFrame, contrast: str) -> str:
    """Whether a difference of methods grows with the number of blocks, over all datasets, by its interval.

    Args:
        growth: As `analysis.scale.growth_with_blocks` returns it: the largest size less a smaller one.
        contrast: The difference of methods.
    """
    rows = growth[(growth.group == "all") & growth.contrast.str.startswith(f"{contrast}, ")]
    grows, falls = bool((rows.low > 0).all()), bool((rows.high < 0).all())
    lead = "**Yes.**" if grows else "**No.**" if falls else "**Not settled here.**"
    verb = "grows" if grows else "falls" if falls else "neither grows nor falls measurably"
    steps = "; ".join(
        f"{r.contrast.removeprefix(f'{contrast}, ')}: {gain_interval(r.gain, r.low, r.high, 1)} points"
        for r in rows.itertuples()
    )
    return f"{lead} {contrast} {verb} with the number of blocks ({steps})."
