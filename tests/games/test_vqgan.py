"""VQGAN: the adaptive weight and its invariances, distances of unit vectors, and who pays what from which step on."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.core import Batch, Moment
from ganjax.games.quantised import CODEBOOK, DECODER, ENCODER, NETWORK, nearest, quantisation
from ganjax.games.vqgan import CLASSIFIER, DISCRIMINATOR, adaptive_weight, perceptual_distance, vqgan
from ganjax.likelihoods import laplace

K, D, B = 5, 3, 6


@pytest.fixture(autouse=True)
def _double(float64):
    """Oracles need it."""


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_weight_makes_both_gradients_equally_long(scale):
    """`|lambda c g| = |g_rec| n / (n + epsilon)`, n = c |g|; the scale of the reconstruction passes through it."""
    rng = np.random.default_rng(0)
    rec, adv = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=4)}, {"a": rng.normal(size=(2, 3)), "b": np.ones(4)}
    length = lambda tree: np.sqrt(sum((leaf**2).sum() for leaf in tree.values()))  # noqa: E731
    scaled = {name: scale * leaf for name, leaf in adv.items()}
    got = adaptive_weight(rec, scaled, epsilon=1e-4)
    np.testing.assert_allclose(got * length(scaled), length(rec) * length(scaled) / (length(scaled) + 1e-4), rtol=1e-12)
    assert adaptive_weight({k: 7 * v for k, v in rec.items()}, scaled, epsilon=1e-4) == pytest.approx(7 * got)
    assert adaptive_weight({k: 0 * v for k, v in rec.items()}, scaled) == 0, "a stationary reconstruction: no game"


def test_the_weight_is_at_most_ten_thousand_and_has_no_slope():
    assert adaptive_weight(jnp.ones(4), jnp.zeros(4)) == 1e4
    slopes = jax.grad(lambda a, b: adaptive_weight(a, b), (0, 1))(jnp.arange(1.0, 3), jnp.ones(2))
    assert not np.any(slopes)


def test_distances_are_of_unit_vectors():
    """Orthogonal ones are 2 apart, opposite ones 4, a scale is nothing; layers are added, places averaged."""
    h = jnp.asarray([[[3.0, 0.0], [0.0, 2.0]]])  # two places of one example
    other = jnp.asarray([[[0.0, 5.0], [0.0, 0.1]]])
    np.testing.assert_allclose(perceptual_distance((h,), (other,)), [1.0], rtol=1e-6)
    np.testing.assert_allclose(perceptual_distance((h, h[:, 0]), (other, -h[:, 0])), [5.0], rtol=1e-6)
    np.testing.assert_allclose(perceptual_distance((h,), (9 * h,)), [0.0], atol=1e-12)
    slope = jax.grad(lambda h: perceptual_distance((h,), (other,)).sum())(jnp.zeros_like(h))
    assert np.isfinite(slope).all(), "where a layer says nothing"


class Vectors(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2 * D, use_bias=False)(x).reshape(x.shape[0], 2, D)


class Back(nn.Module):
    last = ("Dense_1", "kernel")

    @nn.compact
    def __call__(self, z):
        return nn.Dense(6)(nn.tanh(nn.Dense(4)(z.reshape(z.shape[0], -1))))


class Patches(nn.Module):
    """Two logits, linear in `out`."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, use_bias=False, name="out")(nn.tanh(nn.Dense(3)(x)))


class Seen(nn.Module):
    def __call__(self, x):
        return self.maps(x)[-1]

    @nn.compact
    def maps(self, x):
        h = nn.tanh(nn.Dense(4)(x))
        return h, nn.Dense(2)(h)


P, W, START = 0.3, 0.7, 4
OBSERVATION = laplace(1.0)


def _game(axis_name=None, **options):
    made = quantisation(Vectors(), Back(), OBSERVATION, codes=K, commitment=0.2, axis_name=axis_name)
    told = {"features": Seen(), "perceptual": P, "weight": W, "start": START, "axis_name": axis_name} | options
    return vqgan(made, Back(), OBSERVATION, Patches(), **told)


@lru_cache
def _begun():
    """Parameters, a moment, and values and slopes of all costs as one program of (params, moment)."""
    game = _game()
    batch = Batch(jnp.asarray(np.random.default_rng(2).normal(size=(B, 6))), None, jnp.arange(B))
    params, state = jax.tree.map(jnp.float64, jax.jit(game.init)(jax.random.key(0), batch))
    vectors = state[ENCODER][CODEBOOK]["vectors"] + 0.1  # off the encoder's own vectors, where it begins
    state = {**state, ENCODER: {CODEBOOK: {**state[ENCODER][CODEBOOK], "vectors": vectors}}}

    def all_costs(params, moment):
        both = lambda cost: jax.value_and_grad(cost, has_aux=True)(params, moment)  # noqa: E731
        return {player: both(cost) for player, cost in game.costs.items()}

    return params, Moment(state, batch, jax.random.key(1), jnp.int32(0)), jax.jit(all_costs)


def _same(got, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9), got, expected)


