"""Mean scores and gains over a baseline with their uncertainty (Tables 2, 3)."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsembed.tasks import TASK_OF_IMAGE_TYPE

from .. import paths
from ..presets import load_preset
from . import statistics
from .random_effects import interval_columns

if TYPE_CHECKING:
    from .items import QueryVariance

GROUPS = ("seen", "unseen")  # in and out of distribution, as MMEB divides its sets
EVERYTHING = "all sets"
MEAN_OF_DATASETS = "mean of datasets"  # what papers call the average: of all datasets of the rows above, not of types


def matrix(scores: pd.DataFrame, method: str, types: Sequence[str]) -> pd.DataFrame:
    """Scores of a method, (seed x dataset), over the datasets of some task types.

    Datasets of one source are one column, their mean: what they share would count twice.

    Args:
        scores: Columns method, seed, task_type, dataset, score, and source where `results.load_scores` made them.
        method: A variant.
        types: Task types.

    Raises:
        ValueError: If a score is missing.
    """
    rows = scores[(scores.method == method) & scores.task_type.isin(types)]
    table = rows.pivot(index="seed", columns="dataset", values="score")
    if table.isna().any(axis=None) or table.empty:
        raise ValueError(f"{method}: scores of {', '.join(types)} are missing for some seed or dataset")
    if "source" not in rows:
        return table
    sources = rows.drop_duplicates("dataset").set_index("dataset").source
    return table.T.groupby(sources, sort=False).mean().T


def gains(
    scores: pd.DataFrame,
    methods: Sequence[str],
    types: Sequence[str],
    *,
    baseline: str = "em",
    query_variance: "QueryVariance | None" = None,
) -> pd.DataFrame:
    """Gain of every method over a baseline, per task type and over all datasets of the types.

    Differences are paired by dataset and by seed: on the seeds that method and baseline both have.

    Args:
        scores: Columns method, seed, task_type, dataset, score.
        methods: Variants; the baseline need not be among them.
        types: Task types, in the order of the rows.
        baseline: The variant that is subtracted.
        query_variance: Of the runs that the scores are of; None leaves the choice of queries out of the intervals.

    Returns:
        Rows: row (a type, or `MEAN_OF_DATASETS`), method, datasets, seeds (those of both), baseline (its mean score on
        them), gain, and what `interval_columns` gives; p_t and p_wilcoxon (over datasets, mean over seeds, two-sided),
        p_welch (the paper's test over datasets, one-sided, unpaired), d_z, p_holm (Holm over the types of one method,
        from p_t).
    """
    rows = []
    for method in methods:
        for name, chosen in [*((t, [t]) for t in types), (MEAN_OF_DATASETS, list(types))]:
            ours, base = _of_both(matrix(scores, method, chosen), matrix(scores, baseline, chosen))
            difference = ours.to_numpy() - base.to_numpy()
            paired_methods = method != baseline and query_variance is not None
            variance = query_variance.of({method: 1.0, baseline: -1.0}, scores, chosen) if paired_methods else 0.0
            means = difference.mean(axis=0)
            rows.append(
                {
                    "row": name,
                    "method": method,
                    "datasets": difference.shape[1],
                    "seeds": difference.shape[0],
                    "baseline": float(base.to_numpy().mean()),
                    "gain": float(difference.mean()),
                    **interval_columns(difference, variance),
                    "p_t": statistics.paired_t(means),
                    "p_wilcoxon": statistics.wilcoxon(means),
                    "p_welch": statistics.welch_less(base.mean().to_numpy(), ours.mean().to_numpy()),
                    "d_z": statistics.effect_size(means),
                }
            )
    frame = pd.DataFrame(rows)
    types_only = frame.row != MEAN_OF_DATASETS
    frame["p_holm"] = frame[types_only].groupby("method").p_t.transform(lambda p: statistics.holm(p.to_numpy()))
    return frame


def gains_by_part(
    scores: pd.DataFrame,
    methods: Sequence[str],
    parts: Mapping[str, Collection[str]],
    types: Sequence[str],
    *,
    baseline: str = "em",
    query_variance: "QueryVariance | None" = None,
) -> pd.DataFrame:
    """Gain of every method over a baseline, as `gains` returns it: a row per part of the datasets.

    Args:
        scores: As in `gains`.
        methods: Variants; the baseline need not be among them.
        parts: Name of a part -> its datasets; a part of which none is scored has no row.
        types: Task types that count.
        baseline: The variant that is subtracted.
        query_variance: As in `gains`.
    """
    rows = []
    for name, datasets in parts.items():
        part = scores[scores.dataset.isin(list(datasets)) & scores.task_type.isin(types)]
        if len(part):
            present = [each for each in types if each in set(part.task_type)]
            found = gains(part, methods, present, baseline=baseline, query_variance=query_variance)
            rows.append(found[found.row == MEAN_OF_DATASETS].assign(row=name))
    return pd.concat(rows, ignore_index=True)


def seed_means(scores: pd.DataFrame, methods: Sequence[str], types: Sequence[str]) -> pd.DataFrame:
    """Mean score over the datasets of some types, per method and seed: columns method, seed, score."""
    found = [matrix(scores, m, types).mean(axis=1).rename("score").reset_index().assign(method=m) for m in methods]
    return pd.concat(found, ignore_index=True)[["method", "seed", "score"]]


def paired(ours: pd.DataFrame, base: pd.DataFrame) -> np.ndarray:
    """Differences (seeds, datasets) of two score matrices over the same datasets, on the seeds that both have.

    Raises:
        ValueError: If the datasets differ, or no seed is in both.
    """
    ours, base = _of_both(ours, base)
    return ours.to_numpy() - base.to_numpy()


def _of_both(ours: pd.DataFrame, base: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of two score matrices that are of one seed."""
    if list(ours.columns) != list(base.columns):
        raise ValueError(f"datasets differ: {sorted(set(ours.columns) ^ set(base.columns))}")
    common = ours.index.intersection(base.index)
    if common.empty:
        raise ValueError(f"no seed in common: {list(ours.index)} and {list(base.index)}")
    return ours.loc[common], base.loc[common]


