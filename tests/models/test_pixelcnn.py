"""Who sees what: gradients of every output in every input against the raster order, and the sums of probabilities."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.layers.masked import MaskedConv, mask
from ganjax.layers.mode import mode
from ganjax.likelihoods import bernoulli, bits_per_dimension, categorical
from ganjax.models.pixelcnn import GatedPixelCNN, PixelCNN, gate
from ganjax.models.pixelrnn import PixelRNN, advanced, skewed, unskewed

NETWORKS = {
    "plain": PixelCNN,
    "gated": GatedPixelCNN,
    "row": partial(PixelRNN, layer="row"),
    "diagonal": partial(PixelRNN, layer="diagonal"),
}


@pytest.fixture(autouse=True)
def _double(float64):
    """Zeros must be zero, and links of 1e-9 none."""


@pytest.fixture
def smooth(monkeypatch):
    """No unit is off, as a ReLU would be: it hides links."""
    monkeypatch.setattr(nn, "relu", nn.softplus)


def drawn(module, shape, labels=None, seed=0):
    """Weights from N(0, 1 / inputs), those under a mask too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)), labels)["params"]
    entries = lambda s: rng.normal(size=s.shape) / np.sqrt(max(1, np.prod(s.shape[:-1])))  # noqa: E731
    return jax.tree.map(lambda s: jnp.asarray(entries(s)), shapes)


def links(module, params, shape, points=3):
    """Whether an entry's outputs depend on an entry, [entries, entries], at random points."""
    size = int(np.prod(shape))

    def of_entries(x):
        return module.apply({"params": params}, x[None]).reshape(size, -1).sum(1)

    xs = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (points, *shape)))
    found = jax.jit(lambda xs: jax.lax.map(jax.jacrev(of_entries), xs))(xs)
    return (np.asarray(found).reshape(points, size, size) != 0).any(0)


def past(shape, reach=np.inf):
    """j < i, of rows j rows above no column more than j + `reach` to the right."""
    h, w, c = shape
    row, column, _ = np.unravel_index(np.arange(h * w * c), shape)
    above = row[:, None] - row
    right = column - column[:, None]
    return np.tri(h * w * c, k=-1, dtype=bool) & ((above == 0) | (right <= above + reach))


def test_codes_are_seen_by_their_number_alone():
    """What is said of the entry after a code is what the code's own rows of the kernels say, whatever the others do."""
    module, shape = GatedPixelCNN(4, 4, 0, values=4), (1, 2, 1)
    params = drawn(module, shape)
    kernel = params["horizontal"]["MaskedConv_0"]["kernel"]
    assert kernel.shape == (1, 4, 4, 8)
    other = jax.tree.map(jnp.copy, params)
    other["horizontal"]["MaskedConv_0"]["kernel"] = kernel.at[:, :, 2].add(1.0)
    for code, same in enumerate((True, True, False, True)):
        x = jnp.full((1, *shape), 2 * code / 3 - 1)
        before, after = (np.asarray(module.apply({"params": p}, x)) for p in (params, other))
        assert np.array_equal(before[0, 0, 1], after[0, 0, 1]) == same
        np.testing.assert_array_equal(before[0, 0, 0], after[0, 0, 0])


