"""Every claim with its difference, its intervals and its verdict."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...analysis.judgement import NOT_JUDGED, OPEN
from ..method_styles import MethodStyle
from ..style import FULL, footnote, new_figure
from .intervals import draw_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        draw_interval(axes, y, row.difference, row.low_beyond, row.high_beyond, look, **bounds)
        size = {"capsize": 0, "elinewidth": 2.2, "markersize": 4, "markerfacecoloralt": "white"}
        draw_interval(axes, y, row.difference, row.low, row.high, look, fill=filled, **size)
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
