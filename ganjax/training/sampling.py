"""Samples of a run's generator, from its raw or its averaged weights."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganjax.checks import check_players, check_range
from ganjax.core import Array, Draw, GameState, Key, PyTree, substream
from ganjax.errors import ConfigError
from ganjax.training.setup import Setup

BATCH = 128  # latents per compiled call
PASS = 64  # examples of a pass that BatchNorm's statistics are measured in


def weights_of(setup: Setup, state: GameState, player: str, weights: str = "default") -> tuple[PyTree, PyTree]:
    """`(params, net_state)` of a player.

    Args:
        setup: what was trained.
        state: its state.
        player: whose weights.
        weights: "raw", the name of an average, or "default": the first average that is kept of the player, raw
            where there is none. An average that has seen no step yet gives the raw weights, by `name_of_weights` too.

    Raises:
        ConfigError: there is no average of that name.
        ValueError: there is no such player.
    """
    check_players("weights_of", [player], state.params)
    name = name_of_weights(setup, state, player, weights)
    if name == "raw":
        return state.params[player], state.net_state[player]
    return setup.averages[name].average.value(state.averages[name])


def name_of_weights(setup: Setup, state: GameState, player: str, weights: str = "default") -> str:
    """Which weights `weights_of` takes: "raw" or the name of an average that has seen a step."""
    names = [name for name, kept in setup.averages.items() if kept.player == player]
    if weights not in ("default", "raw", *names):
        raise ConfigError(f"--weights is {weights!r}, expected one of {['default', 'raw', *names]}")
    chosen = next(iter(names), "raw") if weights == "default" else weights
    average = state.averages.get(chosen)
    return chosen if average is not None and int(average.seen) else "raw"


def draw(
    setup: Setup,
    state: GameState,
    key: Key,
    count: int,
    labels: np.ndarray | None = None,
    *,
    weights: str = "default",
    player: str = "generator",
    standing: int = 0,
) -> np.ndarray:
    """`count` samples in evaluation mode; sample i depends on the key, on i and on its class alone.

    Args:
        setup: what was trained.
        state: its state.
        key: of the latents.
        count: how many.
        labels: [count] integers, the classes to ask for; by default those of `drawn_labels`.
        weights: as of `weights_of`.
        player: the generator.
        standing: passes of `PASS` examples, of classes as frequent as in the data, whose BatchNorm statistics take the
            place of the running ones; 0 for those.

    Returns:
        [count, ...]: uint8 images where the data are images, else float32.

    Raises:
        ConfigError: no generator, no such weights, or standing statistics of a generator without BatchNorm.
        ValueError: a count below 1, or labels of another shape or of no class.
    """
    check_range("draw", 1, whole=True, count=count)
    check_range("draw", 0, whole=True, standing=standing)
    if setup.sample is None:
        raise ConfigError("this experiment has no generator to sample from")
    params, net_state = jax.device_put(weights_of(setup, state, player, weights))
    sample = jax.jit(setup.sample)
    if standing:
        statistics = getattr(setup.sample, "standing", None)
        if statistics is None or "batch_stats" not in net_state:
            raise ConfigError("this experiment's generator has no BatchNorm to measure; leave --standing out")
        measure = jax.jit(statistics, static_argnums=4)
        usual, own = _usual_labels(setup, standing * PASS), substream(key, Draw.OTHER)
        net_state = measure(params, net_state, own, usual, (standing, PASS))
    if labels is not None and np.shape(labels) != (count,):
        raise ValueError(f"draw: labels have shape {np.shape(labels)}, expected ({count},), a class for each sample")
    if labels is not None and setup.labelled:
        check_range("draw", 0, (setup.dataset.classes or 1) - 1, whole=True, labels=labels)
    everyone = drawn_labels(setup, count) if labels is None else np.asarray(labels, np.int32)

    def of(index: np.ndarray) -> Array:
        asked = None if everyone is None else everyone[np.minimum(index, count - 1)]
        return as_data(sample(params, net_state, key, index, asked), setup.dataset.x_train.dtype)

    return in_batches(of, count)


def in_batches(program: Callable[[np.ndarray], Array], count: int) -> np.ndarray:
    """Rows 0 to count - 1 of what a program computes, on the host; a call is under way while the last is copied.

    Args:
        program: [BATCH] int32 to [BATCH, ...], always full, so that a row has the same bits whatever the count.
        count: at least 1.
    """
    calls = (program(np.arange(start, start + BATCH, dtype=np.int32)) for start in range(0, count, BATCH))
    parts, last = [], next(calls)
    for call in calls:
        parts.append(np.asarray(last))
        last = call
    return np.concatenate([*parts, np.asarray(last)])[:count]


def drawn_labels(setup: Setup, count: int, classes: Sequence[int] = ()) -> np.ndarray | None:
    """The classes of a picture's samples, [count] int32: those of `classes_of` in turn; None without labels."""
    found = classes_of(setup, classes)
    return None if found is None else np.resize(found, count)


def classes_of(setup: Setup, classes: Sequence[int] = ()) -> np.ndarray | None:
    """The classes that can be asked for, [K] int32: all that have training examples, or those that are given.

    Returns:
        None for a generator that takes no labels.

    Raises:
        ConfigError: classes are given that no training example has, or to a generator that takes none.
    """
    if not setup.labelled or setup.dataset.y_train is None:
        if classes:
            raise ConfigError("--classes: the generator of this run takes no classes; leave it out")
        return None
    known = np.unique(setup.dataset.y_train)
    for label in classes:
        if label not in known:
            few = ", ".join(map(str, known[:20])) + (", ..." if len(known) > 20 else "")
            raise ConfigError(f"--classes holds {label}, which no training example has; expected some of {few}")
    return np.asarray(classes, np.int32) if classes else known


def _usual_labels(setup: Setup, count: int) -> np.ndarray | None:
    """[count] int32, classes as frequent as among the training examples."""
    y = setup.dataset.y_train if setup.labelled else None
    return None if y is None else np.resize(y[np.random.default_rng(0).permutation(len(y))], count)


def as_data(x: Any, dtype: np.dtype) -> Any:
    """Undo the scaling of images to [-1, 1], on the device if `x` lies there; other data stay as they are."""
    if dtype != np.uint8:
        return x
    return _bytes_on_device(x) if isinstance(x, jax.Array) else _bytes(x, np)


def _bytes(x: Any, xp: Any) -> Any:
    return xp.clip(xp.round((xp.asarray(x, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


_bytes_on_device = jax.jit(partial(_bytes, xp=jnp))
