"""Augmentation against NumPy and SciPy at given parameters, its distributions, and ADA's controller by hand."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import ndimage

from ganjax import augment
from ganjax.augment import (
    AUGMENTATIONS,
    Augmentation,
    ada,
    ada_augment,
    ada_colour,
    ada_geometry,
    diff_augment,
    jitter,
    scheduled,
)
from ganjax.core import Batch, Moment
from ganjax.dynamics.field import vector_field
from ganjax.games import Sight, Term, gan, normal_prior
from ganjax.losses import LOSSES
from ganjax.models import mlp
from ganjax.penalties import r1

SHAPES = [(6, 8, 3), (5, 7, 1), (8, 8, 4)]


def image(shape, seed=0):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0)


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def numbers(*shape):
    return jax.random.uniform(jax.random.key(1), shape, minval=1e-7)


# --- transforms with given parameters ---


def published_colour(x, b=0.0, c=1.0, flip=0, angle=0.0, s=1.0):
    """The homogeneous matrices of the paper's appendix on RGB."""
    v = np.array([1, 1, 1, 0]) / np.sqrt(3)
    outer, identity = np.outer(v, v), np.eye(4)
    cross = np.zeros((4, 4))
    cross[:3, :3] = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    rotation = np.cos(angle) * np.diag([1, 1, 1, 0]) + np.sin(angle) * cross + (1 - np.cos(angle)) * outer
    rotation[3, 3] = 1
    shift = identity.copy()
    shift[:3, 3] = b
    matrix = np.diag([c, c, c, 1]) @ shift
    matrix = (outer + (identity - outer) * s) @ rotation @ (identity - 2 * flip * outer) @ matrix
    matrix[3] = [0, 0, 0, 1]
    return np.asarray(x, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize(
    "given",
    [
        {"b": 0.3},
        {"c": 1.7},
        {"flip": 1},
        {"angle": 1.1},
        {"s": 2.5},
        {"b": -0.2, "c": 0.6, "flip": 1, "angle": 2, "s": 0.3},
    ],
    ids=str,
)
def test_colour_is_the_published_matrix(given):
    x = y = image((4, 5, 3))
    y = augment.brightness(y, given.get("b", 0.0))
    y = augment.contrast(y, given.get("c", 1.0))
    y = augment.luma_flip(y, bool(given.get("flip", 0)))
    y = augment.hue(y, given.get("angle", 0.0))
    y = augment.saturation(y, given.get("s", 1.0))
    np.testing.assert_allclose(y, published_colour(x, **given), atol=2e-6)


def test_colour_of_one_channel_is_that_of_grey():
    """What the transforms do to one channel is what they do to each channel of a grey image."""
    x = image((4, 5, 1))
    grey = jnp.broadcast_to(x, (4, 5, 3))
    for f in (
        lambda x: augment.luma_flip(x, True),
        lambda x: augment.hue(x, 1.0),
        lambda x: augment.saturation(x, 3.0),
        lambda x: augment.contrast(x, 0.4),
    ):
        np.testing.assert_allclose(f(grey), jnp.broadcast_to(f(x), (4, 5, 3)), atol=1e-6)


def test_contrast_keeps_its_centre():
    x = image((4, 5, 3))
    np.testing.assert_allclose(augment.contrast(x, 0.5, x.mean()), 0.5 * x + 0.5 * x.mean(), atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (2, -1), (-6, 3), (6, -8)])
def test_translation_leaves_zeros_behind(rows, columns):
    x = np.asarray(image((6, 8, 3)))
    y = np.zeros_like(x)
    for i, j in itertools.product(range(6), range(8)):
        if 0 <= i + rows < 6 and 0 <= j + columns < 8:
            y[i, j] = x[i + rows, j + columns]
    np.testing.assert_array_equal(augment.translate(x, rows, columns), y)


