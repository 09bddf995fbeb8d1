"""Norms of convolutions against their explicit matrices, and the facts about reshaped kernels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matrix import FULL

from ganjax.models import dcgan, mlp
from ganjax.operators import (
    circular_norm,
    lipschitz_estimate,
    norms_of_convolutions,
    operator_bounds,
    operator_norm,
    reshaped_norm,
)

KEY = jax.random.key(0)


def _matrix(kernel, size, strides=(1, 1), padding="SAME"):
    """The operator's matrix by loops over outputs and taps, in float64 NumPy; "CIRCULAR" wraps."""
    kernel = np.asarray(kernel, np.float64)
    h, w, inputs, outputs = kernel.shape
    if padding == "CIRCULAR":
        low, out = (0, 0), [n // s for n, s in zip(size, strides, strict=True)]
    elif padding == "VALID":
        low, out = (0, 0), [(n - k) // s + 1 for n, k, s in zip(size, (h, w), strides, strict=True)]
    else:
        out = [-(-n // s) for n, s in zip(size, strides, strict=True)]
        low = [max((o - 1) * s + k - n, 0) // 2 for n, k, s, o in zip(size, (h, w), strides, out, strict=True)]
    a = np.zeros((*out, outputs, *size, inputs))
    for i, j, u, v in np.ndindex(*out, h, w):
        r, c = i * strides[0] + u - low[0], j * strides[1] + v - low[1]
        if padding == "CIRCULAR":
            r, c = r % size[0], c % size[1]
        elif not (0 <= r < size[0] and 0 <= c < size[1]):
            continue
        a[i, j, :, r, c, :] += kernel[u, v].T
    return a.reshape(np.prod(out) * outputs, -1)


def _truth(*args, **options):
    return np.linalg.norm(_matrix(*args, **options), ord=2)


@pytest.mark.parametrize(
    ("shape", "size", "strides"),
    [
        ((3, 3, 2, 3), (6, 5), (1, 1)),
        ((4, 4, 2, 2), (6, 8), (2, 2)),
        ((3, 2, 1, 2), (6, 4), (3, 1)),
        ((3, 3, 2, 2), (2, 2), (1, 1)),  # larger than the image
    ],
)
def test_circular_norm_is_that_of_the_matrix(shape, size, strides, float64):
    kernel = jax.random.normal(KEY, shape)
    found = jax.jit(partial(circular_norm, size=size, strides=strides))(kernel)
    np.testing.assert_allclose(found, _truth(kernel, size, strides, "CIRCULAR"), rtol=1e-8)


@pytest.mark.parametrize(
    ("shape", "size", "strides", "padding"),
    [
        ((3, 3, 2, 3), (6, 5), (1, 1), "SAME"),
        ((4, 4, 2, 2), (6, 8), (2, 2), "SAME"),
        ((3, 3, 3, 2), (5, 5), (1, 1), "VALID"),
    ],
)
def test_power_iteration_reaches_the_norm_of_the_matrix_from_below(shape, size, strides, padding, float64):
    kernel = jax.random.normal(KEY, shape)
    truth = _truth(kernel, size, strides, padding)
    run = partial(operator_norm, size=size, key=jax.random.key(1), strides=strides, padding=padding)
    jitted = jax.jit(lambda kernel, steps: run(kernel, steps=steps))
    found = [float(jitted(kernel, steps)) for steps in (0, 1, 4, 16, 5000)]
    assert all(a <= b + 1e-12 for a, b in zip(found, [*found[1:], truth], strict=True))
    np.testing.assert_allclose(found[-1], truth, rtol=1e-6)


def test_closed_forms(float64):
    """A 3 x 3 kernel of ones: reshaped 3, circular 9, with zeros around (1 + 2 cos(pi / (n + 1)))^2."""
    ones = jnp.ones((3, 3, 1, 1))
    norms = jax.jit(lambda w: (reshaped_norm(w), circular_norm(w, (7, 7)), operator_norm(w, (7, 7), KEY)))(ones)
    np.testing.assert_allclose(norms[:2], [3, 9], rtol=1e-12)
    np.testing.assert_allclose(norms[2], (1 + 2 * np.cos(np.pi / 8)) ** 2, rtol=1e-9)
    difference = jnp.array([1.0, -1.0]).reshape(1, 2, 1, 1)  # zero padding can exceed the circular norm
    padded = jax.jit(lambda w: operator_norm(w, (1, 3), KEY, padding=((0, 0), (0, 1))))(difference)
    np.testing.assert_allclose(padded, 1.8019377358, rtol=1e-9)
    np.testing.assert_allclose(jax.jit(lambda w: circular_norm(w, (1, 3)))(difference), np.sqrt(3), rtol=1e-12)


def test_the_bounds_on_200_random_convolutions():
    """Every mixture of sizes, strides and paddings in which one window lies whole on the image."""
    rng = np.random.default_rng(0)
    bounds, tight = jax.jit(operator_bounds, static_argnums=1), []
    for _ in range(200):
        h, w = rng.integers(1, 4, 2)
        size = tuple(int(n) for n in rng.integers([h + 2, w + 2], 8))
        strides = tuple(int(s) for s in rng.integers(1, 3, 2))
        padding = str(rng.choice(["SAME", "VALID", "CIRCULAR"]))
        if padding == "CIRCULAR":
            size = tuple(n + n % s for n, s in zip(size, strides, strict=True))
        few = ((1, 3), (3, 2))[rng.integers(2)]  # each shape is a program
        kernel = rng.normal(size=(h, w, *(rng.integers(1, 4, 2) if FULL else few)))
        truth = _truth(kernel, size, strides, padding)
        low, high = (float(b) for b in bounds(kernel.astype(np.float32), strides))
        assert low * (1 - 1e-5) <= truth <= high * (1 + 1e-5), (kernel.shape, size, strides, padding)
        tight.append(truth / low)
    assert min(tight) < 1.01 and max(tight) > 1.5, "both sides of the claim were tried"


def test_the_lower_bound_needs_a_whole_window():
    """On a 1 x 1 image a 3 x 3 kernel without a centre does nothing; on 2 x 2, [1, 0, -1] wraps to zero."""
    kernel = jnp.ones((3, 3, 1, 1)).at[1, 1].set(0)
    norms = jax.jit(lambda w: (operator_norm(w, (1, 1), KEY), reshaped_norm(w)))(kernel)
    assert norms[0] == 0
    np.testing.assert_allclose(norms[1], np.sqrt(8), rtol=1e-6)
    wraps = jax.jit(lambda w: circular_norm(w, (2, 2)))(jnp.array([1.0, 0, -1]).reshape(1, 3, 1, 1))
    np.testing.assert_allclose(wraps, 0, atol=1e-6)


def test_telemetry_of_a_discriminator():
    """Each convolution with the stride, padding and image that it has in the network."""
    module, x = dcgan.Discriminator(width=4, batch_norm=False), jnp.zeros((2, 8, 8, 1))
    params = jax.jit(partial(module.init, train=False))(KEY, x)["params"]
    found = jax.jit(norms_of_convolutions(module, x, train=False, steps=300))(params)
    assert set(found) == {f"Conv_{i}/{kind}" for i in range(3) for kind in ("operator", "reshaped")}
    for i, size in enumerate((8, 4)):
        kernel = params[f"Conv_{i}"]["kernel"]
        matrix = _matrix_with_padding(kernel, size)
        np.testing.assert_allclose(found[f"Conv_{i}/operator"], np.linalg.norm(matrix, ord=2), rtol=1e-3)
        np.testing.assert_allclose(found[f"Conv_{i}/reshaped"], reshaped_norm(kernel), rtol=1e-5)
    np.testing.assert_allclose(found["Conv_2/operator"], found["Conv_2/reshaped"], rtol=1e-4)  # one whole window
    with pytest.raises(ValueError, match=r"no flax\.linen\.Conv"):
        norms_of_convolutions(mlp.Discriminator((4,)), x, train=False)


def _matrix_with_padding(kernel, size):
    """4 x 4, stride 2, one pixel of zeros around: the valid convolution of the padded image, its borders left out."""
    whole = _matrix(kernel, (size + 2, size + 2), (2, 2), "VALID")
    inside = np.zeros((size + 2, size + 2, kernel.shape[2]), bool)
    inside[1:-1, 1:-1] = True
    return whole[:, inside.ravel()]


def test_lipschitz_of_linear_and_quadratic_critics():
    w = jnp.array([3.0, 4.0])
    x = jax.random.normal(KEY, (5, 2))
    np.testing.assert_allclose(lipschitz_estimate(lambda x: x @ w, x, steps=3), 5, rtol=1e-6)
    quadratic = lambda x: (x**2).sum(1) / 2  # noqa: E731
    start = jnp.linalg.norm(x, axis=1).max()
    np.testing.assert_allclose(lipschitz_estimate(quadratic, x), start, rtol=1e-6)
    np.testing.assert_allclose(lipschitz_estimate(quadratic, x, steps=4, length=0.5), start + 2, rtol=1e-5)
    assert lipschitz_estimate(lambda x: 0 * x[:, 0], x, steps=2) == 0


def test_lipschitz_of_an_image_critic_never_falls_with_more_steps():
    module = dcgan.Discriminator(width=4, batch_norm=False)
    x = jax.random.normal(KEY, (6, 8, 8, 1))
    params = jax.jit(partial(module.init, train=False))(KEY, x)
    critic = lambda x: module.apply(params, x, train=False)  # noqa: E731
    found = [float(jax.jit(partial(lipschitz_estimate, critic, steps=n))(x)) for n in (0, 2, 5)]
    assert found[0] <= found[1] <= found[2]
    norms = norms_of_convolutions(module, x, train=False, steps=200)(params["params"])
    product = np.prod([float(v) for name, v in norms.items() if name.endswith("operator")])
    assert found[2] <= product * 1.001


@pytest.mark.parametrize("norm", [partial(circular_norm, size=(4, 4)), partial(operator_norm, size=(4, 4), key=KEY)])
def test_wrong_kernels(norm):
    with pytest.raises(ValueError, match=r"shape \(3, 3\) and dtype float32, expected"):
        norm(jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match="not divisible by the strides"):
        circular_norm(jnp.zeros((3, 3, 1, 1)), (5, 5), (2, 2))
