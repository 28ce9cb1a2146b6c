"""Invariants of the probes of adapters.

- Conflict counts negative cosines alone, over attention and feed-forward; orthogonal gradients have none.
- Correlations stand by seed and layer, never mixed with that of all layers; the last window is the last one.
- Gates of a task and layer sum to 1, in training and on held-out pairs.
"""

import pandas as pd
import pytest

from study import paths
from study.analysis import experts, results
from tests.study.report.adapter_runs import BATCHES, LAYERS, STEPS, WINDOW, write_study
from tests.study.report.samples import use_folder
from tsembed.tasks import IMAGE_TASKS

METHODS = ["vl_lora_wide", "vl_moe_lora"]
PAIR = "image_classification–image_retrieval"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        configs, root = paths.CONFIGS, tmp_path_factory.mktemp("study")
        use_folder(patch, root)
        write_study(root, configs=configs, seeds=2, experiments=("captions", "images"))
        yield root


def test_conflict_is_the_negative_part_of_the_cosine():
    rows = pd.DataFrame(
        [("attention", "0", 0.5), ("feed_forward", "0", -0.3), ("attention", "1", 0.0), ("embeddings", "", -0.9)],
        columns=["part", "block", "cosine"],
    ).assign(method="m", seed=0, pair=PAIR, batch=0)
    adapted, opposed = (experts.on_adapters(rows, negative=n) for n in (False, True))
    assert adapted.cosine.tolist() == [0.5, -0.3, 0.0], "embeddings are not adapted"
    assert opposed.cosine.tolist() == [0.0, 0.3, 0.0]
    assert set(opposed.part) == {experts.ADAPTERS}
    found = experts.per_batch(opposed, "m", [PAIR], part=experts.ADAPTERS)
    assert found.to_numpy() == pytest.approx(0.1)


def test_conflict_of_runs_is_by_seed_and_batch(study):
    conflict = experts.load_gradients("tiny", METHODS, "images")
    adapted, opposed = (experts.on_adapters(conflict, negative=n) for n in (False, True))
    tables = {m: experts.per_batch(opposed, m, [PAIR], part=experts.ADAPTERS) for m in METHODS}
    assert all(t.shape == (2, BATCHES) for t in tables.values())
    assert (tables["vl_lora_wide"] > 0.1).all(axis=None)
    assert (tables["vl_moe_lora"] == 0).all(axis=None)
    plain = experts.per_batch(adapted, "vl_lora_wide", [PAIR], part=experts.ADAPTERS)
    assert (plain + tables["vl_lora_wide"]).abs().max(axis=None) == pytest.approx(0, abs=1e-12)


def test_conflict_of_sets_is_by_task_and_pair(study):
    conflict = experts.load_gradients("tiny", METHODS, "images", file="set_gradients.csv")
    found = experts.between_sets(conflict)
    assert len(found) == len(METHODS) * len(IMAGE_TASKS) * 3
    apart = found[found["first"] != found.second].set_index(["method", "task"]).cosine
    assert (apart["vl_lora_wide"] < -0.4).all()
    assert (apart["vl_moe_lora"] > -0.01).all()
    assert (found[found["first"] == found.second].cosine > 0.6).all()


def test_correlations_are_by_seed_and_layer(study):
    proxy = results.read_routing("tiny", ["vl_moe_lora", "tsembed"], "proxy.csv", "images")
    found = experts.correlations(proxy, "vl_moe_lora", "trained", "embedding, same task")
    assert list(found.index) == [0, 1]
    assert list(found.columns) == list(range(len(LAYERS)))
    assert (found > experts.correlations(proxy, "vl_moe_lora", "random", "embedding, same task")).all(axis=None)
    with pytest.raises(ValueError, match="no correlation of .*sideways"):
        experts.correlations(proxy, "vl_moe_lora", "trained", "embedding, sideways")


def test_information_is_of_the_last_window(study):
    history = results.history("tiny", ["vl_moe_lora", "tsembed"], "images")
    assert history.groupby(["method", "seed"]).size().tolist() == [STEPS // WINDOW] * 4
    found = experts.information(history.sample(frac=1, random_state=0), "vl_moe_lora")
    assert found.shape == (2, len(LAYERS))
    last = history[(history.method == "vl_moe_lora") & (history.step == STEPS - 1)].set_index("seed")
    assert found.mean(axis=1).to_dict() == pytest.approx(last.mutual_information.to_dict())


def test_use_is_shown_at_both_ends_of_training_and_held_out(study):
    history = results.history("tiny", ["vl_moe_lora"], "images")
    use = results.read_routing("tiny", ["vl_moe_lora"], "use.csv", "images")
    found = experts.expert_use(history, use, "vl_moe_lora", 1)
    assert list(dict.fromkeys(found.when)) == ["training, to step 8", "training, to step 32", "held-out pairs"]
    sums = found.groupby(["when", "task", "layer"]).share.sum()
    assert len(sums) == 3 * len(IMAGE_TASKS) * len(LAYERS)
    assert sums.to_numpy() == pytest.approx(1.0)
    one = experts.expert_use(history[history.step < WINDOW], use, "vl_moe_lora", 1)
    assert len(set(one.when)) == 2, "a single window is shown once"
    assert experts.blocks_of(list(dict.fromkeys(use.layer))) == ["0", "0", "1", "1"]
