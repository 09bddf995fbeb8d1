"""Paired translation: what each player pays and feels, what the distance alone leads to, and what D sees of pairs."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from sklearn.metrics import jaccard_score

from ganjax.core import Batch, Moment, Owned
from ganjax.dynamics import alternating
from ganjax.games.pix2pix import (
    CONTROL,
    DISCRIMINATOR,
    GENERATOR,
    agreement,
    colourfulness,
    intersection_over_union,
    measures,
    nearest_colour,
    pix2pix,
    samplers,
    slowed,
)
from ganjax.layers.dropout import Dropout
from ganjax.losses import LOSSES
from ganjax.spectral import spectral_norm
from ganjax.training import init_state, train_step

SHAPE = (4, 3, 3)  # examples, height, width


class Paint(nn.Module):
    """A pixel of x from the pixel of y."""

    channels: int = 1
    rate: float = 0.0

    @nn.compact
    def __call__(self, y, index=None, *, train):
        h = Dropout(self.rate)(nn.tanh(nn.Dense(3)(y)), index, deterministic=index is None)
        return nn.Dense(self.channels)(h)


class Judge(nn.Module):
    """A logit for each pixel of the pair, from a hidden layer; `seen` are the channels that it looks at."""

    seen: tuple[int, ...] = (0, 1)
    scales: int = 0

    @nn.compact
    def maps(self, x, *, train):
        made = []
        for _ in range(max(1, self.scales)):
            h = nn.tanh(nn.Dense(3)(x[..., jnp.array(self.seen)]))
            made.append((h, nn.Dense(1)(h)))
        return tuple(made) if self.scales else made[0]

    def __call__(self, x, *, train):
        return self.maps(x, train=train)


class Constant(nn.Module):
    """One colour, whatever the drawing."""

    @nn.compact
    def __call__(self, y, index=None, *, train):
        return jnp.broadcast_to(self.param("colour", nn.initializers.zeros, (1, 1, 1, 1)), y.shape)


class Copy(nn.Module):
    """The drawing itself, and a parameter that does nothing."""

    @nn.compact
    def __call__(self, y, index=None, *, train):
        return y + 0 * self.param("nothing", nn.initializers.zeros, (1, 1, 1, 1))


def _batch(seed=0, equal=False):
    x, y = np.random.default_rng(seed).normal(size=(2, *SHAPE, 1))
    return Batch(jnp.asarray(x), jnp.asarray(x if equal else y), jnp.arange(SHAPE[0]))


def _begun(game, batch=None):
    batch = _batch() if batch is None else batch
    params, state = jax.jit(game.init)(jax.random.key(0), batch)
    return params, Moment(state, batch, jax.random.key(1))


def _gradients(game, params, moment):
    """cost -> (value, its gradient in everybody's parameters)."""
    return jax.jit(lambda p: {n: jax.value_and_grad(lambda p, c=c: c(p, moment)[0])(p) for n, c in game.costs.items()})(
        params
    )


def _by_hand(params, batch):
    """Judging, fooling, distances and features, written out."""
    on = lambda module, player, x, **how: module.apply({"params": params[player]}, x, train=True, **how)  # noqa: E731
    made = {player: on(Paint(), player, batch.y) for player in (GENERATOR, CONTROL)}
    real, fake = (
        on(Judge(), DISCRIMINATOR, jnp.concatenate([batch.y, x], -1), method="maps") for x in (batch.x, made[GENERATOR])
    )
    log = lambda logits: jnp.log(jax.nn.sigmoid(logits))  # noqa: E731
    return {
        "judge": -(log(real[1]).mean() + log(-fake[1]).mean()) / 2,
        "fool": -log(fake[1]).mean(),
        "distance": jnp.abs(batch.x - made[GENERATOR]).mean(),
        "control": jnp.abs(batch.x - made[CONTROL]).mean(),
        "features": jnp.abs(real[0] - fake[0]).mean(),
    }


def _largest(tree):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


@pytest.mark.fault("pix2pix train.lua: biases are zeroed before every closure, networks train as if without them")
def test_each_player_pays_and_feels_its_own_terms(float64):
    """D: half of both cross-entropies; G: fooling, 100 times the distance, features; the control its distance alone."""
    game = pix2pix(Paint(), Judge(), features=7.0, control=True)
    params, moment = _begun(game)
    got = _gradients(game, params, moment)
    by_hand = lambda p: (lambda costs: (costs, costs))(_by_hand(p, moment.batch))  # noqa: E731
    slopes, values = jax.device_get(jax.jit(jax.jacrev(by_hand, has_aux=True))(params))
    wanted = {
        DISCRIMINATOR: {"judge": 1},
        GENERATOR: {"fool": 1, "distance": 100, "features": 7},
        CONTROL: {"control": 100},
    }
    assert list(game.costs) == list(wanted)
    for player, parts in wanted.items():
        value, gradient = got[player]
        np.testing.assert_allclose(value, sum(w * values[name] for name, w in parts.items()), rtol=1e-6)
        mine = [jax.tree.map(lambda leaf, w=w: w * leaf, slopes[name][player]) for name, w in parts.items()]
        expected = jax.tree.map(lambda *leaves: sum(leaves), *mine)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), gradient[player], expected)
        assert _largest(gradient[player]["Dense_1"]["bias"]) > 1e-3, "a bias moves"
    for player in (DISCRIMINATOR, GENERATOR):
        assert _largest(got[player][1][CONTROL]) == 0, "nobody hears of the control"
        assert _largest(got[CONTROL][1][player]) == 0
    jax.tree.map(np.testing.assert_array_equal, params[GENERATOR], params[CONTROL])


