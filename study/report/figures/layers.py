"""Figures by layer or block: drift, distance of experts, gradient conflict."""

from typing import TYPE_CHECKING

import pandas as pd

from ..method_styles import METHODS, MethodStyle
from ..style import COLUMN, FULL, footnote, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# For experts and pairs of experts, in their order of appearance: no colour or marker of EM, IC or MoTE.
LOOKS = tuple(
    MethodStyle("", colour, marker)
    for colour, marker in zip(
        ("#8C2D04", "#FD8D3C", "#1B7F5C", "#74C476", "#7B3E8C", "#8A8A8A"), ("^", "v", "P", "X", "p", "*"), strict=True
    )
)


def drift(rows: pd.DataFrame, *, seeds: str, interval: str) -> "Figure":
    """Relative drift from the initial weights by block: feed-forward in one panel, attention in the other.

    Args:
        rows: Columns method, what ("shared", "dense model" or an expert), block, mean, low, high: fractions of the
            initial weights' norm. Several experts of a method are a line each, dense models dashed.
        seeds: Number of seeds behind each point, as text ("1 to 2 seeds").
        interval: What [low, high] is.
    """
    experts = [name for name in dict.fromkeys(rows.what) if name not in ("shared", "dense model")]
    with new_figure(FULL, 2.5, "drift of the weights by block") as figure:
        feed_forward, attention = figure.subplots(1, 2, sharey=True)
        for (method, weights), line in rows.groupby(["method", "what"], sort=False):
            look, label = METHODS[method], METHODS[method].label
            if weights in experts:
                look = LOOKS[experts.index(weights) % len(LOOKS)]
                _line(feed_forward, line, look, f"{label}: {weights}", scale=100)
            elif weights == "shared":
                _line(attention, line, look, label, scale=100)
            else:
                _line(feed_forward, line, look, f"{label}: dense", dashed=True, scale=100)
        for axes, title in (
            (feed_forward, "feed-forward and its norms"),
            (attention, "attention (shared by all tasks)"),
        ):
            axes.set(title=title, xlabel="block")
        feed_forward.set(ylabel="drift (% of the initial norm)", ylim=(0, None))
        feed_forward.legend(loc="lower right", ncols=2)
        attention.legend(loc="lower right")
        footnote(figure, f"{seeds}; bars: {interval}")
    return figure


def expert_distance(rows: pd.DataFrame, *, seeds: str, interval: str) -> "Figure":
    """Distance between every two experts by block.

    Args:
        rows: Columns pair, block, mean, low, high: fractions of the initial weights' norm.
        seeds: Number of seeds behind each point, as text ("1 to 2 seeds").
        interval: What [low, high] is.
    """
    pairs = list(dict.fromkeys(rows.pair))
    with new_figure(COLUMN, 3.1, "distance between experts by block") as figure:
        axes = figure.add_subplot()
        for number, pair in enumerate(pairs):
            short = pair.replace("search_", "")  # six pairs in a column's width
            _line(axes, rows[rows.pair == pair], LOOKS[number % len(LOOKS)], short, scale=100)
        axes.set(xlabel="block", ylabel="distance of two experts\n(% of the initial norm)", ylim=(0, None))
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside upper center",
            ncols=1 + (len(pairs) > 3),
            handlelength=1.6,
            columnspacing=0.8,
            handletextpad=0.5,
        )
        footnote(figure, f"{seeds}; bars: {interval}")
    return figure


def gradient_conflict(rows: pd.DataFrame, *, seeds: str, batches: int, interval: str) -> "Figure":
    """Cosine between the gradients of two tasks by block: a panel over all pairs, then one per pair.

    Args:
        rows: As `analysis.experts.by_block` returns it. Lines of one task are dashed and hollow.
        seeds: Number of seeds of each method, as text ("1 to 2 seeds").
        batches: Batches per task.
        interval: What [low, high] is.
    """
    pairs, methods = list(dict.fromkeys(rows.pair)), list(dict.fromkeys(rows.method))
    columns = min(2, len(pairs))
    with new_figure(FULL, 1.9 * -(-len(pairs) // columns) + 0.5, "cosine of task gradients by block") as figure:
        panels = figure.subplots(-(-len(pairs) // columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, pair in zip(panels, pairs, strict=False):
            axes.axhline(0, color="#444444", linewidth=0.8)
            for method in methods:
                for same in (True, False):
                    line = rows[(rows.pair == pair) & (rows.method == method) & (rows.same_task == same)]
                    label = f"{METHODS[method].label}, {'one task' if same else 'two tasks'}"
                    _line(axes, line, METHODS[method], label, dashed=same)
            axes.set_title(pair)
        for axes in panels[len(pairs) :]:
            axes.set_visible(False)
        for axes in panels[::columns]:
            axes.set_ylabel("cosine of gradients")
        for axes in panels[max(0, len(pairs) - columns) : len(pairs)]:
            axes.set_xlabel("block")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(methods))
        footnote(figure, f"attention only; {seeds}, {batches} batches per task; bars: {interval}")
    return figure


def _line(
    axes: "Axes", rows: pd.DataFrame, look: MethodStyle, label: str, *, dashed: bool = False, scale: float = 1
) -> None:
    """Means by block, times a scale, with bars from low to high; hollow markers where dashed."""
    from matplotlib.ticker import MaxNLocator

    rows = rows.astype({"block": int}).sort_values("block")
    mean, low, high = (scale * rows[name] for name in ("mean", "low", "high"))
    axes.errorbar(
        rows.block,
        mean,
        yerr=[(mean - low).clip(lower=0), (high - mean).clip(lower=0)],
        color=look.colour,
        marker=look.marker,
        capsize=1.5,
        elinewidth=0.8,
        linestyle="--" if dashed else "-",
        linewidth=0.9 if dashed else 1.2,
        fillstyle="none" if dashed else "full",
        label=label,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
