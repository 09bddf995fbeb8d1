"""Neighbours are found exactly: copies at distance 0, medians as brute force gives them."""

import numpy as np
import pytest

from ganjax.report import nearest_neighbours
from ganjax.report.images import load_image


def images(seed, count, shape=(6, 5, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def brute_force(queries, train):
    """All distances in float64, [N, M]."""
    a, b = queries.reshape(len(queries), 1, -1) / 255.0, train.reshape(1, len(train), -1) / 255.0
    return np.sqrt(((a - b) ** 2).sum(-1))


def test_planted_copies_are_at_distance_zero(tmp_path):
    train, samples = images(0, 50), images(1, 4)
    samples[2] = train[37]
    result = nearest_neighbours(samples, train, tmp_path / "n.png", k=3)
    assert result.indices[2, 0] == 37
    assert result.distances[2, 0] == 0.0
    assert (result.distances[[0, 1, 3], 0] > 1.0).all()


def test_a_copy_is_told_from_one_grey_level_beside_it(tmp_path):
    train = np.repeat(images(0, 1, (32, 32, 3)), 3, axis=0)
    train[0, 0, 0, 0] ^= 1
    train[2, 5, 5, 0] ^= 1
    result = nearest_neighbours(train[1:2], train, tmp_path / "n.png", k=3)
    assert result.indices[0, 0] == 1
    np.testing.assert_allclose(result.distances[0], [0, 1 / 255, 1 / 255], rtol=1e-12)


def test_distances_and_medians_agree_with_brute_force(tmp_path):
    train, samples, held_out = images(0, 60), images(1, 21), images(2, 11)
    samples[::2] = train[:11] ^ 3  # half of the samples are near copies
    result = nearest_neighbours(samples, train, tmp_path / "n.png", count=3, k=5, held_out=held_out)
    distances = brute_force(samples, train)
    np.testing.assert_array_equal(result.indices, np.argsort(distances, axis=1)[:, :5])
    np.testing.assert_allclose(result.distances, np.sort(distances, axis=1)[:, :5], rtol=1e-12)
    assert result.median == pytest.approx(np.median(distances.min(axis=1)), rel=1e-12)
    control = np.median(brute_force(held_out, train).min(axis=1))
    assert result.held_out_median == pytest.approx(control, rel=1e-12)
    assert result.median < 0.2 * result.held_out_median  # memorisation shows


def test_sheet_shows_samples_neighbours_and_controls(tmp_path):
    train, samples, held_out = images(0, 20), images(1, 7), images(2, 5)
    result = nearest_neighbours(samples, train, tmp_path / "n.png", count=3, k=4, held_out=held_out)
    labels = [text.get_text() for text in result.figure.texts[1:]]
    assert len(labels) == len(result.figure.images) == (3 + 2) * (1 + 4)
    assert labels[::5] == ["sample"] * 3 + ["held out"] * 2
    assert labels[1:5] == [f"{distance:.2f}" for distance in result.distances[0]]
    width, height = result.figure.get_size_inches() * result.figure.dpi
    for image, text in zip(result.figure.images, result.figure.texts[1:], strict=True):
        (x, y), (tall, wide) = text.get_position(), image.get_array().shape[:2]
        assert image.ox >= 0 and image.ox + wide <= width and image.oy + tall <= height
        assert abs(x * width - image.ox - wide / 2) < 1 and 0 < image.oy - y * height < 10  # the caption is below it
    firsts, frames = result.figure.images[::5], result.figure.artists
    corners = [frame.get_xy() for frame in frames]
    assert corners == [(image.ox, image.oy) for image in firsts] == sorted(corners, reverse=True)  # from the top down
    tints = [frame.get_edgecolor() for frame in frames]
    assert len(set(tints[:3])) == len(set(tints[3:])) == 1 and tints[0] != tints[3]  # samples, held-out images
    shown = result.figure.images[1].get_array()[::11, ::11]  # 6 x 5 pixels, each 11 x 11
    np.testing.assert_array_equal(shown, train[result.indices[0, 0]])
    title = result.figure.texts[0].get_text()
    assert f"samples {result.median:.2f}" in title
    assert f"held-out real images {result.held_out_median:.2f}" in title
    assert load_image(tmp_path / "n.png").shape[2] == 3


def test_sheet_works_in_grey_without_controls(tmp_path):
    result = nearest_neighbours(images(1, 2, (8, 8, 1)), images(0, 9, (8, 8, 1)), tmp_path / "n.png")
    assert result.held_out_median is None
    assert len(result.figure.images) == len(result.figure.texts[1:]) == 2 * 5


def test_neighbours_say_what_is_wrong(tmp_path):
    train = images(0, 3)
    with pytest.raises(ValueError, match=r"1 <= k <= 3 training images, got count=10, k=4"):
        nearest_neighbours(train, train, tmp_path / "n.png")
    with pytest.raises(ValueError, match="samples has images of"):
        nearest_neighbours(images(0, 3, (4, 4, 3)), train, tmp_path / "n.png", k=1)
    with pytest.raises(TypeError, match="held_out must be uint8"):
        nearest_neighbours(train, train, tmp_path / "n.png", k=1, held_out=train / 255)
    assert not (tmp_path / "n.png").exists()