@pytest.mark.parametrize(("name", "reach"), [("plain", 2), ("gated", np.inf), ("row", 2), ("diagonal", np.inf)])
@pytest.mark.parametrize(("shape", "width"), [((6, 6, 1), 4), ((3, 3, 3), 6)])
@pytest.mark.fault("pixel-rnn-tensorflow: the backward map has its last row zeroed instead of being shifted down")
@pytest.mark.fault("JMIN/PixelCNN: mask B zeroes the centre row and leaves the rows below: it reads the future")
@pytest.mark.usefixtures("smooth")
def test_each_entry_sees_the_past_and_nothing_else(name, reach, shape, width):
    """All of it in two stacks; in one and in rows of LSTMs, row -j up to column c + j + 2. Channels have an order."""
    module = NETWORKS[name](2, width, 2 if name == "row" else 1 if name == "diagonal" else 3)
    found, expected = links(module, drawn(module, shape), shape), past(shape, reach)
    if name == "diagonal" and shape[1] > 4:  # behind mask A nothing right of it can tell of the last pixel of a row
        for row in range(1, shape[0]):
            expected[row * shape[1] : (row + 1) * shape[1] - 4, row * shape[1] - 1] = False
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layers", [3, 12])
def test_the_blind_spot_of_one_stack(layers):
    """N (N - 1) / 2 of N (2 N + 1) + N pixels, 21.2 % at N = 12, to a quarter; kernels of ones, so nothing cancels."""
    size = 2 * layers + 1
    x = jnp.zeros((1, layers + 1, size, 1))

    def centre(x):
        for _ in range(layers):
            layer = MaskedConv(1, (2, 3), 1)
            x = layer.apply({"params": {"kernel": jnp.ones((2, 3, 1, 1)), "bias": jnp.zeros(1)}}, x)
        return x[0, -1, layers, 0]

    seen = np.asarray(jax.jit(jax.grad(centre))(x))[0, :, :, 0] != 0
    ahead = np.zeros_like(seen)
    ahead[-1, layers + 1 :] = True
    assert not seen[ahead].any()
    before = seen.size - ahead.sum() - 1  # without the pixel itself, which mask B lets through
    lost = before - (seen.sum() - 1)
    assert (lost, before) == (layers * (layers - 1) // 2, layers * (2 * layers + 1) + layers)
    assert layers != 12 or round(100 * lost / before, 1) == 21.2


def test_masks_by_hand():
    """Three channels in groups i % 3, so that both halves of a gate have the same."""
    a, b = (mask(kind, 2, 3, 1, 3, 3, 6) for kind in "AB")
    np.testing.assert_array_equal(a[1, 1, :, :3], [[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(b[1, 1, :, 3:], [[1, 1, 1], [0, 1, 1], [0, 0, 1]])
    assert a[0].all() and a[1, 0].all() and not a[1, 2].any()
    assert mask(None, 2, 3, 1, 3, 3, 6).all()


def test_a_gate_by_hand():
    """tanh of the first half, sigmoid of the second, the condition added to both."""
    h, y = jnp.asarray([[[[0.3, -1.2, 0.7, 2.0]]]]), jnp.asarray([[[[0.1, 0.2, -0.4, 0.5]]]])
    np.testing.assert_allclose(gate(h, y)[0, 0, 0], np.tanh([0.4, -1.0]) / (1 + np.exp([-0.3, -2.5])), rtol=1e-12)


@pytest.mark.fault("pixel-rnn-tensorflow: all four gates are sigmoids, that of the input's values too")
def test_a_step_of_an_lstm_by_hand():
    gates, cell = jnp.asarray([0.3, -1.2, 0.7, 2.0]), jnp.asarray([0.5])
    s = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    after = s(-1.2) * 0.5 + s(0.7) * np.tanh(2.0)
    np.testing.assert_allclose(advanced(gates, cell), [[s(0.3) * np.tanh(after)], [after]], rtol=1e-12)


def test_diagonals_become_columns():
    x = jnp.arange(1.0, 7).reshape(1, 3, 2)
    np.testing.assert_array_equal(skewed(x)[0], [[1, 2, 0, 0], [0, 3, 4, 0], [0, 0, 5, 6]])
    np.testing.assert_array_equal(unskewed(skewed(x)), x)


@pytest.mark.fault("pytorch-generative: x + layer(x) around blocks that add x already doubles the skip in every block")
def test_a_block_that_says_nothing_changes_nothing():
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 1)))
    for name, silent in (("plain", "MaskedConv_3"), ("gated", "MaskedConv_3")):
        deep, flat = (NETWORKS[name](1, 4, blocks) for blocks in (1, 0))
        params = drawn(deep, (4, 4, 1))
        stack = params if name == "plain" else params["horizontal"]
        stack[silent] = jax.tree.map(jnp.zeros_like, stack[silent])
        said = jax.jit(lambda p, deep=deep, flat=flat: [net.apply({"params": p}, x) for net in (deep, flat)])(params)
        np.testing.assert_allclose(*said, rtol=1e-12)


def test_the_count_of_numbers_and_that_nothing_has_a_mode():
    """4 x 7 x 32 + 32, six times 528 + 1552 + 544, 1056 + 33; no statistics, so training sees what evaluation sees."""
    for module, count in ((PixelCNN(), 928 + 6 * 2624 + 1089), (GatedPixelCNN(1, 2, 1), None)):
        variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
        assert set(variables) == {"params"} and mode(module, True) == {}
        assert count is None or sum(leaf.size for leaf in jax.tree.leaves(variables)) == count == 17_761


@pytest.mark.parametrize("name", ["plain", "gated"])
def test_it_begins_with_every_value_as_probable(name):
    """Exactly a bit for each binary pixel, 543.427 nats on the 784 of MNIST, and 8 bits for each of 256 levels."""
    for observation, nats in ((bernoulli(), 543.4273895589), (categorical(), 8 * 543.4273895589)):
        module, x = NETWORKS[name](observation.outputs, 2, 0), jnp.ones((1, 7, 7, 1))
        said, _ = jax.jit(partial(module.init_with_output))(jax.random.key(0), x)
        found = -observation.log_prob(said, x)
        np.testing.assert_allclose(16 * found, nats, rtol=1e-10)
        np.testing.assert_allclose(bits_per_dimension(found, 49), np.log2(observation.outputs) or 1, rtol=1e-12)


def images(shape, levels=2):
    """All there are, [levels^entries, H, W, C], in raster order: the first entries change slowest."""
    values = np.linspace(-1, 1, levels)
    return np.array(list(itertools.product(values, repeat=int(np.prod(shape))))).reshape(-1, *shape)


@cache
def _probabilities(name, classes):
    """p(x) of every image of 3x3 binary pixels [classes, 512], or of 2x2 in three channels [1, 4096]."""
    shape, observation = ((3, 3, 1), bernoulli()) if classes else ((2, 2, 3), categorical(2))
    x, labels = jnp.asarray(images(shape)), jnp.zeros(1, int) if classes else None
    module = NETWORKS[name](observation.outputs, 6, 1, classes)
    params = jax.tree.map(lambda p: 2 * p, drawn(module, shape, labels))

    @jax.jit
    def p(y):
        y = None if y is None else jnp.full(len(x), y)
        return jnp.exp(observation.log_prob(module.apply({"params": params}, x, y), x))

    return np.stack([p(y) for y in range(classes)] if classes else [p(None)])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [2, 0])
