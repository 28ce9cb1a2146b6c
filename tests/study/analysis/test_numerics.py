"""What other arithmetic does to claims: read from run folders, compared over conditions."""

import json

import pandas as pd
import pytest

from study import paths
from study.analysis import numerics

TYPES = ("Retrieval", "Classification", "Clustering")


def runs(folder, gains):
    """Finished runs of EM and IC, three seeds, on four sets of each seen type; IC's gain differs by set."""
    folders = {}
    for variant in ("em", "ic"):
        for seed in range(3):
            path = folder / variant / f"seed{seed}"
            path.mkdir(parents=True)
            rows = [
                {"task_type": t, "dataset": f"{t}{k}", "score": 50.0 + k + (variant == "ic") * (gain + 0.01 * seed)}
                for t in TYPES
                for k, gain in enumerate(gains)
            ]
            (path / "scores.json").write_text(json.dumps(rows))
            folders[variant, seed] = path
    return folders


def test_every_claim_that_the_runs_can_answer_has_a_row(tmp_path):
    table = numerics.measured(runs(tmp_path, [2.0, 2.1, 1.9, 2.0])).set_index("id")
    assert {"t2-ic", "t2-ic-retrieval", "t2-ic-classification"} <= set(table.index)
    assert not any("mote" in name for name in table.index)
    assert table.loc["t2-ic"].difference == pytest.approx(2.01)
    assert table.loc["t2-ic"].low < 2.01 < table.loc["t2-ic"].high
    assert table.loc["t2-ic"].verdict == "reproduced"


def test_a_verdict_that_one_condition_changes_is_unsteady(tmp_path):
    plain = numerics.measured(runs(tmp_path / "a", [2.0, 2.1, 1.9, 2.0])).assign(condition="a")
    other = numerics.measured(runs(tmp_path / "b", [-2.0, -2.1, -1.9, -2.0])).assign(condition="b")
    assert numerics.unsteady(pd.concat([plain, plain.assign(condition="c")])) == set()
    both = pd.concat([plain, other])
    assert "t2-ic" in numerics.unsteady(both)
    row = numerics.spread(both).set_index("id").loc["t2-ic"]
    assert (row.smallest, row.largest, row.spread) == pytest.approx((-1.99, 2.01, 4.0))
    assert row.verdicts == "reproduced, contradicted"


def test_a_preset_without_a_table_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCES", tmp_path)
    table = numerics.read("cpu")
    assert list(table.columns) == list(numerics.COLUMNS)
    assert numerics.unsteady(table) == set()
