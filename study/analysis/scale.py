"""Whether the effects grow with training and with the size of the model."""

import json
from collections.abc import Iterable

import pandas as pd

from .. import paths
from ..presets import load_preset
from .contrasts import GROUPS, Weights, contrast_rows, difference
from .items import QueryVariance
from .results import load_scores, run_folders

SIZES = ("two_blocks", "three_blocks", "")  # experiments, from small to large; "": the preset's own
STEPS: dict[str, Weights] = {"IC − EM": difference("ic", "em"), "MoTE − IC": difference("mote", "ic")}


def load_curve() -> pd.DataFrame:
    """references/training_size.csv: a row per training; its heading says how it was measured."""
    return pd.read_csv(paths.REFERENCES / "training_size.csv", comment="#")


def curve(trainings: pd.DataFrame, *, batch_size: int, supervision: str = "pairs") -> pd.DataFrame:
    """Score on held-out pairs over pairs seen, a row per training.

    Args:
        trainings: As `load_curve` returns it.
        batch_size: The others are left out.
        supervision: The others are left out: their held-out sets are others.

    Returns:
        Columns method, learning_rate, pairs, seed, score (mean over tasks of the mean over datasets).
    """
    rows = trainings[(trainings.batch_size == batch_size) & (trainings.supervision == supervision)]
    rows = rows.rename(columns={"variant": "method", "mean": "score"})
    return rows[["method", "learning_rate", "pairs", "seed", "score"]].reset_index(drop=True)


def curve_differences(points: pd.DataFrame) -> pd.DataFrame:
    """IC − EM and MoTE − IC of the same seed and setting, where both were trained: contrast, method and the settings.

    Args:
        points: As `curve` returns it.

    Returns:
        Columns contrast, method (the first of the two), learning_rate, pairs, seed, difference.
    """
    table = points.pivot(index=["learning_rate", "pairs", "seed"], columns="method", values="score")
    frames = []
    for name, weights in STEPS.items():
        method, baseline = weights
        if method in table and baseline in table:
            values = (table[method] - table[baseline]).dropna().rename("difference").reset_index()
            frames.append(values.assign(contrast=name, method=method))
    columns = ["contrast", "method", "learning_rate", "pairs", "seed", "difference"]
    return pd.concat(frames, ignore_index=True)[columns]


def mean_and_range(rows: pd.DataFrame, value: str, by: Iterable[str]) -> pd.DataFrame:
    """Mean over seeds of a column with its lowest and highest seed: columns of `by`, mean, lowest, highest, seeds."""
    groups = rows.groupby(list(by), sort=False)[value]
    return groups.agg(mean="mean", lowest="min", highest="max", seeds="size").reset_index()


def number_of_blocks(preset: str, experiment: str = "") -> int:
    """Blocks of the backbone of an experiment, from the settings or else from a model that was trained there."""
    plan = load_preset(preset).all_experiments[experiment]
    if plan.backbone.num_layers is not None:
        return plan.backbone.num_layers
    folder = next(path for path in run_folders(preset, experiment).values() if (path / "model/config.json").is_file())
    return json.loads((folder / "model/config.json").read_text())["num_hidden_layers"]


def scores_by_blocks(preset: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Scores of EM, IC and MoTE of every size, and the number of blocks of each experiment.

    Returns:
        The columns of `load_scores`, methods with the ending `_<experiment>` but for the preset's own; experiment ->
        number of blocks.
    """
    methods = [name + _ending(experiment) for experiment in SIZES for name in ("em", "ic", "mote")]
    scores = load_scores(preset, *SIZES)
    blocks = {experiment: number_of_blocks(preset, experiment) for experiment in SIZES}
    return scores[scores.method.isin(methods)], blocks


def gains_by_blocks(preset: str, query_variance: QueryVariance) -> pd.DataFrame:
    """IC − EM and MoTE − IC of each size of the backbone over seen, unseen and all types.

    Args:
        preset: A name in configs/presets.
        query_variance: Of the preset's runs of all `SIZES`.

    Returns:
        Columns of `contrast_rows`, method without its ending, and experiment, blocks.
    """
    scores, blocks = scores_by_blocks(preset)
    frames = []
    for experiment, number in blocks.items():
        contrasts = {name: _of(weights, experiment) for name, weights in STEPS.items()}
        frames.append(
            contrast_rows(scores, contrasts, GROUPS, query_variance=query_variance).assign(
                experiment=experiment, blocks=number
            )
        )
    rows = pd.concat(frames, ignore_index=True)
    return rows.assign(method=[m.removesuffix(_ending(e)) for m, e in zip(rows.method, rows.experiment, strict=True)])


def growth_with_blocks(preset: str, query_variance: QueryVariance) -> pd.DataFrame:
    """The whole backbone's IC − EM and MoTE − IC less those of each smaller one: the columns of `contrast_rows`."""
    scores, blocks = scores_by_blocks(preset)
    contrasts = {}
    for experiment in SIZES[:-1]:
        for name, weights in STEPS.items():
            smaller = {method: -factor for method, factor in _of(weights, experiment).items()}
            contrasts[f"{name}, {blocks['']} less {blocks[experiment]} blocks"] = {**weights, **smaller}
    return contrast_rows(scores, contrasts, GROUPS, query_variance=query_variance)


def _of(weights: Weights, experiment: str) -> Weights:
    return {method + _ending(experiment): factor for method, factor in weights.items()}


def _ending(experiment: str) -> str:
    return f"_{experiment}" if experiment else ""


def tidy(curve_rows: pd.DataFrame, difference_rows: pd.DataFrame) -> pd.DataFrame:
    """Scores and differences of the curve in one table: column quantity is a method's score or a difference."""
    scores = curve_rows.assign(quantity=curve_rows.method)
    rows = pd.concat([scores, difference_rows.assign(quantity=difference_rows.contrast)], ignore_index=True)
    return rows[["quantity", "learning_rate", "pairs", "mean", "lowest", "highest", "seeds"]]