@pytest.mark.parametrize("distance, colour", [(jnp.abs, 1.0), (jnp.square, 0.4)])
def test_the_distance_leads_to_the_median_and_its_square_to_the_mean(distance, colour):
    """One drawing, painted white seven times of ten and black three times: white, or the mixture .7 - .3."""
    x = jnp.array([1.0] * 7 + [-1.0] * 3).reshape(10, 1, 1, 1)
    game = pix2pix(Constant(), weight=0, distance=distance)
    _, moment = _begun(game, Batch(x, jnp.zeros_like(x), jnp.arange(10)))
    assert game.players == (GENERATOR,), "no discriminator"
    colours = jnp.linspace(-1, 1, 201)
    cost = lambda c: game.costs[GENERATOR]({GENERATOR: {"colour": c.reshape(1, 1, 1, 1)}}, moment)[0]  # noqa: E731
    values = np.asarray(jax.jit(jax.vmap(cost))(colours))
    np.testing.assert_allclose(colours[values.argmin()], colour, atol=1e-6)
    np.testing.assert_allclose(values.min(), 100 * (0.6 if distance is jnp.abs else 0.84), rtol=1e-5)


def test_of_perfect_fakes_a_discriminator_learns_nothing(float64):
    """G(y) = x: the cost is log 2 where all logits are zero, which is its minimum, and stationary."""
    game = pix2pix(Copy(), Judge())
    params, moment = _begun(game, _batch(equal=True))
    silent = {**params, DISCRIMINATOR: jax.tree.map(jnp.zeros_like, params[DISCRIMINATOR])}
    for told, least in ((silent, True), (params, False)):
        value, gradient = _gradients(game, told, moment)[DISCRIMINATOR]
        assert (abs(value - np.log(2)) < 1e-9) if least else value > np.log(2) + 1e-4
        assert (_largest(gradient[DISCRIMINATOR]) < 1e-9) == least


