"""The networks of Frechet distances: published sizes, and the pools that set the FID's Inception apart.

tests/evaluation/test_pretrained.py holds them against their PyTorch originals.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from ganjax.models import efficientnet, inception

NETWORKS = {
    "inception": (inception.FidInception(), inception.SIZE),
    "efficientnet_lite0": (efficientnet.EfficientNetLite0(), efficientnet.SIZE),
}


@functools.cache
def shapes(name):
    """Those of the parameters and of each module's output, keyed by path."""
    module, size = NETWORKS[name]

    def run(x):
        variables = jax.jit(module.init)(jax.random.key(0), x)
        kept = module.apply(variables, x, capture_intermediates=True)[1]["intermediates"]
        return variables["params"], kept

    params, kept = jax.eval_shape(run, jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32))
    outputs = {path.removesuffix("/__call__"): leaf[0] for path, leaf in flatten_dict(kept, sep="/").items()}
    return flatten_dict(params, sep="/"), outputs


# PyTorch's counts, which have four vectors of BatchNorm for each bias here: pytorch-fid 23,885,392 (of which 34,432 are
# statistics), efficientnet-lite-pytorch 4,694,024.
@pytest.mark.parametrize(("name", "count"), [("inception", 23_885_392), ("efficientnet_lite0", 4_694_024)])
def test_parameter_counts(name, count):
    params, _ = shapes(name)
    biases = sum(leaf.size for path, leaf in params.items() if path.endswith("bias") and path != "fc/bias")
    assert sum(leaf.size for leaf in params.values()) + 3 * biases == count
    assert {leaf.dtype.name for leaf in params.values()} == {"float32"}


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        (
            "inception",
            {
                "Conv2d_1a_3x3": (149, 149, 32),
                "Conv2d_2a_3x3": (147, 147, 32),
                "Conv2d_2b_3x3": (147, 147, 64),
                "Conv2d_3b_1x1": (73, 73, 80),
                "Conv2d_4a_3x3": (71, 71, 192),
                "Mixed_5b": (35, 35, 256),
                "Mixed_5c": (35, 35, 288),
                "Mixed_5d": (35, 35, 288),
                "Mixed_6a": (17, 17, 768),
                "Mixed_6b": (17, 17, 768),
                "Mixed_6c": (17, 17, 768),
                "Mixed_6d": (17, 17, 768),
                "Mixed_6e": (17, 17, 768),
                "Mixed_7a": (8, 8, 1280),
                "Mixed_7b": (8, 8, 2048),
                "Mixed_7c": (8, 8, 2048),
                "fc": (1008,),
            },
        ),
        (
            "efficientnet_lite0",
            {"stem": (112, 112, 32)}
            | {f"block_{i}": (s, s, c) for i, s, c in [(0, 112, 16), (2, 56, 24), (4, 28, 40), (7, 14, 80)]}
            | {"block_10": (14, 14, 112), "block_14": (7, 7, 192), "block_15": (7, 7, 320)}
            | {"head": (7, 7, 1280), "fc": (1000,)},
        ),
    ],
)
def test_shapes_of_the_blocks(name, blocks):
    _, outputs = shapes(name)
    assert {block: outputs[block].shape for block in blocks} == {block: (2, *shape) for block, shape in blocks.items()}


def windows(x, reduce):
    """3x3 windows of stride 1 that end at the border."""
    y = np.empty_like(x)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            y[:, i, j] = reduce(x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2], axis=(1, 2))
    return y


@pytest.mark.parametrize(
    ("block", "reduce"),
    [
        (inception.BlockA(32), np.mean),
        (inception.BlockC(8), np.mean),
        (inception.BlockE(maximum=False), np.mean),
        (inception.BlockE(maximum=True), np.max),
    ],
    ids=["A", "C", "E", "last E"],
)
def test_pools_leave_the_padding_out(block, reduce):
    """The pool's branch comes last; negative inputs tell a maximum padded with zeros."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32) - 1
    y, variables = jax.jit(block.init_with_output)(jax.random.key(0), x)
    kernel = np.float64(variables["params"]["branch_pool"]["kernel"][0, 0])
    expected = np.maximum(windows(np.float64(x), reduce) @ kernel, 0)
    np.testing.assert_allclose(y[..., -kernel.shape[1] :], expected, atol=1e-5)
    assert expected.max() > 0.1


def test_wrong_inputs():
    with pytest.raises(ValueError, match=r"x has shape \(1, 32, 32, 3\), expected \[B, 299, 299, 3\]"):
        jax.eval_shape(inception.FidInception().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match=r"x has shape \(1, 224, 224, 1\), expected \[B, H, W, 3\]"):
        jax.eval_shape(efficientnet.EfficientNetLite0().init, jax.random.key(0), jnp.zeros((1, 224, 224, 1)))
