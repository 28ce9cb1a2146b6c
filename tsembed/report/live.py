"""The loss curve of a run while it trains, redrawn in its notebook."""

import json
from pathlib import Path

from . import figures


class LiveLoss:
    """Draws metrics.jsonl anew at every `update`, in one place of the cell's output.

    Args:
        metrics: The file; it need not be there yet.
    """

    def __init__(self, metrics: Path):
        self.metrics = metrics
        self.handle = None
        self.drawn = 0

    def update(self) -> None:
        """Redraw if there are new rows; a row that is half written waits."""
        import pandas as pd
        from IPython.display import display

        lines = self.metrics.read_text().splitlines(keepends=True) if self.metrics.is_file() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        if len(rows) == self.drawn or len(rows) < 2:
            return
        self.drawn = len(rows)
        figure = figures.loss_curves(pd.DataFrame(rows))
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)

    def clear(self) -> None:
        """Take the figure away, where a saved one follows."""
        if self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)
