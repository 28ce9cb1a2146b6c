"""TSEmbed's two stages: plain InfoNCE until the experts have specialised, then weighted negatives.

The summaries that we had say that the first stage "solidifies expert specialization" and the second uses EANS. When the
first ends is our choice: specialisation is the mutual information between a sequence's task and its expert, measured
over windows of steps; it has settled when a window adds less than a share of what the best window added.
"""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..settings import Negatives
from ..tasks import TASKS


def mutual_information(
    sums: Float[Tensor, "tasks layers experts"], counts: Float[Tensor, " tasks"]
) -> Float[Tensor, " layers"]:
    """Mutual information between task and expert, in nats, per layer; 0 if routing ignores the task.

        I = sum_t P(t) KL(p_t || p),   p_t: mean routing of task t,  p: of all

    Every task that occurs has the same P(t), so a frequent task weighs no more.

    Args:
        sums: Sum of the sequences' routing signatures per task.
        counts: Sequences per task.

    Examples:
        >>> mutual_information(torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]]), torch.tensor([1.0, 2.0])).item()  # log 2
        0.6931471824645996
    """
    here = counts > 0
    means = sums[here] / counts[here, None, None]  # (tasks, layers, experts)
    overall = means.mean(0)
    ratio = means.clamp_min(1e-12).log() - overall.clamp_min(1e-12).log()
    return (means * ratio).sum(-1).mean(0)


class SpecialisationSchedule:
    """Measures specialisation and says which stage a step is in.

    Args:
        negatives: When the second stage begins; None: never.
        steps: Of the whole run.
        log: File for one row per window: step, mutual information (mean over layers, and by layer), use of the experts
            by task and layer. None on ranks that write nothing.
    """

    def __init__(self, negatives: Negatives | None, steps: int, log: Path | None = None):
        self.negatives, self.steps, self.log = negatives, steps, log
        self.window = (negatives or Negatives()).window
        self.history: list[float] = []  # mutual information per window
        self.second: int | None = None  # first step of the second stage
        if negatives is not None and negatives.first_stage != "settled":
            self.second = round(negatives.first_stage * steps)
        self._window: tuple[Tensor, Tensor] | None = None  # sums and counts of the window under way

    def stage(self, step: int) -> int:
        """1 or 2."""
        return 2 if self.second is not None and step >= self.second else 1

    def observe(
        self, step: int, signatures: Float[Tensor, "sequences layers experts"], tasks: Int[Tensor, " sequences"]
    ) -> None:
        """Take in the routing of a step's sequences, of all ranks, and end the first stage if it has settled.

        Args:
            step: Counted from 0.
            signatures: Mean gates per sequence and adapted layer; no gradient is kept.
            tasks: Index of each sequence's task in `tasks.TASKS`.
        """
        if self._window is None:
            zeros = torch.zeros(len(TASKS), *signatures.shape[1:], dtype=torch.float64)
            self._window = zeros, torch.zeros(len(TASKS), dtype=torch.float64)
        sums, counts = self._window
        tasks = tasks.cpu()
        sums.index_add_(0, tasks, signatures.detach().cpu().double())
        counts += torch.bincount(tasks, minlength=len(TASKS))
        if (step + 1) % self.window == 0:
            self._end_window(step, sums, counts)
        if self.negatives is not None and self.second is None:
            limit = step + 1 >= self.negatives.first_stage_max * self.steps
            if limit or self._settled(self.negatives.tolerance):
                self.second = step + 1

    def _end_window(self, step: int, sums: Tensor, counts: Tensor) -> None:
        by_layer = mutual_information(sums, counts)
        self.history.append(by_layer.mean().item())
        if self.log is not None:
            use = {task: (sums[i] / counts[i]).tolist() for i, task in enumerate(TASKS) if counts[i] > 0}
            row = {"step": step, "stage": self.stage(step), "mutual_information": self.history[-1]}
            with self.log.open("a") as file:
                file.write(json.dumps(row | {"by_layer": by_layer.tolist(), "use": use}) + "\n")
        self._window = None

    def _settled(self, tolerance: float) -> bool:
        """Whether the last window added less than the set share of what the best one added."""
        growth = [later - earlier for earlier, later in zip(self.history, self.history[1:], strict=False)]
        return len(growth) > 1 and max(growth) > 0 and growth[-1] < tolerance * max(growth)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        sums = None if self._window is None else [tensor.tolist() for tensor in self._window]
        return {"history": self.history, "second": self.second, "window": sums}

    def load_state_dict(self, state: dict[str, Any], step: int) -> None:
        """Go on from a checkpoint after so many steps; rows of later steps leave the log."""
        self.history, self.second = list(state["history"]), state["second"]
        if state["window"] is not None:
            sums, counts = (torch.tensor(x, dtype=torch.float64) for x in state["window"])
            self._window = sums, counts
        if self.log is not None and self.log.is_file():
            rows = [row for row in self.log.read_text().splitlines(keepends=True) if row.endswith("\n")]
            self.log.write_text("".join(row for row in rows if json.loads(row)["step"] < step))
