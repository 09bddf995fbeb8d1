"""What every public function asks of its arguments: numbers within a range, and players that there are."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ganjax.errors import did_you_mean


def check_range(
    where: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    whole: bool = False,
    **values: Any,
) -> None:
    """Raise unless every number, or all of an array, is finite and in `[low, high]`; `above` and `below` open its ends.

    What is not known yet, inside a compiled function, passes, and so do schedules and None.

    >>> check_range("lookahead", 0, 1, above=True, alpha=-3)
    Traceback (most recent call last):
    ValueError: lookahead: alpha is -3, expected more than 0, at most 1

    Args:
        where: the function that was called.
        low: the least allowed.
        high: the greatest allowed.
        above: `low` itself is too little.
        below: `high` itself is too much.
        whole: expect integers.
        values: keyed by the argument's name.

    Raises:
        ValueError: one of them lies outside.
        TypeError: one of them is no number.
    """
    for name, value in values.items():
        if value is None or callable(value) or _is_traced(value):
            continue
        array = np.asarray(value)
        if array.dtype.kind not in ("iu" if whole else "iuf") and (whole or array.dtype.name != "bfloat16"):
            raise TypeError(f"{where}: {name} is {value!r}, expected {'a whole number' if whole else 'a number'}")
        enough = array > low if above else array >= low
        little = array < high if below else array <= high
        if not (enough & little & np.isfinite(array)).all():
            raise ValueError(f"{where}: {name} is {value}, expected {_range(low, high, above, below)}")


def _is_traced(value: Any) -> bool:
    """Whether the value is not known before a compiled function runs."""
    if isinstance(value, int | float | tuple | np.generic | np.ndarray):
        return False
    from jax.core import Tracer  # not before: data are read without JAX

    return isinstance(value, Tracer)


def _range(low: float, high: float, above: bool, below: bool) -> str:
    """The range in words."""
    ends = [] if math.isinf(low) else [f"{'more than' if above else 'at least'} {low:g}"]
    ends += [] if math.isinf(high) else [f"{'less than' if below else 'at most'} {high:g}"]
    return ", ".join(ends) or "a finite number"


def check_kind(where: str, kind: type, **values: Any) -> None:
    """Raise `TypeError` about the first of these that is not of the kind; None passes."""
    for name, value in values.items():
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{where}: {name} is {value!r}, expected {kind.__module__}.{kind.__name__}")


def check_name(where: str, what: str, name: Any, known: Iterable[Any]) -> None:
    """Raise `ValueError` unless the name is known; says which are, and which one was probably meant."""
    names = list(known)
    if name not in names:
        raise ValueError(
            f"{where}: {what} is {name!r}, expected one of {names}{did_you_mean(str(name), map(str, names))}"
        )


def check_players(where: str, players: Iterable[str] | None, game: Iterable[str]) -> None:
    """Raise `ValueError` about the first of these players that the game has not."""
    if isinstance(players, str):
        raise TypeError(f"{where}: players is {players!r}, expected several names, such as [{players!r}]")
    for player in players or ():
        names = sorted(game)
        if player not in names:
            near = did_you_mean(str(player), names)
            raise ValueError(f"{where}: the player {player!r} is not in the game, which has {names}{near}")


def check_each(where: str, what: str, given: Any, game: Iterable[str], *, needed: Iterable[str] | None = None) -> None:
    """Raise `ValueError` unless a mapping is keyed by players of the game, the needed ones, by default all, among them.

    What is no mapping holds for all players.
    """
    if not isinstance(given, Mapping):
        return
    names = sorted(game)
    check_players(where, given, names)
    if missing := [player for player in (names if needed is None else needed) if player not in given]:
        raise ValueError(f"{where}: {what} is for the players {sorted(given)} and lacks {missing}; give one for each")
