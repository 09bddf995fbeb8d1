"""What autoregressive networks see: which pixels reach a pixel, where an image's nats lie, and how it is drawn.

Claim: one stack of masked convolutions has a blind spot above and to the right of a pixel, two stacks have none, and so
with one row of LSTMs against diagonals; the nats of an image lie where it can turn out one way or another.
Paper: van den Oord, Kalchbrenner and Kavukcuoglu, Pixel Recurrent Neural Networks, 2016; van den Oord et al.,
Conditional Image Generation with PixelCNN Decoders, 2016 (figure 1: the blind spot).
Command: python experiments/what_pixelcnns_see.py train --workdir runs/what_pixelcnns_see
Time: 90 seconds of processor time.
Figure: past.png, the pixels that reach the marked one through each network of random weights; nats.png, held-out digits
above minus log p of each of their pixels; rows.png, samples that grow row after row.
What we measured with seed 0: of the 195 pixels before one in the middle of its row 78 reach PixelCNN with three blocks,
97 Gated PixelCNN, 177 Row LSTM, 194 Diagonal BiLSTM. Held-out digits cost the gated one 22.52 nats; of twelve of them
the dearest pixel costs 3.21, the median pixel 0.18.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array, Batch, Key, PyTree, prepared
from ganjax.data import Dataset, load, subsample
from ganjax.dynamics import simultaneous
from ganjax.evaluation.held_out import measured
from ganjax.games.autoregressive import MODEL, autoregression, measures, samplers
from ganjax.kinds import from_bytes
from ganjax.likelihoods import bernoulli, binarised
from ganjax.models.pixelcnn import Autoregressive, GatedPixelCNN, PixelCNN
from ganjax.models.pixelrnn import PixelRNN
from ganjax.report import Heat, Row, panels, rows
from ganjax.training import Setup, Stream, draw, fit

Network = Literal["plain", "gated", "row", "diagonal"]
SHOWN = 12  # images side by side


@dataclass(frozen=True)
class Config:
    """The budgets of the parts."""

    networks: tuple[Network, ...] = ("plain", "gated", "row", "diagonal")
    """Whose past is drawn: PixelCNN, Gated PixelCNN, Row LSTM, Diagonal BiLSTM."""
    blocks: int = 3
    """Layers of each behind the first one; the diagonal one has one less than two."""
    side: int = 17
    """Of the image whose pixels are looked at."""
    layers: int = 4
    """Blocks of the Gated PixelCNN of digits whose nats and samples are drawn."""
    steps: int = 2000
    """Of Adam, of that network."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        for name in ("blocks", "steps"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "layers", self.layers >= 0, "at least 0")
        require(self, "side", self.side >= 3, "at least 3")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


def compute(config: Config, workdir: Path) -> list[str]:
    """The parts, one after another."""
    return [*past(config, workdir), *nats(config, load("digits"), workdir)]


def past(config: Config, workdir: Path) -> list[str]:
    """Pixels whose gradient reaches the outputs of one pixel, for each network."""
    lines, parts = [], []
    row, column = 2 * config.side // 3, config.side // 2
    before = row * config.side + column
    for name in config.networks:
        module: Autoregressive = {
            "plain": PixelCNN(1, 4, config.blocks),
            "gated": GatedPixelCNN(1, 4, config.blocks),
            "row": PixelRNN(1, 4, config.blocks, layer="row"),
            "diagonal": PixelRNN(1, 4, 1, layer="diagonal"),
        }[name]
        seen = reached(module, config.side, row, column, config.seed)
        lines.append(f"{name:8} reaches {seen.sum():4} of the {before} pixels before one in the middle of its row")
        shown = np.where(seen, 1.0, 0.0)
        shown[row, column] = 0.5
        across, up = np.arange(config.side) - column, row - np.arange(config.side)[::-1]
        labels = ("columns to the right", "rows above", f"{name}: {seen.sum()} of {before}")
        parts.append(Heat(shown[::-1], across, up, *labels, limits=(0, 1)))
    panels(parts, workdir / "past.png", columns=2, size=(3.8, 3.4), title="Pixels that reach the one at (0, 0)")
    return [*lines, str(workdir / "past.png")]


