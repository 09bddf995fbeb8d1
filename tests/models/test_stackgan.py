"""StackGAN's networks: what conditions can express, parameter counts by hand, and what captions are read as."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganjax.data.text import hashed, hashed_words, spelled, vocabulary
from ganjax.errors import DataError
from ganjax.likelihoods import gaussian_kl
from ganjax.models.captions import CharacterTransformer, PictureReader, PiecesOfWords
from ganjax.models.stackgan import Conditions, MatchingCritic, StageOne, StageTwo, check_image_shape, halvings


def _count(module, *inputs, **how):
    found = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **how))
    return sum(leaf.size for leaf in jax.tree.leaves(found["params"]))


@pytest.mark.fault("StackGAN-Pytorch: CA_NET has a ReLU before mean and log-variance, so no condition can be precise")
def test_conditions_can_be_precise_and_negative():
    """std .1 and mean -1, of 2.31 nats, which std >= 1 and mean >= 0 can never reach; epsilon = 0 gives the mean."""
    module, phi = Conditions(3), jax.random.normal(jax.random.key(0), (4, 5))
    variables = jax.tree.map(jnp.zeros_like, module.init(jax.random.key(1), phi, jnp.zeros((4, 3))))
    variables["params"]["Dense_0"]["bias"] = jnp.repeat(jnp.array([-1.0, np.log(0.1)]), 3)
    c, mean, log_std = module.apply(variables, phi, jnp.ones((4, 3)))
    np.testing.assert_allclose(mean, -1)
    np.testing.assert_allclose(jnp.exp(log_std), 0.1, rtol=1e-6)
    np.testing.assert_allclose(c, -0.9, rtol=1e-6)
    np.testing.assert_allclose(gaussian_kl(mean, log_std), 2.3076, rtol=1e-4)
    np.testing.assert_array_equal(module.apply(variables, phi, jnp.zeros((4, 3)))[0], mean)
    slopes = jax.grad(lambda both: gaussian_kl(*both).sum())((jnp.zeros(3), jnp.zeros(3)))
    np.testing.assert_array_equal(slopes, 0)


@pytest.mark.fault("StackGAN-Pytorch: CA_NET has a ReLU before mean and log-variance, so no condition can be precise")
def test_conditions_learn_to_be_precise_and_negative():
    """By 300 steps down the divergence from N(-1, .1^2), from weights that are wide of it."""
    module, rng = Conditions(3), np.random.default_rng(0)
    phi, none = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32), jnp.zeros((4, 3))
    shapes = jax.eval_shape(module.init, jax.random.key(0), phi, none)
    first = jax.tree.map(lambda leaf: np.float32(0.3 * rng.normal(size=leaf.shape)), shapes)
    adam = optax.adam(optax.cosine_decay_schedule(0.05, 300), b2=0.9)

    def cost(variables):
        _, mean, log_std = module.apply(variables, phi, none)
        return gaussian_kl((mean + 1) / 0.1, log_std - np.log(0.1)).mean()

    def step(carry, _):
        variables, state = carry
        value, slope = jax.value_and_grad(cost)(variables)
        updates, state = adam.update(slope, state)
        return (optax.apply_updates(variables, updates), state), value

    (last, _), costs = jax.jit(lambda: jax.lax.scan(step, (first, adam.init(first)), length=300))()
    c, mean, log_std = module.apply(last, phi, none + 1)
    assert costs[0] > 10
    np.testing.assert_allclose(mean, -1, atol=1e-3)
    np.testing.assert_allclose(jnp.exp(log_std), 0.1, rtol=2e-3)
    np.testing.assert_allclose(c, -0.9, atol=1e-3)


def test_conditions_without_augmentation_are_a_layer():
    module, phi = Conditions(3, augmented=False), jax.random.normal(jax.random.key(0), (4, 5))
    variables = module.init(jax.random.key(1), phi, jnp.zeros((4, 3)))
    found = [module.apply(variables, phi, epsilon) for epsilon in (jnp.zeros((4, 3)), jnp.ones((4, 3)))]
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert not gaussian_kl(*found[0][1:]).any()


def test_parameter_counts_by_hand():
    phi, conditions = jnp.zeros((2, 128)), 129 * 256
    one = conditions + 16 * 228 * 128 + 16 * 128 * 64 + 16 * 64 * 32 + 2 * (128 + 64 + 32) + 16 * 32 * 3 + 3
    assert _count(StageOne((32, 32, 3)), jnp.zeros((2, 228)), phi, train=True) == one == 665_795
    kernels = 9 * (3 * 16 + 160 * 64 + 4 * 64 * 64 + 64 * 32 + 32 * 16 + 16 * 3) + 16 * 16 * 32
    two = conditions + kernels + 16 + 3 + 2 * (32 + 64 + 4 * 64 + 32 + 16)
    x = jnp.zeros((2, 32, 32, 3))
    assert _count(StageTwo((64, 64, 3)), jnp.zeros((2, 128)), phi, x, train=True) == two == 305_555
    trunk = 16 * (3 * 32 + 32 * 64 + 64 * 128) + 32 + 64 + 128
    three = trunk + 129 * 128 + 257 * 128 + 16 * 128 + 1
    assert _count(MatchingCritic(3), x, phi) == three == 217_057
    assert _count(MatchingCritic(3, unconditional=True), x, phi) == three + 16 * 128 + 1


def test_stages_make_what_they_say():
    z, phi = jnp.zeros((2, 6)), jnp.zeros((2, 5))
    first = StageOne((8, 8, 3), 2, conditions=4)
    second = StageTwo((16, 16, 3), 2, 1, conditions=4)
    x = jax.eval_shape(lambda: first.init_with_output(jax.random.key(0), z, phi, train=True)[0][0])
    assert x.shape == (2, 8, 8, 3)
    y = jax.eval_shape(
        lambda: second.init_with_output(jax.random.key(0), z[:, :4], phi, jnp.zeros(x.shape), train=True)[0][0]
    )
    assert y.shape == (2, 16, 16, 3) and [halvings(side) for side in (8, 16, 32, 64)] == [1, 2, 3, 4]
    check_image_shape((64, 64, 3))
    for shape in ((8, 8, 3), (48, 48, 3), (64, 32, 3)):
        with pytest.raises(DataError, match=r"expected \(side, side, channels\) with a side of 16, 32, 64"):
            check_image_shape(shape)


TEXTS = ["red heart", "a red cat", "heart"]
WORDS = vocabulary(TEXTS)


def test_pieces_of_words_are_a_linear_map_of_hashed_texts():
    module = PiecesOfWords(hashed_words(WORDS, size=64), 5)
    tokens = jnp.asarray(WORDS.encode([*TEXTS, ""]))
    variables = module.init(jax.random.key(0), tokens)
    expected = hashed([*TEXTS, ""], size=64) @ np.asarray(variables["params"]["Dense_0"]["kernel"])
    np.testing.assert_allclose(module.apply(variables, tokens), expected, rtol=1e-5, atol=1e-6)


def test_characters_go_by_their_order_and_not_by_padding():
    module = CharacterTransformer(spelled(WORDS, 6), 5, width=8, layers=1, heads=2)
    red, heart = (WORDS.encode([word], 1)[0, 0] for word in ("red", "heart"))
    rows = jnp.array([[red, heart, 0], [red, 0, heart], [0, red, heart], [heart, red, 0], [0, 0, 0]])
    variables = jax.jit(module.init)(jax.random.key(0), rows)
    found = np.asarray(jax.jit(module.apply)(variables, rows))
    np.testing.assert_allclose(found[1:3], found[[0, 0]], rtol=1e-4, atol=1e-5)
    assert np.abs(found[3] - found[0]).max() > 1e-3 and np.isfinite(found).all()


def test_a_reader_judges_by_what_the_small_picture_shows():
    module, small = PictureReader(5, 8, 2), jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(module.init)(jax.random.key(1), small)
    large = small.repeat(2, 1).repeat(2, 2)
    read = jax.jit(module.apply)
    np.testing.assert_allclose(read(variables, large), read(variables, small), rtol=1e-5, atol=1e-6)
    shape = jax.eval_shape(lambda: PictureReader(5, 8, 2, True).init_with_output(jax.random.key(1), large)[0]).shape
    assert shape == (2, 5)
