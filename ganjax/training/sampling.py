"""Samples of what a run has trained, from its raw or its averaged weights, and what they are asked for."""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import numpy as np

from ganjax.checks import check_players, check_range
from ganjax.core import Array, Draw, GameState, Key, PyTree, Sampler, Weights, substream
from ganjax.data import Dataset, load, subsample
from ganjax.data.dataset import CLASS
from ganjax.data.shifted import coloured
from ganjax.errors import ConfigError, reason
from ganjax.kinds import Kind
from ganjax.training.setup import Setup

BATCH = 128  # samples of a call
PASS = 64  # examples of a pass that BatchNorm's statistics are measured in


def weights_of(setup: Setup, state: GameState, players: Sequence[str], weights: str = "default") -> Weights:
    """The weights of these players.

    Args:
        setup: what was trained.
        state: its state.
        players: whose weights.
        weights: "raw", the name of an average, or "default": the first average that is kept of any of them, raw
            where there is none. Players that the average is not of have their raw weights, and so has everybody while
            it has seen no step; `name_of_weights` says which it is.

    Raises:
        ConfigError: there is no average of that name.
        ValueError: there is no such player.
    """
    check_players("weights_of", players, state.params)
    name = name_of_weights(setup, state, players, weights)
    averaged = {} if name == "raw" else setup.averages[name].value(state.averages[name])
    return {player: averaged.get(player, state.weights[player]) for player in players}


def name_of_weights(setup: Setup, state: GameState, players: Sequence[str], weights: str = "default") -> str:
    """Which weights `weights_of` takes: "raw" or the name of an average that has seen a step."""
    names = [name for name, kept in setup.averages.items() if {*kept.owners} & {*players}]
    if weights not in ("default", "raw", *names):
        raise ConfigError(f"--weights is {weights!r}, expected one of {['default', 'raw', *names]}")
    chosen = next(iter(names), "raw") if weights == "default" else weights
    average = state.averages.get(chosen)
    return chosen if average is not None and int(average.seen) else "raw"


class Given(NamedTuple):
    """What samples are asked for: rows of a data set, or values of their own."""

    values: PyTree  # [N, ...] as stored; None where nothing is asked for
    how: str  # for receipts: which rows, of which split
    split: str = "test"  # of which they are examples
    rows: np.ndarray | None = None  # [N] integers, which examples, if they are any


class Drawing(TypedDict, total=False):
    """How samples are drawn, as `draw` takes it by name."""

    sampler: str
    weights: str
    standing: int
    truncation: float | None


def draw(
    setup: Setup, state: GameState, key: Key, count: int, given: PyTree = None, **how: Unpack[Drawing]
) -> np.ndarray:
    """`count` samples in evaluation mode; sample i depends on the key, on i and on what it is given alone.

    Args:
        setup: what was trained.
        state: its state.
        key: of the latents.
        count: how many.
        given: [count, ...] as stored, such as integer classes; by default what `in_turn` asks for.
        how: sampler, weights, standing statistics, truncation, as of `drawing`.

    Returns:
        [count, ...], as the data that are imitated are stored: uint8 images, float32 points.

    Raises:
        ConfigError: as of `drawing`.
        ValueError: as of `drawing`.
    """
    calls = drawing(setup, state, key, count, given, **how)
    return in_batches(calls.program, count, calls.batch)


class Calls(NamedTuple):
    """Samples, call after call of one compiled program."""

    program: Callable[[np.ndarray], Array]  # [batch] int32, which samples, to [batch, ...]
    batch: int

    def milliseconds(self) -> float:
        """Wall time of a sample in a full call, the faster of two, once the program is compiled."""

        def once() -> float:
            start = time.perf_counter()
            np.asarray(self.program(np.arange(self.batch, dtype=np.int32)))
            return time.perf_counter() - start

        return 1000 * min(once(), once()) / self.batch


def drawing(
    setup: Setup,
    state: GameState,
    key: Key,
    count: int,
    given: PyTree = None,
    *,
    sampler: str = "",
    weights: str = "default",
    standing: int = 0,
    truncation: float | None = None,
) -> Calls:
    """What `draw` computes, call by call.

    Args:
        setup: what was trained.
        state: its state.
        key: of the latents.
        count: how many.
        given: [count, ...] as stored, such as integer classes; by default what `in_turn` asks for.
        sampler: its name; the first by default.
        weights: as of `weights_of`.
        standing: passes of `PASS` examples, given what is as frequent as in the data, whose BatchNorm statistics take
            the place of the running ones; 0 for those.
        truncation: of the prior; None leaves it whole.

    Raises:
        ConfigError: no sampler, no such weights, a prior that cannot be truncated, or standing statistics of networks
            without BatchNorm.
        ValueError: a count below 1, or what is given has another length or is no class.
    """
    check_range("draw", 1, whole=True, count=count)
    check_range("draw", 0, whole=True, standing=standing)
    draws = setup.sampler(sampler)
    if truncation is not None and draws.latent is None:
        raise ConfigError("--truncation: what is drawn of this run has no latent that could be truncated; leave it out")
    chosen = jax.device_put(weights_of(setup, state, draws.players, weights))
    values = in_turn(setup, draws, count).values if given is None else checked(setup, draws, given, count)
    if standing:
        chosen = _standing(setup, draws, chosen, key, standing, truncation)
    program = _program(draws)
    decode = setup.imitated(draws).kind.decode

    def of(index: np.ndarray) -> Array:
        asked = encoded_given(setup, draws, values, np.minimum(index, count - 1))
        return decode(program(chosen, key, index, asked, truncation))

    return Calls(of, draws.batch)


