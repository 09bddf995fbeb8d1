"""How far two domains are apart: by a classifier that tells them, and by their classes."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import jensenshannon

from ganjax.checks import check_range
from ganjax.metrics.sets import features


def proxy_a_distance(source: ArrayLike, target: ArrayLike, *, seed: int = 0) -> float:
    """`2 (1 - 2 e)`, e the held-out error of a classifier of the domain (Ben-David et al. 2007).

    0 if no linear classifier tells the features apart, by chance a little less, 2 if one does without error. Logistic
    regression of standardised features is fitted on half of each domain and judged on the other.

    Args:
        source: [N, F] floating.
        target: [M, F] floating; as many rows of both are taken.
        seed: of the halves.

    Raises:
        TypeError: features are not floating.
        ValueError: shapes that do not fit, fewer than four rows, or values that are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sets = features("proxy_a_distance", least=4, source=source, target=target)
    rng, half = np.random.default_rng(seed), min(map(len, sets)) // 2
    sets = [x[rng.permutation(len(x))[: 2 * half]] for x in sets]
    domain = np.repeat([0, 1], half)
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    fitted.fit(np.concatenate([x[:half] for x in sets]), domain)
    error = (fitted.predict(np.concatenate([x[half:] for x in sets])) != domain).mean()
    return float(2 * (1 - 2 * error))


def label_shift_bound(source: ArrayLike, target: ArrayLike, *, features: float = 0.0) -> float:
    """`(d_Y - d_Z)^2 / 2 <= err_S + err_T`: what alignment costs where classes are not equally frequent.

    d is the root of the Jensen-Shannon divergence in bits, of the classes, d_Y, and of the features, d_Z, no larger
    than d_Y (Zhao et al. 2019, theorem 4.3): features that are all alike cannot tell how frequent classes are.

    >>> round(label_shift_bound([0.9, 0.1], [0.1, 0.9]), 4)
    0.2655

    Args:
        source: [K], how frequent each class is, counts or shares.
        target: [K], likewise.
        features: d_Z; 0 where the domains have become one.
    """
    shares = [np.asarray(p, np.float64) for p in (source, target)]
    check_range("label_shift_bound", 0, source=shares[0], target=shares[1], features=features)
    between = float(jensenshannon(*shares, base=2))
    return max(0.0, between - features) ** 2 / 2
