"""One contract over all update rules and games: a new rule or game is added to a table and tested by it."""

from functools import cache
from itertools import product

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from matrix import FULL, cases

from ganjax.core import Batch
from ganjax.dynamics import (
    against_average,
    alternating,
    competitive,
    consensus,
    corner,
    ema,
    extragradient,
    fictitious_play,
    gradient_norm,
    historical_averaging,
    history_of_opponents,
    lola,
    lookahead,
    opponent_lookahead,
    optimistic,
    past_extragradient,
    proximal_point,
    runge_kutta,
    simultaneous,
    symplectic,
    tail_average,
    unrolled,
)
from ganjax.games import (
    bilinear,
    classification,
    dirac_gan,
    four_scalars,
    gan,
    gradient_noise,
    linear_gan,
    linear_gaussian,
    matrix_game,
    normal_prior,
    quadratic,
)
from ganjax.games.autoencoding import autoencoder
from ganjax.games.dirac import DIRAC_PENALTIES
from ganjax.games.energy import contrastive_divergence
from ganjax.games.flow import flow
from ganjax.games.views import Judge, some_frames, views
from ganjax.losses import LOSSES
from ganjax.models.autoencoder import Autoencoder
from ganjax.models.binary import RBM
from ganjax.models.realnvp import RealNVP
from ganjax.spectral import spectral_norm
from ganjax.training import Averaged, digest, init_state, simulate, train_step


class Small(nn.Module):
    """One layer of any output size, so that the discriminator of a fake is nonlinear in both players' parameters."""

    out: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.out, use_bias=False)(nn.tanh(x))


class Net(nn.Module):
    """One layer after BatchNorm without scale and bias, the least with statistics; each rule compiles it, unbiased."""

    out: int
    bias: bool = True

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.BatchNorm(use_running_average=not train, use_scale=False, use_bias=False)(x)
        return nn.Dense(self.out, use_bias=self.bias)(x)


def _batch():
    return Batch(jnp.linspace(-1.0, 1.0, 24).reshape(12, 2), None, jnp.arange(12, dtype=jnp.int32))


def _stateful(generator, discriminator):
    spectral = {"discriminator": spectral_norm()}
    return gan(generator, discriminator, LOSSES["non_saturating"], prior=normal_prior(3), spectral=spectral)


GAMES = {
    "bilinear": lambda: (bilinear(), None),
    "dirac_gan": lambda: (dirac_gan(), None),
    "gan": lambda: (gan(Small(2), Small(1), LOSSES["non_saturating"], prior=normal_prior(2)), _batch()),
}
STATEFUL = "gan_with_statistics"  # BatchNorm, spectral normalisation: a player with each, for each rule, unadjusted
# Games whose contract is checked with the plainest rule alone.
MORE_GAMES = {
    STATEFUL: lambda: (_stateful(Net(2, bias=False), nn.Dense(1, use_bias=False)), _batch()),
    "gan_with_all_statistics": lambda: (_stateful(Net(2), Net(1)), _batch()),
    "views": lambda: (
        views(
            Net(2),
            {"whole": Judge(Net(1)), "part": Judge(Net(1), some_frames(1))},
            LOSSES["non_saturating"],
            prior=normal_prior(3),
            spectral=spectral_norm(),
        ),
        _batch(),
    ),
    "classification": lambda: (classification(Net(3)), _batch()._replace(y=jnp.arange(12) % 3)),
    "flow": lambda: (flow(RealNVP((2,), 2, (4,)), size=2), _batch()),
    "autoencoder": lambda: (autoencoder(Autoencoder((2,), 1)), _batch()),
    "contrastive_divergence": lambda: (contrastive_divergence(RBM(2, 3), steps=2, chains=4), _batch()),
    "bilinear_matrix": lambda: (bilinear(np.array([[1.0, 2.0], [0.0, 1.0], [1.0, -1.0]])), None),
    "bilinear_regularised": lambda: (bilinear(mu=0.1), None),
    "gradient_noise": lambda: (gradient_noise(bilinear(), 0.1), None),
    "dirac_non_saturating": lambda: (dirac_gan(non_saturating=True), None),
    "dirac_relativistic": lambda: (dirac_gan(relativistic=True), None),
    "dirac_instance_noise": lambda: (dirac_gan(instance_noise=0.7), None),
    **{
        f"dirac_wasserstein_{p}": lambda p=p: (dirac_gan("wasserstein", penalty=p), None)
        for p in (None, *DIRAC_PENALTIES)
    },
    "quadratic": lambda: (quadratic([0.1 + 1j, 0.5], rotation_seed=0), None),
    "matrix_game": lambda: (matrix_game(np.array([[0.0, 1.0], [-1.0, 0.5]])), None),
    "four_scalars": lambda: (four_scalars(penalty=0.5, identity=0.5, start=(0.8, 0.6, 0.1, 0.2)), None),
    "linear_gaussian": lambda: (linear_gaussian(np.eye(2), np.array([[2.0, 0.5], [0.5, 1.0]]), displacement=0.1), None),
    "linear_gan": lambda: (linear_gan(np.array([1.0, 0.0]), np.array([[2.0, 0.5], [0.5, 1.0]])), None),
}

