"""Loss curves, of finished runs and of one under way."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..method_styles import TASK_COLOURS
from ..style import COLUMN, footnote, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LiveLoss:
    """Draws metrics.jsonl anew at every `update`, in one place of the cell's output.

    Args:
        metrics: The files of runs that follow one another; none need be there yet. The last one that is, is drawn.
    """

    def __init__(self, metrics: Sequence[Path]):
        self.metrics = list(metrics)
        self.handle = None
        self.drawn = (None, 0)

    def update(self) -> None:
        """Redraw if there are new rows; a row that is half written waits."""
        from IPython.display import display

        path = next((path for path in reversed(self.metrics) if path.is_file()), None)
        lines = path.read_text().splitlines(keepends=True) if path else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        if (path, len(rows)) == self.drawn or len(rows) < 2:
            return
        self.drawn = (path, len(rows))
        figure = loss_curves(pd.DataFrame(rows))
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)

    def clear(self) -> None:
        """Take the figure away, where a saved one follows."""
        if self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)


def loss_curves(metrics: pd.DataFrame, *, window: int = 20) -> "Figure":
    """Training loss of one run against the step, a panel line per task: batches as points, running mean as a line.

    Args:
        metrics: Columns step, task, loss: rows of one metrics.jsonl.
        window: Batches of a task in the running mean.
    """
    with new_figure(COLUMN, 2.3, "training loss against the step") as figure:
        axes = figure.add_subplot()
        window = max(1, min(window, len(metrics) // 6))
        for task, rows in metrics.groupby("task", sort=True):
            look = dict(color=TASK_COLOURS.get(task, "#444444"))
            axes.plot(rows.step, rows.loss, ".", markersize=3, alpha=0.35, markeredgewidth=0, **look)
            axes.plot(rows.step, rows.loss.rolling(window, min_periods=1, center=True).mean(), label=task, **look)
        axes.set(xlabel="step", ylabel="InfoNCE loss (nats)", ylim=(0, None))
        axes.legend(loc="upper right")
        footnote(figure, f"1 run, 1 seed; points: batches; line: centred mean of {window}; no interval")
    return figure
