"""The Jacobian of the game on a trained GAN: does the field rotate where training ends?

Claim: the vector field of a GAN is no gradient field. Its Jacobian has complex eigenvalues, whose imaginary parts are
rotation; with the consensus term, the leading eigenvalues at the same point turn less against their real parts. Along
the way from the initialisation to where training ended, the path-angle shows attraction by a change of sign at the end
and rotation by a bump.
Paper: Mescheder, Nowozin and Geiger, The Numerics of GANs, 2017; Berard, Gidel, Almahairi, Vincent and Lacoste-Julien,
A Closer Look at the Optimization Landscapes of Generative Adversarial Networks, 2020.
Command: python experiments/gan_spectrum.py train --workdir runs/gan_spectrum
Time: about 1 minute on 2 CPU cores.
Figure: runs/gan_spectrum/spectrum.png, leading eigenvalues at the start and at the end, with and without consensus;
rotation and gradient norm over training; path-angle. runs/gan_spectrum/samples.png, what the generators draw.
Two perceptrons play the non-saturating game on a ring of 8 Gaussians. An eigenvalue with a negative real part is a
direction in which the flow leaves the point; all figures are of one fixed batch. Measured with seeds 0 and 1, over the
16 leading eigenvalues: at the start, at the end of plain play and at the end of consensus play, the largest
|imag| / |real| of the adjusted field is below that of the raw one (4.0 to 0.0, 2.0 to 0.1, 15.6 to 5.7; 1.8 to 0.7,
1.1 to 0.0, 5.5 to 3.1). It does not always move eigenvalues to the right: where plain play ends, the adjusted field is
stiff and repelling (smallest real part -15 and -495, the raw one's 2.4 and 3.9). Both kinds of play find all modes;
where consensus play ends, the raw field is 20 times less steep.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from ganjax import launch
from ganjax.core import Batch, Moment, PerPlayer
from ganjax.data import Dataset
from ganjax.data.points import ring, ring_centres
from ganjax.dynamics import View, alternating, consensus, leading_eigenvalues, path_angle, rotation
from ganjax.dynamics.field import dot
from ganjax.errors import ConfigError
from ganjax.games import gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.metrics import modes, perfect_modes
from ganjax.models import mlp
from ganjax.report import Panel, Series, panels
from ganjax.training import Keys, drawn, states_at

Play = Literal["plain", "consensus"]
ALPHAS = np.linspace(-0.1, 1.1, 61)


@dataclass(frozen=True)
class Config:
    """The networks, the training and what is looked at."""

    steps: int = 12000
    """Steps of alternating play."""
    batch_size: int = 256
    """Examples of each turn."""
    learning_rate: float = 5e-4
    """Of Adam, for both players."""
    beta1: float = 0.5
    """Of Adam."""
    width: int = 64
    """Of the two hidden layers of each network."""
    latent: int = 2
    """Size of z; with 16 modes are lost under every rule."""
    sigma: float = 0.1
    """Standard deviation of each Gaussian; the ring has radius 2."""
    plays: tuple[Play, ...] = ("plain", "consensus")
    """How training is played: plainly, and with the consensus term."""
    gamma: float = 0.1
    """Weight of consensus."""
    eigenvalues: int = 16
    """How many of the Jacobian's eigenvalues, largest modulus first."""
    fixed_batch: int = 1024
    """Examples of the batch on which the field is looked at."""
    looks: int = 30
    """How often rotation and norm are measured during training."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        if not self.plays:
            raise ConfigError("--plays is empty, expected at least one of plain and consensus")
        for name in ("steps", "batch_size", "width", "latent", "eigenvalues", "fixed_batch", "looks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
        if not (self.learning_rate > 0 and self.sigma > 0):
            raise ConfigError(f"--learning-rate is {self.learning_rate} and --sigma {self.sigma}, expected positive")


def compute(config: Config, workdir: Path) -> list[str]:
    """Train twice, look at the Jacobian, draw."""
    generator = mlp.Generator((2,), (config.width, config.width), output=mlp.identity)
    prior = normal_prior(config.latent)
    game = gan(generator, mlp.Discriminator((config.width, config.width)), LOSSES["non_saturating"], prior=prior)
    keys = Keys.of(config.seed)
    fixed = _batch(ring(config.fixed_batch, sigma=config.sigma, seed=config.seed + 1)[0])
    draws = sampler(generator, prior)
    centres = jnp.asarray(ring_centres())
    draw, judge = jax.jit(lambda *told: draws(*told)), jax.jit(lambda x: modes(x, centres, config.sigma))
    rows = [
        f"{'training':10} {'at':6} {'field':10} {'largest |eig|':>13} {'smallest real':>13} {'|imag| / |real|':>16} "
        f"{'rotation':>9} {'norm':>9} {'modes':>6} {'quality':>8} {'reverse KL':>11}"
    ]
    spectra: list[list[Series]] = [[], []]
    drawn: dict[str, np.ndarray] = {}
    curves, angles = [], []
    term = consensus(config.gamma)

    @jax.jit
    def look(params: PerPlayer, net_state: PerPlayer) -> jax.Array:
        view = View(game, Moment(net_state, fixed, keys.samples))
        v = view.field(params).gradients
        return jnp.stack([rotation(view, params, keys.samples), jnp.sqrt(dot(v, v))])

    for name in config.plays:
        tint, adjust = {"plain": (0, None), "consensus": (1, term)}[name]
        states, history = _train(config, game, adjust, look, keys, name)
        ends = {"start": states[0], "end": states[1]}
        for place, (when, state) in enumerate(ends.items()):
            view = View(game, Moment(state.net_state, fixed, keys.samples))
            x = draw(state.weights, keys.samples, jnp.arange(2500))
            judged = judge(x)
            for field, adjustments in enumerate(((), (term,))):
                values = leading_eigenvalues(
                    view, state.params, config.eigenvalues, adjustments=adjustments, seed=config.seed
                )
                turn = np.abs(values.imag) / np.maximum(np.abs(values.real), 1e-12)
                rows.append(
                    f"{name:10} {when:6} {('raw', 'adjusted')[field]:10} {np.abs(values).max():13.4f} "
                    f"{values.real.min():13.4f} {turn.max():16.4f} {history[-place, 1]:9.3f} {history[-place, 2]:9.4f} "
                    f"{int(judged.captured):6d} {float(judged.high_quality):8.1%} {float(judged.reverse_kl):11.3f}"
                )
                if when == "end" or name == config.plays[0]:  # all runs start from the same point
                    label = "start" if when == "start" else f"end of {name} play"
                    spectra[field].append(Series(values.real, values.imag, label, "points", 2 * tint + place))
        drawn[name] = np.asarray(x)
        curves.append((name, tint, history))
        view = View(game, Moment(states[1].net_state, fixed, keys.samples))
        angles.append((name, tint, path_angle(view, states[0].params, states[1].params, jnp.asarray(ALPHAS))))
    quality = perfect_modes(8, 2500).high_quality
    rows.append(
        f"a perfect sampler finds 8 modes at a quality of {quality:.1%}; rotation is the antisymmetric share of J"
    )
    figures = workdir / "spectrum.png", workdir / "samples.png"
    panels(
        _panels(spectra, curves, angles), figures[0], columns=3, title="The game's Jacobian on a ring of 8 Gaussians"
    )
    panels(_scatters(config, drawn), figures[1], columns=2, title="2,500 samples over the ring (grey)")
    return [*rows, *map(str, figures)]


def _batch(x: np.ndarray | jax.Array) -> Batch:
    return Batch(jnp.asarray(x), None, jnp.arange(len(x), dtype=jnp.int32))


def _train(config: Config, game, adjust, look: Callable[..., jax.Array], keys: Keys, name: str):
    """The states at the start and at the end, and [looks + 1, 3]: step, rotation, norm of the field."""
    adam = optax.adam(config.learning_rate, b1=config.beta1)
    dynamics = alternating(dict.fromkeys(game.players, adam), adjust=adjust)
    data = Dataset(ring(100_000, sigma=config.sigma, seed=config.seed)[0])
    stops = np.linspace(0, config.steps, config.looks + 1).astype(int)
    own = keys._replace(samples=jax.random.fold_in(keys.samples, 1))
    states = states_at(stops, game, dynamics, own, drawn(data, config.batch_size * dynamics.slices))
    seen = [(s, look(s.params, s.net_state)) for s in tqdm(states, desc=name, unit="look", total=len(stops))]
    history = [[stop, *found] for stop, (_, found) in zip(stops, seen, strict=True)]
    return (seen[0][0], seen[-1][0]), np.array(history, float)


def _panels(spectra: list[list[Series]], curves: list, angles: list) -> list[Panel]:
    return [
        Panel(spectra[0], "real part", "imaginary part", "leading eigenvalues of J"),
        Panel(spectra[1], "real part", "imaginary part", "of J with consensus"),
        Panel(
            [Series(h[:, 0], h[:, 1], name, tint=2 * tint + 1) for name, tint, h in curves],
            "training step", r"$|A|^2 / (|S|^2 + |A|^2)$", "rotation of the field", ylim=(0, 1),
        ),
        Panel(
            [Series(a.alpha, a.cosine, name, tint=2 * tint + 1) for name, tint, a in angles],
            r"$\alpha$ (0: start, 1: end)", "cosine of -v and the way", "path-angle",
            lines={"right angle": 0.0},
        ),
        Panel(
            [Series(a.alpha, a.norm, name, tint=2 * tint + 1) for name, tint, a in angles],
            r"$\alpha$ (0: start, 1: end)", r"$|v|$", "norm of the field on the way", log="y",
        ),
    ]  # fmt: skip


def _scatters(config: Config, drawn: Mapping[str, np.ndarray]) -> list[Panel]:
    real = ring(2500, sigma=config.sigma, seed=config.seed + 2)[0]
    return [
        Panel(
            [Series(real[:, 0], real[:, 1], "real", "points", 6), Series(x[:, 0], x[:, 1], "generated", "points", 0)],
            "$x_1$", "$x_2$", name, xlim=(-3, 3), ylim=(-3, 3), equal=True,
        )
        for name, x in drawn.items()
    ]  # fmt: skip


SMOKE = {"steps": 20, "width": 8, "latent": 2, "batch_size": 16, "fixed_batch": 64, "looks": 2, "eigenvalues": 4}
EXPERIMENT = launch.Experiment("gan_spectrum", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
