"""WaveGAN: the published numbers of parameters, lengths, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.models import wavegan

LATENT = 100


def parameters(module, shape):
    found = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("width", "generator", "discriminator"), [(64, 19_065_345, 17_427_969), (16, 1_502_337, 1_092_993)]
)
def test_the_published_preset_has_its_parameters(width, generator, discriminator):
    assert parameters(wavegan.Generator((16_384,), width), (LATENT,)) == generator
    assert parameters(wavegan.Discriminator(width), (16_384,)) == discriminator


@pytest.mark.parametrize(("length", "layers"), [(64, 1), (1024, 3), (2048, 3), (4096, 4), (8192, 4), (16_384, 5)])
def test_a_waveform_of_any_length_is_quartered_to_16_to_63_steps(length, layers):
    assert wavegan.quarterings(length) == layers and 16 <= length / 4**layers < 64
    kernels = (LATENT + 1) * length // 4**layers * 2 ** (layers - 1) + 25 + 1
    kernels += sum(25 * 2 ** (i + 1) * 2**i + 2**i for i in range(layers - 1))
    assert parameters(wavegan.Generator((length,), 1), (LATENT,)) == kernels


def test_without_shuffle_a_logit_is_of_its_example_alone():
    assert wavegan.Discriminator(shuffle=0).by_example and not wavegan.Discriminator(shuffle=1).by_example


@pytest.mark.parametrize(
    ("kind", "shape", "sentence"),
    [
        ("waveform", (63,), r"\(63,\), expected .* at least 64 and a multiple of 4"),
        ("waveform", (1000,), r"\(1000,\), .* multiple of 16, such as 992;"),
        ("waveform", (1025,), r"multiple of 64, such as 1,024; cut or pad"),
        ("image", (28, 28, 1), r"kind image .* \(28, 28, 1\), expected waveforms: chirps"),
        ("point", (1024,), "kind point"),
    ],
)
def test_what_is_no_such_waveform(kind, shape, sentence):
    with pytest.raises(DataError, match=sentence):
        wavegan.check_waveforms(kind, shape)
