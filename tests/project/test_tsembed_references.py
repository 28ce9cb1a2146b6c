"""The published numbers, as copied to references/tsembed.yaml.

Invariants: MMEB has as many sets here as in its source; every model has a score for each of them, a source, and the
mean that the source prints; what our summaries of TSEmbed do not give is null, with the reason.
"""

from collections import Counter

import pandas as pd
import pytest
import yaml

from study import paths
from study.data.hub import mmeb
from tsembed.settings import Adapter, Backbone
from tsembed.tasks import TASK_OF_IMAGE_TYPE, TASKS

PUBLISHED = yaml.safe_load((paths.REFERENCES / "tsembed.yaml").read_text())
MODELS = PUBLISHED["mmeb"]["models"]
SCORES = pd.read_csv(paths.REFERENCES / PUBLISHED["mmeb"]["by_dataset"])


def test_the_sets_are_counted_as_the_source_has_them():
    count = Counter((task, "unseen" if name in mmeb.UNSEEN else "seen") for name, task in mmeb.EVAL.items())
    for task_type, groups in PUBLISHED["mmeb"]["sets"].items():
        assert {group: count[TASK_OF_IMAGE_TYPE[task_type], group] for group in groups} == groups
    assert sum(sum(groups.values()) for groups in PUBLISHED["mmeb"]["sets"].values()) == 36


def test_every_dataset_has_its_meta_task_and_a_score_of_every_model():
    assert list(SCORES.columns) == ["dataset", "task_type", "group", *MODELS]
    assert {row.dataset: TASK_OF_IMAGE_TYPE[row.task_type] for row in SCORES.itertuples()} == mmeb.EVAL
    assert set(SCORES.dataset[SCORES.group == "unseen"]) == set(mmeb.UNSEEN)
    assert SCORES[list(MODELS)].map(lambda score: 0 < score < 100).all(axis=None)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_has_a_source_whose_mean_the_scores_have(name):
    model = MODELS[name]
    assert set(model) - {"leader"} == {"label", "backbone", "printed", "source"}
    assert "https://" in model["source"]
    assert SCORES[name].mean() == pytest.approx(model["printed"], abs=0.5)  # VLM2Vec's code was revised between the two


def test_one_model_is_named_as_the_leader():
    assert [name for name, model in MODELS.items() if "leader" in model] == [SCORES[list(MODELS)].mean().idxmax()]


def test_what_is_not_public_is_null():
    assert PUBLISHED["tsembed"]["scores"] is None
    assert "print no score" in PUBLISHED["tsembed"]["missing"]


def test_the_settings_start_from_the_published_recipe():
    given = {name: entry["value"] for name, entry in PUBLISHED["hyperparameters"].items()}
    assert (Adapter().r, Adapter().lora_alpha) == (given["lora_r"], given["lora_alpha"])
    assert {TASKS[task].temperature for task in TASK_OF_IMAGE_TYPE.values()} == {given["temperature"]}
    assert Backbone(pooling=given["pooling"]).pooling == "last"
