"""Weighted sums of methods, the 2 x 2, and a gain as a share of another.

- A contrast is taken per dataset and seed, on the seeds that all its methods have; what both sides share drops out.
- Main effects are means of simple effects, and the interaction is their difference.
- A share's interval is Fieller's; where the whole may be nothing there is none.
"""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.analysis import factorial
from study.analysis.contrasts import GROUPS, contrast, contrast_rows, difference, group_means
from study.analysis.random_effects import effect
from study.analysis.shares import share

TYPES = {"Retrieval": ["r0", "r1"], "STS": ["s0"]}


def scores(levels, seeds=2):
    """Method -> (level, seeds, weight of the dataset's number)."""
    return pd.DataFrame(
        [
            {
                "method": method,
                "seed": seed,
                "task_type": kind,
                "dataset": name,
                "score": level + 10 * seed + by_set * number,
            }
            for method, (level, count, by_set) in levels.items()
            for seed in range(count)
            for kind, names in TYPES.items()
            for number, name in enumerate(names)
        ]
    )


def test_a_contrast_is_paired_by_seed_and_dataset_on_the_seeds_of_all():
    found = contrast(scores({"a": (5.0, 3, 2.0), "b": (1.0, 2, 0.0)}), difference("a", "b"), ["Retrieval"])
    np.testing.assert_allclose(found, [[4.0, 6.0], [4.0, 6.0]])


def test_a_contrast_of_methods_on_other_datasets_is_an_error():
    both = scores({"a": (5.0, 2, 2.0), "b": (1.0, 2, 0.0)})
    with pytest.raises(ValueError, match="a, b are not scored on the same datasets of Retrieval"):
        contrast(both[(both.method == "a") | (both.dataset != "r1")], difference("a", "b"), ["Retrieval"])


def test_a_mean_over_several_types_is_that_of_all_their_datasets():
    rows = contrast_rows(scores({"a": (0.0, 2, 3.0), "b": (0.0, 2, 0.0)}), {"a − b": difference("a", "b")})
    assert rows.set_index("group").gain.to_dict() == {"seen types": 1.5, "unseen types": 0.0, "all": 1.0}
    assert rows.set_index("group").datasets.to_dict() == {"seen types": 2, "unseen types": 1, "all": 3}
    assert set(rows.method) == {"a"}
    assert rows.low.tolist() == rows.high.tolist() == rows.gain.tolist(), "all seeds say the same"
    assert list(GROUPS) == rows.group.tolist()


def test_means_of_groups_are_the_methods_own():
    means = group_means(scores({"a": (1.0, 2, 3.0)}), ["a"]).set_index("group")
    assert means.score.to_dict() == {"seen types": 7.5, "unseen types": 6.0, "all": 7.0}


def test_the_effects_of_the_2_by_2_are_those_worked_by_hand():
    cells = {"em": (10.0, 2, 0.0), "ic": (11.0, 2, 0.0), "mote_plain": (13.0, 2, 0.0), "mote": (17.0, 2, 0.0)}
    rows = contrast_rows(scores(cells), factorial.EFFECTS, {"all": GROUPS["all"]}).set_index("contrast").gain
    assert rows[factorial.INSTRUCTION] == (1 + 4) / 2
    assert rows[factorial.EXPERTS] == (3 + 6) / 2
    assert rows[factorial.INTERACTION] == (17 - 13) - (11 - 10)
    assert rows["both (MoTE − EM)"] == rows[factorial.INSTRUCTION] + rows[factorial.EXPERTS]


def layout(mean, seeds=4, datasets=6, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return mean + rng.normal(0, noise, (seeds, 1)) + rng.normal(0, noise, (seeds, datasets))


@pytest.mark.parametrize("scope", ["these", "beyond"])
def test_a_share_is_bounded_where_the_difference_to_that_share_just_touches_zero(scope):
    whole, part = layout(3.0), layout(1.5, seed=1)
    found = share(part, whole, scope)
    assert found.value == pytest.approx(part.mean() / whole.mean())
    assert found.low < found.value < found.high
    for bound in (found.low, found.high):
        touching = effect(part - bound * whole, scope)
        assert min(abs(touching.low), abs(touching.high)) == pytest.approx(0, abs=1e-6)


def test_a_share_on_these_sets_is_fiellers():
    whole, part = layout(3.0), layout(1.5, seed=1)
    x, y = part.mean(axis=1), whole.mean(axis=1)  # what the sets share drops out: means of seeds are all there is
    n = len(x)
    t = stats.t.ppf(0.975, n - 1)
    cov = np.cov(x, y) / n
    a, b, c = (
        y.mean() ** 2 - t**2 * cov[1, 1],
        x.mean() * y.mean() - t**2 * cov[0, 1],
        x.mean() ** 2 - t**2 * cov[0, 0],
    )
    root = math.sqrt(b**2 - a * c)
    assert share(part, whole, "these")[1:] == pytest.approx(((b - root) / a, (b + root) / a), rel=1e-6)


def test_a_share_of_what_may_be_nothing_has_no_size():
    assert all(map(math.isnan, share(layout(1.0), layout(0.0, seed=2), "these")))
    assert all(map(math.isnan, share(layout(1.0, seeds=1), layout(3.0, seeds=1, seed=2), "these"))), "one seed"


def test_a_gain_is_wholly_itself():
    whole = layout(3.0)
    assert share(whole, whole, "beyond") == pytest.approx((1.0, 1.0, 1.0))


def test_part_and_whole_are_of_the_same_seeds_and_datasets():
    with pytest.raises(ValueError, match="one shape"):
        share(layout(1.0, seeds=3), layout(3.0), "these")
