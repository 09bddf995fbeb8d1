"""Generators of discrete examples: a gradient through the probability of what was drawn."""

from collections.abc import Callable
from typing import Literal

import jax
from flax import linen as nn
from jax.lax import stop_gradient

from ganjax.checks import check_name
from ganjax.core import Array
from ganjax.games.adversarial import GENERATOR, Scene
from ganjax.games.network import network
from ganjax.games.terms import Term

Reward = Literal["logit", "ratio", "probability"]

# Of logits [B]; the divergence of data p and model q whose gradient each has at the optimal, held discriminator:
REWARDS: dict[str, Callable[[Array], Array]] = {
    "logit": lambda logits: logits,  # KL(q, p)
    "ratio": lambda logits: len(logits) * jax.nn.softmax(logits, 0),  # KL(p, q), D / (1 - D) of mean 1 over the batch
    "probability": jax.nn.sigmoid,  # KL(p, (p + q) / 2), SeqGAN's, which is bounded
}


def leave_one_out(rewards: Array) -> Array:
    """Each reward minus the mean of the others, [B, ...], at each place by itself.

    The mean with the reward itself would scale the expected gradient by `(B - 1) / B`.
    """
    return (rewards - rewards.mean(0, keepdims=True)) * (len(rewards) / (len(rewards) - 1))


def score_function(generator: nn.Module, reward: Reward = "ratio") -> Term:
    """A term for `gan(..., terms={"generator": {"score": ...}})`: `-R(D(x)) log q(x | z)`, R held (Williams 1992).

    What a threshold made has no slope of its own, so this term is the generator's whole gradient. Its value is that
    of a surrogate.

    Args:
        generator: a module as of `gan` with a method `log_prob(z, x) -> [B]`, such as `models.binary.Drawn`.
        reward: a name in `REWARDS`: D's logit, the ratio D / (1 - D) (MaliGAN, Che et al. 2017; boundary-seeking, Hjelm
            et al. 2018), or D (SeqGAN, Yu et al. 2017).

    Raises:
        ValueError: the reward is unknown.
    """
    check_name("score_function", "reward", reward, REWARDS)
    net = network(generator)

    def values(scene: Scene) -> Array:
        log_q, _ = net.apply(
            scene.params[GENERATOR], {}, scene.z, stop_gradient(scene.x_fake), train=True, method="log_prob"
        )
        return -leave_one_out(stop_gradient(REWARDS[reward](scene.fake.logits))) * log_q

    return Term(values)
