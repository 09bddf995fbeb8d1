"""The discriminator of K + 1 classes: its two questions, their gradients, and who pays what."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.nn import sigmoid, softmax, softplus

from ganjax.core import Batch, Moment
from ganjax.data import Dataset
from ganjax.data.scarce import with_labels
from ganjax.dynamics import View
from ganjax.errors import DataError
from ganjax.games import semi_supervised as games
from ganjax.games.priors import normal_prior
from ganjax.layers.dropout import GaussianNoise
from ganjax.layers.weight_norm import WeightNormDense
from ganjax.models.semi_supervised import Discriminator, Generator, k_plus_one

K, B = 3, 6
L = jnp.asarray(np.random.default_rng(0).normal(size=(B, K)), jnp.float32)


def test_d_is_a_softmax_over_one_class_more():
    """Whose logit is 0; and what one constant on all logits does to each of its two questions."""
    said = k_plus_one(L, L)
    whole = softmax(jnp.concatenate([L, jnp.zeros((B, 1))], 1))
    np.testing.assert_allclose(sigmoid(said.logits), 1 - whole[:, -1], atol=1e-6)
    moved = k_plus_one(L + 1.7, L)
    np.testing.assert_allclose(softmax(moved.heads["class"]), softmax(L), atol=1e-6)
    np.testing.assert_allclose(sigmoid(moved.logits), sigmoid(said.logits + 1.7), atol=1e-6)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        h = nn.tanh(nn.Dense(4)(x))
        return k_plus_one(nn.Dense(K)(h), h)


def _begun(**options):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(2, B, 2)), jnp.float32)
    batch = {"unlabelled": Batch(x[0], None, jnp.arange(B)), "labelled": Batch(x[1], jnp.arange(B) % K, jnp.arange(B))}
    game = games.semi_supervised(nn.Dense(2), Net(), prior=normal_prior(3), **options)
    params, net_state = jax.jit(game.init)(jax.random.key(0), batch)
    return game, params, Moment(net_state, batch, jax.random.key(1), jnp.int32(0))


@pytest.mark.parametrize("absolute", [False, True])
def test_each_player_pays_its_own_terms(absolute):
    """Of features the authors match the squared distance for MNIST, and the mean absolute one for CIFAR-10."""
    game, params, moment = _begun(absolute=absolute)
    assert game.players == ("discriminator", "generator")
    z = jax.vmap(lambda i: normal_prior(3)(jax.random.fold_in(moment.key, i)))(jnp.arange(B))

    def by_hand(params):
        d = lambda x: Net().apply({"params": params["discriminator"]}, x, train=True)  # noqa: E731
        labelled, real = (d(moment.batch[name].x) for name in ("labelled", "unlabelled"))
        fake = d(nn.Dense(2).apply({"params": params["generator"]}, z))
        y = moment.batch["labelled"].y
        entropy = optax.softmax_cross_entropy_with_integer_labels(labelled.heads["class"], y).mean()
        adversarial = (softplus(-real.logits).mean() + softplus(fake.logits).mean()) / 2
        gap = real.features.mean(0) - fake.features.mean(0)
        return entropy + adversarial, jnp.abs(gap).mean() if absolute else jnp.square(gap).sum()

    field = jax.jit(lambda p: View(game, moment).field(p, None))(params)
    for i, player in enumerate(game.players):
        expected = jax.jit(jax.grad(lambda own, i=i, p=player: by_hand({**params, p: own})[i]))(params[player])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), field.gradients[player], expected)
    assert {"discriminator/class", "discriminator/unlabelled", "generator/matching"} < set(field.metrics)


def test_the_gradients_of_the_second_question():
    """softmax(l) (D - 1) / 2 of real examples and softmax(l) D / 2 of generated ones: along the class that is read."""
    d = sigmoid(k_plus_one(L, L).logits)[:, None]
    real = jax.grad(lambda l: softplus(-k_plus_one(l, l).logits).sum() / 2)(L)
    fake = jax.grad(lambda l: softplus(k_plus_one(l, l).logits).sum() / 2)(L)
    np.testing.assert_allclose(real, softmax(L) * (d - 1) / 2, atol=1e-6)
    np.testing.assert_allclose(fake, softmax(L) * d / 2, atol=1e-6)


def test_labels_alone_are_a_game_of_one_player():
    _, _, moment = _begun()
    game = games.semi_supervised(None, Net(), prior=normal_prior(3))
    assert game.players == ("discriminator",)
    params, _ = jax.jit(game.init)(jax.random.key(0), moment.batch)
    found = jax.eval_shape(lambda p: View(game, moment).field(p, None), params)
    assert set(found.metrics) == {"discriminator/class", "discriminator/cost"}


def test_what_does_not_fit_is_refused():
    _, _, moment = _begun()
    for generator, discriminator, said in [
        (nn.Dense(3), Net(), r"the generator makes \(3,\), expected \(2,\)"),
        (nn.Dense(2), nn.Dense(K), 'no head "class"'),
    ]:
        game = games.semi_supervised(generator, discriminator, prior=normal_prior(3))
        with pytest.raises(ValueError, match=said):
            jax.eval_shape(game.init, jax.random.key(0), moment.batch)


def test_outputs_begin_with_mean_0_and_deviation_1_whatever_the_data():
    x = jnp.asarray(np.random.default_rng(2).normal(3.0, 0.01, (50, 8)), jnp.float32)
    y, made = jax.jit(WeightNormDense(5).init_with_output)(jax.random.key(0), x)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-2)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-2)
    alone = jax.jit(WeightNormDense(5).init)(jax.random.key(0), x[:1])["params"]
    np.testing.assert_array_equal(alone["scale"], 1)
    longer = {**made["params"], "direction": 7 * made["params"]["direction"]}
    np.testing.assert_allclose(WeightNormDense(5).apply({"params": longer}, x), y, rtol=1e-3, atol=1e-3)


@pytest.mark.fault("ports of Improved GAN: lengths of hidden weights are trained, and outgrow the noise between layers")
def test_the_lengths_of_hidden_weights_stay_what_they_were():
    """Those of the classes alone are learned, as `train_scale` says in the authors' code."""
    net, x = Discriminator(3, (6, 5), input_noise=0.0, hidden_noise=0.0), jnp.eye(4)
    params = jax.jit(partial(net.init, train=False))(jax.random.key(0), x)["params"]
    slopes = jax.jit(jax.grad(lambda p: net.apply({"params": p}, x, train=False).logits.sum()))(params)
    moved = [bool(np.any(slopes[f"WeightNormDense_{layer}"]["scale"])) for layer in range(3)]
    assert moved == [False, False, True]
    assert all(np.any(own["direction"]) and np.any(own["bias"]) for own in slopes.values())


