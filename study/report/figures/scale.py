"""Effects against the pairs seen in training, the number of blocks and the size of the model."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from ..method_styles import METHODS
from ..style import FULL, footnote, new_figure, seeds_text
from .contrasts import _datasets, bars_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_LINES, LABEL_ROOM = (0.96, 0.86), 0.25  # heights of labels in a panel, and the room for them above the marks


def training_curve(scores: pd.DataFrame, differences: pd.DataFrame, *, seeds: str, what: str) -> "Figure":
    """Held-out score (above) and differences of methods (below) over pairs seen, a column per learning rate.

    Args:
        scores: Columns method, learning_rate, pairs, mean, lowest, highest.
        differences: Columns contrast, method (its look), learning_rate, pairs, mean, lowest, highest.
        seeds: Number of seeds, as text ("2 seeds").
        what: What the score is, for the axis.
    """
    rates = sorted(scores.learning_rate.unique())
    with new_figure(FULL, 3.9, "held-out score and differences of methods over pairs seen") as figure:
        panels = figure.subplots(2, len(rates), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2))
        for column, rate in zip(panels.T, rates, strict=True):
            above, below = column
            for method, line in scores[scores.learning_rate == rate].groupby("method", sort=False):
                _curve(above, line, str(method), METHODS[method].label)
            below.axhline(0, color="#444444", linewidth=0.8)
            for (contrast, method), line in differences[differences.learning_rate == rate].groupby(
                ["contrast", "method"], sort=False
            ):
                _curve(below, line, method, contrast)
            above.set_title(f"learning rate {rate_text(rate)}")
            below.set_xlabel("pairs seen")
            _thousands(below, sorted(scores.pairs.unique()))
        panels[0, 0].set_ylabel(what)
        panels[1, 0].set_ylabel("difference (points)")
        for row in panels:
            entries = dict(pair[::-1] for axes in row for pair in zip(*axes.get_legend_handles_labels(), strict=True))
            row[-1].legend(entries.values(), entries.keys(), loc="best")
        footnote(figure, f"{seeds}; marker: their mean; bars: from the lowest to the highest seed, no interval")
    return figure


def _curve(axes: "Axes", rows: pd.DataFrame, method: str, label: str) -> None:
    rows, look = rows.sort_values("pairs"), METHODS[method]
    spread = [rows["mean"] - rows.lowest, rows.highest - rows["mean"]]
    style = {"capsize": 1.5, "elinewidth": 0.8}
    axes.errorbar(rows.pairs, rows["mean"], yerr=spread, color=look.colour, marker=look.marker, label=label, **style)


def _thousands(axes: "Axes", pairs: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(pairs, [f"{n / 1024:g}k" for n in pairs])
    axes.minorticks_off()


def rate_text(rate: float) -> str:
    """A learning rate, as people write it.

    >>> rate_text(1e-4), rate_text(2.5e-5)
    ('1e-4', '2.5e-5')
    """
    digits, exponent = f"{rate:e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def gains_by_blocks(rows: pd.DataFrame) -> "Figure":
    """Differences of methods against the number of blocks, a panel per group of task types.

    Args:
        rows: As `analysis.scale.gains_by_blocks` returns it.
    """
    groups, names = list(dict.fromkeys(rows.group)), list(dict.fromkeys(rows.contrast))
    with new_figure(FULL, 2.5, "gain against the number of blocks") as figure:
        panels = figure.subplots(1, len(groups), sharey=True, squeeze=False).ravel()
        for axes, group in zip(panels, groups, strict=True):
            here = rows[rows.group == group]
            axes.axhline(0, color="#444444", linewidth=0.8)
            for number, name in enumerate(names):
                line = here[here.contrast == name].sort_values("blocks", kind="stable")
                _line_with_intervals(axes, line.blocks + 0.12 * (number - (len(names) - 1) / 2), line, name)
            axes.set_xticks(sorted(rows.blocks.unique()))
            axes.set(title=f"{group} ({_datasets(here)})", xlabel="blocks of the backbone")
        panels[0].set_ylabel("difference (points)")
        panels[-1].legend(loc="best")
        footnote(figure, f"{seeds_text(rows.seeds)}; {bars_text(rows)}")
    return figure


def gains_by_memory(rows: pd.DataFrame, *, baseline: str) -> "Figure":
    """Gain over a baseline against the size of the saved model: a row per series, a column per group of task types.

    Args:
        rows: Columns series, method, label (beside the marker), group, megabytes, gain, low, high, low_beyond,
            high_beyond, datasets, seeds.
        baseline: What the gains are over, for the label.
    """
    groups, names = list(dict.fromkeys(rows.group)), list(dict.fromkeys(rows.series))
    with new_figure(FULL, 0.9 + 1.7 * len(names), f"gain over {baseline} against the size of the model") as figure:
        panels = figure.subplots(len(names), len(groups), sharex=True, sharey=True, squeeze=False)
        for name, line in zip(names, panels, strict=True):
            line[0].set_ylabel(f"{name}\ngain over {baseline} (points)")
            for group, axes in zip(groups, line, strict=True):
                axes.axhline(0, color="#444444", linewidth=0.8)
                _sized(axes, rows[(rows.group == group) & (rows.series == name)])
        low, high = panels[0, 0].get_ylim()
        panels[0, 0].set_ylim(low, high + LABEL_ROOM * (high - low))
        for group, axes in zip(groups, panels[0], strict=True):
            axes.set_title(f"{group} ({_datasets(rows[rows.group == group])})")
        for axes in panels[-1]:
            axes.set_xlabel("size of the saved model (MB)")
        footnote(figure, f"{seeds_text(rows.seeds)}; {bars_text(rows)}")
    return figure


def _sized(axes: "Axes", rows: pd.DataFrame) -> None:
    """A marker per model, its label above in one of two lines in turn; models of one size stand side by side."""
    step = 0.04 * (rows.megabytes.max() - rows.megabytes.min())
    places = rows.megabytes + step * rows.groupby("megabytes").cumcount()
    for number, (place, row) in enumerate(zip(places, rows.itertuples(), strict=True)):
        _both(axes, place, row)
        height = LABEL_LINES[number % 2]
        axes.axvline(place, ymax=height - 0.06, color="#BBBBBB", linewidth=0.5, linestyle=":", zorder=0)
        at = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "center", "fontsize": 6}
        axes.annotate(row.label, (place, height), **at)
    axes.margins(x=0.2)


def _line_with_intervals(axes: "Axes", x: pd.Series, rows: pd.DataFrame, label: str) -> None:
    """A line through the means of one method with both intervals."""
    look = METHODS[rows.method.iloc[0]]
    axes.plot(x, rows.gain, color=look.colour, marker=look.marker, label=label)
    for place, row in zip(x, rows.itertuples(), strict=True):
        _both(axes, place, row)


def _both(axes: "Axes", x: float, row: Any) -> None:
    """A marker with a thick bar on these sets and a thin one beyond them."""
    look = METHODS[row.method]
    for low, high, width, cap in ((row.low_beyond, row.high_beyond, 0.7, 1.8), (row.low, row.high, 2.2, 0)):
        error = [[row.gain - low], [high - row.gain]]  # NaN: no bar
        axes.errorbar(x, row.gain, yerr=error, color=look.colour, elinewidth=width, capsize=cap)
    axes.plot(x, row.gain, look.marker, color=look.colour)
