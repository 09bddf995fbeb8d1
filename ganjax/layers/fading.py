"""How new layers of a grown network fade in (Karras et al. 2018, figure 2)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.core import Array

FADE = "fade"  # the collection of a network's variables, and entry of a player's net_state, that holds the step


def share(step: Array | int, steps: int) -> Array:
    """`alpha = min(step / steps, 1)`, scalar float32: how much of the new layers is heard after so many steps."""
    return jnp.minimum(jnp.asarray(step, jnp.float32) / steps, 1.0)


def faded(old: Array, new: Array, alpha: Array) -> Array:
    """`(1 - alpha) old + alpha new`: of finite values the old for 0 and the new for 1, bit for bit."""
    return (1 - alpha) * old + alpha * new


def share_now(module: nn.Module, side: int, steps: int) -> Array:
    """`alpha` at the step that the module's variable of the collection `FADE` holds, 0 at first.

    The variable has the side in its name, so that a network that grows further does not begin where this one ended.
    """
    step: Any = module.variable(FADE, f"step_{side}", lambda: jnp.zeros((), jnp.int32))
    return share(step.value, steps)
