"""One contract over all penalties, and their values by hand: a new penalty is added to PENALTIES and tested by it."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from matrix import cases
from scipy import stats

from ganjax.games.dirac import DIRAC_PENALTIES
from ganjax.layers.convolution import Conv
from ganjax.penalties import (
    PENALTIES,
    consistency,
    dragan,
    flip_and_shift,
    gradient_penalty,
    orthogonal_regularisation,
    r1,
    r2,
    zero_centred,
)

VARIANTS = PENALTIES | {
    "one_sided": lambda: gradient_penalty(target=0.01, one_sided=True),  # at 1 the critics here would pay nothing
    "dragan_one_sided": lambda: dragan(target=0.01, one_sided=True),
}
POINT, IMAGE = (2,), (6, 5, 2)
SHAPES = {"points": POINT, "images": IMAGE}
LOGITS = {"logits": (), "patches": (2, 3)}
BATCH = 4


def _jitter(key, x):
    return x + 0.3 * jax.random.normal(key, x.shape, x.dtype)


def _make(name, shape):
    """The penalty as it comes; points have an augmentation of their own."""
    return VARIANTS[name](augment=_jitter) if (name, shape) == ("consistency", POINT) else VARIANTS[name]()


def _data(shape, batch=BATCH):
    keys = jax.random.split(jax.random.key(1), 3)
    x_real, x_fake = (jax.random.normal(key, (batch, *shape)) for key in keys[:2])
    return x_real, x_fake, jax.random.split(keys[2], batch)


def _params(shape, logits, seed=0):
    size, out, keys = int(np.prod(shape)), int(np.prod(logits)), jax.random.split(jax.random.key(seed), 3)
    return {
        "w": jax.random.normal(keys[0], (size, 5)) / size**0.5,
        "b": jax.random.normal(keys[1], (5,)),
        "v": 3 * jax.random.normal(keys[2], (5, out)),
    }


def _critic(params, logits):
    """A perceptron with one hidden layer; its hidden units and outputs are in the dtype of the weights or wider."""

    def critic(x):
        hidden = jnp.tanh(x.reshape(len(x), -1) @ params["w"] + params["b"][None])
        return (hidden @ params["v"]).reshape(len(x), *logits)

    return critic


def _linear(w):
    return lambda x: (x * w[None]).reshape(len(x), -1).sum(-1)


def _half_squared(x):
    return (x**2).reshape(len(x), -1).sum(-1) / 2


def _jit(function):
    """Compiled quickly: these programs run once."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def _values(penalty, critic, *data):
    return _jit(lambda *data: penalty.values(critic, *data))(*data)


