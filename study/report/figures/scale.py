"""Effects against the pairs seen in training, the number of blocks and the size of the model."""

from typing import TYPE_CHECKING

import pandas as pd

from ..method_styles import METHODS
from ..style import FULL, footnote, new_figure, seeds_text
from .contrasts import BARS, _datasets

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
            found = dict(pair[::-1] for axes in row for pair in zip(*axes.get_legend_handles_labels(), strict=True))
            row[-1].legend(found.values(), found.keys(), loc="best")
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
                _both_intervals(axes, line.blocks + 0.12 * (number - (len(names) - 1) / 2), line, name)
            axes.set_xticks(sorted(rows.blocks.unique()))
            axes.set(title=f"{group} ({_datasets(here)})", xlabel="blocks of the backbone")
        panels[0].set_ylabel("difference (points)")
        panels[-1].legend(loc="best")
        footnote(figure, f"{seeds_text(rows.seeds)}; {BARS}")
    return figure


def gains_by_memory(rows: pd.DataFrame, *, baseline: str) -> "Figure":
    """Gain over a baseline against the size of the saved model, a panel per group of task types, a line per series.

    Args:
        rows: Columns series, method, label (beside the marker), group, megabytes, gain, low, high, low_beyond,
            high_beyond, datasets, seeds.
        baseline: What the gains are over, for the label.
    """
    groups, names = list(dict.fromkeys(rows.group)), list(dict.fromkeys(rows.series))
    with new_figure(FULL, 2.9, f"gain over {baseline} against the size of the model") as figure:
        panels = figure.subplots(1, len(groups), sharey=True, squeeze=False).ravel()
        for axes, group in zip(panels, groups, strict=True):
            axes.axhline(0, color="#444444", linewidth=0.8)
            for number, name in enumerate(names):
                line = rows[(rows.group == group) & (rows.series == name)].sort_values("megabytes")
                first = number == 0
                _both_intervals(axes, line.megabytes, line, name, dashed=not first)
                for row in line.itertuples():
                    place = (0, 4) if first else (0, -9)
                    axes.annotate(row.label, (row.megabytes, row.gain), place, textcoords="offset points", fontsize=5.5)
            axes.set(title=f"{group} ({_datasets(rows[rows.group == group])})", xlabel="size of the saved model (MB)")
        panels[0].set_ylabel(f"gain over {baseline} (points)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
        footnote(figure, f"{seeds_text(rows.seeds)}; {BARS}")
    return figure


def _both_intervals(axes: "Axes", x: pd.Series, rows: pd.DataFrame, label: str, *, dashed: bool = False) -> None:
    """A line of means with a thick bar on these sets and a thin one beyond them; markers by method."""
    looks = [METHODS[m] for m in rows.method]
    line, filled = "--" if dashed else "-", "none" if dashed else "full"
    axes.plot(x, rows.gain, line, color=looks[-1].colour, zorder=1)
    axes.plot([], [], line, color=looks[-1].colour, marker=looks[-1].marker, fillstyle=filled, label=label)
    for place, row, look in zip(x, rows.itertuples(), looks, strict=True):
        for low, high, width, cap in ((row.low_beyond, row.high_beyond, 0.7, 1.8), (row.low, row.high, 2.2, 0)):
            error = [[row.gain - low], [high - row.gain]]
            axes.errorbar(place, row.gain, yerr=error, color=look.colour, elinewidth=width, capsize=cap)
        axes.plot(place, row.gain, look.marker, color=look.colour, fillstyle=filled)
