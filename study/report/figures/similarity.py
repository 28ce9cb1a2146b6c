"""Figures of inter-task similarity: mean, distribution, by layer."""

from typing import TYPE_CHECKING

import pandas as pd

from ..method_styles import METHODS
from ..style import COLUMN, FULL, footnote, new_figure, p_value
from .layers import _line

if TYPE_CHECKING:
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
            here = similarities[similarities.pair == pair]
            boxes = axes.boxplot(
                [here.similarity[here.method == m] for m in methods],
                whis=(5, 95),
                widths=0.55,
                patch_artist=True,
                tick_labels=[METHODS[m].label for m in methods],
                medianprops={"color": "white", "linewidth": 1},
                flierprops={"marker": ".", "markersize": 2, "alpha": 0.4},
            )
            for box, method in zip(boxes["boxes"], methods, strict=True):
                box.set(facecolor=METHODS[method].colour, edgecolor=METHODS[method].colour)
            axes.set_title(f"{pair}\n{p_value(pvalues[pair])}")
            axes.grid(False, axis="x")
        for axes in panels[len(pairs) :]:
            axes.set_visible(False)
        for axes in panels[::columns]:
            axes.set_ylabel("cosine similarity")
        footnote(figure, f"{seeds}; {texts} texts; box: quartiles, whiskers: 5–95 %; p: {test}")
    return figure


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
            axes.annotate(f"{row.mean:.3f}", (x, row.high), (0, 3), textcoords="offset points", ha="center")
        axes.set_xticks(range(len(means)), [METHODS[m].label for m in means.method])
        axes.set(ylabel="mean inter-task\ncosine similarity", ylim=(min(0, means.low.min()), 1.08))
        axes.grid(False, axis="x")
        footnote(figure, f"{seeds}; bars: {interval}")
    return figure


def similarity_by_layer(rows: pd.DataFrame, *, seeds: str, texts: int, interval: str) -> "Figure":
    """Mean inter-task cosine similarity of the pooled hidden states by layer, a line per method.

    Args:
        rows: Columns method, layer (0: what enters the first block), mean, low, high.
        seeds: Number of seeds of each method, as text ("1 to 2 seeds").
        texts: Number of texts.
        interval: What [low, high] is.
    """
    with new_figure(COLUMN, 2.3, "inter-task similarity by layer") as figure:
        axes = figure.add_subplot()
        for method, line in rows.groupby("method", sort=False):
            _line(axes, line.rename(columns={"layer": "block"}), METHODS[method], METHODS[method].label)
        axes.set(xlabel="layer (0: embeddings)", ylabel="mean inter-task\ncosine similarity", ylim=(None, 1.02))
        axes.legend(loc="lower left")
        footnote(figure, f"{seeds}; {texts} texts; bars: {interval}")
    return figure
