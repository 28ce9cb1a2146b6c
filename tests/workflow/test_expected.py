"""Invariants of the expected length of a plan:

- a run counts with the mean of its variant's finished runs, else of all; kept ones count, each seed once;
- without a finished run the reference says it, with its machine; without both there is no number.
"""

import json
import sys

import pytest

from study import paths

sys.path.insert(0, str(paths.ROOT / "workflow"))
import nodes
from expected import expected


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(paths, "REPORTS", tmp_path / "reports")
    return tmp_path


def finished(root, variant, seed, seconds):
    folder = root / variant / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "done.json").write_text(json.dumps({"seconds": {"training": seconds, "evaluation": 10}}))


def test_a_run_counts_with_its_variants_mean_else_with_that_of_all(place):
    graph = nodes.RunGraph("local")
    assert graph.settings.parallel_runs == 2
    finished(place / "runs/local", "em", 10, 90)
    finished(place / "reports/kept/local", "em", 10, 990)  # the same seed: the run here counts
    finished(place / "reports/kept/local", "em", 11, 190)
    found = expected(graph, ["em/seed12", "mote/seed12", "site"])
    assert found.seconds == (150 + 150) / 2
    assert found.source == "2 finished runs"
    finished(place / "runs/local", "mote", 10, 590)
    assert expected(graph, ["em/seed12", "mote/seed12"]).seconds == (150 + 600) / 2


def test_without_a_finished_run_the_reference_says_it(place):
    graph = nodes.RunGraph("local")
    assert expected(graph, ["em/seed12"]) is None
    folder = place / "reports/reference/local"
    folder.mkdir(parents=True)
    machine = {"gpus": [], "processor": "P", "cores": 2}
    content = {"runs": 4, "seconds": {"training": 300.0, "evaluation": 100.0}, "hardware": [machine]}
    (folder / "reference.json").write_text(json.dumps(content))
    found = expected(graph, ["em/seed12"])
    assert (found.seconds, found.source) == (50, "the 4 runs of the reference (P, 2 cores)")
    assert expected(graph, ["site"]) is None
