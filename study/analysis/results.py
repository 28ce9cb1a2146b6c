"""Result files of finished runs as tables."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .. import paths
from ..presets import load_preset, resolve

SHARED, DENSE_MODEL, DENSE = "shared", "dense model", "dense"


# The paper's SEM column: each specialised model on the types that its task serves.
METHOD_OF_VARIANT = {"sem_classification": "sem", "sem_clustering": "sem", "sem_retrieval": "sem"}


def read(
    preset: str, methods: Sequence[str], file: str, *, experiments: Sequence[str] = (), partial: bool = False, **read
) -> pd.DataFrame:
    """Rows of a CSV file of the runs of some of a preset's experiments, with the columns method and seed in front.

    Args:
        preset: A name in configs/presets.
        methods: Variants; every one must have a finished run.
        file: Its name in the folder of a run.
        experiments: Keys of `Preset.all_experiments`; none: the preset's own.
        partial: Leave out the runs that are not finished, and those without such a file.
        read: Keywords of `pandas.read_csv`.

    Raises:
        ValueError: If a method has no run, or a run has no such file.
    """
    finished = run_folders(preset, *experiments, partial=partial)
    folders = {run: folder for run, folder in finished.items() if run[0] in methods}
    if partial:
        folders = {run: folder for run, folder in folders.items() if (folder / file).is_file()}
    if missing := [method for method in methods if method not in {variant for variant, _ in folders}]:
        raise ValueError(f"preset {preset} has no run of {', '.join(missing)}")
    frames = []
    for (variant, seed), folder in folders.items():
        if not (folder / file).is_file():
            raise ValueError(f"{folder} has no {file}: was it measured for variant {variant!r}?")
        rows = pd.read_csv(folder / file, **read)
        rows.insert(0, "method", variant)
        rows.insert(1, "seed", seed)
        frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def load_drift(preset: str, methods: Sequence[str]) -> pd.DataFrame:
    """Drift of a preset's runs: columns method, seed, block, first, second, distance, relative."""
    return read(preset, methods, "drift.csv")


def read_routing(preset: str, methods: Sequence[str], file: str, *experiments: str) -> pd.DataFrame:
    """A table of what routers do (`use.csv`, `proxy.csv`, `information.csv`, `weights.csv`), with method and seed."""
    return read(preset, methods, file, experiments=experiments, dtype={"layer": str})


def history(preset: str, methods: Sequence[str], *experiments: str) -> pd.DataFrame:
    """Specialisation over training: method, seed, and the columns of `routing.jsonl`, a row per window.

    They are step, stage, mutual_information of task and expert (nats, mean over layers), by_layer, set_information,
    set_by_layer, untrained (the first before training), noise, use.
    """

    frames = []
    for (variant, seed), folder in run_folders(preset, *experiments).items():
        if variant in methods and (folder / "routing.jsonl").is_file():
            rows = pd.read_json(folder / "routing.jsonl", lines=True)
            frames.append(rows.assign(method=variant, seed=seed))
    return pd.concat(frames, ignore_index=True)


def load_routing(preset: str, methods: Sequence[str]) -> pd.DataFrame:
    """Expert shares of a preset's runs: method, seed and the columns of `expert_shares`."""

    frames = [
        pd.read_csv(folder / "routing.csv").assign(method=variant, seed=seed)
        for (variant, seed), folder in run_folders(preset).items()
        if variant in methods
    ]
    return pd.concat(frames, ignore_index=True)


def run_folders(preset: str, *experiments: str, partial: bool = False) -> dict[tuple[str, int], Path]:
    """Finished runs of some of a preset's experiments: (variant, seed) -> folder.

    Args:
        preset: A name in configs/presets.
        experiments: Keys of `Preset.all_experiments`; those that the preset lacks are left out. None: the preset's own.
        partial: Leave out the runs that are not finished.

    Raises:
        ValueError: If a run is not finished, unless `partial`; names all that are missing.
    """
    plan = load_preset(preset)
    planned = [name for name in experiments or ("",) if name in plan.all_experiments]
    folders = {(v, s): paths.run_dir(preset, v, s) for name in planned for v, s in plan.runs(name)}
    missing = [f"{v} seed {s}" for (v, s), folder in folders.items() if not (folder / "done.json").is_file()]
    if missing and not partial:
        raise ValueError(f"preset {preset}: not finished: {', '.join(missing)}; run ./run_all.sh {preset}")
    return {run: folder for run, folder in folders.items() if (folder / "done.json").is_file()}


