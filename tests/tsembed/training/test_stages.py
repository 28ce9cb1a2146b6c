"""Invariants of the two stages.

- Mutual information is 0 for routing that ignores the task, log(tasks) for an expert per task, and blind to frequency.
- The first stage ends when a window adds less than a share of what the best one added, at the limit, or where a number
  says; without weighted negatives it never ends.
- A resumed run ends it at the same step, and rows after the checkpoint leave the log.
"""

import json
import math

import pytest
import torch

from tsembed.settings import Negatives
from tsembed.tasks import TASKS
from tsembed.training.stages import SpecialisationSchedule, mutual_information


def signatures(sure, layers=2):
    """One sequence of each of two tasks; 0: both use the experts alike, 1: an expert each. And their tasks."""
    half = sure / 2
    gates = torch.tensor([[0.5 + half, 0.5 - half], [0.5 - half, 0.5 + half]])
    return gates[:, None, :].expand(2, layers, 2), torch.tensor([0, 2])


def test_mutual_information_by_hand():
    counts = torch.tensor([2.0, 0.0, 1.0])
    alike = torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]], [[0.5, 0.5]]])
    assert mutual_information(alike, counts).tolist() == pytest.approx([0.0], abs=1e-6)
    apart = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]])
    assert mutual_information(apart, counts).tolist() == pytest.approx([math.log(2)])
    three_quarters = torch.tensor([[[1.5, 0.5]], [[0.0, 0.0]], [[0.25, 0.75]]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert mutual_information(three_quarters, counts).tolist() == pytest.approx([expected])
    both = torch.cat([alike, apart], dim=1)
    assert mutual_information(both, counts).tolist() == pytest.approx([0.0, math.log(2)], abs=1e-6)


def run(stages, sure, start=0):
    for step, value in enumerate(sure, start=start):
        stages.observe(step, *signatures(value))
    return stages


RISE = [0.0] * 2 + [0.5] * 2 + [0.8] * 2 + [0.81] * 2 + [0.9] * 2  # two steps per window


def test_the_first_stage_ends_when_specialisation_has_settled():
    stages = run(SpecialisationSchedule(Negatives(window=2, first_stage_max=1.0), 100), RISE)
    assert stages.second == 8, "the window of 0.81 adds hardly anything to that of 0.8"
    assert [stages.stage(step) for step in (0, 7, 8, 99)] == [1, 1, 2, 2]
    assert len(stages.history) == 5
    assert stages.history == sorted(stages.history)


def test_it_ends_at_the_limit_or_where_a_number_says_or_never():
    rising = [i / 40 for i in range(40)]
    assert run(SpecialisationSchedule(Negatives(window=2, first_stage_max=0.5), 40), rising).second == 20
    assert run(SpecialisationSchedule(Negatives(window=2, first_stage_max=0.5), 40), [0.0] * 40).second == 20, (
        "nothing grew, nothing settled"
    )
    assert SpecialisationSchedule(Negatives(first_stage=0.25), 40).second == 10
    assert SpecialisationSchedule(Negatives(first_stage=0.0), 40).stage(0) == 2
    assert run(SpecialisationSchedule(None, 40), RISE).stage(39) == 1


def test_a_resumed_run_goes_on_alike(tmp_path):
    settings = Negatives(window=2, first_stage_max=1.0)
    whole = run(SpecialisationSchedule(settings, 100, tmp_path / "whole"), RISE)
    first = run(SpecialisationSchedule(settings, 100, tmp_path / "cut"), RISE[:3])
    state = json.loads(json.dumps(first.state_dict()))
    run(first, RISE[3:6], start=3)  # a kill: these steps are lost
    second = SpecialisationSchedule(settings, 100, tmp_path / "cut")
    second.load_state_dict(state, 3)
    run(second, RISE[3:], start=3)
    assert second.state_dict() == whole.state_dict()
    assert second.second == 8
    assert (tmp_path / "cut").read_text() == (tmp_path / "whole").read_text()
    rows = [json.loads(row) for row in (tmp_path / "whole").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 3, 5, 7, 9]
    assert [row["stage"] for row in rows] == [1, 1, 1, 1, 2]
    names = list(TASKS)
    assert set(rows[0]["use"]) == {names[0], names[2]}
    assert len(rows[0]["by_layer"]) == 2
    assert rows[-1]["use"][names[0]][0] == pytest.approx([0.95, 0.05])
