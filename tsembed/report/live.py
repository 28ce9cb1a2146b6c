"""The loss curve of a run while it trains, redrawn in its notebook."""

import json
from collections.abc import Sequence
from pathlib import Path

from . import figures


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
        import pandas as pd
        from IPython.display import display

        path = next((path for path in reversed(self.metrics) if path.is_file()), None)
        lines = path.read_text().splitlines(keepends=True) if path else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        if (path, len(rows)) == self.drawn or len(rows) < 2:
            return
        self.drawn = (path, len(rows))
        figure = figures.loss_curves(pd.DataFrame(rows))
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)

    def clear(self) -> None:
        """Take the figure away, where a saved one follows."""
        if self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)
