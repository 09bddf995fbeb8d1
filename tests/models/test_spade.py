"""The networks of SPADE against the published counts, and what a generator that reads the map once does not see."""

import importlib.util
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.layers.spade import one_hot
from ganjax.models.patchgan import PatchDiscriminator
from ganjax.models.spade import MultiScale, SpadeResNet

_path = Path(__file__).parents[2] / "experiments" / "spade.py"
_spec = importlib.util.spec_from_file_location("spade", _path)
EXPERIMENT = sys.modules["spade"] = importlib.util.module_from_spec(_spec)  # dataclasses look their module up
_spec.loader.exec_module(EXPERIMENT)


@pytest.mark.parametrize("labels, parameters", [(184, 97_480_899), (151, 96_492_483), (36, 93_048_003)])
def test_parameters(labels, parameters):
    """COCO, ADE and Cityscapes; an image of 256x512 begins at 8x16."""
    m = jax.ShapeDtypeStruct((1, 32, 64, labels), jnp.float32)
    x, found = jax.eval_shape(lambda m: SpadeResNet(3).init_with_output(jax.random.key(0), m, train=True), m)
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(found["params"])) == parameters
    assert x.shape == (1, 32, 64, 3) and found["params"]["first"]["kernel"].shape == (3, 3, labels, 1024)


def test_a_map_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(DataError, match=r"got \(48, 64\), expected sides divisible by 32"):
        jax.eval_shape(partial(SpadeResNet(3).init, train=False), jax.random.key(0), jnp.zeros((1, 48, 64, 2)))


def test_details_of_the_map_are_lost_to_a_network_that_reads_it_at_its_smallest():
    """Pixels off the grid of the first map: SPADE sees them, the same network with BatchNorm cannot."""
    labels = jnp.zeros((1, 8, 8), jnp.int32)
    for modulated in (False, True):
        module = SpadeResNet(1, 2, (2, 1), (1,), 2, modulated=modulated)
        variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), one_hot(labels, 2))
        paint = jax.jit(lambda m, module=module, variables=variables: module.apply(variables, m, train=False))
        gap = np.abs(paint(one_hot(labels.at[0, 3, 5].set(1), 2)) - paint(one_hot(labels, 2))).max()
        assert (gap > 1e-5) == modulated, gap


def test_each_scale_sees_an_image_half_as_large():
    module = MultiScale(lambda name: PatchDiscriminator(2, 1, name=name), 2)
    x = jax.random.normal(jax.random.key(0), (1, 16, 16, 2))
    logits, variables = jax.jit(partial(module.init_with_output, train=True))(jax.random.key(1), x)
    maps = jax.jit(partial(module.apply, train=True, method="maps"))(variables, x)
    assert [one.shape for one in logits] == [(1, 6, 6), (1, 2, 2)] and [len(one) for one in maps] == [3, 3]
    np.testing.assert_array_equal(maps[1][-1][..., 0], logits[1])
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    half = jnp.float32(np.nanmean(windows, (-2, -1)))
    judge = jax.jit(partial(PatchDiscriminator(2, 1).apply, train=True))
    alone = judge({"params": variables["params"]["scale_1"]}, half)
    np.testing.assert_allclose(alone, logits[1], atol=1e-5)


@pytest.mark.parametrize(
    ("network", "chosen", "kernels"),
    [
        ("spade", {"conv_0", "conv_1", "shortcut"}, 26),
        ("plain", {"conv_0", "conv_1", "shortcut"}, 10),
        ("unet", None, 4),
    ],
)
def test_spectral_norm_is_of_the_blocks_and_not_of_what_draws_scales_and_offsets(network, chosen, kernels):
    """As the authors have it, without the first and the last convolution; a U-Net has nothing else."""
    module = EXPERIMENT.generator_of(replace(EXPERIMENT.CONFIG, network=network), (16, 16, 3), None)
    m = jnp.zeros((2, 16, 16, 6))
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), m, train=True))["params"]
    leaves = {tuple(key.key for key in path): leaf for path, leaf in jax.tree.leaves_with_path(params)}
    paths = [path for path in leaves if path[-1] == "kernel"]
    assert len(paths) == kernels
    expected = {path for path in paths if chosen is None or path[-2] in chosen}
    assert {path for path, leaf in leaves.items() if EXPERIMENT.is_normalised(path, leaf)} == expected
    assert len(expected) == 8 or chosen is None
