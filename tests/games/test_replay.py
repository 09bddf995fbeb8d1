"""Pools of earlier fakes: what fills them, what they show, the same on every number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.games import replay


@jax.jit
def _shown(pool, x, position, key):
    return replay.show(pool, x, position, key, None)


@jax.jit
def _shown_on_devices(pool, x, position, key):
    return jax.vmap(lambda x, at: replay.show(pool, x, at, key, "data"), axis_name="data")(x, position)


def _played(size, batch, steps, devices=1, first=0):
    """What was shown at each step; fake i of step k is the number 1 + k batch + i."""
    pool, shown = replay.init(size, (1,)), []
    for k in range(steps):
        x = 1 + k * batch + np.arange(batch, dtype=np.float32)[:, None]
        position, key = first + np.arange(batch), jax.random.key(k)
        if devices == 1:
            pool, seen = _shown(pool, x, position, key)
        else:
            dealt = lambda leaf: leaf.reshape(-1, devices, *leaf.shape[1:]).swapaxes(0, 1)  # noqa: E731
            pools, seen = _shown_on_devices(pool, dealt(x), dealt(position), key)
            pools = jax.tree.map(np.asarray, pools)
            assert jax.tree.all(jax.tree.map(lambda leaf: (leaf == leaf[:1]).all(), pools))
            pool = jax.tree.map(lambda leaf: leaf[0], pools)
            seen = np.asarray(seen).swapaxes(0, 1).reshape(batch, 1)
        shown.append(np.asarray(seen)[:, 0])
    return pool, shown


def test_a_pool_fills_before_it_is_seen():
    """Eight slots, four fakes a step: the first two steps see their own, the third may see earlier ones."""
    pool, shown = _played(8, 4, 2)
    np.testing.assert_array_equal(np.concatenate(shown), np.arange(1, 9))
    np.testing.assert_array_equal(pool.kept[:, 0], np.arange(1, 9))
    assert int(pool.filled) == 8
    pool, shown = _played(8, 4, 40)
    later = np.concatenate(shown[2:])
    old = later <= np.repeat(np.arange(2, 40) * 4, 4)
    assert 0.35 < old.mean() < 0.65 and later.min() > 0, "half of them are from the pool"
    assert len(set(later.tolist())) == len(later), "a fake leaves the pool when it is shown"


@pytest.mark.parametrize("first", [0, 6])
def test_what_does_not_fit_fills_it_up(first):
    """Wherever the positions of the stream begin."""
    pool, shown = _played(6, 4, 2, first=first)
    np.testing.assert_array_equal(np.concatenate(shown), np.arange(1, 9))
    np.testing.assert_array_equal(pool.kept[:, 0], np.arange(1, 7))


def test_devices_keep_the_same_pool():
    one, many = _played(8, 4, 7), _played(8, 4, 7, devices=2)
    jax.tree.map(np.testing.assert_array_equal, one[0], many[0])
    np.testing.assert_array_equal(np.stack(one[1]), np.stack(many[1]))


def test_half_of_what_is_shown_is_older_by_twice_the_size_on_average():
    """A full pool of 50 that is asked one by one: the age of what it shows is 50 on average, of an old one 100."""
    size, steps = 50, 40_000

    def query(pool, k):
        at, key = jnp.zeros(1, jnp.int32), jax.random.fold_in(jax.random.key(0), k)
        pool, shown = replay.show(pool, jnp.full((1, 1), k, jnp.int32), at, key, None)
        return pool, k - shown[0, 0]

    full = replay.Pool(-1 - jnp.arange(size, dtype=jnp.int32)[:, None], jnp.int32(size))
    age = np.asarray(jax.jit(lambda p: jax.lax.scan(query, p, jnp.arange(steps))[1])(full))[20 * size :]
    assert abs((age == 0).mean() - 0.5) < 3 * 0.5 / np.sqrt(len(age))
    np.testing.assert_allclose([age.mean(), age[age > 0].mean()], [50, 100], rtol=0.05)
