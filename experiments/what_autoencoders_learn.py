"""What autoencoders learn: eigenvectors one by one, the gradient of a density, and codes with a density.

Claim: on its way to the largest eigenvalues the loss of a linear autoencoder rests at sums of others, its saddles; a
denoiser's arrows are `sigma^2 grad log p` for any noise; decoding N(0, I) is no sampling, decoding a density of the
codes is, and for a linear autoencoder its Gaussian misses the data by just the loss.
Paper: Baldi and Hornik, Neural Networks and Principal Component Analysis, 1989; Saxe, McClelland and Ganguli, Exact
Solutions to the Nonlinear Dynamics of Learning, 2014; Alain and Bengio, What Regularized Auto-Encoders Learn from the
Data Generating Distribution, 2014; Ghosh et al., From Variational to Deterministic Autoencoders, 2020.
Command: python experiments/what_autoencoders_learn.py train --workdir runs/what_autoencoders_learn
Time: 20 seconds of processor time.
Figure: loss.png, the loss from small weights between the sums of eigenvalues; score.png, the denoiser's arrows beside
the exact ones; codes.png, what is decoded of three densities of the codes.
What we measured with seed 0: the linear loss rests at 15.5, 7.5 and 3.5 and ends at 1.5, the sum of the two eigenvalues
that three numbers cannot hold. The denoiser's squared gap to the score is 0.08 % of its square. Digits by codes of 8:

    autoencoder    loss    squared Frechet distance of pixels: N(0, I)    Gaussian    mixture
    linear         6.56                                        41.5       6.58        6.58
    deep           1.92                                        14.6       1.35        0.46

Under the linear one the mixture has the Gaussian's moments, so that this distance cannot tell them apart; the eye can.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import softmax
from sklearn.mixture import GaussianMixture

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array, Batch, Key
from ganjax.data import load
from ganjax.dynamics import simultaneous
from ganjax.games.autoencoding import AUTOENCODER, autoencoder, score
from ganjax.metrics import frechet_distance
from ganjax.metrics.frechet import moments
from ganjax.models.autoencoder import Autoencoder
from ganjax.report import Panel, Row, Series, panels, rows
from ganjax.training import Setup, Stream, fit, rejected, simulate

EIGENVALUES = np.array([8.0, 4.0, 2.0, 1.0, 0.5])  # of the data of the linear autoencoder
CENTRES = np.array([[-1.5, -0.8], [1.5, -0.8], [0.0, 1.6]])  # of the denoiser's
STD = 0.3


@dataclass(frozen=True)
class Config:
    """The budgets of the three parts."""

    flow_steps: int = 1000
    """Of gradient descent of the linear autoencoder, at rate 0.005 from weights of about 1e-4."""
    denoising_steps: int = 4000
    """Of Adam of the denoiser."""
    sigma: float = 0.5
    """Of the denoiser's noise."""
    code_steps: int = 4000
    """Of Adam of the autoencoders of digits."""
    networks: tuple[Literal["linear", "deep"], ...] = ("linear", "deep")
    """Which of these."""
    code: int = 8
    """Numbers of their code."""
    components: int = 20
    """Of the mixture that is fitted to the codes."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        for name in ("flow_steps", "denoising_steps", "code_steps", "code", "components"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "sigma", 0 < self.sigma < float("inf"), "a positive number")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


def compute(config: Config, workdir: Path) -> list[str]:
    """The three parts, one after another."""
    return [*plateaus(config, workdir), *arrows(config, workdir), *codes(config, workdir)]


def plateaus(config: Config, workdir: Path) -> list[str]:
    """Gradient descent from small weights, over the sums of the eigenvalues that are not yet found."""
    rng, size = np.random.default_rng(config.seed), len(EIGENVALUES)
    u, _, vt = np.linalg.svd(rng.normal(size=(200, size)), full_matrices=False)
    x = jnp.asarray(np.sqrt(200 * EIGENVALUES) * (u @ vt), jnp.float32)
    batch, game = Batch(x, None, jnp.arange(200)), autoencoder(Autoencoder((size,), 3, bias=False))

    def small(key: Key, batch: Batch) -> tuple[dict, dict]:
        params, state = game.init(key, batch)
        return jax.tree.map(lambda w: 1e-4 * w, params), state

    play = simultaneous({AUTOENCODER: optax.sgd(0.005)})
    key = jax.random.key(config.seed)

    @jax.jit
    def descent(key: Key, batch: Batch) -> tuple[Array, Array]:
        state, path = simulate(game._replace(init=small), play, config.flow_steps, key=key, batch=batch)
        own = path[AUTOENCODER]
        x_hat = jnp.einsum("tij,tjk,bi->tbk", own["down_0"], own["up_0"], batch.x)
        return ((batch.x[None] - x_hat) ** 2).sum(-1).mean(-1), state.skipped

    loss, skipped = map(np.asarray, descent(key, batch))
    sums = {f"{k} eigenvectors found: {EIGENVALUES[k:].sum():g}": EIGENVALUES[k:].sum() for k in range(4)}
    time = 0.005 * np.arange(len(loss))
    panel = Panel([Series(time, loss, "loss")], "steps times rate", "mean squared error", lines=sums, ylim=(0, 17))
    panels([panel], workdir / "loss.png", columns=1, size=(6.4, 4.2), title="A linear autoencoder of 3 numbers from 5")
    near = [f"{(np.abs(loss - value) < 0.05 * value).mean():.0%}" for value in sums.values()]
    said = f"linear: ends at {loss[-1]:.4f}, the best is {EIGENVALUES[3:].sum():.4f}; share of steps within 5 % of"
    lines = [f"{said} {', '.join(sums)}: {', '.join(near)}", rejected(skipped, config.flow_steps)]
    return [*filter(None, lines), str(workdir / "loss.png")]


def arrows(config: Config, workdir: Path) -> list[str]:
    """A denoiser of three Gaussians, beside the gradient of the density of the noisy points."""
    module, centres = Autoencoder((2,), 64, (64,), activation=jnp.tanh), jnp.asarray(CENTRES, jnp.float32)

    def sample(key: Key) -> Batch:
        side, rest = jax.random.split(key)
        x = centres[jax.random.randint(side, (256,), 0, 3)] + STD * jax.random.normal(rest, (256, 2))
        return Batch(x, None, jnp.arange(256))

    rate = optax.cosine_decay_schedule(3e-3, config.denoising_steps)
    game, play = autoencoder(module, corruption=config.sigma), simultaneous({AUTOENCODER: optax.adam(rate)})
    key = jax.random.key(config.seed)
    train = lambda key: simulate(game, play, config.denoising_steps, key=key, sample=sample, keep=None)[0]  # noqa: E731
    state = jax.jit(train)(key)
    total = STD**2 + config.sigma**2

    def exact(x: np.ndarray) -> np.ndarray:
        away = CENTRES - x[:, None]
        return (softmax(-(away**2).sum(-1) / (2 * total), axis=1)[..., None] * away).sum(1) / total

    scored = jax.jit(lambda x: score(module, state.weights, x, config.sigma))

    def learned(x: np.ndarray) -> np.ndarray:
        return np.asarray(scored(x.astype(np.float32)))

    noisy = (
        np.random.default_rng(config.seed).normal(size=(2000, 2)) * np.sqrt(total) + np.tile(CENTRES, (667, 1))[:2000]
    )
    gap, size = ((learned(noisy) - exact(noisy)) ** 2).sum(1).mean(), (exact(noisy) ** 2).sum(1).mean()

    def field(of: Callable[[np.ndarray], np.ndarray], a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = of(np.stack([a.ravel(), b.ravel()], 1))
        return found[:, 0].reshape(a.shape), found[:, 1].reshape(a.shape)

    points = [Series(noisy[:200, 0], noisy[:200, 1], "noisy points", "points", 6)]
    window = (-3.2, 3.2)
    parts = [
        Panel(points, "$x_1$", "$x_2$", title, "", window, window, equal=True, field=partial(field, of))
        for title, of in (("(r(x) - x) / sigma^2", learned), ("gradient of log p, exact", exact))
    ]
    panels(parts, workdir / "score.png", columns=2, size=(4.4, 4.2), title=f"A denoiser at sigma {config.sigma:g}")
    lines = [f"denoiser: squared gap to the score {gap / size:.2%} of its square"]
    return [*lines, *filter(None, [rejected(state.skipped, config.denoising_steps)]), str(workdir / "score.png")]


def codes(config: Config, workdir: Path) -> list[str]:
    """Digits by a linear and a deep autoencoder; decoded N(0, I), Gaussian and mixture of the codes."""
    data, pictures = load("digits"), []
    x = data.x_train.reshape(len(data.x_train), -1) / np.float32(127.5) - 1
    real = moments(x)
    lines = [
        f"{'digits':8}{'loss':>8}{'N(0, I)':>10}{'Gaussian':>10}{'mixture':>10}  squared Frechet distances of pixels"
    ]
    for name in config.networks:
        module = Autoencoder(data.shape, config.code, () if name == "linear" else (128, 64))
        rate = optax.cosine_decay_schedule(2e-3, config.code_steps)
        play = simultaneous({AUTOENCODER: optax.adam(rate)})
        setup = Setup(autoencoder(module), play, {"data": Stream(data, 100)})
        state = fit(setup, config.seed, config.code_steps, label=name, progress=True)
        variables = {"params": state.params[AUTOENCODER]}
        encode, decode = (jax.jit(partial(module.apply, method=method)) for method in ("encode", "decode"))
        h = np.asarray(encode(variables, x), np.float64)
        rng, count = np.random.default_rng(config.seed), len(x)
        mixture = GaussianMixture(config.components, random_state=config.seed, reg_covar=1e-3).fit(h)
        draws = {
            "N(0, I)": rng.normal(size=h.shape),
            "Gaussian": rng.multivariate_normal(h.mean(0), np.cov(h.T).reshape(config.code, -1), count),
            "mixture": rng.permutation(mixture.sample(count)[0]),
        }

        def decoded(h: np.ndarray, decode: Callable[..., Any] = decode, variables: dict = variables) -> np.ndarray:
            return np.asarray(decode(variables, h.astype(np.float32)))

        far = [frechet_distance(moments(decoded(one).reshape(count, -1)), real) for one in draws.values()]
        loss = float(((decoded(h).reshape(x.shape) - x) ** 2).sum(1).mean())
        lines.append(f"{name:8}{loss:8.2f}{''.join(f'{value:10.2f}' for value in far)}")
        for (density, one), value in zip(draws.items(), far, strict=True):
            made = np.clip((decoded(one[:12]) + 1) * 127.5, 0, 255).astype(np.uint8)
            pictures.append(Row(made, f"{name}, {density}", f"{value:.1f}"))
    title = "Decoded draws of three densities of the codes, with their squared Frechet distances"
    rows(pictures, workdir / "codes.png", title=title, group=3)
    return [*lines, str(workdir / "codes.png")]


SMOKE = {"flow_steps": 3, "denoising_steps": 2, "code_steps": 2, "networks": ("linear",), "code": 2, "components": 1}
EXPERIMENT = launch.Experiment("what_autoencoders_learn", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
