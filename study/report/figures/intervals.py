"""Figures of means and differences with their intervals."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...analysis.judgement import NOT_JUDGED, OPEN
from ..method_styles import METHODS, MethodStyle
from ..style import COLUMN, FULL, _legend, footnote, new_figure, seeds_text
from .experts import SHORT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ABLATION_HEIGHT = 0.2  # inches per ablation


FILLS = ("full", "none", "left")  # by workload, so that a grey print tells them apart


# Marker and filling tell the verdicts apart in grey, too.
VERDICTS = {
    "reproduced": MethodStyle("reproduced", "#0B4A8F", "o"),
    "contradicted": MethodStyle("contradicted", "#D1603D", "X"),
    "supported": MethodStyle("supported", "#2A7F62", "^"),
    "refuted": MethodStyle("refuted", "#8E3B8A", "v"),
    OPEN: MethodStyle(OPEN, "#666666", "s"),
    NOT_JUDGED: MethodStyle(NOT_JUDGED, "#999999", "."),
}
CLAIM_HEIGHT = 0.155  # inches per claim
LABEL_WIDTH = 66  # characters of a claim on one line
QUANTITIES = {
    "score": "difference of scores (points)",
    "similarity": "difference of inter-task similarities (cosine)",
    "gradient": "cosine of task gradients, or its difference",
    "conflict": "difference of gradient conflict (cosine below zero)",
    "correlation": "rank correlation of routing similarity, or its difference",
    "information": "difference of mutual information (nats)",
}


def _interval(
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
    """Draw a value at a height with its interval: the one form of all figures here."""
    error = [[value - low], [high - value]]  # NaN: no bar
    style = {"capsize": 1.5, "elinewidth": 1, "marker": look.marker} | style
    axes.errorbar(value, y, xerr=error, color=look.colour, fillstyle=fill, **style)


def forest(verdicts: pd.DataFrame, *, seeds: str) -> "Figure":
    """Difference with both intervals per claim, a panel per quantity, the marker by verdict.

    The thick bar is the interval for another training on these datasets, the thin one that for other datasets too. The
    band is what the design would hardly have seen: less than the detectable difference on either side of the value that
    the claim names (the short line). A hollow diamond is the paper's difference. A panel is as wide as the differences
    and intervals of usual width need; a wider one leaves it.

    Args:
        verdicts: As `claims.collect` returns it.
        seeds: Number of seeds, as text ("1 to 3 seeds").
    """
    groups = [(q, verdicts[verdicts.quantity == q]) for q in QUANTITIES if (verdicts.quantity == q).any()]
    sizes = [len(rows) for _, rows in groups]
    with new_figure(FULL, CLAIM_HEIGHT * sum(sizes) + 0.45 * len(groups) + 0.45, "verdict on every claim") as figure:
        panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=sizes).ravel()
        for axes, (quantity, rows) in zip(panels, groups, strict=True):
            _panel(axes, rows)
            axes.set_xlabel(QUANTITIES[quantity])
        _verdict_legend(figure, verdicts)
        bars = "95 % intervals by random effects, thick: another training on these sets, thin: other sets too"
        footnote(figure, f"{seeds}; {bars}; band: not detectable with power 0.8; right: what is claimed")
    return figure


def _panel(axes: "Axes", rows: pd.DataFrame) -> None:
    axes.axvline(0, color="#444444", linewidth=0.8)
    for y, row in enumerate(rows.itertuples()):
        if math.isfinite(row.detectable):
            axes.barh(y, 2 * row.detectable, left=row.than - row.detectable, height=0.72, color="#EDEDED", zorder=0.5)
        axes.plot([row.than, row.than], [y - 0.36, y + 0.36], color="#444444", linewidth=0.8)
        if math.isfinite(row.paper):
            axes.plot(row.paper, y, "D", color="#222222", fillstyle="none", markersize=3.5, markeredgewidth=0.7)
        if not math.isfinite(row.difference):
            axes.text(0.01, y, NOT_JUDGED, transform=axes.get_yaxis_transform(), va="center", fontsize=6)
            continue
        look = VERDICTS[row.verdict]
        filled = "none" if row.verdict == OPEN else "full"
        bounds = {"elinewidth": 0.7, "capsize": 1.8, "marker": ""}
        _interval(axes, y, row.difference, row.low_beyond, row.high_beyond, look, **bounds)
        size = {"capsize": 0, "elinewidth": 2.2, "markersize": 4, "markerfacecoloralt": "white"}
        _interval(axes, y, row.difference, row.low, row.high, look, fill=filled, **size)
    axes.set_xlim(*_range(rows))
    claimed = [_claimed(row) for row in rows.itertuples()]
    axes.set_yticks(range(len(rows)), [_two_lines(claim) for claim in rows.claim], fontsize=6)
    for label in axes.get_yticklabels():
        if "\n" in label.get_text():
            label.set(fontsize=5, linespacing=0.9)
    axes.xaxis.get_major_formatter().set_powerlimits((-6, 6))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), claimed, fontsize=6)
    for side in (axes, right):
        side.tick_params(axis="y", length=0)
    right.spines["right"].set_visible(False)
    axes.grid(False, axis="y")


def _two_lines(claim: str) -> str:
    """The text of a claim, in two lines of about the same length where one is too long."""
    return claim if len(claim) <= LABEL_WIDTH else textwrap.fill(claim, len(claim) // 2 + 8)


def _range(rows: pd.DataFrame) -> tuple[float, float]:
    """From the lowest to the highest mark, of the intervals those of usual width: two seeds can have very wide ones."""
    marks = pd.concat([rows.difference, rows.paper, rows.than]).dropna()
    reach = (rows.high - rows.low).dropna() / 2
    usual = 0.0 if reach.empty else float(reach.quantile(0.75))
    low, high = float(marks.min()) - usual, float(marks.max()) + usual
    edge = 0.06 * (high - low) or 1.0
    return low - edge, high + edge


def _claimed(row: Any) -> str:
    """What a claim says of its difference, for the margin.

    >>> from types import SimpleNamespace
    >>> _claimed(SimpleNamespace(claimed="less", than=-1.0)), _claimed(SimpleNamespace(claimed="equal", margin=0.02))
    ('< −1', '± 0.02')
    """
    sign, value = {"greater": (">", "than"), "less": ("<", "than"), "equal": ("±", "margin")}[row.claimed]
    return f"{sign} {getattr(row, value):g}".replace("-", "−")


def _verdict_legend(figure: "Figure", verdicts: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D

    drawn = verdicts[verdicts.difference.notna()]
    entries = [
        Line2D(
            [],
            [],
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            label=look.label,
            fillstyle="none" if verdict == OPEN else "full",
        )
        for verdict, look in VERDICTS.items()
        if (drawn.verdict == verdict).any()
    ]
    if verdicts.paper.notna().any():
        entries.append(
            Line2D([], [], color="#222222", marker="D", fillstyle="none", linestyle="none", label="the paper's")
        )
    figure.legend(handles=entries, loc="outside upper right", ncols=len(entries))


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
        footnote(figure, f"{seeds}; bars: {interval}; in brackets: the main row's setting")
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
        _interval(axes, y, line.gain, line.low, line.high, METHODS[line.method])
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
            _interval(axes, y, row.median, row.low, row.high, look, fill=FILLS[place], **form)
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
            _interval(axes, y, row.gain, row.low, row.high, look)
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
        footnote(figure, f"{seeds_text(scores.seeds)}; bars: {interval}")
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
            _interval(axes, y, row.mean, min(row.mean, row.low), max(row.mean, row.high), look)
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
