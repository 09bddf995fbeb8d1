"""The toy distributions against their own parameters."""

import numpy as np
import pytest

from ganjax.data import grid, grid_centres, load, ring, ring_centres, swiss_roll


def test_ring_centres_are_eight_equal_steps_around_the_circle():
    centres = ring_centres()
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 2.0, rtol=1e-6)
    chords = np.linalg.norm(centres - np.roll(centres, 1, axis=0), axis=1)
    # A chord of 45 degrees. An end point counted twice makes 7 modes with chords of 1.74 and one of 0.
    np.testing.assert_allclose(chords, 2 * 2.0 * np.sin(np.pi / 8), rtol=1e-6)
    np.testing.assert_allclose(centres[[0, 2]], [[2, 0], [0, 2]], atol=1e-6)


def test_grid_centres_are_the_25_even_pairs():
    expected = [(i, j) for i in (-4, -2, 0, 2, 4) for j in (-4, -2, 0, 2, 4)]
    np.testing.assert_array_equal(grid_centres(), np.array(expected, np.float32))


@pytest.mark.parametrize("sample, centres, sigma", [(ring, ring_centres(), 0.02), (grid, grid_centres(), 0.05)])
def test_mixture_has_its_centres_sigma_and_equal_weights(sample, centres, sigma):
    count = 1000 * len(centres)
    x, mode = sample(count, seed=7)
    assert (x.shape, x.dtype, mode.shape, mode.dtype) == ((count, 2), np.float32, (count,), np.int32)
    for k, centre in enumerate(centres):
        own = x[mode == k]
        assert abs(len(own) - 1000) < 5 * np.sqrt(1000)  # 5 standard errors of a binomial count
        np.testing.assert_allclose(own.mean(0), centre, atol=5 * sigma / np.sqrt(len(own)))
        np.testing.assert_allclose(own.std(0), sigma, rtol=5 / np.sqrt(2 * len(own)))


def test_nearest_centre_is_the_label():
    x, mode = ring(2000)
    distance = np.linalg.norm(x[:, None] - ring_centres(), axis=-1)
    np.testing.assert_array_equal(distance.argmin(1), mode)


def test_options_reach_the_sampler():
    x, mode = ring(500, modes=3, radius=10.0, sigma=0.0)
    np.testing.assert_array_equal(x, ring_centres(modes=3, radius=10.0)[mode])
    x, mode = grid(500, side=2, spacing=6.0, sigma=0.0)
    assert set(map(tuple, x.tolist())) == {(-3.0, -3.0), (-3.0, 3.0), (3.0, -3.0), (3.0, 3.0)}


def test_swiss_roll_without_noise_is_the_spiral():
    x = swiss_roll(5000, noise=0.0).astype(np.float64)
    t = 7.5 * np.linalg.norm(x, axis=1)  # radius = angle parameter, 1.5 pi to 4.5 pi
    assert 1.5 * np.pi - 1e-3 < t.min() < 1.55 * np.pi and 4.45 * np.pi < t.max() < 4.5 * np.pi + 1e-3
    spiral = np.stack([t * np.cos(t), t * np.sin(t)], axis=-1) / 7.5
    np.testing.assert_allclose(x, spiral, atol=1e-5)


def test_swiss_roll_noise_has_its_size():
    noisy, clean = swiss_roll(20_000, noise=0.25), swiss_roll(20_000, noise=0.0)
    np.testing.assert_allclose((noisy - clean).std(0), 0.25 / 7.5, rtol=0.03)


@pytest.mark.parametrize(
    "sample", [lambda **k: ring(50, **k)[0], lambda **k: grid(50, **k)[0], lambda **k: swiss_roll(50, **k)]
)
def test_pure_in_the_seed(sample):
    np.testing.assert_array_equal(sample(seed=3), sample(seed=3))
    assert not np.array_equal(sample(seed=3), sample(seed=4))


@pytest.mark.parametrize("name, classes", [("ring", 8), ("grid", 25), ("swiss_roll", None)])
def test_data_sets(name, classes):
    data = load(name)
    assert (data.name, data.shape, data.classes) == (name, (2,), classes)
    assert (len(data.x_train), len(data.x_test)) == (100_000, 10_000)
    assert (data.y_train is None) == (classes is None) == (data.y_test is None)
    assert not np.array_equal(data.x_train[:10_000], data.x_test)
    if classes:
        assert np.mean(data.y_train[:10_000] == data.y_test) < 2 / classes  # not the same draws
        assert len(np.unique(data.y_train)) == len(np.unique(data.y_test)) == classes
    assert load(name).digest == data.digest
