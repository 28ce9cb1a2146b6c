"""How far apart routes are under several wordings."""

from typing import TYPE_CHECKING

import pandas as pd

from ...variant_rows import load_variants
from ..method_styles import METHODS, MethodStyle
from ..style import FULL, footnote, new_figure
from .contrasts import THICK, THIN, bars_text
from .intervals import draw_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def similarity_by_pair(rows: pd.DataFrame, *, seeds: str, texts: int) -> "Figure":
    """Mean cosine similarity per pair of routes and over all pairs, a marker per method, with both intervals.

    A method that has another's weights is drawn as that one, hollow.

    Args:
        rows: As `analysis.wording.similarity_rows` returns it.
        seeds: Number of seeds, as text ("3 seeds").
        texts: Number of texts.
    """
    from matplotlib.lines import Line2D

    pairs, methods = list(dict.fromkeys(rows.pair)), list(dict.fromkeys(rows.method))
    with new_figure(FULL, 0.8 + 0.36 * len(pairs), "similarity of routes with and without a prefix") as figure:
        axes = figure.add_subplot()
        looks = {method: _look(method) for method in methods}
        for row in rows.itertuples():
            (look, fill), number = looks[row.method], methods.index(row.method)
            y = pairs.index(row.pair) + 0.68 * (number - (len(methods) - 1) / 2) / len(methods)
            draw_interval(axes, y, row.mean, row.low_beyond, row.high_beyond, look, **THIN)
            draw_interval(axes, y, row.mean, row.low, row.high, look, fill=fill, **THICK)
        for y in range(len(pairs) - 1):
            axes.axhline(y + 0.5, color="#E2E2E2", linewidth=0.5)
        axes.set_yticks(range(len(pairs)), [pair.replace("–", " – ") for pair in pairs])
        axes.set(xlabel="cosine similarity of a text under two routes", ylim=(len(pairs) - 0.5, -0.5))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        entries = [
            Line2D([], [], color=v.colour, marker=v.marker, linestyle="none", label=v.label, fillstyle=fill)
            for v, fill in looks.values()
        ]
        figure.legend(handles=entries, loc="outside upper center", ncols=len(entries))
        footnote(figure, f"{seeds}; {texts} texts; {bars_text(rows, 'texts')}")
    return figure


def _look(method: str) -> tuple[MethodStyle, str]:
    """Look and filling: of the method, or of the one whose weights it has."""
    weights = load_variants()[method].weights_of
    return (METHODS[weights]._replace(label=METHODS[method].label), "none") if weights else (METHODS[method], "full")
