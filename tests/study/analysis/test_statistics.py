"""Invariants of the statistics.

- Welch and the paired tests are scipy's, in every direction; Holm, the effect size and Wilcoxon equal hand-worked
  values.
- The bootstrap's interval is scipy's where scipy has one (one seed), covers the true mean about as often as it says,
  holds the variation over seeds, and is the same for the same Generator. Its error in closed form is that of resamples.
- The minimal detectable effect is seen about as often as its power says where seeds and datasets make up the variation,
  and no effect about as often as alpha.
- A verdict needs the whole interval on one side.
"""

import math

import numpy as np
import pytest
from scipy import stats

from study.analysis.statistics import (
    Interval,
    bootstrap,
    bootstrap_error,
    effect_size,
    holm,
    minimal_detectable_effect,
    paired_t,
    verdict,
    welch_less,
    wilcoxon,
)

RNG = np.random.default_rng(0)


def test_welch_is_one_sided_and_has_unequal_variances():
    a, b = RNG.normal(0, 1, 40), RNG.normal(0.5, 3, 30)
    t = (a.mean() - b.mean()) / np.sqrt(a.var(ddof=1) / 40 + b.var(ddof=1) / 30)
    va, vb = a.var(ddof=1) / 40, b.var(ddof=1) / 30
    df = (va + vb) ** 2 / (va**2 / 39 + vb**2 / 29)
    assert welch_less(a, b) == pytest.approx(stats.t.cdf(t, df))
    assert welch_less(a, b) + welch_less(b, a) == pytest.approx(1)
    same = np.full(3, 1.0)
    assert (welch_less(same, same), welch_less(same, same + 1), welch_less(same + 1, same)) == (0.5, 0.0, 1.0)
    assert math.isnan(welch_less(same[:1], same))


def test_paired_tests_are_scipys():
    d = RNG.normal(0.4, 1, 12)
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


def test_degenerate_samples_have_an_answer_and_no_warning():
    assert np.isnan(paired_t(np.array([1.0])))
    assert np.isnan(wilcoxon(np.array([1.0])))
    assert paired_t(np.zeros(3)) == wilcoxon(np.zeros(3)) == 1.0
    assert paired_t(np.full(3, 2.0)) == 0.0
    assert np.isnan(effect_size(np.full(3, 2.0)))


def test_holm_by_hand_and_monotone_and_without_nan():
    # sorted 0.01, 0.02, 0.2, 0.9 times 4, 3, 2, 1
    assert holm(np.array([0.2, 0.01, np.nan, 0.02, 0.9])) == pytest.approx([0.4, 0.04, np.nan, 0.06, 0.9], nan_ok=True)
    p = RNG.uniform(size=20)
    assert (holm(p) >= p).all()
    assert (np.diff(holm(np.sort(p))) >= 0).all()
    assert holm(p).max() <= 1


def test_bootstrap_is_reproducible_and_centred():
    values = RNG.normal(1, 2, (3, 30))
    a, b = (bootstrap(values, rng=np.random.default_rng(7)) for _ in range(2))
    assert a == b
    assert a.mean == pytest.approx(values.mean())
    assert a.low < a.mean < a.high


def test_bootstrap_over_datasets_alone_is_scipys():
    values = RNG.normal(1, 2, 30)
    ours = bootstrap(values[None], rng=np.random.default_rng(0))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1))
    error = theirs.standard_error
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.1 * error)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.1 * error)
    assert bootstrap_error(values[None]) == pytest.approx(error, rel=0.03)


def test_bootstrap_error_by_hand_and_by_resampling():
    # mean 2.5; seeds -1, +1; datasets -0.5, +0.5; left over 1, -1, -1, 1
    values = np.array([[2.0, 1.0], [2.0, 5.0]])
    assert bootstrap_error(values) == pytest.approx(np.sqrt(2 / 4 + 0.5 / 4 + 4 / 16))
    values = RNG.normal(0, 1, (4, 1)) + RNG.normal(0, 1, (1, 9)) + RNG.normal(0, 1, (4, 9))
    rng = np.random.default_rng(3)
    means = [values[rng.integers(0, 4, 4)][:, rng.integers(0, 9, 9)].mean() for _ in range(4000)]
    assert bootstrap_error(values) == pytest.approx(np.std(means), rel=0.05)
    assert bootstrap_error(np.full((2, 3), 7.0)) == 0
    assert np.isnan(bootstrap_error(np.array([[1.0]])))


def test_minimal_detectable_effect_by_hand():
    differences = np.array([[0.0, 1.0, 2.0, 3.0]])  # sum of squares 5, over 4^2
    assert minimal_detectable_effect(differences) == pytest.approx((1.959964 + 0.841621) * np.sqrt(5 / 16), rel=1e-6)
    assert minimal_detectable_effect(differences, power=0.5) == pytest.approx(1.959964 * np.sqrt(5 / 16), rel=1e-6)
    assert minimal_detectable_effect(3 * differences + 8) == pytest.approx(3 * minimal_detectable_effect(differences))
    assert np.isnan(minimal_detectable_effect(np.array([[1.0]])))


@pytest.mark.parametrize(
    ("wrong", "message"), [({"power": 1.0}, "power must be in .*got 1.0"), ({"alpha": 0}, "alpha")]
)
def test_a_power_outside_0_and_1_is_an_error(wrong, message):
    with pytest.raises(ValueError, match=message):
        minimal_detectable_effect(np.ones((2, 2)), **wrong)


def test_the_minimal_effect_is_seen_with_its_power():
    spread = {"seed": 0.5, "dataset": 1.0, "rest": 0.1}
    true_error = np.sqrt(0.5**2 / 5 + 1.0**2 / 12 + 0.1**2 / 60)
    effect = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * true_error
    seen, false, stated = 0, 0, []
    for k in range(300):
        rng = np.random.default_rng(k)
        noise = (
            rng.normal(0, spread["seed"], (5, 1))
            + rng.normal(0, spread["dataset"], (1, 12))
            + rng.normal(0, spread["rest"], (5, 12))
        )
        interval = bootstrap(noise, rng=rng, resamples=300)
        seen += interval.low + effect > 0  # adding a constant moves the interval
        false += interval.low > 0 or interval.high < 0
        stated.append(minimal_detectable_effect(noise))
    assert 0.75 <= seen / 300 <= 0.92
    assert 0.03 <= false / 300 <= 0.15  # few seeds and datasets: above alpha
    assert np.mean(stated) == pytest.approx(effect, rel=0.12)


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
    assert narrow.high - narrow.low < 0.02
    assert wide.high - wide.low > 1.9


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
