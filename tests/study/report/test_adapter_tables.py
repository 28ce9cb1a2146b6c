"""TSEmbed's tables.

Invariants: chance and seeds stand beside scores; a gain stands beside the baseline's own score; an ablation names the
main row's setting; published numbers carry their source, and say which were not checked.
"""

import re

import numpy as np
import pandas as pd
import yaml

from study import paths
from study.analysis.judgement import Measured
from study.report import style
from study.report.tables import adapters as adapter_tables
from study.report.tables import experts, write

MEANS = pd.DataFrame(
    [("seen", m, 8, n, 40.0, 38.0, 42.0) for m, n in (("vl_base", 1), ("tsembed", 3))]
    + [("unseen", m, 4, n, 30.0, 28.0, 32.0) for m, n in (("vl_base", 1), ("tsembed", 3))],
    columns=["row", "method", "datasets", "seeds", "mean", "low", "high"],
)
GAIN = {"gain": 2.0, "low": 1.0, "high": 3.0}


def test_scores_stand_above_chance_and_beside_seeds():
    shown = adapter_tables.score_table(MEANS, {"seen": 5.0, "unseen": 2.5}, {"seen": 20.0, "unseen": float("nan")})
    groups = ["all unseen datasets (4)", "all seen datasets (8)"]
    assert shown.columns.tolist() == ["Method", *groups, "Seeds"]
    assert shown.iloc[0].tolist() == ["Base (captions only)", "30.0 [28.0, 32.0]", "40.0 [38.0, 42.0]", "1"]
    assert shown.iloc[1].tolist()[0] == "TSEmbed"
    assert shown.iloc[2].tolist() == ["chance, all candidates", "2.5", "5.0", style.MISSING]
    assert shown.iloc[3].tolist() == ["chance, possible answers", style.MISSING, "20.0", style.MISSING]
    assert len(adapter_tables.score_table(MEANS)) == 2


def test_only_the_three_groups_that_sum_up_have_intervals():
    single = MEANS[MEANS.row == "seen"].assign(row="ImageRetrieval", datasets=2)
    every = MEANS[MEANS.row == "seen"].assign(row="all sets", datasets=12)
    shown = adapter_tables.score_table(pd.concat([single, MEANS, every]))
    assert shown.columns.tolist()[1:] == [
        "all datasets (12)",
        "all unseen datasets (4)",
        "all seen datasets (8)",
        "retrieval (2)",
        "Seeds",
    ]
    assert shown.iloc[0]["retrieval (2)"] == "40.0"


def test_gains_stand_below_the_baselines_score():
    gains = pd.DataFrame([{"row": "seen", "method": "tsembed", "datasets": 8, "seeds": 3, "baseline": 38.0} | GAIN])
    shown = adapter_tables.gain_table(gains, "vl_lora_wide")
    assert shown.Method.tolist() == ["score of Matched-parameter LoRA", "TSEmbed"]
    assert shown["all seen datasets (8)"].tolist() == ["38.0", "+2.0 [+1.0, +3.0]"]


def test_costs_are_ratios_to_the_baseline_and_the_backbone():
    sizes = pd.DataFrame({"parameters": [100, 425], "bytes": [400, 1_700_000]}, index=["lora", "moe_lora"])
    times = pd.DataFrame({"mean": [1.0, 1.2], "low": [1.0, 1.1], "high": [1.0, 1.3]}, index=["lora", "moe_lora"])
    shown = adapter_tables.cost_table(sizes, times, baseline="lora", backbone=1000)
    assert shown.iloc[1].tolist() == ["MoE-LoRA", "425", "4.250", "42.5%", "1.70", "1.200 [1.100, 1.300]"]
    unknown = adapter_tables.cost_table(sizes, times, baseline="lora", backbone=None)
    assert set(unknown["of the backbone"]) == {style.MISSING}


