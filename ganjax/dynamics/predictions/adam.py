"""The limit cycle of Adam on the bilinear game `v(a, b) = ab`: it neither arrives nor diverges.

Derived here, for `eps = 0` and a slow second moment. On a circle of the radius R both second moments are about
`R^2 / 2`, so Adam turns by `phi = sqrt(2) lr / R` a step. Two things change the radius.

Out: the first moment lags by `phi beta1 / (1 - beta1)`, which pushes outwards, `R'/R = phi^2 beta1 / (1 - beta1)`;
players who move at once add the `phi^2 / 2` of simultaneous play, players who take turns add nothing.

In: a moment of rate `e = 1 - beta2` follows `b^2 = R^2 (1 - cos 2 phi t) / 2` with a quarter of a turn's lag and the
relative amplitude `e / (2 phi)`; so each player's steps are shorter while it moves outwards and longer while it moves
inwards. Averaged over a turn, and over both, `R'/R = -e / 8`.

They balance at one radius, which attracts from both sides. This needs `e << phi << 1 - beta1`: see `adam_slowness`. A
faster second moment changes the circle by a few percent, and nearer to `beta2 = beta1 > 0` enlarges it without limit:
there (measured, not derived) a turn adds a constant to the radius, and as larger orbits take longer, it grows as
`sqrt(t)`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range

Real = NDArray[np.float64]


def adam_radius(lr: ArrayLike, b1: ArrayLike, b2: ArrayLike) -> Real:
    """`lr sqrt(8 (1 + beta1) / ((1 - beta1)(1 - beta2)))`, where simultaneous Adam ends up circling.

    Derived above: `phi^2 (1 + beta1) / (2 (1 - beta1)) = (1 - beta2) / 8` with `phi = sqrt(2) lr / R`.
    """
    check_range("adam_radius", 0, lr=lr)
    return np.sqrt(2) * np.asarray(lr, float) / adam_angle(b1, b2)


def alternating_adam_radius(lr: ArrayLike, b1: ArrayLike, b2: ArrayLike) -> Real:
    """`lr sqrt(16 beta1 / ((1 - beta1)(1 - beta2)))`, where alternating Adam ends up circling.

    Derived above: `phi^2 beta1 / (1 - beta1) = (1 - beta2) / 8`. Without a first moment (`beta1 = 0`) nothing pushes
    outwards and the orbit falls to about lr, where it cannot be slow any more.
    """
    check_range("alternating_adam_radius", 0, lr=lr)
    with np.errstate(divide="ignore"):
        return np.sqrt(2) * np.asarray(lr, float) / alternating_adam_angle(b1, b2)


def adam_angle(b1: ArrayLike, b2: ArrayLike) -> Real:
    """`sqrt((1 - beta1)(1 - beta2) / (4 (1 + beta1)))`, the turn per step on the limit cycle of simultaneous Adam."""
    _check_moments("adam_angle", b1, b2)
    b1, b2 = np.asarray(b1, float), np.asarray(b2, float)
    return np.sqrt((1 - b1) * (1 - b2) / (4 * (1 + b1)))


def alternating_adam_angle(b1: ArrayLike, b2: ArrayLike) -> Real:
    """`sqrt((1 - beta1)(1 - beta2) / (8 beta1))`, the turn per step on the limit cycle of alternating Adam."""
    _check_moments("alternating_adam_angle", b1, b2, least=0)
    b1, b2 = np.asarray(b1, float), np.asarray(b2, float)
    with np.errstate(divide="ignore"):
        return np.sqrt((1 - b1) * (1 - b2) / (8 * b1))


def adam_slowness(angle: ArrayLike, b1: ArrayLike, b2: ArrayLike) -> Real:
    """`max((1 - beta2) / phi, phi / (1 - beta1))`: what the derivation takes for small.

    The radii, as the mean over a turn, miss by less than a tenth of its square: by less than one percent up to 0.3.
    """
    check_range("adam_slowness", 0, above=True, angle=angle)
    _check_moments("adam_slowness", b1, b2)
    angle = np.asarray(angle, float)
    return np.maximum((1 - np.asarray(b2, float)) / angle, angle / (1 - np.asarray(b1, float)))


def _check_moments(where: str, b1: ArrayLike, b2: ArrayLike, least: float = -1) -> None:
    check_range(where, least, 1, above=least < 0, below=True, b1=b1)
    check_range(where, 0, 1, below=True, b2=b2)
