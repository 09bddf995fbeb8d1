"""Samples of a run's generator, from its raw or its averaged weights."""

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_players
from ganjax.core import GameState, Key, PyTree
from ganjax.errors import ConfigError
from ganjax.training.setup import Setup

BATCH = 64  # latents per compiled call
_STANDING = 2**32 - 1  # folded into a key for other latents than those of samples; none has this number


def weights_of(setup: Setup, state: GameState, player: str, weights: str = "default") -> tuple[PyTree, PyTree]:
    """`(params, net_state)` of a player.

    Args:
        setup: what was trained.
        state: its state.
        player: whose weights.
        weights: "raw", the name of an average, or "default": the first average that is kept of the player, raw
            where there is none. An average that has seen no step yet gives the raw weights.

    Raises:
        ConfigError: there is no average of that name.
        ValueError: there is no such player.
    """
    check_players("weights_of", [player], setup.game.players)
    name = name_of_weights(setup, player, weights)
    average = state.averages.get(name)
    if average is None or not int(average.seen):
        return state.params[player], state.net_state[player]
    return setup.averages[name].average.value(average)


def name_of_weights(setup: Setup, player: str, weights: str = "default") -> str:
    """Which weights `weights_of` takes: "raw" or the name of an average."""
    names = [name for name, kept in setup.averages.items() if kept.player == player]
    if weights == "default":
        return names[0] if names else "raw"
    if weights not in ("raw", *names):
        raise ConfigError(f"--weights is {weights!r}, expected one of {['default', 'raw', *names]}")
    return weights


def draw(
    setup: Setup,
    state: GameState,
    key: Key,
    count: int,
    *,
    weights: str = "default",
    player: str = "generator",
    standing: int = 0,
) -> np.ndarray:
    """`count` samples in evaluation mode; sample i depends on the key and i alone. Classes take turns.

    Args:
        setup: what was trained.
        state: its state.
        key: of the latents.
        count: how many.
        weights: as of `weights_of`.
        player: the generator.
        standing: passes of `BATCH` examples whose BatchNorm statistics take the place of the running ones; 0 for those.

    Returns:
        [count, ...]: uint8 images where the data are images, else float32.
    """
    if setup.sample is None:
        raise ConfigError("this experiment has no generator to sample from")
    params, net_state = jax.device_put(weights_of(setup, state, player, weights))
    sample = jax.jit(setup.sample)
    if standing:
        statistics = getattr(setup.sample, "standing", None)
        if statistics is None:
            raise ConfigError("this experiment's sampler has no standing statistics; leave --standing out")
        measure = jax.jit(statistics, static_argnums=4)
        labels, own = drawn_labels(setup, standing * BATCH), jax.random.fold_in(key, _STANDING)
        net_state = measure(params, net_state, own, labels, (standing, BATCH))
    everyone = drawn_labels(setup, count + BATCH)
    parts = []
    for start in range(0, count, BATCH):
        index = jnp.arange(start, start + BATCH, dtype=jnp.int32)
        labels = None if everyone is None else everyone[start : start + BATCH]
        parts.append(np.asarray(sample(params, net_state, key, index, labels)))
    return as_data(np.concatenate(parts)[:count], setup.dataset.x_train.dtype)


def drawn_labels(setup: Setup, count: int) -> np.ndarray | None:
    """The classes that `draw` asks for, [count] int32: they take turns; None for a generator without labels."""
    classes = setup.dataset.classes if setup.labelled else None
    return None if classes is None else np.arange(count, dtype=np.int32) % classes


def as_data(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Undo the scaling of images to [-1, 1]; other data stay as they are."""
    if dtype != np.uint8:
        return x
    return np.clip(np.round((np.asarray(x, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)