def test_an_ablation_names_the_main_rows_setting():
    same = {
        "panel": "beta",
        "main": "10",
        "method": "tsembed_beta3",
        "label": "beta 3",
        "detectable": 0.5,
        "p_holm": 0.02,
    }
    rows = pd.DataFrame([same | GAIN | {"row": r, "seeds": 1, "size": 1.0} for r in ("all sets", "seen")])
    shown = adapter_tables.ablation_table(rows)
    assert shown.columns.tolist() == [
        "Ablation",
        "In place of",
        "all datasets",
        "all seen datasets",
        "Minimum detectable",
        "Holm",
        "Seeds",
        "Parameters",
    ]
    assert shown.iloc[0].tolist()[:2] == ["beta 3", "beta: 10"]
    assert shown.Seeds.tolist() == [1]


def test_published_numbers_have_a_source():
    mmeb = yaml.safe_load((paths.REFERENCES / "tsembed.yaml").read_text())["mmeb"]
    by_dataset = pd.read_csv(paths.REFERENCES / mmeb["by_dataset"])
    shown = adapter_tables.published_table(mmeb, by_dataset).set_index("Model")
    assert len(shown) == len(mmeb["models"])
    assert shown.Source.str.contains("https://").all()
    classification = by_dataset[by_dataset.task_type == "ImageClassification"].vlm2vec_2b
    assert shown.classification["VLM2Vec"] == f"{classification.mean():.1f}"
    assert shown["all datasets"].astype(float).is_monotonic_increasing
    assert not shown.index.str.contains("TSEmbed").any()


def test_weights_of_negatives_have_no_row_of_their_own_for_the_mean_of_all():
    rows = [("vl_moe_lora", "query", relation, weight) for relation, weight in (("all", 1.0), ("same set", 1.05))]
    weights = pd.DataFrame(rows, columns=["method", "by", "relation", "weight"])
    found = experts.weights_table(
        weights.assign(low=0.1, high=3.0, correlation=-0.004), ["vl_moe_lora"], {"vl_moe_lora": "MoE-LoRA"}
    )
    assert found.to_dict("records") == [
        {
            "Method": "MoE-LoRA",
            "weights by": "query",
            "same set": "1.05",
            "5 to 95 %": "0.10 to 3.00",
            "correlation with cosine": "0.00",
        }
    ]


def test_the_noise_floor_says_what_repetitions_differ_by(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPORTS", tmp_path)
    columns = ["dataset_deviation", "mean_deviation", "dataset_difference_deviation", "mean_difference_deviation"]
    noise = pd.DataFrame(
        [("vl_lora_wide", 5, 1.234, 0.3, float("nan"), float("nan")), ("vl_moe_lora", 5, 1.5, 0.4, 2.0, 0.5)],
        columns=["variant", "replicates", *columns],
    )
    shown = write.save(adapter_tables.noise_table(noise), "noise", preset="tiny", caption="c").data
    assert re.findall("<t[hd](?: [^>]*)?>([^<]*)", shown)[5:] == [
        *("Matched-parameter LoRA", "1.23", "0.30", "–", "–"),
        *("MoE-LoRA", "1.50", "0.40", "2.00", "0.50"),
    ]


def test_a_difference_stands_beside_the_seeds_that_it_would_take():
    apart = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    found = {"A − B": apart, "A − C": apart / 1e3, "one seed": apart[:1], "hopeless": 1e6 * apart}
    measured = {name: Measured(values) for name, values in found.items()} | {"few queries": Measured(apart, 0.2)}
    shown = adapter_tables.seeds_table(measured, size=1.0)
    assert shown.columns.tolist() == ["Difference", "Here", "Seeds", "Minimum detectable", "Seeds for ±1"]
    assert shown.iloc[0].tolist() == ["A − B", "+1.0 [−1.5, +3.5]", "3", "±3.1", "10"]
    assert shown.iloc[1].tolist()[2:] == ["3", "±0.0", "2"]
    assert shown.iloc[2].tolist() == ["one seed", "0.0", "1", style.MISSING, style.MISSING]
    assert shown.iloc[3].tolist()[-1] == shown.iloc[4].tolist()[-1] == "more than 999"
