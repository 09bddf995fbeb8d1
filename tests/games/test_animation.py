"""The first-order model of motion: affine exactness, equivariance by hand, and what is made of clips."""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ganjax.augment import warp
from ganjax.core import Batch, Moment, Owned
from ganjax.data import Dataset, subsample
from ganjax.errors import DataError
from ganjax.games.animation import (
    DETECTOR,
    GENERATOR,
    animation,
    equivariance,
    measures,
    pyramid_distance,
    relative,
    samplers,
)
from ganjax.layers.motion import Affine, Keypoints, flow, grid, inverse, local_maps, soft_argmax, warped

RNG = np.random.default_rng(0)
MATRIX, SHIFT = np.array([[0.7, 0.2], [-0.3, 0.6]]), np.array([0.05, -0.1])  # leads nowhere out of the image


@pytest.fixture(autouse=True)
def _double(float64):
    """Exactness is to 1e-12."""


def _keypoints(b, k):
    rng = np.random.default_rng(b)
    return Keypoints(rng.uniform(-1, 1, (b, k, 2)), np.eye(2) + 0.3 * rng.normal(size=(b, k, 2, 2)))


def test_one_affine_map_is_exact_for_any_keypoints_and_masks():
    """p = A p' + b, J = A J': every T_k is z -> A z + b, so is each mixture, and warping makes the driving image."""
    driving, z = _keypoints(2, 3), np.asarray(grid(9, 7))
    source = Keypoints(driving.places @ MATRIX.T + SHIFT, MATRIX @ driving.frames)
    x, masks = RNG.normal(size=(2, 9, 7, 2)), RNG.dirichlet(np.ones(3), (2, 9, 7))
    masks = np.concatenate([np.zeros((2, 9, 7, 1)), masks], -1)

    @jax.jit
    def all_of(source, driving, z, x, masks):
        maps = local_maps(source, driving, z)
        mixed = flow(maps, masks, z)
        unit = jnp.diag(jnp.array([3.0, 4.0]))  # pixels of a half side, columns and rows
        pixels = jnp.concatenate([unit @ MATRIX @ jnp.linalg.inv(unit), (unit @ SHIFT)[:, None]], 1)
        return maps, mixed, warped(x, mixed), jax.vmap(lambda x: warp(x, pixels))(x)

    maps, mixed, made, told = all_of(source, driving, z, x, masks)
    expected = z @ MATRIX.T + SHIFT
    np.testing.assert_allclose(maps, np.broadcast_to(expected, (2, 3, 9, 7, 2)), atol=1e-12)
    np.testing.assert_allclose(mixed, np.broadcast_to(expected, (2, 9, 7, 2)), atol=1e-12)
    np.testing.assert_allclose(made, told, atol=1e-12)
    still = flow(maps, np.eye(4)[np.zeros((2, 9, 7), int)], z)
    np.testing.assert_array_equal(still, np.broadcast_to(z, (2, 9, 7, 2)))


def test_warping_by_whole_pixels_and_over_the_edge():
    x, z = RNG.normal(size=(1, 5, 5, 1)), np.asarray(grid(5, 5))
    made = warped(jnp.asarray(x), jnp.asarray(z + np.array([0.5, 0.0]))[None])  # one pixel further to the right
    np.testing.assert_allclose(made[:, :, :-1], x[:, :, 1:], atol=1e-12)
    np.testing.assert_allclose(made[:, :, -1], x[:, :, -1], atol=1e-12)
    np.testing.assert_array_equal(z[0, -1], [1, -1])


def test_means_of_heat_and_inverses():
    heat = np.zeros((1, 3, 5, 1))
    heat[0, 2, 1, 0], heat[0, 0, 1, 0] = 0.75, 0.25
    np.testing.assert_allclose(soft_argmax(jnp.asarray(heat)), [[[-0.5, 0.5]]], atol=1e-15)
    m = RNG.normal(size=(4, 2, 2))
    np.testing.assert_allclose(inverse(jnp.asarray(m)), np.linalg.inv(m), rtol=1e-10)
    assert np.isfinite(inverse(jnp.zeros((2, 2)))).all()


def test_equivariance_is_zero_of_a_detector_that_follows_and_counts_what_one_misses():
    """Of y(z) = x(V z): p' = V^-1 p, J' = V^-1 J. A miss of .1 in one place of two, and frames twice as long."""
    here, moved = _keypoints(2, 2), Affine(np.stack([MATRIX] * 2), np.stack([SHIFT] * 2))
    back = np.linalg.inv(MATRIX)
    there = Keypoints((here.places - SHIFT) @ back.T, back @ here.frames)
    each = jax.jit(equivariance)
    np.testing.assert_allclose(each(here, there, moved), 0, atol=1e-12)
    missed = here._replace(places=here.places + 0.1 * np.eye(2)[:, :1])
    np.testing.assert_allclose(each(missed, there, moved), 0.1, rtol=1e-10)  # both coordinates of one of two
    np.testing.assert_allclose(each(here, there._replace(frames=2 * there.frames), moved), 2, rtol=1e-10)
    small = [Keypoints(one.places, 0.1 * one.frames) for one in (here, there)]
    np.testing.assert_allclose(each(*small, moved), 0, atol=1e-9)  # no frame gains by being short


