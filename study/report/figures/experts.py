"""Figures of what routers do: use of experts, specialisation, routing as a proxy."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import pandas as pd

from ..method_styles import METHODS
from ..style import FULL, footnote, label_outside, new_figure, seeds_text
from .heat_map import heat_map
from .intervals import draw_interval
from .words import mid_sentence, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_TICKS = 8
PANEL_TITLE = 26  # letters of a line above one of three panels
LAYER_AXIS = "adapted layer (numbers: first of a block)"


def expert_use(use: pd.DataFrame, blocks: Sequence[str], *, run: str) -> "Figure":
    """Mean gate of every expert by layer, more or less than an even share: a row per task, a column per time.

    Args:
        use: Columns when, task, layer (its index), expert, share: of one run, since experts have no names.
        blocks: The block of each layer, from "0".
        run: Method and seed, for the note.
    """
    times, tasks = list(dict.fromkeys(use.when)), list(dict.fromkeys(use.task))
    experts = use.expert.max() + 1
    even = 1 / experts
    with new_figure(FULL, 0.9 + 0.62 * len(tasks), "use of the experts by task and layer") as figure:
        panels = figure.subplots(len(tasks), len(times), sharex=True, sharey=True, squeeze=False)
        for task, row in zip(tasks, panels, strict=True):
            for when, axes in zip(times, row, strict=True):
                here = use[(use.task == task) & (use.when == when)]
                table = here.pivot(index="expert", columns="layer", values="share").to_numpy()
                names = [str(e + 1) for e in range(experts)]
                reach = (use.share - even).abs().max() or even
                image = heat_map(axes, table, names, block_ticks(blocks), around=even, limit=reach)
            row[0].set_ylabel(f"{words(task).replace(' ', chr(10))}\nexpert")
        for when, axes, last in zip(times, panels[0], panels[-1], strict=True):
            axes.set_title(when)
            last.set_xlabel("adapted layer, by block")
        bar = figure.colorbar(image, ax=panels, shrink=0.8, label=f"mean gate (even: {even:.2f})")
        bar.ax.set_ylim(max(0.0, even - reach), min(1.0, even + reach))
        footnote(figure, f"{run}; white: an even share of {even:.2f}; no interval")
    return figure


def specialisation(history: pd.DataFrame, switches: pd.DataFrame, *, seeds: str) -> "Figure":
    """Mutual information of expert with task (full) and dataset (dashed) over training: a panel per method.

    Args:
        history: Columns method, seed, step, mutual_information and set_information (nats, mean over layers), untrained
            (the first of both before training) and noise.
        switches: Columns method, seed, step: where the second stage begins, if after the first step.
        seeds: Number of seeds, as text.
    """
    from matplotlib.lines import Line2D

    methods = list(dict.fromkeys(history.method))
    columns = min(3, len(methods))
    lines = -(-len(methods) // columns)
    before = history.dropna(subset="untrained")
    taller = 0.15 * max(len(METHODS[method].label) > PANEL_TITLE for method in methods)
    height = 0.85 + (1.35 + taller) * lines
    with new_figure(FULL, height, "mutual information of task and expert over training") as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, method in zip(panels, methods, strict=False):
            colour, mine = METHODS[method].colour, history[history.method == method]
            if len(before):
                middle, noise = before.untrained.mean(), before.noise.mean()
                axes.axhspan(max(0, middle - noise), middle + noise, color="#999999", alpha=0.4, linewidth=0)
            for _, run in mine.groupby("seed"):
                axes.plot(run.step + 1, run.mutual_information, "-o", color=colour, markersize=3)
                axes.plot(run.step + 1, run.set_information, "--", color=colour, linewidth=1)
            for step in switches.step[(switches.method == method) & (switches.step > 0)]:
                axes.axvline(step, color="#555555", linestyle=":", linewidth=1)
            axes.set_title(fill(METHODS[method].label, PANEL_TITLE))
        panels[0].set_ylim(bottom=0)  # of all, once all is drawn
        label_outside(panels, len(methods), columns, x="step", y="mutual\ninformation (nats)")
        known = [Line2D([], [], color="#444444", marker="o", markersize=3, label="expert and task")]
        known += [Line2D([], [], color="#444444", linestyle="--", linewidth=1, label="expert and dataset")]
        figure.legend(handles=known, loc="outside upper center", ncols=2)
        said = [f"mean over layers; {seeds}: a line each; no interval"]
        said += ["dotted: the second stage begins"] * bool((switches.step > 0).any())
        said += ["grey: untrained routers and their noise"] * bool(len(before))
        footnote(figure, "; ".join(said))
    return figure


def gains_by_information(rows: pd.DataFrame, *, interval: str) -> "Figure":
    """Gain over plain LoRA against what the experts know of the dataset: a panel per kind of batch, a point per method.

    Args:
        rows: As `analysis.experts.gains_by_information` returns it, and column against, the
            baseline.
        interval: What [low, high] is.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    baselines = list(dict.fromkeys(rows.against))
    with new_figure(
        FULL,
        2.9 + 0.17 * rows.against.value_counts().max(),
        "gain against the mutual information of dataset and expert",
    ) as figure:
        panels = figure.subplots(1, len(baselines), sharex=True, sharey=True, squeeze=False)[0]
        for baseline, axes in zip(baselines, panels, strict=True):
            axes.axhline(0, color="#444444", linewidth=0.8)
            for row in rows[rows.against == baseline].itertuples(index=False):
                look = METHODS[row.method]
                error = [[row.gain - row.low], [row.high - row.gain]]
                style = {"color": look.colour, "marker": look.marker, "linestyle": "none", "label": look.label}
                axes.errorbar(row.information, row.gain, yerr=error, capsize=1.5, elinewidth=1, **style)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda nats, _: f"{nats:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set(title=f"over {mid_sentence(METHODS[baseline].label)}", xlabel="dataset and expert (nats)")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize="small")
        panels[0].set_ylabel("gain on seen datasets (points)")
        footnote(
            figure, f"information: on held-out pairs, mean of the seeds; {seeds_text(rows.seeds)}; bars: {interval}"
        )
    return figure


