"""What CycleGAN on four numbers (`games.four_scalars`) does at its solutions, in closed form."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganjax.checks import check_range


def four_scalars_eigenvalues(
    cycle: ArrayLike, penalty: ArrayLike = 0.0, identity: ArrayLike = 0.0
) -> NDArray[np.complex128]:
    """Those of the flow at (1, 1, 0, 0), [..., 4]: `-(gamma + m)/2 +- sqrt((gamma - m)^2/4 - 4)`.

    m is mu for the mode w - v and `4 lambda + mu` for w + v: the cycle damps the latter alone. Without penalty and
    identity loss these are `+-2i` and `-2 lambda +- 2 sqrt(lambda^2 - 1)`, at the inversion (-1, -1, 0, 0) too.

    Args:
        cycle: lambda.
        penalty: gamma.
        identity: mu.
    """
    check_range("four_scalars_eigenvalues", 0, cycle=cycle, penalty=penalty, identity=identity)
    cycle, penalty, identity = np.broadcast_arrays(*(np.asarray(x, float) for x in (cycle, penalty, identity)))

    def pair(damped: np.ndarray) -> list[np.ndarray]:
        root = np.sqrt((penalty - damped).astype(complex) ** 2 / 4 - 4)
        return [-(penalty + damped) / 2 + root, -(penalty + damped) / 2 - root]

    return np.stack([*pair(identity), *pair(4 * cycle + identity)], -1)
