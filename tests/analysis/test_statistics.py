"""Invariants of the statistics.

- Welch and the paired tests are scipy's; Holm and the effect size equal hand-worked values.
- The bootstrap's interval covers the true mean about as often as it says, holds the variation over seeds, and is the
  same for the same Generator.
- A verdict needs the whole interval on one side.
"""

import numpy as np
import pytest
from scipy import stats

from tsembed.analysis.statistics import Interval, bootstrap, effect_size, holm, paired_t, verdict, welch_less, wilcoxon

RNG = np.random.default_rng(0)


def test_welch_is_one_sided_and_has_unequal_variances():
    a, b = RNG.normal(0, 1, 40), RNG.normal(0.5, 3, 30)
    t = (a.mean() - b.mean()) / np.sqrt(a.var(ddof=1) / 40 + b.var(ddof=1) / 30)
    va, vb = a.var(ddof=1) / 40, b.var(ddof=1) / 30
    df = (va + vb) ** 2 / (va**2 / 39 + vb**2 / 29)
    assert welch_less(a, b) == pytest.approx(stats.t.cdf(t, df))
    assert welch_less(a, b) + welch_less(b, a) == pytest.approx(1)


def test_paired_tests_are_scipys():
    d = RNG.normal(0.4, 1, 12)
    assert paired_t(d) == pytest.approx(stats.ttest_rel(d, np.zeros(12)).pvalue)
    assert wilcoxon(d, "greater") == pytest.approx(stats.wilcoxon(d, alternative="greater").pvalue)


def test_degenerate_samples_have_an_answer_and_no_warning():
    assert np.isnan(paired_t(np.array([1.0]))) and np.isnan(wilcoxon(np.array([1.0])))
    assert paired_t(np.zeros(3)) == wilcoxon(np.zeros(3)) == 1.0
    assert paired_t(np.full(3, 2.0)) == 0.0 and np.isnan(effect_size(np.full(3, 2.0)))


def test_holm_by_hand_and_monotone_and_without_nan():
    # sorted 0.01, 0.02, 0.2, 0.9 times 4, 3, 2, 1
    assert holm(np.array([0.2, 0.01, np.nan, 0.02, 0.9])) == pytest.approx([0.4, 0.04, np.nan, 0.06, 0.9], nan_ok=True)
    p = RNG.uniform(size=20)
    assert (holm(p) >= p).all() and (np.diff(holm(np.sort(p))) >= 0).all() and holm(p).max() <= 1


def test_bootstrap_is_reproducible_and_centred():
    values = RNG.normal(1, 2, (3, 30))
    a, b = (bootstrap(values, rng=np.random.default_rng(7)) for _ in range(2))
    assert a == b and a.mean == pytest.approx(values.mean()) and a.low < a.mean < a.high


def test_bootstrap_covers_the_true_mean():
    hits = 0
    for k in range(200):
        interval = bootstrap(
            np.random.default_rng(k).normal(0, 1, (1, 40)), rng=np.random.default_rng(k), resamples=1000
        )
        hits += interval.low <= 0 <= interval.high
    assert 0.89 <= hits / 200 <= 0.99


def test_variation_over_seeds_is_in_the_interval():
    datasets = RNG.normal(0, 0.01, 20)
    same, different = np.stack([datasets, datasets]), np.stack([datasets - 1, datasets + 1])
    narrow, wide = (bootstrap(v, rng=np.random.default_rng(0)) for v in (same, different))
    assert narrow.high - narrow.low < 0.02 and wide.high - wide.low > 1.9


@pytest.mark.parametrize(
    ("low", "high", "claimed", "expected"),
    [
        (0.1, 2.0, "greater", "reproduced"),
        (0.1, 2.0, "less", "contradicted"),
        (-2.0, -0.1, "less", "reproduced"),
        (-0.1, 2.0, "greater", "inconclusive at this scale"),
        (0.0, 2.0, "greater", "inconclusive at this scale"),
        (-2.0, -2e-14, "greater", "inconclusive at this scale"),  # zero but for rounding
    ],
)
def test_a_verdict_needs_the_whole_interval(low, high, claimed, expected):
    assert verdict(Interval((low + high) / 2, low, high), claimed) == expected


def test_a_claim_without_direction_is_an_error():
    with pytest.raises(ValueError, match="'greater' or 'less', not 'equal'"):
        verdict(Interval(0, -1, 1), "equal")
