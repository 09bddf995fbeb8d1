"""Rows of images: every pixel, caption, note and heading is where it belongs."""

from itertools import pairwise

import numpy as np
import pytest

from ganjax.report import Row, grid, rows
from ganjax.report.images import load_image


def _row(value, caption="a", note="", count=3):
    return Row(np.full((count, 8, 8, 1), value, np.uint8), caption, note)


def test_rows_show_their_images_words_and_headings(tmp_path):
    content = [_row(10, "first", "low"), _row(200, "second", "high\nup")]
    figure = rows(content, tmp_path / "rows.png", title="Two rows", heads=["x", "y", "z"])
    assert [axes.get_ylabel() for axes in figure.axes] == ["first", "second"]
    assert [text.get_text() for text in figure.texts] == ["Two rows", "x", "y", "z", "low", "high\nup"]
    for axes, row in zip(figure.axes, content, strict=True):
        strip, factor = axes.images[0].get_array(), 640 // 200
        assert strip.shape == (68 * factor, 200 * factor, 3), "8 pixels become 64, three columns with lines of 2"
        np.testing.assert_array_equal(strip[::factor, ::factor], grid(row.images, columns=3))
    places = [axes.get_position() for axes in figure.axes]
    heads = [text.get_position()[0] for text in figure.texts[1:4]]
    np.testing.assert_allclose(heads, places[0].x0 + np.array([1, 3, 5]) / 6 * places[0].width)
    notes = [text.get_position() for text in figure.texts[4:]]
    for place, (x, y) in zip(places, notes, strict=True):
        assert x > place.x1 and y == pytest.approx((place.y0 + place.y1) / 2)
    assert load_image(tmp_path / "rows.png").shape[1] > 600


def test_rows_of_a_group_stand_close_together(tmp_path):
    place = [axes.get_position() for axes in rows([_row(1)] * 4, tmp_path / "rows.png", group=2).axes]
    gaps = [upper.y0 - lower.y1 for upper, lower in pairwise(place)]
    assert gaps[1] > 0.005
    np.testing.assert_allclose([gaps[0], gaps[2]], 0, atol=1e-9)


def test_rows_that_do_not_fit_are_refused(tmp_path):
    for content, heads, sentence in (
        ([], [], "at least one row"),
        ([_row(1), _row(1, count=2)], [], r"content\[1\] has images of \(2, 8, 8, 1\)"),
        ([_row(1)], ["x"], "heads must be none or 3"),
    ):
        with pytest.raises(ValueError, match=sentence):
            rows(content, tmp_path / "rows.png", heads=heads)
    with pytest.raises(TypeError, match=r"content\[0\].images must be uint8"):
        rows([Row(np.zeros((1, 2, 2, 1)), "a")], tmp_path / "rows.png")
