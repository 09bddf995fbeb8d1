"""Every name and every number of the API is checked where it enters."""

import math
from dataclasses import fields
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax import augment, penalties
from ganjax.augment import ada, ada_augment, diff_augment, scheduled
from ganjax.checks import check_range
from ganjax.data import Dataset
from ganjax.dynamics import (
    against_average,
    alternating,
    clipped,
    competitive,
    consensus,
    corner,
    extragradient,
    fictitious_play,
    gradient_norm,
    historical_averaging,
    history_of_opponents,
    lola,
    lookahead,
    opponent_lookahead,
    proximal_point,
    runge_kutta,
    simultaneous,
    symplectic,
    tail_average,
    unrolled,
)
from ganjax.errors import ConfigError
from ganjax.games import (
    Sight,
    Term,
    bilinear,
    code_prior,
    dirac_gan,
    gan,
    gradient_noise,
    normal_prior,
    uniform_prior,
)
from ganjax.losses import LOSSES, auxiliary_classifier, feature_matching, information, named
from ganjax.spectral import spectral_norm
from ganjax.training import Schedule, Setup, Stream, simulate, train

SGD = {p: optax.sgd(0.1) for p in "ab"}
PLAY = simultaneous(SGD)
GAN = partial(gan, nn.Dense(2), nn.Dense(1), LOSSES["hinge"], prior=normal_prior(2))
X = np.ones((4, 4, 1), np.float32)


def _with(player, name, term):
    return GAN(terms={player: {name: term}})


RANGES = {
    "lookahead: alpha is -3, expected more than 0, at most 1": lambda: lookahead(PLAY, k=5, alpha=-3),
    "lookahead: k is 2.5, expected a whole number": lambda: lookahead(PLAY, k=2.5, alpha=0.5),
    "consensus: gamma is -1": lambda: consensus(-1),
    "gradient_norm: gamma is nan": lambda: gradient_norm(math.nan),
    "symplectic: lam is inf": lambda: symplectic(math.inf),
    "historical_averaging: mu is -1": lambda: historical_averaging(-1),
    "tail_average: start is -1": lambda: tail_average(-1),
    "clipped: c is 0, expected more than 0": lambda: clipped(optax.sgd(0.1), 0),
    "corner: radius is -1": lambda: corner(-1),
    "dynamics: step is -0.1, expected at least 0": lambda: proximal_point(-0.1),
    "dynamics: step is nan": lambda: runge_kutta(SGD, step={"a": 0.1, "b": math.nan}),
    "runge_kutta: order is 5, expected one of": lambda: runge_kutta(SGD, step=0.1, order=5),
    "proximal_point: iterations is 0": lambda: proximal_point(0.1, iterations=0),
    "competitive: tolerance is 0.0": lambda: competitive(0.1, tolerance=0.0),
    "lola: step is -1": lambda: lola(PLAY, step=-1),
    "unrolled: steps is 0": lambda: unrolled(PLAY, player="a", steps=0, step=0.1),
    "history_of_opponents: every is 0": lambda: history_of_opponents(PLAY, size=1, every=0),
    "alternating: turns of a is 0": lambda: alternating(SGD, turns={"a": 0}),
    "gradient_penalty: target is -1": lambda: penalties.gradient_penalty(target=-1),
    "dragan: std is -1": lambda: penalties.dragan(std=-1),
    "flip_and_shift: pixels is -1": lambda: penalties.flip_and_shift(jax.random.key(0), X, pixels=-1),
    "spectral_norm: steps is 0": lambda: spectral_norm(0),
    "spectral_norm: epsilon is -1": lambda: spectral_norm(epsilon=-1),
    "ada: target is 2": lambda: ada(target=2),
    "ada: interval is 0": lambda: ada(interval=0),
    "scheduled: cut is -1": lambda: scheduled(lambda seen: 0.5, cut=-1),
    "diff_augment: p is 2": lambda: diff_augment(jax.random.key(0), X, 2),
    "ada_augment: p is -1": lambda: ada_augment(jax.random.key(0), X, -1),
    "Sight: packing is 0": lambda: Sight(packing=0),
    "Sight: instance_noise is -1": lambda: Sight(instance_noise=-1),
    "Sight: output_noise is -1": lambda: Sight(output_noise=-1),
    "Sight: fakes_kept is -1": lambda: Sight(fakes_kept=-1),
    "gan: accumulate is 0": lambda: GAN(accumulate=0),
    "gan: the weight of discriminator/r1 is -10": lambda: _with("discriminator", "r1", Term(penalties.r1(), -10)),
    "gan: every of discriminator/gp is 1.5": lambda: _with(
        "discriminator", "gp", Term(penalties.gradient_penalty(), every=1.5)
    ),
    "gan: the weight of generator/orthogonal is -1": lambda: _with(
        "generator", "orthogonal", Term(penalties.orthogonal("generator"), -1)
    ),
    "gan: terms of generator are named ['fake_logit']": lambda: _with("generator", "fake_logit", Term(jnp.sum)),
    "gradient_noise: std is -1": lambda: gradient_noise(bilinear(), -1),
    "bilinear: mu is nan": lambda: bilinear(mu=math.nan),
    "dirac_gan: gamma is -1": lambda: dirac_gan(gamma=-1),
    "dirac_gan: instance_noise is -1": lambda: dirac_gan(instance_noise=-1),
    "normal_prior: size is 0": lambda: normal_prior(0),
    "uniform_prior: size is -1": lambda: uniform_prior(-1),
    "code_prior: categories is -1": lambda: code_prior(-1, 0, 2),
    "information: continuous is -1": lambda: information(3, -1),
    "auxiliary_classifier: the number of sides is 0": lambda: auxiliary_classifier(),
    "auxiliary_classifier: the side is 'fakes', expected one of": lambda: auxiliary_classifier("real", "fakes"),
    "gan: the weight of discriminator/class is -1": lambda: _with(
        "discriminator", "class", Term(auxiliary_classifier("real", "fake"), -1)
    ),
    "gan: the weight of generator/features is -1": lambda: _with("generator", "features", Term(feature_matching(), -1)),
    "simulate: steps is -1": lambda: simulate(bilinear(), PLAY, -1),
}


