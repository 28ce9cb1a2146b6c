"""What the probes of adapters say, as tables per seed: conflict on the adapters, routing as a proxy, specialisation."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from . import results, statistics
from .gains import paired

ALL_PAIRS = "all pairs of tasks"


ADAPTERS = "adapters"  # in place of a part of the block
ONE_TASK, TWO_TASKS = "one task", "two tasks"


def on_adapters(conflict: pd.DataFrame, *, negative: bool = False) -> pd.DataFrame:
    """Gradient conflict over all adapted layers of a block, attention and feed-forward, as one part.

    Args:
        conflict: As `load_gradients` returns it.
        negative: Replace the cosine by max(0, -cosine), which is zero where two gradients do not conflict.
    """
    rows = conflict[conflict.part != "embeddings"].assign(part=ADAPTERS)
    return rows.assign(cosine=(-rows.cosine).clip(lower=0)) if negative else rows


def correlations(proxy: pd.DataFrame, method: str, router: str, over: str) -> pd.DataFrame:
    """Rank correlation of routing similarity, (seed x layer), without the row of all layers together.

    Args:
        proxy: `proxy.csv` of some runs, as `results.read_routing` returns it.
        method: The variant whose rows are read.
        router: "trained" or "random".
        over: The reference and the pool of pairs, e.g. "embedding, same task".

    Raises:
        ValueError: If there are no such rows.
    """
    reference, pool = over.split(", ")
    selection = {"method": method, "router": router, "reference": reference, "pool": pool}
    rows = proxy[proxy.layer != "all"]
    for column, value in selection.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        raise ValueError(f"no correlation of {selection}")
    return rows.astype({"layer": int}).pivot(index="seed", columns="layer", values="correlation")


def by_layer(history: pd.DataFrame) -> pd.DataFrame:
    """Mutual information in the last window of training: columns method, seed, layer (its index), information (nats).

    Args:
        history: As `results.history` returns it.
    """
    last = history.loc[history.groupby(["method", "seed"]).step.idxmax()]
    rows = last.explode("by_layer").rename(columns={"by_layer": "information"})
    rows["layer"] = rows.groupby(["method", "seed"]).cumcount()
    return rows.astype({"information": float})[["method", "seed", "layer", "information"]].reset_index(drop=True)


def information(history: pd.DataFrame, method: str) -> pd.DataFrame:
    """Mutual information of a method in the last window of training, (seed x layer)."""
    rows = by_layer(history)
    return rows[rows.method == method].pivot(index="seed", columns="layer", values="information")


def gains_by_information(gained: pd.DataFrame, information: pd.DataFrame) -> pd.DataFrame:
    """Gains of methods on seen datasets beside what their experts know of a pair's dataset, the least knowing first.

    Args:
        gained: As `gains.gains_by_row` returns it.
        information: `information.csv` of runs: columns method, seed, router, label, layer, information, noise.

    Returns:
        The rows of `gained` on seen datasets of the methods with routers, and column information (nats): the trained
        routers' mean over layers on held-out pairs, mean over seeds.
    """
    whole = information[(information.layer == "all") & (information.router == "trained") & (information.label == "set")]
    known = whole.groupby("method").information.mean()
    rows = gained[(gained.row == "seen") & gained.method.isin(known.index)]
    return rows.assign(information=rows.method.map(known)).sort_values("information", kind="stable", ignore_index=True)


def measure(
    quantity: str,
    method: str,
    baseline: str | None,
    over: Sequence[str],
    *,
    conflict: pd.DataFrame,
    proxy: pd.DataFrame,
    history: pd.DataFrame,
) -> np.ndarray:
    """What a claim about adapters is judged on, (seeds, batches or layers): a method's own, or minus the baseline's.

    Args:
        quantity: As in references/claims.yaml.
        method: As in references/claims.yaml.
        baseline: As in references/claims.yaml; None: the method's own quantity.
        over: As in references/claims.yaml.
        conflict: As `load_gradients` returns it.
        proxy: `proxy.csv`, as `results.read_routing` returns it.
        history: As `results.history` returns it.
    """
    if quantity == "correlation":
        ours = correlations(proxy, method, "trained", *over)
        base = correlations(proxy, method, "random", *over) if baseline == "random_routers" else None
    elif quantity == "information":
        ours, base = information(history, method), information(history, baseline)
    else:
        rows = on_adapters(conflict, negative=quantity == "conflict")
        ours = per_batch(rows, method, over, part=ADAPTERS)
        base = None if baseline is None else per_batch(rows, baseline, over, part=ADAPTERS)
    return ours.to_numpy() if base is None else paired(ours, base)


def expert_use(history: pd.DataFrame, use: pd.DataFrame, method: str, seed: int) -> pd.DataFrame:
    """Use of the experts by one run: in the first and the last window of training, and on held-out pairs.

    Returns:
        Columns when (what is shown, in words), task, layer (its index), expert, share (mean gate, 0 to 1).
    """
    run = history[(history.method == method) & (history.seed == seed)].sort_values("step")
    rows = []
    for window in run.iloc[[0, -1]].drop_duplicates("step").itertuples():
        when = f"training, to step {window.step + 1}"
        for task, layers in window.use.items():
            rows += [(when, task, i, e, x) for i, gates in enumerate(layers) for e, x in enumerate(gates)]
    held_out = use[(use.method == method) & (use.seed == seed)]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(held_out.layer))}
    numbered = held_out.assign(layer=held_out.layer.map(numbers))
    means = numbered.groupby(["task", "layer", "expert"], sort=False).share.mean()
    rows += [("held-out pairs", *key, share) for key, share in means.items()]
    return pd.DataFrame(rows, columns=["when", "task", "layer", "expert", "share"])


def blocks_of(layers: Sequence[str]) -> list[str]:
    """The block of each adapted layer, from its name.

    >>> blocks_of(["language_model.layers.0.mlp.up_proj", "encoder.layer.3.attention.self.query"])
    ['0', '3']
    """
    return [number[1] if (number := re.search(r"\.(\d+)\.", name)) else "" for name in layers]


def load_gradients(preset: str, methods: Sequence[str], *experiments: str, file: str = "gradients.csv") -> pd.DataFrame:
    """Gradient conflict of runs: columns method, seed, pair ("first–second"), and those of the probe.

    Args:
        preset: A name in configs/presets.
        methods: Variants that were probed.
        experiments: Keys of `Preset.all_experiments`.
        file: "gradients.csv" of tasks, or "set_gradients.csv" of the sets of a task.
    """
    rows = results.read(preset, methods, file, experiments=experiments, dtype={"block": str})
    rows.insert(2, "pair", rows["first"] + "–" + rows["second"])
    return rows


def between_sets(conflict: pd.DataFrame) -> pd.DataFrame:
    """Mean cosine of the gradients of two sets, over seeds, batches and blocks: how much sets of a task conflict.

    Args:
        conflict: "set_gradients.csv", as `load_gradients` returns it.

    Returns:
        Columns method, task, first, second (equal for two batches of one set), cosine.
    """
    rows = on_adapters(conflict)
    return rows.groupby(["method", "task", "first", "second"], sort=False).cosine.mean().reset_index()


def per_batch(conflict: pd.DataFrame, method: str, pairs: Sequence[str], *, part: str = "attention") -> pd.DataFrame:
    """Mean cosine over the blocks, (seed x (pair, batch)), for some pairs of tasks.

    Raises:
        ValueError: If the method has no such rows.
    """
    rows = conflict[(conflict.method == method) & conflict.pair.isin(pairs) & (conflict.part == part)]
    if missing := set(pairs) - set(rows.pair):
        raise ValueError(f"{method}: no {part} gradients of {', '.join(sorted(missing))}")
    return rows.pivot_table(index="seed", columns=["pair", "batch"], values="cosine", aggfunc="mean")


def by_block(conflict: pd.DataFrame, *, part: str = "attention") -> pd.DataFrame:
    """Mean cosine and its 95 % bootstrap interval over seeds and batches, per block, method and pair of tasks.

    Args:
        conflict: As `load_gradients` returns it, with two tasks or more.
        part: Of a block, one of the column `part`.

    Returns:
        Columns pair (`ALL_PAIRS` first, with its interval over pairs too), method, same_task (False: the pair; True:
        both of its tasks, each with itself), block, mean, low, high, seeds.
    """
    rows = conflict[conflict.part == part]
    same = rows["first"] == rows["second"]
    apart = rows[~same]
    pairs = {ALL_PAIRS: (apart, rows[same])}
    for (first, second), between in apart.groupby(["first", "second"], sort=False):
        pairs[f"{first}–{second}"] = between, rows[same & rows["first"].isin([first, second])]
    frames = []
    for pair, sides in pairs.items():
        for same_task, side in zip((False, True), sides, strict=True):
            means = statistics.intervals(side, "cosine", ["method", "block"], ["pair", "batch"])
            frames.append(means.assign(pair=pair, same_task=same_task))
    return pd.concat(frames, ignore_index=True)
