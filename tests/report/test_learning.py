"""Curves: one axes per group, raw lines as logged, medians that spikes don't move."""

import json

import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.report import curves, read_metrics
from ganjax.report.images import load_image
from ganjax.report.learning import group_figures, group_metrics, running_median


def write(workdir, rows):
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def gan_rows(count=200):
    rng = np.random.default_rng(0)
    for i in range(count):
        yield {
            "step": 10 * i,
            "time": 0.1 * i,
            "discriminator/cost": 1.4 + 0.1 * rng.normal(),
            "discriminator/real_logit": rng.normal(),
            "discriminator/fake_logit": rng.normal(),
            "generator/cost": 0.7 + 0.1 * rng.normal(),
            "generator/gradient_norm": float(10 ** rng.uniform(-3, 1)),
            "discriminator/gradient_norm": 1.0,
        } | ({"fid": 100.0 - i} if i % 20 == 0 else {})


def by_label(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_metrics_are_grouped_by_what_they_measure():
    names = ["fid", "g/cost", "d/fake_logit", "d/cost", "g/norm", "d/norm"]
    assert group_metrics(names) == {
        "cost": ["g/cost", "d/cost"],
        "logit": ["d/fake_logit"],
        "fid": ["fid"],
        "norm": ["g/norm", "d/norm"],
    }


def test_curves_have_one_axes_per_group(tmp_path):
    write(tmp_path, gan_rows())
    figure = curves(tmp_path, tmp_path / "curves.png")
    assert [axes.get_ylabel() for axes in figure.axes] == ["cost", "logit", "gradient norm", "fid"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"training step"}
    assert set(by_label(figure.axes[0])) == {"discriminator/cost", "generator/cost"}
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "log", "linear"]
    height, width, _ = load_image(tmp_path / "curves.png").shape
    assert (width, height) == (1352, 754)


def test_a_group_alone_is_drawn_as_among_the_others(tmp_path):
    write(tmp_path, gan_rows())
    together = curves(tmp_path, tmp_path / "curves.png").axes
    figures = group_figures(read_metrics(tmp_path))
    assert list(figures) == ["cost", "logit", "gradient_norm", "fid"]
    for axes, figure in zip(together, figures.values(), strict=True):
        (alone,) = figure.axes
        assert alone.get_ylabel() == axes.get_ylabel() and len(alone.lines) == len(axes.lines)
        for line, expected in zip(alone.lines, axes.lines, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), expected.get_xydata())
            assert line.get_color() == expected.get_color()


def test_values_that_no_axis_can_hold_leave_gaps():
    metrics = {"step": np.arange(4), "g/cost": np.array([1.0, 1e308, -1e308, 2.0])}
    (axes,) = group_figures(metrics)["cost"].axes
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0, 3])


def test_raw_values_are_drawn_as_logged_under_their_median(tmp_path):
    rows = list(gan_rows())
    write(tmp_path, rows)
    raw, median = curves(tmp_path, tmp_path / "curves.png").axes[0].lines[:2]
    expected = [(row["step"], row["discriminator/cost"]) for row in rows]
    np.testing.assert_allclose(raw.get_xydata(), expected)
    assert np.std(median.get_ydata()) < 0.6 * np.std(raw.get_ydata())
    assert raw.get_alpha() < 0.5 and raw.get_color() == median.get_color()


def test_sparse_metrics_are_drawn_at_their_own_steps(tmp_path):
    write(tmp_path, gan_rows())
    line = by_label(curves(tmp_path, tmp_path / "curves.png").axes[3])["fid"]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(0, 2000, 200))
    np.testing.assert_array_equal(line.get_ydata(), 100.0 - np.arange(0, 200, 20))


def test_a_player_keeps_its_colour(tmp_path):
    write(tmp_path, gan_rows())
    figure = curves(tmp_path, tmp_path / "curves.png")
    cost, norm = by_label(figure.axes[0]), by_label(figure.axes[2])
    for player in ("generator", "discriminator"):
        assert cost[f"{player}/cost"].get_color() == norm[f"{player}/gradient_norm"].get_color()
    logits = {line.get_color() for line in by_label(figure.axes[1]).values()}
    assert len(logits) == 2 and logits.isdisjoint(line.get_color() for line in cost.values())


def test_theoretical_lines_go_where_their_label_says(tmp_path):
    write(tmp_path, gan_rows())
    lines = {"generator/cost": np.log(2), "logit": 0.0, "2 log 2": 2 * np.log(2)}
    figure = curves(tmp_path, tmp_path / "curves.png", lines=lines)
    first, second = by_label(figure.axes[0]), by_label(figure.axes[1])
    assert set(first["generator/cost in theory"].get_ydata()) == {np.log(2)}
    assert first["generator/cost in theory"].get_color() == first["generator/cost"].get_color()
    assert set(first["2 log 2 in theory"].get_ydata()) == {2 * np.log(2)}
    assert set(second["logit in theory"].get_ydata()) == {0.0}


def test_one_spike_neither_moves_the_median_nor_flattens_the_axes(tmp_path):
    rows = [{"step": i, "player/cost": float(i % 5) + 1e6 * (i == 300)} for i in range(600)]
    write(tmp_path, rows)
    axes = curves(tmp_path, tmp_path / "curves.png").axes[0]
    assert axes.lines[1].get_ydata().max() <= 4
    assert axes.get_ylim()[1] < 10
    assert "axis cut: values from 0 to 1e+06" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_running_median_by_hand():
    centres, medians = running_median(np.array([5.0, 1.0, 9.0, 2.0]))
    np.testing.assert_array_equal(centres, [0, 1, 2, 3])
    np.testing.assert_array_equal(medians, [3.0, 5.0, 2.0, 5.5])


def test_values_that_are_not_finite_leave_gaps_only(tmp_path):
    write(tmp_path, [{"step": i, "g/cost": float("nan") if i == 1 else float(i), "x": None} for i in range(4)])
    figure = curves(tmp_path, tmp_path / "curves.png")
    assert len(figure.axes) == 1
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [0, 2, 3])


@pytest.mark.parametrize("value", [0.0, 2e-4, -3.0])
def test_a_constant_metric_at_one_step_is_drawn(tmp_path, value):
    write(tmp_path, [{"step": 7, "g/cost": value}])
    low, high = curves(tmp_path, tmp_path / "curves.png").axes[0].get_ylim()
    assert low < value < high


def test_curves_say_that_nothing_is_there(tmp_path):
    with pytest.raises(DataError, match="No metrics"):
        curves(tmp_path, tmp_path / "curves.png")
    write(tmp_path, [{"step": 1, "time": 2.0}])
    with pytest.raises(DataError, match="no finite metric"):
        curves(tmp_path, tmp_path / "curves.png")