def specialisation_by_layer(layers: pd.DataFrame, blocks: Sequence[str], *, seeds: str) -> "Figure":
    """Mutual information of expert with task in the last window of training: a row per method, a column per layer.

    Args:
        layers: Columns method, layer, mean, low, high.
        blocks: The block of each layer, from "0".
        seeds: Number of seeds, as text.
    """
    methods = list(dict.fromkeys(layers.method))
    with new_figure(FULL, 0.9 + 0.22 * len(methods), "mutual information of task and expert by layer") as figure:
        axes = figure.add_subplot()
        table = layers.pivot(index="method", columns="layer", values="mean").loc[methods].to_numpy()
        image = heat_map(axes, table, [METHODS[m].label for m in methods], block_ticks(blocks))
        axes.set_xlabel(LAYER_AXIS)
        figure.colorbar(image, ax=axes, label="nats")
        footnote(figure, f"last window of training; mean of {seeds}; no interval")
    return figure


def between_sets(cosines: pd.DataFrame, *, seeds: str, batches: int) -> "Figure":
    """Cosine between the gradients of two datasets of a task: a panel per task, a point per pair of datasets.

    Args:
        cosines: As `analysis.experts.between_sets` returns it.
        seeds: Number of seeds, as text.
        batches: Of each dataset.
    """
    tasks, methods = list(dict.fromkeys(cosines.task)), list(dict.fromkeys(cosines.method))
    with new_figure(FULL, 1.0 + 0.2 * len(methods), "cosine of two datasets' gradients by task") as figure:
        panels = figure.subplots(1, len(tasks), sharex=True, sharey=True, squeeze=False)[0]
        for task, axes in zip(tasks, panels, strict=True):
            axes.axvline(0, color="#444444", linewidth=0.8)
            for place, method in enumerate(methods):
                here = cosines[(cosines.task == task) & (cosines.method == method)]
                same = here["first"] == here.second
                for rows, fill, shift in ((here[~same], "full", 0.12), (here[same], "none", -0.12)):
                    places = [place + shift] * len(rows)
                    look = {"color": METHODS[method].colour, "marker": METHODS[method].marker, "linestyle": "none"}
                    axes.plot(rows.cosine, places, fillstyle=fill, markersize=3, markeredgewidth=0.6, **look)
            axes.set(title=words(task), yticks=range(len(methods)), xlabel="cosine")
            axes.set_yticklabels([METHODS[method].label for method in methods])
            axes.locator_params(axis="x", nbins=4)
            axes.grid(False, axis="y")
        panels[0].set_ylim(len(methods) - 0.4, -0.6)
        note = f"filled: two datasets, hollow: two batches of one; {seeds}, {batches} batches; no interval"
        footnote(figure, note)
    return figure


