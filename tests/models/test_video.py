"""Networks of clips: what of a latent each frame is made of, lengths that they take, and what the papers prescribe."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.data.bouncing import bounced
from ganjax.errors import DataError
from ganjax.layers.motion import moved
from ganjax.models.dcgan import Generator
from ganjax.models.video import (
    ClipCritic,
    ClipReader,
    FrameCritic,
    MotionContent,
    MovedPicture,
    Stills,
    TwoStream,
    Volume,
    check_clip_shape,
    halvings,
)

FRAME = (8, 8, 1)


def _size(module, *inputs, **how):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **how))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes["params"]))


def test_mocogan_has_the_parameters_of_the_authors_code():
    """3,298,836 at 64x64x3 with 56 of content and categories and 10 of motion.

    Our last layer has 3 offsets more, our recurrent unit 20 less: two of PyTorch's six vectors say what two others do.
    """
    module = MotionContent((64, 64, 3), content=56, motion=10)
    assert _size(module, jnp.zeros((1, module.latents(16))), train=True) == 3_298_836 + 3 - 20


def test_content_is_held_motion_is_causal_and_longer_clips_begin_alike():
    module = MotionContent(FRAME, content=3, motion=2, width=2)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, module.latents(6))).astype(np.float32)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), z, train=True))
    variables = jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), shapes)
    variables["batch_stats"] = jax.tree.map(jnp.ones_like, variables["batch_stats"])
    clip = jax.jit(lambda z: module.apply(variables, z, train=False))
    plain = np.asarray(clip(z))
    assert plain.shape == (2, 6, *FRAME)

    def changed(*numbers):
        """Which frames of the first clip change with these numbers of its latent; the other clip never does."""
        other = z.copy()
        other[0, list(numbers)] += 1
        moved = np.abs(np.asarray(clip(other)) - plain).max((2, 3, 4)) > 1e-6
        assert not moved[1].any()
        return moved[0].tolist()

    assert changed(0) == changed(3) == [True] * 6, "content, and where motion starts"
    assert changed(3 + 2 + 2 * 2) == [False, False, True, True, True, True], "the noise of the third frame"
    longer = np.concatenate([z, rng.normal(size=(2, 4)).astype(np.float32)], 1)
    np.testing.assert_allclose(np.asarray(clip(longer))[:, :6], plain, atol=1e-5)
    with pytest.raises(ValueError, match=r"z has 4 numbers, expected 3 of content and a multiple of 2"):
        jax.eval_shape(lambda: module.apply(variables, z[:, :4], train=False))


def test_one_picture_moves_by_whole_pixels_between_walls():
    """The clip is the picture at the pixel where the path is; walls reflect it as they do in the simulator.

    Of a frame of 8x16 and a picture of 4, which has 4 and 12 pixels to go.
    """
    shape = (8, 16, 1)
    module = MovedPicture(shape, content=3, motion=2, width=2, sprite=4)
    z = np.random.default_rng(0).normal(size=(2, module.latents(5))).astype(np.float32)
    variables = jax.jit(lambda: module.init(jax.random.key(0), z, train=True))()
    draw = Generator((4, 4, 1), 2)
    own = {kind: variables[kind]["frame"] for kind in ("params", "batch_stats")}
    picture = np.asarray(jax.jit(lambda v: draw.apply(v, z[:, :3], train=False))(own))
    assert picture.std((1, 2, 3)).min() > 0
    shown = jax.jit(lambda v: module.apply(v, z, train=False))

    def clip(place, step):
        """That begins at such shares of its ways and goes on by so many pixels, whatever the path."""
        for name, bias in (("place", place), ("step", step)):
            kernel = jnp.zeros_like(variables["params"][name]["kernel"])
            variables["params"][name] = {"kernel": kernel, "bias": jnp.array(bias)}
        return np.asarray(shown(variables))

    for place, step in (([0.5, 0.25], [1.0, -2.0]), ([1.75, 0.0], [-1.0, 3.0])):  # 1.75: at .25, and on its way back
        expected = np.full((2, 5, *shape), -1.0)
        down, right = (bounced(p * free, v, 5, free) for p, v, free in zip(place, step, (4, 12), strict=True))
        for t in range(5):
            p, q = int(down[t]), int(right[t])
            expected[:, t, p : p + 4, q : q + 4] = picture
        np.testing.assert_allclose(clip(place, step), expected, atol=1e-6)
    nearest = clip([0.0, 2 / 12], [1.0, -2.0])
    np.testing.assert_array_equal(clip([0.1, 0.2], [0.7, -2.4]), nearest)  # .4 and 2.4 pixels, and steps between some
    trained, _ = jax.jit(lambda v: module.apply(v, z, train=True, mutable=["batch_stats"]))(variables)
    seen = np.asarray(trained)[0, ..., 0] > -1
    assert seen.any(2).argmax(1).tolist() == [0, 1, 2, 2, 3], ".4 and on by .7: places are rounded, and not steps"
    with pytest.raises(ValueError, match=r"sprite is 8, expected less than the frame's \[8, 16\]"):
        jax.eval_shape(lambda: module.clone(sprite=8).apply(variables, z, train=False))


def test_a_picture_begins_to_go_forwards_and_keeps_its_speed():
    """Before anything is learned: about a pixel a frame, and where no noise moves the code next to nothing changes."""
    module = MovedPicture(FRAME, content=3, motion=10, noise=0.0, width=2, sprite=4)
    z = np.random.default_rng(0).normal(size=(64, module.latents(8))).astype(np.float32)

    @jax.jit
    def steps():
        _, seen = module.init_with_output(jax.random.key(0), z, train=False, capture_intermediates=True)
        return seen["intermediates"]["step"]["__call__"][0]

    found = np.asarray(steps())
    assert found.shape == (64, 7, 2) and np.abs(found.mean((0, 1)) - 1).max() < 0.3
    assert found.std(1).mean() < 0.05 * found.std(0).mean()


def test_a_picture_is_moved_by_parts_of_pixels_and_its_derivatives_are_central_differences():
    rng = np.random.default_rng(0)
    x, cotangent = rng.normal(size=(2, 3, 4, 1)), rng.normal(size=(2, 1, 6, 8, 1))

    def at(places):
        return moved(jnp.asarray(x), places[:, None], (6, 8))

    between = np.asarray(at(jnp.array([[0.0, 1.5], [2.25, 0.0]])))
    np.testing.assert_allclose(between[0, 0, :3, 2:5], (x[0, :, 1:] + x[0, :, :-1]) / 2, atol=1e-6)
    np.testing.assert_allclose(between[1, 0, 3:5, :4], 0.75 * x[1, 1:] + 0.25 * x[1, :-1], atol=1e-6)

    @jax.jit
    def both(places):
        cost = lambda places: (at(places) * cotangent).sum((1, 2, 3, 4))  # noqa: E731
        one = jnp.eye(2)[:, None]
        return jax.grad(lambda p: cost(p).sum())(places), [(cost(places + e) - cost(places - e)) / 2 for e in one]

    found, expected = both(jnp.array([[1.0, 2.0], [2.0, 1.0]]))
    np.testing.assert_allclose(found, np.stack(expected, 1), rtol=1e-4, atol=1e-5)


def test_two_streams_make_a_clip_of_a_foreground_before_a_background_at_rest():
    module = TwoStream((4, *FRAME), width=2)
    z = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)

    @jax.jit
    def made():
        return module.init_with_output(jax.random.key(0), z, train=True, method="streams")[0]

    x, parts = jax.tree.map(np.asarray, made())
    mask, front, back = parts["mask"], parts["foreground"], parts["background"]
    assert x.shape == (3, 4, *FRAME) and mask.shape == (3, 4, 8, 8, 1) and back.shape == (3, 1, *FRAME)
    assert mask.min() > 0 and mask.max() < 1 and front.std((1, 2, 3)).min() > 0
    np.testing.assert_allclose(x, mask * front + (1 - mask) * back, atol=1e-6)


@pytest.mark.parametrize("frames", [6, 5])
def test_clips_of_many_lengths(frames):
    """Time is halved while it is even, rows and columns as DCGAN does."""
    shape = (frames, 16, 16, 1)
    x, z = jnp.zeros((1, *shape)), jnp.zeros((1, 3))  # a batch of one keeps its axis

    def output(module, x, **how):
        return jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x, **how)[0])

    for module in (Volume(shape, 2), TwoStream(shape, 2)):
        assert output(module, z, train=True).shape == (1, *shape)
    assert output(Stills(shape[1:], 3, 2), jnp.zeros((1, 3 * frames)), train=True).shape == (1, *shape)
    assert output(ClipCritic(2), x).shape == (1,)
    assert output(FrameCritic(2), x[:, :2]).shape == (1, 2)
    heads = output(ClipReader({"class": 3, "down": 6}, 2, 4), x)
    assert {name: leaf.shape for name, leaf in heads.items()} == {"class": (1, 3), "down": (1, 6)}
    assert np.prod(halvings(frames, 2)) == {6: 2, 5: 1}[frames]


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1, 8, 8, 1), r"a clip of one frame, which has no motion; expected at least 2 frames"),
        ((8, 8, 1), r"expected \(frames, height, width, channels\)"),
        ((4, 9, 8, 1), "divisible by 4"),
    ],
)
def test_what_is_no_clip_is_refused(shape, sentence):
    with pytest.raises(DataError, match=sentence):
        check_clip_shape(shape)


@pytest.mark.parametrize(
    "module",
    [
        MotionContent(FRAME, 3, 2, width=2),
        MovedPicture(FRAME, 3, 2, width=2, sprite=4),
        TwoStream((4, *FRAME), 2),
        Stills(FRAME, 3, 2),
    ],
)
def test_the_number_of_clips_can_be_left_open(module):
    """As `export` does it."""
    size = module.latents(4) if hasattr(module, "latents") else 3
    z = jax.ShapeDtypeStruct(jax.export.symbolic_shape(f"b, {size}"), jnp.float32)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, size)), train=True))
    x = jax.eval_shape(lambda v, z: module.apply(v, z, train=False), shapes, z)
    assert str(x.shape[0]) == "b" and x.shape[1:] == (4, *FRAME)