@pytest.mark.parametrize("shape", SHAPES)
def test_cutout_is_the_published_rectangle(shape):
    """Rows `centre - size // 2 + (0, ..., size - 1)`, as far as there are any; columns likewise."""
    x = jnp.ones(shape)
    height, width = (int(n / 2 + 0.5) for n in shape[:2])
    for row, column in ((0, 0), (2, 3), (shape[0] - 1, shape[1] - 1)):
        y = np.ones(shape)
        for i, j in itertools.product(range(height), range(width)):
            a, b = row - height // 2 + i, column - width // 2 + j
            if 0 <= a < shape[0] and 0 <= b < shape[1]:
                y[a, b] = 0
        np.testing.assert_array_equal(cutout(x, row, column), y)


warp, cutout = jax.jit(augment.warp), jax.jit(augment.cutout)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 4, 2)])
def test_warp_is_scipys_affine_transform(shape):
    """SciPy's `mirror` reflects at the outermost pixels too; its places are (row, column) from the corner."""
    x, rng = np.asarray(image(shape), np.float64), np.random.default_rng(0)
    for _ in range(5):
        matrix = np.eye(3)
        matrix[:2] += rng.normal(size=(2, 3)) * [0.5, 0.5, 3]
        linear, offset = matrix[1::-1, 1::-1], matrix[1::-1, 2]
        centre = (np.array(shape[:2]) - 1) / 2
        oracle = np.stack(
            [
                ndimage.affine_transform(x[..., c], linear, centre + offset - linear @ centre, order=1, mode="mirror")
                for c in range(shape[2])
            ],
            -1,
        )
        with jax.enable_x64(True):
            np.testing.assert_allclose(warp(jnp.asarray(x), jnp.asarray(matrix)), oracle, atol=1e-9)


def test_flips_and_quarter_turns_are_exact():
    x = image((6, 6, 3))
    flip, turn, shift = np.diag([-1.0, 1, 1]), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.eye(3)
    shift[0, 2] = 2
    flipped, turned, shifted = (np.asarray(warp(x, np.float32(matrix))) for matrix in (flip, turn, shift))
    x = np.asarray(x)
    np.testing.assert_array_equal(flipped, x[:, ::-1])
    np.testing.assert_array_equal(turned, np.rot90(x))
    np.testing.assert_array_equal(shifted[:, :4], x[:, 2:])


# --- random transforms ---


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("transform", [diff_augment, ada_augment], ids=["diffaugment", "ada"])
def test_nothing_happens_with_probability_zero_and_an_example_depends_on_its_own_key_alone(transform, shape):
    x = image((4, *shape))
    change = jax.jit(jax.vmap(transform, (0, 0, None)))
    np.testing.assert_array_equal(change(keys(4), x, 0.0), x)
    several = change(keys(4), x, 0.8)
    assert several.shape == x.shape and np.isfinite(several).all()
    others = change(jnp.where(jnp.arange(4) == 2, keys(4), keys(4, 1)), np.asarray(x)[[3, 1, 2, 0]], 0.8)
    np.testing.assert_allclose(several[2], others[2], atol=1e-6)
    assert np.abs(np.subtract(several, x)).max() > 0.1 and np.abs(np.subtract(several, others)).max() > 0.1


@pytest.mark.parametrize("transform", [diff_augment, ada_augment], ids=["diffaugment", "ada"])
def test_gradients_flow_in_every_order(transform):
    """The transforms are affine in x: the slope along v is the difference quotient, whatever its step."""
    x, v, weights = (np.asarray(image((8, 8, 3), seed)) for seed in range(3))
    key = jax.random.key(5)
    f = jax.jit(jax.value_and_grad(lambda x: (weights * transform(key, x, 0.9)).sum()))
    (value, gradient), (ahead, _) = f(x), f(x + v)
    gradient = np.asarray(gradient)
    np.testing.assert_allclose((gradient * v).sum(), ahead - value, rtol=1e-3, atol=1e-3)
    assert np.abs(gradient).max() > 0
    slope = jax.grad(lambda x: (transform(key, x, 0.9) ** 2).sum())
    curvature = jax.jit(jax.grad(lambda x: (slope(x) ** 2).sum()))(x)
    assert np.isfinite(curvature).all()


