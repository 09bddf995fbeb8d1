"""Images and captions in one space: the contrast in closed form, R-precision by enumeration."""

from functools import cache
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.core import Batch, Moment, Owned
from ganjax.games.matching import CLASSIFIER, IMAGE, TEXT, contrast, matching, measures, r_precision, structured, unit


class Text(nn.Module):
    features: int = 3

    @nn.compact
    def __call__(self, tokens):
        return nn.Embed(9, self.features)(tokens).sum(1)


class Image(nn.Module):
    features: int = 3

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.features)(x)


def _batch(n=8):
    rng = np.random.default_rng(0)
    y = {"caption": jnp.asarray(np.arange(n)[:, None] % 7 + np.array([[1, 2]])), "class": jnp.arange(n) % 2}
    return Batch(jnp.asarray(rng.normal(size=(n, 4)), jnp.float32), y, jnp.arange(n))


APART = jnp.zeros((6, 6), bool) | jnp.eye(6, dtype=bool)


def test_the_symmetric_contrast_in_closed_form():
    """All equal: log N. A perfect match, others orthogonal: log(1 + (N - 1) exp(-1 / T)). Directions weigh half."""
    equal = jnp.ones((6, 1))
    np.testing.assert_allclose(contrast(equal, equal, APART), np.log(6), rtol=1e-6)
    one = jnp.eye(6)
    for temperature in (0.07, 0.5):
        found = contrast(one, one, APART, temperature)
        np.testing.assert_allclose(found, np.log1p(5 * np.exp(-1 / temperature)), rtol=1e-4, atol=1e-6)
    t, v = (unit(x) for x in jax.random.normal(jax.random.key(0), (2, 6, 4)))
    logits = np.float64(t) @ np.float64(v).T / 0.5
    rows = np.log(np.exp(logits).sum(1)) - logits.diagonal()
    columns = np.log(np.exp(logits).sum(0)) - logits.diagonal()
    np.testing.assert_allclose(contrast(t, v, APART, 0.5), (rows + columns) / 2, rtol=1e-5)
    np.testing.assert_allclose(contrast(v, t, APART, 0.5), contrast(t, v, APART, 0.5), rtol=1e-5)


def test_the_same_caption_is_no_negative():
    """Two examples with one caption, and equal vectors: nobody is asked to tell them apart."""
    one = jnp.eye(6).at[1].set(jnp.eye(6)[0])
    same = APART.at[0, 1].set(True).at[1, 0].set(True)
    found = contrast(one, one, same)
    np.testing.assert_allclose(found, np.log1p(4 * np.exp(-1 / 0.07)), atol=1e-5)
    assert contrast(one, one, APART)[0] > 0.6
    np.testing.assert_allclose(structured(one, one, same), 0, atol=1e-6)
    np.testing.assert_allclose(structured(one, one, APART), np.array([1, 1, 0, 0, 0, 0]) / 5, atol=1e-6)


def test_the_structured_joint_embedding_by_hand():
    t, v = np.array([[1.0, 0], [0, 1], [-1, 0]]), np.array([[0.5, 0.1], [0.8, 0.2], [-0.9, 0]])
    scores = t @ v.T
    by_hand = [
        sum(max(0, 1 + s - scores[i, i]) for j in range(3) if j != i for s in (scores[i, j], scores[j, i])) / 4
        for i in range(3)
    ]
    np.testing.assert_allclose(structured(jnp.asarray(t), jnp.asarray(v), jnp.eye(3, dtype=bool)), by_hand, rtol=1e-6)
    np.testing.assert_allclose(structured(2 * jnp.eye(2), jnp.eye(2), jnp.eye(2, dtype=bool)), 0, atol=1e-7)
    np.testing.assert_allclose(structured(jnp.ones((4, 1)), jnp.ones((4, 1)), jnp.eye(4, dtype=bool), 0.5), 0.5)
    assert not structured(jnp.ones((2, 1)), jnp.ones((2, 1)), jnp.ones((2, 2), bool)).any(), "nobody is wrong"


@pytest.mark.fault("stackgan: the largest hinge of a batch, before anything is learned, is lowest at one point")
def test_one_point_is_no_cheaper_than_vectors_that_know_nothing():
    t, v = unit(jax.random.normal(jax.random.key(0), (2, 128, 128)))
    one, same = jnp.broadcast_to(t[0], t.shape), jnp.eye(128, dtype=bool)
    np.testing.assert_allclose(structured(one, one, same), 1, atol=1e-6)
    np.testing.assert_allclose(structured(t, v, same).mean(), 1, atol=0.01)


@cache
def _played():
    """Costs and fields of all players, of a batch and of its halves on two devices."""
    game, batch = matching(Text(), Image(), Image(2)), _batch()
    shared = matching(Text(), Image(), Image(2), axis_name="d")
    params, state = jax.jit(game.init)(jax.random.key(0), batch)

    @jax.jit
    def all_costs(params):
        key = jax.random.key(1)
        halves = jax.tree.map(lambda leaf: jnp.stack([leaf[::2], leaf[1::2]]), batch)
        whole = {name: jax.value_and_grad(lambda p, c=c: c(p, Moment(state, batch, key))[0])(params)
                 for name, c in game.costs.items()}  # fmt: skip

        def of_half(half):
            def mean(cost):
                return jax.lax.pmean(cost, "d")

            own = {name: jax.value_and_grad(lambda p, c=c: c(p, Moment(state, half, key))[0])(params)
                   for name, c in shared.costs.items()}  # fmt: skip
            return jax.tree.map(mean, own)

        return whole, jax.vmap(of_half, axis_name="d")(halves)

    return game, params, all_costs(params)


