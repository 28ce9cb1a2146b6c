"""Figures of TSEmbed's rows: what every ablation changes against its main row."""

from typing import TYPE_CHECKING

from .figures import FULL, _drawing, _note
from .looks import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.2  # inches of height per ablation


def ablations(rows: "pd.DataFrame", *, seeds: str, interval: str) -> "Figure":
    """Difference of every ablation to its main row with interval: a side per main row, ablations of a setting together.

    Args:
        rows: Columns baseline (the main row), panel (the setting), main (the main row's value of it), method, label,
            gain, low, high, in points.
        seeds: Number of seeds, as text ("1 to 3 seeds").
        interval: What [low, high] is.
    """
    sides = list(dict.fromkeys(rows.baseline))
    lines = [_lines(rows[rows.baseline == side]) for side in sides]
    with _drawing(FULL, 0.8 + ROW * max(map(len, lines)), "differences of the ablations to their main rows") as figure:
        panels = figure.subplots(1, len(sides), squeeze=False, sharex=True).ravel()
        for axes, side, shown in zip(panels, sides, lines, strict=True):
            _side(axes, shown)
            axes.set(title=METHODS[side].label, xlabel=f"difference to {METHODS[side].label} (points)")
        _note(figure, f"{seeds}; bars: {interval}; in brackets: the main row's setting")
    return figure


def _lines(rows: "pd.DataFrame") -> list:
    """Headings (text) and ablations (a row) from top to bottom."""
    found: list = []
    for (panel, main), group in rows.groupby(["panel", "main"], sort=False):
        found += [f"{panel} ({main})", *group.itertuples()]
    return found


def _side(axes: "Axes", lines: list) -> None:
    axes.axvline(0, color="#444444", linewidth=0.8)
    labels = []
    for y, line in enumerate(lines):
        labels.append(line if isinstance(line, str) else line.label)
        if isinstance(line, str):
            continue
        look = METHODS[line.method]
        error = [[line.gain - line.low], [line.high - line.gain]]
        axes.errorbar(line.gain, y, xerr=error, color=look.colour, marker=look.marker, capsize=1.5, elinewidth=1)
    axes.set_yticks(range(len(lines)), labels)
    for label, line in zip(axes.get_yticklabels(), lines, strict=True):
        if isinstance(line, str):
            label.set(fontstyle="italic", color="#555555")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