def proxy(rows: pd.DataFrame, blocks: Sequence[str], *, seeds: str, interval: str) -> "Figure":
    """Rank correlation of routing similarity by layer (colours) and of the whole signature (points with intervals).

    A line per reference and pool; trained routers and random ones of a method stand below each other.

    Args:
        rows: Columns method, router ("trained" or "random"), pool, reference, layer (index, or "all"), mean, low, high.
        blocks: The block of each layer, from "0".
        seeds: Number of seeds, as text.
        interval: What [low, high] is.
    """
    rows = rows.assign(name=[f"{METHODS[r.method].label}, {r.router} routers" for r in rows.itertuples()])
    names = list(dict.fromkeys(rows["name"]))
    looks = {r.name: (METHODS[r.method], r.router) for r in rows.itertuples(index=False)}
    parts = list(dict.fromkeys(zip(rows.reference, rows.pool, strict=True)))
    layers = rows[rows.layer != "all"]
    reach = layers["mean"].abs().max() if len(layers) else 1.0
    height = len(parts) * (0.45 + 0.17 * len(names)) + 0.7
    with new_figure(FULL, height, "correlation of routing similarity by layer") as figure:
        panels = figure.subplots(len(parts), 2, squeeze=False, width_ratios=(3, 1.4))
        for (reference, pool), (by_layer, whole) in zip(parts, panels, strict=True):
            here = rows[(rows.reference == reference) & (rows.pool == pool)]
            table = here[here.layer != "all"].astype({"layer": int})
            table = table.pivot(index="name", columns="layer", values="mean").reindex(
                index=names, columns=range(len(blocks))
            )
            image = heat_map(by_layer, table.to_numpy(), names, block_ticks(blocks), around=0.0, limit=reach)
            by_layer.set_title(f"{REFERENCES.get(reference, reference)}, {POOLS.get(pool, pool)}", loc="left")
            whole.axvline(0, color="#444444", linewidth=0.8)
            for row in here[here.layer == "all"].itertuples(index=False):
                look, router = looks[row.name]
                fill = "none" if router == "random" else "full"
                draw_interval(whole, names.index(row.name), row.mean, row.low, row.high, look, fill=fill)
            whole.set(yticks=[], ylim=(len(names) - 0.4, -0.6))
            whole.locator_params(axis="x", nbins=4)
            whole.margins(x=0.15)
        panels[0][1].set_title("whole signature")
        panels[-1][0].set_xlabel(LAYER_AXIS)
        panels[-1][1].set_xlabel("correlation")
        figure.colorbar(image, ax=panels[:, 0], location="right", label="Spearman's correlation", shrink=0.6)
        footnote(figure, f"{seeds}; bars: {interval}; whole signature: of all layers, as EANS uses it; hollow: random")
    return figure


REFERENCES = {"embedding": "with the embeddings' similarity", "answer": "with answering the query"}
POOLS = {"all": "all pairs", "same task": "pairs of the same task"}


def block_ticks(blocks: Sequence[str]) -> list[str]:
    """A label per layer: the block's number, counted from 1, at its first layer, "" elsewhere.

    >>> block_ticks(["0", "0", "1"]), block_ticks(["", ""])
    (['1', '', '2'], ['', ''])
    """
    first = [i for i, block in enumerate(blocks) if block and block not in blocks[:i]]
    shown = first[:: -(-len(first) // MOST_TICKS)] if first else []
    return [str(int(block) + 1) if i in shown else "" for i, block in enumerate(blocks)]


def expert_shares(shares: pd.DataFrame, *, seeds: str, texts: int) -> "Figure":
    """Share of tokens per expert under each instruction, more or less than an even share: a panel per route.

    Args:
        shares: Columns route, block (from 0), expert, share, and seed; the first seed is shown, since experts have no
            names.
        seeds: Number of seeds that were trained, as text ("1 to 2 seeds").
        texts: Number of texts behind the shares.
    """
    routes, blocks = list(dict.fromkeys(shares.route)), sorted(shares.block.unique())
    experts = sorted(shares.expert.unique())
    shown, even = shares[shares.seed == shares.seed.min()], 1 / len(experts)
    with new_figure(FULL, 1.8, "share of tokens per expert and route") as figure:
        panels = figure.subplots(1, len(routes), sharey=True, squeeze=False)[0]
        for axes, route in zip(panels, routes, strict=True):
            table = shown[shown.route == route].pivot(index="expert", columns="block", values="share")
            names, numbers = [str(e + 1) for e in experts], [str(b + 1) for b in blocks]
            reach = (shown.share - even).abs().max() or even
            image = heat_map(axes, table.to_numpy(), names, numbers, around=even, limit=reach)
            axes.set(title=words(route), xlabel="block")
        panels[0].set_ylabel("expert")
        bar = figure.colorbar(image, ax=list(panels), label=f"share of tokens\n(even: {even:.2f})")
        bar.ax.set_ylim(max(0.0, even - reach), min(1.0, even + reach))
        seed = int(shown.seed.iloc[0])
        footnote(figure, f"seed {seed} of {seeds}; {texts} texts; white: an even share of {even:.2f}; no interval")
    return figure
