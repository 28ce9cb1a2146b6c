"""The published numbers, as copied to references/tsembed.yaml.

Invariants: MMEB has as many sets here as in its source; every score has a source and says how it was transcribed; what
our summaries of TSEmbed do not give is null, with the reason.
"""

from collections import Counter

import pytest
import yaml

from study import paths
from study.data.hub import mmeb
from tsembed.settings import Adapter, Backbone
from tsembed.tasks import TASK_OF_IMAGE_TYPE, TASKS

PUBLISHED = yaml.safe_load((paths.REFERENCES / "tsembed.yaml").read_text())
ROWS = PUBLISHED["mmeb"]["rows"]


def test_the_sets_are_counted_as_the_source_has_them():
    count = Counter((task, "unseen" if name in mmeb.UNSEEN else "seen") for name, task in mmeb.EVAL.items())
    for task_type, groups in PUBLISHED["mmeb"]["sets"].items():
        assert {group: count[TASK_OF_IMAGE_TYPE[task_type], group] for group in groups} == groups
    assert sum(sum(groups.values()) for groups in PUBLISHED["mmeb"]["sets"].values()) == 36


@pytest.mark.parametrize("name", list(ROWS))
def test_a_score_has_a_source_and_says_how_it_was_transcribed(name):
    row = ROWS[name]
    assert set(row) == {"label", "backbone", "overall", "source", "transcribed"}
    assert 50 < row["overall"] < 80
    assert "https://" in row["source"]
    assert row["transcribed"] == "first", "a number that nobody checked against its authors' page has no place here"


def test_what_is_not_public_is_null():
    assert PUBLISHED["tsembed"]["scores"] is None
    assert "print no score" in PUBLISHED["tsembed"]["missing"]


def test_the_settings_start_from_the_published_recipe():
    given = {name: entry["value"] for name, entry in PUBLISHED["hyperparameters"].items()}
    assert (Adapter().r, Adapter().lora_alpha) == (given["lora_r"], given["lora_alpha"])
    assert {TASKS[task].temperature for task in TASK_OF_IMAGE_TYPE.values()} == {given["temperature"]}
    assert Backbone(pooling=given["pooling"]).pooling == "last"
