"""Grids are laid out to the pixel; files appear whole or not at all."""

import os
import stat

import numpy as np
import pytest

from ganjax.report import grid, save_image, scatter
from ganjax.report.images import Cells, find_cells, load_image

W = 255  # the lines


def ramp(*shape):
    """Different small values, none of them white."""
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


def test_grid_places_every_pixel_by_hand():
    images = np.array([[[[1], [2]]], [[[3], [4]]], [[[5], [6]]]], np.uint8)  # three images of 1 x 2
    expected = [
        [W, W, W, W, W, W, W],
        [W, 1, 2, W, 3, 4, W],
        [W, W, W, W, W, W, W],
        [W, 5, 6, W, W, W, W],
        [W, W, W, W, W, W, W],
    ]
    picture = grid(images, columns=2, border=1, scale=1)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, np.repeat(np.array(expected)[..., None], 3, axis=-1))


def test_grid_enlarges_images_but_not_lines():
    picture = grid(np.array([[[[7], [8]]]], np.uint8), border=1, scale=2)[..., 0]
    expected = [[W] * 6, [W, 7, 7, 8, 8, W], [W, 7, 7, 8, 8, W], [W] * 6]
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize(("side", "factor"), [(8, 8), (28, 3), (32, 2), (64, 1), (128, 1)])
def test_grid_makes_small_images_readable(side, factor):
    assert grid(np.zeros((4, side, side, 1), np.uint8)).shape == (2 * (factor * side + 2) + 2,) * 2 + (3,)


@pytest.mark.parametrize(
    ("pixel", "shown"),
    [([9], [9, 9, 9]), ([2, 5], [4, 4, 4]), ([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 2, 3])],
)
def test_grid_shows_any_number_of_channels(pixel, shown):
    images = np.array(pixel, np.uint8).reshape(1, 1, 1, -1)
    np.testing.assert_array_equal(grid(images, border=0, scale=1)[0, 0], shown)


def test_grid_without_border_is_the_images():
    images = ramp(4, 2, 3, 3)
    expected = np.concatenate([np.concatenate(images[:2], 1), np.concatenate(images[2:], 1)], 0)
    np.testing.assert_array_equal(grid(images, columns=2, border=0, scale=1), expected)


def test_grid_says_what_is_wrong():
    with pytest.raises(TypeError, match="got float64"):
        grid(np.zeros((1, 2, 2, 1)))
    with pytest.raises(ValueError, match=r"\[N, H, W, C\], got shape \(2, 2, 1\)"):
        grid(np.zeros((2, 2, 1), np.uint8))
    with pytest.raises(ValueError, match="non-empty"):
        grid(np.zeros((0, 2, 2, 1), np.uint8))
    with pytest.raises(ValueError, match="columns=0"):
        grid(np.zeros((1, 2, 2, 1), np.uint8), columns=0)


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_the_layout_of_a_grid_is_found_again(columns):
    picture = grid(ramp(5, 3, 4, 1), columns=columns, border=2, scale=2)
    assert find_cells(picture) == Cells(-(-5 // columns), columns, 6, 8, 2)


def test_no_layout_is_found_where_there_is_none():
    picture = grid(ramp(4, 3, 4, 1), columns=2, border=1, scale=1)
    picture[2] = W  # a white row inside a cell: the runs are no longer equal
    assert find_cells(picture) is None
    assert find_cells(ramp(6, 6, 3)) is None
    assert find_cells(np.full((6, 6, 3), W, np.uint8)) is None


def test_save_image_keeps_every_value(tmp_path):
    for shape in [(5, 7, 3), (5, 7, 1), (5, 7)]:
        array = ramp(*shape)
        save_image(tmp_path / "new" / "picture.png", array)
        read = load_image(tmp_path / "new" / "picture.png")
        assert (tmp_path / "new" / "picture.png").read_bytes().startswith(b"\x89PNG")
        np.testing.assert_array_equal(read, np.broadcast_to(array.reshape(5, 7, -1), (5, 7, 3)))


def test_a_failed_write_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    save_image(path, ramp(2, 2, 3))
    before = path.read_bytes()

    def fail(source, target):
        assert os.path.getsize(source) > 0  # the whole new file is there before it is moved
        raise OSError("disk gone")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk gone"):
        save_image(path, ramp(4, 4, 3))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["picture.png"]


def test_a_picture_is_readable_by_everybody(tmp_path):
    save_image(tmp_path / "picture.png", ramp(2, 2, 3))
    assert stat.S_IMODE((tmp_path / "picture.png").stat().st_mode) == 0o644


def test_save_image_says_what_is_wrong(tmp_path):
    with pytest.raises(TypeError, match="got float64"):
        save_image(tmp_path / "x.png", np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match=r"got shape \(2, 2, 4\)"):
        save_image(tmp_path / "x.png", np.zeros((2, 2, 4), np.uint8))
    assert os.listdir(tmp_path) == []


def test_scatter_has_one_size_and_is_what_it_writes(tmp_path):
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 2))
    picture = scatter(rng.normal(size=(50, 2)), tmp_path / "a.png", reference=real)
    assert picture.shape == (546, 520, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), picture)
    assert scatter(rng.normal(size=(50, 2)) * 9, reference=real).shape == picture.shape