RATE, KEY = 0.05, jax.random.key(3)


def _momentum(rate):
    """A tree and a count, of a step that knows the scale of its gradients: less to compile than Adam."""
    return optax.chain(optax.trace(0.9), optax.scale_by_schedule(lambda count: -rate))


BASE = {
    "simultaneous": simultaneous,
    "alternating": alternating,
    "alternating_two_turns": lambda opts, **kw: alternating(opts, turns={next(iter(opts)): 2}, **kw),
    "alternating_reversed": lambda opts, **kw: alternating(opts, order=tuple(opts)[::-1], **kw),
    "extragradient": extragradient,
    "extragradient_own_extrapolation": lambda opts, **kw: extragradient(
        opts, extrapolation=dict.fromkeys(opts, optax.sgd(RATE)), **kw
    ),
    "past_extragradient": past_extragradient,
    "optimistic": optimistic,
    **{
        f"runge_kutta_{order}": lambda opts, order=order, **kw: runge_kutta(opts, step=RATE, order=order, **kw)
        for order in (2, 4)
    },
    "proximal_point": lambda opts, **kw: proximal_point(RATE, iterations=3, **kw),
    "competitive": lambda opts, **kw: competitive(RATE, **kw),
    "competitive_conjugate_gradients": lambda opts, **kw: competitive(RATE, tolerance=1e-5, **kw),
}
# Rules that wrap another one: they are adjusted through it.
WRAPPED = {
    "lola": lambda base, players, axis: lola(base, step=RATE, axis_name=axis),
    "opponent_lookahead": lambda base, players, axis: opponent_lookahead(base, step=RATE, axis_name=axis),
    "unrolled": lambda base, players, axis: unrolled(base, player=players[-1], steps=2, step=RATE, axis_name=axis),
    "unrolled_stopped": lambda base, players, axis: unrolled(
        base, player=players[-1], steps=2, step=RATE, backpropagate=False, axis_name=axis
    ),
    "lookahead": lambda base, players, axis: lookahead(base, k=2, alpha=0.5),
    "history_of_opponents": lambda base, players, axis: history_of_opponents(base, size=2),
    "against_average": lambda base, players, axis: against_average(base),
}


def _wrapped(wrap):
    return lambda opts, axis_name=None, **kw: wrap(
        simultaneous(opts, axis_name=axis_name, **kw), tuple(opts), axis_name
    )


DYNAMICS = BASE | {name: _wrapped(wrap) for name, wrap in WRAPPED.items()}
DYNAMICS["fictitious_play"] = lambda opts, axis_name=None, **kw: fictitious_play(corner(1.0), axis_name=axis_name)
ADJUSTMENTS = {
    "none": None,
    "consensus": consensus(0.1),
    "symplectic": symplectic(1.0),
    "symplectic_aligned": symplectic(1.0, align=True),
    "gradient_norm": gradient_norm(0.1),
    "historical_averaging": historical_averaging(0.1),
    "two": (consensus(0.1), historical_averaging(0.1, ema(0.9))),
}


@cache
def _begun(game_name):
    """A game that begins as it did, its batch; what it begins with is computed once."""
    game, batch = (GAMES | MORE_GAMES)[game_name]()
    begun = _jit(game.init)(KEY, batch)
    return game._replace(init=lambda *_: begun), batch


