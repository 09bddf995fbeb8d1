"""Spectral normalisation (Miyato et al. 2018) as explicit power-iteration state.

Nothing here hides in a layer: `u` is a tree of vectors beside the parameters, moved by `update` and read by
`normalise`. The stored kernels are never rewritten, and `sigma` depends on the kernel and `u` alone, so training
and evaluation see the same function and evaluation cannot move `u`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from ganjax.checks import check_range
from ganjax.core import Array, Key, PyTree


def _unit(vector: Array, otherwise: Array) -> Array:
    """`vector` at length one, or `otherwise` where it has no direction."""
    norm = jnp.linalg.norm(vector)
    return jnp.where(norm > 0, vector / jnp.where(norm > 0, norm, 1), otherwise)


def power_iteration(kernel: Array, u: Array, steps: int) -> tuple[Array, Array]:
    """The largest singular value of a kernel, seen as a matrix W of shape [inputs, outputs].

    Each step is `v = W u / |W u|`, `u = W^T v / |W^T v|`; then `sigma = v^T W u` with one more `v` (Miyato et al.
    2018, algorithm 1). `u` and `v` are constants of the derivative, so that `d sigma / dW = v u^T`. For every
    `u` it holds that `sigma <= |W|_2`, with equality once `u` has converged.

    Args:
        kernel: [..., outputs], floating point; all axes but the last are joined.
        u: [outputs], the current estimate of the right singular vector, not zero.
        steps: how often `u` moves; with 0, `sigma` is evaluated at the given `u`.

    Returns:
        u: [outputs], after `steps` steps; unchanged where the kernel is zero.
        sigma: scalar, >= 0; 0 for a zero kernel.
    """
    check_range("power_iteration", 0, whole=True, steps=steps)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    constant = jax.lax.stop_gradient(matrix)
    zero = jnp.zeros(matrix.shape[0], matrix.dtype)
    for _ in range(steps):
        u = _unit(constant.T @ _unit(constant @ u, zero), u)
    u = jax.lax.stop_gradient(_unit(u, u))
    v = _unit(constant @ u, zero)
    return u, jnp.vdot(v, matrix @ u)


class SpectralNorm(NamedTuple):
    """The pair `init`, `update` over a parameter tree, and the function that reads it."""

    init: Callable[[Key, PyTree], PyTree]  # (key, params) -> u, a tree of [outputs] vectors, one per kernel
    update: Callable[[PyTree, PyTree], PyTree]  # (params, u) -> u after one update
    normalise: Callable[[PyTree, PyTree], PyTree]  # (params, u) -> params with every kernel divided by its sigma


def _is_weight(path: tuple[str, ...], leaf: Array) -> bool:
    return path[-1] in ("kernel", "embedding") and leaf.ndim >= 2


def spectral_norm(
    steps: int = 1,
    *,
    select: Callable[[tuple[str, ...], Array], bool] = _is_weight,
    epsilon: float = 1e-12,
) -> SpectralNorm:
    """Divide each selected leaf of a Flax parameter tree by its largest singular value.

    Args:
        steps: power steps of one `update` (1 in the paper).
        select: `(path, leaf) -> bool`; by default every `kernel` and `embedding` of rank two or more.
        epsilon: a kernel whose sigma is not larger is left as it is; a zero kernel stays zero.

    Returns:
        A `SpectralNorm`. `u` is shaped like the parameters with the other leaves left out.
    """
    check_range("spectral_norm", 1, whole=True, steps=steps)
    check_range("spectral_norm", 0, epsilon=epsilon)

    def init(key: Key, params: PyTree) -> PyTree:
        kernels = {path: leaf for path, leaf in flatten_dict(params).items() if select(path, leaf)}
        if not kernels:
            raise ValueError("spectral_norm: no leaf of the parameters is selected; expected at least one kernel")
        vectors = [
            _unit(x := jax.random.normal(k, kernel.shape[-1:], kernel.dtype), x)
            for k, kernel in zip(jax.random.split(key, len(kernels)), kernels.values(), strict=True)
        ]
        return unflatten_dict(dict(zip(kernels, vectors, strict=True)))

    def update(params: PyTree, u: PyTree) -> PyTree:
        kernels = flatten_dict(params)
        return unflatten_dict(
            {path: power_iteration(kernels[path], vector, steps)[0] for path, vector in flatten_dict(u).items()}
        )

    def normalise(params: PyTree, u: PyTree) -> PyTree:
        leaves = flatten_dict(params)
        for path, vector in flatten_dict(u).items():
            _, sigma = power_iteration(leaves[path], vector, 0)
            leaves[path] = leaves[path] / jnp.where(sigma > epsilon, sigma, 1)
        return unflatten_dict(leaves)

    return SpectralNorm(init, update, normalise)
