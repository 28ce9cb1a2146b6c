"""The figure of what inference costs: time of every contestant as a ratio to EM."""

from typing import TYPE_CHECKING

from .figures import COLUMN, _drawing, _note
from .looks import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FILLS = ("full", "none", "left")  # by workload, so that a grey print tells them apart


def time_ratios(times: "pd.DataFrame", *, note: str) -> "Figure":
    """Time per contestant and workload as a ratio to EM, with its interval; a tick marks what is allowed.

    Args:
        times: Columns label, method (of `METHODS`), workload, median, low, high and bar (NaN: none), from top to
            bottom.
        note: What the points and bars are, how many rounds there were, and on what.
    """
    from matplotlib.lines import Line2D

    labels, workloads = list(dict.fromkeys(times.label)), list(dict.fromkeys(times.workload))
    step = 0.66 / len(workloads)
    with _drawing(COLUMN, 0.75 + 0.3 * len(labels), "time of inference as a ratio to EM") as figure:
        axes = figure.add_subplot()
        for row in times.itertuples():
            look, place = METHODS[row.method], workloads.index(row.workload)
            y = labels.index(row.label) + (place - (len(workloads) - 1) / 2) * step
            axes.errorbar(
                row.median, y, xerr=[[row.median - row.low], [row.high - row.median]], color=look.colour,
                marker=look.marker, fillstyle=FILLS[place], markerfacecoloralt="white", capsize=1.5, elinewidth=0.8,
            )  # fmt: skip
            if row.bar == row.bar:  # not NaN
                axes.plot(
                    [row.bar, row.bar], [y - 0.7 * step, y + 0.7 * step], color="#222222", linewidth=1.2, zorder=5
                )
        axes.axvline(1, color="#888888", linewidth=0.8, linestyle=":", zorder=0)
        axes.set_yticks(range(len(labels)), labels)
        axes.set(xlabel="time / time of EM", ylim=(len(labels) - 0.5, -0.5))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        drawn = dict(color="#444444", linestyle="none", markerfacecoloralt="white")
        entries = [
            Line2D([], [], marker="o", fillstyle=f, label=w, **drawn) for f, w in zip(FILLS, workloads, strict=False)
        ]
        entries.append(Line2D([], [], color="#222222", marker="|", linestyle="none", label="allowed"))
        figure.legend(
            handles=entries, loc="outside upper center", ncols=len(entries), columnspacing=0.8, handletextpad=0.1
        )
        _note(figure, note)
    return figure
