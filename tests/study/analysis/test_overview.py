"""What the first page shows, from whatever runs are finished.

Invariants: differences are those that the runs have; a run that is missing leaves its own numbers out and nothing else;
every claim has one kind.
"""

import json
import shutil

import pandas as pd
import pytest

from study import paths
from study.analysis import claims, overview
from study.analysis.gains import MEAN_OF_DATASETS
from study.report.figures import overview as figures
from tests.study.report.adapter_runs import write_study
from tests.study.report.samples import use_folder
from tests.study.report.text_runs import EFFECTS, SIMILARITY, write_text_study

CONFIGS, REFERENCES = paths.CONFIGS, paths.REFERENCES


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs of the text methods by three seeds; their folder."""
    use_folder(monkeypatch, tmp_path)
    monkeypatch.setattr(paths, "REFERENCES", REFERENCES)
    write_text_study(tmp_path, configs=CONFIGS)
    return tmp_path / "runs/tiny"


def mean_of(rows, method, baseline):
    chosen = rows[(rows.method == method) & (rows.baseline == baseline) & (rows.row == MEAN_OF_DATASETS)]
    return chosen.iloc[0]


def test_differences_are_those_of_the_runs_and_the_papers_stand_beside(runs):
    rows = overview.score_differences("tiny")
    experts = mean_of(rows, "mote", "ic")
    assert experts.gain == pytest.approx(EFFECTS["mote"] - EFFECTS["ic"], abs=0.25)
    assert experts.low < experts.gain < experts.high
    assert experts.paper == pytest.approx(2.60 - 1.81)
    assert (experts.seeds, experts.datasets) == (3, 21)
    for method in ("em", "ic", "mote"):
        trained = mean_of(rows, method, "base")
        assert trained.gain == pytest.approx(EFFECTS[method] - EFFECTS["base"], abs=0.25)
        assert trained.paper != trained.paper
    assert len(rows) == 4 * 8, "seven types and their mean, four pairs"


def test_a_run_that_is_missing_leaves_its_numbers_out(runs):
    (runs / "ic/seed1/done.json").unlink()
    rows = overview.score_differences("tiny")
    assert mean_of(rows, "mote", "ic").seeds == 2
    assert mean_of(rows, "mote", "base").seeds == 3
    for seed in range(3):
        (runs / f"mote/seed{seed}/done.json").unlink(missing_ok=True)
    rows = overview.score_differences("tiny")
    assert set(rows.method) == {"em", "ic"}
    assert overview.route_similarity("tiny").empty
    for method in ("base", "em", "ic"):
        for done in (runs / method).glob("*/done.json"):
            done.unlink()
    assert overview.score_differences("tiny").empty
    assert overview.score_differences("of no config").empty
    assert overview.scope("tiny") == []


def test_where_there_is_no_text_adapters_are_compared_with_lora_and_with_their_start(tmp_path, monkeypatch):
    use_folder(monkeypatch, tmp_path)
    monkeypatch.setattr(paths, "REFERENCES", REFERENCES)
    write_study(tmp_path, configs=CONFIGS, experiments=("captions", "images"), seeds=3)
    rows = overview.score_differences("tiny")
    compared = list(dict.fromkeys(zip(rows.method, rows.baseline, strict=True)))
    trained = [(method, "vl_base") for method in ("vl_lora_wide", "vl_moe_lora", "tsembed")]
    assert compared == [("vl_moe_lora", "vl_lora_wide"), *trained]
    assert mean_of(rows, "vl_moe_lora", "vl_lora_wide").gain == pytest.approx(1, abs=0.5)
    assert mean_of(rows, "tsembed", "vl_base").gain == pytest.approx(22, abs=0.5)
    assert rows.paper.isna().all()
    assert len(overview.trained_against_untrained(rows)) == 3
    drawn = figures.panels(pd.DataFrame(), rows)
    figures.together(drawn).canvas.draw()
    assert list(drawn) == ["experts", "training"]


def test_similarity_is_that_of_the_runs_per_pair_and_over_all(runs):
    rows = overview.route_similarity("tiny")
    assert len(rows) == 7 * 2
    whole = rows[rows.pair == overview.ALL_PAIRS].set_index("method")
    for method in ("ic", "mote"):
        assert whole["mean"][method] == pytest.approx(SIMILARITY[method] + 0.01, abs=0.005)
        assert whole.low[method] < whole["mean"][method] < whole.high[method]
    assert set(rows.texts) == {8}


def test_the_scope_is_read_from_settings_and_scores(runs):
    for seed in range(2):
        settings = "backbone: {name: 'embedded:all-MiniLM-L6-v2'}\ntraining: {steps: 48, batch_size: 32}\n"
        (runs / f"mote/seed{seed}/config.yaml").write_text(settings)
    folder = runs / "vl_moe_lora/seed0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("backbone: {name: a/b}\ntraining: {steps: 2, batch_size: 8}\n")
    (folder / "scores.json").write_text(json.dumps([{"dataset": "x"}, {"dataset": "y"}]))
    (folder / "done.json").write_text("{}")
    text, images = overview.scope("tiny")
    assert text == overview.Scope("text", "mote", 21, "all-MiniLM-L6-v2", 1536, 2)
    assert images == overview.Scope("images", "vl_moe_lora", 2, "b", 16, 1)


def test_datasets_of_one_source_count_once(runs):
    preset = runs.parents[1] / "configs/presets/tiny.yaml"
    (runs / "ic/seed0/config.yaml").write_text(
        "preset: tiny\nbackbone: {name: a/b}\ntraining: {steps: 2, batch_size: 8}\n"
    )
    (runs / "ic/seed0/scores.json").write_text(json.dumps([{"dataset": name} for name in "xyz"]))
    for other in ("mote", "em"):
        shutil.rmtree(runs / other)
    preset.write_text(preset.read_text() + "same_source: {one: [x, z]}\n")
    assert overview.scope("tiny")[0].datasets == 2


def test_every_claim_has_one_kind_and_is_counted_once(runs):
    collected = claims.collect("tiny")
    table = overview.by_kind(collected).set_index("kind")
    assert list(table.index) == list(overview.KINDS)
    assert table.claims.sum() == len(collected)
    assert (table.unmeasured == table.claims).all(), "no notebook has judged anything here"
    collected.loc[collected.id == "all-mote", "verdict"] = "contradicted"
    collected.loc[collected.id == "plain", "verdict"] = "supported"
    table = overview.by_kind(collected).set_index("kind")
    assert (table.opposite["headline scores"], table.holds["our own questions"]) == (1, 1)
