"""VQGAN: a vector-quantised autoencoder whose copies are judged by features and patches (Esser et al. 2021)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.lax import stop_gradient

from ganjax.checks import check_range
from ganjax.core import Array, Batch, Game, Key, Moment, PerPlayer, PyTree
from ganjax.dynamics.field import average_over
from ganjax.games.adversarial import DISCRIMINATOR
from ganjax.games.likelihood import CLASSIFIER
from ganjax.games.network import network, owned
from ganjax.games.quantised import DECODER, ENCODER, Quantisation
from ganjax.games.terms import Term, of_terms
from ganjax.likelihoods import Observation
from ganjax.losses import LOSSES, AdversarialLoss

MOST = 1e4  # of the adaptive weight, as in the authors' code


class Painted(NamedTuple):
    """What one look shows: that of `Quantised`, and what features and patches say of the copies."""

    z: Array  # [B, ..., D]
    e: Array  # [B, ..., D]
    told: Array  # [B, ..., D]
    outputs: Array  # of the decoder
    log_likelihood: Array  # [B]
    used: Array  # [K]
    perceptual: Array  # [B], the distance in features, times the entries of an example
    real: Array | None  # [B, h, w], logits of the patches of images; None without a game
    fake: Array | None  # [B, h, w], of copies
    adaptive: Array | None  # scalar, lambda


def adaptive_weight(reconstruction: PyTree, adversarial: PyTree, *, epsilon: float = 1e-6) -> Array:
    """`lambda = |g_rec| / (|g_adv| + epsilon)`, at most 1e4 (Esser et al. 2021, equation 7).

    Of gradients in the last layer of a decoder: there `lambda g_adv` is as long as `g_rec`, whatever the scale of the
    discriminator's outputs, but for epsilon; and where the reconstruction is stationary in that layer, lambda is 0 and
    no layer hears of the discriminator. No slope passes through it.

    >>> float(adaptive_weight(jnp.array([3.0, 4.0]), jnp.array([0.0, 0.5]), epsilon=0.0))
    10.0

    Args:
        reconstruction: g_rec, a tree.
        adversarial: g_adv, such a tree.
        epsilon: added to its length.
    """
    length = lambda tree: jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))  # noqa: E731
    return stop_gradient(jnp.minimum(length(reconstruction) / (length(adversarial) + epsilon), MOST))


def perceptual_distance(real: tuple[Array, ...], fake: tuple[Array, ...]) -> Array:
    """`sum_l mean_hw |h_l / |h_l| - h_l' / |h_l'||^2`, [B]: maps of layers, of unit length over channels at each place.

    LPIPS with all its weights 1 (Zhang et al. 2018, equation 1); at most 4 a layer, and 2 of maps that are not
    negative.

    Args:
        real: of each layer, [B, ..., F].
        fake: such maps.
    """

    def unit(h: Array) -> Array:
        return h * jax.lax.rsqrt(jnp.square(h).sum(-1, keepdims=True) + 1e-10)  # whose slope at 0 is finite

    def of_layer(h: Array, other: Array) -> Array:
        gap = jnp.square(unit(h) - unit(other)).sum(-1)
        return gap.reshape(gap.shape[0], -1).mean(1)

    return sum((of_layer(h, other) for h, other in zip(real, fake, strict=True)), jnp.zeros(real[0].shape[0]))


def vqgan(
    made: Quantisation,
    decoder: nn.Module,
    observation: Observation,
    discriminator: nn.Module | None,
    *,
    features: nn.Module | None = None,
    perceptual: float = 1.0,
    loss: AdversarialLoss = LOSSES["hinge"],
    weight: float = 1.0,
    start: int = 0,
    axis_name: str | None = None,
) -> Game:
    """A quantised autoencoder and a discriminator of patches, who move at once.

    - encoder and decoder: what they pay in `made`, `perceptual N d(x, x')` and, from step `start` on,
      `weight lambda loss.generator(...)`, d the `perceptual_distance`, N the entries of an example, so that d stands
      beside the error of an entry as in the authors' code, and x' the copy, `observation.mean` of the outputs;
    - discriminator: `loss.discriminator(D(x), D(x'))`, from that step on too; until then its gradient is 0;
    - lambda: `adaptive_weight` at the kernel of the decoder's last layer, of the reconstruction with d but without the
      codebook's terms, and of the loss: recomputed at each step from the whole batch, and no gradient of anything, so
      that this field is no gradient even with the discriminator at rest.

    Args:
        made: what `games.quantised.quantisation` returns.
        decoder: the module that it was given, whose attribute `last` is the path of its last kernel.
        observation: as it was given.
        discriminator: module, `x [B, H, W, C] -> logits [B, h, w]`. None with `weight` 0, and there is no game.
        features: module with a method `maps`, `x -> (h_1, ..., h_L)`, of an onlooker "classifier": its weights are
            taken from elsewhere and stay. None with `perceptual` 0.
        perceptual: weight of the distance.
        loss: of the game, a mean over patches.
        weight: beside lambda; 0.8 in the authors' code; 0 leaves the discriminator out.
        start: the first step of the game.
        axis_name: the mapped axis that shares the batch, if any.

    Returns:
        A game of the players "encoder", "decoder" and "discriminator", whose batch is a `Batch`. "adversarial" of the
        first two is lambda times the loss, and "adaptive" is lambda.

    Raises:
        ValueError: an option is out of its range; from `init`, if the decoder has no such kernel.
    """
    check_range("vqgan", 0, perceptual=perceptual, weight=weight)
    check_range("vqgan", 0, whole=True, start=start)
    if (features is None) != (perceptual == 0) or (discriminator is None) != (weight == 0):
        raise ValueError("vqgan: expected features exactly where perceptual is not 0, a discriminator where weight is")
    painter, path = network(decoder), decoder.last  # type: ignore[attr-defined]
    judge, seeing = (None if module is None else network(module) for module in (discriminator, features))

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        keys = jax.random.split(key, 3)
        params, state = made.init(keys[0], batch)
        if path not in (known := flatten_dict(params[DECODER])):
            names = sorted(".".join(one) for one in known)
            raise ValueError(f"vqgan: the decoder has no parameter {'.'.join(path)}, expected one of {names}")
        both = {DISCRIMINATOR: judge, CLASSIFIER: seeing}
        more, memory = owned(
            {player: net.init(k, batch.x) for k, (player, net) in zip(keys[1:], both.items(), strict=True) if net}
        )
        return {**params, **more}, {**state, **memory}

    def look(params: PerPlayer, moment: Moment) -> tuple[Painted, PerPlayer]:
        seen, quantised = made.look(params, moment)
        x, state, after = moment.batch.x, moment.net_state, dict(quantised)

        def judged(params: PerPlayer, x: Array) -> tuple[Array, PyTree]:
            return judge.apply(params[DISCRIMINATOR], state[DISCRIMINATOR], x, train=True)  # type: ignore[union-attr]

        def distance(outputs: Array) -> Array:
            if seeing is None:
                return jnp.zeros(x.shape[0])
            see = partial(seeing.apply, params[CLASSIFIER], state[CLASSIFIER], train=False, method="maps")
            return x[0].size * perceptual_distance(see(x)[0], see(observation.mean(outputs))[0])

        if judge is None:
            return Painted(*seen, distance(seen.outputs), None, None, None), after
        (real, _), (fake, after[DISCRIMINATOR]) = (judged(params, one) for one in (x, observation.mean(seen.outputs)))
        still, told = stop_gradient((params, seen.told))  # lambda is no function of them

        def copied(outputs: Array) -> Array:
            return (perceptual * distance(outputs) - observation.log_prob(outputs, x)).mean()

        def played(outputs: Array) -> Array:
            return loss.generator(stop_gradient(real), judged(still, observation.mean(outputs))[0]).mean()

        def of_last(kernel: Array) -> Array:
            own = unflatten_dict({**flatten_dict(still[DECODER]), path: kernel})
            return painter.apply(own, state[DECODER], told, train=True)[0]

        outputs, pull = jax.vjp(of_last, flatten_dict(still[DECODER])[path])
        slopes = [pull(jax.grad(cost)(outputs))[0] for cost in (copied, played)]
        adaptive = adaptive_weight(*average_over(axis_name, slopes))
        return Painted(*seen, distance(seen.outputs), real, fake, adaptive), after

    return Game(init, of_terms(look, _terms(made.terms, loss, perceptual, weight, start)))


def _terms(
    own: Mapping[str, Mapping[str, Term]], loss: AdversarialLoss, perceptual: float, weight: float, start: int
) -> dict[str, dict[str, Term]]:
    """What each player pays."""

    def begun(least: float) -> Callable[[Array | int], Array]:
        return lambda step: jnp.where(step >= start, least, 0.0)

    more = {"perceptual": Term(lambda s: s.perceptual, perceptual)} if perceptual else {}
    judged = {}
    if weight:
        more["adversarial"] = Term(lambda s: s.adaptive * loss.generator(s.real, s.fake), begun(weight))
        more["adaptive"] = Term(lambda s: s.adaptive, 0.0)
        judged[DISCRIMINATOR] = {"adversarial": Term(lambda s: loss.discriminator(s.real, s.fake), begun(1.0))}
    return {player: {**own[player], **more} for player in (ENCODER, DECODER)} | judged