@pytest.mark.parametrize("sentence", RANGES)
def test_a_number_out_of_its_range(sentence):
    with pytest.raises((ValueError, TypeError)) as error:
        RANGES[sentence]()
    assert str(error.value).startswith(sentence), error.value


NAMES = {
    "dirac_gan: f is 'gna', .*did you mean \"gan\"": lambda: dirac_gan("gna"),
    "dirac_gan: penalty is 'drgan', .*did you mean \"dragan\"": lambda: dirac_gan(penalty="drgan"),
    "losses.named: name is 'hinje', .*did you mean \"hinge\"": lambda: named("hinje"),
    "gan, terms: the player 'genrator' .*did you mean \"generator\"": lambda: _with("genrator", "r1", Term(jnp.sum)),
    "gan, spectral: the player 'genrator' .*did you mean": lambda: GAN(spectral={"genrator": spectral_norm()}),
}
# Of players, who are known where the state begins.
PLAYERS = {
    "against_average: the player 'zz'": lambda: against_average(PLAY, players=["zz"]),
    "history_of_opponents: the player 'zz'": lambda: history_of_opponents(PLAY, size=1, players=["zz"]),
    "history_of_opponents: players is 'a', expected several": lambda: history_of_opponents(PLAY, size=1, players="a"),
    "gradient_norm: the player 'zz'": lambda: simultaneous(SGD, adjust=gradient_norm(0.1, players=["zz"])),
    "unrolled: the player 'zz'": lambda: unrolled(PLAY, player="zz", steps=1, step=0.1),
    "unrolled: the step .* lacks ['b']": lambda: unrolled(PLAY, player="a", steps=1, step={"a": 0.1}),
    "lola: the step .* lacks ['b']": lambda: lola(PLAY, step={"a": 0.1}),
    "opponent_lookahead: the player 'zz'": lambda: opponent_lookahead(PLAY, step={"a": 0.1, "b": 0.1, "zz": 0.1}),
    "dynamics: the step .* lacks ['b']": lambda: proximal_point({"a": 0.1}),
    "dynamics: the player 'zz'": lambda: competitive({"a": 0.1, "b": 0.1, "zz": 0.1}),
    "extragradient: the extrapolation .* lacks ['b']": lambda: extragradient(SGD, extrapolation={"a": SGD["a"]}),
    "fictitious_play: the best response .* lacks ['b']": lambda: fictitious_play({"a": corner()}),
}


@pytest.mark.parametrize("sentence", NAMES)
def test_an_unknown_name(sentence):
    with pytest.raises(ValueError, match=sentence):
        NAMES[sentence]()


@pytest.mark.parametrize("sentence", PLAYERS)
def test_a_player_that_there_is_not(sentence):
    expected = sentence.replace("[", r"\[").replace("]", r"\]")
    with pytest.raises((ValueError, TypeError), match=expected):
        PLAYERS[sentence]().init({"a": jnp.ones(()), "b": jnp.ones(())})


def test_a_player_unknown_to_the_order():
    both = {"generator": SGD["a"], "discriminator": SGD["b"]}
    with pytest.raises(ValueError, match=r"alternating: the player 'genrator' .*did you mean \"generator\""):
        alternating(both, turns={"genrator": 2})
    with pytest.raises(
        ValueError, match=r"alternating: a cost of the order .* 'genrator', .*did you mean \"generator\""
    ):
        simulate(dirac_gan(), alternating(both, order=["genrator", "discriminator"]), 1)


@pytest.mark.parametrize("name", [field.name for field in fields(Schedule) if field.name != "judge_every"])
def test_a_schedule_is_checked_before_anything_is_written(name, tmp_path):
    setup = Setup(bilinear(), PLAY, {"data": Stream(Dataset(np.eye(4, dtype=np.float32)), 2)})
    with pytest.raises(ValueError, match=f"Schedule: {name} is -1, expected at least"):
        train(setup, tmp_path / "run", seed=0, schedule=Schedule(**{"steps": 4, name: -1}), progress=False)
    for size, sentence in ((0, "no stream of .'data'. has a batch size"), (-1, "batch_size of data is -1, expected")):
        with pytest.raises((ValueError, ConfigError), match=sentence):
            streams = {"data": setup.streams["data"]._replace(batch_size=size)}
            train(setup._replace(streams=streams), tmp_path / "run", seed=0, schedule=Schedule(4), progress=False)
    assert not (tmp_path / "run").exists()


def test_what_is_not_known_yet_passes():
    """Populations are over traced numbers; a schedule is a function."""
    jax.vmap(lambda x: consensus(x) and lookahead(PLAY, k=1, alpha=x) and x)(jnp.array([-1.0, 2.0]))
    check_range("here", 0, a=None, b=lambda turns: -1, c=jnp.zeros(3), d=np.float32(1), e=jnp.bfloat16(1))
    with pytest.raises(ValueError, match=r"here: c is \[ 1. -1.\], expected at least 0"):
        check_range("here", 0, c=jnp.array([1.0, -1.0]))
    with pytest.raises(TypeError, match="here: c is '1', expected a number"):
        check_range("here", 0, c="1")
    assert augment.AUGMENTATIONS["ada"].init().p == 0
