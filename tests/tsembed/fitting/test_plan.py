"""Invariants of the plan of a training:

- the batch is the largest that a set of every task fills; classification and clustering fill it together;
- a set that does not fill a batch is left out with its reason, and nothing is left out without one;
- steps are one pass over the pairs, within bounds; what the user says wins;
- hard negatives are all that the sets that are trained on have, or fewer if the user says so;
- data without a training set, or with none that fills a batch, are an error that names the rule.
"""

import pytest

from tsembed.fitting.plan import FEWEST_STEPS, MOST_STEPS, lines, plan


def manifest(**sets):
    """Training sets by name: (task, pairs)."""
    datasets = [
        {"name": name, "part": "train", "task": task, "format": "pairs", "rows": {"rows": rows}, "notes": {}}
        for name, (task, rows) in sets.items()
    ]
    return {"datasets": datasets, "unused": []}


def test_the_batch_is_the_largest_that_every_task_fills():
    large = plan(manifest(a=("retrieval", 500), b=("classification", 40), c=("classification", 30)))
    assert large.batch_size == 64  # b and c fill it together
    small = plan(manifest(a=("retrieval", 500), b=("classification", 20)))
    assert small.batch_size == 16
    assert small.left_out == {}


def test_a_set_that_fills_no_batch_is_left_out_with_its_reason():
    made = plan(manifest(a=("retrieval", 500), b=("retrieval", 63)))
    assert made.tasks == {"a": "retrieval"}
    assert made.left_out == {"b": "63 pairs do not fill a batch of 64"}
    assert "left out: b, 63 pairs do not fill a batch of 64" in lines(made, manifest())


def test_steps_are_one_pass_within_bounds_unless_given():
    assert plan(manifest(a=("retrieval", 64 * 300))).steps == 300
    assert plan(manifest(a=("retrieval", 128))).steps == FEWEST_STEPS
    assert plan(manifest(a=("retrieval", 64 * 10**5))).steps == MOST_STEPS
    assert plan(manifest(a=("retrieval", 128)), steps=7, batch_size=4)[3:5] == (4, 7)


def test_what_cannot_be_trained_is_an_error():
    with pytest.raises(ValueError, match="no training part"):
        plan(manifest())
    with pytest.raises(ValueError, match=r"no training set fills a batch of 8 pairs: \{'a': 7\}"):
        plan(manifest(a=("retrieval", 7)))
    with pytest.raises(ValueError, match="batch size 600: no training set fills a batch"):
        plan(manifest(a=("retrieval", 500)), batch_size=600)


def test_hard_negatives_are_all_that_there_are_or_fewer():
    data = manifest(a=("retrieval", 500), b=("retrieval", 4))
    for entry, count in zip(data["datasets"], (3, 9), strict=True):
        entry["negatives"] = count
    made = plan(data)
    assert made.hard_negatives == 3  # b is left out
    assert "hard negatives of a pair: up to 3, in a" in lines(made, data)
    assert [plan(data, hard_negatives=count).hard_negatives for count in (0, 2, 7)] == [0, 2, 3]
    without = manifest(a=("retrieval", 500))
    assert plan(without).hard_negatives == 0
    with pytest.raises(ValueError, match="hard_negatives 2: no training set has negatives; `tsembed mine` finds some"):
        plan(without, hard_negatives=2)


def test_a_task_with_far_fewer_pairs_is_named():
    uneven = manifest(a=("retrieval", 2000), b=("classification", 64), c=("classification", 36))
    assert "unbalanced: retrieval has 2,000 training pairs, classification 100" in lines(plan(uneven), uneven)
    even = manifest(a=("retrieval", 1999), b=("classification", 100))
    assert not any("unbalanced" in line for line in lines(plan(even), even))
