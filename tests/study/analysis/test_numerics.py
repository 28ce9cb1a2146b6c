"""What other arithmetic does to claims, gains and scores: read from finished runs, compared over conditions.

- every score claim that the runs can answer has a row, as the notebooks judge it; so has every gain over EM and score;
- a verdict that one condition changes is unsteady; the largest moves are of one dataset, one type, all datasets;
- a preset without a table has neither.
"""

import json
import shutil

import pandas as pd
import pytest
import yaml

from study import paths
from study.analysis import numerics

TYPES = ("Retrieval", "Classification", "Clustering", "Reranking", "PairClassification", "STS", "Summarization")
NEAR, FAR = [2.0, 2.1, 1.9, 2.0], [-2.0, -2.1, -1.9, -2.0]


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """What `measured` says of EM and IC, three seeds, on four sets of each type; IC's gain differs by set."""
    for name in ("RUNS", "CONFIGS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    (tmp_path / "configs/presets").mkdir(parents=True)
    (tmp_path / "configs/variants").mkdir()
    preset = {"about": "", "data": {"source": "local"}, "variants": {"em": 3, "ic": 3}}
    (tmp_path / "configs/presets/tiny.yaml").write_text(yaml.safe_dump(preset))
    (tmp_path / "configs/variants/text.yaml").write_text("em: {label: EM, instruction: false}\nic: {label: IC}\n")

    def measured(gains, condition):
        for variant in ("em", "ic"):
            for seed in range(3):
                path = tmp_path / f"runs/tiny/{variant}/seed{seed}"
                path.mkdir(parents=True, exist_ok=True)
                rows = [
                    {
                        "task_type": t,
                        "dataset": f"{t}{k}",
                        "metric": "m",
                        "score": 50.0 + k + (variant == "ic") * (gain + 0.01 * seed),
                    }
                    for t in TYPES
                    for k, gain in enumerate(gains)
                ]
                (path / "scores.json").write_text(json.dumps(rows))
                (path / "done.json").write_text("{}")
        return numerics.measured("tiny", condition)

    return measured


def test_every_claim_gain_and_score_of_the_runs_has_a_row(measure):
    table = measure(NEAR, "a")
    assert set(table.condition) == {"a"}
    of_claims = table[table.kind == "claim"].set_index("row")
    assert {"t2-ic", "t2-ic-retrieval", "t2-ic-classification"} <= set(of_claims.index)
    assert not any("mote" in name for name in of_claims.index)
    claim = of_claims.loc["t2-ic"]
    assert claim.value == pytest.approx(2.01)
    assert claim.low < 2.01 < claim.high
    assert claim.verdict == "reproduced"
    gains = table[table.kind == "gain"].set_index("row").value
    assert list(gains.index) == [f"ic, {name}" for name in (*TYPES, "mean of datasets")]
    assert gains.to_list() == pytest.approx([2.01] * 8)
    scores = table[table.kind == "score"].set_index("row").value
    assert len(scores) == 2 * 3 * 28
    assert scores["ic/seed2, Clustering1"] == pytest.approx(50 + 1 + 2.1 + 0.02)


def test_a_verdict_that_one_condition_changes_is_unsteady(measure):
    plain, other = measure(NEAR, "a"), measure(FAR, "b")
    assert numerics.unsteady(pd.concat([plain, plain.assign(condition="c")])) == set()
    both = pd.concat([plain, other])
    assert "t2-ic" in numerics.unsteady(both)
    row = numerics.claims_over_conditions(both).set_index("id").loc["t2-ic"]
    assert (row.smallest, row.largest, row.spread) == pytest.approx((-1.99, 2.01, 4.0))
    assert row.verdicts == "reproduced, contradicted"
    assert row.claim == "Instructions (IC) score higher than EM on seen tasks"


def test_the_largest_moves_of_a_score_a_type_and_the_average(measure, tmp_path, monkeypatch):
    shutil.copy(paths.REFERENCES / "claims.yaml", tmp_path)
    monkeypatch.setattr(paths, "REFERENCES", tmp_path)
    tables = [measure(gains, name) for gains, name in ((NEAR, "a"), ([2.0, 2.1, 1.9, 5.0], "b"))]
    table = pd.concat(tables)
    table.loc[(table.row == "ic, Retrieval") & (table.condition == "b"), "value"] += 0.5
    table.to_csv(numerics.table_of("tiny"), index=False)
    assert numerics.spread("tiny") == pytest.approx((3.0, 0.75 + 0.5, 0.75))


def test_a_preset_without_a_table_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCES", tmp_path)
    table = numerics.read("cpu")
    assert list(table.columns) == list(numerics.COLUMNS)
    assert numerics.unsteady(table) == set()
    assert numerics.spread("cpu") is None
