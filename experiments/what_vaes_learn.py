"""What variational autoencoders learn: which latents pay for themselves, a plane of digits, and how tight a bound is.

Claim: of a linear decoder with Gaussian noise of variance s those latents are in use whose eigenvalue exceeds s, each
with a divergence of `log(lambda / s) / 2` nats, so that all collapse once s passes the largest one: a matter of the
noise, not of the encoder. With two latents log p(x) is a sum over a plane, and the bound of k draws climbs to it.
Paper: Lucas et al., Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse, 2019; Tipping and Bishop,
Probabilistic Principal Component Analysis, 1999; Kingma and Welling, Auto-Encoding Variational Bayes, 2014 (the plane);
Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016 (the bound).
Command: python experiments/what_vaes_learn.py train --workdir runs/what_vaes_learn
Time: 110 seconds of processor time.
Figure: collapse.png, the divergence of each latent under the law, for several s; plane.png, held-out digits where the
encoder puts them, and plane_decoded.png, what the decoder makes of the places between; bound.png, L_k over k.
What we measured with seed 0: at s = 0.4, 1, 2 and 10 latents in use are 12, 5, 3 and 0, as eigenvalues above s, and
their divergences 5.43, 1.65, 0.33 and 0.00 nats where the law has 5.45, 1.65, 0.33 and 0. Of 200 held-out digits
L_1 is -23.01, L_5 -22.67, L_5000 -22.58, and log p(x) -22.53 nats.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import norm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array, Batch, Key, Measure, PyTree, Weights, prepared
from ganjax.data import Dataset, load
from ganjax.dynamics import simultaneous
from ganjax.evaluation.held_out import measured
from ganjax.games.variational import DECODER, ENCODER, measures, vae
from ganjax.likelihoods import bernoulli, binarised, gaussian, gaussian_kl, standard_normal
from ganjax.models.vae import Decoder, Encoder
from ganjax.report import Panel, Series, grid, panels, save_image
from ganjax.report.style import SMALL, dress, new_figure, save_figure
from ganjax.training import Setup, Stream, fit

SIDE = 15  # digits along an edge of the decoded plane
DATA = "digits"


@dataclass(frozen=True)
class Config:
    """The budgets of the two parts."""

    variances: tuple[float, ...] = (0.4, 1.0, 2.0, 10.0)
    """s, of the noise of the linear decoder, of pixels from -1 to 1; the largest eigenvalue of the digits is 2.8."""
    latents: int = 24
    """Of the linear autoencoder."""
    linear_steps: int = 8000
    """Of Adam of each linear autoencoder, all examples at once."""
    plane_steps: int = 15000
    """Of Adam of the autoencoder of two latents, 100 examples at a time."""
    draws: tuple[int, ...] = (1, 5, 50, 500, 5000)
    """k of the bounds."""
    count: int = 200
    """Held-out digits that the bounds are taken of."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        for name in ("latents", "linear_steps", "plane_steps", "count"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "variances", all(0 < s < float("inf") for s in self.variances), "positive numbers")
        require(self, "draws", all(k >= 1 for k in self.draws), "numbers of at least 1")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


def compute(config: Config, workdir: Path) -> list[str]:
    """Both parts."""
    data = load(DATA)
    return [*collapse(config, data, workdir), *plane(config, data, workdir)]


def adam(steps: int) -> dict[str, optax.GradientTransformation]:
    return dict.fromkeys((ENCODER, DECODER), optax.adam(optax.cosine_decay_schedule(3e-3, steps)))


def collapse(config: Config, data: Dataset, workdir: Path) -> list[str]:
    """Linear autoencoders of several noises: the divergence of every latent beside its law."""
    x = data.x_train.reshape(len(data.x_train), -1) / np.float32(127.5) - 1
    largest = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1][: config.latents]
    ranks = np.arange(1, config.latents + 1)
    parts, lines = [], []
    for s in config.variances:
        encoder, decoder = Encoder(config.latents, ()), Decoder(data.shape, 1, ())
        setup = Setup(
            vae(encoder, decoder, gaussian(float(np.sqrt(s))), size=config.latents),
            simultaneous(adam(config.linear_steps)),
            {"data": Stream(data, len(x))},
        )
        state = fit(setup, config.seed, config.linear_steps, label=f"s = {s:g}", progress=True)
        coded = np.asarray(jax.jit(encoder.apply)({"params": state.params[ENCODER]}, x))
        found = np.sort(np.asarray(jax.jit(gaussian_kl)(coded[:, 0], coded[:, 1])).mean(0))[::-1]
        law = np.log(np.maximum(1, largest / s)) / 2
        parts.append(
            Panel(
                [
                    Series(ranks, law, "half the logarithm of eigenvalue / s"),
                    Series(ranks, found, "divergence of a latent", "points"),
                ],
                "latents and eigenvalues, the largest first",
                "nats",
                f"s = {s:g}",
                ylim=(-0.05, 1.1),
            )
        )
        lines.append(
            f"s {s:5g}: {(found > 0.01).sum():3} latents in use, {(largest > s).sum():3} eigenvalues above s; "
            f"{found.sum():6.2f} nats, the law {law.sum():6.2f}"
        )
    title = "A linear VAE uses the latents whose eigenvalue exceeds the noise"
    panels(parts, workdir / "collapse.png", columns=2, title=title)
    return [*lines, str(workdir / "collapse.png")]


