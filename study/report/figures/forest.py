"""Every claim with its difference, its intervals and its verdict."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...analysis.judgement import NOT_JUDGED, OPEN
from ..method_styles import MethodStyle
from ..style import FULL, footnote, new_figure
from .intervals import draw_interval, inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Marker and filling tell the verdicts apart in grey, too. No method has one of these colours.
VERDICTS = {
    "reproduced": MethodStyle("reproduced", "#00808A", "o"),
    "contradicted": MethodStyle("contradicted", "#B5179E", "X"),
    "supported": MethodStyle("supported", "#4DB6BD", "^"),
    "refuted": MethodStyle("refuted", "#D66BC6", "v"),
    OPEN: MethodStyle(OPEN, "#666666", "s"),
    NOT_JUDGED: MethodStyle(NOT_JUDGED, "#999999", "."),
}
LINE = 0.115  # inches per line of a label
GAP = 0.07  # inches between claims
LABEL_WIDTH = 52  # characters of a claim on one line
BAND = "#EDEDED"
QUANTITIES = {
    "score": "difference of scores (points)",
    "similarity": "difference of inter-task similarities (cosine)",
    "gradient": "cosine of task gradients, or its difference",
    "conflict": "difference of gradient conflict (cosine below zero)",
    "correlation": "rank correlation of routing similarity, or its difference",
    "information": "difference of mutual information (nats)",
}


def forest(verdicts: pd.DataFrame, *, seeds: str) -> "Figure":
    """Difference with both intervals per claim, a panel per quantity, the marker by verdict.

    The thick bar is the interval for another training on these datasets, the thin one that for other datasets too. The
    band is what the design would hardly have seen: less than the detectable difference on either side of the value that
    the claim names (the short line). A hollow diamond is the paper's difference. A panel is as wide as the differences
    and intervals of usual width need; a wider one ends in an arrow.

    Args:
        verdicts: As `claims.collect` returns it.
        seeds: Number of seeds, as text ("1 to 3 seeds").
    """
    groups = [(q, verdicts[verdicts.quantity == q]) for q in QUANTITIES if (verdicts.quantity == q).any()]
    sizes = [_height(rows) for _, rows in groups]
    with new_figure(FULL, sum(sizes) + 0.5 * len(groups) + 0.5, "verdict on every claim") as figure:
        panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=sizes).ravel()
        for axes, (quantity, rows) in zip(panels, groups, strict=True):
            _panel(axes, rows)
            axes.set_xlabel(QUANTITIES[quantity])
        _verdict_legend(figure, verdicts)
        bars = "95 % intervals by random effects, thick: another training on these datasets, thin: other datasets too"
        note = (
            f"{seeds}; {bars}; arrow: the interval goes on; grey band: below the minimum detectable effect (power 0.8)"
        )
        footnote(figure, f"{note}; right: what is claimed")
    return figure


def _height(rows: pd.DataFrame) -> float:
    """Inches that the labels of some claims need."""
    return len(rows) * (GAP + LINE * max(_lines(claim).count("\n") + 1 for claim in rows.claim))


def _lines(claim: str) -> str:
    """The text of a claim, in lines of about the same length where one is too long."""
    parts = math.ceil(len(claim) / LABEL_WIDTH)
    return claim if parts == 1 else textwrap.fill(claim, len(claim) // parts + 8)


def _panel(axes: "Axes", rows: pd.DataFrame) -> None:
    limits = _range(rows)
    within = inside(limits)
    axes.axvline(0, color="#444444", linewidth=0.8)
    for y, row in enumerate(rows.itertuples()):
        if math.isfinite(row.detectable):
            low, high = max(row.than - row.detectable, limits[0]), min(row.than + row.detectable, limits[1])
            axes.barh(y, high - low, left=low, height=0.72, color=BAND, zorder=0.5)
        axes.plot([row.than, row.than], [y - 0.36, y + 0.36], color="#444444", linewidth=0.8)
        if math.isfinite(row.paper):
            axes.plot(row.paper, y, "D", color="#222222", fillstyle="none", markersize=3.5, markeredgewidth=0.7)
        if not math.isfinite(row.difference):
            axes.text(0.01, y, NOT_JUDGED, transform=axes.get_yaxis_transform(), va="center", fontsize=6)
            continue
        look = VERDICTS[row.verdict]
        filled = "none" if row.verdict == OPEN else "full"
        bounds = {"elinewidth": 0.7, "capsize": 1.8, "marker": ""}
        draw_interval(axes, y, row.difference, row.low_beyond, row.high_beyond, look, within=within, **bounds)
        size = {"capsize": 0, "elinewidth": 2.2, "markersize": 4, "markerfacecoloralt": "white"}
        draw_interval(axes, y, row.difference, row.low, row.high, look, fill=filled, within=within, **size)
    axes.set_xlim(*limits)
    axes.set_yticks(range(len(rows)), [_lines(claim) for claim in rows.claim], fontsize=6, linespacing=0.95)
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.get_major_formatter().set_powerlimits((-4, 6))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), [_claimed(row) for row in rows.itertuples()], fontsize=6)
    for side in (axes, right):
        side.tick_params(axis="y", length=0)
    right.spines["right"].set_visible(False)
    axes.grid(False, axis="y")


def _range(rows: pd.DataFrame) -> tuple[float, float]:
    """From the lowest to the highest mark, of the intervals those of usual width: two seeds can have very wide ones."""
    marks = pd.concat([rows.difference, rows.paper, rows.than]).dropna()
    reach = (rows.high_beyond - rows.low_beyond).dropna() / 2
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
