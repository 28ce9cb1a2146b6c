"""The study's tables as they are read: gains beside the paper's, tests of gains and of similarity."""

from collections.abc import Mapping

import pandas as pd

from ...analysis.gains import MEAN_OF_DATASETS
from ..figures.words import words
from ..method_styles import METHODS
from ..style import MISSING, p_value
from .write import bounds, gain, gain_interval, margin

PUBLISHED_AVERAGE = "Average"  # of all datasets, as ours: tests/project/test_references.py


def published_gains(rows: Mapping[str, Mapping[str, float]], baseline: str) -> dict[str, dict[str, float]]:
    """A published table of scores as `gain_table` takes it: the baseline's score and the others' gains over it."""
    return {
        name: {m: score if m == baseline else score - row[baseline] for m, score in row.items()}
        for name, row in rows.items()
    }


def gain_table(gains: pd.DataFrame, paper: Mapping[str, Mapping[str, float]], baseline: str = "em") -> pd.DataFrame:
    """A row per method and task type: the baseline's score, the gain with its interval, and the paper's two.

    The baseline's score is that on the most seeds; a gain is over its score on the seeds of both. Without a published
    table there are no columns of the paper.

    Args:
        gains: As `analysis.gains.gains` returns it.
        paper: Row -> {baseline: score, method: gain} of the published table.
        baseline: The method whose score has a column, the published one beside it.
    """
    rows, over = [], METHODS[baseline].label
    for method, group in gains.groupby("method", sort=False):
        for ours in group.itertuples():
            published = paper.get(PUBLISHED_AVERAGE if ours.row == MEAN_OF_DATASETS else ours.row, {})
            same = gains[gains.row == ours.row]
            first = same.iloc[same.seeds.to_numpy().argmax()]
            row = {
                "Method": METHODS[method].label,
                "Datasets": f"{words(ours.row)} ({int(ours.datasets)})",
                f"Gain over {over}": gain_interval(ours.gain, ours.low, ours.high, 1),
                f"Score of {over}": f"{first.baseline:.1f}",
            }
            if paper:
                row["Gain in the paper"] = gain(published.get(method, float("nan")), 1)
                score = f"{published[baseline]:.1f}" if baseline in published else MISSING
                row[f"Score of {over} in the paper"] = score
            rows.append(row)
    return pd.DataFrame(rows)


def part_table(gains: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """A row per method and part of the datasets: the gain over a baseline with both intervals, and what could be seen.

    Args:
        gains: As `analysis.gains.gains_by_part` returns it.
        baseline: The method that was subtracted.
    """
    return pd.DataFrame(
        {
            "Gain": [f"{METHODS[m].label} − {METHODS[baseline].label}" for m in gains.method],
            "Datasets": [f"{words(r.row)} ({r.datasets})" for r in gains.itertuples()],
            "Points": [gain_interval(r.gain, r.low, r.high, 1) for r in gains.itertuples()],
            "For other datasets, too": [bounds(r.low_beyond, r.high_beyond, 1) for r in gains.itertuples()],
            "Minimum detectable": [margin(value, 1) for value in gains.detectable],
        }
    )


def tests_table(gains: pd.DataFrame) -> pd.DataFrame:
    """A row per method and task type: gain, its other intervals, what could have been seen, the tests over datasets.

    Without Holm on the means of all datasets, which are not of the family of single types.
    """
    rows = gains
    return pd.DataFrame(
        {
            "Method": [METHODS[m].label for m in rows.method],
            "Datasets": [f"{words(r.row)} ({r.datasets})" for r in rows.itertuples()],
            "Gain": [gain(value, 1) for value in rows.gain],
            "For other datasets, too": [bounds(r.low_beyond, r.high_beyond, 1) for r in rows.itertuples()],
            "Bootstrap": [bounds(r.low_bootstrap, r.high_bootstrap, 1) for r in rows.itertuples()],
            "Minimum detectable": [margin(value, 1) for value in rows.detectable],
            "Paired t": rows.p_t.map(p_value),
            "Holm": rows.p_holm.map(p_value),
            "Wilcoxon": rows.p_wilcoxon.map(p_value),
            "Welch (paper)": rows.p_welch.map(p_value),
            "Effect size d_z": rows.d_z.map(gain),
        }
    )


def similarity_table(tests: pd.DataFrame) -> pd.DataFrame:
    """A row per pair of tasks: both similarities, their difference with interval, the paper's and paired tests."""
    return pd.DataFrame(
        {
            "Pair of tasks": tests.pair.map(words),
            "IC": tests.ic.map("{:.3f}".format),
            "MoTE": tests.mote.map("{:.3f}".format),
            "MoTE − IC": [gain_interval(r.difference, r.low, r.high, 3) for r in tests.itertuples()],
            "Welch (paper)": tests.welch.map(p_value),
            "Paired t, Holm": tests.paired_t_holm.map(p_value),
            "Wilcoxon, Holm": tests.wilcoxon_holm.map(p_value),
            "Effect size d_z": tests.d_z.map(gain),
        }
    )
