"""Games of a single player that maximises a likelihood."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from ganjax.core import Array, Batch, Game, Key, Measure, Moment, Outcome, PerPlayer, Weights
from ganjax.games.network import network
from ganjax.layers.dropout import SHARED

CLASSIFIER = "classifier"


def classification(module: nn.Module) -> Game:
    """The game whose only player names the classes of its batch.

    Its cost is the mean cross-entropy `-log softmax(f(x))_y`, the negative log-likelihood of the labels; the share of
    labels that have the largest logit is the metric "accuracy". Of several questions, each with labels of its own, the
    cost is the sum and the metric the mean.

    Args:
        module: a Flax module, `x [B, ...] -> logits [B, K]`, or a dictionary of such, with the names of the batch's y;
            its BatchNorm statistics move with each batch.

    Returns:
        A game of the player "classifier", whose batch is a `Batch` with labels.

    Raises:
        ValueError: from `init`, if the batch has no labels or the logits are not [B, K].
    """
    net = network(module)

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        if batch.y is None:
            raise ValueError("classification: the batch has no labels, expected int32 [B]; use labelled data")
        params, net_state, logits = net.init(key, batch.x)
        for one in jax.tree.leaves(logits):
            if jnp.ndim(one) != 2:
                raise ValueError(
                    f"classification: the module makes logits {jnp.shape(one)}, expected [B, K], one per class"
                )
        return {CLASSIFIER: params}, {CLASSIFIER: net_state}

    def cost(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
        batch, key = moment.batch, moment.key
        keys = {"dropout": jax.random.fold_in(key, batch.position[0]), SHARED: key}  # the first differs between devices
        own = params[CLASSIFIER], moment.net_state[CLASSIFIER]
        logits, new_state = net.apply(*own, batch.x, train=True, keys=keys)
        pairs = [(logits, batch.y)] if not isinstance(logits, dict) else [(logits[k], batch.y[k]) for k in logits]
        values = [optax.softmax_cross_entropy_with_integer_labels(*pair).mean() for pair in pairs]
        right = [jnp.mean(said.argmax(-1) == y, dtype=jnp.float32) for said, y in pairs]
        return sum(values[1:], values[0]), Outcome(new_state, {"accuracy": sum(right[1:], right[0]) / len(right)})

    return Game(init, {CLASSIFIER: cost})


def classification_measures(module: nn.Module) -> dict[str, Measure]:
    """The share of held-out examples whose class has the largest logit."""
    net = network(module)

    def hit(weights: Weights, batch: Batch, key: Key) -> Array:
        return net.apply(*weights[CLASSIFIER], batch.x, train=False)[0].argmax(-1) == batch.y

    return {"accuracy": Measure(hit, (CLASSIFIER,), "data", "higher", y="class")}
