"""metrics.jsonl and the progress line of a training."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from ..settings import Training
from .batches import Batch


class TrainingLog:
    """metrics.jsonl, and a progress line: redrawn on a terminal, every 5 seconds elsewhere."""

    def __init__(self, path: Path, start: int, steps: int, training: Training, is_main: bool):
        self.path, self.start, self.steps, self.training, self.is_main = path, start, steps, training, is_main
        self.last = self.printed = time.monotonic()
        self.logged = start  # steps

    def __enter__(self) -> "TrainingLog":
        """Open the file behind the rows of finished steps; rows after the checkpoint are written anew."""
        if self.is_main:
            rows = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
            complete_rows = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] < self.start]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("".join(complete_rows))
            self.file = self.path.open("a")
        return self

    def __exit__(self, *_) -> None:
        if self.is_main:
            self.file.close()

    def write(self, step: int, batch: Batch, values: dict[str, Any], tokens: int) -> None:
        """Append a step's row to metrics.jsonl and redraw the progress line; on other ranks than the main one, neither.

        Args:
            step: Counted from 0.
            batch: Its task and dataset go into the row.
            values: Further columns; "loss" is shown in the progress line.
            tokens: Of one step of all ranks, without padding, for the rate.
        """
        now = time.monotonic()
        rate = (step + 1 - self.logged) / (now - self.last)  # steps per second since the last row
        self.last, self.logged = now, step + 1
        if not self.is_main:
            return
        pairs = rate * self.training.batch_size
        row = {
            "step": step,
            "task": batch.task,
            "dataset": batch.dataset,
            **values,
            "examples_per_s": round(pairs, 2),
            "tokens_per_s": round(rate * tokens, 1),
        }
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        terminal = sys.stdout.isatty()
        if terminal or now - self.printed >= 5 or step + 1 == self.steps:
            self.printed = now
            end = "\r" if terminal and step + 1 < self.steps else "\n"
            print(
                f"step {step + 1}/{self.steps}  {batch.task:14s} loss {values['loss']:.4f}  {pairs:.0f} pairs/s",
                end=end,
                flush=True,
            )
