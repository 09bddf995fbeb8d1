"""Measures of held-out examples: what a setup says of its own networks, beside what metrics say of samples."""

from collections.abc import Callable

import jax
import numpy as np

from ganjax.checks import check_name
from ganjax.core import Array, Draw, GameState, PyTree, Weights, substream
from ganjax.data import subsample
from ganjax.evaluation.receipt import Score
from ganjax.training import Keys, Setup, weights_of
from ganjax.training.sampling import in_batches, name_of_weights
from ganjax.training.streams import encoded, named_y

COUNT = 10_000  # examples at most


def measured(
    setup: Setup,
    name: str,
    seed: int = 0,
    *,
    split: str = "",
    count: int = COUNT,
    weights: str = "default",
) -> Callable[[GameState], float]:
    """`state -> the measure of that name`, over a `subsample` of a split.

    Args:
        setup: what was trained.
        name: of the measure.
        seed: of whatever it draws.
        split: "test" or "train"; by default held-out examples, or training examples where nothing is held out.
        count: examples at most.
        weights: as of `weights_of`.

    Raises:
        ValueError: there is no such measure.
        DataError: the data have not what it reads.
    """
    check_name("measured", "name", name, list(setup.measures))
    take = _values(setup, name, seed, split, count, weights)
    return lambda state: float(setup.measures[name].summary(take(state)))


def _values(setup: Setup, name: str, seed: int, split: str, count: int, weights: str) -> Callable[[GameState], PyTree]:
    """`state -> what the measure makes of each example`, NumPy arrays [N, ...]; arguments as of `measured`."""
    measure = setup.measures[name]
    data = setup.streams[measure.stream].dataset
    split = split or split_of(setup, name)
    x, y = getattr(data, f"x_{split}"), named_y(data, measure.y, split)
    rows = subsample(len(x), count)
    key = substream(Keys.of(seed).samples, Draw.OTHER)

    @jax.jit
    def values(chosen: Weights, x: Array, y: PyTree, position: Array) -> PyTree:
        return measure.values(chosen, encoded(data, measure.y, x, y, position), key)

    def take(state: GameState) -> PyTree:
        chosen = jax.device_put(weights_of(setup, state, measure.players, weights))

        def of(index: np.ndarray) -> PyTree:
            own = rows[np.minimum(index, len(rows) - 1)]
            return values(chosen, x[own], jax.tree.map(lambda leaf: leaf[own], y), index)

        return in_batches(of, len(rows), measure.batch)

    return take


def split_of(setup: Setup, name: str) -> str:
    """The split that a measure is taken of: "test", or "train" where nothing is held out."""
    return "train" if setup.streams[setup.measures[name].stream].dataset.x_test is None else "test"


def reads_withheld(setup: Setup, name: str) -> bool:
    """Whether a measure reads what its stream withholds from players, such as the labels of a target domain.

    To choose a checkpoint by it is to train on it.
    """
    measure = setup.measures[name]
    names = lambda y: {y} if isinstance(y, str) else set(y or ())  # noqa: E731
    return not names(measure.y) <= names(setup.streams[measure.stream].y)


def score_of(setup: Setup, state: GameState, name: str, *, seed: int, count: int, weights: str) -> Score:
    """A measure as `evaluate` reports it, of held-out examples.

    The note says how much it is of as many training examples, and what else the measure says of its values.
    """
    values = _values(setup, name, seed, "", count, weights)(state)
    measure, split = setup.measures[name], split_of(setup, name)
    size = min(count, len(getattr(setup.streams[measure.stream].dataset, f"x_{split}")))
    note = f"of {size} {split} examples of {setup.streams[measure.stream].dataset.name}"
    if split == "test":
        known = measured(setup, name, seed, split="train", count=size, weights=weights)
        note += f"; {known(state):.4g} of as many training examples"
    note += f", {name_of_weights(setup, state, measure.players, weights)} weights"
    note += f"; {measure.note(values)}" if measure.note else ""
    return Score(value=float(measure.summary(values)), floor=None, held_out=None, better=measure.better, note=note)
