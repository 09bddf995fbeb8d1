"""What spectral normalisation normalises: the reshaped kernel, not the convolution.

Claim: the norm of a convolution lies between the norm of its reshaped kernel and sqrt(kh kw) times that, so the layers
of a spectrally normalised discriminator can be steeper than 1, and nothing bounds its Lipschitz constant by 1.
Paper: Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018; Sedghi, Gupta and Long, The
Singular Values of Convolutional Layers, 2019; Gouk et al., Regularisation of neural networks by enforcing Lipschitz
continuity, 2021.
Command: python experiments/convolution_norms.py train --workdir runs/convolution_norms
Time: about 30 seconds on 2 CPU cores.
Figure: runs/convolution_norms/norms.png: true against reshaped norms of random convolutions between the two lines; the
true norm of each normalised layer of a DCGAN over training; a lower bound of the whole discriminator's Lipschitz
constant beside the product of the layers' norms.
Measured with seed 0: random 3 x 3 kernels are 1.65 times as steep as their reshaped norm on average, kernels whose taps
are alike 2.99 times. In the DCGAN the first normalised layer ends at a norm of 1.69, the second at 1.38, their product
at 2.3; the steepest slope found at 64 digits ends at 0.76, so here the looser bound is not used up. The second layer
starts below 1: no window of it lies wholly on its 4 x 4 map, and the lower bound needs one that does.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array, GameState, Key
from ganjax.data import load
from ganjax.dynamics import alternating
from ganjax.games import gan, normal_prior
from ganjax.losses import LOSSES
from ganjax.models import dcgan
from ganjax.operators import circular_norm, lipschitz_estimate, norms_of_convolutions, operator_norm, reshaped_norm
from ganjax.report import Panel, Series, panels
from ganjax.spectral import spectral_norm
from ganjax.training import Keys, drawn, states_at


@dataclass(frozen=True)
class Config:
    """The random convolutions and the training."""

    random: int = 100
    """Random convolutions of each kind."""
    steps: int = 1000
    """Of alternating play on the digits, with the hinge loss."""
    looks: int = 20
    """How often the norms are measured."""
    width: int = 16
    """Channels of the discriminator's first layer."""
    batch_size: int = 64
    """Examples of each turn."""
    learning_rate: float = 2e-4
    """Of Adam, for both players."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        for name in ("random", "steps", "looks", "width", "batch_size"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "looks", self.looks <= self.steps, "no more than --steps")
        require(self, "learning_rate", self.learning_rate > 0, "a positive number")


def compute(config: Config, workdir: Path) -> list[str]:
    """Random convolutions, then a discriminator over training."""
    parts, rows = [], [f"{'random convolutions':34}{'smallest ratio':>15}{'mean':>8}{'largest':>9}{'bound':>7}"]
    for name, side, smooth in (("3 x 3", 3, 0.0), ("3 x 3, taps alike", 3, 0.9), ("5 x 5", 5, 0.0)):
        reshaped, circular, zeros = _random(config, side, smooth)
        ratio = circular / reshaped
        rows.append(f"{name:34}{ratio.min():15.3f}{ratio.mean():8.3f}{ratio.max():9.3f}{side:7d}")
        reach = np.array([0.9 * reshaped.min(), 1.1 * reshaped.max()])
        series = [
            Series(reshaped, circular, "circular", "points", 0),
            Series(reshaped, zeros, "zero padding", "points", 1),
            Series(reach, reach, "slope 1 and slope k", "predicted"),
            Series(reach, side * reach, "", "predicted"),
        ]
        parts.append(Panel(series, "norm of the reshaped kernel", "norm of the convolution", name))
    steps, norms, steep = _trained(config)
    layers = sorted({name.split("/")[0] for name in norms})
    true = {layer: norms[f"{layer}/operator"] / norms[f"{layer}/reshaped"] for layer in layers}
    rows.append(f"{'normalised layer':34}{'at the start':>15}{'at the end':>12}")
    rows += [f"{layer:34}{values[0]:15.3f}{values[-1]:12.3f}" for layer, values in true.items()]
    product = np.prod(list(true.values()), axis=0)
    rows.append(f"{'product of the layers':34}{product[0]:15.3f}{product[-1]:12.3f}")
    rows.append(f"{'steepest slope of D that was found':34}{steep[0]:15.3f}{steep[-1]:12.3f}")
    parts += [
        Panel([Series(steps, values, layer) for layer, values in true.items()], "step", "norm of the convolution",
              "layers of reshaped norm 1", lines={"1": 1.0}),
        Panel([Series(steps, steep, "steepest slope found"), Series(steps, product, "product of layers")], "step",
              "Lipschitz constant", "the whole discriminator", lines={"1": 1.0}),
    ]  # fmt: skip
    figure = workdir / "norms.png"
    panels(parts, figure, columns=3, size=(3.6, 3.2))
    return [*rows, str(figure)]


def _random(config: Config, side: int, alike: float) -> tuple[np.ndarray, ...]:
    """Reshaped, circular and zero-padded norms of random kernels [side, side, 4, 4] on 8 x 8 images."""
    keys = jax.random.split(jax.random.key(config.seed), config.random)
    reshaped, circular, zeros = map(np.asarray, _norms(side, keys, np.array([1 - alike, alike], np.float32)))
    return reshaped, circular, zeros


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0, None))
def _norms(side: int, key: Key, shares: Array) -> tuple[Array, Array, Array]:
    """Of one kernel, whose taps have an own part and a common one of these shares."""
    own, common, scale, start = jax.random.split(key, 4)
    kernel = shares[0] * jax.random.normal(own, (side, side, 4, 4)) + shares[1] * jax.random.normal(
        common, (1, 1, 4, 4)
    )
    kernel *= jax.random.uniform(scale, minval=0.2)
    return reshaped_norm(kernel), circular_norm(kernel, (8, 8)), operator_norm(kernel, (8, 8), start, steps=300)


def _trained(config: Config) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Steps, norms of the stored kernels and the slope of the normalised discriminator over training."""
    digits, spectral = load("digits"), spectral_norm()
    generator, discriminator = (
        dcgan.Generator(digits.shape, config.width),
        dcgan.Discriminator(config.width, batch_norm=False),
    )
    game = gan(generator, discriminator, LOSSES["hinge"], prior=normal_prior(16), spectral={"discriminator": spectral})
    adam = optax.adam(config.learning_rate, b1=0.5)
    dynamics = alternating(dict.fromkeys(game.players, adam))
    keys, draw = Keys.of(config.seed), drawn(digits, config.batch_size * dynamics.slices)
    x_real = draw(jax.random.fold_in(keys.samples, 0)).x
    measure = norms_of_convolutions(discriminator, x_real, steps=100, train=True)

    @jax.jit
    def look(state: GameState):
        params, u = state.params["discriminator"], state.net_state["discriminator"]["spectral"]
        weights = spectral.normalise(params, u)

        def critic(x: Array) -> Any:
            return discriminator.apply({"params": weights}, x, train=True)

        return measure(params), lipschitz_estimate(critic, x_real[:64], steps=20, length=0.5)

    stops = np.linspace(0, config.steps, config.looks + 1).astype(int)
    states = states_at(stops, game, dynamics, keys, draw)
    found = [look(state) for state in tqdm(states, desc="DCGAN", unit="look", total=len(stops))]
    norms = {name: np.array([float(one[name]) for one, _ in found]) for name in found[0][0]}
    return stops, norms, np.array([float(slope) for _, slope in found])


SMOKE = {"random": 3, "steps": 2, "looks": 1, "width": 2, "batch_size": 8}
EXPERIMENT = launch.Experiment("convolution_norms", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
