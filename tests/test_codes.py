"""The experiment of codes: images of more codes than were seen, and what it refuses."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ganjax.commands import codes
from ganjax.core import Batch, Owned
from ganjax.data import Dataset
from ganjax.errors import ConfigError
from ganjax.games import quantised
from ganjax.kinds import from_bytes

FILE = Path(__file__).parents[1] / "experiments" / "vqgan.py"
SPEC = importlib.util.spec_from_file_location("vqgan", FILE)
vqgan = importlib.util.module_from_spec(SPEC)
sys.modules["vqgan"] = vqgan  # dataclasses look their module up
SPEC.loader.exec_module(vqgan)
CONFIG = dataclasses.replace(vqgan.EXPERIMENT.config, **vqgan.EXPERIMENT.smoke)
DATA = Dataset(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8), np.arange(40, dtype=np.int32) % 10)


def test_images_of_more_codes_than_were_seen():
    """Of 3x4 codes where 2x2 were seen; each is of its key, and classes take turns."""
    made = vqgan.networks(dataclasses.replace(CONFIG, conditional=True), DATA)
    game = quantised.prior(
        quantised.vqvae(made.encoder, made.decoder, made.observation, codes=8), made.encoder, made.model, codes=8
    )
    batch = Batch(np.float32(DATA.x_train) / 127.5 - 1, np.int32(DATA.y_train), np.arange(40))
    shapes = jax.eval_shape(game.init, jax.random.key(0), batch)
    rng = np.random.default_rng(1)
    params, state = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(s.dtype), shapes)
    weights = {player: Owned(params[player], state[player]) for player in params}
    asked = vqgan.Enlarge(workdir=Path(), out=Path("x.png"), rows=3, columns=4, count=2)
    x = vqgan.enlarged(made, weights, jax.random.key(0), asked)
    assert x.shape == (2, 12, 16, 1) and x.dtype == np.uint8 and (x[0] != x[1]).any()


def test_the_stages_that_there_are():
    """Without features no classifier, which needs classes; without either the quantised autoencoder alone."""
    bare = dataclasses.replace(CONFIG, perceptual=0.0, adversarial=0.0)
    plain = dataclasses.replace(DATA, y_train=None)
    stages = vqgan.build(bare, lambda _: plain, None)
    assert list(stages) == ["codes", "prior"] and not stages["codes"].start
    assert stages["codes"].game.players == (quantised.ENCODER, quantised.DECODER)
    assert list(vqgan.build(CONFIG, lambda _: DATA, None)) == ["features", "codes", "prior"]
    with pytest.raises(ConfigError, match=r"has no classes, of which the network is trained.*--perceptual 0"):
        vqgan.build(CONFIG, lambda _: plain, None)
    with pytest.raises(ConfigError, match="prior-width is 8, expected a multiple of the 3 heads"):
        dataclasses.replace(CONFIG, prior_heads=3)


def test_codes_are_those_of_every_image_and_vectors_those_of_some(monkeypatch):
    """40 images in calls of 16, of which the last has fewer: no image twice, none left out."""
    monkeypatch.setattr(codes, "CALL", 16)
    monkeypatch.setattr(codes, "SHOWN", 160)
    made = vqgan.networks(CONFIG, DATA)
    game = quantised.vqvae(made.encoder, made.decoder, made.observation, codes=8)
    x = from_bytes(DATA.x_train)
    params, state = jax.jit(game.init)(jax.random.key(0), Batch(x, None, np.arange(40)))
    weights = {player: Owned(params[player], state[player]) for player in params}
    vectors, found = codes.told(made.encoder, weights, DATA.x_train)
    np.testing.assert_array_equal(found, quantised.encode(made.encoder, weights, x))
    z = np.asarray(quantised.embed(made.encoder, weights, x)).reshape(40 * 4, -1)
    assert len(np.unique(found)) > 1 and vectors.shape == (160, CONFIG.vector)
    np.testing.assert_allclose(vectors[np.lexsort(vectors.T)], z[np.lexsort(z.T)], atol=1e-6)
    monkeypatch.setattr(codes, "SHOWN", 12)  # of images that may be sorted by class
    few, _ = codes.told(made.encoder, weights, DATA.x_train)
    at = np.abs(few[:, None] - z[None]).sum(-1).argmin(1) // 4
    assert len(few) == 12 and at.max() >= 20
