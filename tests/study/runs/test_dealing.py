"""Invariants of dealing evaluation sets out over processes.

- Each set has one process; the dearest set never stands beside another while a process has none.
- The first process waits until all have left their scores, and has those of all.
- A set costs what its texts are long: of prepared data by its files, of a benchmark by what mteb has counted.
"""

import threading
from types import SimpleNamespace

import pytest

from study.presets import load_preset
from study.runs.dealing import PAUSE, Share, cost, deal


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_each_set_has_one_process_and_the_dearest_has_its_own(processes):
    costs = {"a": 100.0, **{name: 1.0 + number for number, name in enumerate("bcdef")}}
    shares = deal(costs, processes)
    assert len(shares) == processes
    assert sorted(name for share in shares for name in share) == sorted(costs)
    assert processes == 1 or ["a"] in shares
    assert deal(dict(reversed(costs.items())), processes) == shares, "every process comes to the same"


def test_the_first_waits_for_the_scores_of_all(tmp_path):
    shares = [Share(tmp_path / "shares", process, 3) for process in range(3)]
    found = []
    waiting = threading.Thread(target=lambda: found.extend(shares[0].wait()), daemon=True)
    waiting.start()
    for share in shares:
        waiting.join(2 * PAUSE)
        assert waiting.is_alive()
        share.done([{"dataset": f"set{share.process}", "score": share.process / 3}])
    waiting.join(60)
    assert not waiting.is_alive()
    assert found == [{"dataset": f"set{process}", "score": process / 3} for process in range(3)]


def test_a_longer_set_costs_more(tmp_path):
    found = []
    for name, size in (("short", 400), ("long", 4000)):
        (tmp_path / "eval" / name).mkdir(parents=True)
        (tmp_path / "eval" / name / "rows.arrow").write_bytes(b"x" * size)
        found.append(cost(SimpleNamespace(metadata=SimpleNamespace(name=name)), tmp_path))
    assert found == [100, 1000]


def test_every_set_of_the_papers_benchmark_has_a_cost(tmp_path):
    import mteb

    tasks = list(mteb.get_benchmark(load_preset("paper").evaluation.benchmark).tasks)
    costs = {task.metadata.name: cost(task, tmp_path) for task in tasks}
    assert min(costs.values()) > 1000
    assert max(costs, key=costs.get) in ("MSMARCO", "HotpotQA", "FEVER", "ClimateFEVER", "DBPedia", "NQ")
