"""Two ways of training side by side per task type, as the paper's Figures 5 and 7 have them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from ..method_styles import METHODS
from ..style import FULL, footnote, new_figure, seeds_text
from .intervals import _bars, draw_interval
from .words import words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def strategies(scores: pd.DataFrame, differences: pd.DataFrame, *, names: Mapping[str, str], interval: str) -> "Figure":
    """Score of both strategies per task type to the left, their paired difference to the right (Figures 5 and 7).

    Args:
        scores: Columns row (a task type), method, mean, low, high, in points.
        differences: Columns task_type, gain, low, high, in points, and seeds: the first strategy less the second.
        names: Method -> its name in this figure, the first strategy first.
        interval: What [low, high] is.
    """
    from matplotlib.lines import Line2D

    types, (first, second) = list(dict.fromkeys(differences.task_type)), names
    with new_figure(FULL, 1.0 + 0.3 * len(types), "score of two strategies per task type") as figure:
        levels, apart = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for row in scores[scores.row.isin(types)].itertuples():
            place = types.index(row.row) + (-0.14 if row.method == first else 0.14)
            draw_interval(levels, place, row.mean, row.low, row.high, METHODS[row.method])
        apart.axvline(0, color="#444444", linewidth=0.8)
        for row in differences.itertuples():
            draw_interval(apart, types.index(row.task_type), row.gain, row.low, row.high, METHODS[first])
        levels.set_yticks(range(len(types)), [words(kind) for kind in types])
        levels.set(xlabel="score (points)", ylim=(len(types) - 0.5, -0.5))
        apart.set(xlabel="difference (points)", title=f"{names[first]} − {names[second]}")
        for axes in (levels, apart):
            for y in range(len(types) - 1):
                axes.axhline(y + 0.5, color="#E2E2E2", linewidth=0.5)
            axes.grid(False, axis="y")
            axes.tick_params(axis="y", length=0)
        looks = [(METHODS[method], name) for method, name in names.items()]
        entries = [Line2D([], [], color=v.colour, marker=v.marker, linestyle="none", label=name) for v, name in looks]
        figure.legend(handles=entries, loc="outside upper left", ncols=2)
        footnote(figure, f"{seeds_text(differences.seeds)}; {_bars(differences, interval)}")
    return figure