def test_a_source_that_is_the_first_frame_moves_as_the_clip():
    first, now = _keypoints(2, 3), _keypoints(2, 3)._replace(places=RNG.normal(size=(2, 3, 2)))
    now = now._replace(frames=now.frames + 0.1)
    told = jax.jit(relative)(first, first, now)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), told, now)


def test_distances_of_a_pyramid():
    """A gap of 1 in one of 16 pixels: 1/16 at each of the three scales; a checkerboard is seen in the first alone."""
    one = np.zeros((1, 4, 4, 1))
    one[0, 1, 1] = 1
    board = np.indices((4, 4)).sum(0)[None, ..., None] % 2 * 2.0 - 1
    zero = jnp.zeros_like(jnp.asarray(one))
    both = [pyramid_distance(jnp.asarray(x), zero) for x in (one, board)]
    np.testing.assert_allclose(both, [[3 / 16], [1]], rtol=1e-12)


class Centre(nn.Module):
    """The centre of what is bright, and an upright frame."""

    def __call__(self, x):
        ink = (x + 1) / 2
        heat = ink / ink.sum((1, 2), keepdims=True)
        return Keypoints(soft_argmax(heat), jnp.broadcast_to(jnp.eye(2)[None, None], (x.shape[0], 1, 2, 2)))


class Shifted(nn.Module):
    """All of the image moved as its keypoint is."""

    def __call__(self, x, source, driving):
        z = grid(*x.shape[1:3])
        return warped(x, local_maps(source, driving, z)[:, 0])


def _clips():
    """A bright block that moves to the right by a pixel a frame, and one that moves down."""
    x = -np.ones((2, 3, 8, 8, 1))
    for t in range(3):
        x[0, t, 2:4, 1 + t : 3 + t], x[1, t, 1 + t : 3 + t, 2:5] = 1, 0.5
    return jnp.asarray(x)


def test_a_clip_is_made_of_its_first_frame_and_its_mirror_moves_the_other_way():
    x, weights = _clips(), {DETECTOR: Owned({}, {}), GENERATOR: Owned({}, {})}
    draws = samplers(Centre(), Shifted())
    program = jax.jit(lambda x: [draws[name].draw(weights, None, None, x) for name in ("reconstruction", "mirrored")])
    made, mirrored = program(x)
    np.testing.assert_allclose(made, x, atol=1e-12)
    np.testing.assert_allclose(mirrored[0, 1, :, :-1], x[0, 0, :, 1:], atol=1e-12)  # to the left
    np.testing.assert_allclose(mirrored[1], x[1], atol=1e-12)
    batch, found = Batch(x, None, jnp.arange(2)), measures(Centre(), Shifted())
    values = jax.jit(lambda batch: {name: one.values(weights, batch, None) for name, one in found.items()})(batch)
    np.testing.assert_allclose(values["l1"], 0, atol=1e-12)
    np.testing.assert_allclose(values["drift"], 0, atol=1e-10)
    np.testing.assert_allclose(values["l1_still"], np.abs(x[:, :1] - x).mean((1, 2, 3, 4)), rtol=1e-12)


def test_images_of_another_set_move_as_the_clips_do():
    """Each by what its own clip moves, in turn: two images for three clips."""
    x, weights = _clips(), {DETECTOR: Owned({}, {}), GENERATOR: Owned({}, {})}
    other = -np.ones((2, 8, 8, 1))
    other[0, 4:6, 2:4], other[1, 1:3, 2:5] = 0.3, 0.7
    drawn = samplers(Centre(), Shifted(), jnp.asarray(other))
    driving, index = x[jnp.array([0, 1, 0])], jnp.array([0, 1, 3])
    made, mirrored = jax.jit(lambda x: [drawn[name].draw(weights, None, index, x) for name in drawn])(driving)
    for t in range(3):
        np.testing.assert_allclose(made[0, t, :, t:], other[0, :, : 8 - t], atol=1e-12)  # to the right
        np.testing.assert_allclose(made[1, t, t:], other[1, : 8 - t], atol=1e-12)  # down
        np.testing.assert_allclose(made[2, t, :, t:], other[1, :, : 8 - t], atol=1e-12)  # image 3 mod 2
        np.testing.assert_allclose(mirrored[0, t, :, : 8 - t], other[0, :, t:], atol=1e-12)