def plane(config: Config, data: Dataset, workdir: Path) -> list[str]:
    """Two latents: where digits lie, what lies between them, and L_k beside log p(x)."""
    encoder, decoder, observation = Encoder(2), Decoder(data.shape), bernoulli()

    def own(k: int) -> dict[str, Measure]:
        return measures(encoder, decoder, observation, size=2, samples=k, prepare=binarised)

    setup = Setup(
        vae(encoder, decoder, observation, size=2),
        simultaneous(adam(config.plane_steps)),
        {"data": Stream(data, 100, prepare=binarised)},
        measures={f"L_{k}": own(k)["log_likelihood"] for k in config.draws}
        | {"log p": Measure(partial(exact, decoder), (DECODER,), "data", "higher", batch=50)},
    )
    state = fit(setup, config.seed, config.plane_steps, label="plane", progress=True)
    found = {name: measured(setup, name, config.seed, count=config.count)(state) for name in setup.measures}
    log_p = found.pop("log p")
    climb = Series(np.array(config.draws), np.array(list(found.values())), "L_k")
    panels(
        [Panel([climb], "k", "nats", log="x", lines={f"log p(x): {log_p:.2f}": log_p})],
        workdir / "bound.png",
        title=f"The bound of k draws, of {config.count} held-out digits",
        size=(5.6, 3.8),
    )
    held_out, classes = data.x_test, data.y_test
    assert held_out is not None and classes is not None  # the digits have both
    batch = Batch(jnp.asarray(held_out / np.float32(127.5) - 1), None, jnp.arange(len(held_out)))

    @jax.jit
    def coded(params: PyTree, batch: Batch) -> Array:
        seen = prepared(binarised, batch, jax.random.key(config.seed)).x
        return encoder.apply({"params": params}, seen)  # type: ignore[return-value]

    @jax.jit
    def decoded(params: PyTree, z: Array) -> Array:
        outputs: Array = decoder.apply({"params": params}, z)  # type: ignore[assignment]
        return (observation.mean(outputs) + 1) * 127.5

    mean = np.asarray(coded(state.params[ENCODER], batch))[:, 0]
    figure = new_figure(6.4, 5.8)
    axes = figure.add_subplot()
    spots = axes.scatter(mean[:, 0], mean[:, 1], s=14, c=classes, cmap="tab10", vmin=-0.5, vmax=9.5)
    axes.legend(*spots.legend_elements(), fontsize=SMALL, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set_aspect("equal")
    dress(axes, x="$z_1$", y="$z_2$", title="Held-out digits, where the encoder puts them")
    save_figure(figure, workdir / "plane.png")
    ticks = norm.ppf((np.arange(SIDE) + 0.5) / SIDE)
    z = np.stack(np.meshgrid(ticks, ticks[::-1]), -1).reshape(-1, 2)
    pictures = np.asarray(decoded(state.params[DECODER], z.astype(np.float32))).astype(np.uint8)
    save_image(workdir / "plane_decoded.png", grid(pictures, columns=SIDE))
    lines = [f"L_{k} {value:8.3f} nats" for k, value in zip(config.draws, found.values(), strict=True)]
    names = ("bound.png", "plane.png", "plane_decoded.png")
    return [*lines, f"log p {log_p:8.3f} nats, by a sum over the plane", *(str(workdir / name) for name in names)]


def exact(decoder: Decoder, weights: Weights, batch: Batch, key: Key, side: int = 181, reach: float = 5.0) -> Array:
    """`log p(x) = log sum_z p(x | z) p(z) dz` over a grid of two latents, [B] nats."""
    x = prepared(binarised, batch, key).x.reshape(batch.x.shape[0], -1)
    ticks = jnp.linspace(-reach, reach, side)
    z = jnp.stack(jnp.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    logits: Array = decoder.apply({"params": weights[DECODER].params}, z)  # type: ignore[assignment]
    logits = logits.reshape(z.shape[0], -1)
    of_z = standard_normal(z) - jax.nn.softplus(logits).sum(1) + 2 * jnp.log(ticks[1] - ticks[0])
    return jax.nn.logsumexp((x + 1) / 2 @ logits.T + of_z[None], axis=1)


SMOKE = {"variances": (1.0,), "latents": 2, "linear_steps": 2, "plane_steps": 2, "draws": (1, 2), "count": 10}
EXPERIMENT = launch.Experiment("what_vaes_learn", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
