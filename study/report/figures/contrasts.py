"""Differences of methods with both intervals, a panel per group of task types."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from ..method_styles import METHODS
from ..style import FULL, footnote, new_figure, seeds_text
from .intervals import draw_interval, inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 0.19  # inches per contrast
THIN: dict[str, Any] = {"elinewidth": 0.7, "capsize": 1.8, "marker": ""}
THICK: dict[str, Any] = {"capsize": 0, "elinewidth": 2.2}


def contrasts(rows: pd.DataFrame, about: str, *, xlabel: str = "difference (points)", note: str = "") -> "Figure":
    """Every contrast with both intervals, a panel per group of task types, contrasts of a section together.

    A panel is as wide as the values and intervals of usual width need; a wider interval ends in an arrow.

    Args:
        rows: As `analysis.contrasts.contrast_rows` returns it; a column section, where there is one, heads its rows.
        about: What the figure shows, for who cannot see it.
        xlabel: What the values are.
        note: What else the note says.
    """
    groups, lines, limits = list(dict.fromkeys(rows.group)), _lines(rows), _range(rows)
    with new_figure(FULL, 0.75 + LINE * len(lines), about) as figure:
        panels = figure.subplots(1, len(groups), sharey=True, sharex=True, squeeze=False).ravel()
        for axes, group in zip(panels, groups, strict=True):
            here = rows[rows.group == group]
            _panel(axes, here, lines, inside(limits))
            axes.set(title=f"{group} ({_datasets(here)})", xlabel=xlabel)
        panels[0].set_xlim(*limits)
        panels[0].set_yticks(range(len(lines)), [name for _, name in lines])
        panels[0].set_ylim(len(lines) - 0.4, -0.6)
        for label, (is_heading, _) in zip(panels[0].get_yticklabels(), lines, strict=True):
            if is_heading:
                label.set(fontstyle="italic", color="#555555")
        footnote(figure, "; ".join(filter(None, (seeds_text(rows.seeds), bars_text(rows), note))))
    return figure


def bars_text(rows: pd.DataFrame, over: str = "datasets") -> str:
    """What the bars are: both intervals, or that there are none.

    >>> bars_text(pd.DataFrame({"low": [float("nan")]}))
    'one seed has no interval'
    """
    if rows.low.isna().all():
        return "one seed has no interval"
    return f"95 % intervals by random effects, thick: another training on these {over}, thin: other {over} too"


def _lines(rows: pd.DataFrame) -> list[tuple[bool, str]]:
    """From top to bottom: whether it is a heading, and its text."""
    if "section" not in rows:
        return [(False, name) for name in dict.fromkeys(rows.contrast)]
    lines: list[tuple[bool, str]] = []
    for section, here in rows.groupby("section", sort=False):
        lines += [(True, str(section)), *((False, name) for name in dict.fromkeys(here.contrast))]
    return lines


def _datasets(rows: pd.DataFrame) -> str:
    """Number of datasets of a mean, as text.

    >>> _datasets(pd.DataFrame({"datasets": [3, 3]})), _datasets(pd.DataFrame({"datasets": [1]}))
    ('3 datasets', '1 dataset')
    """
    few, most = rows.datasets.min(), rows.datasets.max()
    number = f"{few}" if few == most else f"{few} to {most}"
    return f"{number} dataset{'' if most == 1 else 's'}"


def _panel(axes: "Axes", rows: pd.DataFrame, lines: list[tuple[bool, str]], within: tuple[float, float]) -> None:
    axes.axvline(0, color="#444444", linewidth=0.8)
    places = iter(y for y, (is_heading, _) in enumerate(lines) if not is_heading)
    for y, row in zip(places, rows.itertuples(), strict=True):
        look = METHODS[row.method]
        draw_interval(axes, y, row.gain, row.low_beyond, row.high_beyond, look, within=within, **THIN)
        draw_interval(axes, y, row.gain, row.low, row.high, look, within=within, **THICK)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def _range(rows: pd.DataFrame) -> tuple[float, float]:
    """From the lowest to the highest value with intervals of usual width: those of two seeds can be very wide."""
    reach = (rows.high_beyond - rows.low_beyond).dropna() / 2
    usual = 0.0 if reach.empty else float(reach.quantile(0.75))
    low, high = min(0.0, float(rows.gain.min())) - usual, max(0.0, float(rows.gain.max())) + usual
    edge = 0.06 * (high - low) or 1.0
    return low - edge, high + edge