def test_a_discriminator_of_pairs_notices_that_they_are_mixed_up(float64):
    """One that sees images alone cannot: its cost is the same whatever the order of the drawings."""
    for seen, alone in (((0, 1), False), ((1,), True)):
        game = pix2pix(Paint(), Judge(seen))
        params, moment = _begun(game)
        cost = jax.jit(lambda y, game=game, p=params, m=moment: game.costs[DISCRIMINATOR](p, _with(m, y))[0])
        y = moment.batch.y
        assert (abs(cost(y) - cost(y[::-1])) < 1e-12) == alone


@pytest.mark.fault("StackGAN-Pytorch: the discriminator's condition is made by the generator's own network")
def test_the_condition_is_data():
    """A discriminator that looks at the drawing alone pays the same whatever the generator makes."""
    game = pix2pix(Paint(), Judge((0,)))
    params, moment = _begun(game)
    assert _largest(_gradients(game, params, moment)[DISCRIMINATOR][1][GENERATOR]) == 0


def _with(moment, y):
    return moment._replace(batch=moment.batch._replace(y=y))


@pytest.mark.fault("pix2pix train.lua, videogan: the generator's gradient takes D's output before its move, D after it")
def test_the_generator_faces_the_discriminator_that_has_moved(float64):
    """In alternating play its step is minus the rate times the slope of its cost at the new D, by finite differences;
    the fakes are those that D saw."""
    game = pix2pix(Paint(rate=0.5), Judge(), distance_weight=0.0)
    dynamics = alternating(dict.fromkeys((DISCRIMINATOR, GENERATOR), optax.sgd(0.5)), fresh=False)
    batch, key = _batch(), jax.random.key(5)
    state = jax.jit(lambda key: init_state(game, dynamics, key, batch))(jax.random.key(0))
    after, _ = jax.jit(train_step(game, dynamics))(state, batch, key)
    step_key = jax.random.fold_in(key, 0)
    cost = jax.jit(lambda p: game.costs[GENERATOR](p, Moment(state.net_state, batch, step_key))[0])
    for at, same in ((after, True), (state, False)):
        for i in range(3):
            bias = np.asarray(state.params[GENERATOR]["Dense_0"]["bias"])

            def value(e, at=at, i=i, bias=bias):
                own = {**state.params[GENERATOR]["Dense_0"], "bias": bias + e * np.eye(3, dtype=bias.dtype)[i]}
                return float(cost({**at.params, GENERATOR: {**state.params[GENERATOR], "Dense_0": own}}))

            slope = (value(1e-5) - value(-1e-5)) / 2e-5
            moved = float(np.asarray(after.params[GENERATOR]["Dense_0"]["bias"])[i] - bias[i])
            assert (abs(moved + 0.5 * slope) < 1e-7 * max(1, abs(slope))) == same or abs(slope) < 1e-9


def test_scales_are_averaged_and_layers_added_up(float64):
    """Hinge, and feature matching of each scale; a map of labels comes as planes."""
    labels = jnp.asarray(np.random.default_rng(2).integers(0, 2, SHAPE))
    game = pix2pix(Paint(), Judge((0, 1, 2), 2), loss=LOSSES["hinge"], distance_weight=0.0, features=10.0, labels=2)
    params, moment = _begun(game, _batch()._replace(y=labels))
    planes = np.stack([labels == 0, labels == 1], -1).astype(np.float64)
    see = lambda x: Judge((0, 1, 2), 2).apply(  # noqa: E731
        {"params": params[DISCRIMINATOR]}, jnp.concatenate([planes, x], -1), train=True, method="maps"
    )
    made = jax.jit(lambda p: Paint().apply({"params": p}, planes, train=True))(params[GENERATOR])
    real, fake = jax.device_get(jax.jit(lambda *sides: [see(x) for x in sides])(moment.batch.x, made))
    pairs = [(*one, *other) for one, other in zip(real, fake, strict=True)]
    relu = lambda t: np.maximum(t, 0)  # noqa: E731
    hinge = np.mean([relu(1 - real).mean() + relu(1 + fake).mean() for _, real, _, fake in pairs])
    paid = np.mean([10 * np.abs(h - k).mean() - fake.mean() for h, _, k, fake in pairs])
    values = {name: value for name, (value, _) in _gradients(game, params, moment).items()}
    np.testing.assert_allclose(values[DISCRIMINATOR], hinge, rtol=1e-6)
    np.testing.assert_allclose(values[GENERATOR], paid, rtol=1e-6)


