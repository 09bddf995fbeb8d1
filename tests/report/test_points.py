"""A scatter shows what is inside the axes and counts what is not."""

import numpy as np
import pytest

from ganjax.report.points import scatter_figure

SQUARE = np.array([[-1.0, -1.0], [1.0, 1.0]])


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_axes_are_a_square_around_the_reference_wherever_the_samples_are():
    axes = scatter_figure([[50.0, 50.0]], reference=SQUARE + np.array([3.0, 0.0])).axes[0]
    np.testing.assert_allclose([*axes.get_xlim(), *axes.get_ylim()], [1.7, 4.3, -1.3, 1.3])


def test_points_outside_or_not_finite_are_counted():
    points = [[0.0, 0.0], [5.0, 0.0], [np.nan, 0.0], [0.0, np.inf]]
    figure = scatter_figure(points, reference=SQUARE)
    assert legend(figure) == ["real", "samples (3 of 4 outside)"]
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_xydata(), [[0.0, 0.0]])
    assert legend(scatter_figure(SQUARE)) == ["samples"]


@pytest.mark.parametrize("points", [np.full((3, 2), np.nan), np.zeros((3, 2)), np.zeros((0, 2))])
def test_degenerate_points_still_give_a_picture(points):
    low, high = scatter_figure(points).axes[0].get_xlim()
    assert low < 0 < high


def test_points_off_the_diagonal_are_inside_their_own_window():
    figure = scatter_figure([[3.0, 0.0], [0.0, 0.0]], reference=SQUARE + np.array([3.0, 0.0]))
    assert legend(figure) == ["real", "samples (1 of 2 outside)"]


def test_limits_are_taken_as_given():
    axes = scatter_figure(SQUARE, limits=(-4, 6), title="ring").axes[0]
    assert axes.get_xlim() == (-4, 6) and axes.get_ylim() == (-4, 6)
    assert axes.figure.get_suptitle() == "ring"


def test_scatter_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"points must be \[N, 2\], got shape \(4, 3\)"):
        scatter_figure(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="reference must be"):
        scatter_figure(SQUARE, reference=np.zeros(4))
    with pytest.raises(ValueError, match="low < high"):
        scatter_figure(SQUARE, limits=(1, 1))
