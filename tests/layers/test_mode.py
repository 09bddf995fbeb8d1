"""How modules of any convention are told whether they train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.games import classification
from ganjax.games.network import network
from ganjax.layers.conditioning import ConcatenatedLatent
from ganjax.layers.mode import KEYWORDS


class Train(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)


class Training(nn.Module):
    @nn.compact
    def __call__(self, x, *, training=False):
        return nn.BatchNorm(use_running_average=not training, momentum=0.5)(x)


class IsTraining(nn.Module):
    @nn.compact
    def __call__(self, x, is_training=False):
        return nn.BatchNorm(use_running_average=not is_training, momentum=0.5)(x)


class Deterministic(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic=True):
        return nn.BatchNorm(use_running_average=deterministic, momentum=0.5)(x)


class Running(nn.Module):
    @nn.compact
    def __call__(self, x, *, use_running_average=True):
        return nn.BatchNorm(use_running_average=use_running_average, momentum=0.5)(x)


class Mute(nn.Module):
    """Nobody can tell it."""

    name_of_mode: str = "none"

    @nn.compact
    def __call__(self, x, inference=True, **others):
        return nn.BatchNorm(use_running_average=inference)(x)


X = jnp.arange(8, dtype=jnp.float32).reshape(4, 2)


@pytest.mark.parametrize("module", [Train(), Training(), IsTraining(), Deterministic(), Running()], ids=list(KEYWORDS))
def test_every_common_keyword_is_understood(module):
    """In training the batch is normalised and its mean remembered; in evaluation neither, whatever the default is."""
    net = network(module)
    params, net_state, first = net.init(jax.random.key(0), X)
    trained, moved = net.apply(params, net_state, X, train=True)
    np.testing.assert_allclose(trained.mean(0), 0, atol=1e-6)
    np.testing.assert_array_equal(first, trained)
    np.testing.assert_allclose(moved["batch_stats"]["BatchNorm_0"]["mean"], X.mean(0) / 2)
    evaluated, same = net.apply(params, net_state, X, train=False)
    np.testing.assert_allclose(evaluated, X, rtol=1e-4)
    assert same is net_state


def test_statistics_without_a_word_for_the_mode_are_refused():
    sentence = "Mute has the statistics of BatchNorm and no way to tell it whether it trains; .* train, training, is_tr"
    with pytest.raises(TypeError, match=sentence):
        jax.eval_shape(network(Mute()).init, jax.random.key(0), X)
    with pytest.raises(TypeError, match=sentence):
        classification(Mute()).init(jax.random.key(0), type("B", (), {"x": X, "y": jnp.zeros(4, jnp.int32)}))


def test_inside_a_wrapper_too():
    """One with classes passes the word on, and refuses what does not take it."""
    z, labels = X, jnp.zeros(4, jnp.int32)
    inner = lambda module: lambda dtype, name: module(name=name)  # noqa: E731
    net = network(ConcatenatedLatent(inner(Deterministic), 3, embedding=1))
    params, net_state, _ = net.init(jax.random.key(0), z, labels)
    _, moved = net.apply(params, net_state, z, labels, train=True)
    mean = moved["batch_stats"]["generator"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean[:2], X.mean(0) / 2)
    with pytest.raises(TypeError, match="Mute has the statistics"):
        jax.eval_shape(network(ConcatenatedLatent(inner(Mute), 3)).init, jax.random.key(0), z, labels)
