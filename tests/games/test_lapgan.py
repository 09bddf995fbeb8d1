"""Games of levels: what each is given, who looks on, and chains through all of them."""

from functools import lru_cache, partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.nn import softplus

from ganjax.core import Batch, Moment, Owned, noise
from ganjax.dynamics import alternating
from ganjax.games import gan, normal_prior
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.lapgan import Level, above, chain, halving, level_keys, noise_map, owner, samplers, told
from ganjax.layers.normalisation import BatchNorm
from ganjax.layers.pyramid import KERNELS
from ganjax.losses import LOSSES
from ganjax.models import mlp
from ganjax.models.lapgan import OfClasses, Refiner
from ganjax.training import init_state, train_step

BOX, B = KERNELS["box"], 5
X = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (B, 8, 8, 1)), jnp.float32)


class Smallest(nn.Module):
    """2x2 pixels, with statistics that training moves."""

    @nn.compact
    def __call__(self, z, *, train):
        return nn.Dense(4)(BatchNorm(use_running_average=not train)(z)).reshape(len(z), 2, 2, 1)


class Pair(nn.Module):
    """A logit of both images, or of one of them."""

    seen: str = "both"

    @nn.compact
    def __call__(self, x, small):
        parts = {"both": [x, small], "small": [small]}[self.seen]
        h = jnp.concatenate([part.reshape(len(x), -1) for part in parts], -1)
        return nn.Dense(1)(nn.tanh(nn.Dense(3)(h)))[:, 0]


LEVELS = [
    Level(Smallest(), normal_prior(3)),
    Level(Refiner(2, 3), noise_map(4, 4)),
    Level(Refiner(2, 3), noise_map(8, 8)),
]


def _game(seen="both"):
    return gan(LEVELS[-1].generator, Pair(seen), LOSSES["non_saturating"], prior=LEVELS[-1].prior)


@lru_cache
def _begun():
    """A batch of the largest level, the game above the others, and its first state."""
    one = jax.jit(jax.vmap(lambda x, i: halving(BOX.down)(jax.random.key(0), Batch(x, None, i))))(X, jnp.arange(B))
    game = above(_game(), LEVELS)
    dynamics = alternating(dict.fromkeys((DISCRIMINATOR, GENERATOR), optax.sgd(0.1)), fresh=False)
    return one, game, dynamics, jax.jit(lambda key: init_state(game, dynamics, key, one))(jax.random.key(1))


def test_a_stream_brings_the_small_image():
    batch, *_ = _begun()
    np.testing.assert_array_equal(batch.x, X)
    np.testing.assert_allclose(batch.y, X.reshape(B, 4, 2, 4, 2, 1).mean((2, 4)), atol=1e-6)


@pytest.mark.fault("eyescream: in the last batch of an epoch, of another size, some fakes are labelled real")
def test_both_networks_are_given_the_same_small_images():
    """By hand, of a batch of five: D of (x, d(x)) and of (G(z, d(x)), d(x)), as many of each."""
    batch, game, _, state = _begun()
    key = jax.random.key(4)

    @jax.jit
    def paid(params, batch):
        moment = Moment(state.net_state, batch, key)
        return [game.costs[name](params, moment)[0] for name in (DISCRIMINATOR, GENERATOR)]

    @jax.jit
    def said(params):
        z = noise(LEVELS[-1].prior, key, batch.position)
        fake = LEVELS[-1].generator.apply({"params": params[GENERATOR]}, z, batch.y)
        return [softplus(sign * Pair().apply({"params": params[DISCRIMINATOR]}, x, batch.y))
                for sign, x in ((-1, X), (1, fake), (-1, fake))]  # fmt: skip

    assert list(game.costs) == [DISCRIMINATOR, GENERATOR]
    costs, (real, fake, fooled) = paid(state.params, batch), map(np.asarray, said(state.params))
    np.testing.assert_allclose(costs[0], (real + fake).mean(), rtol=1e-5)
    np.testing.assert_allclose(costs[1], fooled.mean(), rtol=1e-5)
    mixed = paid(state.params, batch._replace(y=np.asarray(batch.y)[::-1]))[0]
    assert abs(mixed - costs[0]) > 1e-6, "it hears of it where small images are mixed up"