def _parts(params, moment):
    """Reconstruction, distance, commitment, fooling and judging, written out."""
    on = lambda net, player, x, **k: net.apply({"params": params[player]}, x, **k)  # noqa: E731
    x, vectors = moment.batch.x, moment.net_state[ENCODER][CODEBOOK]["vectors"]
    z = Vectors().apply({"params": params[ENCODER][NETWORK]}, x)
    e = vectors[nearest(vectors, z)]
    copy = on(Back(), DECODER, z + jax.lax.stop_gradient(e - z))
    unit = lambda h: h / jnp.linalg.norm(h, axis=-1, keepdims=True)  # noqa: E731
    maps = zip(*(on(Seen(), CLASSIFIER, one, method="maps") for one in (x, copy)), strict=True)
    real, fake = on(Patches(), DISCRIMINATOR, x), on(Patches(), DISCRIMINATOR, copy)
    return {
        "reconstruction": jnp.abs(x - copy).sum(1).mean() + 6 * np.log(2),
        "distance": 6 * sum(jnp.square(unit(h) - unit(g)).sum(-1).mean() for h, g in maps),
        "commitment": jnp.square(z - e).reshape(B, -1).sum(1).mean(),
        "fool": -fake.mean(),
        "judge": (jnp.maximum(0, 1 - real) + jnp.maximum(0, 1 + fake)).mean(),
    }


def test_slopes_by_hand_before_and_after_the_start():
    """lambda is a number: `|g_rec + P g_d| / (|g_fool| + 1e-6)` at the last kernel; the classifier looks on."""
    params, moment, costs = _begun()
    slopes = jax.device_get(jax.jit(jax.jacrev(_parts))(params, moment))
    last = {name: slopes[name][DECODER]["Dense_1"]["kernel"] for name in slopes}
    rec = np.linalg.norm(last["reconstruction"] + P * last["distance"])
    weight = rec / (np.linalg.norm(last["fool"]) + 1e-6)
    assert 0.01 < weight < 1e3
    for step, played in ((START - 1, 0.0), (START, 1.0)):
        found = costs(params, moment._replace(step=jnp.int32(step)))
        paid = {"reconstruction": 1, "distance": P, "fool": W * weight * played}
        wanted = {ENCODER: paid | {"commitment": 0.2}, DECODER: paid, DISCRIMINATOR: {"judge": played}}
        assert set(found) == set(wanted)
        for player, own in wanted.items():
            expected = jax.tree.map(
                lambda *leaves, own=own: sum(w * leaf for w, leaf in zip(own.values(), leaves, strict=True)),
                *(slopes[name][player] for name in own),
            )
            _same(found[player][1][player], expected)
        np.testing.assert_allclose(found[DECODER][0][1].metrics["adaptive"], weight, rtol=1e-6)


def test_the_scale_of_the_discriminator_does_not_matter_to_the_decoder():
    """Its last layer a hundred times as large: the same slopes, but for epsilon."""
    params, moment, costs = _begun()
    moment = moment._replace(step=jnp.int32(START))
    judge = params[DISCRIMINATOR]
    loud = {**params, DISCRIMINATOR: {**judge, "out": jax.tree.map(lambda leaf: 100 * np.asarray(leaf), judge["out"])}}
    (one, _), (other, _) = (costs(p, moment)[DECODER] for p in (params, loud))
    a, b = (costs(p, moment)[DECODER][1][DECODER] for p in (params, loud))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), a, b)
    np.testing.assert_allclose(one[1].metrics["adaptive"], 100 * other[1].metrics["adaptive"], rtol=1e-4)
    np.testing.assert_allclose(one[0], other[0], rtol=1e-4)


def test_two_halves_of_a_batch_have_one_weight():
    params, moment, costs = _begun()
    state = moment.net_state
    whole = costs(params, moment)[DECODER][0][1].metrics["adaptive"]
    shared = _game("data").costs[DECODER]
    dealt = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(B // 2, 2, *leaf.shape[1:]), moment.batch)

    def half(batch):
        return shared(params, Moment(state, batch, moment.key))[1].metrics["adaptive"]

    np.testing.assert_allclose(jax.jit(jax.vmap(half, 1, 0, axis_name="data"))(dealt), [whole, whole], rtol=1e-9)


def test_without_game_and_features_it_is_the_quantised_autoencoder():
    made = quantisation(Vectors(), Back(), OBSERVATION, codes=K)
    game = vqgan(made, Back(), OBSERVATION, None, features=None, perceptual=0.0, weight=0.0)
    params, moment, _ = _begun()
    assert list(game.costs) == [ENCODER, DECODER]
    assert set(jax.eval_shape(game.init, jax.random.key(0), moment.batch)[0]) == {ENCODER, DECODER}
    assert set(jax.eval_shape(game.costs[DECODER], params, moment)[1].metrics) == {"reconstruction"}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected features exactly where perceptual is not 0"):
        _game(features=None)
    with pytest.raises(ValueError, match="weight is -1, expected at least 0"):
        _game(weight=-1)

    class Other(Back):
        last = ("Dense_7", "kernel")

    game = vqgan(
        quantisation(Vectors(), Other(), OBSERVATION, codes=K), Other(), OBSERVATION, Patches(), features=Seen()
    )
    with pytest.raises(ValueError, match=r"no parameter Dense_7.kernel, expected one of \['Dense_0.bias'"):
        jax.eval_shape(game.init, jax.random.key(0), _begun()[1].batch)