def _make(game_name, dynamics_name, adjust="none", change=lambda game: game, averaged=False, axis=None):
    """The step of a changed game, its first state, the batch; averages are of what every rule leaves behind."""
    game, batch = _begun(game_name)
    optimizers = {p: _momentum(RATE) for p in game.players}
    dynamics = DYNAMICS[dynamics_name](optimizers, adjust=ADJUSTMENTS[adjust], axis_name=axis)
    first, last = game.players[0], game.players[-1]
    averages = {"ema": Averaged(last, ema(0.9)), "tail": Averaged(first, tail_average(1))} if averaged else {}
    changed = change(game)
    step = train_step(changed, dynamics, averages, axis_name=axis)
    return step, init_state(changed, dynamics, None, batch, averages), batch


@cache
def _alone(game_name, dynamics_name, adjust="none"):
    """What several tests compare with: the same of the game as it is, compiled, and how often it was traced."""
    step, state, batch = _make(game_name, dynamics_name, adjust, averaged=True)
    traces = []
    return _jit(lambda *args: traces.append(args) or step(*args)), state, batch, traces


def _twice(step, state, batch):
    return step(step(state, batch, KEY)[0], batch, KEY)[0]


# Every rule with every adjustment on a nonlinear game of two numbers, on the bilinear one with none and with two. On
# networks, which take long to compile, every adjustment with the plainest rules, and with statistics every rule.
PLAIN = ("simultaneous", "alternating")
# These never see an adjustment: it is the affair of the rule that they wrap, or of the rule that they are a form of.
ADJUSTED_BY_OTHERS = (
    *WRAPPED, "alternating_two_turns", "alternating_reversed", "extragradient_own_extrapolation", "runge_kutta_2",
)  # fmt: skip
UNADJUSTED = (*ADJUSTED_BY_OTHERS, "fictitious_play")
CASES = [
    (d, a, "dirac_gan")
    for d, a in product(DYNAMICS, ADJUSTMENTS)
    if FULL or a in ("none", "two") or d not in ADJUSTED_BY_OTHERS
]
CASES += [(d, a, "bilinear") for d, a in product(DYNAMICS, ("none", "two"))]
CASES += [(d, a, "gan") for d, a in product(PLAIN, ADJUSTMENTS)]
CASES += [(d, a, "gan") for d, a in product(DYNAMICS, ("none", "two")) if FULL and d not in PLAIN]
CASES = [(d, a, g) for d, a, g in CASES if a == "none" or d != "fictitious_play"]
CASES += [(d, "none", STATEFUL) for d in DYNAMICS]
CASES += [("simultaneous", "none", g) for g in MORE_GAMES if g != STATEFUL]


@pytest.mark.parametrize("dynamics_name, adjust, game_name", cases(CASES))
def test_contract(dynamics_name, adjust, game_name):
    jitted, state, batch, traces = _alone(game_name, dynamics_name, adjust)
    after, metrics = jitted(state, batch, KEY)
    second, _ = jitted(after, batch, KEY)

    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert not any(jax.tree.leaves(jax.tree.map(lambda leaf: leaf.weak_type, after)))
    assert (int(second.step), int(second.skipped)) == (2, 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((second, metrics)))
    assert all(value.shape == () for value in metrics.values())
    for player in state.params:
        assert f"{player}/cost" in metrics
        same = jax.tree.map(np.array_equal, state.params[player], second.params[player])
        assert not jax.tree.all(same), f"{player} did not move"

    assert digest(jitted(state, batch, KEY)[0]) == digest(after), "not deterministic"
    restored = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), after)
    assert digest(jitted(restored, batch, KEY)[0]) == digest(second), "not resumable"
    assert len(traces) == 1


# Rules whose step has a loop or a condition, which vmap takes apart; the others on networks by make test-all.
LOOPS = ("competitive_conjugate_gradients", "history_of_opponents", "lookahead", "unrolled")
POPULATIONS = [(d, "bilinear", "two") for d in DYNAMICS if FULL or d in (*PLAIN, *LOOPS)]
POPULATIONS += [(d, "gan", "none") for d in DYNAMICS if FULL or d in (*PLAIN, *LOOPS)]


