"""Sets of one source count as one dataset."""

import pandas as pd
import pytest

from study.analysis.gains import gains, gains_by_part, matrix


def scores():
    rows = []
    for method, (a, b, c) in {"em": (10.0, 20.0, 30.0), "ic": (12.0, 26.0, 31.0)}.items():
        for seed in (0, 1):
            for dataset, source, score in (("a", "web", a), ("b", "web", b), ("c", "c", c)):
                row = {"method": method, "seed": seed, "task_type": "STS", "dataset": dataset}
                rows.append(row | {"source": source, "score": score + seed})
    return pd.DataFrame(rows)


def test_sets_of_one_source_are_one_column_their_mean():
    table = matrix(scores(), "ic", ["STS"])
    assert table.columns.tolist() == ["web", "c"]
    assert table.loc[0].tolist() == [19.0, 31.0]


def test_a_gain_counts_a_source_once():
    row = gains(scores(), ["ic"], ["STS"]).iloc[0]
    assert row.datasets == 2
    assert row.gain == pytest.approx((4.0 + 1.0) / 2)
    without = gains(scores().drop(columns="source"), ["ic"], ["STS"]).iloc[0]
    assert without.datasets == 3
    assert without.gain == pytest.approx((2.0 + 6.0 + 1.0) / 3)


def test_new_datasets_stand_apart_from_the_others():
    parts = {"new": ["c", "not scored here"], "others": ["a", "b"], "none": ["d"]}
    found = gains_by_part(scores(), ["ic"], parts, ["Retrieval", "STS"])
    assert found.row.tolist() == ["new", "others"]
    assert found.gain.tolist() == pytest.approx([1.0, 4.0])
    assert found.datasets.tolist() == [1, 1], "two sets of one source are one"
