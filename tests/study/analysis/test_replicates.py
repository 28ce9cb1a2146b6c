"""The noise floor: deviations over replicates, of one dataset, of the mean, and of the difference from a baseline."""

import pandas as pd
import pytest

from study import paths
from study.analysis import replicates

SCORES = {"plain": {"a": (10, 12), "b": (20, 18)}, "routed": {"a": (11, 13), "b": (20, 22)}}


def rows():
    return pd.DataFrame(
        [
            (condition, variant, dataset, "A", values[i])
            for variant, sets in SCORES.items()
            for dataset, values in sets.items()
            for i, condition in enumerate(("1 thread", "2 threads"))
        ],
        columns=list(replicates.COLUMNS),
    )


def test_what_moves_alike_is_no_noise_of_a_mean_or_a_difference():
    found = replicates.noise(rows(), baseline="plain").set_index("variant")
    assert found.replicates.tolist() == [2, 2]
    assert found.dataset_deviation.tolist() == pytest.approx([2**0.5, 2**0.5])
    assert found.mean_deviation.tolist() == pytest.approx([0, 2**0.5]), "+2 and −2 cancel, +2 and +2 do not"
    assert found.dataset_difference_deviation["routed"] == pytest.approx(2.0), "0 and +4: variances 0 and 8"
    assert found.mean_difference_deviation["routed"] == pytest.approx(2**0.5)
    assert found.loc["plain", ["dataset_difference_deviation", "mean_difference_deviation"]].isna().all()


def test_a_preset_without_replicates_has_no_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCES", tmp_path)
    assert replicates.read("tiny").empty
    rows().to_csv(replicates.table_of("tiny"), index=False)
    assert len(replicates.read("tiny")) == 8
