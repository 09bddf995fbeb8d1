"""What a discriminator pays for how it changes with its input: gradient penalties and consistency.

A penalty sees the discriminator as a function of its input alone, a `Critic`, which judges each example by itself: no
BatchNorm. D(x) below is the *mean* of an example's patch logits, so that what a penalty asks for does not depend on
how many patches there are, as it would with their sum. The gradient of D in x is taken over all axes of an example
joined, `|grad D(x)|` is one number per example.

Everything is computed in float32 or wider: narrower inputs are promoted before the critic sees them.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from ganjax.checks import check_range
from ganjax.core import Array, Key, PyTree

Critic = Callable[[Array], Array]  # x [B, ...] -> logits [B, ...], example by example, the weights fixed


@dataclasses.dataclass(frozen=True)
class Penalty:
    """What is paid at each example, of how the critic changes with its input; `games.Term` gives it a weight.

    Called with the scene of a GAN, it is what a term of it takes: `Term(r1(), 10.0, every=16)`.
    """

    # (critic, x_real [B, ...], x_fake [B, ...], keys [B]) -> [B] float32 or wider, one value and one key per example
    values: Callable[[Critic, Array, Array, Array], Array]
    on_examples: bool = False  # it judges x_real or x_fake themselves, as the loss does

    def __call__(self, scene: Any) -> Array:
        """[B] values of a scene with a `critic`, `x_real`, `x_fake` and `keys`."""
        return self.values(scene.critic, scene.x_real, scene.x_fake, scene.keys)


def gradient_penalty(*, target: float | Array = 1.0, one_sided: bool = False) -> Penalty:
    """`(|grad D(x)| - target)^2` at `x = e x_real + (1 - e) x_fake` (WGAN-GP, Gulrajani et al. 2017, eq. 3).

    One `e ~ U(0, 1)` per example, shared by all its axes. One-sided, only slopes above the target cost,
    `max(0, |grad D(x)| - target)^2` (WGAN-LP, Petzka et al. 2018). There is no 1/2, as published. `D(x) = w x` pays
    `(|w| - target)^2` wherever it is evaluated.

    Args:
        target: the slope asked for.
        one_sided: ask for slopes of at most the target.
    """
    check_range("gradient_penalty", 0, target=target)

    def values(critic: Critic, x_real: Array, x_fake: Array, keys: Array) -> Array:
        return _excess(_norm(_gradient(critic, _interpolate(x_real, x_fake, keys))), target, one_sided)

    return _penalty(values)


def dragan(*, std: float | Array = 0.5, target: float | Array = 1.0, one_sided: bool = False) -> Penalty:
    """`(|grad D(x_real + d)| - target)^2` with `d ~ N(0, std^2 I)` (DRAGAN, Kodali et al. 2017, algorithm 1).

    `D(x) = w x` pays `(|w| - target)^2`, as under WGAN-GP; the fakes play no part. This is the published penalty. The
    authors' first code, and StudioGAN after it, adds `0.5 * std(batch) * U(0, 1)` instead, whose mean is not zero and
    whose size depends on the whole batch: another regulariser of the same name.

    Args:
        std: of the noise, in the units of the data; the paper's c is its square.
        target: the slope asked for.
        one_sided: ask for slopes of at most the target.
    """
    check_range("dragan", 0, std=std, target=target)

    def values(critic: Critic, x_real: Array, x_fake: Array, keys: Array) -> Array:
        del x_fake
        x = x_real + std * jax.vmap(lambda key: jax.random.normal(key, x_real.shape[1:], x_real.dtype))(keys)
        return _excess(_norm(_gradient(critic, x)), target, one_sided)

    return _penalty(values)


def r1() -> Penalty:
    """`|grad D(x_real)|^2 / 2` (R1, Mescheder et al. 2018, eq. 9); gamma is the weight of its term.

    `D(x) = w x` pays `|w|^2 / 2`, which is weight decay. Nothing is paid by a D that is flat on the data, as at the
    equilibrium.
    """
    return _penalty(lambda critic, x_real, x_fake, keys: _half_square(_gradient(critic, x_real)), on_examples=True)


def r2() -> Penalty:
    """`|grad D(x_fake)|^2 / 2` (R2, Mescheder et al. 2018, eq. 10). `D(x) = w x` pays `|w|^2 / 2`."""
    return _penalty(lambda critic, x_real, x_fake, keys: _half_square(_gradient(critic, x_fake)), on_examples=True)


def zero_centred() -> Penalty:
    """`|grad D(x)|^2 / 2` on the interpolates of `gradient_penalty` (0-GP, Thanh-Tung et al. 2019).

    `D(x) = w x` pays `|w|^2 / 2`. The paper writes no 1/2, so that its lambda is half of the weight.
    """

    def values(critic: Critic, x_real: Array, x_fake: Array, keys: Array) -> Array:
        return _half_square(_gradient(critic, _interpolate(x_real, x_fake, keys)))

    return _penalty(values)


def flip_and_shift(key: Key, x: Array, *, pixels: int = 4) -> Array:
    """Mirror an image left to right or not, and shift it by up to `pixels` along both axes (Zhang et al. 2020).

    Every one of the `2 (2 pixels + 1)^2` results is equally likely; the border is filled by reflection.

    Args:
        key: of this example.
        x: [H, W, C], one image.
        pixels: the largest shift.

    Returns:
        [H, W, C].
    """
    check_range("flip_and_shift", 0, whole=True, pixels=pixels)
    if x.ndim != 3 or min(x.shape[:2]) <= pixels:
        raise ValueError(
            f"flip_and_shift: x has shape {x.shape}, expected one image [H, W, C] with sides above {pixels}; "
            "other data need their own augmentation, consistency(augment=...)"
        )
    flip_key, shift_key = jax.random.split(key)
    x = jnp.where(jax.random.bernoulli(flip_key), x[:, ::-1], x)
    top, left = jax.random.randint(shift_key, (2,), 0, 2 * pixels + 1)
    padded = jnp.pad(x, ((pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")
    return jax.lax.dynamic_slice(padded, (top, left, 0), x.shape)


def consistency(*, augment: Callable[[Key, Array], Array] = flip_and_shift) -> Penalty:
    """`(D(x_real) - D(T(x_real)))^2` for a random augmentation T (CR-GAN, Zhang et al. 2020, algorithm 1).

    `D(x) = w x` pays `(w . (x - T(x)))^2`: nothing for slopes across the directions in which T moves x.

    Args:
        augment: T, `(key, x of one example) -> x` of the same shape.
    """

    def values(critic: Critic, x_real: Array, x_fake: Array, keys: Array) -> Array:
        del x_fake
        return (_logit_of(critic, x_real) - _logit_of(critic, jax.vmap(augment)(keys, x_real))) ** 2

    return _penalty(values, on_examples=True)


PENALTIES: dict[str, Callable[..., Penalty]] = {
    "gradient_penalty": gradient_penalty,
    "one_sided": partial(gradient_penalty, one_sided=True),
    "dragan": dragan,
    "r1": r1,
    "r2": r2,
    "zero_centred": zero_centred,
    "consistency": consistency,
}


def orthogonal_regularisation(params: PyTree, *, off_diagonal: bool = True) -> Array:
    """`sum over kernels |W^T W * (1 - I)|^2`, squared Frobenius norms (BigGAN, Brock et al. 2019, section 3.1).

    W is a kernel as a matrix [inputs, outputs]. The relaxed form above asks the filters of a layer to be orthogonal, of
    whatever length. `off_diagonal=False` is `|W^T W - I|^2`, which asks for length one as well; it is what that paper
    calls the orthogonal regularisation of Brock et al. 2017. A linear discriminator `D(x) = w x` pays
    0, and `(|w|^2 - 1)^2`. With more outputs than inputs `W^T W = I` is out of reach, and all
    filters are orthogonal only if some vanish.

    Args:
        params: Flax parameters. Every leaf `kernel` of rank two or more counts, all its axes but the last joined.
        off_diagonal: leave the filters' lengths free.

    Returns:
        A scalar, float32 or wider.

    Raises:
        ValueError: if there is no kernel.
    """
    kernels = [leaf for path, leaf in flatten_dict(params).items() if path[-1] == "kernel" and leaf.ndim >= 2]
    if not kernels:
        raise ValueError("orthogonal_regularisation: the parameters hold no kernel; expected at least one")

    def cost(kernel: Array) -> Array:
        matrix = _widened(kernel).reshape(-1, kernel.shape[-1])
        identity = jnp.eye(kernel.shape[-1], dtype=matrix.dtype)
        gram = matrix.T @ matrix
        return ((gram * (1 - identity) if off_diagonal else gram - identity) ** 2).sum()

    return jnp.stack([cost(kernel) for kernel in kernels]).sum()


def orthogonal(player: str, *, off_diagonal: bool = True) -> Callable[[Any], Array]:
    """`orthogonal_regularisation` of that player's kernels, as a term takes it of a scene that holds `params`."""
    return lambda scene: orthogonal_regularisation(scene.params[player], off_diagonal=off_diagonal)


