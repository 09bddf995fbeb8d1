"""A panel runs from the first step to the last and cuts grids to whole rows."""

import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.report import grid, panel, save_image, scatter
from ganjax.report.images import load_image
from ganjax.report.progress import choose_steps
from ganjax.report.style import DPI


def captions(figure):
    return [axes.get_ylabel() or axes.get_title() for axes in figure.axes]


def write_grids(workdir, steps, count=64):
    for step in steps:
        images = np.full((count, 8, 8, 1), step % 200, np.uint8)
        save_image(workdir / "samples" / f"{step:08d}.png", grid(images, columns=8, scale=1))


def test_geometric_samples_stay_geometric_and_even_samples_are_thinned():
    assert choose_steps([0, 1, 10, 100, 1000, 10_000], 6) == [0, 1, 10, 100, 1000, 10_000]
    assert choose_steps(range(0, 10_001, 100), 6) == [0, 100, 300, 1000, 3200, 10_000]


@pytest.mark.parametrize("count", [2, 3, 6, 9])
@pytest.mark.parametrize("start", [0, 1, 500])
@pytest.mark.parametrize("number", [1, 2, 5, 6, 7, 8, 50])
def test_first_and_last_are_always_shown_and_no_step_twice(start, number, count):
    steps = [start + 10 * i for i in range(number)]
    chosen = choose_steps(steps, count)
    assert chosen[0] == steps[0] and chosen[-1] == steps[-1]
    assert len(chosen) == min(count, number) and set(chosen) <= set(steps)
    assert chosen == sorted(set(chosen))


def test_panel_stacks_the_first_row_of_each_step(tmp_path):
    write_grids(tmp_path, range(0, 2000, 100))
    figure = panel(tmp_path, tmp_path / "panel.png", count=4)
    assert captions(figure) == ["step 0", "step 100", "step 400", "step 1,900"]
    for axes, step in zip(figure.axes, [0, 100, 400, 1900], strict=True):
        strip = axes.images[0].get_array()
        factor = 640 // 82
        assert strip.shape == (12 * factor, 82 * factor, 3)  # one row: 2 + 8 + 2 pixels of the picture
        assert strip[6 * factor, 6 * factor, 0] == step % 200
    height, width, _ = load_image(tmp_path / "panel.png").shape
    assert (width, height) == tuple(np.floor(figure.get_size_inches() * DPI + 1e-6).astype(int))


def test_panel_strips_are_drawn_pixel_for_pixel(tmp_path):
    images = np.random.default_rng(0).integers(0, 250, (8, 8, 8, 3)).astype(np.uint8)
    save_image(tmp_path / "7.png", grid(images, columns=8))
    figure = panel([tmp_path / "7.png"], tmp_path / "panel.png")
    strip, picture = figure.axes[0].images[0].get_array(), load_image(tmp_path / "panel.png")
    windows = np.lib.stride_tricks.sliding_window_view(picture[..., 0], (1, strip.shape[1]))
    assert (windows == strip[20, :, 0]).all(axis=(-1, -2)).any()


def test_panel_takes_more_rows_of_a_narrow_grid(tmp_path):
    images = np.zeros((16, 8, 8, 1), np.uint8)
    save_image(tmp_path / "samples" / "5.png", grid(images, columns=4, scale=1))
    strip = panel(tmp_path, tmp_path / "panel.png").axes[0].images[0].get_array()
    assert strip.shape[0] / strip.shape[1] == pytest.approx(22 / 42)


def test_panel_shows_point_sets_whole(tmp_path):
    points = np.random.default_rng(0).normal(size=(100, 2))
    for step in (0, 10, 20, 30):
        scatter(points, tmp_path / "samples" / f"{step:08d}.png", limits=(-4, 4))
    figure = panel(tmp_path, tmp_path / "panel.png")
    assert captions(figure) == ["step 0", "step 10", "step 20", "step 30"]
    assert figure.axes[0].images[0].get_array().shape == (546, 520, 3)


def test_panel_ignores_what_is_no_sample(tmp_path):
    write_grids(tmp_path, [0, 5])
    save_image(tmp_path / "samples" / "best.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "samples" / ".00000009.png.x.tmp").write_bytes(b"torn")
    assert captions(panel(tmp_path, tmp_path / "panel.png")) == ["step 0", "step 5"]


def test_panel_says_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="No sample picture"):
        panel(tmp_path, tmp_path / "panel.png")
    write_grids(tmp_path, [0])
    with pytest.raises(ValueError, match="at least 2"):
        panel(tmp_path, tmp_path / "panel.png", count=1)
