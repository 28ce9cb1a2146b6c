"""What TSEmbed's rows need beside gains: sets, mean scores, sizes, times of a step, and what an ablation changes."""

import json
import re
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from .. import paths
from ..config import load_preset, load_variants
from ..tasks import TASK_OF_IMAGE_TYPE
from . import probes, statistics
from .scores import gains, matrix, run_folders

if TYPE_CHECKING:
    import pandas as pd

    from ..variants import Variant

GROUPS = ("seen", "unseen")  # in and out of distribution, as MMEB divides its sets
EVERYTHING = "all sets"
_NUMBER = re.compile(r"([\d.]+) %")

# Setting -> what its panel of ablations is called.
ADAPTER = {
    "num_experts": "experts", "top_k": "experts in use", "r": "rank", "router": "router", "load_balancing": "balancing",
    "shared_experts": "shared experts",
}  # fmt: skip
NEGATIVES = {
    "weights": "weights", "beta_per": "beta per", "beta": "beta", "top_k": "negatives", "signature": "signature",
    "similarity": "similarity", "centered": "centered", "stage_one": "stage 1",
}  # fmt: skip
_NONE = {"top_k": "all", "load_balancing": "none"}
_NAMES = {"eans": "EANS", "kl": "KL"}


def evaluation_sets(preset: str, study: str) -> "pd.DataFrame":
    """The ranking sets of a study's data: columns task_type, dataset, group ("seen" or "unseen" in training), chance
    (per cent, of a choice among all candidates) and answers (per cent, among the answers that the question can have).
    """
    import pandas as pd

    from ..data.prepared import manifest

    types = {task: name for name, task in TASK_OF_IMAGE_TYPE.items()}
    listing = manifest(paths.data_dir(preset, load_preset(preset).data_of(study)))
    rows = [
        {
            "task_type": types[d["task"]], "dataset": d["name"], "group": d["group"],
            "chance": _percent(d["notes"].get("chance")), "answers": _percent(d["notes"].get("answers")),
        }
        for d in listing["datasets"]
        if d["part"] == "eval" and d["form"] == "ranking"
    ]  # fmt: skip
    return pd.DataFrame(rows)


def rows_of(sets: "pd.DataFrame", scores: "pd.DataFrame") -> dict[str, list[str]]:
    """Row of a table -> its scored datasets: the meta-tasks, then seen and unseen, then all of them."""
    scored = sets[sets.dataset.isin(scores.dataset)]
    rows = {t: list(scored.dataset[scored.task_type == t]) for t in TASK_OF_IMAGE_TYPE}
    rows |= {g: list(scored.dataset[scored.group == g]) for g in GROUPS}
    return {name: found for name, found in (rows | {EVERYTHING: list(scored.dataset)}).items() if found}


def mean_scores(
    scores: "pd.DataFrame", methods: Sequence[str], rows: Mapping[str, Sequence[str]], *, seed: int = 0
) -> "pd.DataFrame":
    """Mean score with its 95 % hierarchical bootstrap interval over seeds and datasets.

    Args:
        rows: Row -> its datasets.
        seed: Of the bootstrap's Generator.

    Returns:
        Columns row, method, datasets, seeds, mean, low, high.
    """
    import pandas as pd

    found = []
    for name, datasets in rows.items():
        chosen = scores[scores.dataset.isin(datasets)].assign(task_type=name)
        for method in methods:
            table = matrix(chosen, method, [name]).to_numpy()
            interval = statistics.bootstrap(table, rng=np.random.default_rng(seed))
            row = {"row": name, "method": method, "datasets": table.shape[1], "seeds": table.shape[0]}
            found.append(row | interval._asdict())
    return pd.DataFrame(found)


def gains_by_row(
    scores: "pd.DataFrame", methods: Sequence[str], rows: Mapping[str, Sequence[str]], *, baseline: str
) -> "pd.DataFrame":
    """`scores.gains` for rows that share datasets: those of `rows_of`, or task types and what sums them up.

    Holm corrects over the rows of a method that are single task types; the others are sums of these.
    """
    import pandas as pd

    frames = []
    for name, datasets in rows.items():
        chosen = scores[scores.dataset.isin(datasets)].assign(task_type=name)
        for method in methods:
            found = gains(chosen, [method], [name], baseline=baseline)
            frames.append(found[found.row == name])
    found = pd.concat(frames, ignore_index=True)
    single = found.row.isin(scores.task_type.unique())
    found["p_holm"] = found[single].groupby("method").p_t.transform(lambda p: statistics.holm(p.to_numpy()))
    return found