def load_scores(preset: str, *experiments: str, partial: bool = False) -> pd.DataFrame:
    """Scores of some of a preset's experiments (none: its own), one row per run and dataset.

    A run that draws nothing, that of the backbone as it was downloaded, stands for every seed.

    Columns: variant, method, seed, task_type, dataset, source (the dataset, or what it shares with others by the
    preset's `same_source`), metric, score (0..100). With `partial`, runs that are not finished are left out.
    """
    folders = run_folders(preset, *experiments, partial=partial)
    if partial:
        folders = {run: folder for run, folder in folders.items() if (folder / "scores.json").is_file()}
    if not folders:
        return pd.DataFrame(columns=["variant", "method", "seed", "task_type", "dataset", "source", "metric", "score"])
    tables = {run: pd.DataFrame(json.loads((folder / "scores.json").read_text())) for run, folder in folders.items()}
    sources = {name: source for source, names in load_preset(preset).same_source.items() for name in names}
    return _of_all_seeds(preset, tables).assign(source=lambda rows: rows.dataset.replace(sources))


def load_items(preset: str, *experiments: str, partial: bool = False) -> pd.DataFrame:
    """Items of the scores of some of a preset's experiments (none: its own); runs that were made without have no rows.

    Columns: variant, method, seed, and those of evaluation/items.py; a run that draws nothing as in `load_scores`.
    """
    folders = run_folders(preset, *experiments, partial=partial)
    files = {run: folder / "items.parquet" for run, folder in folders.items()}
    empty = pd.DataFrame(columns=["dataset", "kind", "split", "item", "value"])
    tables = {run: pd.read_parquet(file) if file.is_file() else empty for run, file in files.items()}
    return _of_all_seeds(preset, tables)


def _of_all_seeds(preset: str, tables: dict[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """The tables of (variant, seed) as one, that of a run that draws nothing for every seed."""
    plan, frames = load_preset(preset), []
    for (variant, seed), table in tables.items():
        rows = table.assign(variant=variant, method=METHOD_OF_VARIANT.get(variant, variant))
        seeds = sorted({s for _, s in tables}) if resolve(plan, variant, seed).draws_nothing else [seed]
        frames += [rows.assign(seed=s) for s in seeds if len(rows)]
    columns = list(next(iter(tables.values())).columns) + ["variant", "method", "seed"] if tables else []
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def load_similarity(preset: str, methods: Sequence[str], *, partial: bool = False) -> pd.DataFrame:
    """Similarities of a preset's runs: method, seed, text, pair ("first–second"), similarity.

    With `partial`, runs that are not finished, or have none, are left out.
    """
    rows = read(preset, methods, "similarity.csv", partial=partial).rename(columns={"cosine": "similarity"})
    rows["pair"] = rows["first"] + "–" + rows["second"]
    return rows[["method", "seed", "text", "pair", "similarity"]]


def load_layers(preset: str, methods: Sequence[str]) -> pd.DataFrame:
    """Similarities by layer of a preset's runs: method, seed, layer, text, cosine."""
    return read(preset, methods, "layers.csv")


def per_text(similarities: pd.DataFrame, method: str, pairs: Sequence[str]) -> np.ndarray:
    """Mean similarity over some pairs of routes: (seeds, texts)."""
    rows = similarities[(similarities.method == method) & similarities.pair.isin(pairs)]
    return rows.pivot_table(index="seed", columns="text", values="similarity", aggfunc="mean").to_numpy()
