"""Generators of discrete examples: a gradient through the probability of what was drawn."""

from collections.abc import Callable
from typing import Literal

import jax
from flax import linen as nn
from jax.lax import stop_gradient

from ganjax.checks import check_name, check_range
from ganjax.core import Array
from ganjax.games.adversarial import GENERATOR, Scene
from ganjax.games.network import network
from ganjax.games.terms import Term

Reward = Literal["logit", "ratio", "probability", "non_saturating", "minimax"]

# Of logits [B]; the divergence of data p and model q whose gradient each has at the optimal, held discriminator:
REWARDS: dict[str, Callable[[Array], Array]] = {
    "logit": lambda logits: logits,  # KL(q, p)
    "ratio": lambda logits: len(logits) * jax.nn.softmax(logits, 0),  # KL(p, q), D / (1 - D) of mean 1 over the batch
    "probability": jax.nn.sigmoid,  # KL(p, (p + q) / 2), SeqGAN's, which is bounded
    "non_saturating": jax.nn.log_sigmoid,  # KL(q, p) - 2 JSD, log D: the loss of that name, to be lowered
    "minimax": jax.nn.softplus,  # 2 JSD, -log(1 - D), likewise
}


def leave_one_out(rewards: Array) -> Array:
    """Each reward minus the mean of the others, [B, ...], at each place by itself.

    The mean with the reward itself would scale the expected gradient by `(B - 1) / B`.
    """
    return (rewards - rewards.mean(0, keepdims=True)) * (len(rewards) / (len(rewards) - 1))


def score_function(generator: nn.Module, reward: Reward = "ratio", outputs: int = 1) -> Term:
    """A term for `gan(..., terms={"generator": {"score": ...}})`: `-R(D(x)) log q(x | z)`, R held (Williams 1992).

    What a threshold made has no slope of its own, so this term is the generator's whole gradient. Its value is that
    of a surrogate.

    With several outputs of each z their rewards are one another's baseline, and the ratio is normalised among them, not
    over the batch as in MaliGAN (Che et al. 2017): what boundary-seeking GANs have of their own (Hjelm et al. 2018). It
    descends `KL(p_z, q(. | z))`, the mean over z, `p_z(x) ~ D(x) / (1 - D(x)) q(x | z)` held; of M outputs the expected
    gradient is this one to first order in how the ratios differ. A z whose outputs are all far from the data has as
    much say as any other.

    Args:
        generator: a module as of `gan` with a method `log_prob(z, x) -> [B]`, such as `models.binary.Drawn`, and for
            several outputs `again(z, keys [B]) -> z`, which draws anew whatever of z decides among what it can make.
        reward: a name in `REWARDS`: the ratio D / (1 - D), D's logit, D (SeqGAN, Yu et al. 2017), log D or
            -log(1 - D).
        outputs: drawn of each z.

    Raises:
        ValueError: the reward is unknown, or there is no output.
    """
    check_name("score_function", "reward", reward, REWARDS)
    check_range("score_function", 1, whole=True, outputs=outputs)
    net = network(generator)

    def values(scene: Scene) -> Array:
        own = scene.params[GENERATOR]

        def log_prob(z: Array, x: Array) -> Array:
            return net.apply(own, {}, z, stop_gradient(x), train=True, method="log_prob")[0]

        if outputs == 1:
            logits, log_q = scene.fake.logits, log_prob(scene.z, scene.x_fake)
        else:  # [outputs, B, ...]: what an example is compared with lies along the first axis
            keys = jax.vmap(lambda key: jax.random.split(key, outputs), out_axes=1)(scene.keys)
            z = jax.vmap(lambda keys: net.apply(own, {}, scene.z, keys, train=True, method="again")[0])(keys)
            x = jax.vmap(lambda z: net.apply(own, {}, z, train=True)[0])(z)
            logits, log_q = jax.vmap(scene.critic)(x), jax.vmap(log_prob)(z, x)
        return -leave_one_out(stop_gradient(REWARDS[reward](logits))) * log_q

    return Term(values)
