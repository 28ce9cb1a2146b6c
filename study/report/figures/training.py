"""Loss curves, of finished runs and of one under way."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..style import FULL, footnote, label_outside, new_figure
from .words import words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCHES = "#777777"  # a task has no colour: colours are methods


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
    """Training loss of one run against the step, a panel per task: batches as points, running mean as a line.

    Args:
        metrics: Columns step, task, loss: rows of one metrics.jsonl.
        window: Batches of a task in the running mean.
    """
    tasks = sorted(metrics.task.unique())
    columns = min(2, len(tasks))
    lines = -(-len(tasks) // columns)
    with new_figure(FULL, 0.6 + 1.35 * lines, "training loss against the step") as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        window = max(1, min(window, len(metrics) // 6))
        for axes, task in zip(panels, tasks, strict=False):
            rows = metrics[metrics.task == task]
            axes.plot(rows.step + 1, rows.loss, "o", markersize=3.5, markeredgewidth=0, alpha=0.5, color=BATCHES)
            mean = rows.loss.rolling(window, min_periods=1, center=True).mean()
            axes.plot(rows.step + 1, mean, color="#222222", linewidth=1.4)
            axes.set_title(words(task))
        panels[0].set_ylim(bottom=0)  # of all, once all is drawn
        label_outside(panels, len(tasks), columns, x="step", y="InfoNCE loss (nats)")
        footnote(figure, f"1 run, 1 seed; points: batches; line: centred mean of {window} batches; no interval")
    return figure