def test_diffaugment_has_the_published_ranges():
    """On a constant image, seen where nothing was moved or cut: brightness is U(-1/2, 1/2), the rest keeps it."""
    n, x = 4000, jnp.full((8, 8, 3), 0.25)
    y = np.asarray(jax.jit(jax.vmap(lambda key: diff_augment(key, x)))(keys(n)))
    many = np.maximum((np.abs(y) > 0).sum((1, 2, 3)), 1)
    shifts = np.where(np.abs(y).max((1, 2, 3)) > 0, y.sum((1, 2, 3)) / many, 0) - 0.25
    assert -0.5 <= shifts.min() < -0.49 and 0.49 < shifts.max() <= 0.5
    np.testing.assert_allclose([shifts.mean(), shifts.std()], [0, 1 / np.sqrt(12)], atol=0.02)
    # Shifts by -1, 0 or 1 leave 22 of 24 rows, and as many columns; the corners 0 to 8 of the cut are equally likely.
    left = cut = 0
    for shift, centre, i in itertools.product((-1, 0, 1), range(9), range(8)):
        left += 0 <= i + shift < 8
        cut += 0 <= i + shift < 8 and centre - 2 <= i < centre + 2
    expected = (left / 216) ** 2 - (cut / 216) ** 2
    np.testing.assert_allclose((np.abs(y) > 0).mean(), expected, atol=0.01)


@pytest.mark.parametrize("p", [0.2, 1.0])
def test_adas_geometry_has_the_published_distribution(p):
    n, side = 4000, 32
    matrices = np.asarray(jax.jit(jax.vmap(lambda u: ada_geometry(u, (side, side, 3), p)))(numbers(n, 18)))
    det = np.linalg.det(matrices[:, :2, :2])
    sure = 4 / np.sqrt(n) / 2  # four standard deviations of a share
    np.testing.assert_allclose((det < 0).mean(), p / 2, atol=sure)  # flipped half of the time
    scaled = np.abs(np.abs(det) - 1) > 1e-5
    np.testing.assert_allclose(scaled.mean(), p, atol=sure)  # the unequal scaling keeps areas
    np.testing.assert_allclose(np.std(np.log2(np.abs(det[scaled])) / 2), 0.2, rtol=0.1)
    # Shifts of at most 4 pixels are rounded to zero along both sides in 1 of 64; a quarter turn is none in 1 of 4.
    untouched = (1 - p / 2) * (1 - 3 * p / 4) * (1 - p * 63 / 64) * (1 - p) ** 4
    identity = (np.abs(matrices - np.eye(3)) < 1e-6).all((1, 2))
    np.testing.assert_allclose(identity.mean(), untouched, atol=sure)


def test_adas_colour_has_the_published_distribution():
    """Of a grey pixel only brightness, contrast and the luma flip move the mean: y = +-2^(0.5 n) (x + 0.2 m)."""
    x = jnp.full((1, 1, 3), 1000.0)  # so large that brightness has no part
    y = np.asarray(jax.jit(jax.vmap(lambda u: ada_colour(u, x, 1.0)))(numbers(4000, 10))).mean((1, 2, 3))
    np.testing.assert_allclose((y < 0).mean(), 0.5, atol=0.03)
    np.testing.assert_allclose(np.log2(np.abs(y) / 1000).std(), 0.5, atol=0.03)
    b = np.asarray(jax.jit(jax.vmap(lambda u: ada_colour(u, jnp.zeros((1, 1, 1)), 0.5)))(numbers(4000, 10)))
    np.testing.assert_allclose((b == 0).mean(), 0.5, atol=0.03)  # black stays black unless its brightness changes


