"""Clips that move: every frame of the file is the grid of that time, and paths are drawn where they lie."""

import numpy as np
import pytest
from PIL import Image

from ganjax.errors import DataError
from ganjax.report.animation import animated_grid, save_animation, track_plot
from ganjax.report.html import gif
from ganjax.report.images import grid

CLIPS = np.random.default_rng(0).integers(0, 255, (3, 5, 8, 8, 1), dtype=np.uint8)


def test_a_grey_animation_is_read_back_level_by_level(tmp_path):
    frames = animated_grid(CLIPS, columns=2)
    assert frames.shape[0] == 5
    np.testing.assert_array_equal(frames[3], grid(CLIPS[:, 3], columns=2))
    path = tmp_path / "a.gif"
    save_animation(path, frames, milliseconds=40)
    with Image.open(path) as picture:
        assert (picture.format, picture.n_frames, picture.info["duration"], picture.info["loop"]) == ("GIF", 5, 40, 0)
        for t in range(5):
            picture.seek(t)
            np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), frames[t])
    page = str(gif(path.read_bytes(), "clips"))
    assert 'src="data:image/gif;base64,' in page and f'width="{frames.shape[2]}"' in page
    with pytest.raises(DataError, match="not a readable GIF"):
        gif(path.read_bytes()[:20], "clips")


def test_colours_are_kept_nearly(tmp_path):
    clips = np.zeros((1, 2, 8, 8, 3), np.uint8)
    clips[..., 0] = 200
    save_animation(tmp_path / "a.gif", animated_grid(clips))
    with Image.open(tmp_path / "a.gif") as picture:
        assert np.abs(np.asarray(picture.convert("RGB"))[20, 20].astype(int) - [200, 0, 0]).max() < 8


def test_a_panel_a_sample_with_real_paths_behind(tmp_path):
    tracks = np.cumsum(np.ones((3, 6, 2)), axis=1)
    tracks[1, 2] = np.nan
    figure = track_plot(tracks, tracks[:2] + 1, (16, 16), tmp_path / "a.png", columns=2)
    assert [len(axes.lines) for axes in figure.axes] == [4, 4, 4] and (tmp_path / "a.png").exists()
    assert figure.axes[0].get_ylim() == (15, 0), "rows count downwards"


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda p: save_animation(p, np.zeros((2, 8, 8, 3))), TypeError, "uint8 values in 0..255, got float64"),
        (lambda p: save_animation(p, CLIPS), ValueError, r"needs frames \[T, H, W, 3\]"),
        (lambda p: save_animation(p, animated_grid(CLIPS), milliseconds=5), ValueError, "at least 20 milliseconds"),
        (lambda p: animated_grid(CLIPS[0]), ValueError, r"needs clips \[N, T, H, W, C\]"),
        (lambda p: track_plot(np.zeros((2, 3)), np.zeros((1, 2, 2)), (8, 8), p), ValueError, r"samples \[N, T, 2\]"),
    ],
)
def test_what_is_no_clip_is_refused_and_leaves_nothing(make, error, sentence, tmp_path):
    with pytest.raises(error, match=sentence):
        make(tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())