@lru_cache(maxsize=8)
def _program(draws: Sampler) -> Callable[..., Array]:
    """The compiled sampler, which a run draws of again and again."""
    return jax.jit(lambda *told: draws(*told), static_argnums=4)  # for no weak reference to a tuple can be kept


def _standing(
    setup: Setup, draws: Sampler, chosen: Weights, key: Key, passes: int, truncation: float | None
) -> Weights:
    """The weights with statistics of so many passes, of classes as frequent as in the data."""
    stateful = [player for player in draws.players if "batch_stats" in chosen[player].net_state]
    if draws.standing is None or not stateful:
        raise ConfigError("this experiment's generator has no BatchNorm to measure; leave --standing out")
    usual = encoded_given(setup, draws, usual_given(setup, draws, passes * PASS), np.arange(passes * PASS))
    measure = jax.jit(draws.standing, static_argnums=(3, 4))
    return measure(chosen, substream(key, Draw.OTHER), usual, (passes, PASS), truncation)


def in_batches(program: Callable[[np.ndarray], PyTree], count: int, batch: int = BATCH) -> Any:
    """Rows 0 to count - 1 of what a program computes, on the host; a call is under way while the last is copied.

    Args:
        program: [batch] int32 to a tree of [batch, ...], always full, so that a row has the same bits whatever the
            count.
        count: at least 1.
        batch: rows of a call.
    """
    calls = (program(np.arange(start, start + batch, dtype=np.int32)) for start in range(0, count, batch))
    parts, last = [], next(calls)
    for call in calls:
        parts.append(jax.tree.map(np.asarray, last))
        last = call
    parts.append(jax.tree.map(np.asarray, last))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)


def given_of(setup: Setup, draws: Sampler) -> tuple[Dataset, str] | None:
    """The data set that a sampler is given examples of, and which of its arrays: "x", or the name of a y."""
    return None if draws.given is None else (setup.streams[draws.given[0]].dataset, draws.given[1])


def of_split(dataset: Dataset, what: str, split: str, rows: Any = None) -> np.ndarray | None:
    """Those rows of a split, of its x or of a y of that name; all by default; None if there is no such split."""
    values = getattr(dataset, f"x_{split}") if what == "x" else dataset.y(what, split)
    return values if values is None or rows is None else values[rows]


def held_out(dataset: Dataset, what: str) -> str:
    """The split that gives samplers their examples: "test", or "train" where nothing is held out."""
    return "train" if of_split(dataset, what, "test") is None else "test"


def in_turn(setup: Setup, draws: Sampler, count: int, classes: Sequence[int] = ()) -> Given:
    """What the samples of a picture are asked for: the classes that there are in turn, or held-out examples.

    Raises:
        ConfigError: as of `classes_of`.
    """
    asked = given_of(setup, draws)
    if asked is None or asked[1] == CLASS:
        known = classes_of(setup, draws, classes)
        return Given(None, "nothing") if known is None else Given(np.resize(known, count), "classes in turn")
    if classes:
        raise ConfigError("--classes: what is drawn of this run is not asked for classes; leave it out")
    dataset, what = asked
    split = held_out(dataset, what)
    rows = np.resize(subsample(len(getattr(dataset, f"x_{split}")), count), count)
    return Given(of_split(dataset, what, split, rows), f"{what} of {split} examples of {dataset.name}", split, rows)


