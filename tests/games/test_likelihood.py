"""The game of one classifier: its field by hand, its statistics, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.core import Batch, Moment, Owned
from ganjax.dynamics import simultaneous, vector_field
from ganjax.games import classification
from ganjax.games.likelihood import classification_measures
from ganjax.training import simulate

KEY = jax.random.key(1)


def _batch(labels=(0, 2, 1, 1)):
    x = jnp.array([[1.0, 2.0], [0.5, -1.0], [-2.0, 0.0], [0.0, 3.0]])
    return Batch(x, jnp.array(labels, jnp.int32), jnp.arange(4, dtype=jnp.int32))


def test_the_field_of_a_linear_classifier_by_hand(float64):
    """d cost / dW = x^T (softmax(x W + b) - one_hot(y)) / B."""
    game, batch = classification(nn.Dense(3, param_dtype=jnp.float64)), _batch()
    params, net_state = jax.jit(game.init)(jax.random.key(0), batch)
    weights = {name: np.asarray(leaf) for name, leaf in params["classifier"].items()}
    x, hot = np.asarray(batch.x), np.eye(3)[np.asarray(batch.y)]
    logits = x @ weights["kernel"] + weights["bias"]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    moment = Moment(net_state, batch, jax.random.key(1))
    gradients = jax.jit(lambda p: vector_field(game, p, moment).gradients)(params)["classifier"]
    np.testing.assert_allclose(gradients["kernel"], x.T @ (p - hot) / 4, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(gradients["bias"], (p - hot).mean(0), rtol=1e-6, atol=1e-9)
    value, outcome = jax.jit(game.costs["classifier"])(params, moment)
    np.testing.assert_allclose(value, -np.log(p[np.arange(4), batch.y]).mean(), rtol=1e-6)
    np.testing.assert_allclose(outcome.metrics["accuracy"], (p.argmax(1) == np.asarray(batch.y)).mean())
    measure = classification_measures(nn.Dense(3))["accuracy"]
    hits = measure.values({"classifier": Owned(params["classifier"], net_state["classifier"])}, batch, KEY)
    np.testing.assert_array_equal(hits, p.argmax(1) == np.asarray(batch.y))


class Normed(nn.Module):
    """With BatchNorm and dropout."""

    @nn.compact
    def __call__(self, x, *, train):
        h = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(h))


def test_statistics_move_with_the_batch_and_dropout_with_the_key():
    game, batch = classification(Normed()), _batch()
    params, net_state = jax.jit(game.init)(jax.random.key(0), batch)
    cost = jax.jit(game.costs["classifier"])
    one, outcome = cost(params, Moment(net_state, batch, KEY))
    other, _ = cost(params, Moment(net_state, batch, jax.random.key(2)))
    mean = outcome.net_state["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean, 0.1 * np.asarray(batch.x).mean(0), rtol=1e-6)
    elsewhere, _ = cost(params, Moment(net_state, batch._replace(position=batch.position + 4), KEY))
    assert len({float(one), float(other), float(elsewhere)}) == 3, "of other examples, other units are dropped"


def test_it_learns_what_is_separable():
    game, dynamics = classification(nn.Dense(3)), simultaneous({"classifier": optax.adam(0.1)})
    x = jnp.array([[4.0, 0.0], [-2.0, 3.5], [-2.0, -3.5], [3.0, 0.0]])
    batch = Batch(x, jnp.array([0, 1, 2, 0], jnp.int32), jnp.arange(4, dtype=jnp.int32))
    state, _ = simulate(game, dynamics, 100, batch=batch)
    value, outcome = game.costs["classifier"](state.params, Moment(state.net_state, batch, jax.random.key(0)))
    assert float(outcome.metrics["accuracy"]) == 1 and float(value) < 0.01


def test_batches_that_do_not_fit():
    with pytest.raises(ValueError, match="the batch has no labels"):
        jax.eval_shape(classification(nn.Dense(3)).init, jax.random.key(0), _batch()._replace(y=None))
    flat = nn.Sequential([nn.Dense(1), lambda y: y[:, 0]])
    with pytest.raises(ValueError, match=r"logits \(4,\), expected \[B, K\]"):
        jax.eval_shape(classification(flat).init, jax.random.key(0), _batch())
