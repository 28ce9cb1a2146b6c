"""Figures by block: drift, distance of experts, gradient conflict."""

from typing import TYPE_CHECKING

import pandas as pd

from ..method_styles import METHODS
from ..style import FULL, footnote, new_figure
from .heat_map import heat_map
from .words import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.2  # inches of a row of a heat map
SHARED, DENSE_MODEL = "shared", "dense model"


def drift(rows: pd.DataFrame, *, seeds: str, interval: str) -> "Figure":
    """Drift from the initial weights: a row per part of a method, a column per block, feed-forward above attention.

    Args:
        rows: Columns method, what ("shared", "dense model" or an expert), block (from 0), mean, low, high: fractions of
            the initial weights' norm.
        seeds: Number of seeds behind each number, as text ("1 to 2 seeds").
        interval: What [low, high] is.
    """
    parts = {
        "feed-forward and its norms": rows[rows.what != SHARED],
        "attention (all tasks)": rows[rows.what == SHARED],
    }
    parts = {title: part for title, part in parts.items() if len(part)}
    heights = [len(part.drop_duplicates(["method", "what"])) for part in parts.values()]
    height = 0.85 + ROW * sum(heights) + 0.3 * len(parts)
    with new_figure(FULL, height, "drift of the weights by block") as figure:
        panels = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=heights).ravel()
        limit = 100 * rows["mean"].max()
        for axes, (title, part) in zip(panels, parts.items(), strict=True):
            image = _by_block(axes, part.assign(name=[_part(row) for row in part.itertuples()]), limit)
            axes.set_title(title, loc="left")
        panels[-1].set_xlabel("block")
        figure.colorbar(image, ax=list(panels), label="drift (% of the initial norm)", shrink=0.8)
        footnote(figure, f"{seeds}; {_widest(rows, interval)}")
    return figure


def _part(row) -> str:
    label = METHODS[row.method].label
    return label if row.what in (SHARED, DENSE_MODEL) else f"{label}, {words(row.what)} expert"


def expert_distance(rows: pd.DataFrame, *, seeds: str, interval: str) -> "Figure":
    """Distance between every two experts: a row per pair, a column per block.

    Args:
        rows: Columns pair, block (from 0), mean, low, high: fractions of the initial weights' norm.
        seeds: Number of seeds behind each number, as text ("1 to 2 seeds").
        interval: What [low, high] is.
    """
    height = 1.0 + ROW * rows.pair.nunique()
    with new_figure(FULL, height, "distance between experts by block") as figure:
        axes = figure.add_subplot()
        image = _by_block(axes, rows.assign(name=rows.pair.map(words)), 100 * rows["mean"].max())
        axes.set_xlabel("block")
        figure.colorbar(image, ax=axes, label="distance (% of\nthe initial norm)")
        footnote(figure, f"{seeds}; {_widest(rows, interval)}")
    return figure


def _by_block(axes: "Axes", rows: pd.DataFrame, limit: float):
    """Per cent as a heat map of name and block; the image."""
    names = list(dict.fromkeys(rows["name"]))
    table = 100 * rows.astype({"block": int}).pivot(index="name", columns="block", values="mean").loc[names]
    return heat_map(axes, table.to_numpy(), names, [str(b + 1) for b in table.columns], limit=limit, digits=2)


def _widest(rows: pd.DataFrame, interval: str) -> str:
    """How wide the intervals of a heat map are at most, in per cent points of the norm."""
    widths = (rows.high - rows.low).dropna()
    if widths.empty or not widths.max():
        return "no interval"
    return f"{interval}: at most ±{50 * widths.max():.2f} (all are in the CSV)"


def gradient_conflict(rows: pd.DataFrame, *, seeds: str, batches: int, interval: str) -> "Figure":
    """Cosine between gradients by block: a line of panels per pair of tasks, two tasks to the left, one to the right.

    Args:
        rows: As `analysis.experts.by_block` returns it; blocks from 0.
        seeds: Number of seeds of each method, as text ("1 to 2 seeds").
        batches: Batches per task.
        interval: What [low, high] is.
    """
    rows = rows.astype({"block": int})
    pairs, methods = list(dict.fromkeys(rows.pair)), list(dict.fromkeys(rows.method))
    blocks = sorted(rows.block.unique())
    with new_figure(FULL, 1.25 * len(pairs) + 0.8, "cosine of task gradients by block") as figure:
        panels = figure.subplots(len(pairs), 2, sharex=True, sharey=True, squeeze=False)
        for pair, line in zip(pairs, panels, strict=True):
            for axes, same in zip(line, (False, True), strict=True):
                axes.axhline(0, color="#444444", linewidth=0.8)
                here = rows[(rows.pair == pair) & (rows.same_task == same)]
                for number, method in enumerate(methods):
                    shift = 0.62 * (number - (len(methods) - 1) / 2) / len(methods)
                    _means(axes, here[here.method == method], method, shift, hollow=same)
                axes.set_xticks(blocks, [str(b + 1) for b in blocks])
                axes.set_title(f"{words(pair)}: {'batches of one task' if same else 'two tasks'}", loc="left")
                axes.grid(False, axis="x")
            line[0].set_ylabel("cosine")
        for axes in panels[-1]:
            axes.set_xlabel("block")
        names = panels[0][0].get_legend_handles_labels()
        figure.legend(*names, loc="outside upper center", ncols=len(methods))
        footnote(figure, f"attention only; {seeds}, {batches} batches per task; bars: {interval}")
    return figure


def _means(axes: "Axes", rows: pd.DataFrame, method: str, shift: float, *, hollow: bool) -> None:
    """A marker with its bar per block, beside those of other methods."""
    look = METHODS[method]
    error = [(rows["mean"] - rows.low).clip(lower=0), (rows.high - rows["mean"]).clip(lower=0)]
    axes.errorbar(
        rows.block + shift,
        rows["mean"],
        yerr=error,
        color=look.colour,
        marker=look.marker,
        linestyle="none",
        fillstyle="none" if hollow else "full",
        label=look.label,
        markersize=3.2,
        capsize=1.2,
        elinewidth=0.8,
    )
