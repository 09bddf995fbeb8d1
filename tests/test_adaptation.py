"""What each method of domain adaptation trains, and what of the data it is shown."""

import importlib.util
import sys
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from ganjax import adaptation
from ganjax.config import parse
from ganjax.core import Batch, Owned
from ganjax.data import Dataset
from ganjax.errors import ConfigError
from ganjax.evaluation.held_out import reads_withheld
from ganjax.games.adaptation import DOMAINS, Judge
from ganjax.launch import _commands
from ganjax.options import Adaptation, AdaptationConfig, Latent, Rate
from ganjax.training.setup import arrays, check, state_shapes

_path = Path(__file__).parents[1] / "experiments" / "adaptation_table.py"
_spec = importlib.util.spec_from_file_location("adaptation_table", _path)
TABLE = sys.modules["adaptation_table"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(TABLE)
CONFIG = AdaptationConfig(data="a", target="b", batch_size=4, coupled_width=8)


def _data(seed, count=40, labelled=True):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
    y = (np.arange(count) % 10).astype(np.int32) if labelled else None
    return Dataset(x, y, x[:20], None if y is None else y[:20], name=f"set{seed}")


@cache
def planned(method, **options):
    return adaptation.plan(replace(CONFIG, method=method, **dict(options)), _data(1), _data(2))


@pytest.mark.parametrize("method", adaptation.METHODS)
def test_a_method_is_shown_no_label_of_the_target(method):
    """Whatever they are, and if there are none: the same arrays reach the same game."""
    plan = planned(method)
    blind = adaptation.plan(replace(CONFIG, method=method), _data(1), _data(2, labelled=False))
    garbage = adaptation.plan(
        replace(CONFIG, method=method), _data(1), replace(_data(2), y_train=np.zeros(40, np.int32))
    )
    for name, setup in plan.stages.items():
        check(setup)
        assert {s: own.y for s, own in setup.streams.items()} == {
            "source": "class", "target": None, "adapting": None, "domains": None,
        }  # fmt: skip
        assert set(setup.played) == (
            {"source"} if method == "source_only" or name == "source_only" else {"source", "target"}
        )
        for other in (blind, garbage):
            jax.tree.map(np.testing.assert_array_equal, arrays(setup), arrays(other.stages[name]))
        assert list(setup.measures) == ["source_accuracy", "accuracy", "adapting_accuracy", "a_distance"]
        assert list(blind.stages[name].measures) == ["source_accuracy", "a_distance"]


def test_a_run_is_judged_by_the_source():
    """What chooses a checkpoint by labels of the target is another measure, which says so where it is reported."""
    setup = planned("reversal").stages[""]
    assert setup.judged_by == "source_accuracy" and not reads_withheld(setup, "source_accuracy")
    assert reads_withheld(setup, "accuracy") and reads_withheld(setup, "adapting_accuracy")


class Read:
    """A configuration that remembers what is asked of it."""

    def __init__(self, config):
        self.config, self.names = config, set()

    def __getattr__(self, name):
        self.names.add(name)
        return getattr(self.config, name)


OTHER = {"protocol": "transductive", "source_count": 20, "target_count": 10, "optimiser": "sgd"}


@pytest.mark.parametrize("told", [{}, OTHER], ids=["default", "other"])
@pytest.mark.parametrize("method", adaptation.METHODS)
def test_what_a_method_never_reads_is_said_to_have_no_effect(method, told):
    """And of nothing else. AdaBN aligns nothing, whatever weight is read."""
    config = replace(CONFIG, method=method, **told)
    read = Read(config)
    adaptation.plan(read, _data(1), _data(2))
    names = {field.name for group in (Adaptation, Latent, Rate) for field in fields(group)} | {"source_steps"}
    names -= {"target"}  # which is loaded before
    vain = {"weight"} | ({"ramp_steps"} if not told else set()) if method == "adabn" else set()
    assert set(config.unused()) == (names - read.names) | vain


def test_the_table_refuses_what_none_of_its_methods_reads():
    all_images = {"source_count", "target_count"}
    assert set(TABLE.Config(data="a").unused()) == all_images
    found = TABLE.Config(data="a", methods=("adda",), picture="adda", optimiser="sgd").unused()
    assert set(found) == all_images | {"weight", "coupled_width", "latent", "beta1"}, "source_steps are source_only's"
    asked = ["train", "--workdir", "w", "--methods", "adda", "--picture", "adda", "--weight", ".5"]
    with pytest.raises(ConfigError, match=r"^--weight is 0.5, expected 1.0, .*: none of --methods reads it$"):
        parse(_commands(TABLE.EXPERIMENT, False), asked, prog="", description="")


@pytest.mark.parametrize("method", ["adda", "adda_features"])
def test_the_second_stage_of_adda_begins_with_the_first(method):
    first, second = planned(method).stages.values()
    assert list(planned(method).stages) == ["source_only", "adapt"] and first.steps == CONFIG.source_steps
    before, after = (state_shapes(setup) for setup in (first, second))
    assert set(second.start) == set(after.params) - {"critic"}
    for player, origin in second.start.items():
        assert after.params[player] == before.params[origin.player], player
        assert origin.run == "source_only" and origin.weights == "raw"


def test_the_transductive_protocol_tests_on_the_images_that_adapt():
    plan = planned("coral", protocol="transductive", source_count=20, target_count=10)
    streams = plan.stages[""].streams
    assert len(streams["source"].dataset.x_train) == 20 and len(streams["target"].dataset.x_train) == 10
    np.testing.assert_array_equal(streams["adapting"].dataset.x_test, streams["target"].dataset.x_train)
    np.testing.assert_array_equal(streams["adapting"].dataset.y_test, streams["target"].dataset.y_train)
    assert len(streams["target"].dataset.x_test) == 20, "and the canonical test set is there beside them"


def test_an_a_distance_is_of_the_features_that_each_domain_has():
    """Features of one domain are shifted by its encoder alone: they are told apart without error."""
    judged = Judge(("encoder",), lambda weights, x, domain: (x + 9 * (domain == "target"), x))
    measure = adaptation.a_distance(judged, "domains")
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    batch = Batch(x, np.repeat([0, 1], 100), np.arange(200))
    found = jax.tree.map(np.asarray, measure.values({"encoder": Owned({}, {})}, batch, None))
    assert measure.summary(found) == 2
    np.testing.assert_allclose(found["features"][:100], x[:100])
    np.testing.assert_allclose(found["features"][100:], x[100:] + 9, rtol=1e-6)


def test_the_rate_of_sgd_is_that_of_the_paper():
    rate = adaptation.annealed(0.01, 1000)
    np.testing.assert_allclose([rate(0), rate(1000), rate(5000)], [0.01, *2 * [0.01 / 11**0.75]], rtol=1e-6)
    np.testing.assert_allclose(rate(500), 0.01 / 6**0.75, rtol=1e-6)


@pytest.mark.parametrize("method", ["reversal", "adda", "mcd"])
def test_every_method_can_have_the_network_of_dann(method):
    """768 features, all of the last map, where LeNet has 500."""
    for setup in planned(method, network="dann", optimiser="sgd").stages.values():
        encoder = next(own for player, own in state_shapes(setup).params.items() if player in ("encoder", "source"))
        assert sorted(leaf.shape for leaf in jax.tree.leaves(encoder) if leaf.ndim == 4) == [
            (5, 5, 1, 32),
            (5, 5, 32, 48),
        ]
        assert not any(leaf.ndim == 2 for leaf in jax.tree.leaves(encoder))


@pytest.mark.parametrize(("method", "kept"), [("reversal", True), ("mcd", True), ("adda", False)])
def test_batch_norm_is_in_every_encoder_that_is_asked_for_it(method, kept):
    """Where one encoder serves both domains, each has its own statistics; ADDA has an encoder for each."""
    plain, normed = (list(planned(method, batch_norm=on).stages.values())[-1] for on in (False, True))
    encoders = [player for player in state_shapes(plain).params if player in ("encoder", *DOMAINS)]
    for player in encoders:
        before, after = (state_shapes(setup).net_state[player] for setup in (plain, normed))
        assert not jax.tree.leaves(before) and jax.tree.leaves(after)
        assert (set(after) == set(DOMAINS)) == kept


def test_the_second_stage_of_the_table_begins_with_statistics_of_the_first_too():
    """The encoder of the source is frozen in it, so at the end it still has them."""
    small = {"seeds": 2, "steps": 1, "source_steps": 2, "looks": 1, "batch_size": 4, "methods": ("adda",)}
    config = replace(TABLE.Config(picture="adda", batch_norm=True, on_target=False), **small)
    (_, first), (_, second) = TABLE.of_task(config, _data(1), _data(2))
    for part in ("params", "net_state"):
        before, after = getattr(first, part)["encoder"], getattr(second, part)["source"]
        jax.tree.map(np.testing.assert_array_equal, before, after)


def test_the_table_says_by_which_protocol_a_published_number_was_taken():
    """Two rows of one table that were not taken alike say so."""
    one = np.full(2, 0.5)
    lines = dict.fromkeys(("source_only", "cogan", "coral"), TABLE.Line(one, one, one, one, one))
    source, target = (replace(_data(k), name=name) for k, name in ((1, "sets/mnist.npz"), (2, "usps")))
    rows = TABLE.table(TABLE.Config(seeds=2), source, target, lines)
    assert rows[1].endswith("by its protocol")
    assert rows[2].endswith("75.2  sample, adapting") and rows[3].endswith("91.2  sample, best step")
    assert rows[4].endswith("-") and "50.00 ± 0.00" in rows[4]
    assert TABLE.name_of(replace(source, name="tfds:svhn_cropped")) == "svhn_cropped"


@pytest.mark.parametrize(
    ("method", "decays"),
    [("source_only", [2.5e-5]), ("adda", [2.5e-5, 0]), ("reversal", [0]), ("mcd", [0]), ("cogan", [5e-4])],
)
def test_weights_decay_where_the_authors_have_it(method, decays, monkeypatch):
    """Without a gradient a step of SGD takes this share of the rate off them: the first stage of ADDA, and CoGAN."""
    taken = []
    for play in ("simultaneous", "alternating"):
        real = getattr(adaptation, play)
        monkeypatch.setattr(adaptation, play, lambda own, real=real, **how: taken.append(own) or real(own, **how))
    config = replace(CONFIG, method=method, optimiser="sgd", learning_rate=0.5, source_rate=0.5)
    stages = adaptation.plan(config, _data(1), _data(2)).stages.values()
    by_players = {frozenset(own): own for own in taken}
    for setup, decay in zip(stages, decays, strict=True):
        for sgd in by_players[frozenset(setup.game.players)].values():
            moved, _ = sgd.update(np.zeros(()), sgd.init(np.ones(())), np.ones(()))
            np.testing.assert_allclose(moved, -0.5 * decay, rtol=1e-6)


@pytest.mark.fault("ADDA: both updates run in one call without an order, neither simultaneous nor in turns")
@pytest.mark.parametrize("method", ["adda", "adda_features"])
def test_critic_and_encoder_of_adda_move_at_once(method):
    dynamics = planned(method).stages["adapt"].dynamics
    assert dynamics.slices == 1 and not dynamics.one_at_a_time