@pytest.mark.parametrize("dynamics_name, game_name, adjust", POPULATIONS)
def test_population(dynamics_name, game_name, adjust):
    """vmap over keys trains a population whose members are what they are alone."""
    jitted, begun, _, _ = _alone(game_name, dynamics_name, adjust)
    step, state, batch = _make(game_name, dynamics_name, adjust)
    keys = jax.random.split(jax.random.key(7), 3)
    together, _ = _jit(jax.vmap(lambda key: step(state, batch, key)))(keys)
    alone, _ = jitted(begun, batch, keys[1])
    second = jax.tree.map(lambda leaf: np.asarray(leaf)[1], together.params)
    chex.assert_trees_all_close(second, alone.params, rtol=1e-4, atol=1e-5)


def _with_a_stake_in_the_opponents(game):
    """Each cost gets a term that depends on the others' parameters alone, so that the field is the same."""

    def cost(player):
        def staked(params, moment):
            value, outcome = game.costs[player](params, moment)
            others = jax.tree.leaves({p: params[p] for p in params if p != player})
            return value + sum(jnp.sin(3 * leaf).sum() for leaf in others), outcome

        return staked

    return game._replace(costs={player: cost(player) for player in game.players})


def _watched(game):
    """The game with an onlooker, whose parameter of 1 multiplies all costs and so changes none of their values."""

    def init(key, batch):
        params, net_state = game.init(key, batch)
        kept = {"kept": np.full(3, 0.1, np.float32)}
        return {**params, "onlooker": np.ones(1, np.float32)}, {**net_state, "onlooker": kept}

    def cost(name):
        def seen(params, moment):
            value, outcome = game.costs[name]({p: params[p] for p in game.players}, moment)
            return value * params["onlooker"][0], outcome

        return seen

    return game._replace(init=init, costs={name: cost(name) for name in game.costs})


# What is compared with is compiled by the contract: a rule that is adjusted is adjusted in the bilinear game.
WATCHED = [(d, a, g) for d, a, g in CASES if g == "dirac_gan" and a in ("none", "two")]
if not FULL:
    WATCHED = [(d, "none", "dirac_gan") if d in UNADJUSTED else (d, "two", "bilinear") for d in DYNAMICS]
WATCHED += [("simultaneous", a, "dirac_gan") for a in ADJUSTMENTS if not FULL or a not in ("none", "two")]