@pytest.mark.fault("data-dependent initialisation without the noise: layers begin too loud to hear it, each one more")
def test_layers_begin_with_deviation_1_under_the_noise_that_they_train_with():
    """`get_output(x, deterministic=False, init=True)` in the authors' code."""
    x = jnp.asarray(np.random.default_rng(3).uniform(-1, 1, (512, 30)), jnp.float32)
    net = Discriminator(3, (64, 64, 64))
    keys = {"params": jax.random.key(0), "shared": jax.random.key(1)}
    made = jax.jit(partial(net.init, train=True))(keys, x)
    said = jax.jit(partial(net.apply, train=True))(made, x, rngs={"shared": jax.random.key(2)})
    assert abs(float(said.heads["class"].std(0).mean()) - 1) < 0.1


@pytest.mark.fault("Improved GAN on MNIST: sigmoids for pixels; what is white early has no slope left")
def test_pixels_are_from_minus_one_up_and_bright_ones_still_move():
    net, z = Generator((3,), (4,)), jnp.eye(6)
    made = jax.jit(partial(net.init, train=True))(jax.random.key(0), z)

    def pixels(bias):
        own = {**made["params"]["pixels"], "bias": jnp.full(3, bias)}
        variables = {**made, "params": {**made["params"], "pixels": own}}
        return net.apply(variables, z, train=True, mutable=["batch_stats"])[0]

    np.testing.assert_allclose(pixels(-40.0), -1, atol=1e-6)
    assert np.all(np.abs(jax.jit(jax.jacfwd(pixels))(20.0) - 2) < 1e-3)


def test_noise_is_of_its_deviation_and_gone_in_evaluation():
    x = jnp.zeros((64, 50))
    noise = GaussianNoise(0.3)
    drawn = noise.apply({}, x, deterministic=False, rngs={"shared": jax.random.key(0)})
    assert abs(float(drawn.std()) - 0.3) < 0.01 and len(np.unique(drawn)) == drawn.size
    np.testing.assert_array_equal(noise.apply({}, x, deterministic=True), x)


def test_parameters_of_the_published_networks():
    count = lambda net, x: sum(  # noqa: E731
        np.prod(leaf.shape)
        for leaf in jax.tree.leaves(jax.eval_shape(lambda: net.init(jax.random.key(0), x, train=True))["params"])
    )
    widths = (784, 1000, 500, 250, 250, 250, 10)
    d = sum(a * b + 2 * b for a, b in pairwise(widths))
    assert count(Discriminator(10), jnp.zeros((2, 28, 28, 1))) == d == 1_541_020
    assert count(Generator((28, 28, 1)), jnp.zeros((2, 100))) == 100 * 500 + 500 * 500 + 2 * 2 * 500 + 502 * 784


def _data():
    y = np.repeat(np.arange(3), [4, 5, 40]).astype(np.int32)
    return Dataset(np.arange(49, dtype=np.uint8).reshape(49, 1, 1, 1), y, name="few")


def test_labels_are_as_many_of_each_class_and_a_choice_is_always_the_same():
    one, same, other = (with_labels(_data(), 9, subset) for subset in (0, 0, 1))
    assert np.bincount(one.y_train).tolist() == [3, 3, 3]
    np.testing.assert_array_equal(one.x_train, same.x_train)
    assert not np.array_equal(one.x_train, other.x_train)
    assert all(_data().y_train[int(x)] == y for x, y in zip(one.x_train.ravel(), one.y_train, strict=True))


@pytest.mark.fault("ADDA mnist2000/usps1800: a subset by hash(str), which is salted, is another in each process")
def test_the_labelled_examples_are_these_in_every_process():
    """A function of name and subset alone; the pixel of an example is its row."""
    rows = lambda subset, **how: with_labels(replace(_data(), **how), 9, subset).x_train.ravel().tolist()  # noqa: E731
    assert rows(0) == rows(0, name="/data/few.npz") == [0, 1, 3, 5, 6, 7, 10, 22, 44]
    assert rows(1) == [1, 2, 3, 4, 5, 6, 17, 19, 34]
    assert rows(0, name="other") == [0, 2, 3, 4, 5, 8, 35, 39, 42]


def test_labels_that_are_not_there_are_asked_for_in_vain():
    with pytest.raises(DataError, match="a multiple of the 3 classes"):
        with_labels(_data(), 10)
    with pytest.raises(DataError, match="4 training examples of class 0, expected 5"):
        with_labels(_data(), 15)
    with pytest.raises(DataError, match="no labels"):
        with_labels(Dataset(_data().x_train, name="none"), 2)
