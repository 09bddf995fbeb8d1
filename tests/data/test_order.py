"""The order of examples: a pure function of (seed, step) that covers each epoch."""

import numpy as np
import pytest

from ganjax.data import positions, positions_of_steps, subsample
from ganjax.data.order import _permutation


def epoch(seed, number, *, batch_size=4, size=14):
    steps = size // batch_size
    return positions_of_steps(seed, number * steps, steps, batch_size=batch_size, size=size)


def test_is_the_slice_of_the_permutation():
    order = np.random.default_rng((5, 2)).permutation(14)
    # 14 // 4 = 3 steps an epoch, so step 7 is the second of epoch 2
    np.testing.assert_array_equal(positions(5, 7, batch_size=4, size=14), order[4:8])


def test_an_epoch_repeats_nothing_and_drops_the_remainder():
    seen = epoch(0, 3)
    assert seen.shape == (3, 4)
    assert len(np.unique(seen)) == 12
    assert seen.min() >= 0 and seen.max() < 14


def test_an_epoch_covers_everything_where_the_batch_divides():
    np.testing.assert_array_equal(np.sort(epoch(1, 2, batch_size=5, size=15), axis=None), np.arange(15))


def test_epochs_and_seeds_differ():
    orders = [epoch(seed, number).tobytes() for seed in range(3) for number in range(3)]
    assert len(set(orders)) == 9


def test_the_remainder_differs_between_epochs():
    dropped = {frozenset(range(14)) - frozenset(epoch(0, number).ravel().tolist()) for number in range(20)}
    assert len(dropped) > 1  # no example is left out for ever


def test_pure_in_any_order_and_after_the_cache_is_gone():
    steps = [0, 9, 3, 100, 9, 0]
    first = [positions(0, step, batch_size=4, size=14) for step in steps]
    _permutation.cache_clear()
    for step, expected in zip(reversed(steps), reversed(first), strict=True):
        np.testing.assert_array_equal(positions(0, step, batch_size=4, size=14), expected)


def test_the_answer_is_the_callers_own():
    before = positions(0, 0, batch_size=4, size=14)
    before[:] = -1
    assert positions(0, 0, batch_size=4, size=14).min() >= 0


@pytest.mark.parametrize("start, steps", [(0, 1), (2, 7), (11, 4), (5, 0)])
def test_a_chunk_is_its_steps(start, steps):
    chunk = positions_of_steps(3, start, steps, batch_size=4, size=14)
    assert chunk.shape == (steps, 4) and chunk.dtype == np.int32
    for k in range(steps):
        np.testing.assert_array_equal(chunk[k], positions(3, start + k, batch_size=4, size=14))


def test_a_batch_of_all():
    np.testing.assert_array_equal(np.sort(positions(0, 5, batch_size=6, size=6)), np.arange(6))


def test_fewer_examples_than_the_batch_come_again_in_another_order():
    """Nothing is left out: example j of the run is `permutation(seed, j // 5)[j % 5]`."""
    seen = positions_of_steps(3, 0, 10, batch_size=6, size=5).ravel()
    orders = [np.random.default_rng((3, epoch)).permutation(5) for epoch in range(12)]
    np.testing.assert_array_equal(seen, np.concatenate(orders))
    assert len({tuple(order) for order in orders}) > 6
    np.testing.assert_array_equal(positions(3, 7, batch_size=6, size=5), seen[42:48])
    assert positions(3, 10**9, batch_size=6, size=5).dtype == np.int32


def test_streams_of_one_data_set_have_orders_of_their_own():
    """Also where NumPy takes (seed, k) and (seed, k, 0) for the same."""
    orders = {positions(0, step, batch_size=8, size=8, stream=s).tobytes() for step in range(4) for s in range(4)}
    assert len(orders) == 16
    np.testing.assert_array_equal(
        positions(0, 0, batch_size=3, size=9, stream=0), positions(0, 0, batch_size=3, size=9)
    )


@pytest.mark.parametrize("seed, step, batch_size", [(-1, 0, 2), (0, -1, 2), (0, 0, 0)])
def test_refuses_what_is_negative(seed, step, batch_size):
    got = f"positions: got seed {seed}, step {step}, stream 0, batch_size {batch_size}, size 10; expected"
    with pytest.raises(ValueError, match=got):
        positions(seed, step, batch_size=batch_size, size=10)


def test_a_subsample_is_the_same_for_all_and_repeats_nothing():
    rows = subsample(50, 20)
    np.testing.assert_array_equal(rows, np.random.default_rng(0).permutation(50)[:20])
    np.testing.assert_array_equal(subsample(50, 7), rows[:7])
    assert len(set(rows)) == 20
    for count in (50, 51, 10**9):
        np.testing.assert_array_equal(np.sort(subsample(50, count)), np.arange(50))


def test_a_subsample_of_sorted_classes_has_every_class():
    y = np.repeat(np.arange(10), 100)
    assert set(y[:100]) == {0} and np.bincount(y[subsample(1000, 100)]).min() >= 5
