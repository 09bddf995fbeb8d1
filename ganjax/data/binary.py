"""Binary images of sixteen pixels: all 65,536 of them can be counted, so that every likelihood is exact."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganjax.checks import check_range

Images = NDArray[np.float32]  # [N, H, W, 1], -1 and 1 as networks see binary images


def states(height: int = 4, width: int = 4) -> Images:
    """All binary images of this size, [2^(H W), H, W, 1]; number n shows the binary digits of n, the first the highest.

    >>> states(1, 2)[..., 0].tolist()
    [[[-1.0, -1.0]], [[-1.0, 1.0]], [[1.0, -1.0]], [[1.0, 1.0]]]

    Raises:
        ValueError: a side below 1, or more than 20 pixels.
    """
    check_range("states", 1, whole=True, height=height, width=width)
    check_range("states", 1, 20, whole=True, pixels=height * width)
    places = np.arange(height * width)[::-1]
    bits = np.arange(2 ** (height * width))[:, None] >> places & 1
    return (2 * bits - 1).astype(np.float32).reshape(-1, height, width, 1)


def index(x: Any) -> NDArray[np.int64]:
    """The numbers of these images among `states`, [N].

    >>> index(states(2, 2)[5:7]).tolist()
    [5, 6]
    """
    bits = np.asarray(x).reshape(len(x), -1) > 0
    return bits @ (1 << np.arange(bits.shape[1])[::-1])


def bars_and_stripes(side: int = 4) -> Images:
    """Images of whole rows or of whole columns, each pattern once: `2^(side + 1) - 2` of them (30 of 4x4).

    Their uniform law has the entropy `log 30 = 3.4012` nats, the least that a model of it can cost. Drawn as a
    direction and then its lines, the two blank images would count twice, with the entropy 3.3791.
    """
    lines = states(1, side)[:, 0, None, :, :]  # [2^side, 1, side, 1]
    bars = np.broadcast_to(lines, (len(lines), side, side, 1))
    return np.concatenate([bars, bars.swapaxes(1, 2)[1:-1]])


def small_digits() -> tuple[Images, Images]:
    """scikit-learn's digits at 4x4, 1,347 for training and 450 of other writers for testing.

    A pixel is 1 where the mean of its four pixels is at least 4 of 16. The order is that of the source, in which the
    last writers are not among the first. 185 of the 65,536 states occur in training; 6.9 % of the test images are
    none of these. The training images' own entropy, 4.0571 nats, is the least that a model of them can cost.
    """
    from sklearn.datasets import load_digits

    means = load_digits().images.reshape(-1, 4, 2, 4, 2).mean((2, 4))
    x = np.where(means >= 4, 1, -1).astype(np.float32)[..., None]
    return x[:1347], x[1347:]
