"""Invariants of the study's tables, claims and live figure.

- Gains stand beside the paper's of the same row and method, and a row that the paper lacks says so.
- Every claim names an existing notebook, method and type; a verdict follows the interval and nothing else.
- The live figure draws whole rows only, and nothing anew without new rows.
"""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from study import paths
from study.analysis import claims, gains, results
from study.presets import load_preset, load_variants
from study.probes.similarity import PAIRS
from study.report import style
from study.report.figures import training as training_figures
from study.report.tables import gains as gain_tables
from tsembed.tasks import TASK_OF_IMAGE_TYPE, TASK_OF_TYPE, TASKS


def scores():
    rows = []
    for seed in (0, 1):
        for k, (kind, dataset) in enumerate([("STS", "a"), ("STS", "b"), ("Reranking", "c")]):
            for method, shift in (("em", 0.0), ("ic", 1.0 + k + seed), ("mote", 3.0)):
                rows.append(
                    {"method": method, "seed": seed, "task_type": kind, "dataset": dataset, "score": 50 + shift}
                )
    return pd.DataFrame(rows)


def test_gains_are_paired_and_beside_the_papers():
    by_type = gains.gains(scores(), ["ic", "mote"], ["STS", "Reranking"])
    ic = by_type[by_type.method == "ic"].set_index("row")
    assert ic.gain.to_dict() == pytest.approx({"STS": 2.0, "Reranking": 3.5, "Average": 2.5})
    assert ic.low["Average"] < 2.5 < ic.high["Average"]
    assert ic.datasets["Average"] == 3
    assert ic.seeds["STS"] == 2
    mote = by_type[by_type.method == "mote"].set_index("row")
    assert (mote.low == 3.0).all()
    assert (mote.high == 3.0).all()
    assert pd.isna(mote.p_holm["Average"])
    table = gain_tables.gain_table(by_type, {"STS": {"em": 70.0, "ic": 2.11}})
    assert table.columns.tolist() == ["Task type", "EM", "paper", "IC", "paper ", "MoTE", "paper  "]
    assert table.iloc[0].tolist()[:5] == ["STS (2)", "50.00", "70.00", "+2.00 [+1.00, +3.00]", "+2.11"]
    assert table.iloc[1].tolist()[2] == style.MISSING == table.iloc[1].tolist()[4]
    tests = gain_tables.tests_table(by_type)
    assert len(tests) == 6
    assert (tests.Holm[tests["Task type"] == "Average"] == style.MISSING).all(), "an average is of no family"
    scored = gain_tables.published_gains({"STS": {"em": 70.0, "ic": 72.0}}, "em")
    assert scored == {"STS": {"em": 70.0, "ic": 2.0}}
    averages = gains.seed_means(scores(), ["em", "ic"], ["STS"])
    assert averages.score.tolist() == [50.0, 50.0, 51.5, 52.5]


def test_a_row_of_one_seed_is_compared_on_that_seed_alone():
    found = gains.gains(scores().query("method != 'ic' or seed == 1"), ["ic"], ["STS"]).set_index("row")
    assert found.gain["STS"] == 2.5, "in seed 1 ic gains 2 and 3 points"
    assert found.seeds["STS"] == 1, "in seed 1 ic gains 2 and 3 points"
    apart = scores().query("(method == 'ic' and seed == 1) or (method == 'em' and seed == 0)")
    with pytest.raises(ValueError, match=r"no seed in common: \[1\] and \[0\]"):
        gains.gains(apart, ["ic"], ["STS"])


def test_a_run_that_draws_nothing_stands_for_every_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    for variant, seed in load_preset("cpu").runs(""):
        folder = paths.run_dir("cpu", variant, seed)
        folder.mkdir(parents=True)
        row = {"task_type": "STS", "dataset": "a", "metric": "x", "score": 50.0 + seed}
        (folder / "scores.json").write_text(json.dumps([row]))
        (folder / "done.json").write_text("{}")
    found = results.load_scores("cpu").groupby("method").seed.agg(list).to_dict()
    assert found["base"] == [0, 1] == found["mote"]
    assert found["tlr"] == [0]


def test_missing_scores_and_unfinished_runs_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="ic: scores of STS are missing"):
        gains.gains(scores().query("not (method == 'ic' and dataset == 'b' and seed == 1)"), ["ic"], ["STS"])
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    with pytest.raises(ValueError, match="preset smoke: not finished: base seed 0, em seed 0, .*run_all.sh smoke"):
        results.load_scores("smoke")


def test_every_claim_can_be_judged():
    methods = {results.METHOD_OF_VARIANT.get(v, v) for v in load_variants()}
    pairs = {f"{a}–{b}" for a, b in PAIRS}
    tasks = {f"{a}–{b}" for a, b in combinations(TASKS, 2)}
    references = {f"{reference}, {pool}" for reference in ("embedding", "answer") for pool in ("all", "same task")}
    assert len(claims.claims()) >= 18
    for claim in claims.claims():
        assert (paths.NOTEBOOKS / f"{claim.notebook}.ipynb").is_file()
        assert {claim.method, claim.baseline or claim.method} <= methods | {"random_routers"}
        known = {
            "score": {*TASK_OF_TYPE, *TASK_OF_IMAGE_TYPE},
            "similarity": pairs,
            "gradient": tasks,
            "conflict": tasks,
            "correlation": references,
            "information": {"last window"},
        }[claim.quantity]
        assert set(claim.over) <= known, claim.id


def test_a_verdict_follows_the_interval():
    ones = np.full((2, 3), 1.0)
    judged = claims.verdicts("20_specialization", lambda c: ones)
    expected = {"greater": "reproduced", "less": "contradicted"}
    assert (judged.verdict == judged.claimed.map(expected)).all()
    assert set(judged.claimed) == set(expected)
    assert gain_tables.claim_table(judged).Difference[0] == "+1.00"
    few = claims.verdicts("20_specialization", lambda c: ones[:, :2])
    assert set(few.verdict) == {"inconclusive at this scale"}, "two datasets are no sample"
    assert claims.verdicts("20_specialization", lambda c: None).empty, "what the preset has no runs of is not judged"
    half = claims.verdicts("23_block_placement", lambda c: -0.5 * ones).set_index("id")
    assert half.than["t6-half"] == -1.0, "a claim of at most so much loss"
    assert half.verdict.to_dict() == {"t6": "contradicted", "t6-half": "reproduced"}


def test_the_live_figure_draws_whole_new_rows_only(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda figure, display_id: shown.append(figure) or Handle(shown))
    metrics = tmp_path / "metrics.jsonl"
    drawn = training_figures.LiveLoss([metrics])
    drawn.update()
    rows = [json.dumps({"step": k, "task": "clustering", "loss": 1.0}) + "\n" for k in range(4)]
    metrics.write_text("".join(rows[:3]) + rows[3][:9])
    drawn.update(), drawn.update()
    assert len(shown) == 1
    assert drawn.drawn == (metrics, 3)
    metrics.write_text("".join(rows))
    drawn.update()
    assert [len(figure.axes[0].lines[0].get_xdata()) for figure in shown] == [3, 4]


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, figure):
        self.shown.append(figure)
