"""Train one now: a short training in a process of its own, with a live curve, that can be stopped.

The kernel is free while it runs. What it writes is in a folder of its own, never in a preset's run.
"""

import asyncio
import html
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ... import paths
from ...process import last_line, start_supervised, stop
from ...runs.short_training import STEPS, VARIANTS, new_folder
from ...variant_rows import load_variants
from ..figures.training import loss_curves
from .output import fault, picture, show, widgets

EVERY = 1.0  # seconds between two looks at the training


class TrainingPanel:
    """The widgets of a training.

    Args:
        finished: Called with the folder of a training that is whole.
    """

    def __init__(self, finished: Callable[[Path], None]):
        w = widgets()
        self.finished = finished
        self.process, self.folder, self.begin, self.began, self.stopped = None, None, 0, 0.0, False
        variants = [(load_variants()[name].label, name) for name in VARIANTS]
        narrow = w.Layout(width="190px")
        self.variant = w.Dropdown(options=variants, description="Variant", layout=narrow)
        self.steps = w.BoundedIntText(STEPS, min=2, max=5000, description="Steps", layout=narrow)
        self.start_button = w.Button(description="Train one now", button_style="success")
        self.stop_button = w.Button(description="Stop", disabled=True)
        self.bar = w.IntProgress(max=STEPS, layout=w.Layout(width="98%"))
        self.status, self.curve = w.HTML(), w.HTML()
        self.status.add_class("explore-training")
        self.curve.add_class("explore-curve")
        self.start_button.on_click(self.start)
        self.stop_button.on_click(self.stop)

    @property
    def is_running(self) -> bool:
        """Whether a training is under way."""
        return self.process is not None

    def show(self) -> None:
        """Buttons, progress, curve."""
        w = widgets()
        buttons = w.HBox((self.variant, self.steps, self.start_button, self.stop_button))
        static = "<p>In JupyterLab this cell has a button that trains a model in some minutes.</p>"
        show(w.VBox((buttons, self.bar, self.status, self.curve)), static)

    def start(self, *_) -> None:
        """Start a training and look at it now and then; one at a time."""
        if self.is_running:
            return
        self.folder = new_folder(self.variant.value)
        command = [sys.executable, "-m", "study.runs.short_training", str(self.folder)]
        command += ["--variant", self.variant.value, "--steps", str(self.steps.value)]
        self.curve.value, self.bar.value, self.bar.max, self.began = "", 0, self.steps.value, time.monotonic()
        self.stopped = False
        self.process, self.begin = start_supervised(command, log=self.folder / "run.log")
        self._enable(running=True)
        self.task = asyncio.get_running_loop().create_task(self.watch())

    def stop(self, *_) -> None:
        """End the training; nothing of it is kept."""
        if self.process is not None:
            self.stopped = True
            self.process.terminate()  # `watch` sees its end

    async def watch(self) -> None:
        """Redraw until the training has ended, then say how it ended."""
        try:
            while self.process.poll() is None:
                self.look()
                await asyncio.sleep(EVERY)
            self.look()
            self.end(self.process.returncode)
        finally:
            stop(self.process)
            self.process = None
            self._enable(running=False)

    def look(self) -> None:
        """The curve and a line, as far as the training is."""
        log, metrics = self.folder / "run.log", self.folder / "metrics.jsonl"
        lines = metrics.read_text().splitlines(keepends=True) if metrics.is_file() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]  # a line that is half written waits
        seconds = f"{time.monotonic() - self.began:.0f} s"
        step = f", step {len(rows)} of {self.bar.max}" if rows else ""
        self.status.value = html.escape(f"{seconds}{step}: {last_line(log, self.begin) or 'starting'}")
        if len(rows) > max(1, self.bar.value):
            self.curve.value = picture(loss_curves(pd.DataFrame(rows)))
            self.bar.value = len(rows)

    def end(self, status: int) -> None:
        """What came of it: a model to choose, or why there is none."""
        place = self.folder.relative_to(paths.ROOT)
        if (self.folder / "done.json").is_file():
            done = json.loads((self.folder / "done.json").read_text())
            self.status.value = (
                f"<b>Done after {done['seconds']:.0f} s.</b> Recall@1 on held-out pairs: {done['before']:.1f} % "
                f"untrained, <b>{done['after']:.1f} % trained</b>. The model is chosen above (<code>{place}</code>)."
            )
            self.finished(self.folder)
            return
        reason = last_line(self.folder / "run.log", self.begin)
        shutil.rmtree(self.folder)
        if self.stopped:
            self.status.value = "Stopped; nothing of it is kept."
        else:
            self.status.value = fault(RuntimeError(f"the training ended with status {status}: {reason}"))

    def _enable(self, *, running: bool) -> None:
        self.start_button.disabled = self.variant.disabled = self.steps.disabled = running
        self.stop_button.disabled = not running
