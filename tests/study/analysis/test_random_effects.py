"""Intervals over seeds and datasets by two-way random effects.

- Mean squares, intervals and detectable effects are those worked by hand.
- What all seeds share is noise beyond these datasets, and none on them.
- A p-value is below 0.05 exactly where the value lies outside the 95 % interval, TOST's where the 90 % interval lies
  within the margin.
- The seeds that a difference needs are the fewest whose detectable effect is no larger; the choice of queries can make
  any number too few.
- Where there is no spread to estimate there is no interval; equal values divide nothing by zero.
"""

import numpy as np
import pytest
from scipy import stats

from study.analysis.random_effects import (
    ErrorTerm,
    MeanSquares,
    effect,
    equivalence_p_value,
    error_terms,
    mean_squares,
    p_value,
    quantile,
    seeds_needed,
)

VALUES = np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 9.0]])  # means of seeds 3 and 5; of datasets 1.5, 3.5 and 7
APART = np.array([[10.0, 0.0, -10.0]])  # what all seeds share of a dataset
T1, T2 = 12.706205, 4.302653  # t quantiles of 0.975 with 1 and 2 degrees of freedom


def layouts(number=200):
    """Matrices of many designs, with the truth near the edge of their intervals."""
    rng = np.random.default_rng(3)
    for _ in range(number):
        seeds, datasets = rng.integers(2, 6), rng.integers(2, 9)
        spread = rng.uniform(0, 2, size=3)
        shapes = [(seeds, 1), (1, datasets), (seeds, datasets)]
        parts = [rng.normal(size=shape) * width for shape, width in zip(shapes, spread, strict=True)]
        yield sum(parts) + rng.normal() * 2


def test_mean_squares_by_hand():
    assert mean_squares(VALUES) == pytest.approx((6.0, 15.5, 1.5))
    assert mean_squares(np.full((2, 3), 7.0)) == (0.0, 0.0, 0.0)
    one_seed = mean_squares(VALUES[:1])
    assert np.isnan([one_seed.seeds, one_seed.residual]).all()
    assert one_seed.datasets == pytest.approx(4.0)
    assert isinstance(one_seed, MeanSquares)


def test_the_interval_on_these_datasets_by_hand():
    found = effect(VALUES, "these")
    assert found[:3] == pytest.approx((4.0, 4.0 - T1, 4.0 + T1), rel=1e-6)
    assert found.detectable == pytest.approx(T1 + 1.376382, rel=1e-6)


def test_the_interval_beyond_them_by_hand():
    assert mean_squares(VALUES + APART) == pytest.approx((6.0, 105.5, 1.5))
    found = effect(VALUES + APART, "beyond")
    reach = (6 * T1 + 105.5 * T2) / 111.5 * np.sqrt(110 / 6)
    assert found[:3] == pytest.approx((4.0, 4.0 - reach, 4.0 + reach), rel=1e-6)
    power = (6 * 1.376382 + 105.5 * 1.060660) / 111.5 * np.sqrt(110 / 6)
    assert found.detectable == pytest.approx(reach + power, rel=1e-6)


def test_the_interval_beyond_is_never_the_narrower_one():
    narrower = (6 * T1 + 15.5 * T2) / 21.5 * np.sqrt(20 / 6)
    assert narrower < T1, "two seeds have a wide t quantile, and the datasets hardly differ"
    assert effect(VALUES, "beyond")[:3] == effect(VALUES, "these")[:3]
    for values in layouts():
        these, beyond = (effect(values, scope) for scope in ("these", "beyond"))
        assert beyond.high >= these.high
        assert beyond.detectable >= these.detectable
        assert p_value(values, "beyond") >= p_value(values, "these") - 1e-9


def test_the_error_beyond_is_never_less_than_the_larger_mean_square():
    crossed = np.array([[1.0, -1.0], [-1.0, 1.0]])  # residual alone: 4, the others 0
    assert sum(term.variance for term in error_terms(crossed, "beyond")) == 0.0
    mixed = crossed + [[0.0], [1.0]]  # of seeds 1, of datasets 0, residual 4: their sum less the residual is below zero
    assert mean_squares(mixed) == pytest.approx((1.0, 0.0, 4.0))
    assert sum(term.variance for term in error_terms(mixed, "beyond")) == pytest.approx(1.0 / 4)


def test_with_one_dataset_the_interval_is_the_one_sample_t_interval_over_seeds():
    column = np.array([[1.0], [2.0], [4.0]])
    low, high = stats.t.interval(0.95, 2, loc=column.mean(), scale=stats.sem(column[:, 0]))
    assert effect(column, "these")[1:3] == pytest.approx((low, high))


def test_what_all_seeds_share_is_noise_beyond_these_datasets_alone():
    assert effect(VALUES + APART, "these") == pytest.approx(effect(VALUES, "these"))
    assert effect(VALUES + APART, "beyond").high > effect(VALUES, "beyond").high + 5


