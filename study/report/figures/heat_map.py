"""A table of numbers as colours, each with its number where there is room: for lines that would lie on each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

MOST_NUMBERS = 14  # columns that still have room for a number in each cell
LIGHT, DARK, DIVERGING = "#FFFFFF", "#8F8F8F", "PuOr"  # greys mean more or less, two colours two sides of a value


def heat_map(
    axes: "Axes",
    table: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    around: float | None = None,
    limit: float | None = None,
    lowest: float = 0.0,
    digits: int | None = None,
) -> "AxesImage":
    """Draw a table; the image, for a colour bar.

    Args:
        axes: A panel.
        table: A number per row and column; nan stays white.
        rows: A label per row; none: no labels.
        columns: A label per column, "" for a column without.
        around: The value in the middle of two colours; None: one colour, from `lowest` on.
        limit: The largest distance from `around`, or the largest value, that is told apart; None: of the table.
        lowest: The value that is white, of one colour.
        digits: Of the number in a cell; None: no numbers.
    """
    from matplotlib.colors import LinearSegmentedColormap

    middle = around or 0.0
    reach = limit or float(np.nanmax(np.abs(table - middle))) or 1.0
    low = middle - reach if around is not None else lowest
    colours = DIVERGING if around is not None else LinearSegmentedColormap.from_list("greys", [LIGHT, DARK])
    image = axes.imshow(table, cmap=colours, vmin=low, vmax=middle + reach, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(table)) if len(rows) else [], rows)
    labelled = [place for place, label in enumerate(columns) if label]
    axes.set_xticks(labelled, [columns[place] for place in labelled])
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if digits is not None and table.shape[1] <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                dark = sum(image.cmap(image.norm(value))[:3]) < 1.6
                colour = "white" if dark else "#222222"
                text = number(value, digits)
                axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    return image
