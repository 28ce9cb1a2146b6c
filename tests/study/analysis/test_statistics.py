"""Invariants of the statistics.

- Welch and the paired tests are scipy's, in every direction; Holm, the effect size and Wilcoxon equal hand-worked
  values.
- The bootstrap's interval is scipy's where scipy has one (one seed), covers the true mean about as often as it says,
  holds the variation over seeds, and is the same for the same Generator.
- Differences that are all equal have no p-value: they say nothing of their spread.
"""

import numpy as np
import pytest
from scipy import stats

from study.analysis.statistics import (
    bootstrap,
    effect_size,
    holm,
    paired_t,
    welch_less,
    wilcoxon,
)


@pytest.fixture
def rng():
    """Drawn anew for each test: what a test draws must not depend on the order of the tests."""
    return np.random.default_rng(0)


def test_welch_is_one_sided_and_has_unequal_variances(rng):
    a, b = rng.normal(0, 1, 40), rng.normal(0.5, 3, 30)
    t = (a.mean() - b.mean()) / np.sqrt(a.var(ddof=1) / 40 + b.var(ddof=1) / 30)
    va, vb = a.var(ddof=1) / 40, b.var(ddof=1) / 30
    df = (va + vb) ** 2 / (va**2 / 39 + vb**2 / 29)
    assert welch_less(a, b) == pytest.approx(stats.t.cdf(t, df))
    assert welch_less(a, b) + welch_less(b, a) == pytest.approx(1)
    same = np.full(3, 1.0)
    assert np.isnan([welch_less(same, same), welch_less(same, same + 1), welch_less(same[:1], same)]).all()


def test_paired_tests_are_scipys(rng):
    d = rng.normal(0.4, 1, 12)
    assert paired_t(d) == pytest.approx(stats.ttest_rel(d, np.zeros(12)).pvalue)
    assert wilcoxon(d, "greater") == pytest.approx(stats.wilcoxon(d, alternative="greater").pvalue)
    for alternative in ("two-sided", "less", "greater"):
        assert paired_t(d, alternative) == pytest.approx(stats.ttest_1samp(d, 0, alternative=alternative).pvalue)
        assert wilcoxon(d, alternative) == pytest.approx(stats.wilcoxon(d, alternative=alternative).pvalue)


def test_paired_tests_and_effect_size_by_hand():
    d = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert wilcoxon(d, "greater") == pytest.approx(1 / 32)  # the most extreme of 2^5 equally likely signs
    assert wilcoxon(d) == pytest.approx(2 / 32)
    assert wilcoxon(-d, "less") == pytest.approx(1 / 32)
    t = 3 / np.sqrt(2.5 / 5)  # mean 3, variance 2.5
    assert paired_t(d, "greater") == pytest.approx(stats.t.sf(t, 4))
    assert paired_t(d) == pytest.approx(2 * stats.t.sf(t, 4))
    assert effect_size(d) == pytest.approx(3 / np.sqrt(2.5))
    assert effect_size(-d) == -effect_size(d)


def test_a_sample_without_spread_has_no_p_value_and_no_warning():
    assert np.isnan(paired_t(np.array([1.0])))
    assert np.isnan(wilcoxon(np.array([1.0])))
    but_for_rounding = np.array([1.1 - 0.1, 1.3 - 0.3, 1.2 - 0.2])
    for equal in (np.zeros(3), np.full(2, 2.0), but_for_rounding):
        assert np.isnan([paired_t(equal), wilcoxon(equal), effect_size(equal)]).all()


def test_holm_by_hand_and_monotone_and_without_nan(rng):
    # sorted 0.01, 0.02, 0.2, 0.9 times 4, 3, 2, 1
    assert holm(np.array([0.2, 0.01, np.nan, 0.02, 0.9])) == pytest.approx([0.4, 0.04, np.nan, 0.06, 0.9], nan_ok=True)
    p = rng.uniform(size=20)
    assert (holm(p) >= p).all()
    assert (np.diff(holm(np.sort(p))) >= 0).all()
    assert holm(p).max() <= 1


def test_bootstrap_is_reproducible_and_centred(rng):
    values = rng.normal(1, 2, (3, 30))
    a, b = (bootstrap(values, rng=np.random.default_rng(7)) for _ in range(2))
    assert a == b
    assert a.mean == pytest.approx(values.mean())
    assert a.low < a.mean < a.high


def test_bootstrap_over_datasets_alone_is_scipys(rng):
    values = rng.normal(1, 2, 30)
    ours = bootstrap(values[None], rng=np.random.default_rng(0))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1))
    error = theirs.standard_error
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.1 * error)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.1 * error)


def test_bootstrap_covers_the_true_mean():
    hits = 0
    for k in range(200):
        interval = bootstrap(
            np.random.default_rng(k).normal(0, 1, (1, 40)), rng=np.random.default_rng(k), resamples=1000
        )
        hits += interval.low <= 0 <= interval.high
    assert 0.89 <= hits / 200 <= 0.99


def test_variation_over_seeds_is_in_the_interval(rng):
    datasets = rng.normal(0, 0.01, 20)
    same, different = np.stack([datasets, datasets]), np.stack([datasets - 1, datasets + 1])
    narrow, wide = (bootstrap(v, rng=np.random.default_rng(0)) for v in (same, different))
    assert narrow.high - narrow.low < 0.02
    assert wide.high - wide.low > 1.9
