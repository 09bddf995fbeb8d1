"""Panels show the numbers they are given, closed forms on top, and say what does not fit."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from ganjax.report import Heat, Panel, Series, panels
from ganjax.report.images import load_image
from ganjax.report.style import INK, PALETTE, dress, legend_above, new_figure

T = np.arange(20)


def draw(tmp_path, *parts, **options):
    figure = panels(parts, tmp_path / "p.png", **options)
    return figure, figure.axes[: len(parts)]


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def heat(**changes):
    return Heat(np.arange(6.0).reshape(2, 3), [1, 2, 3], [10, 20])._replace(**changes)


def test_every_part_has_its_axes_with_labels_and_limits(tmp_path):
    first = Panel([Series(T, T**2)], x="time (s)", y="$a$", title="left", xlim=(-1, 5), ylim=(0, 7))
    second = heat(xlabel="rate", ylabel="momentum", title="right", label="radius")
    figure, (left, right) = draw(tmp_path, first, second, title="both")
    assert (left.get_xlabel(), left.get_ylabel(), left.get_title()) == ("time (s)", "$a$", "left")
    assert (right.get_xlabel(), right.get_ylabel(), right.get_title()) == ("rate", "momentum", "right")
    assert left.get_xlim() == (-1, 5) and left.get_ylim() == (0, 7)
    assert figure.axes[2].get_ylabel() == "radius" and figure.get_suptitle() == "both"
    np.testing.assert_array_equal(left.lines[0].get_xydata(), np.stack([T, T**2], axis=1))


@pytest.mark.parametrize(("count", "columns", "shape"), [(5, 3, (2, 3)), (1, 2, (1, 1)), (4, 1, (4, 1))])
def test_parts_stand_in_rows(tmp_path, count, columns, shape):
    figure, axes = draw(tmp_path, *[Panel([Series(T, T)])] * count, columns=columns, size=(2, 1.5))
    assert len(figure.axes) == count
    assert [one.get_subplotspec().num1 for one in axes] == list(range(count))
    assert load_image(tmp_path / "p.png").shape == (round(195 * shape[0]), 260 * shape[1], 3)


def test_a_closed_form_lies_over_its_measured_line_in_its_darker_shade(tmp_path):
    series = [
        Series(T, T, "closed", kind="predicted", tint=1),
        Series(T, T, "run", tint=1),
        Series(T, T, "another run", kind="points", tint=3),
    ]
    _, (axes,) = draw(tmp_path, Panel(series))
    closed, run, points = axes.lines
    assert closed.get_zorder() > max(run.get_zorder(), points.get_zorder())
    assert len(closed.get_xydata()) == len(run.get_xydata()) == len(T)
    assert (closed.get_linestyle(), run.get_linestyle(), points.get_linestyle()) == ("--", "-", "None")
    np.testing.assert_allclose(closed.get_color(), 0.35 * np.array(to_rgb(PALETTE[1])))
    assert (run.get_color(), points.get_color()) == (PALETTE[1], PALETTE[3])
    assert run.get_linewidth() > 2 > closed.get_linewidth()


def test_colours_come_in_turn_within_each_kind(tmp_path):
    series = [
        Series(T, T),
        Series(T, T, kind="predicted"),
        Series(T, T, kind="points"),
        Series(T, T, kind="band", y2=T + 1),
        Series([0], [0], kind="star"),
        Series([0], [0], kind="mark"),
        Series(T, T, kind="predicted", tint=4),
        Series(T, T),
    ]
    _, (axes,) = draw(tmp_path, Panel(series))
    line, closed, points, star, mark, alone, last = axes.lines
    assert [line.get_color(), points.get_color(), last.get_color()] == list(PALETTE[:3])
    np.testing.assert_allclose(closed.get_color(), 0.35 * np.array(to_rgb(PALETTE[0])))
    assert alone.get_color() == PALETTE[4]
    assert to_hex(axes.collections[0].get_facecolor()[0]) == PALETTE[0].lower()
    assert (star.get_color(), mark.get_markeredgecolor(), mark.get_color()) == (INK, INK, "white")
    assert min(star.get_zorder(), mark.get_zorder()) > closed.get_zorder()
    assert axes.collections[0].get_zorder() < line.get_zorder()


def test_what_cannot_be_shown_leaves_gaps(tmp_path):
    values = [1.0, np.nan, np.inf, 1e300, -1.0, 0.0, 2.0]
    series = [Series(range(7), values), Series(range(7), np.ones(7), kind="points")]
    linear, logarithmic = draw(tmp_path, Panel(series), Panel(series, log="y"))[1]
    nan = np.nan
    np.testing.assert_array_equal(linear.lines[0].get_ydata(), [1, nan, nan, nan, -1, 0, 2])
    np.testing.assert_array_equal(logarithmic.lines[0].get_ydata(), [1, nan, nan, nan, nan, nan, 2])
    assert linear.get_ylim()[1] < 3


def test_logarithmic_axes(tmp_path):
    series = [Series(10.0**T, 10.0**-T)]
    plain, y, both = draw(tmp_path, Panel(series), Panel(series, log="y"), Panel(series, log="xy"))[1]
    scales = [(axes.get_xscale(), axes.get_yscale()) for axes in (plain, y, both)]
    assert scales == [("linear", "linear"), ("linear", "log"), ("log", "log")]
    assert both.get_xlim()[0] > 0 and both.get_ylim()[1] < 100


def test_a_logarithmic_axis_of_few_decades_has_plain_numbers(tmp_path):
    found = []
    for ends in ((2.0, 5.0), (20.0, 200.0), (1.0, 1e4)):
        figure, (axes,) = draw(tmp_path, Panel([Series(np.array(ends), np.array(ends))], log="x"))
        figure.canvas.draw()
        low, high = axes.get_xlim()
        ticks = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
        found.append([label.get_text() for label in ticks])
    assert len(found[0]) > 2 and [float(text) for text in found[0]] and found[1] == ["20", "50", "100", "200"]
    assert all("10^" in text for text in found[2])


def test_a_band_reaches_the_floor_of_a_logarithmic_axis(tmp_path):
    _, (axes,) = draw(tmp_path, Panel([Series(T, 5.0 - T, kind="band", y2=T + 6.0)], log="y"))
    (path,) = axes.collections[0].get_paths()
    assert set(path.vertices[:, 0]) == set(T)
    assert path.vertices[:, 1].max() == 25


def test_a_field_is_drawn_over_the_limits(tmp_path):
    panel = Panel([Series([0], [0], kind="star")], xlim=(-3, 3), ylim=(0, 1.5), field=lambda a, b: (-b, a))
    _, (axes,) = draw(tmp_path, panel)
    (arrows,) = axes.collections
    assert arrows.N == 15 * 15
    np.testing.assert_allclose([arrows.X.min(), arrows.X.max()], [-2.8, 2.8])
    np.testing.assert_allclose([arrows.Y.min(), arrows.Y.max()], [0.05, 1.45])
    np.testing.assert_allclose(arrows.U, -arrows.Y)
    np.testing.assert_allclose(arrows.V, arrows.X)
    cells = np.hypot(arrows.U / 0.4, arrows.V / 0.1) / arrows.scale
    assert cells.max() == pytest.approx(1)
    assert axes.get_xlim() == (-3, 3)


def test_a_field_may_be_singular(tmp_path):
    panel = Panel([], xlim=(-1, 1), ylim=(-1, 1), field=lambda a, b: (np.where(a < 0, np.nan, a), 0 * b))
    _, (axes,) = draw(tmp_path, panel)
    assert axes.collections[0].scale == pytest.approx(14 / 15 / (2 / 15))


def test_a_plane_without_limits_is_square_about_its_data(tmp_path):
    _, (axes,) = draw(tmp_path, Panel([Series([0, 4], [1, 2])], equal=True))
    assert axes.get_aspect() == 1
    assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim())) == pytest.approx(4.4)
    assert np.mean(axes.get_ylim()) == pytest.approx(1.5)


def test_references_are_dashed_and_named(tmp_path):
    panel = Panel([Series([0.1], [0.2], kind="points")], equal=True, lines={"bound": 0.5}, circles={"unit circle": 2.0})
    _, (axes,) = draw(tmp_path, panel)
    bound, circle = axes.lines[1:]
    np.testing.assert_array_equal(bound.get_ydata(), [0.5, 0.5])
    np.testing.assert_allclose(np.hypot(*circle.get_xydata().T), 2.0)
    assert bound.get_linestyle() == circle.get_linestyle() == "--"
    assert texts(axes.get_legend()) == ["bound", "unit circle"]


def test_a_legend_stands_above_the_data_and_under_the_title(tmp_path):
    series = [Series(T, T, f"line {k % 6}") for k in range(7)] + [Series(T, T)]
    figure, (axes, plain) = draw(tmp_path, Panel(series, title="many"), Panel(series[-1:]))
    assert texts(axes.get_legend()) == [f"line {k}" for k in range(6)]
    assert plain.get_legend() is None and not figure.legends
    box, title = axes.get_legend().get_window_extent(), axes.title.get_window_extent()
    assert axes.get_window_extent().y1 <= box.y0 < box.y1 <= title.y0
    assert box.x1 <= axes.get_window_extent().x1 and title.y1 < figure.bbox.y1


def test_parts_with_equal_entries_share_one_legend(tmp_path):
    labelled, bare = Panel([Series(T, T, "a")]), Panel([Series(T, -T)])
    other, tinted = Panel([Series(T, T, "b")]), Panel([Series(T, T, "a", tint=2)])
    for parts in [(labelled, labelled), (labelled, bare), (bare, labelled, labelled)]:
        figure, axes = draw(tmp_path, *parts)
        assert [texts(legend) for legend in figure.legends] == [["a"]]
        assert all(one.get_legend() is None for one in axes)
        assert figure.legends[0].get_window_extent().y1 <= min(one.get_window_extent().y0 for one in axes)
    for parts in [(labelled, other), (labelled, tinted), (labelled, heat())]:
        figure, axes = draw(tmp_path, *parts)
        assert not figure.legends and axes[0].get_legend() is not None


def test_a_heat_map_shows_its_values_between_half_way_borders(tmp_path):
    values = np.array([[0.0, np.nan, 2.0], [3.0, 4.0, 5.0]])
    _, (axes,) = draw(tmp_path, heat(values=values))
    mesh = axes.collections[0]
    np.testing.assert_array_equal(mesh.get_array().filled(-1), np.where(np.isnan(values), -1, values))
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(mesh.get_coordinates()[:, 0, 1], [5, 15, 25])
    assert mesh.get_clim() == (0, 5)
    grey = mesh.to_rgba(mesh.get_array())[0, 1, :3]
    assert np.ptp(grey) == 0 and 0.5 < grey[0] < 0.9
    assert axes.get_xlim() == (0.5, 3.5) and axes.get_ylim() == (5, 25)


def test_a_logarithmic_heat_map_has_geometric_borders(tmp_path):
    _, (axes,) = draw(tmp_path, heat(x=[0.01, 1.0, 100.0], log="x"))
    np.testing.assert_allclose(axes.collections[0].get_coordinates()[0, :, 0], [1e-3, 0.1, 10, 1e3])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")


def test_colour_limits_are_symmetric_about_the_centre(tmp_path):
    parts = [heat(centre=1.0), heat(centre=1.0, limits=(0.5, 1.2)), heat(limits=(1, 2)), heat(centre=0.0)]
    limits = [axes.collections[0].get_clim() for axes in draw(tmp_path, *parts)[1]]
    np.testing.assert_allclose(limits, [(-3, 5), (0.5, 1.5), (1, 2), (-5, 5)])
    plain = draw(tmp_path, heat())[1][0].collections[0]
    assert max(plain.to_rgba(2.5)[:3]) < 0.7  # no white middle without a centre
    mesh = draw(tmp_path, heat(centre=1.0))[1][0].collections[0]
    assert min(mesh.to_rgba(1.0)) > 0.95  # white
    assert mesh.to_rgba(5.0)[0] > mesh.to_rgba(5.0)[2] and mesh.to_rgba(-3.0)[2] > mesh.to_rgba(-3.0)[0]


@pytest.mark.parametrize(
    ("limits", "extend"), [((0, 5), "neither"), ((1, 5), "min"), ((0, 4), "max"), ((1, 4), "both")]
)
def test_the_colour_bar_points_where_values_pass_it(tmp_path, limits, extend):
    _, (axes,) = draw(tmp_path, heat(limits=limits))
    assert axes.collections[0].colorbar.extend == extend


def test_infinity_takes_the_colour_of_the_limit(tmp_path):
    _, (axes,) = draw(tmp_path, heat(values=[[0, 1, np.inf], [2, 3, -np.inf]]))
    mesh = axes.collections[0]
    colours = mesh.to_rgba(mesh.get_array())
    assert mesh.get_clim() == (0, 3)
    np.testing.assert_allclose(colours[0, 2], colours[1, 1])
    np.testing.assert_allclose(colours[1, 2], colours[0, 0])


def test_boundaries_are_white_edged_over_the_map(tmp_path):
    boundary = [Series([1, 3], [10, 20], name, kind="predicted") for name in ("ours", "theirs")]
    boundary.append(Series([2], [15], "chosen", kind="mark"))
    _, (axes,) = draw(tmp_path, heat(boundary=boundary))
    assert texts(axes.get_legend()) == ["ours", "theirs", "chosen"]
    assert [line.get_color() for line in axes.lines] == [INK, INK, "white"]
    assert axes.lines[0]._dash_pattern != axes.lines[1]._dash_pattern
    assert all(line.get_path_effects() for line in axes.lines)
    assert axes.get_xlim() == (0.5, 3.5)


def test_extreme_values_draw_without_complaint(tmp_path):
    away = 10.0 ** np.linspace(-320, 308, 300)
    parts = [
        Panel([Series(range(300), away)], log="y"),
        Panel([Series(away, -away)], xlim=(-2, 2), ylim=(-2, 2), equal=True),
        Panel([Series(range(300), away)]),
        Panel([Series(T, np.full(20, np.nan))]),
        Panel([Series([1, 2], [1, 20])], log="xy", equal=True, lines={"zero": 0.0}),
    ]
    *_, last = draw(tmp_path, *parts)[1]
    assert min(last.get_ylim()) > 0.1


GOOD = Series(T, T)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Panel([GOOD, GOOD._replace(kind="dots")]), r"parts\[1\]\.series\[1\]\.kind must be one of .*got 'dots'"),
        (Panel([Series(T, T[1:])]), r"x and y of one shape \[T\], got \(20,\) and \(19,\)"),
        (Panel([Series(np.ones((2, 2)), np.ones((2, 2)))]), r"x and y of one shape \[T\], got \(2, 2\)"),
        (Panel([Series(T, T, kind="band")]), "is a band: y2"),
        (Panel([Series(T, T, y2=T)]), "is a line: y2"),
        (Panel([Series(T, T, kind="band", y2=T[1:])]), r"y2 must have the shape of y, \(20,\), got \(19,\)"),
        (Panel([GOOD], log="z"), r"log must be one of .*got 'z'"),
        (Panel([Series(T, -T)], log="y"), "logarithmic y axis, which needs positive values"),
        (Panel([Series(-T, T)], log="xy"), "logarithmic x axis, which needs positive values"),
        (Panel([GOOD], log="y", ylim=(0, 1)), "logarithmic y axis, which needs positive values"),
        (heat(values=np.zeros((3, 2))), r"got values \(3, 2\), x \(3,\), y \(2,\)"),
        (heat(x=[1, 3, 2]), r"parts\[1\]\.x must be increasing centres"),
        (heat(x=[0, 1, 2], log="x"), "logarithmic x axis, which needs positive values; got 0"),
        (heat(boundary=[GOOD._replace(kind="?")]), r"parts\[1\]\.boundary\[0\]\.kind"),
        (GOOD, r"parts\[1\] must be a Panel or a Heat, got Series"),
    ],
)
def test_panels_says_what_does_not_fit(tmp_path, part, message):
    with pytest.raises(ValueError, match=message):
        panels([Panel([GOOD]), part], tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


def test_panels_needs_parts_and_columns(tmp_path):
    with pytest.raises(ValueError, match="at least one part, got none"):
        panels([], tmp_path / "p.png")
    with pytest.raises(ValueError, match="columns must be at least 1, got 0"):
        panels([Panel([GOOD])], tmp_path / "p.png", columns=0)


def test_equal_figures_give_equal_files(tmp_path):
    parts = [Panel([Series(T, T, "a")], field=lambda a, b: (-b, a)), heat(boundary=[Series([1], [10], "b")])]
    for name in ("p.png", "q.png"):
        panels(parts, tmp_path / name)
    assert (tmp_path / "p.png").read_bytes() == (tmp_path / "q.png").read_bytes()
    panels([parts[0], heat(centre=0.0)], tmp_path / "r.png")
    assert (tmp_path / "p.png").read_bytes() != (tmp_path / "r.png").read_bytes()


def test_a_legend_is_centred_on_request():
    figure = new_figure(4, 3)
    left, right = figure.subplots(1, 2)
    for axes, centred in ((left, False), (right, True)):
        axes.plot(T, label="line")
        dress(axes)
        legend_above(axes, centred=centred)
    figure.draw_without_rendering()
    boxes = [(axes.get_legend().get_window_extent(), axes.get_window_extent()) for axes in (left, right)]
    assert boxes[0][0].x0 - boxes[0][1].x0 < 10
    assert (boxes[1][0].x0 + boxes[1][0].x1) == pytest.approx(boxes[1][1].x0 + boxes[1][1].x1, abs=2)


def test_drawing_needs_neither_pyplot_nor_the_core(tmp_path):
    code = (
        "import sys, ganjax.report as report\n"
        "assert not {'matplotlib', 'jax'} & set(sys.modules)\n"
        f"report.panels([report.Panel([report.Series([1], [2])])], {str(tmp_path / 'p.png')!r})\n"
        "assert not {'matplotlib.pyplot', 'jax', 'ganjax.core', 'ganjax.dynamics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