def test_two_devices_contrast_with_the_examples_of_both():
    game, _, (whole, halves) = _played()
    assert game.players == (TEXT, IMAGE, CLASSIFIER)
    for name in game.players:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b[1], rtol=2e-4, atol=1e-6),
            (whole[name][0], whole[name][1][name]), (halves[name][0], halves[name][1][name]),
        )  # fmt: skip


def test_each_encoder_is_moved_by_the_contrast_and_the_classifier_alone():
    _, _, (whole, _) = _played()
    moved = lambda tree: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))  # noqa: E731
    np.testing.assert_allclose(whole[TEXT][0], whole[IMAGE][0], rtol=1e-6)
    assert moved(whole[TEXT][1][TEXT]) > 1e-3 and moved(whole[IMAGE][1][IMAGE]) > 1e-3
    assert moved(whole[CLASSIFIER][1][TEXT]) == moved(whole[CLASSIFIER][1][IMAGE]) == 0
    assert moved(whole[TEXT][1][CLASSIFIER]) == 0 and moved(whole[CLASSIFIER][1][CLASSIFIER]) > 1e-3


def test_vectors_of_unlike_length_are_refused():
    with pytest.raises(ValueError, match=r"text and image make vectors \(8, 3\) and \(8, 4\)"):
        matching(Text(), Image(4)).init(jax.random.key(0), _batch())
    with pytest.raises(ValueError, match=r"objective is 'infonec'.*did you mean"):
        matching(Text(), Image(), objective="infonec")


@pytest.mark.fault("AttnGAN: R-precision of fakes alone, without what real images reach and without chance")
def test_r_precision_at_its_ceiling_and_at_chance():
    """Vectors that tell captions apart give 1, random ones 1 / 100 within three standard errors, equal ones 0."""
    rng, n = np.random.default_rng(0), 400
    tokens = np.arange(n)[:, None]
    random = rng.normal(size=(2, n, 32))
    random /= np.linalg.norm(random, axis=-1, keepdims=True)
    assert r_precision(random[0], random[0], tokens) == 1
    found = r_precision(*random, tokens)
    assert abs(found - 0.01) < 3 * np.sqrt(0.01 * 0.99 / n)
    assert r_precision(np.ones((n, 2)), np.ones((n, 2)), tokens) == 0, "a tie is lost"
    assert r_precision(random[0], random[0], tokens, candidates=1000) == 1, "of fewer than candidates all"


def test_r_precision_is_the_mean_over_all_draws_of_the_others():
    rng = np.random.default_rng(1)
    text, image = rng.normal(size=(2, 6, 3))
    tokens = np.array([[1, 0], [2, 0], [1, 0], [3, 4], [5, 0], [6, 0]])  # the first and the third are one caption
    scores = image @ text.T
    shares = []
    for i in range(6):
        others = [j for j in range(6) if (tokens[j] != tokens[i]).any()]
        draws = list(combinations(others, 2))
        shares.append(np.mean([scores[i, i] > max(scores[i, list(draw)]) for draw in draws]))
    assert r_precision(text, image, tokens, candidates=3) == pytest.approx(np.mean(shares), rel=1e-12)
    with pytest.raises(ValueError, match="the captions are all the same"):
        r_precision(text, image, np.zeros((6, 1)))
    with pytest.raises(ValueError, match="candidates is 1"):
        r_precision(text, image, tokens, candidates=1)


class Words(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        return nn.Embed(400, 32)(tokens[:, 0])


class Seen(nn.Module):
    def __call__(self, x):
        return x


def test_the_measure_is_of_images_beside_the_captions_of_their_rows():
    """Images that are what their captions mean give 1, those of other captions 1 / 4; longer vectors are not nearer."""
    rng, n = np.random.default_rng(2), 400
    words = rng.normal(size=(n, 32)).astype(np.float32) * np.linspace(1, 9, n, dtype=np.float32)[:, None]
    weights = {TEXT: Owned({"Embed_0": {"embedding": words}}, {}), IMAGE: Owned({}, {})}
    measure, tokens = measures(Words(), Seen(), candidates=4)["r_precision"], rng.permutation(n)[:, None]
    assert (set(measure.players), measure.y, measure.better) == ({TEXT, IMAGE}, ("caption",), "higher")
    values = jax.jit(lambda x: measure.values(weights, Batch(x, {"caption": tokens}, jnp.arange(n)), None))
    right, other = (measure.summary(jax.device_get(values(x))) for x in (words[tokens[:, 0]], words))
    assert right == 1 and abs(other - 1 / 4) < 3 * np.sqrt(3 / 16 / n)