def reached(module: Autoregressive, side: int, row: int, column: int, seed: int) -> np.ndarray:
    """[side, side], the pixels on which the output of a pixel depends at any of eight images, by random weights."""

    @jax.jit
    def slopes(key: Key) -> Array:
        keys = jax.random.split(key, 3)
        x = jax.random.normal(keys[0], (8, side, side, 1))
        drawn = iter(jax.random.split(keys[2], 1000))  # more than there are layers

        def random(w: jax.ShapeDtypeStruct) -> Array:
            return jax.random.normal(next(drawn), w.shape) / math.prod(w.shape[:-1]) ** 0.5

        weights = jax.tree.map(random, jax.eval_shape(module.init, keys[1], x))

        def of_one(x: Array) -> Array:
            out: Array = module.apply(weights, x)  # type: ignore[assignment]
            return out[:, row, column].sum()

        return jax.grad(of_one)(x)

    return (np.asarray(slopes(jax.random.key(seed)))[..., 0] != 0).any(0)


def nats(config: Config, data: Dataset, workdir: Path) -> list[str]:
    """A network of digits: minus log p pixel by pixel, and samples of which more and more rows are drawn."""
    module, observation = GatedPixelCNN(1, 16, config.layers), bernoulli()
    told = measures(module, observation, prepare=binarised)
    draws = samplers(module, observation, data.shape, kept=np.ones(data.shape[:2], bool), prepare=binarised)
    setup = Setup(
        autoregression(module, observation),
        simultaneous({MODEL: optax.adam(optax.cosine_decay_schedule(3e-3, config.steps))}),
        {"data": Stream(data, 64, prepare=binarised)},
        samplers=draws,
        measures=told,
    )
    state = fit(setup, config.seed, config.steps, label="digits", progress=True)
    mean = measured(setup, "nats", config.seed)(state)
    assert data.x_test is not None  # the digits have one
    chosen = data.x_test[subsample(len(data.x_test), SHOWN)]
    batch = Batch(jnp.asarray(from_bytes(chosen)), None, jnp.arange(SHOWN))

    @jax.jit
    def told_apart(params: PyTree, batch: Batch) -> tuple[Array, Array]:
        x = prepared(binarised, batch, jax.random.key(config.seed)).x
        outputs: Array = module.apply({"params": params}, x)  # type: ignore[assignment]
        return x, -observation.log_probs(outputs, x)

    x, each = map(np.asarray, told_apart(state.params[MODEL], batch))
    shown = (255 * np.minimum(1, each / np.log(10))).astype(np.uint8)
    totals = [f"{one:.1f}" for one in each.sum((1, 2, 3))]
    seen = np.asarray((x + 1) * 127.5, np.uint8)
    title = f"Minus log p of each pixel, white at log 10; nats of each digit. All held-out digits: {mean:.2f}"
    rows([Row(seen, "digit"), Row(shown, "nats")], workdir / "nats.png", title=title, heads=totals)
    drawn = draw(setup, state, jax.random.key(config.seed), SHOWN)
    content = []
    for rows_drawn in range(0, data.shape[0] + 1, 2):
        part = np.where(np.arange(data.shape[0])[:, None, None] < rows_drawn, drawn, 128).astype(np.uint8)
        content.append(Row(part, f"{rows_drawn} rows"))
    rows(content, workdir / "rows.png", title="Samples, row after row; what is not drawn yet is grey")
    dear = f"the dearest pixel costs {each.max():.2f}, the median {np.median(each):.4f}"
    return [f"digits: {mean:.3f} nats; of {SHOWN} digits {dear}", str(workdir / "nats.png"), str(workdir / "rows.png")]


SMOKE = {"networks": ("plain",), "blocks": 1, "side": 5, "layers": 0, "steps": 2}
EXPERIMENT = launch.Experiment("what_pixelcnns_see", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