@pytest.mark.parametrize("name, shape, logits", cases(product(VARIANTS, SHAPES, LOGITS)))
def test_contract(name, shape, logits):
    """[B] float32, each value that of its example alone, and a population of critics is what its members are."""
    shape, logits = SHAPES[shape], LOGITS[logits]
    penalty, data = _make(name, shape), _data(shape)
    members = [_params(shape, logits, seed) for seed in range(2)]

    def of(params, x_real, x_fake, keys):
        return penalty.values(_critic(params, logits), x_real, x_fake, keys)

    alone = jax.vmap(lambda params, *one: of(params, *(leaf[None] for leaf in one))[0], in_axes=(None, 0, 0, 0))
    population = jax.vmap(of, in_axes=(0, None, None, None))

    @_jit
    def looks(members, stacked, *data):
        return [of(member, *data) for member in members], alone(members[0], *data), population(stacked, *data)

    (values, second), each, together = looks(members, jax.tree.map(lambda *leaves: np.stack(leaves), *members), *data)
    assert (values.shape, values.dtype) == ((BATCH,), jnp.float32)
    values, second, each, together = map(np.asarray, (values, second, each, together))
    assert (values >= 0).all() and (values > 0).any()
    np.testing.assert_allclose(each, values, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(together, [values, second], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("shape, logits", [(POINT, (2, 3)), (IMAGE, ())], ids=["points, patches", "images, logits"])
@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_gradients_are_those_of_finite_differences(name, shape, logits, float64):
    penalty, data = _make(name, shape), _data(shape)
    params = {leaf: np.asarray(value) for leaf, value in _params(shape, logits).items()}

    def of(params):
        return penalty.values(_critic(params, logits), *data).mean()

    both, h = _jit(jax.value_and_grad(of)), 1e-5
    value, gradient = both(params)
    assert value.dtype == jnp.float64
    for seed, leaf in enumerate(params):
        along = np.random.default_rng(seed).normal(size=params[leaf].shape)
        ahead, behind = (both(params | {leaf: params[leaf] + sign * h * along})[0] for sign in (1, -1))
        np.testing.assert_allclose((gradient[leaf] * along).sum(), (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-8)
        if leaf != "b":
            assert abs((gradient[leaf] * along).sum()) > 1e-4, "nothing was compared"


@pytest.mark.fault("apex 654, lightweight-gan 92: a penalty in half precision gives NaN")
@pytest.mark.parametrize("name, shape, dtype", cases(product(VARIANTS, SHAPES, ("float16", "bfloat16"))))
def test_half_precision_is_widened_before_anything_is_computed(name, shape, dtype):
    """float32 values, equal to those of the same rounded numbers; the draws do not depend on the dtype."""
    shape = SHAPES[shape]
    penalty, (x_real, x_fake, keys) = _make(name, shape), _data(shape)
    x_real, x_fake = x_real.astype(dtype), x_fake.astype(dtype)
    perceptron, seen = _critic(_params(shape, ()), ()), []

    def critic(x):
        seen.append(x.dtype)
        return perceptron(x)

    @_jit
    def both(*sides):
        return [penalty.values(critic, *(x.astype(kind) for x in sides), keys) for kind in (dtype, jnp.float32)]

    values, wide = both(x_real, x_fake)
    assert values.dtype == jnp.float32 and set(seen) == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(values, wide, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_half_precision_logits_are_widened_before_they_are_used(name):
    """500 patches of logit 300 in float16 have a sum above 65504, and differences whose squares are too."""
    penalty, data = _make(name, POINT), _data(POINT)
    steep = np.float32([300.0, 0.0])

    def critic(x):
        return jnp.broadcast_to(_linear(steep)(x).astype(jnp.float16)[:, None], (len(x), 500))

    values = _values(penalty, critic, *data)
    expected = _values(penalty, _linear(steep), *data)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, expected, rtol=0.02)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_finite_where_the_critic_is_steep_saturated_or_constant(name, shape):
    penalty, data, params = _make(name, shape), _data(shape), _params(shape, (2, 3))
    critics = {
        "steep": lambda params: lambda x: 1e4 * _critic(params, (2, 3))(x),
        "saturated": lambda params: lambda x: 1e4 * jnp.tanh(1e4 * _critic(params, (2, 3))(x)),
        "constant": lambda params: _critic(params | {"v": 0 * params["v"]}, (2, 3)),
        "independent of x": lambda params: lambda x: jnp.full((len(x), 2), 7.0) * params["b"][0],
    }

    @_jit
    def value_and_gradient(params):
        return {
            kind: jax.value_and_grad(lambda params, c=critic: penalty.values(c(params), *data).mean())(params)
            for kind, critic in critics.items()
        }

    for kind, numbers in value_and_gradient(params).items():
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(numbers)), kind


@pytest.mark.parametrize("name", VARIANTS)
def test_slopes_whose_squares_leave_float32(name):
    """Above, values may be infinite but never NaN, and gradients stay finite; below, the direction survives."""
    penalty, data = _make(name, POINT), _data(POINT)

    @_jit
    def value_and_gradient(w):
        return jax.value_and_grad(lambda w: penalty.values(_linear(w), *data).mean())(w)

    value, gradient = value_and_gradient(jnp.array([3e22, -4e22]))
    assert not np.isnan(value) and np.isfinite(gradient).all() and (gradient != 0).all()
    value, gradient = value_and_gradient(jnp.array([3e-25, -4e-25]))
    assert np.isfinite(value)
    target = {"gradient_penalty": 1.0, "dragan": 1.0}.get(name, 0.0)
    np.testing.assert_allclose(gradient, -2 * target * np.array([0.6, -0.8]), rtol=1e-6, atol=1e-20)


# --- values by hand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_linear_critic(shape):
    """`w x` has the slope |w| everywhere, the root of the sum of squares over *all* axes of an example."""
    w = jnp.arange(1.0, 1 + np.prod(shape)).reshape(shape) / 7
    length, data = float(np.sqrt((np.asarray(w, np.float64) ** 2).sum())), _data(shape)
    expected = {
        gradient_penalty(): (length - 1) ** 2,
        gradient_penalty(target=0.25): (length - 0.25) ** 2,
        gradient_penalty(target=2 * length): length**2,
        gradient_penalty(one_sided=True, target=2 * length): 0.0,
        gradient_penalty(one_sided=True, target=length / 2): length**2 / 4,
        dragan(): (length - 1) ** 2,
        dragan(one_sided=True, target=2 * length): 0.0,
        r1(): length**2 / 2,
        r2(): length**2 / 2,
        zero_centred(): length**2 / 2,
    }
    found = _jit(lambda *data: [penalty.values(_linear(w), *data) for penalty in expected])(*data)
    for values, value in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(values, [value] * BATCH, rtol=1e-5)

    moved = consistency(augment=lambda key, x: 2 * x + 1)
    pays = [float((w * (x + 1)).sum()) ** 2 for x in data[0]]
    np.testing.assert_allclose(_values(moved, _linear(w), *data), pays, rtol=1e-4)


@pytest.mark.fault("PyTorch-GAN, pytorch-wgan, Keras-GAN: the penalty's norm is over channels, one for each pixel")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_quadratic_critic(shape):
    """`|x|^2 / 2` has the gradient x, so that a value tells where it was taken."""
    x_real, x_fake, keys = data = _data(shape)
    squares = lambda x: (np.asarray(x, np.float64) ** 2).reshape(BATCH, -1).sum(-1)  # noqa: E731
    np.testing.assert_allclose(_values(r1(), _half_squared, *data), squares(x_real) / 2, rtol=1e-5)
    np.testing.assert_allclose(_values(r2(), _half_squared, *data), squares(x_fake) / 2, rtol=1e-5)

    e = _epsilon(gradient_penalty(target=0.0), x_real, keys).reshape(-1, *[1] * len(shape))
    length = np.sqrt(squares(e * x_real + (1 - e) * x_fake))
    np.testing.assert_allclose(_values(gradient_penalty(), _half_squared, *data), (length - 1) ** 2, rtol=1e-4)
    np.testing.assert_allclose(_values(zero_centred(), _half_squared, *data), length**2 / 2, rtol=1e-4)


def _epsilon(penalty, x_real, keys, scale=1.0):
    """The share of the real example: from fakes at 0, `|grad D(e x)| = e |x|`."""
    values = np.asarray(_values(penalty, _half_squared, x_real, 0 * x_real, keys), np.float64)
    return np.sqrt(values * scale / (np.asarray(x_real, np.float64) ** 2).reshape(len(x_real), -1).sum(-1))


@pytest.mark.fault("one epsilon for the whole batch")
@pytest.mark.parametrize("penalty, scale", [(gradient_penalty(target=0.0), 1.0), (zero_centred(), 2.0)])
def test_one_epsilon_per_example_uniform_and_shared_by_its_axes(penalty, scale):
    keys = jax.random.split(jax.random.key(4), 1000)
    pixels = [jnp.zeros((2, 2, 1)).at[i, j].set(1.0) for i, j in product(range(2), range(2))]
    first, *others = (_epsilon(penalty, jnp.broadcast_to(pixel, (1000, *pixel.shape)), keys, scale) for pixel in pixels)
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-6)
    assert len(np.unique(first)) > 990
    assert stats.kstest(first, "uniform").pvalue > 0.01


@pytest.mark.fault("StudioGAN: DRAGAN adds 0.5 std(batch) U(0, 1), which is one-sided")
def test_dragan_adds_independent_centred_gaussian_noise_to_real_data():
    """`c x^2 / 2` with one axis chosen by c shows that axis of `x_real + d`."""
    keys, std = jax.random.split(jax.random.key(5), 2000), 0.3
    x_real, x_fake = jnp.full((2000, 2), 10.0) * jnp.array([[1.0, 2.0]]), jnp.full((2000, 2), jnp.nan)
    penalty = dragan(std=std, target=0.0)
    noise = []
    for axis in range(2):
        values = _values(penalty, lambda x, axis=axis: x[:, axis] ** 2 / 2, x_real, x_fake, keys)
        noise.append(np.sqrt(np.asarray(values, np.float64)) - 10 * (axis + 1))
        assert stats.kstest(noise[-1], stats.norm(0, std).cdf).pvalue > 0.01
        assert len(np.unique(values)) > 1900, "drawn in full precision"
    assert abs(np.corrcoef(noise)[0, 1]) < 3 / 2000**0.5


def test_real_or_fake():
    """What R1, DRAGAN and consistency pay does not know the fakes, what R2 pays not the real examples."""
    x_real, x_fake, keys = _data(POINT)
    for penalty, data in (
        (r1(), (x_real, jnp.nan * x_fake)),
        (consistency(augment=_jitter), (x_real, jnp.nan * x_fake)),
        (r2(), (jnp.nan * x_real, x_fake)),
    ):
        np.testing.assert_array_equal(
            _values(penalty, _half_squared, *data, keys), _values(penalty, _half_squared, x_real, x_fake, keys)
        )


@pytest.mark.parametrize("name", VARIANTS)
def test_the_number_of_patches_does_not_matter(name):
    """D is the mean of an example's patch logits: six equal ones are as one."""
    penalty, data = _make(name, IMAGE), _data(IMAGE)
    critic = _critic(_params(IMAGE, ()), ())
    repeated = lambda x: jnp.broadcast_to(critic(x)[:, None, None], (len(x), 2, 3))  # noqa: E731
    many, one = _jit(lambda *data: [penalty.values(judge, *data) for judge in (repeated, critic)])(*data)
    np.testing.assert_allclose(many, one, rtol=1e-4)


def test_patches_pay_together():
    """Patches of opposite slopes are flat on average: their mean is taken before the square."""
    opposite = lambda x: jnp.stack([x[:, 0], -x[:, 0]], axis=-1)  # noqa: E731
    for penalty in (r1(), consistency(augment=_jitter)):
        np.testing.assert_allclose(_values(penalty, opposite, *_data(POINT)), 0.0, atol=1e-12)


@pytest.mark.parametrize("psi", [-1.3, -1e-9, 0.4, 2.0])
@pytest.mark.parametrize("name", DIRAC_PENALTIES)
def test_dirac_gan(name, psi, float64):
    """D(x) = psi x on real data at 0 and a fake at theta pays what the Dirac-GAN's closed forms say."""
    gamma, target = 0.8, 0.7
    weight, penalty = {  # gamma / 2 (|psi| - target)^2 is WGAN-GP with lambda = gamma / 2
        "r1": (gamma, r1()),
        "r2": (gamma, r2()),
        "gp": (gamma / 2, gradient_penalty(target=target)),
        "lp": (gamma / 2, gradient_penalty(target=target, one_sided=True)),
        "dragan": (gamma / 2, dragan(target=target)),
    }[name]
    data = jnp.zeros((3, 1)), jnp.full((3, 1), 1.5), jax.random.split(jax.random.key(0), 3)

    def cost(psi):
        return weight * penalty.values(lambda x: psi * x[:, 0], *data).mean()

    closed = lambda psi: gamma * DIRAC_PENALTIES[name](psi, target)  # noqa: E731
    found, expected = _jit(lambda psi: [jax.value_and_grad(f)(psi) for f in (cost, closed)])(psi)
    np.testing.assert_allclose(found, expected, atol=1e-12)


# --- convolutions, augmentation, kernels ------------------------------------------------------------------------


class Convolutional(nn.Module):
    layer: type

    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(self.layer(3, (4, 4), strides=(2, 2), name="first")(x), 0.2)
        return self.layer(1, (3, 3), name="last")(x)[..., 0]


@pytest.mark.parametrize("name", VARIANTS)
def test_convolutions_that_know_reverse_mode_only(name):
    """Patch logits of ganjax's convolutions, for members of a population, against the stock ones."""
    penalty, data = _make(name, IMAGE), _data(IMAGE)

    def gradients(params, layer):
        module = Convolutional(layer)
        cost = lambda params: penalty.values(lambda x: module.apply(params, x), *data).mean()  # noqa: E731
        return jax.tree.leaves(jax.vmap(jax.grad(cost))(params))

    rng, shapes = np.random.default_rng(6), jax.eval_shape(Convolutional(nn.Conv).init, data[2][0], data[0])
    drawn = lambda leaf: rng.normal(size=(2, *leaf.shape)) / np.sqrt(np.prod(leaf.shape[:-1]))  # noqa: E731
    params = jax.tree.map(lambda leaf: drawn(leaf).astype(np.float32), shapes)
    fast, stock = _jit(lambda params: [gradients(params, layer) for layer in (Conv, nn.Conv)])(params)
    for ours, theirs in zip(fast, stock, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert any(jnp.abs(leaf).max() > 1e-3 for leaf in fast)


def test_flip_and_shift():
    """All 2 x 9 x 9 results of the NumPy oracle, equally often, and no other."""
    x = np.arange(132.0, dtype=np.float32).reshape(6, 11, 2)
    results = {
        np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")[top : top + 6, left : left + 11].tobytes(): 0
        for image, top, left in product((x, x[:, ::-1]), range(9), range(9))
    }
    assert len(results) == 162
    keys = jax.random.split(jax.random.key(8), 162 * 25)
    for image in np.asarray(_jit(jax.vmap(lambda key: flip_and_shift(key, jnp.asarray(x))))(keys)):
        results[image.tobytes()] += 1
    assert stats.chisquare(list(results.values())).pvalue > 0.01


def test_orthogonal_regularisation_by_hand():
    """W = [[1, 2], [3, 4]]: W^T W = [[10, 14], [14, 20]]."""
    w = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    params = {"dense": {"kernel": w, "bias": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}, "e": {"embedding": w}}
    assert orthogonal_regularisation(params) == 2 * 14**2
    assert orthogonal_regularisation(params, off_diagonal=False) == 9**2 + 19**2 + 2 * 14**2
    twice = params | {"other": {"kernel": w}}
    assert orthogonal_regularisation(twice) == 4 * 14**2
    gradient = jax.grad(orthogonal_regularisation)(params)["dense"]["kernel"]
    np.testing.assert_allclose(gradient, 4 * np.asarray(w) @ [[0, 14], [14, 0]], rtol=1e-6)
    half = jax.tree.map(lambda leaf: (100 * leaf).astype(jnp.float16), params)
    assert orthogonal_regularisation(half).dtype == jnp.float32
    np.testing.assert_allclose(orthogonal_regularisation(half), 2 * 14e4**2, rtol=1e-6)


def test_orthogonal_regularisation_of_convolutions_and_of_one_output():
    """Columns are output channels; an orthogonal kernel pays nothing, one output has nothing off the diagonal."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 2, 4, 5))
    columns = [kernel[..., k].ravel() for k in range(5)]
    gram = np.array([[a @ b for b in columns] for a in columns])
    params = {"conv": {"kernel": jnp.asarray(kernel, jnp.float32)}}
    off = (gram**2).sum() - (np.diag(gram) ** 2).sum()
    np.testing.assert_allclose(orthogonal_regularisation(params), off, rtol=1e-5)
    full = ((gram - np.eye(5)) ** 2).sum()
    np.testing.assert_allclose(orthogonal_regularisation(params, off_diagonal=False), full, rtol=1e-5)

    orthogonal = np.linalg.qr(rng.normal(size=(24, 5)))[0].reshape(3, 2, 4, 5)
    params = {"conv": {"kernel": jnp.asarray(orthogonal, jnp.float32)}}
    for off_diagonal in (True, False):
        np.testing.assert_allclose(orthogonal_regularisation(params, off_diagonal=off_diagonal), 0, atol=1e-10)
    single = {"last": {"kernel": jnp.array([[3.0], [4.0]])}}
    assert orthogonal_regularisation(single) == 0
    assert orthogonal_regularisation(single, off_diagonal=False) == 24**2


def test_what_does_not_fit_is_refused():
    x_real, x_fake, keys = _data(POINT)
    values = gradient_penalty().values
    with pytest.raises(ValueError, match="expected one shape"):
        values(_half_squared, x_real, x_fake[:1], keys)
    with pytest.raises(ValueError, match=r"one typed key per example.*split\(key, 4\)"):
        values(_half_squared, x_real, x_fake, jax.random.key(0))
    with pytest.raises(ValueError, match="one typed key per example"):
        values(_half_squared, x_real, x_fake, jnp.zeros(BATCH))
    with pytest.raises(TypeError, match="int32, expected floating point"):
        values(_half_squared, x_real.astype(jnp.int32), x_fake, keys)
    with pytest.raises(ValueError, match=r"expected logits \[B, \.\.\.\]"):
        values(lambda x: x.sum(), x_real, x_fake, keys)
    with pytest.raises(ValueError, match=r"expected one image.*augment"):
        consistency().values(_half_squared, x_real, x_fake, keys)
    with pytest.raises(ValueError, match="no kernel"):
        orthogonal_regularisation({"norm": {"scale": jnp.ones(3)}})
