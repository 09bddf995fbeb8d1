"""Phase shuffle: what keeps a discriminator of waveforms from going by the phase at which artefacts recur."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array, global_index, noise
from ganjax.layers.dropout import SHARED


def shifted(x: Array, shift: Array, most: int) -> Array:
    """`y_b[t] = x_b[t - k_b]`, each example later by its own k, the gap filled by reflection about its end.

    Args:
        x: [B, T, ...] with T > most.
        shift: [B] integers k, each from -most to most; of another one x comes back as it is.
        most: the largest shift there is.

    Returns:
        [B, T, ...] of the dtype of x.

    Raises:
        ValueError: `most` is negative, or not less than T.
    """
    check_range("shifted", 0, whole=True, most=most)
    if x.ndim < 2 or x.shape[1] <= most:
        raise ValueError(f"shifted: x has shape {x.shape}, expected [B, T, ...] with T above the largest shift, {most}")
    padded = jnp.pad(x, ((0, 0), (most, most), *[(0, 0)] * (x.ndim - 2)), mode="reflect")
    k = shift.reshape(-1, *[1] * (x.ndim - 1))
    y = x
    for one in range(-most, most + 1):  # a few cuts of all examples: a gather of each is far slower on a CPU
        if one:
            y = jnp.where(k == one, padded[:, most - one : most - one + x.shape[1]], y)
    return y


class PhaseShuffle(nn.Module):
    """`y[t] = x[t - k]` with `k ~ U{-n, ..., n}` for each example (Donahue et al. 2019, section 3.3), as `shifted`.

    Example i of the global batch gets the shift of its own key, `fold_in(key, i)`. The authors' code draws one shift
    for all examples of a batch, by which a discriminator still sees all of them in one phase.
    """

    n: int  # the largest shift, in steps of the map
    axis_name: str | None = None  # of the devices that share the batch

    @nn.compact
    def __call__(self, x: Array, *, deterministic: bool) -> Array:
        """[B, T, ...] to [B, T, ...]; `deterministic` gives x itself, and so does the initialisation."""
        check_range("PhaseShuffle", 0, whole=True, n=self.n)
        if deterministic or self.n == 0 or self.is_initializing():
            return x
        draw: Callable[[Array], Array] = lambda key: jax.random.randint(key, (), -self.n, self.n + 1)  # noqa: E731
        return shifted(x, noise(draw, self.make_rng(SHARED), global_index(len(x), self.axis_name)), self.n)
