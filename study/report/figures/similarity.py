"""Figures of inter-task similarity: mean, distribution, by layer."""

from typing import TYPE_CHECKING

import pandas as pd

from ..method_styles import METHODS
from ..style import COLUMN, FULL, footnote, new_figure, p_value
from .words import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def similarity_panels(
    similarities: pd.DataFrame, pvalues: "dict[str, float]", *, seeds: str, texts: int, test: str
) -> "Figure":
    """Inter-task cosine similarity per pair of tasks, a box per method, with the test's p-value (Figure 3).

    Args:
        similarities: Columns pair, method, similarity: a row per text (and seed).
        pvalues: p-value of each pair.
        seeds: Number of seeds of each method, as text ("1 to 2 seeds").
        texts: Number of texts.
        test: What was tested, e.g. "one-sided Welch test, MoTE < IC".
    """
    pairs, methods = list(dict.fromkeys(similarities.pair)), list(dict.fromkeys(similarities.method))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    with new_figure(FULL, 1.75 * rows + 0.4, "inter-task similarity per pair of tasks") as figure:
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for axes, pair in zip(panels, pairs, strict=False):
            _boxes(axes, similarities[similarities.pair == pair], methods)
            axes.set_title(f"{words(pair)}\n{p_value(pvalues[pair])}")
        for axes in panels[len(pairs) :]:
            axes.set_visible(False)
        for axes in panels[::columns]:
            axes.set_ylabel("cosine similarity")
        footnote(figure, f"{seeds}; {texts} texts; box: quartiles, whiskers: 5–95 %; p: {test}")
    return figure


def _boxes(axes: "Axes", rows: pd.DataFrame, methods: list[str]) -> None:
    """A box per method; the median is a line beyond the box, so that it hides no box, however flat."""
    boxes = axes.boxplot(
        [rows.similarity[rows.method == m] for m in methods],
        whis=(5, 95),
        widths=0.5,
        patch_artist=True,
        tick_labels=[METHODS[m].label for m in methods],
        medianprops={"color": "#111111", "linewidth": 0.8},
        flierprops={"marker": ".", "markersize": 2, "alpha": 0.4},
    )
    for number, method in enumerate(methods):
        colour = METHODS[method].colour
        boxes["boxes"][number].set(facecolor=colour, edgecolor=colour, linewidth=1.6)
        middle = float(boxes["medians"][number].get_ydata()[0])
        boxes["medians"][number].set_data([number + 0.66, number + 1.34], [middle, middle])
        for line in (*boxes["whiskers"][2 * number : 2 * number + 2], *boxes["caps"][2 * number : 2 * number + 2]):
            line.set(color=colour, linewidth=1)
        boxes["fliers"][number].set(markeredgecolor=colour, markerfacecolor=colour)
    axes.grid(False, axis="x")


def mean_similarity(means: pd.DataFrame, *, seeds: str, interval: str) -> "Figure":
    """Average inter-task cosine similarity per method, with its interval (Figure 1).

    Args:
        means: Columns method, mean, low, high.
        seeds: Number of seeds of each method, as text ("1 to 2 seeds").
        interval: What [low, high] is.
    """
    with new_figure(COLUMN, 2.1, "mean inter-task similarity") as figure:
        axes = figure.add_subplot()
        for x, row in enumerate(means.itertuples()):
            error = [[row.mean - row.low], [row.high - row.mean]]
            axes.bar(x, row.mean, width=0.55, color=METHODS[row.method].colour)
            axes.errorbar(x, row.mean, yerr=error, color="#222222", capsize=3, elinewidth=1)
            axes.annotate(
                f"{row.mean:.2f}", (x, max(row.mean, row.high)), (0, 3), textcoords="offset points", ha="center"
            )
        axes.set_xticks(range(len(means)), [METHODS[m].label for m in means.method])
        axes.set(ylabel="mean inter-task\ncosine similarity", ylim=(min(0, means.low.min()), 1.15))
        axes.grid(False, axis="x")
        footnote(figure, f"{seeds}; bars: {interval}")
    return figure


def similarity_by_layer(
    rows: pd.DataFrame, differences: pd.DataFrame, *, seeds: str, texts: int, interval: str
) -> "Figure":
    """Mean inter-task cosine similarity of the pooled hidden states by layer, and the second method's less the first's.

    Args:
        rows: Columns method, layer (0: what enters the first block), mean, low, high.
        differences: Columns layer, mean, low, high: paired differences of two methods of `rows`, MoTE less IC.
        seeds: Number of seeds of each method, as text ("1 to 2 seeds").
        texts: Number of texts.
        interval: What [low, high] is.
    """
    with new_figure(FULL, 2.2, "inter-task similarity by layer") as figure:
        levels, apart = figure.subplots(1, 2, sharex=True)
        for method, line in rows.groupby("method", sort=False):
            _line(levels, line, METHODS[method].colour, METHODS[method].marker, METHODS[method].label)
        axis = "after block (0: embeddings)"
        levels.set(xlabel=axis, ylabel="mean inter-task\ncosine similarity", title="mean similarity")
        levels.legend(loc="lower left")
        apart.axhline(0, color="#444444", linewidth=0.8)
        _line(apart, differences, METHODS["mote"].colour, METHODS["mote"].marker, "")
        apart.set(xlabel=axis, ylabel="difference in cosine", title="MoTE − IC, paired by text and seed")
        footnote(figure, f"{seeds}; {texts} texts; bars: {interval}")
    return figure


def _line(axes: "Axes", rows: pd.DataFrame, colour: str, marker: str, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = rows.astype({"layer": int}).sort_values("layer")
    error = [(rows["mean"] - rows.low).clip(lower=0), (rows.high - rows["mean"]).clip(lower=0)]
    axes.errorbar(
        rows.layer, rows["mean"], yerr=error, color=colour, marker=marker, capsize=1.5, elinewidth=0.8, label=label
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.12)
