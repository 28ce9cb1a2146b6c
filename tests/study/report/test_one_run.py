"""What 10_train ends with: the scores of a run beside those of the model before its training.

- The untrained model is the row of the preset that nobody trains, on the same backbone and data; of a run that starts
  from another one, that run.
- Without its scores the closing sentence says so, and a running study is not disturbed.
"""

import fcntl
import json

import pytest

from study import paths
from study.presets import load_preset
from study.report import one_run
from tests.study.report import samples
from tests.study.report.text_runs import write_text_study

CONFIGS = paths.CONFIGS


@pytest.fixture
def root(tmp_path, monkeypatch):
    samples.use_folder(monkeypatch, tmp_path)
    write_text_study(tmp_path, configs=CONFIGS, seeds=1)
    return tmp_path


def test_the_untrained_model_of_a_run_is_that_of_its_backbone_or_where_it_starts(root):
    preset = load_preset("tiny")
    assert one_run.untrained_of(preset, "mote") == "base"
    assert one_run.untrained_of(preset, "base") is None
    assert one_run.untrained_of(preset, "mote_two_blocks") is None, "nothing untrained has two blocks"


def test_a_run_of_adapters_starts_from_another():
    assert one_run.untrained_of(load_preset("smoke"), "vl_moe_lora") == "vl_base"
    assert one_run.untrained_of(load_preset("smoke"), "mote") == "base"


def test_the_scores_stand_beside_those_of_the_untrained_model(root):
    rows = one_run.scores("tiny", "mote", 0)
    assert (rows.gain == rows.trained - rows.untrained).all()
    assert len(rows) == len(json.loads((paths.run_dir("tiny", "base", 0) / "scores.json").read_text()))
    said = one_run.conclusion("tiny", "mote", 0)
    assert f"goes from {rows.untrained.mean():.1f} to {rows.trained.mean():.1f}" in said
    assert f"(+{rows.gain.mean():.1f})" in said
    assert f"it rose on {len(rows)} of them" in said


def test_without_scores_of_the_untrained_model_the_conclusion_says_so(root):
    (paths.run_dir("tiny", "base", 0) / "scores.json").unlink()
    assert one_run.scores("tiny", "mote", 0).untrained.isna().all()
    assert "The untrained model is not scored here" in one_run.conclusion("tiny", "mote", 0)


def test_the_untrained_model_is_scored_unless_a_study_does_it(root, monkeypatch):
    calls = []
    monkeypatch.delenv("TSEMBED_SESSION", raising=False)
    monkeypatch.setattr(one_run, "run_supervised", lambda command, log: calls.append(command))
    one_run.score_untrained("tiny", "mote", 0)
    assert calls == [], "it is done"
    (paths.run_dir("tiny", "base", 0) / "done.json").unlink()
    with (paths.RUNS / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        one_run.score_untrained("tiny", "mote", 0)
    assert calls == [], "a study is running"
    monkeypatch.setenv("TSEMBED_SESSION", "its call, on another machine")
    one_run.score_untrained("tiny", "mote", 0)
    assert calls == [], "this is a part of a study"
    monkeypatch.delenv("TSEMBED_SESSION")
    one_run.score_untrained("tiny", "mote", 0)
    assert [command[-5:] for command in calls] == [["run", "tiny", "base", "0", "--resume"]]
