"""Invariants of the keyed permutation.

- Every number once, for any size; any part is what it is within the whole.
- Each key and each size has an order of its own, without a pattern: buckets are even, neighbours are far apart.
- It takes no memory that grows with its size.
"""

import tracemalloc

import numpy as np
import pytest

from tsembed.training.permutation import KeyedPermutation


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 100, 1023, 1024, 1025, 50_000])
def test_every_number_once(size):
    numbers = KeyedPermutation(size, "key").take(np.arange(size))
    assert numbers.dtype == np.int64
    assert np.array_equal(np.sort(numbers), np.arange(size))


def test_a_part_is_what_it_is_within_the_whole():
    order = KeyedPermutation(10_000, "key")
    assert np.array_equal(order.take(np.arange(300, 340)), order.take(np.arange(10_000))[300:340])
    assert order.take(np.arange(0)).shape == (0,)


def test_a_key_and_a_size_have_an_order_of_their_own():
    one, same, other = (KeyedPermutation(1000, key).take(np.arange(1000)) for key in ("1", "1", "2"))
    assert np.array_equal(one, same)
    assert (one == other).sum() < 10  # 1 in the mean of two independent permutations
    longer = KeyedPermutation(1001, "1").take(np.arange(1000))
    assert (one == longer).sum() < 10


def test_the_order_has_no_pattern():
    size, buckets = 60_000, 20
    orders = [KeyedPermutation(size, f"key {i}").take(np.arange(size)) for i in range(10)]
    for order in orders:
        counts, _, _ = np.histogram2d(np.arange(size), order, bins=buckets, range=[[0, size], [0, size]])
        expected = size / buckets**2
        chi2 = ((counts - expected) ** 2 / expected).sum()
        freedom = (buckets - 1) ** 2
        assert abs(chi2 - freedom) < 5 * np.sqrt(2 * freedom), chi2
        steps = np.abs(np.diff(order))
        assert abs(steps.mean() / size - 1 / 3) < 0.01  # of two independent uniform numbers
        fixed = (order == np.arange(size)).sum()
        assert fixed < 10


def test_its_memory_is_that_of_the_part():
    tracemalloc.start()
    order = KeyedPermutation(10**11, "key")
    numbers = order.take(np.arange(5 * 10**10, 5 * 10**10 + 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(numbers.tolist())) == 1000
    assert numbers.min() >= 0
    assert numbers.max() < 10**11
    assert peak < 300_000


def test_no_size_is_an_error():
    with pytest.raises(ValueError, match="size 0 must be >= 1"):
        KeyedPermutation(0, "key")
