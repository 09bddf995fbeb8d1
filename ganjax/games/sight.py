"""What stands between an example and the discriminator: noise, kept fakes, packs, augmentation."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from ganjax.augment import Augmentation
from ganjax.checks import check_kind, check_range
from ganjax.core import Array, Draw, Key, PyTree, substream
from ganjax.games import replay

OfStep = Callable[[Array | int], Array | float]  # the step, scalar int32 -> value

_POOL, _AUGMENT = "pool", "augment"


@dataclasses.dataclass(frozen=True)
class Sight:
    """What a discriminator sees of real and generated examples; by default these themselves.

    The fields stand in the order in which they act. What a sight remembers lies in the discriminator's `net_state`.

    >>> Sight(instance_noise=lambda step: 0.1 / (1 + step), packing=2).joins
    True

    Raises:
        ValueError: a number is out of its range.
        TypeError: `augment` is no `Augmentation`.
    """

    output_noise: float = 0.0  # deviation of Gaussian noise on generated examples alone, as if it were part of G
    # Size of a pool of earlier fakes, from which half of those in the discriminator's turn are (Shrivastava et al.
    # 2017).
    fakes_kept: int = 0
    # Deviation of Gaussian noise on real and generated examples (Sonderby et al. 2017), or a function of the step.
    instance_noise: float | OfStep = 0.0
    packing: int = 1  # examples that are seen at once, joined along the last axis (PacGAN, Lin et al. 2018)
    # Changes real and generated examples in both players' turns (Zhao et al. 2020; Karras et al. 2020).
    augment: Augmentation | None = None

    entries: ClassVar[tuple[str, ...]] = (_POOL, _AUGMENT)  # of the discriminator's net_state that belong to a sight

    def __post_init__(self) -> None:
        check_range("Sight", 1, whole=True, packing=self.packing)
        check_range("Sight", 0, whole=True, fakes_kept=self.fakes_kept)
        check_range("Sight", 0, instance_noise=self.instance_noise, output_noise=self.output_noise)
        check_kind("Sight", Augmentation, augment=self.augment)

    @property
    def joins(self) -> bool:
        """Whether it brings examples together that have no single label."""
        return self.packing > 1 or self.fakes_kept > 0

    def init(self, fakes: Callable[[Array], Array]) -> dict:
        """What it remembers, given `index [N] -> fakes [N, ...]`."""
        pool = {_POOL: fakes(jnp.arange(self.fakes_kept))} if self.fakes_kept else {}
        return pool if self.augment is None else {**pool, _AUGMENT: self.augment.init()}

    def first(self, x: Array) -> Array:
        """What has the shape of what the discriminator sees of x, [B, ...]."""
        return x if self.packing == 1 else self._packed(jnp.repeat(x[:1], self.packing, axis=0))

    def made(self, x_fake: Array, keys: Array) -> Array:
        """What the generator made, [B, ...], with output noise from a key of each example, [B]."""
        return _noisy(x_fake, self.output_noise, keys)

    def exchanged(
        self, d_state: PyTree, x_fake: Array, position: Array, key: Key, axis_name: str | None
    ) -> tuple[PyTree, Array]:
        """The discriminator's `net_state` and fakes after `replay.swap`, through which no gradient goes."""
        if not self.fakes_kept:
            return d_state, x_fake
        pool, x_fake = replay.swap(d_state[_POOL], jax.lax.stop_gradient(x_fake), position, key, axis_name)
        return {**d_state, _POOL: pool}, x_fake

    def packs(self, x: Array, step: Array | int, keys: Array) -> Array:
        """[B, ..., C] to [B / packing, ..., packing * C], with instance noise from a key of each example, [B].

        Raises:
            ValueError: B is no multiple of `packing`.
        """
        std = self.instance_noise(step) if callable(self.instance_noise) else self.instance_noise
        return self._packed(_noisy(x, std, keys))

    def see(self, d_state: PyTree, packs: Array, keys: Array) -> Array:
        """The packs, each of their examples augmented with what is drawn from its own key, [B]."""
        augment = self.augment
        if augment is None:
            return packs
        change = lambda key, one: augment.apply(d_state[_AUGMENT], substream(key, Draw.OTHER), one)  # noqa: E731
        examples = packs if self.packing == 1 else jnp.concatenate(jnp.split(packs, self.packing, axis=-1))
        return self._packed(jax.vmap(change)(keys, examples))

    def update(self, d_state: PyTree, real_logits: Array, axis_name: str | None, parts: int) -> PyTree:
        """The discriminator's `net_state` after its turn of so many micro-batches, of which the augmentation learns."""
        if self.augment is None:
            return d_state
        new = self.augment.update(d_state[_AUGMENT], real_logits, axis_name, self.packing * parts)
        return {**d_state, _AUGMENT: new}

    def _packed(self, x: Array) -> Array:
        """Example i with i + B / packing, and so on: these are on one device, however many share the batch."""
        if self.packing == 1:
            return x
        if len(x) % self.packing:
            raise ValueError(f"gan: a batch of {len(x)} cannot be packed by {self.packing}; expected a multiple")
        return jnp.concatenate(jnp.split(x, self.packing), axis=-1)


PLAIN = Sight()


def _noisy(x: Array, std: Array | float, keys: Array) -> Array:
    """`x + std e`, with the noise of each example from its own key."""
    if isinstance(std, float | int) and std == 0:
        return x
    return x + (std * jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)).astype(x.dtype)