def test_spectral_vectors_move_with_their_own_player():
    """Each cost keeps its own player's u after one power step, and the weights are those that it is taken at."""
    norms = {DISCRIMINATOR: spectral_norm(), GENERATOR: spectral_norm()}
    game = pix2pix(Paint(), Judge(), spectral=norms)
    params, moment = _begun(game)
    for player, norm in norms.items():
        _, outcome = jax.jit(game.costs[player])(params, moment)
        expected = jax.jit(norm.update)(params[player], moment.net_state[player]["spectral"])
        jax.tree.map(np.testing.assert_array_equal, outcome.net_state["spectral"], expected)


def test_two_devices_drop_and_pay_what_one_does(float64):
    """Masks go by position: the mean of two halves is the whole, cost and slope."""
    game = pix2pix(Paint(rate=0.5), Judge())
    params, moment = _begun(game)

    def paid(batch):
        return jax.value_and_grad(lambda p: game.costs[GENERATOR](p, moment._replace(batch=batch))[0])(params)

    dealt = jax.tree.map(lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:]).swapaxes(0, 1), moment.batch)
    whole, halves = jax.jit(lambda batch, dealt: (paid(batch), jax.vmap(paid)(dealt)))(moment.batch, dealt)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a.mean(0), b, rtol=1e-6, atol=1e-9), halves, whole)


@lru_cache
def painted():
    """Samplers and measures of a generator with dropout, its weights, and a batch of colours and labels."""
    rng = np.random.default_rng(4)
    batch = Batch(
        jnp.asarray(rng.uniform(-1, 1, (*SHAPE, 3)), jnp.float32),
        jnp.asarray(rng.integers(0, 2, SHAPE), jnp.int32),
        jnp.arange(SHAPE[0]),
    )
    game = pix2pix(Paint(3, 0.5), weight=0, labels=2, control=True)
    params, state = jax.jit(game.init)(jax.random.key(0), batch)
    params = {**params, CONTROL: jax.tree.map(lambda p: p + 0.1, params[CONTROL])}
    weights = {player: Owned(params[player], state[player]) for player in params}
    shown = {"given": "layout", "labels": 2, "control": True}
    colours = jnp.array([[-0.5, 0.2, 0.1], [0.4, -0.1, 0.0]])
    return samplers(Paint(3, 0.5), **shown), measures(Paint(3, 0.5), colours=colours, **shown), weights, batch, colours


def test_dropout_is_drawn_in_sampling_where_it_is_asked_for():
    """Translation i goes by key, i and its drawing; "undropped" ones go by the drawing alone."""
    drawn, _, weights, batch, _ = painted()
    assert set(drawn) == {f"{a}translation{b}" for a in ("", "control_") for b in ("", "_undropped")}
    key, index = jax.random.key(6), jnp.array([7, 3, 3, 8])
    same = jnp.broadcast_to(batch.y[:1], batch.y.shape)
    for name, sampler in drawn.items():
        x = sampler(weights, key, index, same)
        np.testing.assert_allclose(sampler(weights, key, index[::-1], same)[::-1], x, atol=1e-6)
        np.testing.assert_allclose(x[1], x[2], atol=1e-6)
        quiet = name.endswith("undropped")
        assert (np.abs(x[0] - x[1]).max() < 1e-6) == quiet
        assert (np.abs(sampler(weights, jax.random.key(7), index, same) - x).max() < 1e-6) == quiet
    assert drawn["translation"].given == ("data", "layout") and drawn["control_translation"].players == (CONTROL,)


