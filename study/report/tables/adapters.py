"""The tables of TSEmbed's methods as they are read: scores beside chance, gains, cost, ablations, published numbers."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ...analysis.judgement import Measured
from ...analysis.random_effects import MOST_SEEDS, effect, seeds_needed
from ..figures.words import words
from ..method_styles import METHODS
from ..style import MISSING, p_value
from .write import gain, gain_interval, interval, margin

SUMMED = 3  # groups that sum up the others: they alone have room for an interval


def score_table(
    means: pd.DataFrame, chance: Mapping[str, float] | None = None, answers: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """A row per method, a column per group of datasets: mean score, of the last three groups with its interval.

    Those three, which sum the others up, stand first. Chance has rows of its own, below the methods.

    Args:
        means: As `analysis.gains.mean_scores` returns it, single groups first, those that sum up last.
        chance: Row -> mean chance of its datasets, in per cent; None: no such row.
        answers: Row -> the same among the answers that a question can have; nan where no dataset of a row has it.
    """
    order, names = _columns(means)
    rows = []
    for method, group in means.groupby("method", sort=False):
        found = {
            r.row: interval(r.mean, r.low, r.high, 1) if r.row in order[:SUMMED] else _one_digit(r.mean)
            for r in group.itertuples()
        }
        rows.append({"Method": METHODS[method].label, **{names[n]: found.get(n, MISSING) for n in order}})
        rows[-1]["Seeds"] = str(int(group.seeds.min()))
    for label, known in (("chance, all candidates", chance), ("chance, possible answers", answers)):
        if known is not None:
            rows.append({"Method": label, **{names[n]: _one_digit(known[n]) for n in order}, "Seeds": MISSING})
    return pd.DataFrame(rows)


def gain_table(gains: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """A row per method, a column per group of datasets: gain over a baseline, of the last three with its interval.

    The first row is the baseline's own score.

    Args:
        gains: As `analysis.gains.gains_by_row` returns it, single groups first, those that sum up last.
        baseline: The method that the gains are over.
    """
    order, names = _columns(gains)
    most = gains.sort_values("seeds", ascending=False, kind="stable").drop_duplicates("row").set_index("row")
    rows = [
        {"Method": f"score of {METHODS[baseline].label}", **{names[n]: _one_digit(most.baseline[n]) for n in order}}
    ]
    for method, group in gains.groupby("method", sort=False):
        found = {
            r.row: gain_interval(r.gain, r.low, r.high, 1) if r.row in order[:SUMMED] else gain(r.gain, 1)
            for r in group.itertuples()
        }
        rows.append({"Method": METHODS[method].label, **{names[n]: found.get(n, MISSING) for n in order}})
    return pd.DataFrame(rows)


def seeds_table(differences: Mapping[str, Measured], size: float) -> pd.DataFrame:
    """A row per difference: what its seeds detect, and how many would detect a true difference of a size, in points.

    Args:
        differences: What is compared, in words -> paired differences and what the choice of queries adds.
        size: Of the true difference.
    """
    rows = []
    for name, (values, variance) in differences.items():
        found = effect(values, "these", query_variance=variance)
        needed = seeds_needed(values, size, query_variance=variance)
        rows.append(
            {
                "Difference": name,
                "Here": gain_interval(found.mean, found.low, found.high, 1),
                "Seeds": str(len(values)),
                "Minimum detectable": margin(found.detectable, 1),
                f"Seeds for ±{size:g}": (str(needed) if needed else f"more than {MOST_SEEDS}")
                if len(values) > 1
                else MISSING,
            }
        )
    return pd.DataFrame(rows)


def _columns(rows: pd.DataFrame) -> tuple[list[str], dict[str, str]]:
    """Groups of datasets, the last three of them first, and what heads the column of each."""
    datasets = rows.drop_duplicates("row").set_index("row").datasets
    names = list(datasets.index)
    order = [*reversed(names[-SUMMED:]), *names[:-SUMMED]]
    return order, {name: f"{words(name)} ({int(datasets[name])})" for name in order}


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
        cells = {words(r.row): gain_interval(r.gain, r.low, r.high, 1) for r in group.itertuples()}
        table_rows.append(
            {
                "Ablation": first.label,
                "In place of": f"{first.panel}: {first.main}",
                **cells,
                "Minimum detectable": margin(first.detectable, 1),
                "Holm": p_value(first.p_holm),
                "Seeds": first.seeds,
                "Parameters": f"{first['size']:.3f}",
            }
        )
    return pd.DataFrame(table_rows).fillna(MISSING)


def published_table(mmeb: Mapping[str, Any], by_dataset: pd.DataFrame) -> pd.DataFrame:
    """The published scores on MMEB: a row per model, its means by meta-task and over all datasets, and the source.

    Args:
        mmeb: The section `mmeb` of references/tsembed.yaml.
        by_dataset: The table that it names: columns dataset, task_type, group, and one per model.
    """
    rows = []
    for name, model in mmeb["models"].items():
        means = by_dataset.groupby("task_type", sort=False)[name].mean()
        rows.append(
            {"Model": model["label"], "Backbone": model["backbone"]}
            | {words(kind): f"{mean:.1f}" for kind, mean in means.items()}
            | {"all datasets": f"{by_dataset[name].mean():.1f}", "Source": model["source"]}
        )
    return pd.DataFrame(rows)


def _one_digit(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else MISSING


def noise_table(noise: pd.DataFrame) -> pd.DataFrame:
    """A row per method: what repetitions of one training differ by, in points.

    Args:
        noise: As `analysis.replicates.noise` returns it.
    """
    named = {
        "dataset_deviation": "score of a dataset",
        "mean_deviation": "mean of all",
        "dataset_difference_deviation": "difference on a dataset",
        "mean_difference_deviation": "mean difference",
    }
    return (
        noise[[*named]]
        .rename(columns=named)
        .set_axis([METHODS[m].label for m in noise.variant])
        .rename_axis("Method")
        .reset_index()
    )
