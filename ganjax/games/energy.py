"""Games of unnormalised densities, `p(x) = exp f(x) / Z`: by maximum likelihood, by contrast, by boosting."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient
from jax.nn import logsumexp, softplus
from jax.typing import ArrayLike

from ganjax.checks import check_name, check_range
from ganjax.core import Array, Batch, Cost, Draw, Game, Key, Moment, Outcome, PerPlayer, PyTree, noise, substream
from ganjax.games.network import Network, network

MODEL, FEATURE, COEFFICIENT = "model", "feature", "coefficient"


class Contrast(NamedTuple):
    """Data, and what they are told from."""

    x: Array  # [B, ...], all of one weight
    negatives: Array  # [N, ...]
    log_share: Array  # [N], whose exponentials sum to 1: exact where the negatives are all states


def _begun(where: str, net: Network, key: Key, x: Array) -> tuple[PyTree, PyTree, Array]:
    """What `net.init` returns, of a module that says one number of each example."""
    made = net.init(key, x)
    if jnp.shape(made[2]) != (len(x),):
        raise ValueError(
            f"{where}: the module says {jnp.shape(made[2])} of {x.shape}, expected [B], one of each example"
        )
    return made


def maximum_likelihood(module: nn.Module, states: ArrayLike | None = None) -> Game:
    """`-mean f(x) + log Z`, the negative log-likelihood in nats, the normaliser by counting.

    The gradient of `log Z` is `E_p df`: the model against its own samples, without their noise.

    Args:
        module: a Flax module, `x [B, ...] -> f [B]`.
        states: all there are, [S, ...]; None where the module says `log p(x)` itself.

    Returns:
        A game of the player "model", whose batch is a `Batch`.

    Raises:
        ValueError: from `init`, if the module does not say [B].
    """
    net = network(module)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        params, net_state, _ = _begun("maximum_likelihood", net, key, batch.x)
        return {MODEL: params}, {MODEL: net_state}

    def cost(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        own = params[MODEL], moment.net_state[MODEL]
        value = -net.apply(*own, moment.batch.x, train=True)[0].mean()
        if states is not None:
            value += logsumexp(net.apply(*own, jnp.asarray(states), train=True)[0])
        return value, Outcome(own[1], {})

    return Game(init, {MODEL: cost})


def contrastive_divergence(rbm: nn.Module, *, steps: int = 1, chains: int = 0) -> Game:
    """`mean f(negatives) - mean f(x)`, the negatives from Gibbs sweeps and held (Hinton 2002; Tieleman 2008).

    CD-k begins k sweeps at the data; persistent CD goes on with chains that remember where they are. The gradient is
    an estimate of that of the likelihood, CD's a biased one and of no function; the value is no likelihood.

    Args:
        rbm: a `models.binary.RBM` or what has its `visible`, `hidden` and `gibbs(x, uniform)`.
        steps: k, sweeps of a step.
        chains: how many are kept; 0 begins at the data.

    Returns:
        A game of the player "model", whose batch is a `Batch`; every device keeps all chains.

    Raises:
        ValueError: `steps` is below 1, `chains` below 0.
    """
    check_range("contrastive_divergence", 1, whole=True, steps=steps)
    check_range("contrastive_divergence", 0, whole=True, chains=chains)
    net, units = network(rbm, beside=("chains",)), rbm.visible + rbm.hidden  # type: ignore[attr-defined]

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        params, net_state, _ = _begun("contrastive_divergence", net, key, batch.x)
        if chains:
            start = jax.random.rademacher(substream(key, Draw.OTHER), (chains, *batch.x.shape[1:]), batch.x.dtype)
            net_state = {**net_state, "chains": start}
        return {MODEL: params}, {MODEL: net_state}

    def cost(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        own, batch = (params[MODEL], moment.net_state[MODEL]), moment.batch
        begin = own[1]["chains"] if chains else batch.x
        position = jnp.arange(chains) if chains else batch.position
        uniform = noise(lambda k: jax.random.uniform(k, (steps, units), batch.x.dtype), moment.key, position)

        def sweep(x: Array, u: Array) -> tuple[Array, None]:
            return net.apply(*own, x, u, train=True, method="gibbs")[0], None

        negatives = stop_gradient(jax.lax.scan(sweep, begin, jnp.moveaxis(uniform, 1, 0))[0])
        value = net.apply(*own, negatives, train=True)[0].mean() - net.apply(*own, batch.x, train=True)[0].mean()
        return value, Outcome({**own[1], "chains": negatives} if chains else own[1], {})

    return Game(init, {MODEL: cost})


def logistic(data: Array, negatives: Array, log_share: Array) -> Array:
    """`-E_data log sigmoid(l) - E_negatives log sigmoid(-l)` of logits; 2 log 2 where nothing tells the two apart."""
    return softplus(-data).mean() + (jnp.exp(log_share) * softplus(negatives)).sum()


def noise_contrastive(module: nn.Module, log_noise: Callable[[Array], Array]) -> Game:
    """Noise-contrastive estimation: a classifier whose logit is `f(x) - log Z - log n(x)` (Gutmann and Hyvarinen 2010).

    At the optimum `f - log Z` is `log p` of the data, the normaliser, a free parameter, included. Against a held copy
    of the model itself the gradient is half of that of the negative log-likelihood (Goodfellow 2015).

    Args:
        module: a Flax module, `x [B, ...] -> f [B]`.
        log_noise: `log n`, of [B, ...].

    Returns:
        A game of the player "model", whose parameters are `{"module": ..., "log_z": scalar}` and whose batch is a
        `Contrast` with negatives from the noise.
    """
    net = network(module)

    def init(key: Key, batch: Contrast) -> tuple[dict, dict]:
        params, net_state, f = _begun("noise_contrastive", net, key, batch.x)
        log_z = (f - log_noise(batch.x)).mean()  # the classifier begins at 1/2
        return {MODEL: {"module": params, "log_z": log_z}}, {MODEL: net_state}

    def cost(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        own, state, batch = params[MODEL], moment.net_state[MODEL], moment.batch

        def logit(x: Array) -> Array:
            return net.apply(own["module"], state, x, train=True)[0] - own["log_z"] - log_noise(x)

        return logistic(logit(batch.x), logit(batch.negatives), batch.log_share), Outcome(state, {})

    return Game(init, {MODEL: cost})


def gain(alpha: Array | float, data: Array, negatives: Array, log_share: Array) -> Array:
    """`alpha E_data f - log E_negatives exp(alpha f)`: what `p_t exp(alpha f) / Z` has over p_t in log-likelihood.

    Concave in alpha, and the bound of KL(data, p_t) by Donsker and Varadhan at `alpha f`.

    Args:
        alpha: scalar.
        data: f of the data, [B].
        negatives: f of the negatives, [N].
        log_share: [N], `log p_t` where the negatives are all states.
    """
    return alpha * data.mean() - logsumexp(log_share + alpha * negatives)


def boosting(feature: nn.Module, *, criterion: Literal["logistic", "likelihood"] = "logistic") -> Game:
    """One round of self-supervised boosting (Welling, Zemel and Hinton 2002).

    The feature f is the logit of a classifier that tells data from negatives of the present energy; the energy gets
    `alpha f`, where the coefficient alpha maximises the `gain`. A discriminator is thus never forgotten: the energy is
    the sum of all, and its samples are the generator.

    Args:
        feature: a Flax module, `x [B, ...] -> f [B]`.
        criterion: of the feature: the cross-entropy of the classifier, or minus the `gain` at a coefficient of 1,
            with which a `models.binary.Unit` becomes the next hidden unit of a restricted Boltzmann machine.

    Returns:
        A game of the players "feature" and "coefficient", whose parameter is alpha, from 1 on, and whose batch is a
        `Contrast`. The metric "gain" is that at the present alpha, in nats.
    """
    check_name("boosting", "criterion", criterion, ("logistic", "likelihood"))
    net = network(feature)

    def init(key: Key, batch: Contrast) -> tuple[dict, dict]:
        params, net_state, _ = _begun("boosting", net, key, batch.x)
        return {FEATURE: params, COEFFICIENT: jnp.ones((), batch.x.dtype)}, {FEATURE: net_state, COEFFICIENT: {}}

    def seen(params: PerPlayer, moment: Moment) -> tuple[Array, Array, Array]:
        own, batch = (params[FEATURE], moment.net_state[FEATURE]), moment.batch
        data, negatives = (net.apply(*own, x, train=True)[0] for x in (batch.x, batch.negatives))
        return data, negatives, batch.log_share

    def discern(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        of = seen(params, moment)
        value = logistic(*of) if criterion == "logistic" else -gain(1.0, *of)
        return value, Outcome(moment.net_state[FEATURE], {})

    def fit(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        value = gain(params[COEFFICIENT], *seen(params, moment))
        return -value, Outcome({}, {"gain": value})

    costs: dict[str, Cost] = {FEATURE: discern, COEFFICIENT: fit}
    return Game(init, costs)


def line_search(data: Any, negatives: Any, log_share: Any, most: float = 1e3) -> float:
    """The coefficient alpha from 0 to `most` with the largest `gain`, by SciPy.

    On drawn negatives that f separates from the data the gain has no maximum: bound alpha by 1 there.

    Args:
        data: f of the data, [B].
        negatives: f of the negatives, [N].
        log_share: [N].
        most: the largest coefficient.
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import softmax

    f, log_share, mean = np.asarray(negatives, float), np.asarray(log_share, float), float(np.mean(data, dtype=float))

    def slope(alpha: float) -> float:
        return mean - float(softmax(log_share + alpha * f) @ f)

    if slope(0.0) <= 0:
        return 0.0
    return most if slope(most) >= 0 else float(brentq(slope, 0.0, most, xtol=1e-12))
