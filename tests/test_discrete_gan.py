"""The experiment discrete_gan: which runs its table says to be left of the curve, and what its pictures show."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from ganjax import chains, estimators

FILE = Path(__file__).parent.parent / "experiments" / "discrete_gan.py"
spec = importlib.util.spec_from_file_location("discrete_gan", FILE)
discrete_gan = importlib.util.module_from_spec(spec)
sys.modules["discrete_gan"] = discrete_gan
spec.loader.exec_module(discrete_gan)


def test_a_run_left_of_the_curve_is_flagged():
    """Of models on the curve, before it, behind it, and of one less sharp than the truth, the second alone."""
    truth = chains.permuted_chain()
    on, before = (discrete_gan.rates(q, truth, 20) for q in (chains.tempered(truth, 0.5), chains.frontier(truth, 5.0)))
    told = {"on": on, "before": before, "behind": (on[0], on[1] + 0.1), "warm": (1.55, 1.508)}
    lines = list(discrete_gan.table(told, truth, 20))
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:6]}
    assert {name: row[3] for name, row in rows.items() if name != "before"} == dict.fromkeys(
        ("on", "behind", "warm", "perfect"), "-"
    )
    oracle, test, cold, left, least = map(float, rows["before"])
    assert left > 0.3 and abs(cold - left - test) < 2e-4 and test == least
    np.testing.assert_allclose((oracle, test), before, atol=5e-5)


def test_the_actors_of_the_picture_descend_the_gradients_that_are_tested(monkeypatch):
    """`x` goes to 1/4 by (1 - 8 r)^k and to 0 by (1 - 2 r)^k: a linear field, so its steps are powers."""
    k = np.arange(30)
    expected = 0.25 + (0.8 - 0.25) * (1 - 8 * 0.03) ** k, 0.8 * (1 - 2 * 0.03) ** k
    np.testing.assert_allclose(discrete_gan.actors(0.03, 30, 0.8), expected, rtol=1e-12)
    shown = []
    monkeypatch.setattr(discrete_gan, "panels", lambda parts, *args, **how: shown.extend(parts))
    discrete_gan.draw_actor(Path("a.png"))
    assert {series.label: round(float(series.y[-1]), 2) for series in shown[0].series} == {
        "critic held": 0.0,
        "critic foreseen": 0.25,
    }


def test_the_variances_of_the_picture_are_those_of_the_estimators(monkeypatch):
    shown = []
    monkeypatch.setattr(discrete_gan, "panels", lambda parts, *args, **how: shown.extend(parts))
    discrete_gan.draw_estimators(Path("e.png"))
    gaussian, dimensions = ({one.label: one for one in part.series} for part in shown[:2])
    for named in (gaussian, dimensions):
        np.testing.assert_array_equal(named["path"].y, 4)
        assert all((one.y >= named["path"].y).all() for one in named.values())
    d = dimensions["score"].x
    np.testing.assert_allclose(dimensions["score"].y, (d + 2) * (d + 4))
    noise, limit = shown[-1].series
    assert noise.y[0] > 10 * noise.y[-1] and abs(noise.y[0] / limit.y[0] - 1) < 0.02
    assert noise.y[5] == estimators.concrete_deviation(0.3, 0.45, noise.x[5], 20_001)
