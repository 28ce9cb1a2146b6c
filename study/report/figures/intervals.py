"""Figures of means and differences with their intervals."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from ..method_styles import METHODS, MethodStyle
from ..style import COLUMN, FULL, _legend, footnote, new_figure, seeds_text
from .experts import SHORT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ABLATION_HEIGHT = 0.2  # inches per ablation


FILLS = ("full", "none", "left")  # by workload, so that a grey print tells them apart


def draw_interval(
    axes: "Axes",
    y: float,
    value: float,
    low: float,
    high: float,
    look: MethodStyle,
    *,
    fill: str = "full",
    **style: Any,
) -> None:
    """Draw a value at a height with its interval: the one form of all figures."""
    error = [[value - low], [high - value]]  # NaN: no bar
    style = {"capsize": 1.5, "elinewidth": 1, "marker": look.marker} | style
    axes.errorbar(value, y, xerr=error, color=look.colour, fillstyle=fill, **style)


def _bars(rows: pd.DataFrame, interval: str) -> str:
    """What the bars of a figure are; that there are none where no row has an interval, as with one seed.

    >>> _bars(pd.DataFrame({"low": [float("nan")]}), "95 %"), _bars(pd.DataFrame({"low": [0.1, None]}), "95 %")
    ('no interval', 'bars: 95 %')
    """
    return f"bars: {interval}" if rows.low.notna().any() else "no interval"


def seed_averages(means: pd.DataFrame, *, datasets: int, difference: str) -> "Figure":
    """Average score per method: a point per seed, a line at their mean (Figures 4 and 6).

    Args:
        means: Columns method, seed, score.
        datasets: Number of datasets in an average.
        difference: The paired difference of the methods with its interval, for the note.
    """
    methods = list(dict.fromkeys(means.method))
    with new_figure(COLUMN, 2.1, "average score per method") as figure:
        axes = figure.add_subplot()
        for x, method in enumerate(methods):
            scores, look = means.score[means.method == method], METHODS[method]
            axes.plot([x] * len(scores), scores, look.marker, color=look.colour, alpha=0.8)
            axes.hlines(scores.mean(), x - 0.2, x + 0.2, color=look.colour)
            axes.annotate(f"{scores.mean():.2f}", (x + 0.24, scores.mean()), va="center")
        axes.set_xticks(range(len(methods)), [METHODS[m].label for m in methods])
        axes.set(ylabel=f"average score over\n{datasets} datasets (points)", xlim=(-0.5, len(methods) - 0.3))
        axes.margins(y=0.3)
        axes.grid(False, axis="x")
        seeds = seeds_text(means.groupby("method").seed.nunique())
        footnote(figure, f"{seeds}: points; line: their mean; {difference}")
    return figure


def ablations(rows: pd.DataFrame, *, seeds: str, interval: str) -> "Figure":
    """Difference of every ablation to its main row with interval: a side per main row, ablations of a setting together.

    Args:
        rows: Columns baseline (the main row), panel (the setting), main (the main row's value of it), method, label,
            gain, low, high, in points.
        seeds: Number of seeds, as text ("1 to 3 seeds").
        interval: What [low, high] is.
    """
    sides = list(dict.fromkeys(rows.baseline))
    lines = [_lines(rows[rows.baseline == side]) for side in sides]
    with new_figure(
        FULL, 0.8 + ABLATION_HEIGHT * max(map(len, lines)), "differences of the ablations to their main rows"
    ) as figure:
        panels = figure.subplots(1, len(sides), squeeze=False, sharex=True).ravel()
        for axes, side, shown in zip(panels, sides, lines, strict=True):
            _side(axes, shown)
            axes.set(title=METHODS[side].label, xlabel=f"difference to {METHODS[side].label} (points)")
        footnote(figure, f"{seeds}; {_bars(rows, interval)}; in brackets: the main row's setting")
    return figure


def _lines(rows: pd.DataFrame) -> list:
    """Headings (text) and ablations (a row) from top to bottom."""
    lines: list = []
    for (panel, main), group in rows.groupby(["panel", "main"], sort=False):
        lines += [f"{panel} ({main})", *group.itertuples()]
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
    """Time per contestant and workload as a ratio to EM, with its interval; a tick marks what is allowed.

    Args:
        times: Columns label, method (of `METHODS`), workload, median, low, high and bar (NaN: none), from top to
            bottom.
        note: What the points and bars are, how many rounds there were, and on what.
    """
    from matplotlib.lines import Line2D

    labels, workloads = list(dict.fromkeys(times.label)), list(dict.fromkeys(times.workload))
    step = 0.66 / len(workloads)
    with new_figure(COLUMN, 0.75 + 0.3 * len(labels), "time of inference as a ratio to EM") as figure:
        axes = figure.add_subplot()
        for row in times.itertuples():
            look, place = METHODS[row.method], workloads.index(row.workload)
            y = labels.index(row.label) + (place - (len(workloads) - 1) / 2) * step
            form = {"elinewidth": 0.8, "markerfacecoloralt": "white"}
            draw_interval(axes, y, row.median, row.low, row.high, look, fill=FILLS[place], **form)
            if row.bar == row.bar:  # not NaN
                axes.plot(
                    [row.bar, row.bar], [y - 0.7 * step, y + 0.7 * step], color="#222222", linewidth=1.2, zorder=5
                )
        axes.axvline(1, color="#888888", linewidth=0.8, linestyle=":", zorder=0)
        axes.set_yticks(range(len(labels)), labels)
        axes.set(xlabel="time / time of EM", ylim=(len(labels) - 0.5, -0.5))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        drawn = dict(color="#444444", linestyle="none", markerfacecoloralt="white")
        entries = [
            Line2D([], [], marker="o", fillstyle=f, label=w, **drawn) for f, w in zip(FILLS, workloads, strict=False)
        ]
        entries.append(Line2D([], [], color="#222222", marker="|", linestyle="none", label="allowed"))
        figure.legend(
            handles=entries, loc="outside upper center", ncols=len(entries), columnspacing=0.8, handletextpad=0.1
        )
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
    over = f"gain over {METHODS[baseline].label}"
    with new_figure(FULL, 0.7 + 0.42 * len(types), f"{over} per task type") as figure:
        axes = figure.add_subplot()
        for row in scores.itertuples():
            look = METHODS[row.method]
            offset = (methods.index(row.method) - (len(methods) - 1) / 2) * 0.72 / len(methods)
            y = types.index(row.task_type) + offset
            draw_interval(axes, y, row.gain, row.low, row.high, look)
            if (row.task_type, row.method) in published:
                axes.plot(published[row.task_type, row.method], y, look.marker, color=look.colour, fillstyle="none")
        axes.axvline(0, color="#444444", linewidth=0.8)
        axes.set_yticks(range(len(types)), types)
        for y in range(len(types) - 1):
            axes.axhline(y + 0.5, color="#E2E2E2", linewidth=0.5)
        axes.set(xlabel=f"{over} (points)", ylim=(len(types) - 0.5, -0.5))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        _legend(figure, methods, paper=bool(published))
        footnote(figure, f"{seeds_text(scores.seeds)}; {_bars(scores, interval)}")
    return figure


def task_conflict(rows: pd.DataFrame, *, seeds: str, batches: int, interval: str) -> "Figure":
    """Cosine between the gradients of two tasks on the adapters, a line per pair of tasks and a marker per method.

    Args:
        rows: Columns pair, method, same_task (True: the two tasks, each with itself; hollow), mean, low, high.
        seeds: Number of seeds of each method, as text ("1 to 2 seeds").
        batches: Batches per task.
        interval: What [low, high] is.
    """
    from matplotlib.lines import Line2D

    pairs, methods = list(dict.fromkeys(rows.pair)), list(dict.fromkeys(rows.method))
    with new_figure(FULL, 0.8 + 0.46 * len(pairs), "cosine of task gradients on the adapters") as figure:
        axes = figure.add_subplot()
        axes.axvline(0, color="#444444", linewidth=0.8)
        for row in rows.itertuples():
            look = METHODS[row.method]
            y = pairs.index(row.pair) + (methods.index(row.method) - (len(methods) - 1) / 2) * 0.76 / len(methods)
            if row.same_task:
                axes.plot(row.mean, y, look.marker, color=look.colour, fillstyle="none", alpha=0.9)
                continue
            # An interval of few values can miss their mean by a rounding error, and matplotlib takes no negative bar.
            draw_interval(axes, y, row.mean, min(row.mean, row.low), max(row.mean, row.high), look)
        for y in range(len(pairs) - 1):
            axes.axhline(y + 0.5, color="#E2E2E2", linewidth=0.5)
        axes.set_yticks(range(len(pairs)), [" – ".join(SHORT.get(t, t) for t in p.split("–")) for p in pairs])
        axes.set(xlabel="cosine of gradients", ylim=(len(pairs) - 0.5, -0.5))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        entries = [
            Line2D([], [], color=METHODS[m].colour, marker=METHODS[m].marker, linestyle="none", label=METHODS[m].label)
            for m in methods
        ]
        hollow = Line2D([], [], color="#444444", marker="o", fillstyle="none", linestyle="none", label="one task")
        figure.legend(handles=[*entries, hollow], loc="outside upper center", ncols=4)
        footnote(figure, f"{seeds}, {batches} batches per task; bars: {interval}; hollow: mean alone")
    return figure