def told(setup: Setup, draws: Sampler, words: Sequence[str], count: int) -> Given:
    """What the command line asks for, in turn: classes or captions word by word, images as the path of a set of them.

    Raises:
        ConfigError: the sampler is asked for nothing, or a word is nothing of the kind that it is asked for.
        DataError: there are no such images, or they have another shape.
    """
    asked = given_of(setup, draws)
    if asked is None:
        raise ConfigError("--given: what is drawn of this run is asked for nothing; leave it out")
    (dataset, what), kind = asked, given_kind(setup, draws)
    if kind.parse is None:
        wanted = of_split(dataset, what, "train").shape[1:]  # type: ignore[union-attr]
        own = load(words[0])
        raw = own.x_train[np.arange(count) % len(own.x_train)]
        x = _formed(raw, wanted, dataset) if kind.name == "image" and raw.dtype == np.uint8 else raw
        if len(words) > 1 or x.shape[1:] != wanted:
            got = f"{own.kind.plural} of {own.shape}"
            raise ConfigError(f"--given {words[0]} has {got}, expected one set of {kind.plural} of {wanted}")
        return Given(x, f"{kind.name}s of {words[0]}")
    try:
        values = np.stack([np.asarray(kind.parse(word)) for word in words])
    except ValueError as error:
        raise ConfigError(f"--given: {reason(error)}") from None
    if what == CLASS:
        return in_turn(setup, draws, count, values.tolist())
    return Given(values[np.arange(count) % len(values)], f"--given {' '.join(words)}")


def _formed(x: np.ndarray, wanted: tuple[int, ...], dataset: Dataset) -> np.ndarray:
    """Raw images of any size as the data set has them: grey or RGB, and what else its own images went through."""
    if x.ndim != 4:
        return x
    x = x if x.shape[-1] == wanted[-1] else coloured(x, "grey" if wanted[-1] == 1 else "rgb")
    return x if dataset.form is None else dataset.form(x)


def unknown_words(setup: Setup, draws: Sampler, texts: Sequence[str]) -> list[str]:
    """The words of texts that the data of a sampler, which is asked for captions, do not have, each once.

    Raises:
        ConfigError: it is not asked for captions, or a text holds no word that they have.
    """
    facts = {} if draws.given is None else given_kind(setup, draws).facts
    if "vocabulary" not in facts:
        asked = "nothing" if draws.given is None else f"{given_kind(setup, draws).plural}, by --given"
        raise ConfigError(f"--text: what is drawn of this run is asked for {asked}, not for captions; leave it out")
    try:
        for text in texts:
            given_kind(setup, draws).parse(text)  # type: ignore[misc]
    except ValueError as error:
        raise ConfigError(f"--text: {reason(error)}") from None
    return list(dict.fromkeys(word for text in texts for word in facts["vocabulary"].unknown(text)))


def checked(setup: Setup, draws: Sampler, given: PyTree, count: int) -> PyTree:
    """What is given, if it is of `count` samples, and of classes that there are.

    Raises:
        ValueError: it is not.
    """
    asked = given_of(setup, draws)
    if asked is None:
        raise ValueError("draw: something is given to a sampler that is asked for nothing; leave it out")
    if np.shape(given)[:1] != (count,):
        raise ValueError(f"draw: what is given has shape {np.shape(given)}, expected ({count}, ...), one a sample")
    dataset, what = asked
    if what != CLASS:
        return np.asarray(given)
    if np.shape(given) != (count,):
        raise ValueError(f"draw: labels have shape {np.shape(given)}, expected ({count},), a class for each sample")
    check_range("draw", 0, (dataset.classes or 1) - 1, whole=True, labels=given)
    return np.asarray(given, np.int32)


def encoded_given(setup: Setup, draws: Sampler, values: PyTree, rows: np.ndarray) -> PyTree:
    """These rows of what is given, as networks see it."""
    if values is None or draws.given is None:
        return None
    return jax.tree.map(jax.numpy.asarray, given_kind(setup, draws).encode(values[rows]))


def given_kind(setup: Setup, draws: Sampler) -> Kind:
    """What a sampler is given, if it is given anything."""
    dataset, what = given_of(setup, draws)  # type: ignore[misc]
    return dataset.kind if what == "x" else dataset.y_kind(what)


def classes_of(setup: Setup, draws: Sampler, classes: Sequence[int] = ()) -> np.ndarray | None:
    """The classes that can be asked for, [K] int32: all that have training examples, or those that are given.

    Returns:
        None for a sampler that takes no labels.

    Raises:
        ConfigError: classes are given that no training example has, or to a sampler that takes none.
    """
    asked = given_of(setup, draws)
    if asked is None or asked[1] != CLASS or asked[0].y_train is None:
        if classes:
            raise ConfigError("--classes: the generator of this run takes no classes; leave it out")
        return None
    known = np.unique(asked[0].y_train)
    for label in classes:
        if label not in known:
            few = ", ".join(map(str, known[:20])) + (", ..." if len(known) > 20 else "")
            raise ConfigError(f"--classes holds {label}, which no training example has; expected some of {few}")
    return np.asarray(classes, np.int32) if classes else known


def usual_given(setup: Setup, draws: Sampler, count: int) -> np.ndarray | None:
    """What is given to `count` samples, as frequent as among the training examples; None where nothing is."""
    asked = given_of(setup, draws)
    if asked is None:
        return None
    rows = np.random.default_rng(0).permutation(len(asked[0].x_train))
    return of_split(*asked, "train", np.resize(rows, count))