def test_adas_cutout_is_half_of_each_side():
    """Of 8 pixels at (i + 1/2) / 8, those within 1/4 of U(0, 1): 1/2 less what reaches out, 1/4 * 1/8 at each end."""
    x, p = jnp.ones((8, 8, 1)), 0.6
    cut = jax.jit(jax.vmap(lambda key: ada_augment(key, x, p, colour=0.0, cut=1.0)))(keys(4000))
    inside = np.mean([min(1, c + 0.25) - max(0, c - 0.25) for c in (np.arange(8) + 0.5) / 8])
    np.testing.assert_allclose((cut == 0).mean(), p * inside**2, atol=0.01)
    assert set(np.unique((cut == 0).sum((1, 2, 3)))) <= {0, *(a * b for a in range(2, 5) for b in range(2, 5))}


# --- with memory ---


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_keeps_the_contract(name):
    """The state's type does not change, the example's shape neither."""
    how = AUGMENTATIONS[name]
    state = how.init()
    after = jax.jit(lambda s: how.update(s, jnp.ones((4, 2)), None))(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    y = jax.jit(how.apply)(state, jax.random.key(0), image((8, 8, 3)))
    assert y.shape == (8, 8, 3) and y.dtype == jnp.float32
    assert (np.asarray(y) != image((8, 8, 3))).any() == (name == "diffaugment")  # ADA begins with p = 0


def test_adas_controller_by_hand():
    """Two turns of 8: 14 signs of 16 are positive, r = 12 / 16 > 0.6, p rises by 16 / 100; then it falls, and stays."""
    how = ada(target=0.6, images=100, interval=2)
    sure, unsure = jnp.array([3.0] * 7 + [-1.0]), jnp.array([1.0, -1.0] * 4)
    state = how.init()
    seen = []
    for logits in (sure, sure, sure, unsure, unsure, unsure, unsure, unsure):
        state = how.update(state, logits, None)
        seen.append(float(state.p))
    # turns 3 and 4: r = (6 + 0) / 16 < 0.6; turns 5 to 8: r = 0; p cannot fall under 0
    np.testing.assert_allclose(seen, [0, 0.16, 0.16, 0, 0, 0, 0, 0], atol=1e-7)
    for _ in range(40):
        state = how.update(state, jnp.ones(8), None)
    assert float(state.p) == 1


def test_adas_rise_takes_as_many_images_as_published():
    how, state = ada(), ada().init()
    for _ in range(8):
        state = how.update(state, jnp.ones(64), None)
    np.testing.assert_allclose(state.p, 8 * 64 / 500_000, rtol=1e-6)


def test_the_controller_sees_the_whole_batch():
    """Four devices of two logits are one of eight: 5 of 8 positive is r = 0.25."""
    logits = jnp.array([1.0, 1, 1, 1, 1, -1, -1, -1])
    how = ada(target=0.2, images=80, interval=1)
    one = how.update(how.init(), logits, None)
    several = jax.vmap(lambda s, x: how.update(s, x, "data"), (None, 0), axis_name="data")(
        how.init(), logits.reshape(4, 2)
    )
    np.testing.assert_allclose(one.p, 0.1, rtol=1e-6)
    np.testing.assert_allclose(several.p, [0.1] * 4, rtol=1e-6)


def test_a_schedule_follows_the_images_seen():
    how = scheduled(lambda seen: jnp.minimum(seen / 32, 0.55))
    state, seen = how.init(), []
    for _ in range(4):
        seen.append(float(state.p))
        state = how.update(state, jnp.zeros(8), None)
    np.testing.assert_allclose(seen, [0, 0.25, 0.5, 0.55], rtol=1e-6)


# --- in the game ---


class _Linear(nn.Module):
    """`D(x) = <w, x>`, whose gradient in x is w."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, use_bias=False)(x.reshape(len(x), -1))[:, 0]


def _game(augment, packing=1, **more):
    generator = mlp.Generator((2, 2, 1), ())
    game = gan(
        generator,
        _Linear(),
        LOSSES["non_saturating"],
        prior=normal_prior(2),
        sight=Sight(packing=packing, augment=augment),
        **more,
    )
    batch = Batch(jax.random.normal(jax.random.key(1), (8, 2, 2, 1)), None, jnp.arange(8))
    params, net_state = jax.jit(game.init)(jax.random.key(0), batch)
    return game, params, net_state, batch


@pytest.mark.parametrize("packing", [1, 2])
def test_a_penalty_is_on_the_gradient_in_the_image_before_the_augmentation(packing):
    """What doubles x doubles the slope: R1 with gamma 1 is |2 w|^2 / 2 (Karras et al. 2020; Huang et al. 2024).

    It sees what the turn's passes see, not what the augmentation makes of the turn.
    """
    twice = Augmentation(lambda: jnp.array(2.0), lambda state, key, x: state * x, lambda state, *_: 5 * state)
    game, params, net_state, batch = _game(twice, packing, terms={"discriminator": {"r1": Term(r1())}})
    _, outcome = jax.jit(game.costs["discriminator"])(params, Moment(net_state, batch, jax.random.key(2)))
    (w,) = jax.tree.leaves(params["discriminator"])
    np.testing.assert_allclose(outcome.metrics["r1"], 2 * jnp.square(w).sum(), rtol=1e-5)


@pytest.mark.parametrize("accumulate, packing", [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_a_turn_counts_its_images_once(accumulate, packing):
    """Eight, whatever a logit stands for and however many of them are evaluated at a time."""
    how = scheduled(lambda seen: seen / 100)._replace(apply=lambda state, key, x: x)
    game, params, net_state, batch = _game(how, packing, accumulate=accumulate)
    field = jax.jit(partial(vector_field, game))(params, Moment(net_state, batch, jax.random.key(2)))
    state = field.net_state["discriminator"]["augment"]
    assert int(state.seen) == 8
    np.testing.assert_allclose(state.p, 0.08, rtol=1e-6)


def test_jitter_moves_an_image_and_what_it_is_paired_with_alike():
    """x, a drawing and a map that are the same numbers stay so; the 18 results are equally likely, edges repeat."""
    x = jnp.arange(20.0).reshape(4, 5)
    one = Batch(x[..., None], {"drawing": 2 * x[..., None], "layout": x.astype(jnp.int32)}, jnp.int32(0))
    many = jax.jit(jax.vmap(lambda key: jitter(1)(key, one)))(keys(3600))
    np.testing.assert_array_equal(many.y["drawing"], 2 * many.x)
    np.testing.assert_array_equal(many.y["layout"], many.x[..., 0])
    padded = np.pad(np.asarray(x), 1, mode="edge")
    shifted = [padded[i : i + 4, j : j + 5] for i in range(3) for j in range(3)]
    known = np.stack([*shifted, *(s[:, ::-1] for s in shifted)])
    hits = (np.asarray(many.x)[:, None, :, :, 0] == known).all((2, 3))
    assert (hits.sum(1) == 1).all() and np.abs(hits.sum(0) - 200).max() < 4.5 * np.sqrt(200)
    read = jax.jit(jax.vmap(lambda key: jitter(1, flip=False)(key, one._replace(y=jnp.int32(7)))))(keys(900))
    hits = (np.asarray(read.x)[:, None, :, :, 0] == known[:9]).all((2, 3))
    assert (hits.sum(1) == 1).all() and hits.any(0).all() and set(np.asarray(read.y)) == {7}
    still = jax.jit(jitter(0))(jax.random.key(0), one)
    assert still.x.shape == one.x.shape and still.position == one.position


def test_jitter_leaves_captions_alone_and_need_not_flip():
    x = jnp.arange(20.0).reshape(4, 5)[..., None]
    one = Batch(x, {"caption": jnp.arange(3), "class": jnp.int32(7)}, jnp.int32(0))
    many = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: jitter(1, flip=False)(key, one)))(keys(200)))
    assert (many.y["caption"] == np.arange(3)[None]).all() and (many.y["class"] == 7).all()
    assert (np.diff(many.x[..., 0], axis=2) >= 0).all() and len(np.unique(many.x, axis=0)) == 9