def ablations(
    scores: "pd.DataFrame",
    changes: Mapping[str, Sequence[str]],
    rows: Mapping[str, Sequence[str]],
    parameters: Mapping[str, int],
    *,
    label: Mapping[str, str],
) -> "pd.DataFrame":
    """Difference of every ablation to its main row. Holm corrects over the ablations, on the first of the rows.

    Args:
        changes: Main row -> its ablations.
        rows: Row -> its datasets.
        parameters: Method -> parameters of its adapter.
        label: Method -> how it is called.

    Returns:
        Columns of `gains_by_row`, and panel (the setting that is changed), main (its value in the main row), main_row,
        label, size (parameters as a ratio to the main row's).
    """
    import pandas as pd

    known, frames = load_variants(), []
    for main, others in changes.items():
        for method in others:
            panel, value = changed(known[method], known[main])
            unweighted = known[main].negatives is not None and known[method].negatives is None
            name = f"none ({label[method]})" if unweighted else label[method]
            size = parameters[method] / parameters[main]
            found = gains_by_row(scores, [method], rows, baseline=main)
            frames.append(found.assign(panel=panel, main=value, main_row=main, label=name, size=size))
    found = pd.concat(frames, ignore_index=True)
    first = found[found.row == next(iter(rows))]
    holm = dict(zip(zip(first.main_row, first.method, strict=True), statistics.holm(first.p_t.to_numpy()), strict=True))
    return found.assign(p_holm=[holm[r.main_row, r.method] for r in found.itertuples()])


def model_size(folder: Path) -> tuple[int, int]:
    """Parameters and bytes of a saved model, from the headers of its safetensors files.

    Raises:
        ValueError: If the folder has no such file.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} has no safetensors file, so its parameters cannot be counted")
    parameters = size = 0
    for path in files:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        parameters += sum(prod(entry["shape"]) for entry in tensors)
        size += sum(end - begin for begin, end in (entry["data_offsets"] for entry in tensors))
    return parameters, size


def sizes(preset: str, methods: Sequence[str], *studies: str) -> "pd.DataFrame":
    """Parameters and bytes of what each method saved (adapters without their backbone); index method."""
    import pandas as pd

    folders = {variant: folder for (variant, _), folder in run_folders(preset, *studies).items()}
    rows = [(method, *model_size(folders[method] / "model")) for method in methods]
    return pd.DataFrame(rows, columns=["method", "parameters", "bytes"]).set_index("method")


def load_steps(preset: str, methods: Sequence[str], *studies: str) -> "pd.DataFrame":
    """The training logs: method, seed, step, stage (1 or 2), loss, grad_norm, seconds (wall time of the step)."""
    import pandas as pd

    frames = []
    for (variant, seed), folder in run_folders(preset, *studies).items():
        if variant in methods:
            pairs = yaml.safe_load((folder / "config.yaml").read_text())["training"]["batch_size"]
            rows = pd.read_json(folder / "metrics.jsonl", lines=True)
            stage = rows.stage if "stage" in rows else 1
            rows = rows[["step", "loss", "grad_norm"]].assign(stage=stage, seconds=pairs / rows.examples_per_s)
            frames.append(rows.assign(method=variant, seed=seed))
    return pd.concat(frames, ignore_index=True)


def time_ratios(steps: "pd.DataFrame", baseline: str) -> "pd.DataFrame":
    """Time of a step as a ratio to a baseline's, with its 95 % hierarchical bootstrap interval over seeds and steps.

    The ratio is taken between the same steps of the same seed, which train on the same batch; the mean is geometric.

    Args:
        steps: As `load_steps` returns it.

    Returns:
        Index method; columns mean, low, high, seeds.
    """
    table = np.log(steps.pivot(index=["seed", "step"], columns="method", values="seconds"))
    ratios = table.sub(table[baseline], axis=0).reset_index().melt(["seed", "step"], value_name="ratio").dropna()
    found = probes.intervals(ratios, "ratio", ["method"], ["step"]).set_index("method")
    found[["mean", "low", "high"]] = np.exp(found[["mean", "low", "high"]])
    return found


def second_stage(steps: "pd.DataFrame") -> "pd.DataFrame":
    """First step of the second stage of each run that has one: columns method, seed, step."""
    return steps[steps.stage == 2].groupby(["method", "seed"], sort=False).step.min().reset_index()


def changed(variant: "Variant", main: "Variant") -> tuple[str, str]:
    """Which panel an ablation belongs to, and the main row's value there.

    Raises:
        ValueError: If it differs from the main row in no setting of adapter or negatives.

    >>> from tsembed.config import load_variants
    >>> known = load_variants()
    >>> changed(known["vl_moe_r4"], known["vl_moe"]), changed(known["vl_moe"], known["tsembed"])
    (('rank', '16'), ('weights', 'EANS'))
    """
    for section, names in (("adapter", ADAPTER), ("negatives", NEGATIVES)):
        ours, theirs = getattr(variant, section), getattr(main, section)
        if theirs is not None and ours is None:
            first = next(iter(names))
            return names[first], _said(first, getattr(theirs, first))
        for field, title in names.items() if theirs is not None else ():
            if getattr(ours, field) != getattr(theirs, field):
                return title, _said(field, getattr(theirs, field))
    raise ValueError(f"{variant.label} differs from {main.label} in no setting of {[*ADAPTER, *NEGATIVES]}")


def _said(field: str, value) -> str:
    if field in _NONE and not value:
        return _NONE[field]
    return f"{value:g}" if isinstance(value, float) else _NAMES.get(value, str(value))


def _percent(note: str | None) -> float:
    found = _NUMBER.search(note or "")
    return float(found[1]) if found else float("nan")
