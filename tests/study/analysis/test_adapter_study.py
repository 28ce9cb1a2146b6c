"""Invariants of what TSEmbed's tables are made of.

- Sets carry group and chance from the manifest; a table's rows are the meta-tasks, seen, unseen and all scored sets.
- A difference pairs a seed with itself, also where one row has a single seed; Holm corrects over task types alone.
- Sizes are counted in safetensors headers, and equal the tensors'; times are paired by step and seed.
- Gains stand beside what trained routers know of the dataset, the least knowing first; plain LoRA has no point.
- Every ablation names the setting that it changes and the main row's value.
"""

import numpy as np
import pandas as pd
import pytest

from study import paths
from study.analysis import ablations, cost, experts, gains, results
from study.variant_rows import load_variants
from tests.study.report.adapter_runs import STEPS, write_study
from tests.study.report.samples import use_folder
from tsembed.tasks import TASK_OF_IMAGE_TYPE

MAIN = ["vl_lora", "vl_lora_wide", "vl_moe_lora", "tsembed", "tsembed_one_stage", "vl_moe_lora_task"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three seeds of the main rows, one of the ablations."""
    with pytest.MonkeyPatch.context() as patch:
        configs, root = paths.CONFIGS, tmp_path_factory.mktemp("study")
        use_folder(patch, root)
        write_study(root, configs=configs)
        yield root


@pytest.fixture
def found(study):
    return results.load_scores("tiny", "captions", "images", "images_adapter", "images_negatives")


def table(**methods):
    """Scores of one task type: method -> (seeds x datasets)."""
    rows = [
        {"method": m, "seed": s, "task_type": "A" if d < 2 else "B", "dataset": f"d{d}", "score": x}
        for m, values in methods.items()
        for s, line in enumerate(values)
        for d, x in enumerate(line)
    ]
    return pd.DataFrame(rows)


def test_sets_have_group_and_chance(study, found):
    sets = gains.evaluation_sets("tiny", "images")
    assert sets.task_type.value_counts().to_dict() == dict.fromkeys(TASK_OF_IMAGE_TYPE, 3)
    assert (sets.chance == 5.0).all()
    assert sets.answers.isna().sum() == 4
    assert sets.answers.max() == 10.0
    rows = gains.rows_of(sets, found)
    assert list(rows) == [*TASK_OF_IMAGE_TYPE, "seen", "unseen", gains.EVERYTHING]
    assert [len(rows[name]) for name in ("seen", "unseen", gains.EVERYTHING)] == [8, 4, 12]
    few = gains.rows_of(sets, found[found.dataset.str.startswith("visual_grounding")])
    assert list(few) == ["VisualGrounding", "seen", "unseen", gains.EVERYTHING], "what was scored alone"
    assert len(few["unseen"]) == 1


def test_means_are_over_seeds_and_datasets():
    rows = {"A": ["d0", "d1"], "both": ["d0", "d1", "d2"]}
    means = gains.mean_scores(table(a=[[1, 2, 6], [3, 4, 8]]), ["a"], rows).set_index("row")
    assert means["mean"].to_dict() == {"A": 2.5, "both": 4.0}
    assert means.datasets.to_dict() == {"A": 2, "both": 3}
    assert set(means.seeds) == {2}
    assert ((means.low < means["mean"]) & (means["mean"] < means.high)).all()


def test_one_seed_is_paired_with_its_own():
    values = table(one=[[2.0, 3.0, 4.0]], three=[[1.0, 2.0, 3.0], [50.0, 50.0, 50.0], [90.0, 90.0, 90.0]])
    rows = {"A": ["d0", "d1"], "B": ["d2"], "both": ["d0", "d1", "d2"]}
    by_row = gains.gains_by_row(values, ["one"], rows, baseline="three").set_index("row")
    assert by_row.gain.to_dict() == {"A": 1.0, "B": 1.0, "both": 1.0}
    assert set(by_row.seeds) == {1}
    assert pd.isna(by_row.p_holm["both"]), "sums are no family of their own"
    assert pd.isna(by_row.p_t["A"]), "two equal differences say nothing of their spread"
    assert by_row[["low", "high", "low_beyond", "detectable"]].isna().all(axis=None), "one seed is a direction"


def test_a_seed_that_is_not_the_first_is_paired_with_its_own():
    values = table(one=[[0.0] * 3, [52.0, 53.0, 54.0]], three=[[1.0, 2.0, 3.0], [50.0] * 3, [90.0] * 3])
    rows = {"both": ["d0", "d1", "d2"]}
    (gain,) = gains.gains_by_row(values.query("method != 'one' or seed == 1"), ["one"], rows, baseline="three").gain
    assert gain == 3.0


def test_gains_find_the_effects_that_the_scores_have(found):
    rows = gains.rows_of(gains.evaluation_sets("tiny", "images"), found)
    by_row = gains.gains_by_row(found, MAIN[2:4], rows, baseline="vl_lora_wide")
    overall = by_row[by_row.row == gains.EVERYTHING].set_index("method")
    assert overall.gain.vl_moe_lora == pytest.approx(1.0, abs=0.4)
    assert overall.gain.tsembed == pytest.approx(2.0, abs=0.4)
    assert (overall.low > 0).all()
    assert (overall.datasets == 12).all()
    assert (overall.seeds == 3).all()


def test_a_size_is_that_of_the_saved_tensors(tmp_path):
    from safetensors.numpy import save_file

    tensors = {"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float16), "c": np.ones((), np.float32)}
    save_file(tensors, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    assert cost.model_size(tmp_path) == (18, 62)
    with pytest.raises(ValueError, match="has no safetensors file"):
        cost.model_size(tmp_path / "none")


def test_sizes_and_times_of_runs(study):
    sizes = cost.sizes("tiny", MAIN, "images").parameters
    assert sizes.vl_lora_wide == 4 * sizes.vl_lora == sizes.vl_moe_lora_task < sizes.vl_moe_lora == sizes.tsembed
    steps = cost.load_steps("tiny", MAIN, "images")
    assert len(steps) == len(MAIN) * 3 * STEPS
    assert steps.groupby("method").stage.max().to_dict() == {
        **dict.fromkeys(MAIN, 1),
        "tsembed": 2,
        "tsembed_one_stage": 2,
    }
    times = cost.time_ratios(steps, "vl_lora")
    assert times["mean"].vl_lora == 1.0
    assert times["mean"].vl_moe_lora == pytest.approx(1.2)
    assert (times.seeds == 3).all()
    switches = cost.second_stage(steps).groupby("method").step.agg(list)
    assert switches.to_dict() == {"tsembed": [18] * 3, "tsembed_one_stage": [0] * 3}


def test_times_are_paired_by_step():
    rows = [(m, 0, s, x * (s + 1)) for m, x in (("a", 1.0), ("b", 2.0)) for s in range(5)]
    steps = pd.DataFrame([*rows, ("b", 0, 9, 1000.0)], columns=["method", "seed", "step", "seconds"])  # a has no step 9
    times = cost.time_ratios(steps, "a")
    assert times.loc["b", ["mean", "low", "high"]].tolist() == pytest.approx([2.0] * 3)


def test_every_ablation_names_what_it_changes():
    known = load_variants()
    changing = [v for v in known if v.startswith(("vl_moe_lora_", "tsembed_")) and "text" not in v]
    changing = [v for v in changing if v not in ("vl_moe_lora_mixed", "tsembed_mixed")]
    assert len(changing) > 20
    for name in changing:
        main = "vl_moe_lora" if known[name].negatives is None else "tsembed"
        main += "_mixed" if known[name].batching == "mixed" else ""
        panel, value = ablations.changed(known[name], known[main])
        assert panel in {*ablations.ADAPTER.values(), *ablations.NEGATIVES.values()}
        assert value
    assert ablations.changed(known["vl_moe_lora_top1"], known["vl_moe_lora"]) == ("experts in use", "all")
    assert ablations.changed(known["tsembed_top8"], known["tsembed"]) == ("negatives that are weighted", "all")
    assert ablations.changed(known["vl_moe_lora"], known["tsembed"]) == ("weights of negatives", "EANS")
    with pytest.raises(ValueError, match="differs from MoE-LoRA in no setting"):
        ablations.changed(known["vl_moe_lora"], known["vl_moe_lora"])


def test_gains_stand_beside_what_the_experts_know():
    gained = pd.DataFrame({"row": ["seen", "unseen"] * 3, "method": np.repeat(["b", "a", "lora"], 2), "gain": range(6)})
    rows = [
        (method, seed, router, label, layer, value)
        for method, mean in (("a", 0.1), ("b", 0.3))
        for seed, shift in ((0, -0.05), (1, 0.05))
        for router, label, layer, value in (
            ("trained", "set", "all", mean + shift),
            ("untrained", "set", "all", 9.0),
            ("trained", "task", "all", 9.0),
            ("trained", "set", "q_proj", 9.0),
        )
    ]
    information = pd.DataFrame(rows, columns=["method", "seed", "router", "label", "layer", "information"])
    found = experts.gains_by_information(gained, information)
    assert found.method.tolist() == ["a", "b"]
    assert found.gain.tolist() == [2, 0]
    assert found.information.tolist() == pytest.approx([0.1, 0.3])
