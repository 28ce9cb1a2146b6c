"""The figure of the claims page: every claim's difference with its interval, and its verdict."""

import math
from typing import TYPE_CHECKING

from .claim_overview import NOT_JUDGED
from .figures import FULL, _drawing, _note
from .looks import Look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Marker and filling tell the verdicts apart in grey, too.
VERDICTS = {
    "reproduced": Look("reproduced", "#0B4A8F", "o"),
    "contradicted": Look("contradicted", "#D1603D", "X"),
    "inconclusive at this scale": Look("inconclusive at this scale", "#666666", "s"),
}
ROW = 0.155  # inches of height per claim
QUANTITIES = {
    "score": "difference of scores (points)",
    "similarity": "difference of inter-task similarities (cosine)",
    "gradient": "cosine of task gradients, or its difference",
    "conflict": "difference of gradient conflict (cosine below zero)",
    "correlation": "rank correlation of routing similarity, or its difference",
    "information": "difference of mutual information of task and expert (nats)",
}


def forest(found: "pd.DataFrame", *, seeds: str, interval: str) -> "Figure":
    """Difference with interval per claim, a panel per quantity, the marker by verdict.

    The band is what the design would hardly have seen: less than the detectable difference on either side of the
    value that the claim names (the short line). A hollow diamond is the paper's difference.

    Args:
        found: As `claim_overview.collect` returns it.
        seeds: Number of seeds, as text ("1 to 3 seeds").
        interval: What [low, high] is.
    """
    groups = [(q, found[found.quantity == q]) for q in QUANTITIES if (found.quantity == q).any()]
    sizes = [len(rows) for _, rows in groups]
    with _drawing(FULL, ROW * sum(sizes) + 0.45 * len(groups) + 0.45, "verdict on every claim") as figure:
        panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=sizes).ravel()
        for axes, (quantity, rows) in zip(panels, groups, strict=True):
            _panel(axes, rows)
            axes.set_xlabel(QUANTITIES[quantity])
        _verdict_legend(figure, found)
        _note(figure, f"{seeds}; bars: {interval}; band: not detectable with power 0.8; right: what is claimed")
    return figure


def _panel(axes: "Axes", rows: "pd.DataFrame") -> None:
    axes.axvline(0, color="#444444", linewidth=0.8)
    for y, row in enumerate(rows.itertuples()):
        if math.isfinite(row.detectable):
            axes.barh(y, 2 * row.detectable, left=row.than - row.detectable, height=0.72, color="#EDEDED", zorder=0.5)
        axes.plot([row.than, row.than], [y - 0.36, y + 0.36], color="#444444", linewidth=0.8)
        if math.isfinite(row.paper):
            axes.plot(row.paper, y, "D", color="#222222", fillstyle="none", markersize=3.5, markeredgewidth=0.7)
        if row.verdict == NOT_JUDGED:
            axes.text(0.01, y, NOT_JUDGED, transform=axes.get_yaxis_transform(), va="center", fontsize=6)
            continue
        look = VERDICTS[row.verdict]
        filled = "none" if row.verdict.startswith("inconclusive") else "full"
        error = [[row.difference - row.low], [row.high - row.difference]]
        axes.errorbar(
            row.difference, y, xerr=error, color=look.colour, marker=look.marker, fillstyle=filled, capsize=1.2,
            elinewidth=0.9, markersize=3.8,
        )  # fmt: skip
    signs = {"greater": ">", "less": "<"}
    claimed = [f"{signs[r.claimed]} {r.than:g}".replace("-", "−") for r in rows.itertuples()]
    axes.set_yticks(range(len(rows)), rows.claim, fontsize=6)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), claimed, fontsize=6)
    for side in (axes, right):
        side.tick_params(axis="y", length=0)
    right.spines["right"].set_visible(False)
    axes.grid(False, axis="y")


def _verdict_legend(figure: "Figure", found: "pd.DataFrame") -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D(
            [], [], color=look.colour, marker=look.marker, linestyle="none", label=look.label,
            fillstyle="none" if look.marker == "s" else "full",
        )
        for verdict, look in VERDICTS.items()
        if (found.verdict == verdict).any()
    ]  # fmt: skip
    if found.paper.notna().any():
        entries.append(
            Line2D([], [], color="#222222", marker="D", fillstyle="none", linestyle="none", label="the paper's")
        )
    figure.legend(handles=entries, loc="outside upper right", ncols=len(entries))
