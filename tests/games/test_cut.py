"""CUT: the contrast in closed form, by image, and players that are all there from the beginning."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.core import Batch, Moment
from ganjax.games.cut import HEADS, cut, patch_nce, places
from ganjax.games.translation import D_B, A, B, G
from ganjax.models.translator import PatchHeads


class Judge(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(1, (4, 4), strides=(4, 4))(x)[..., 0]


class Net(nn.Module):
    """A translator pixel by pixel, with two layers of features."""

    @nn.compact
    def maps(self, x):
        h = nn.Dense(3)(x)
        return x, h, nn.tanh(nn.Dense(1)(nn.tanh(h)))

    def features(self, x):
        return self.maps(x)[:-1]

    def __call__(self, x):
        return self.maps(x)[-1]


def _game(**options):
    return cut(Net(), PatchHeads(4), Judge(), **{"patches": 5, **options})


def _batch():
    x = jax.random.normal(jax.random.key(3), (2, 2, 8, 8, 1))
    return {s: Batch(x[i], None, 2 * i + jnp.arange(2)) for i, s in enumerate((A, B))}


@cache
def _seen():
    """The game, its state, and value, metrics and field of each cost, of two images and of each one twice."""
    game = _game()
    params, state = jax.jit(game.init)(jax.random.key(0), _batch())

    def all_costs(params, moment):
        return {
            name: jax.value_and_grad(lambda p, c=cost: (lambda v, o: (v, o.metrics))(*c(p, moment)), has_aux=True)(
                params
            )
            for name, cost in game.costs.items()
        }

    run = jax.jit(all_costs)
    twice = lambda i: jax.tree.map(lambda leaf: jnp.stack([leaf[i], leaf[i]]), _batch())  # noqa: E731
    batches = [_batch(), twice(0), twice(1)]
    return params, state, [run(params, Moment(state, batch, jax.random.key(1))) for batch in batches]


def test_the_contrast_in_closed_form():
    """All features equal: log n. A perfect match, negatives orthogonal: log(1 + (n - 1) exp(-1 / T))."""
    equal = jnp.ones((1, 256, 1))
    np.testing.assert_allclose(patch_nce(equal, equal), 5.545, atol=1e-3)
    np.testing.assert_allclose(patch_nce(equal, equal), np.log(256), rtol=1e-5)
    apart = jnp.eye(256)[None]
    np.testing.assert_allclose(patch_nce(apart, apart), np.log1p(255 * np.exp(-1 / 0.07)), rtol=2e-2)
    assert patch_nce(apart, apart).mean() == pytest.approx(1.6e-4, rel=2e-2)
    assert patch_nce(apart, jnp.roll(apart, 1, axis=1)).min() > 14


def test_keys_are_constants():
    """Queries and keys of unlike features: the gradient in the keys is zero, in the queries not."""
    query, key = jax.random.normal(jax.random.key(0), (2, 1, 5, 4))
    slopes = jax.grad(lambda q, k: patch_nce(q, k).sum(), (0, 1))(query, key)
    assert np.abs(slopes[0]).max() > 0.1 and not slopes[1].any()


@pytest.mark.fault("contrastive-unpaired-translation: one set of patches serves all images of a batch")
def test_each_image_has_places_of_its_own():
    draw = jax.jit(lambda position: places(jax.random.key(0), position, [64, 9], 20))
    many, few = draw(jnp.arange(4))
    assert many.shape == (4, 20) and few.shape == (4, 9)
    assert all(len(set(row.tolist())) == 20 for row in np.asarray(many))
    assert (np.sort(few) == np.arange(9)).all(), "all places, where there are fewer"
    assert len({tuple(sorted(row.tolist())) for row in np.asarray(many)}) == 4
    alone = draw(jnp.array([2, 2, 2, 2]))
    assert (alone[0][0] == many[2]).all(), "whatever the batch"


@pytest.mark.fault(
    "contrastive-unpaired-translation: the loss is cut by the batch size of the options, and mixes images"
)
def test_no_contrast_depends_on_the_batch():
    _, _, (both, first, second) = _seen()
    for name in ("contrast", "identity"):
        values = [seen[G][0][1][name] for seen in (both, first, second)]
        assert float(values[0]) == pytest.approx(float(values[1] + values[2]) / 2, rel=1e-5)
        assert abs(float(values[1] - values[2])) > 1e-6


@pytest.mark.fault("contrastive-unpaired-translation: heads are made at the first batch, after parameters were counted")
def test_heads_are_players_from_the_beginning():
    params, state, (seen, *_) = _seen()
    assert set(params) == {G, HEADS, D_B} == set(seen) and not jax.tree.leaves(state)
    kernels = [layer["kernel"].shape for layer in params[HEADS].values()]
    assert sorted(kernels) == [(1, 4), (3, 4), (4, 4), (4, 4)]
    value, metrics = seen[HEADS][0]
    assert float(value) == pytest.approx(float(metrics["contrast"] + metrics["identity"]), rel=1e-5)
    assert all(np.abs(layer["kernel"]).max() > 0 for layer in seen[HEADS][1][HEADS].values())


def test_who_pays_what():
    """G pays game and both contrasts; heads pay no game, D no contrast."""
    _, _, (seen, *_) = _seen()
    assert {name: set(seen[name][0][1]) for name in seen} == {
        G: {"adversarial", "contrast", "identity"}, HEADS: {"contrast", "identity"}, D_B: {"adversarial"},
    }  # fmt: skip
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(seen[HEADS][1][D_B]))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(seen[D_B][1][HEADS]))
    value, metrics = seen[G][0]
    assert float(value) == pytest.approx(float(sum(metrics.values())), rel=1e-5)


def test_what_does_not_fit_is_refused():
    batch = _batch()
    batch[B] = batch[B]._replace(x=jnp.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"shapes \(8, 8, 1\) and \(8, 8, 3\), expected one"):
        jax.eval_shape(_game().init, jax.random.key(0), batch)
    with pytest.raises(ValueError, match="temperature is 0, expected more than 0"):
        _game(temperature=0)
    with pytest.raises(ValueError, match="patches is 0"):
        _game(patches=0)
    without = jax.eval_shape(_game(identity=0.0).init, jax.random.key(0), _batch())
    assert set(without[0]) == {G, HEADS, D_B}