def test_probabilities_sum_to_one(name, classes):
    p = _probabilities(name, classes)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert p.std() > 1e-4
    assert not classes or np.abs(p[0] - p[1]).max() > 1e-3


@pytest.mark.parametrize("name", ["plain", "gated"])
def test_those_of_completions_sum_to_one(name):
    """p(lower | upper) = p(x) / p(upper), and p(upper) is what the network says of the upper entries alone."""
    p = _probabilities(name, 2)[0].reshape(64, 8)
    module = NETWORKS[name](1, 6, 1, 2)
    shape = (3, 3, 1)
    params = jax.tree.map(lambda p: 2 * p, drawn(module, shape, jnp.zeros(1, int)))
    upper = jnp.asarray(images(shape)[::8])
    said = jax.jit(partial(module.apply, {"params": params}))(upper, jnp.zeros(64, int))
    log_p = bernoulli().log_probs(said, upper)[:, :2].reshape(64, -1).sum(1)
    np.testing.assert_allclose(p.sum(1), np.exp(log_p), rtol=1e-12)


def test_what_does_not_fit_is_refused():
    x = jnp.zeros((1, 4, 4, 3))
    for network in NETWORKS.values():
        with pytest.raises(ValueError, match="width is 4, expected a multiple of the 3 channels of the images"):
            jax.eval_shape(network(1, 4).init, jax.random.key(0), x)
        with pytest.raises(ValueError, match=r"a network of 2 classes was given no labels, expected \[B\] integers"):
            jax.eval_shape(network(1, 3, 1, 2).init, jax.random.key(0), x)
