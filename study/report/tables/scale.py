"""The tables and sentences about training size and model size."""

import pandas as pd

from ..figures.scale import rate_text
from ..method_styles import METHODS
from ..style import MISSING
from .write import gain


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
            row[METHODS[method].label] = MISSING if mean is None else f"{mean:.2f}"
        here = differences[(differences.learning_rate == rate) & (differences.pairs == pairs)].sort_values("seed")
        for name in names:
            row[name] = _with_seeds(here.difference[here.contrast == name])
        rows.append(row)
    return pd.DataFrame(rows)


def _with_seeds(values: pd.Series) -> str:
    """A mean and the values that it is of.

    >>> _with_seeds(pd.Series([1.0, 2.0])), _with_seeds(pd.Series([], dtype=float))
    ('+1.50 (+1.00; +2.00)', '–')
    """
    return MISSING if values.empty else f"{gain(values.mean())} ({'; '.join(map(gain, values))})"


def curve_sentence(differences: pd.DataFrame) -> str:
    """How each difference changes from the fewest to the most pairs, per learning rate with at least two sizes."""
    sentences = []
    means = differences.groupby(["contrast", "learning_rate", "pairs"], sort=False).difference.mean().reset_index()
    for (name, rate), line in means.groupby(["contrast", "learning_rate"]):
        line = line.sort_values("pairs")
        if len(line) > 1:
            first, last = line.iloc[0], line.iloc[-1]
            sentences.append(
                f"{name} at {rate_text(rate)}: {gain(first.difference)} points after {first.pairs:,.0f} pairs, "
                f"{gain(last.difference)} after {last.pairs:,.0f}."
            )
    return " ".join(sentences)


def blocks_sentence(rows: pd.DataFrame) -> str:
    """Each difference over all datasets per number of blocks, as one sentence."""
    everything = rows[rows.group == "all"]
    parts = [
        f"{name} {', '.join(f'{gain(r.gain)} ({r.blocks})' for r in line.itertuples())}"
        for name, line in everything.groupby("contrast", sort=False)
    ]
    return f"Over all datasets, in points (number of blocks): {'; '.join(parts)}."
