"""The study's tables as they are read: gains beside the paper's, tests of gains and of similarity."""

from collections.abc import Mapping

import pandas as pd

from ...analysis.gains import MEAN_OF_DATASETS
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
    """A row per task type: number of datasets, the baseline's score, then per method gain, interval and the paper's.

    The baseline's score is that on the most seeds; a gain is over its score on the seeds of both.

    Args:
        gains: As `analysis.gains.gains` returns it.
        paper: Row -> {baseline: score, method: gain} of the published table.
        baseline: The method whose score has a column, the published one beside it.
    """
    rows = []
    for name, group in gains.groupby("row", sort=False):
        published = paper.get(PUBLISHED_AVERAGE if name == MEAN_OF_DATASETS else name, {})
        first = group.iloc[group.seeds.to_numpy().argmax()]
        row = {"Task type": f"{name} ({int(first.datasets)})", METHODS[baseline].label: f"{first.baseline:.2f}"}
        row["paper"] = f"{published[baseline]:.2f}" if baseline in published else MISSING
        for number, ours in enumerate(group.itertuples()):
            row[METHODS[ours.method].label] = gain_interval(ours.gain, ours.low, ours.high)
            row["paper" + " " * (number + 1)] = gain(
                published.get(ours.method, float("nan"))
            )  # a column's key is unique
        rows.append(row)
    return pd.DataFrame(rows)


def tests_table(gains: pd.DataFrame) -> pd.DataFrame:
    """A row per task type and method: gain, its other intervals, what could have been seen, the tests over datasets.

    Without Holm on the means of all datasets, which are not of the family of single types.
    """
    rows = gains
    return pd.DataFrame(
        {
            "Task type": rows.row,
            "Method": [METHODS[m].label for m in rows.method],
            "Datasets": rows.datasets,
            "Gain": rows.gain.map(gain),
            "beyond": [bounds(r.low_beyond, r.high_beyond) for r in rows.itertuples()],
            "bootstrap": [bounds(r.low_bootstrap, r.high_bootstrap) for r in rows.itertuples()],
            "detectable": rows.detectable.map(margin),
            "paired t": rows.p_t.map(p_value),
            "Holm": rows.p_holm.map(p_value),
            "Wilcoxon": rows.p_wilcoxon.map(p_value),
            "Welch (paper)": rows.p_welch.map(p_value),
            "d_z": rows.d_z.map(gain),
        }
    )


def similarity_table(tests: pd.DataFrame) -> pd.DataFrame:
    """A row per pair of tasks: both similarities, their difference with interval, the paper's and paired tests."""
    return pd.DataFrame(
        {
            "Pair": tests.pair,
            "IC": tests.ic.map("{:.3f}".format),
            "MoTE": tests.mote.map("{:.3f}".format),
            "MoTE − IC": [gain_interval(r.difference, r.low, r.high, 3) for r in tests.itertuples()],
            "Welch (paper)": tests.welch.map(p_value),
            "paired t, Holm": tests.paired_t_holm.map(p_value),
            "Wilcoxon, Holm": tests.wilcoxon_holm.map(p_value),
            "d_z": tests.d_z.map(gain),
        }
    )