def test_measures_of_translations():
    _, found, weights, batch, colours = painted()
    key = jax.random.key(0)
    value = lambda name: found[name].summary(found[name].values(weights, batch, key))  # noqa: E731
    paint = jax.jit(lambda p, y: Paint(3).apply({"params": p}, jax.nn.one_hot(y, 2), train=False))
    x = paint(weights[GENERATOR].params, batch.y)
    np.testing.assert_allclose(value("l1_undropped"), np.abs(batch.x - x).mean(), rtol=1e-5)
    assert value("l1") != value("l1_undropped") and value("control_l1") != value("l1")
    label = np.square(np.asarray(x)[..., None, :] - np.asarray(colours)).sum(-1).argmin(-1)
    np.testing.assert_array_equal(nearest_colour(x, colours), label)
    np.testing.assert_allclose(value("agreement_undropped"), (label == np.asarray(batch.y)).mean())
    ratio = colourfulness(x).mean() / colourfulness(batch.x).mean()
    np.testing.assert_allclose(value("colourfulness_undropped"), ratio, rtol=1e-5)
    assert found["iou"].better == "higher" and found["l1"].y == "layout"


def test_colourfulness_is_that_of_hasler_and_suesstrunk():
    """By their formula in float64; grey has none, and values beyond the range are clipped as in a picture."""
    x = np.random.default_rng(0).uniform(-1.2, 1.2, (3, 6, 5, 3))
    r, g, b = np.moveaxis(np.clip((x + 1) * 127.5, 0, 255), -1, 0)
    rg, yb = r - g, (r + g) / 2 - b
    spread = np.sqrt(rg.std((1, 2)) ** 2 + yb.std((1, 2)) ** 2)
    expected = spread + 0.3 * np.sqrt(rg.mean((1, 2)) ** 2 + yb.mean((1, 2)) ** 2)
    np.testing.assert_allclose(colourfulness(jnp.float32(x)), expected, rtol=1e-5)
    assert colourfulness(jnp.full((1, 2, 2, 3), 0.3)) < 1e-4


def test_labels_that_are_recovered():
    true, found = np.random.default_rng(3).integers(0, 4, (2, 5, 6, 7))
    found = np.where(found == 2, 3, found)
    pair = true, found
    np.testing.assert_allclose(
        intersection_over_union(pair), jaccard_score(true.ravel(), found.ravel(), average="macro")
    )
    assert agreement(pair) == (true == found).mean() and intersection_over_union((true, true)) == 1


@pytest.mark.parametrize(
    "options, batch, error",
    [
        ({}, _batch()._replace(y=None), "y is nothing, expected images"),
        ({}, _batch()._replace(y=jnp.zeros(SHAPE, jnp.int32)), r"int32 \(4, 3, 3\), expected images"),
        ({"labels": 2}, _batch(), r"float32 \(4, 3, 3, 1\), expected maps of labels"),
        ({}, _batch()._replace(y=jnp.zeros((4, 5, 3, 1))), r"\(4, 5, 3, 1\), expected .*, as large as x"),
        (
            {"labels": 2},
            _batch()._replace(y=jnp.full(SHAPE, 2)),
            "label is 2, expected at least 0, at most 1",
        ),
        ({}, _batch()._replace(x=jnp.zeros((*SHAPE, 3))), r"the generator makes \(3, 3, 1\), expected \(3, 3, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(options, batch, error):
    with pytest.raises((TypeError, ValueError), match=error):
        pix2pix(Paint(), Judge(), **options).init(jax.random.key(0), batch)


def test_options_that_do_not_go_together_are_refused():
    for options in ({"discriminator": None}, {"discriminator": Judge(), "weight": 0}):
        with pytest.raises(ValueError, match="a discriminator exactly where weight is not 0"):
            pix2pix(Paint(), **options)
    with pytest.raises(ValueError, match="share is 0, expected more than 0"):
        slowed(LOSSES["hinge"], 0)
