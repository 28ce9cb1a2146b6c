"""Kept results of runs, and what puts them back.

Invariants: only finished runs are kept, without weights and without paths of the machine; what comes back counts as
finished for the run, its readers and its export of sizes; every file that a notebook reads of a run comes back, the
large ones too; results of other settings or data come back not at all; a second call does nothing.
"""

import json
import os
import shutil

import pytest
import yaml

from study import presets
from study.analysis import cost, results, scale
from study.report.reference import freeze, keep, restore
from study.runs.run import run

from .test_reference import finish, finished, put  # noqa: F401  (a fixture)

SWAPPED = "swapped: {label: Swapped, trained: false, weights_of: ic, task_of_type: {STS: retrieval}}\n"
LAYOUT = {"config.yaml", "done.json", "env.json", "metrics.jsonl", "scores.json", "similarity.csv", "items.parquet"}
LAYOUT |= {"model/config.json"}


@pytest.fixture
def two_runs(finished):  # noqa: F811
    """A finished study whose runs have logs and items as well, and sizes in done.json."""
    for variant in ("em", "ic"):
        folder = finished / f"runs/tiny/{variant}/seed0"
        put(folder / "metrics.jsonl", '{"step": 0}\n')
        (folder / "items.parquet").write_bytes(b"items")
        put(folder / "model/config.json", {"num_hidden_layers": 6})
        done = json.loads((folder / "done.json").read_text())
        put(folder / "done.json", done | {"parameters": 7, "bytes": 28})
    return finished


def lose(study, *variants):
    """Remove the folders of runs, as another machine lacks them."""
    for variant in variants:
        shutil.rmtree(study / f"runs/tiny/{variant}")


def test_finished_runs_are_kept_without_weights_and_paths(two_runs):
    (two_runs / "runs/tiny/ic/seed0/done.json").unlink()
    assert keep.keep("tiny") == ["em/seed0"]
    kept = two_runs / "reports/kept/tiny/em/seed0"
    assert {str(p.relative_to(kept)) for p in kept.rglob("*") if p.is_file()} == LAYOUT
    assert "/somewhere" not in (kept / "config.yaml").read_text()
    assert not (two_runs / "reports/kept/tiny/ic").exists()
    assert keep.keep("tiny") == []


def test_what_comes_back_counts_as_finished(two_runs, capsys):
    keep.keep("tiny")
    before = results.load_scores("tiny")
    lose(two_runs, "em", "ic")
    for mark in two_runs.glob("reports/kept/tiny/*/seed0/done.json"):
        os.utime(mark, (0, 0))  # as an old checkout has it
    assert restore.restore("tiny") == ["em/seed0", "ic/seed0"]
    times = {(two_runs / f"runs/tiny/{v}/seed0/done.json").stat().st_mtime for v in ("em", "ic")}
    assert times == {(two_runs / "runs/tiny/data/manifest.json").stat().st_mtime}, "or Snakemake runs them again"
    folder = two_runs / "runs/tiny/em/seed0"
    assert results.load_scores("tiny").equals(before)
    assert cost.sizes("tiny", ["em"]).loc["em"].tolist() == [7, 28]
    assert scale.number_of_blocks("tiny") == 6
    assert (folder / "items.parquet").read_bytes() == b"items"
    run(presets.resolve(presets.load_preset("tiny"), "em", 0), folder)
    assert "is done" in capsys.readouterr().out
    assert restore.restore("tiny") == []


def test_the_large_files_of_routed_experts_come_back(two_runs):
    folder = two_runs / "runs/tiny/em/seed0"
    window = {"stage": 1, "mutual_information": 0.1, "by_layer": [0.1, 0.1], "use": {"a task": [[0.4, 0.6]] * 2}}
    put(folder / "routing.jsonl", "".join(f"{json.dumps({'step': step} | window)}\n" for step in range(4)))
    layers = [f"model.layers.{number}.self_attn.q_proj" for number in range(9000)]
    put(folder / "use.csv", "task,layer,expert,share\n" + "".join(f"a task,{name},0,0.25\n" for name in layers))
    assert (folder / "use.csv").stat().st_size > freeze.SMALL
    information, use = (
        results.history("tiny", ["em"]).drop(columns="use"),
        results.read("tiny", ["em"], "use.csv"),
    )
    keep.keep("tiny")
    kept = two_runs / "reports/kept/tiny/em/seed0"
    assert {p.name for p in kept.iterdir()} >= {"routing.jsonl.gz", "use.csv.gz"}
    assert not (kept / "use.csv").exists()
    lose(two_runs, "em")
    restore.restore("tiny")
    found = results.history("tiny", ["em"])
    assert found.drop(columns="use").equals(information)
    assert found.use.map(bool, na_action="ignore").tolist()[::3] == [True, True], "of the first and last window"
    assert found.use.isna().tolist()[1:3] == [True, True]
    assert results.read("tiny", ["em"], "use.csv").equals(use)
    assert not list(folder.glob("*.gz"))


@pytest.mark.parametrize("what", ["settings", "data"])
def test_results_of_other_settings_or_data_do_not_come_back(two_runs, what):
    keep.keep("tiny")
    lose(two_runs, "em", "ic")
    if what == "settings":
        preset = two_runs / "configs/presets/tiny.yaml"
        preset.write_text(preset.read_text().replace("steps: 9", "steps: 10"))
    else:
        manifest = two_runs / "runs/tiny/data/manifest.json"
        put(manifest, json.loads(manifest.read_text()) | {"sha256": "e" * 64})
    expected = {"settings": "training.steps was 9, is 10", "data": "data_sha256 was 'ccc"}[what]
    with pytest.raises(ValueError, match=expected) as error:
        restore.restore("tiny")
    assert "reports/kept/tiny/em/seed0/config.yaml" in str(error.value)
    assert not (two_runs / "runs/tiny/em").exists()


def test_a_run_that_takes_weights_that_are_gone_says_so(two_runs):
    put(two_runs / "configs/variants/text.yaml", (two_runs / "configs/variants/text.yaml").read_text() + SWAPPED)
    preset = two_runs / "configs/presets/tiny.yaml"
    preset.write_text(preset.read_text().replace("ic: 1", "ic: 1, swapped: 1"))
    manifest = two_runs / "runs/tiny/data/manifest.json"
    put(manifest, json.loads(manifest.read_text()) | {"datasets": []})
    keep.keep("tiny")
    lose(two_runs, "ic")
    restore.restore("tiny")
    with pytest.raises(ValueError, match=r"takes the weights of .*ic/seed0, of which only the results are kept"):
        run(presets.resolve(presets.load_preset("tiny"), "swapped", 0), two_runs / "runs/tiny/swapped/seed0")


def test_settings_that_are_kept_compare_with_the_presets(two_runs):
    keep.keep("tiny")
    kept = two_runs / "reports/kept/tiny/em/seed0"
    planned = presets.resolve(presets.load_preset("tiny"), "em", 0).model_dump(mode="json")
    assert freeze.differences(freeze.settings(kept), freeze.portable(freeze.flat(planned))) == [
        f"data_sha256 was {'c' * 64!r}, is None"
    ]
    assert yaml.safe_load((kept / "config.yaml").read_text())["data"]["path"] is None
