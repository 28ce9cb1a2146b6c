"""The tables of TSEmbed's rows as they are read: scores beside chance, gains, cost, ablations, published numbers."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..method_styles import METHODS
from ..style import MISSING, p_value
from .write import gain_interval, interval, margin


def score_table(
    means: pd.DataFrame, chance: Mapping[str, float] | None = None, answers: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """A column per method, a row per meta-task or group of sets: mean score with interval; a last row of seeds.

    Args:
        means: As `analysis.gains.mean_scores` returns it.
        chance: Row -> mean chance of its sets, in per cent; None: no such column.
        answers: Row -> the same among the answers that a question can have; nan where no set of a row has it.
    """
    rows = []
    for name, group in means.groupby("row", sort=False):
        row = {"Sets": f"{name} ({int(group.datasets.iloc[0])})"}
        if chance is not None:
            row["chance"] = _one_digit(chance[name])
        if answers is not None:
            row["chance among answers"] = _one_digit(answers[name])
        row |= {METHODS[r.method].label: interval(r.mean, r.low, r.high, 1) for r in group.itertuples()}
        rows.append(row)
    seeds = {METHODS[m].label: str(n) for m, n in means.groupby("method").seeds.min().items()}
    rows.append({key: seeds.get(key, MISSING) for key in rows[0]} | {"Sets": "seeds"})
    return pd.DataFrame(rows)


def gain_table(gains: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """A row per meta-task or group of sets: the baseline's mean score, then per method its gain with interval.

    Args:
        gains: As `analysis.gains.gains_by_row` returns it.
        baseline: The method whose mean score has a column.
    """
    rows = []
    for name, group in gains.groupby("row", sort=False):
        first = group.iloc[group.seeds.to_numpy().argmax()]  # the baseline on the most seeds
        row = {"Sets": f"{name} ({int(first.datasets)})", METHODS[baseline].label: f"{first.baseline:.2f}"}
        rows.append(row | {METHODS[r.method].label: gain_interval(r.gain, r.low, r.high) for r in group.itertuples()})
    return pd.DataFrame(rows)


def cost_table(sizes: pd.DataFrame, times: pd.DataFrame, *, baseline: str, backbone: int | None) -> pd.DataFrame:
    """A row per method: parameters that it adds, as a share of the backbone's and to the baseline's, bytes, time.

    Args:
        sizes: Index method; columns parameters, bytes.
        times: Index method; columns mean, low, high: time of a step as a ratio to the baseline's.
        baseline: A method of both.
        backbone: Parameters of the frozen backbone; None: not known here.
    """
    first = METHODS[baseline].label
    added = sizes.parameters
    return pd.DataFrame(
        {
            "Method": [METHODS[m].label for m in sizes.index],
            "parameters": [f"{n:,}" for n in added],
            f"parameters / {first}": [f"{n / added[baseline]:.3f}" for n in added],
            "of the backbone": [MISSING if backbone is None else f"{n / backbone:.1%}" for n in added],
            "MB": [f"{b / 1e6:.2f}" for b in sizes.bytes],
            f"step time / {first}": [interval(*times.loc[m, ["mean", "low", "high"]], 3) for m in sizes.index],
        }
    )


def ablation_table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per ablation: what is set, in place of what, the difference to the main row with its test, parameters.

    Args:
        rows: Columns panel, main, method, label, row ("all sets", "seen", "unseen"), gain, low, high, detectable,
            seeds, p_holm (over the ablations), size (parameters as a ratio to the main row's).
    """
    table_rows = []
    for _, group in rows.groupby("method", sort=False):
        first = group.iloc[0]
        cells = {r.row: gain_interval(r.gain, r.low, r.high) for r in group.itertuples()}
        table_rows.append(
            {
                "Ablation": first.label,
                "changes": f"{first.panel} ({first.main})",
                **cells,
                "detectable": margin(first.detectable),
                "Holm": p_value(first.p_holm),
                "seeds": first.seeds,
                "parameters": f"{first['size']:.3f}",
            }
        )
    return pd.DataFrame(table_rows).fillna(MISSING)


def published_table(mmeb: Mapping[str, Any]) -> pd.DataFrame:
    """The published scores on MMEB: method, backbone, overall, source, and whether it was taken from its authors.

    Args:
        mmeb: The section `mmeb` of references/tsembed.yaml.
    """
    whence = {"first": "the authors' page", "second": "a review, not checked"}
    rows = sorted(mmeb["rows"].values(), key=lambda row: row["overall"])
    return pd.DataFrame(
        {
            "Method": [row["label"] for row in rows],
            "Backbone": [row["backbone"] for row in rows],
            "Overall": [f"{row['overall']:.1f}" for row in rows],
            "Source": [row["source"] for row in rows],
            "Taken from": [whence[row["transcribed"]] for row in rows],
        }
    )


def _one_digit(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else MISSING