@pytest.mark.fault("StackGAN-Pytorch: the discriminator's condition is made by the generator's own network")
def test_the_small_image_is_data_and_levels_below_are_nobodys():
    """D of the small image alone pays the same whatever is drawn; no cost has a slope in what looks on."""
    batch, *_ = _begun()
    game = above(_game("small"), LEVELS)
    params, net_state = jax.jit(game.init)(jax.random.key(1), batch)
    cost = lambda p: game.costs[DISCRIMINATOR](p, Moment(net_state, batch, jax.random.key(0)))[0]  # noqa: E731
    slope = jax.jit(jax.grad(cost))(params)
    most = {p: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(own)) for p, own in slope.items()}
    assert most.pop(DISCRIMINATOR) > 0 and most == dict.fromkeys((GENERATOR, "generator_0", "generator_1"), 0)


@pytest.mark.fault("StackGAN-Pytorch: the frozen first stage stays in training mode, and its statistics move on")
def test_no_bit_of_an_onlooker_moves():
    batch, game, dynamics, state = _begun()
    step, after = jax.jit(train_step(game, dynamics)), state
    for _ in range(3):
        after, _ = step(after, batch, jax.random.key(2))
    assert list(state.params) == [DISCRIMINATOR, GENERATOR, "generator_0", "generator_1"]
    for player in state.params:
        same = jax.tree.map(np.array_equal, (state.weights[player]), after.weights[player])
        assert jax.tree.all(same) == (player not in (DISCRIMINATOR, GENERATOR))
    assert state.net_state["generator_0"]["batch_stats"]


def test_a_level_plays_the_same_game_whoever_looks_on():
    batch, game, _, state = _begun()
    key, alone = jax.random.key(3), _game()
    moment = Moment(state.net_state, batch, key)
    for name in alone.costs:
        one, other = (jax.jit(lambda p, c=g.costs[name]: c(p, moment)[0]) for g in (alone, game))
        assert one({player: state.params[player] for player in alone.players}) == other(state.params)


def _chained(keys, index, small=None):
    weights = _begun()[3].weights  # made before anything is traced
    return jax.jit(lambda *told: chain(LEVELS, weights, *told))(keys, index, small)


def test_a_chain_gives_each_level_what_the_one_below_drew():
    """Means of blocks give the lower levels back; other noise at one level leaves what lies below it."""
    index, keys = jnp.arange(4), level_keys(jax.random.key(5), 3)
    found = _chained(keys, index)
    assert [x.shape for x in found] == [(4, 2, 2, 1), (4, 4, 4, 1), (4, 8, 8, 1)]
    for small, large in pairwise(found):
        np.testing.assert_allclose(BOX.down(large), small, atol=1e-5)
    other = level_keys(jax.random.key(6), 3)
    for k in range(3):
        changed = _chained([*keys[:k], other[k], *keys[k + 1 :]], index)
        moved = [float(jnp.abs(a - b).max()) for a, b in zip(found, changed, strict=True)]
        assert all((moved[j] > 1e-4) == (j >= k) for j in range(3)), moved
    same = _chained([keys[0]] * 3, index)
    assert float(jnp.abs(same[1] - found[1]).max()) > 1e-4, "levels do not share their noise"
    few = _chained(keys, index[2:])
    np.testing.assert_allclose(few[-1], found[-1][2:], atol=1e-6)  # and no sample depends on the others


def test_chains_begin_at_noise_or_at_true_small_images():
    weights, index, key = _begun()[3].weights, jnp.arange(B), jax.random.key(7)
    found = samplers(LEVELS, BOX, 8)
    assert {name: (one.players, one.given) for name, one in found.items()} == {
        "chain": (("generator_0", "generator_1", "generator"), None),
        "from_2": (("generator_1", "generator"), ("data", "x")),
        "from_4": (("generator",), ("data", "x")),
    }
    keys = level_keys(key, 3)
    np.testing.assert_allclose(found["chain"](weights, key, index), _chained(keys, index)[-1], atol=1e-5)
    small = BOX.down(X)
    np.testing.assert_allclose(BOX.down(found["from_4"](weights, key, index, X)), small, atol=1e-5)
    smallest = BOX.down(BOX.down(found["from_2"](weights, key, index, X)))
    np.testing.assert_allclose(smallest, BOX.down(small), atol=1e-5)
    np.testing.assert_allclose(
        found["from_2"](weights, key, index, X), _chained(keys[1:], index, BOX.down(small))[-1], atol=1e-5
    )
    assert [owner(k, 2) for k in range(3)] == ["generator_0", "generator_1", GENERATOR]