def _penalty(values: Callable[[Critic, Array, Array, Array], Array], *, on_examples: bool = False) -> Penalty:
    """The penalty with its inputs checked and widened."""

    def checked(critic: Critic, x_real: Array, x_fake: Array, keys: Array) -> Array:
        if x_real.shape != x_fake.shape or x_real.ndim < 1:
            raise ValueError(f"penalty: x_real {x_real.shape} and x_fake {x_fake.shape}, expected one shape [B, ...]")
        if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or keys.shape != x_real.shape[:1]:
            raise ValueError(
                f"penalty: keys are {keys.dtype}{list(keys.shape)}, expected one typed key per example, "
                f"jax.random.split(key, {len(x_real)})"
            )
        return values(critic, _widened(x_real), _widened(x_fake), keys)

    return Penalty(checked, on_examples)


def _widened(x: Array) -> Array:
    """The array in float32 or wider."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"penalty: got {x.dtype}, expected floating point; scale the data first")
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _logit_of(critic: Critic, x: Array) -> Array:
    """D(x): the mean logit of each example, [B]."""
    logits = _widened(critic(x))
    if logits.shape[:1] != x.shape[:1]:
        raise ValueError(f"penalty: the critic made {logits.shape} of {x.shape}, expected logits [B, ...]")
    return logits.reshape(len(x), -1).mean(-1)


def _gradient(critic: Critic, x: Array) -> Array:
    """The gradient of D at each example, its axes joined: [B, size]."""
    return jax.grad(lambda x: _logit_of(critic, x).sum())(x).reshape(len(x), -1)


@jax.custom_jvp
def _norm(vectors: Array) -> Array:
    """The length of each row, [B], with gradient 0 where it is 0.

    Rows are divided by their largest entry first: the length, and its gradient of length one, survive where squares
    over- or underflow.
    """
    largest = jnp.abs(vectors).max(-1, keepdims=True)
    scale = jnp.where(largest < jnp.finfo(vectors.dtype).tiny, 1, largest)
    return (scale * jnp.sqrt(((vectors / scale) ** 2).sum(-1, keepdims=True)))[:, 0]


@_norm.defjvp
def _norm_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (vectors,), (moved,) = primals, tangents
    lengths = _norm(vectors)
    return lengths, (vectors / jnp.where(lengths > 0, lengths, 1)[:, None] * moved).sum(-1)


def _half_square(vectors: Array) -> Array:
    return (vectors**2).sum(-1) / 2


def _excess(slopes: Array, target: float | Array, one_sided: bool) -> Array:
    excess = slopes - target
    return (jax.nn.relu(excess) if one_sided else excess) ** 2


def _interpolate(x_real: Array, x_fake: Array, keys: Array) -> Array:
    """`e x_real + (1 - e) x_fake`, one e for each example."""
    e = jax.vmap(lambda key: jax.random.uniform(key, (), x_real.dtype))(keys)
    e = e.reshape(-1, *[1] * (x_real.ndim - 1))
    return e * x_real + (1 - e) * x_fake
