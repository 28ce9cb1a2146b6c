"""Invariants of the study's tables and live figure.

- Gains stand beside the paper's of the same row and method, and a row that the paper lacks says so.
- The live figure draws whole rows only, and nothing anew without new rows.
"""

import json

import pandas as pd
import pytest

from study import paths
from study.analysis import gains, results
from study.presets import load_preset
from study.report import style
from study.report.figures import training as training_figures
from study.report.tables import gains as gain_tables

MEAN = gains.MEAN_OF_DATASETS


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
    assert ic.gain.to_dict() == pytest.approx({"STS": 2.0, "Reranking": 3.5, MEAN: 2.5})
    # The seeds' means are 2 and 3: an error of 0.5, and a t quantile of 12.7 with one degree of freedom.
    assert (ic.low[MEAN], ic.high[MEAN]) == pytest.approx((2.5 - 12.7062 / 2, 2.5 + 12.7062 / 2))
    assert ic.detectable[MEAN] == pytest.approx((12.7062 + 1.37638) / 2)
    assert ic.low_beyond[MEAN] <= ic.low[MEAN] < ic.low_bootstrap[MEAN] < 2.5
    assert ic.datasets[MEAN] == 3
    assert ic.seeds["STS"] == 2
    mote = by_type[by_type.method == "mote"].set_index("row")
    assert (mote.low == 3.0).all()
    assert (mote.high == 3.0).all()
    assert pd.isna(mote.p_holm[MEAN])
    assert mote[["p_t", "p_wilcoxon"]].isna().all(axis=None), "equal differences have no p-value"
    published = {"STS": {"em": 70.0, "ic": 2.11}, "Average": {"em": 60.0, "ic": 1.5}}
    table = gain_tables.gain_table(by_type, published)
    ours, papers = ["Gain over EM", "Score of EM"], ["Gain in the paper", "Score of EM in the paper"]
    assert table.columns.tolist() == ["Method", "Datasets", *ours, *papers]
    assert table.iloc[0].tolist() == ["IC", "STS (2)", "+2.0 [−4.4, +8.4]", "50.0", "+2.1", "70.0"]
    assert table.iloc[1].tolist()[-2:] == [style.MISSING] * 2, "re-ranking is not published here"
    assert table.iloc[2].tolist()[1] == "mean of all datasets (3)", "the paper's average is one too"
    assert table.iloc[2].tolist()[-2:] == ["+1.5", "60.0"]
    assert table.Method.tolist() == ["IC"] * 3 + ["MoTE"] * 3
    assert gain_tables.gain_table(by_type, {}).columns.tolist() == ["Method", "Datasets", *ours]
    tests = gain_tables.tests_table(by_type)
    assert len(tests) == 6
    assert (tests.Holm[tests.Datasets == "mean of all datasets (3)"] == style.MISSING).all(), (
        "a mean of all is of no family"
    )
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
    assert found["base"] == found["mote"] == list(range(load_preset("cpu").variants["mote"]))
    assert len(found["mote"]) > 1
    assert found["tlr"] == [0]


def test_missing_scores_and_unfinished_runs_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="ic: scores of STS are missing"):
        gains.gains(scores().query("not (method == 'ic' and dataset == 'b' and seed == 1)"), ["ic"], ["STS"])
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    with pytest.raises(ValueError, match="preset smoke: not finished: base seed 0, em seed 0, .*run_all.sh smoke"):
        results.load_scores("smoke")


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