# -- levels that are told classes -------------------------------------------------------------------------------------

OF_CLASSES = [
    Level(mlp.Generator((2, 2, 1), (4,), num_classes=3), normal_prior(3)),
    *(Level(OfClasses(partial(Refiner, 2, 3), 3), noise_map(side, side)) for side in (4, 8)),
]
Y = jnp.array([0, 1, 2, 1, 0])


@lru_cache
def _told():
    """A batch with classes and the first state of the game of the largest level, of D of classes alone."""

    class Class(nn.Module):
        @nn.compact
        def __call__(self, x, given):
            return nn.Embed(3, 1)(given["class"])[:, 0]

    prepare = halving(BOX.down)
    one = jax.vmap(lambda x, y, i: prepare(jax.random.key(0), Batch(x, y, i)))(X, Y, jnp.arange(B))
    last = OF_CLASSES[-1]
    game = above(gan(last.generator, Class(), LOSSES["non_saturating"], prior=last.prior), OF_CLASSES)
    return one, game, jax.jit(game.init)(jax.random.key(1), one)


def test_classes_stand_beside_small_images():
    batch, game, (params, net_state) = _told()
    np.testing.assert_array_equal(batch.y["class"], Y)
    np.testing.assert_array_equal(batch.y["small"], BOX.down(X))
    table = np.float64(params[DISCRIMINATOR]["Embed_0"]["embedding"][:, 0])[Y]
    cost = jax.jit(game.costs[DISCRIMINATOR])(params, Moment(net_state, batch, jax.random.key(0)))[0]
    np.testing.assert_allclose(cost, (np.logaddexp(0, -table) + np.logaddexp(0, table)).mean(), rtol=1e-5)
    assert [told(small, label) is None for small, label in ((None, None), (X, None), (None, Y))] == [True, False, False]


def test_every_level_of_a_chain_is_told_the_class_of_its_image():
    _, _, (params, net_state) = _told()
    weights = {player: Owned(params[player], net_state[player]) for player in params}
    (draws,) = samplers(OF_CLASSES, BOX, 8, conditional=True).values()
    assert draws.given == ("data", "class") and draws.players == ("generator_0", "generator_1", "generator")
    draw = jax.jit(lambda weights, y: draws(weights, jax.random.key(2), jnp.arange(B), y))
    x = draw(weights, Y)
    assert np.flatnonzero(np.abs(draw(weights, Y.at[1].set(2)) - x).max((1, 2, 3))).tolist() == [1]
    for player in draws.players:
        own = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf[::-1] if "embedding" in str(path) else leaf, weights[player]
        )
        assert np.abs(draw({**weights, player: own}, Y) - x).max() > 1e-6, f"{player} hears it"


def test_true_residuals_upon_true_images_are_the_data():
    """A generator that knows them: what is drawn from true small images is then as good as data."""

    class Oracle(nn.Module):
        size: int

        @nn.compact
        def __call__(self, z, small):
            self.param("nothing", nn.initializers.zeros, ())
            x = X if self.size == 8 else BOX.down(X)
            return BOX.up(small) + (x - BOX.up(BOX.down(x)))

    known = [LEVELS[0], Level(Oracle(4), noise_map(4, 4)), Level(Oracle(8), noise_map(8, 8))]
    weights = {owner(k, 2): Owned({"nothing": jnp.zeros(())}, {}) for k in (1, 2)}
    x = samplers(known, BOX, 8)["from_2"](weights, jax.random.key(0), jnp.arange(B), X)
    np.testing.assert_allclose(x, X, atol=1e-6)