def differences(scores: pd.DataFrame, method: str, baseline: str, types: Sequence[str]) -> np.ndarray:
    """Scores of a method minus those of a baseline over the datasets of some types: (seeds, datasets), paired."""
    return paired(matrix(scores, method, types), matrix(scores, baseline, types))


def evaluation_sets(preset: str, experiment: str) -> pd.DataFrame:
    """The ranking sets of an experiment's data, a row each.

    Columns task_type, dataset, group ("seen" or "unseen" in training), chance (per cent, of a choice among all
    candidates) and answers (per cent, among the answers that the question can have).
    """
    from tsembed.data.manifest import read_manifest

    types = {task: name for name, task in TASK_OF_IMAGE_TYPE.items()}
    manifest = read_manifest(paths.data_dir(preset, load_preset(preset).experiment_with_same_data(experiment)))
    rows = [
        {
            "task_type": types[d["task"]],
            "dataset": d["name"],
            "group": d["group"],
            "chance": d.get("chance", float("nan")),
            "answers": d.get("answers", float("nan")),
        }
        for d in manifest["datasets"]
        if d["part"] == "eval" and d["format"] == "ranking"
    ]
    return pd.DataFrame(rows)


def rows_of(sets: pd.DataFrame, scores: pd.DataFrame) -> dict[str, list[str]]:
    """Row of a table -> its scored datasets: the meta-tasks, then seen and unseen, then all of them."""
    scored = sets[sets.dataset.isin(scores.dataset)]
    rows = {t: list(scored.dataset[scored.task_type == t]) for t in TASK_OF_IMAGE_TYPE}
    rows |= {g: list(scored.dataset[scored.group == g]) for g in GROUPS}
    return {name: found for name, found in (rows | {EVERYTHING: list(scored.dataset)}).items() if found}


def mean_scores(scores: pd.DataFrame, methods: Sequence[str], rows: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Mean score of datasets with its intervals.

    Args:
        scores: Columns method, seed, dataset, score.
        methods: Variants, in the order of the rows.
        rows: Row -> its datasets.

    Returns:
        Columns row, method, datasets, seeds, mean, and what `interval_columns` gives.
    """
    found = []
    for name, datasets in rows.items():
        chosen = scores[scores.dataset.isin(datasets)].assign(task_type=name)
        for method in methods:
            table = matrix(chosen, method, [name]).to_numpy()
            row = {"row": name, "method": method, "datasets": table.shape[1], "seeds": table.shape[0]}
            found.append(row | {"mean": float(table.mean())} | interval_columns(table))
    return pd.DataFrame(found)


def gains_by_row(
    scores: pd.DataFrame,
    methods: Sequence[str],
    rows: Mapping[str, Sequence[str]],
    *,
    baseline: str,
    query_variance: "QueryVariance | None" = None,
) -> pd.DataFrame:
    """`gains` for rows that share datasets: those of `rows_of`, or task types and what sums them up.

    Holm corrects over the rows of a method that are single task types; the others are sums of these.
    """
    frames = []
    for name, datasets in rows.items():
        chosen = scores[scores.dataset.isin(datasets)].assign(task_type=name)
        for method in methods:
            found = gains(chosen, [method], [name], baseline=baseline, query_variance=query_variance)
            frames.append(found[found.row == name])
    found = pd.concat(frames, ignore_index=True)
    single = found.row.isin(scores.task_type.unique())
    found["p_holm"] = found[single].groupby("method").p_t.transform(lambda p: statistics.holm(p.to_numpy()))
    return found
