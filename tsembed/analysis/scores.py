"""Scores of a preset's runs as one tidy table, and gains over a baseline with their uncertainty (Tables 2, 3)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import paths
from ..config import RunSettings, load_preset, resolve
from . import statistics

if TYPE_CHECKING:
    import pandas as pd

# The paper's SEM column: each specialised model on the types that its task serves.
METHOD_OF_VARIANT = {"sem_c": "sem", "sem_k": "sem", "sem_r": "sem"}


def run_folders(preset: str, *studies: str) -> dict[tuple[str, int], Path]:
    """Finished runs of some of a preset's studies: (variant, seed) -> folder.

    Args:
        studies: Keys of `Preset.studies`, those that the preset lacks being left out; none: the preset's own.

    Raises:
        ValueError: If a run is not finished; names all that are missing.
    """
    plan = load_preset(preset)
    chosen = [study for study in studies or ("",) if study in plan.studies]
    folders = {(v, s): paths.run_dir(preset, v, s) for study in chosen for v, s in plan.runs(study)}
    missing = [f"{v} seed {s}" for (v, s), folder in folders.items() if not (folder / "done.json").is_file()]
    if missing:
        raise ValueError(f"preset {preset}: not finished: {', '.join(missing)}; run ./run_all.sh {preset}")
    return folders


def load_scores(preset: str, *studies: str) -> "pd.DataFrame":
    """Scores of some of a preset's studies (none: its own), one row per run and dataset.

    A run that draws nothing, that of the backbone as it was downloaded, stands for every seed.

    Columns: variant, method, seed, task_type, dataset, metric, score (0..100).
    """
    import pandas as pd

    plan, folders = load_preset(preset), run_folders(preset, *studies)
    frames = []
    for (variant, seed), folder in folders.items():
        rows = pd.DataFrame(json.loads((folder / "scores.json").read_text()))
        rows = rows.assign(variant=variant, method=METHOD_OF_VARIANT.get(variant, variant))
        seeds = sorted({s for _, s in folders}) if _draws_nothing(resolve(plan, variant, seed)) else [seed]
        frames += [rows.assign(seed=s) for s in seeds]
    return pd.concat(frames, ignore_index=True)


def _draws_nothing(settings: RunSettings) -> bool:
    variant = settings.variant
    untrained = not variant.trained or settings.training.steps == 0
    return untrained and variant.weights_of is None and not settings.backbone.name.startswith("random:")


def matrix(scores: "pd.DataFrame", method: str, types: Sequence[str]) -> "pd.DataFrame":
    """Scores of a method, (seed x dataset), over the datasets of some task types.

    Raises:
        ValueError: If a score is missing.
    """
    rows = scores[(scores.method == method) & scores.task_type.isin(types)]
    table = rows.pivot(index="seed", columns="dataset", values="score")
    if table.isna().any(axis=None) or table.empty:
        raise ValueError(f"{method}: scores of {', '.join(types)} are missing for some seed or dataset")
    return table


def gains(
    scores: "pd.DataFrame", methods: Sequence[str], types: Sequence[str], *, baseline: str = "em", seed: int = 0
) -> "pd.DataFrame":
    """Gain of every method over a baseline, per task type and over all datasets of the types.

    Differences are paired by dataset and by seed: on the seeds that method and baseline both have.

    Args:
        seed: Of the bootstrap's Generator.

    Returns:
        Rows: row (a type, or "Average"), method, datasets, seeds (those of both), baseline (its mean score on them),
            gain, low, high (95 %
        hierarchical bootstrap), detectable (minimal detectable effect), p_t and p_wilcoxon (over datasets, mean over
        seeds, two-sided), p_welch (the paper's test over datasets, one-sided, unpaired), d_z, p_holm (Holm over the
        types of one method, from p_t).
    """
    import pandas as pd

    rows = []
    for method in methods:
        for name, chosen in [*((t, [t]) for t in types), ("Average", list(types))]:
            ours, base = _of_both(matrix(scores, method, chosen), matrix(scores, baseline, chosen))
            difference = ours.to_numpy() - base.to_numpy()
            rng = np.random.default_rng(seed)
            interval = statistics.bootstrap(difference, rng=rng)
            means = difference.mean(axis=0)
            rows.append(
                {
                    "row": name, "method": method, "datasets": difference.shape[1], "seeds": difference.shape[0],
                    "baseline": float(base.to_numpy().mean()), "gain": interval.mean, "low": interval.low,
                    "high": interval.high, "detectable": statistics.minimal_detectable_effect(difference),
                    "p_t": statistics.paired_t(means), "p_wilcoxon": statistics.wilcoxon(means),
                    "p_welch": statistics.welch_less(base.mean().to_numpy(), ours.mean().to_numpy()),
                    "d_z": statistics.effect_size(means),
                }
            )  # fmt: skip
    frame = pd.DataFrame(rows)
    types_only = frame.row != "Average"
    frame["p_holm"] = frame[types_only].groupby("method").p_t.transform(lambda p: statistics.holm(p.to_numpy()))
    return frame


def seed_means(scores: "pd.DataFrame", methods: Sequence[str], types: Sequence[str]) -> "pd.DataFrame":
    """Mean score over the datasets of some types, per method and seed: columns method, seed, score."""
    import pandas as pd

    found = [matrix(scores, m, types).mean(axis=1).rename("score").reset_index().assign(method=m) for m in methods]
    return pd.concat(found, ignore_index=True)[["method", "seed", "score"]]


def paired(ours: "pd.DataFrame", base: "pd.DataFrame") -> np.ndarray:
    """Differences (seeds, datasets) of two score matrices over the same datasets, on the seeds that both have.

    Raises:
        ValueError: If the datasets differ, or no seed is in both.
    """
    ours, base = _of_both(ours, base)
    return ours.to_numpy() - base.to_numpy()


def _of_both(ours: "pd.DataFrame", base: "pd.DataFrame") -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The rows of two score matrices that are of one seed."""
    if list(ours.columns) != list(base.columns):
        raise ValueError(f"datasets differ: {sorted(set(ours.columns) ^ set(base.columns))}")
    common = ours.index.intersection(base.index)
    if common.empty:
        raise ValueError(f"no seed in common: {list(ours.index)} and {list(base.index)}")
    return ours.loc[common], base.loc[common]


def differences(scores: "pd.DataFrame", method: str, baseline: str, types: Sequence[str]) -> np.ndarray:
    """Scores of a method minus those of a baseline over the datasets of some types: (seeds, datasets), paired."""
    return paired(matrix(scores, method, types), matrix(scores, baseline, types))
