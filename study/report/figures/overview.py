"""The figure of a report's first page: three panels, each also a file of its own, for narrow screens."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from ...analysis.gains import MEAN_OF_DATASETS
from ...analysis.overview import CAPTIONS_ALONE, STARTS, UNTRAINED
from ..method_styles import METHODS
from ..style import COLUMN, FULL, new_figure
from .intervals import draw_interval
from .words import mid_sentence, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 2.9  # inches of a panel
WIDEST = 24  # letters of an axis's name that has its unit on the same line
WIDEST_LEGEND = 32  # letters of a legend on one line
LEGEND_BELOW, LINE = 0.17, 0.07  # in heights of a panel: under one line of the axis's name; each more line
BAND = "#D9DCE0"
TITLES = {"ic": "What experts add to instructions", "vl_lora_wide": "What experts add to low-rank adapters"}
STARTED = {UNTRAINED: "untrained backbone", CAPTIONS_ALONE: "captions alone"}
Panel = Callable[["Axes"], None]


def panels(similarity: pd.DataFrame, differences: pd.DataFrame) -> dict[str, Panel]:
    """Name -> what draws it: "similarity", "experts" (with experts - without) and "training" (trained - untrained).

    Args:
        similarity: As `analysis.overview.route_similarity` returns it; without rows, its panel is left out.
        differences: As `analysis.overview.score_differences` returns it; so are its panels without theirs.
    """
    drawn: dict[str, Panel] = {}
    if not similarity.empty:
        drawn["similarity"] = lambda axes: _similarity(axes, similarity)
    if not differences.empty:
        experts = differences[~differences.baseline.isin(STARTS)]
        training = differences[differences.baseline.isin(STARTS)]
        if len(experts):
            drawn["experts"] = lambda axes: _experts(axes, experts)
        if len(training):
            drawn["training"] = lambda axes: _training(axes, training)
    return drawn


def alone(panel: Panel, about: str) -> "Figure":
    """One panel as a figure."""
    with new_figure(COLUMN, HEIGHT, about) as figure:
        panel(figure.add_subplot())
    return figure


def together(drawn: dict[str, Panel]) -> "Figure":
    """All panels side by side."""
    with new_figure(
        1.5 * FULL, HEIGHT, "similarity, with experts against without, trained against untrained"
    ) as figure:
        row = figure.subplots(1, len(drawn), squeeze=False)[0]
        for axes, panel in zip(row, drawn.values(), strict=True):
            panel(axes)
    return figure


def _similarity(axes: "Axes", rows: pd.DataFrame) -> None:
    """Mean cosine similarity of one text under two tasks, a row per pair of tasks."""
    pairs = list(dict.fromkeys(rows.pair))
    _draw(axes, rows.rename(columns={"mean": "gain"}).assign(row=rows.pair), pairs, ["ic", "mote"])
    axes.set_yticks(range(len(pairs)), [words(pair) for pair in pairs])
    axes.set(xlabel="cosine similarity", title="How alike one text is under two tasks")
    _emphasise_last(axes, len(pairs))


def _type(kind: str) -> str:
    return "all datasets" if kind == MEAN_OF_DATASETS else words(kind)


def _experts(axes: "Axes", rows: pd.DataFrame) -> None:
    """What experts add per task type, the paper's value, and a band of what this design could not have seen."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds = list(dict.fromkeys(rows.row))
    method, baseline = rows.method.iloc[0], rows.baseline.iloc[0]
    look = METHODS[method]
    axes.axvline(0, color="#444444", linewidth=0.8)
    for y, row in enumerate(rows.itertuples()):
        if row.detectable == row.detectable:  # not NaN
            axes.barh(y, 2 * row.detectable, left=-row.detectable, height=0.74, color=BAND, zorder=0)
        draw_interval(axes, y, row.gain, row.low, row.high, look)
        if row.paper == row.paper:
            axes.plot(row.paper, y, "D", color="#222222", fillstyle="none", markersize=5, zorder=4)
    axes.set_yticks(range(len(kinds)), [_type(kind) for kind in kinds])
    difference = f"{look.label} − {mid_sentence(METHODS[baseline].label)}"
    separator = "\n" if len(difference) > WIDEST else " "
    axes.set(xlabel=f"{difference}{separator}(points)", title=TITLES[baseline])
    entries: list = [Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", label="here")]
    if rows.paper.notna().any():
        hollow = {"color": "#222222", "marker": "D", "fillstyle": "none", "markersize": 5, "linestyle": "none"}
        entries.append(Line2D([], [], label="paper", **hollow))
    if rows.detectable.notna().any():
        entries.append(Patch(color=BAND, label="not detectable"))
    _finish(axes, entries, len(kinds))


def _training(axes: "Axes", rows: pd.DataFrame) -> None:
    """Each trained method - the untrained backbone per task type."""
    kinds = list(dict.fromkeys(rows.row))
    axes.axvline(0, color="#444444", linewidth=0.8)
    _draw(axes, rows, kinds, list(dict.fromkeys(rows.method)))
    axes.set_yticks(range(len(kinds)), [_type(kind) for kind in kinds])
    axes.set(xlabel=f"trained − {STARTED[rows.baseline.iloc[0]]} (points)", title="What training itself changed")
    _emphasise_last(axes, len(kinds))


def _draw(axes: "Axes", rows: pd.DataFrame, names: list[str], methods: list[str]) -> None:
    """A value with its interval per row and method, the methods of a row one above the other."""
    from matplotlib.lines import Line2D

    step = 0.64 / len(methods)
    for row in rows.itertuples():
        y = names.index(row.row) + (methods.index(row.method) - (len(methods) - 1) / 2) * step
        draw_interval(axes, y, row.gain, row.low, row.high, METHODS[row.method], capsize=0)
    looks = [METHODS[method] for method in methods]
    entries = [Line2D([], [], color=v.colour, marker=v.marker, linestyle="none", label=v.label) for v in looks]
    _finish(axes, entries, len(names))


def _finish(axes: "Axes", entries: list, rows: int) -> None:
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    below = LEGEND_BELOW + LINE * axes.get_xlabel().count("\n")
    axes.legend(
        handles=entries,
        loc="upper center",
        bbox_to_anchor=(0.5, -below),
        ncols=len(entries) if sum(len(entry.get_label()) for entry in entries) <= WIDEST_LEGEND else 2,
        columnspacing=1.2,
        handletextpad=0.5,
        handlelength=1.2,
    )
    _emphasise_last(axes, rows)


def _emphasise_last(axes: "Axes", rows: int) -> None:
    """A line above the last row, the mean of all, whose label is bold."""
    if rows > 1:
        axes.axhline(rows - 1.5, color="#888888", linewidth=0.6)
    for label in axes.get_yticklabels()[-1:]:
        label.set_fontweight("bold")
