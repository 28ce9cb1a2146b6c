"""The tables and the conclusion about the words of an instruction."""

import pandas as pd

from ...analysis.wording import ALL_PAIRS
from ..method_styles import METHODS
from .write import bounds, gain_interval, interval

EMPTY = "(nothing)"


def words_table(words: pd.DataFrame) -> pd.DataFrame:
    """A row per wording, a column per route: what stands in front of a text."""
    shown = words.replace("", EMPTY).rename(columns={"wording": "Wording"})
    return shown.map(str.strip)


def spread_table(spread: pd.DataFrame, by_wording: pd.DataFrame) -> pd.DataFrame:
    """A row per group: the spread of each model's weights over three wordings, then MoTE − IC under each wording.

    Args:
        spread: As `analysis.wording.spread` returns it.
        by_wording: `contrast_rows` of MoTE − IC, a contrast per wording.
    """
    rows = []
    for group, here in spread.groupby("group", sort=False):
        row = {"Over": f"{group} ({here.datasets.iloc[0]})"}
        for line in here.itertuples():
            row[f"spread of {METHODS[line.method].label}"] = f"{line.spread:.1f}"
            row[f"within one seed, {METHODS[line.method].label}"] = f"{line.seed_spread:.1f}"
        gains = by_wording[by_wording.group == group]
        row |= {f"MoTE − IC, {r.contrast}": gain_interval(r.gain, r.low, r.high, 1) for r in gains.itertuples()}
        rows.append(row)
    return pd.DataFrame(rows)


def similarity_table(rows: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """A row per method, then per difference of two: mean similarity over all pairs of routes, and both intervals.

    Args:
        rows: As `analysis.wording.similarity_rows` returns it.
        differences: As `analysis.wording.similarity_differences` returns it.
    """
    means = rows[rows.pair == ALL_PAIRS]
    label = {method: METHODS[method].label for method in {*means.method, *differences.baseline}}
    lines = [
        {
            "Of": label[r.method],
            "Similarity": interval(r.mean, r.low, r.high, 3),
            "For other texts, too": bounds(r.low_beyond, r.high_beyond, 3).replace("+", ""),
        }
        for r in means.itertuples()
    ]
    lines += [
        {
            "Of": f"{label[r.method]} − {label[r.baseline]}",
            "Similarity": gain_interval(r.mean, r.low, r.high, 3),
            "For other texts, too": bounds(r.low_beyond, r.high_beyond, 3),
        }
        for r in differences.itertuples()
    ]
    return pd.DataFrame(lines)


def conclusion(spread: pd.DataFrame, similarity: pd.DataFrame) -> str:
    """What wordings of one meaning move over all datasets, and how similar two routes are, as text with no verdict."""
    moved = [f"{METHODS[r.method].label} {r.spread:.1f}" for r in spread[spread.group == "all"].itertuples()]
    apart = [f"{METHODS[r.method].label} {r.mean:.3f}" for r in similarity[similarity.pair == ALL_PAIRS].itertuples()]
    return (
        f"**Three wordings of one meaning move the mean score by {', '.join(moved)} points.** "
        f"The mean similarity of two routes is {', '.join(apart)}."
    )