@pytest.mark.parametrize("dynamics_name, adjust, game_name", WATCHED)
def test_an_onlooker_changes_nothing_and_no_bit_of_it_moves(dynamics_name, adjust, game_name):
    step, seen, _ = _make(game_name, dynamics_name, adjust, _watched)
    found, expected = _twice(_jit(step), seen, None), _twice(*_alone(game_name, dynamics_name, adjust)[:3])
    chex.assert_trees_all_close({p: found.params[p] for p in expected.params}, expected.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(found.params["onlooker"], seen.params["onlooker"])
    chex.assert_trees_all_equal(found.net_state["onlooker"], seen.net_state["onlooker"])
    assert jax.tree.structure(found.dynamics_state) == jax.tree.structure(expected.dynamics_state)


def test_an_onlooker_takes_no_optimiser():
    game = _watched(GAMES["bilinear"]()[0])
    for players in ("a", "b", "onlooker"), ("a",):
        with pytest.raises(ValueError, match=r"those who have a cost are \['a', 'b'\]"):
            init_state(game, simultaneous(dict.fromkeys(players, optax.sgd(RATE))), jax.random.key(0), None)


STEERS = ("lola", "unrolled")
# The stakes are nonlinear, whatever the game; the bilinear one of two adjustments has been compiled by the contract.
STAKES = [(d, "none" if d == "fictitious_play" else "two", "bilinear") for d in DYNAMICS]
STAKES += [(d, "none", "gan") for d in DYNAMICS if FULL or d in PLAIN]
STAKES += [(d, a, "dirac_gan") for d, a in product(DYNAMICS if FULL else PLAIN, ADJUSTMENTS)]


@pytest.mark.parametrize("dynamics_name, adjust, game_name", [row for row in STAKES if row[0] not in STEERS])
def test_nobody_moves_by_what_another_pays(dynamics_name, game_name, adjust):
    """Gradients are of the own cost in the own parameters. LOLA and unrolling alone mean to steer the opponent."""
    step, state, batch = _make(game_name, dynamics_name, adjust, _with_a_stake_in_the_opponents)
    plain, staked = _twice(*_alone(game_name, dynamics_name, adjust)[:3]), _twice(_jit(step), state, batch)
    chex.assert_trees_all_close(plain.params, staked.params, rtol=1e-4, atol=1e-6)


# Rules that look at the field inside another look; the others' averages are those of `View`, and of make test-all.
INSIDE = ("lola", "unrolled", "competitive")
SHARED = [(d, "none") for d in DYNAMICS if FULL or d in (*PLAIN, *INSIDE)]
SHARED += [("simultaneous", a) for a in ADJUSTMENTS if a != "none"]


@pytest.mark.parametrize("dynamics_name, adjust", SHARED)
def test_devices_that_share_a_batch_take_the_step_of_one(dynamics_name, adjust):
    """Two devices, each with every other example; `vmap` with a named axis knows the collectives of `pmap`."""
    jitted, state, batch, _ = _alone("gan", dynamics_name, adjust)
    expected, _ = jitted(state, batch, KEY)
    step, begun, _ = _make("gan", dynamics_name, adjust, axis="data")
    dealt = jax.tree.map(lambda leaf: np.stack([leaf[0::2], leaf[1::2]]), jax.device_get(batch))
    both, _ = _jit(jax.vmap(step, in_axes=(None, 0, None), axis_name="data"))(begun, dealt, KEY)
    for device in (0, 1):
        mine = jax.tree.map(lambda leaf: np.asarray(leaf)[device], both.params)  # noqa: B023
        chex.assert_trees_all_close(mine, expected.params, rtol=1e-4, atol=1e-6)
    moved = jax.tree.map(lambda *both: np.abs(np.subtract(*both)).max(), expected.params, state.params)
    assert max(jax.tree.leaves(moved)) > 1e-3, "nothing moved, nothing was compared"


@pytest.mark.parametrize("dynamics_name", DYNAMICS)
def test_a_rule_knows_its_axis_and_whether_players_take_turns(dynamics_name):
    make, optimizers = DYNAMICS[dynamics_name], {p: optax.sgd(RATE) for p in "ab"}
    assert [make(optimizers, axis_name=axis).axis_name for axis in (None, "data")] == [None, "data"]
    assert make(optimizers).one_at_a_time == dynamics_name.startswith("alternating")


def test_a_wrapper_takes_turns_and_averages_as_what_it_wraps():
    turns = alternating({p: optax.sgd(RATE) for p in "ab"}, axis_name="data")
    for wrap in WRAPPED.values():
        wrapped = wrap(turns, ("a", "b"), None)
        assert (wrapped.axis_name, wrapped.one_at_a_time, wrapped.slices) == ("data", True, 2)
    at_once = alternating({p: optax.sgd(RATE) for p in "ab"}, order=[("a", "b")])
    assert not at_once.one_at_a_time


def test_who_anticipates_averages_as_the_dynamics_does():
    """Without an axis of its own `lola` takes that of the dynamics: each device would else see other opponents."""
    game, batch = _begun("gan")
    base = simultaneous({p: optax.sgd(RATE) for p in game.players}, axis_name="data")
    dealt = jax.tree.map(lambda leaf: np.stack([leaf[0::2], leaf[1::2]]), jax.device_get(batch))

    def moved(dynamics):
        step = jax.vmap(dynamics.step, in_axes=(None, None, 0, None), axis_name="data")
        start = init_state(game, dynamics, None, batch)
        return _jit(lambda state: step(game, state, dealt, KEY)[0].params)(start)

    told, silent = (moved(lola(base, step=1.0, axis_name=axis)) for axis in ("data", None))
    chex.assert_trees_all_equal(told, silent)


def test_lola_is_moved_by_what_it_pays_for_its_opponents():
    """The test above can fail."""
    game, _ = GAMES["bilinear"]()
    dynamics = lola(simultaneous({p: optax.sgd(RATE) for p in game.players}), step=RATE)
    plain, staked = (simulate(g, dynamics, 2)[0].params for g in (game, _with_a_stake_in_the_opponents(game)))
    assert abs(plain["a"] - staked["a"]) > 1e-3


def _jit(function):
    """Compiled quickly: these programs run once."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})
