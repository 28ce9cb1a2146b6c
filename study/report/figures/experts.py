"""Figures of what routers do: use of experts, specialisation, routing as a proxy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ..method_styles import METHODS
from ..style import FULL, footnote, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LAYER_AXIS = "adapted layer (ticks: first of a block)"
MOST_TICKS = 8
SHORT = {
    "image_classification": "classification",
    "image_retrieval": "retrieval",
    "visual_question_answering": "answering",
    "visual_grounding": "grounding",
}


def expert_use(use: pd.DataFrame, blocks: Sequence[str], *, run: str) -> "Figure":
    """Mean gate of every expert by layer: a row per task, a column per time.

    Args:
        use: Columns when, task, layer (its index), expert, share: of one run, since experts have no names.
        blocks: The block of each layer.
        run: Method and seed, for the note.
    """
    times, tasks = list(dict.fromkeys(use.when)), list(dict.fromkeys(use.task))
    experts = use.expert.max() + 1
    with new_figure(FULL, 0.7 + 0.62 * len(tasks), "use of the experts by task and layer") as figure:
        panels = figure.subplots(len(tasks), len(times), sharex=True, sharey=True, squeeze=False)
        for task, row in zip(tasks, panels, strict=True):
            for when, axes in zip(times, row, strict=True):
                here = use[(use.task == task) & (use.when == when)]
                table = here.pivot(index="expert", columns="layer", values="share").to_numpy()
                image = axes.imshow(table, cmap="cividis", vmin=0, vmax=use.share.max(), aspect="auto")
                axes.set_yticks(range(experts), [e + 1 for e in range(experts)])
                _ticks(axes, blocks)
                axes.grid(False)
            row[0].set_ylabel(f"{SHORT.get(task, task)}\nexpert")
        for when, axes, last in zip(times, panels[0], panels[-1], strict=True):
            axes.set_title(when)
            last.set_xlabel("adapted layer, by block")
        figure.colorbar(image, ax=panels, label="mean gate", shrink=0.7)
        footnote(figure, f"{run}; uniform use: {1 / experts:.2f}; no interval")
    return figure


def specialisation(
    history: pd.DataFrame,
    switches: pd.DataFrame,
    layers: pd.DataFrame,
    blocks: Sequence[str],
    *,
    seeds: str,
    interval: str,
) -> "Figure":
    """Mutual information of expert with task and with set, a line per seed; with task by layer at the end.

    Args:
        history: Columns method, seed, step, mutual_information and set_information (nats, mean over layers), untrained
            (the first of both before training) and noise.
        switches: Columns method, seed, step: where the second stage begins, if after the first step.
        layers: Columns method, layer, mean, low, high: of the last window.
        blocks: The block of each layer.
        seeds: Number of seeds, as text.
        interval: What [low, high] is.
    """
    methods = list(dict.fromkeys(history.method))
    height = 2.3 + 0.16 * -(-len(methods) // 3)
    with new_figure(FULL, height, "mutual information of task and expert") as figure:
        over_time, of_sets, over_layers = figure.subplots(1, 3)
        for number, method in enumerate(methods):
            look, mine = METHODS[method], history[history.method == method]
            for axes, column in ((over_time, "mutual_information"), (of_sets, "set_information")):
                for k, (_, run) in enumerate(mine.groupby("seed")):
                    axes.plot(
                        run.step + 1,
                        run[column],
                        color=look.colour,
                        marker=look.marker,
                        markersize=3,
                        linewidth=0.9,
                        label=look.label if k == 0 else None,
                    )
            for step in switches.step[(switches.method == method) & (switches.step > 0)]:
                over_time.axvline(step, color=look.colour, linestyle=":", linewidth=1)
            shown = layers[layers.method == method]
            shift = 0.5 * (number / max(1, len(methods) - 1) - 0.5)  # lines of one height stay apart
            _points(over_layers, shown, shown.layer + shift, look.colour, look.marker, "none", "full", look.label)
        before = history.dropna(subset="untrained")
        if len(before):
            middle, noise = before.untrained.mean(), before.noise.mean()
            over_time.axhspan(middle - noise, middle + noise, color="#999999", alpha=0.4, linewidth=0)
        over_time.set(xlabel="step (end of a window)", ylabel="mutual information (nats)", ylim=(0, None), title="task")
        of_sets.set(xlabel="step (end of a window)", ylim=(0, None), title="set")
        over_layers.set(xlabel=LAYER_AXIS, ylim=(0, None), title="task, last window")
        _ticks(over_layers, blocks)
        figure.legend(*over_time.get_legend_handles_labels(), loc="outside upper center", ncols=min(3, len(methods)))
        said = ["mean over layers", f"{seeds}: a line each, bars (right): {interval}"]
        said += ["dotted: stage 2 begins"] * bool(len(switches)) + ["grey: untrained routers and their noise"] * bool(
            len(before)
        )
        footnote(figure, "; ".join(said))
    return figure


def between_sets(cosines: pd.DataFrame, *, seeds: str, batches: int) -> "Figure":
    """Cosine between the gradients of two sets of a task: a panel per task, a point per pair of sets.

    Args:
        cosines: As `analysis.experts.between_sets` returns it.
        seeds: Number of seeds, as text.
        batches: Of each set.
    """
    tasks, methods = list(dict.fromkeys(cosines.task)), list(dict.fromkeys(cosines.method))
    with new_figure(FULL, 1.0 + 0.2 * len(methods), "cosine of two sets' gradients by task") as figure:
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
            axes.set(title=SHORT.get(task, task), yticks=range(len(methods)))
            axes.set_yticklabels([METHODS[method].label for method in methods])
        panels[0].invert_yaxis()
        for axes in panels:
            axes.set_xlabel("cosine")
        footnote(figure, f"filled: two sets, hollow: two batches of one set; {seeds}, {batches} batches; no interval")
    return figure


def proxy(rows: pd.DataFrame, blocks: Sequence[str], *, seeds: str, interval: str) -> "Figure":
    """Rank correlation of routing similarity by layer, trained and random routers: a panel per reference and pool.

    Args:
        rows: Columns method, router ("trained" or "random"), pool, reference, layer (index, or "all"), mean, low, high.
        blocks: The block of each layer.
        seeds: Number of seeds, as text.
        interval: What [low, high] is.
    """
    references, pools = list(dict.fromkeys(rows.reference)), list(dict.fromkeys(rows.pool))
    place = {str(i): i for i in range(len(blocks))} | {"all": len(blocks) + 1}
    with new_figure(FULL, 0.7 + 1.55 * len(references), "correlation of routing similarity by layer") as figure:
        panels = figure.subplots(len(references), len(pools), sharex=True, sharey="row", squeeze=False)
        for reference, line in zip(references, panels, strict=True):
            for pool, axes in zip(pools, line, strict=True):
                axes.axhline(0, color="#444444", linewidth=0.8)
                here = rows[(rows.reference == reference) & (rows.pool == pool)]
                for (method, router), group in here.groupby(["method", "router"], sort=False):
                    look, random = METHODS[method], router == "random"
                    drawn = (look.colour, look.marker, "--" if random else "-", "none" if random else "full")
                    for whole, part in group.groupby(group.layer == "all"):  # a point apart, or a line over layers
                        label = None if whole else f"{look.label}, {router} routers"
                        _points(axes, part, part.layer.map(place), *drawn, label)
                axes.set_title(f"{reference}; {'all pairs' if pool == 'all' else pool}")
                _ticks(axes, blocks, extra=place["all"])
            line[0].set_ylabel("Spearman's correlation")
        for axes in panels[-1]:
            axes.set_xlabel(LAYER_AXIS)
        names = panels[0][0].get_legend_handles_labels()
        figure.legend(*names, loc="outside upper center", ncols=min(2, len(names[1])))
        footnote(figure, f"{seeds}; bars: {interval}; all: signature of all layers, as EANS uses it")
    return figure


def _points(
    axes: "Axes", rows: pd.DataFrame, x, colour: str, marker: str, line: str, fill: str, label: str | None
) -> None:
    """Means with bars from low to high."""
    from matplotlib.ticker import MaxNLocator

    error = [(rows["mean"] - rows.low).clip(lower=0), (rows.high - rows["mean"]).clip(lower=0)]
    axes.errorbar(
        x,
        rows["mean"],
        yerr=error,
        color=colour,
        marker=marker,
        linestyle=line,
        fillstyle=fill,
        label=label,
        markersize=3,
        linewidth=0.8,
        elinewidth=0.6,
        capsize=1,
    )
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))


def _ticks(axes: "Axes", blocks: Sequence[str], *, extra: int | None = None) -> None:
    """A tick at the first layer of each block, at most `MOST_TICKS` of them, and one for all layers."""
    first = [i for i, block in enumerate(blocks) if block not in blocks[:i]]
    first = first[:: -(-len(first) // MOST_TICKS)]
    places, labels = list(first), [blocks[i] for i in first]
    if extra is not None:
        places, labels = [*places, extra], [*labels, "all"]
    axes.set_xticks(places, labels)


def expert_shares(shares: pd.DataFrame, *, seeds: str, texts: int) -> "Figure":
    """Share of tokens per expert under each instruction, a panel per route, blocks from left to right.

    Args:
        shares: Columns route, block, expert, share, and seed; the first seed is shown, since experts have no names.
        seeds: Number of seeds that were trained, as text ("1 to 2 seeds").
        texts: Number of texts behind the shares.
    """
    routes, blocks = list(dict.fromkeys(shares.route)), sorted(shares.block.unique())
    experts = sorted(shares.expert.unique())
    shown = shares[shares.seed == shares.seed.min()]
    with new_figure(FULL, 1.7, "share of tokens per expert and route") as figure:
        panels = figure.subplots(1, len(routes), sharey=True)
        for axes, route in zip(panels, routes, strict=True):
            table = shown[shown.route == route].pivot(index="expert", columns="block", values="share")
            image = axes.imshow(table.to_numpy(), cmap="cividis", vmin=0, vmax=1, aspect="auto")
            axes.set(title=route, xlabel="block")
            axes.set_xticks(range(len(blocks)), [b + 1 for b in blocks])
            axes.set_yticks(range(len(experts)), [e + 1 for e in experts])
            axes.grid(False)
        panels[0].set_ylabel("expert")
        figure.colorbar(image, ax=panels, label="share of tokens", shrink=0.9)
        footnote(figure, f"seed {int(shown.seed.iloc[0])} of {seeds}; {texts} texts; no interval")
    return figure