def test_the_spread_over_queries_widens_the_interval_on_these_datasets():
    for variance in (99.0, 9999.0):
        error = (1 + variance) ** 0.5
        expected = 4.0 + (T1 + variance * 1.959964) / (1 + variance) * error
        assert effect(VALUES, "these", query_variance=variance).high == pytest.approx(expected)
    plain = effect(VALUES, "these")
    assert effect(VALUES, "these", query_variance=3.0) == plain, "it never makes it narrower, by a smaller quantile"
    apart = VALUES + APART
    assert effect(apart, "beyond", query_variance=3.0) == effect(apart, "beyond"), "it is in the datasets' already"


def test_a_quantile_is_the_mean_weighted_by_variance():
    assert quantile([ErrorTerm(3.0, 1), ErrorTerm(1.0, 2)], 0.975) == pytest.approx((3 * T1 + T2) / 4, rel=1e-6)
    assert quantile([ErrorTerm(0.0, 1), ErrorTerm(0.0, 2)], 0.975) == pytest.approx(T1, rel=1e-6), "no variance at all"


def test_without_spread_there_is_no_interval():
    assert np.isnan(effect(VALUES[:1], "these")[1:]).all()
    assert np.isnan(effect(VALUES[:1], "beyond")[1:]).all()
    assert np.isnan(effect(VALUES[:, :1], "beyond")[1:]).all()
    assert effect(VALUES[:1], "these").mean == 3.0
    assert np.isnan(p_value(VALUES[:1], "these"))
    assert np.isnan(p_value(VALUES[:, :1], "beyond"))
    assert np.isnan(equivalence_p_value(VALUES[:1], "these", 1.0))


@pytest.mark.parametrize("scope", ["these", "beyond"])
def test_equal_values_divide_nothing_by_zero(scope):
    same = np.full((3, 4), 2.0)
    assert effect(same, scope) == (2.0, 2.0, 2.0, 0.0)
    assert p_value(same, scope, than=2.0) == 1.0
    assert p_value(same, scope) == 0.0
    assert p_value(np.zeros((3, 4)), scope) == 1.0


@pytest.mark.parametrize("scope", ["these", "beyond"])
def test_a_p_value_is_below_5_percent_exactly_where_the_interval_excludes_the_value(scope):
    excluded = []
    for values in layouts():
        found = effect(values, scope)
        excluded.append(not found.low <= 0 <= found.high)
        assert (p_value(values, scope) < 0.05) == excluded[-1]
        edge = p_value(values, scope, than=found.high)
        assert edge == pytest.approx(0.05, rel=1e-6)
    assert 20 < sum(excluded) < 180, "both happen"


@pytest.mark.parametrize("scope", ["these", "beyond"])
def test_equivalence_is_two_one_sided_tests(scope):
    within = []
    for values in layouts():
        found = effect(values, scope, confidence=0.9)
        within.append(found.low > -3 and found.high < 3)
        assert (equivalence_p_value(values, scope, 3.0) < 0.05) == within[-1]
    assert 10 < sum(within) < 190, "both happen"
    far = np.array([[9.0, 9.1], [9.2, 9.0]])
    assert equivalence_p_value(far, scope, 1.0) > 0.95


def test_p_values_of_one_dataset_are_the_one_sample_t_tests():
    column = np.array([[1.0], [2.0], [4.0]])
    assert p_value(column, "these") == pytest.approx(stats.ttest_1samp(column[:, 0], 0.0).pvalue)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: effect(np.zeros((0, 3)), "these"), "finite matrix"),
        (lambda: effect(np.array([[1.0, np.nan]]), "these"), "finite matrix"),
        (lambda: effect(VALUES, "these", confidence=1.0), "confidence must be in"),
        (lambda: effect(VALUES, "these", power=0.0), "power must be in"),
        (lambda: equivalence_p_value(VALUES, "these", 0.0), "margin must be > 0, got 0"),
    ],
)
def test_wrong_arguments_are_named(call, rule):
    with pytest.raises(ValueError, match=rule):
        call()


def test_the_seeds_that_are_needed_detect_the_size_and_one_fewer_does_not():
    checked = 0
    for values in layouts():
        detectable = effect(values, "these").detectable
        if not detectable > 1e-9:
            continue
        assert seeds_needed(values, detectable * (1 + 1e-9)) == len(values)
        assert seeds_needed(values, detectable * 0.999) > len(values)
        checked += 1
    assert checked > 150


def test_the_seeds_that_are_needed_by_hand():
    values = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])  # means of seeds with variance 1
    reach = stats.t.ppf(0.975, 9) + stats.t.ppf(0.8, 9)  # of ten seeds
    assert seeds_needed(values, reach / np.sqrt(10) + 1e-9) == 10
    assert seeds_needed(values, 0.01) is None, "more than are tried"
    assert seeds_needed(values[:1], 1.0) is None, "one seed has no spread"
    assert seeds_needed(values, 0.5, query_variance=0.1) is None, "queries alone hide it"
    with pytest.raises(ValueError, match="size must be above 0, got 0"):
        seeds_needed(values, 0)
