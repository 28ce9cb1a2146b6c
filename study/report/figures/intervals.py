"""Figures of means and differences with their intervals."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..method_styles import METHODS, MethodStyle
from ..style import COLUMN, FULL, _legend, footnote, new_figure, seeds_text
from .words import mid_sentence, number, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ABLATION_HEIGHT = 0.2  # inches per ablation


def draw_interval(
    axes: "Axes",
    y: float,
    value: float,
    low: float,
    high: float,
    look: MethodStyle,
    *,
    fill: str = "full",
    within: tuple[float, float] | None = None,
    **style: Any,
) -> None:
    """Draw a value at a height with its interval: the one form of all figures.

    Args:
        axes: A panel.
        y: The height.
        value: The value.
        low: Of its interval; nan: no bar.
        high: Of its interval.
        look: Colour and marker.
        fill: Of the marker.
        within: Where the interval may be drawn; it ends in an arrow where it goes on beyond. None: anywhere.
        style: Keywords of `errorbar`.
    """
    style = {"capsize": 1.5, "elinewidth": 1, "marker": look.marker} | style
    first, last = (low, high) if within is None else (max(low, within[0]), min(high, within[1]))
    # An interval of few values can miss their mean by a rounding error, and matplotlib takes no negative bar.
    error = [[max(value - first, 0.0) if first == first else first], [max(last - value, 0.0) if last == last else last]]
    axes.errorbar(value, y, xerr=error, color=look.colour, fillstyle=fill, **style)
    for end, cut, arrow in ((low, first, "<"), (high, last, ">")):
        if end != cut and end == end:
            axes.plot(cut, y, arrow, color=look.colour, markersize=3.5, markeredgewidth=0)


def inside(limits: tuple[float, float]) -> tuple[float, float]:
    """Where an interval is cut so that its arrow lies inside the axis of these limits.

    >>> inside((0.0, 100.0))
    (1.5, 98.5)
    """
    edge = 0.015 * (limits[1] - limits[0])
    return limits[0] + edge, limits[1] - edge


def _bars(rows: pd.DataFrame, interval: str) -> str:
    """What the bars of a figure are; that there are none where no row has an interval, as with one seed.

    >>> _bars(pd.DataFrame({"low": [float("nan")]}), "95 %"), _bars(pd.DataFrame({"low": [0.1, None]}), "95 %")
    ('no interval', 'bars: 95 %')
    """
    return f"bars: {interval}" if rows.low.notna().any() else "no interval"


def seed_averages(
    means: pd.DataFrame, *, datasets: int, difference: str, names: Mapping[str, str] | None = None
) -> "Figure":
    """Average score per method: a point per seed, a line at their mean (Figures 4 and 6).

    Args:
        means: Columns method, seed, score.
        datasets: Number of datasets in an average.
        difference: The paired difference of the methods with its interval, for the note.
        names: Method -> its name in this figure; other methods have their label.
    """
    methods = list(dict.fromkeys(means.method))
    with new_figure(COLUMN, 2.1, "average score per method") as figure:
        axes = figure.add_subplot()
        for x, method in enumerate(methods):
            scores, look = means.score[means.method == method], METHODS[method]
            axes.plot([x] * len(scores), scores, look.marker, color=look.colour, alpha=0.8)
            axes.hlines(scores.mean(), x - 0.2, x + 0.2, color=look.colour)
            axes.annotate(number(scores.mean()), (x + 0.24, scores.mean()), va="center")
        axes.set_xticks(range(len(methods)), [(names or {}).get(m, METHODS[m].label) for m in methods])
        axes.set(ylabel=f"average score over\n{datasets} datasets (points)", xlim=(-0.5, len(methods) - 0.3))
        axes.margins(y=0.3)
        axes.grid(False, axis="x")
        seeds = seeds_text(means.groupby("method").seed.nunique())
        footnote(figure, f"{seeds}: points; line: their mean; {difference}")
    return figure


def ablations(rows: pd.DataFrame, *, seeds: str, interval: str) -> "Figure":
    """Difference of every ablation to its main method with interval: a panel per main, ablations of a setting together.

    Args:
        rows: Columns baseline (the main method), panel (the setting), main (its value of it), method,
            label, gain, low, high, in points.
        seeds: Number of seeds, as text ("1 to 3 seeds").
        interval: What [low, high] is.
    """
    sides = list(dict.fromkeys(rows.baseline))
    lines = [_lines(rows[rows.baseline == side]) for side in sides]
    with new_figure(
        FULL,
        0.4 + 0.5 * len(sides) + ABLATION_HEIGHT * sum(map(len, lines)),
        "differences of the ablations to their mains",
    ) as figure:
        panels = figure.subplots(len(sides), 1, squeeze=False, sharex=True, height_ratios=[*map(len, lines)]).ravel()
        for axes, side, shown in zip(panels, sides, lines, strict=True):
            _side(axes, shown)
            axes.set_title(f"{METHODS[side].label} with one setting changed", loc="left")
        panels[-1].set_xlabel("difference to the method as it is (points)")
        footnote(figure, f"{seeds}; {_bars(rows, interval)}")
    return figure


def _lines(rows: pd.DataFrame) -> list:
    """Headings (text) and ablations (a row) from top to bottom."""
    lines: list = []
    for (panel, main), group in rows.groupby(["panel", "main"], sort=False):
        lines += [f"{panel}, in place of {main}", *group.itertuples()]
    return lines


def _side(axes: "Axes", lines: list) -> None:
    axes.axvline(0, color="#444444", linewidth=0.8)
    labels = []
    for y, line in enumerate(lines):
        labels.append(line if isinstance(line, str) else line.label)
        if isinstance(line, str):
            continue
        draw_interval(axes, y, line.gain, line.low, line.high, METHODS[line.method])
    axes.set_yticks(range(len(lines)), labels)
    for label, line in zip(axes.get_yticklabels(), lines, strict=True):
        if isinstance(line, str):
            label.set(fontstyle="italic", color="#555555")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def time_ratios(times: pd.DataFrame, *, note: str) -> "Figure":
    """Time per contestant as a ratio to EM, with its interval: a panel per workload.

    Args:
        times: Columns label, method (of `METHODS`), workload, median, low, high, from top to bottom.
        note: What the points and bars are, how many rounds there were, and on what.
    """
    labels, workloads = list(dict.fromkeys(times.label)), list(dict.fromkeys(times.workload))
    with new_figure(FULL, 0.85 + 0.19 * len(labels), "time of inference as a ratio to EM") as figure:
        panels = figure.subplots(1, len(workloads), sharey=True, sharex=True, squeeze=False)[0]
        for axes, workload in zip(panels, workloads, strict=True):
            axes.axvline(1, color="#444444", linewidth=0.8, zorder=0)
            for row in times[times.workload == workload].itertuples():
                draw_interval(axes, labels.index(row.label), row.median, row.low, row.high, METHODS[row.method])
            axes.set(title=workload, xlabel="time / time of EM", ylim=(len(labels) - 0.4, -0.6))
            axes.set_yticks(range(len(labels)), labels)
            axes.grid(False, axis="y")
            axes.tick_params(axis="y", length=0)
        footnote(figure, note)
    return figure


def gains(scores: pd.DataFrame, paper: pd.DataFrame, *, interval: str, baseline: str = "em") -> "Figure":
    """Gain over a baseline per task type and method, with its interval, beside the paper's (hollow).

    Args:
        scores: Columns task_type, method, gain, low, high, in points, and seeds; task types from top to bottom.
        paper: Columns task_type, method, gain; rows that the paper lacks are left out.
        interval: What [low, high] is, e.g. "95 % bootstrap over datasets and seeds".
        baseline: What the gains are over, for the labels.
    """
    types, methods = list(dict.fromkeys(scores.task_type)), list(dict.fromkeys(scores.method))
    published = {(r.task_type, r.method): r.gain for r in paper.dropna().itertuples()}
    over = f"gain over {mid_sentence(METHODS[baseline].label)}"
    height = 0.7 + len(types) * max(0.32, 0.11 * len(methods))
    with new_figure(FULL, height, f"{over} per task type") as figure:
        axes = figure.add_subplot()
        for row in scores.itertuples():
            look = METHODS[row.method]
            offset = (methods.index(row.method) - (len(methods) - 1) / 2) * 0.72 / len(methods)
            y = types.index(row.task_type) + offset
            draw_interval(axes, y, row.gain, row.low, row.high, look)
            if (row.task_type, row.method) in published:
                axes.plot(published[row.task_type, row.method], y, look.marker, color=look.colour, fillstyle="none")
        axes.axvline(0, color="#444444", linewidth=0.8)
        axes.set_yticks(range(len(types)), [words(kind) for kind in types])
        for y in range(len(types) - 1):
            axes.axhline(y + 0.5, color="#E2E2E2", linewidth=0.5)
        axes.set(xlabel=f"{over} (points)", ylim=(len(types) - 0.5, -0.5))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        _legend(figure, methods, paper=bool(published))
        footnote(figure, f"{seeds_text(scores.seeds)}; {_bars(scores, interval)}")
    return figure


def task_conflict(rows: pd.DataFrame, *, seeds: str, batches: int, interval: str) -> "Figure":
    """Cosine between gradients on the adapters, a marker per method: two tasks to the left, two batches of one right.

    Args:
        rows: Columns pair, method, same_task (True: the two tasks, each with itself; hollow), mean, low, high.
        seeds: Number of seeds of each method, as text ("1 to 2 seeds").
        batches: Batches per task.
        interval: What [low, high] is.
    """
    pairs, methods = list(dict.fromkeys(rows.pair)), list(dict.fromkeys(rows.method))
    height = 1.0 + len(pairs) * max(0.3, 0.085 * len(methods))
    with new_figure(FULL, height, "cosine of task gradients on the adapters") as figure:
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, same in zip(panels, (False, True), strict=True):
            axes.axvline(0, color="#444444", linewidth=0.8)
            for row in rows[rows.same_task == same].itertuples():
                y = pairs.index(row.pair) + (methods.index(row.method) - (len(methods) - 1) / 2) * 0.8 / len(methods)
                fill, size = ("none", 3.2) if same else ("full", 3.2)
                draw_interval(axes, y, row.mean, row.low, row.high, METHODS[row.method], fill=fill, markersize=size)
            for y in range(len(pairs) - 1):
                axes.axhline(y + 0.5, color="#E2E2E2", linewidth=0.5)
            axes.set_title("batches of one task" if same else "two tasks")
            axes.set(xlabel="cosine of gradients", ylim=(len(pairs) - 0.5, -0.5))
            axes.grid(False, axis="y")
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(pairs)), [words(pair) for pair in pairs])
        _legend(figure, methods, paper=False)
        footnote(figure, f"{seeds}, {batches} batches per task; bars: {interval}")
    return figure
