"""What the update rules do on the bilinear game `v(a, b) = ab`, in closed form.

A rotation-equivariant rule multiplies `z = a + ib` by a complex number each step; its modulus is the growth per
step, its argument the rotation. For `x^T A y` replace the step eta by `eta sigma` for each singular value sigma.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def simultaneous_multiplier(eta: ArrayLike) -> NDArray[np.complex128]:
    """`1 + i eta`: the norm grows by `sqrt(1 + eta^2)` and turns by `arctan(eta)` each step; never stable."""
    return 1 + 1j * np.asarray(eta, float)


def alternating_matrix(eta: float) -> NDArray[np.float64]:
    """The step of alternating play, a first: `[[1, -eta], [eta, 1 - eta^2]]`, [2, 2].

    Its determinant is 1 and, for `0 < eta < 2`, its eigenvalues lie on the unit circle at the angle
    `+-2 arcsin(eta / 2)`: the orbit is bounded, an ellipse, and closed after n steps if `eta = 2 sin(pi / n)`.
    """
    return np.array([[1.0, -eta], [eta, 1 - eta**2]])


def alternating_invariant(a: ArrayLike, b: ArrayLike, eta: float) -> NDArray[np.float64]:
    """`a^2 + b^2 - eta a b`, which alternating play with a first conserves exactly."""
    a, b = np.asarray(a), np.asarray(b)
    return a**2 + b**2 - eta * a * b


def closing_step(n: int) -> float:
    """The step `2 sin(pi / n)` with which alternating play is back at its start after n >= 3 steps."""
    if n < 3:
        raise ValueError(f"closing_step: n is {n}, expected at least 3")
    return 2 * float(np.sin(np.pi / n))
