"""TSEmbed's two stages: plain InfoNCE until the experts have specialised, then weighted negatives.

The summaries that we had say that the first stage "solidifies expert specialization" and the second uses EANS. When the
first ends is our choice. Specialisation is the mutual information between a sequence's task and its expert, over
windows of steps. It is there when it stands out from that of the untrained routers, whose noise says by how much, and
when a window adds no more than this noise; or the first stage ends at its limit.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contrastive.information import information_of, mutual_information, noise, totals
from ..settings import Negatives
from ..tasks import TASKS


class Routed(NamedTuple):
    """Sequences of a step, of all ranks, with what they are of."""

    signatures: Float[Tensor, "sequences layers experts"]  # mean gates
    tasks: Int[Tensor, " sequences"]  # index in `tasks.TASKS`
    sets: Int[Tensor, " sequences"]  # index in the schedule's `sets`

    def detached(self) -> "Routed":
        """The same on the CPU, without gradient, in double precision."""
        return Routed(self.signatures.detach().cpu().double(), self.tasks.cpu(), self.sets.cpu())


class SpecialisationSchedule:
    """Measures specialisation and says which stage a step is in.

    Args:
        negatives: When the second stage begins; None: never.
        steps: Of the whole run.
        log: File for one row per window: step, stage, mutual information of task and expert (mean over layers, and by
            layer), the same of set and expert, that of the untrained routers with its noise, use of the experts by task
            and layer. None on ranks that write nothing.
        sets: The training datasets by name, in the order of their indices.
    """

    def __init__(
        self, negatives: Negatives | None, steps: int, log: Path | None = None, *, sets: Sequence[str] = ("all",)
    ):
        self.negatives, self.steps, self.log, self.sets = negatives, steps, log, tuple(sets)
        self.window = (negatives or Negatives()).window
        self.history: list[float] = []  # mutual information of task and expert per window
        self.untrained, self.noise = math.nan, math.nan  # the same before the first step, in nats
        self.second: int | None = None  # first step of the second stage
        if negatives is not None and negatives.first_stage != "specialised":
            self.second = round(negatives.first_stage * steps)
        self._window: dict[str, tuple[Tensor, Tensor]] | None = None  # sums and counts of the window under way

    def stage(self, step: int) -> int:
        """1 or 2."""
        return 2 if self.second is not None and step >= self.second else 1

    def set_untrained(self, steps: Sequence[Routed]) -> None:
        """Take the routing of some steps' sequences, by routers that are not trained yet, as what to stand out from."""
        parts = [step.detached() for step in steps]
        signatures, tasks = (torch.cat([part[i] for part in parts]) for i in (0, 1))
        self.untrained = information_of(signatures, tasks).mean().item()
        self.noise = noise(signatures, tasks, generator=torch.Generator().manual_seed(0))

    def observe(self, step: int, routed: Routed) -> None:
        """Take in the routing of a step's sequences, and end the first stage if the experts have specialised.

        Args:
            step: Counted from 0.
            routed: Sequences of all ranks; no gradient is kept.
        """
        signatures, tasks, sets = routed.detached()
        labels = {"tasks": (tasks, len(TASKS)), "sets": (sets, len(self.sets))}
        window = self._window or {}
        for of, (indices, size) in labels.items():
            sums, counts = totals(signatures, indices, size)
            earlier = window.get(of)
            window[of] = (sums, counts) if earlier is None else (earlier[0] + sums, earlier[1] + counts)
        self._window = window
        if (step + 1) % self.window == 0:
            self._end_window(step, window)
        if self.negatives is not None and self.second is None:
            limit = step + 1 >= self.negatives.first_stage_max * self.steps
            if limit or self._specialised(self.negatives.margin):
                self.second = step + 1

    def _end_window(self, step: int, window: dict[str, tuple[Tensor, Tensor]]) -> None:
        by_layer, by_layer_of_sets = (mutual_information(*window[of]) for of in ("tasks", "sets"))
        self.history.append(by_layer.mean().item())
        self._window = None
        if self.log is None:
            return
        sums, counts = window["tasks"]
        row = {
            "step": step,
            "stage": self.stage(step),
            "mutual_information": self.history[-1],
            "by_layer": by_layer.tolist(),
            "set_information": by_layer_of_sets.mean().item(),
            "set_by_layer": by_layer_of_sets.tolist(),
            "untrained": self.untrained if math.isfinite(self.untrained) else None,
            "noise": self.noise if math.isfinite(self.noise) else None,
            "use": {task: (sums[i] / counts[i]).tolist() for i, task in enumerate(TASKS) if counts[i] > 0},
        }
        with self.log.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def _specialised(self, margin: float) -> bool:
        """Whether the last window stands out from the untrained routers, and adds no more than their noise."""
        if len(self.history) < 2 or not math.isfinite(self.noise):
            return False
        before, last = self.history[-2:]
        return last > self.untrained + margin * self.noise and last - before < self.noise

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        window = None
        if self._window is not None:
            window = {of: [tensor.tolist() for tensor in found] for of, found in self._window.items()}
        untrained = [self.untrained, self.noise] if math.isfinite(self.noise) else None
        return {"history": self.history, "second": self.second, "window": window, "untrained": untrained}

    def load_state_dict(self, state: dict[str, Any], step: int) -> None:
        """Go on from a checkpoint after so many steps; rows of later steps leave the log."""
        self.history, self.second = list(state["history"]), state["second"]
        if state.get("untrained") is not None:  # checkpoints of 0.2.0 lack it
            self.untrained, self.noise = state["untrained"]
        if state["window"] is not None:
            self._window = {
                of: (torch.tensor(sums, dtype=torch.float64), torch.tensor(counts, dtype=torch.float64))
                for of, (sums, counts) in state["window"].items()
            }
        if self.log is not None and self.log.is_file():
            rows = [row for row in self.log.read_text(encoding="utf-8").splitlines(keepends=True) if row.endswith("\n")]
            self.log.write_text("".join(row for row in rows if json.loads(row)["step"] < step))
