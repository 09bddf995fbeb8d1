"""The phase plane measures distances rightly and stays readable when a trajectory runs away."""

import subprocess
import sys

import numpy as np
import pytest

from ganjax.report import phase_plane
from ganjax.report.images import load_image

STEP = 0.1


def spiral(factor, steps, start=1 + 1j):
    z = start * factor ** np.arange(steps + 1)
    return np.stack([z.real, z.imag], axis=1)


def test_norms_are_measured_from_the_equilibrium(tmp_path):
    path = spiral(1 + STEP * 1j, 100) + np.array([2.0, -1.0])
    figure = phase_plane({"simultaneous": path}, tmp_path / "p.png", equilibrium=(2.0, -1.0))
    distance = figure.axes[1]
    expected = np.sqrt(2) * (1 + STEP**2) ** (np.arange(101) / 2)
    np.testing.assert_allclose(distance.lines[0].get_ydata(), expected, rtol=1e-12)
    np.testing.assert_array_equal(distance.lines[0].get_xdata(), np.arange(101))
    assert distance.get_yscale() == "log" and distance.get_xlabel() == "step"


def test_closed_forms_are_dashed_overlays_on_both_sides(tmp_path):
    path = spiral(1 + STEP * 1j, 50)
    figure = phase_plane(
        {"simultaneous": path},
        tmp_path / "p.png",
        predicted={"simultaneous": path},
        field=lambda a, b: (-b, a),
    )
    for axes in figure.axes:
        measured, closed = axes.lines[:2]
        np.testing.assert_allclose(measured.get_xydata(), closed.get_xydata())
        assert (measured.get_linestyle(), closed.get_linestyle()) == ("-", "--")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "simultaneous",
        "start",
        "equilibrium",
        "closed form",
    ]


def test_given_norms_are_taken(tmp_path):
    figure = phase_plane(
        {"x": spiral(1, 3)}, tmp_path / "p.png", norms={"x": [4.0, 2.0]}, predicted_norms={"x": [3.0, 0.0]}
    )
    measured, closed = figure.axes[1].lines
    np.testing.assert_array_equal(measured.get_ydata(), [4, 2])
    np.testing.assert_array_equal(closed.get_ydata(), [3, np.nan])  # a logarithm shows no zero


def test_the_field_is_drawn_on_a_lattice(tmp_path):
    figure = phase_plane({"x": spiral(1j, 4)}, tmp_path / "p.png", field=lambda a, b: (-b, a))
    arrows = figure.axes[0].collections[0]
    np.testing.assert_allclose(arrows.U, -arrows.Y)
    np.testing.assert_allclose(arrows.V, arrows.X)
    assert arrows.N == 15 * 15


def test_a_trajectory_that_runs_away_leaves_the_frame(tmp_path):
    paths = {"away": spiral(1 + STEP * 1j, 10_000), "home": spiral(0.99, 100)}
    figure = phase_plane(paths, tmp_path / "p.png")
    reach = 1.08 * 2 * np.sqrt(2)
    np.testing.assert_allclose(figure.axes[0].get_xlim(), [-reach, reach])
    assert figure.axes[1].get_ylim()[1] > 1e20
    assert load_image(tmp_path / "p.png").shape == (598, 1248, 3)


def test_what_is_not_finite_or_stands_still_is_survived(tmp_path):
    phase_plane({"x": [[1.0, 1.0], [np.inf, 2.0], [np.nan, 0.0]]}, tmp_path / "p.png")
    phase_plane({"x": [[0.0, 0.0]]}, tmp_path / "q.png", field=lambda a, b: (0 * a, 0 * b))
    assert (tmp_path / "q.png").stat().st_size > 0


def test_phase_plane_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="at least one trajectory"):
        phase_plane({}, tmp_path / "p.png")
    with pytest.raises(ValueError, match=r"trajectories\['x'\] must be \[T, 2\]"):
        phase_plane({"x": np.zeros((3, 3))}, tmp_path / "p.png")


def test_equal_figures_give_equal_files(tmp_path):
    for name in ("p.png", "q.png"):
        phase_plane({"x": spiral(1, 3)}, tmp_path / name)
    assert (tmp_path / "p.png").read_bytes() == (tmp_path / "q.png").read_bytes()


def test_importing_the_reports_loads_no_heavy_library_and_drawing_no_pyplot(tmp_path):
    code = (
        "import sys, ganjax.report as report\n"
        "assert not {'matplotlib', 'sklearn', 'scipy', 'PIL', 'jax'} & set(sys.modules)\n"
        f"report.phase_plane({{'x': [[1, 1], [0, 1]]}}, {str(tmp_path / 'p.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
