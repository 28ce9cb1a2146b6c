"""Invariants of the two stages.

- The first stage ends when the experts stand out from the untrained routers by their noise and a window adds no more
  than that, at the limit, or where a number says; without weighted negatives it never ends.
- A row of the log has the information of tasks and of sets, and that of the untrained routers.
- A resumed run ends it at the same step, and rows after the checkpoint leave the log.
"""

import json

import pytest
import torch

from tsembed.settings import Negatives
from tsembed.tasks import TASKS
from tsembed.training.stages import Routed, SpecialisationSchedule


def routed(sure, layers=2):
    """One sequence of each of two tasks; 0: both use the experts alike, 1: an expert each. Both are of one set."""
    half = sure / 2
    gates = torch.tensor([[0.5 + half, 0.5 - half], [0.5 - half, 0.5 + half]])
    return Routed(gates[:, None, :].expand(2, layers, 2), torch.tensor([0, 2]), torch.tensor([1, 1]))


def schedule(negatives, steps=100, log=None, noise=None):
    """A schedule of two sets, whose untrained routers have the noise, or were not looked at."""
    stages = SpecialisationSchedule(negatives, steps, log, sets=("a", "b"))
    if noise is not None:
        stages.untrained, stages.noise = 0.01, noise
    return stages


def run(stages, sure, start=0):
    for step, value in enumerate(sure, start=start):
        stages.observe(step, routed(value))
    return stages


RISE = [0.0] * 2 + [0.01, 0.03] + [0.5] * 2 + [0.8] * 2 + [0.81] * 2 + [0.9] * 2  # two steps per window
SETTINGS = Negatives(window=2, first_stage_max=1.0)


def test_the_first_stage_ends_when_the_experts_have_specialised_beyond_noise():
    stages = run(schedule(SETTINGS, noise=0.03), RISE)
    assert stages.second == 10, "the second window grows as little, but does not stand out"
    assert [stages.stage(step) for step in (0, 9, 10, 99)] == [1, 1, 2, 2]
    assert len(stages.history) == 6
    assert stages.history == sorted(stages.history)
    assert run(schedule(SETTINGS, noise=0.004), RISE).second is None, "it still grows by more than so small a noise"
    strict = SETTINGS.model_copy(update={"margin": 30.0})
    assert run(schedule(strict, noise=0.03), RISE).second is None, "thirty times the noise is more than they reach"
    assert run(schedule(SETTINGS), RISE).second is None, "nothing is known of untrained routers"


def test_it_ends_at_the_limit_or_where_a_number_says_or_never():
    half = Negatives(window=2, first_stage_max=0.5)
    rising = [i / 40 for i in range(40)]
    assert run(schedule(half, 40, noise=1e-3), rising).second == 20
    assert run(schedule(half, 40, noise=1e-3), [0.0] * 40).second == 20, "nothing stood out"
    assert schedule(Negatives(first_stage=0.25), 40).second == 10
    assert schedule(Negatives(first_stage=0.0), 40).stage(0) == 2
    assert run(schedule(None, 40, noise=0.03), RISE).stage(39) == 1


def test_untrained_routers_are_what_specialisation_stands_out_from():
    stages = schedule(SETTINGS)
    generator = torch.Generator().manual_seed(0)
    steps = []
    for _ in range(4):
        gates = torch.rand(20, 3, 2, generator=generator)
        steps.append(
            Routed(gates / gates.sum(-1, keepdim=True), torch.arange(20) % 2, torch.zeros(20, dtype=torch.long))
        )
    stages.set_untrained(steps)
    assert 0 < stages.untrained < 0.01, "80 sequences differ by chance"
    assert 0 < stages.noise < 0.01
    assert run(stages, [0.0] * 4).second is None, "no more than they have"
    once = (stages.untrained, stages.noise)
    stages.set_untrained(steps)
    assert (stages.untrained, stages.noise) == once


def test_a_resumed_run_goes_on_alike(tmp_path):
    whole = run(schedule(SETTINGS, 100, tmp_path / "whole", 0.03), RISE)
    first = run(schedule(SETTINGS, 100, tmp_path / "cut", 0.03), RISE[:3])
    state = json.loads(json.dumps(first.state_dict()))
    run(first, RISE[3:6], start=3)  # a kill: these steps are lost
    second = schedule(SETTINGS, 100, tmp_path / "cut")
    second.load_state_dict(state, 3)
    run(second, RISE[3:], start=3)
    assert second.state_dict() == whole.state_dict()
    assert second.second == 10
    assert (tmp_path / "cut").read_text() == (tmp_path / "whole").read_text()
    rows = [json.loads(row) for row in (tmp_path / "whole").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 3, 5, 7, 9, 11]
    assert [row["stage"] for row in rows] == [1, 1, 1, 1, 1, 2]
    names = list(TASKS)
    assert set(rows[0]["use"]) == {names[0], names[2]}
    assert len(rows[0]["by_layer"]) == len(rows[0]["set_by_layer"]) == 2
    assert rows[-1]["use"][names[0]][0] == pytest.approx([0.95, 0.05])
    assert (rows[-1]["mutual_information"], rows[-1]["set_information"]) == (whole.history[-1], 0.0)
    assert (rows[0]["untrained"], rows[0]["noise"]) == (0.01, 0.03)