class Toy(nn.Module):
    """A keypoint and its frame, linear in the image."""

    @nn.compact
    def __call__(self, x):
        said = nn.Dense(6)(x.reshape(x.shape[0], 1, -1))
        return Keypoints(said[..., :2], jnp.eye(2)[None, None] + 0.1 * said[..., 2:].reshape(-1, 1, 2, 2))


def test_an_example_pays_by_its_position_alone():
    """The cost of a batch is the mean of those of its examples, and the detector's slope by both terms is none of 0."""
    game = animation(Toy(), Shifted(), weight=0.3)
    batch = Batch(_clips(), None, jnp.arange(2))
    params, state = jax.jit(lambda batch: ({DETECTOR: Toy().init(jax.random.key(0), batch.x[:, 0])["params"],
                                            GENERATOR: {}}, {DETECTOR: {}, GENERATOR: {}}))(batch)  # fmt: skip

    @jax.jit
    def costs(params):
        def cost(params, batch):
            value, outcome = game.costs[GENERATOR](params, Moment(state, batch, jax.random.key(1)))
            return value, outcome.metrics

        each = jax.vmap(lambda b: cost(params, b)[0])(jax.tree.map(lambda leaf: leaf[:, None], batch))
        return jax.value_and_grad(cost, has_aux=True)(params, batch), each

    ((value, parts), slopes), each = costs(params)
    np.testing.assert_allclose(each.mean(), value, rtol=1e-5)
    np.testing.assert_allclose(parts["distance"] + 0.3 * parts["equivariance"], value, rtol=1e-6)
    assert each[0] != each[1] and all(np.any(leaf) for leaf in jax.tree.leaves(slopes))
    assert game.players == (DETECTOR, GENERATOR)
    with pytest.raises(ValueError, match=r"examples have shape \(8, 8, 1\), expected clips"):
        game.init(jax.random.key(0), batch._replace(x=batch.x[:, 0]))


@pytest.fixture(scope="module")
def experiment():
    file = Path(__file__).parents[2] / "experiments" / "animation.py"
    spec = importlib.util.spec_from_file_location("animation_experiment", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["animation_experiment"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_data_that_are_no_clips_are_refused_by_the_experiment(experiment):
    """Images, a single frame, and sides that no two halvings fit."""
    for shape in ((4, 8, 8, 1), (4, 1, 8, 8, 1), (4, 2, 8, 10, 1)):
        data = Dataset(RNG.integers(0, 256, shape, np.uint8))
        with pytest.raises(DataError, match=r"expected clips .* of two frames at least"):
            experiment.build(experiment.CONFIG, lambda _, data=data: data, None)


def test_a_source_is_held_out_images_or_first_frames_that_fit_the_clips(experiment):
    """Of another side, of colour where clips are grey, or no images at all, it is refused in one sentence."""
    make = lambda *shape: RNG.integers(0, 256, shape, np.uint8)  # noqa: E731
    clips, images, frames = Dataset(make(4, 3, 8, 8, 1), name="grey"), make(6, 8, 8, 1), make(5, 2, 8, 8, 1)
    found = experiment.stills(Dataset(make(9, 8, 8, 1), x_test=images), clips, 4)
    np.testing.assert_array_equal(found, images[subsample(6, 4)])
    np.testing.assert_array_equal(experiment.stills(Dataset(frames), clips, 9), frames[subsample(5, 9), 0])
    for shape in ((4, 8, 12, 1), (4, 8, 8, 3), (4, 2, 8, 8, 3)):
        with pytest.raises(
            DataError, match=r"--source mine has .*, expected images \(8, 8, 1\) or clips of such .* grey"
        ):
            experiment.stills(Dataset(make(*shape), name="mine"), clips, 2)
    with pytest.raises(DataError, match="--source mine has points"):
        experiment.stills(Dataset(np.zeros((4, 2), np.float32), name="mine"), clips, 2)


def test_the_command_draws_from_the_images_of_its_source(experiment, monkeypatch):
    """As networks see them; without one the samplers are those of the run."""
    data = Dataset(RNG.integers(0, 256, (4, 2, 8, 8, 1), np.uint8), name="grey")
    setup = experiment.build(experiment.CONFIG, lambda _: data, None)
    monkeypatch.setattr(experiment, "config_of", lambda *_: (experiment.CONFIG, {}))
    monkeypatch.setattr("ganjax.data.load", lambda name, data_dir: {"grey": data}[name])
    monkeypatch.setattr("ganjax.games.animation.samplers", lambda *given: given)
    asked = partial(experiment.SampleMoved, workdir=Path("run"), out=Path("a.png"), count=3)
    assert asked().of_setup(None, setup) is setup
    *networks, sources = asked(source="grey").of_setup(None, setup).samplers
    assert networks == [*experiment.networks_of(experiment.CONFIG)]
    np.testing.assert_allclose(sources, data.x_train[subsample(4, 3), 0] / 127.5 - 1, atol=1e-6)
