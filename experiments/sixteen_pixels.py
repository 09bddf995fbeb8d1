"""Sixteen pixels: every relative of the GAN, and a GAN, on one axis, by the exact likelihood of the same images.

Claim: images of 4x4 binary pixels have 65,536 states, so that what autoregression, energies, mixtures, boosting, a
variational autoencoder and a GAN each say of held-out images can be counted, without an estimator. Where a GAN covers
the data it costs hardly more than maximum likelihood of the same generator; where it loses modes, more than pixels
that know nothing of each other.
Paper: Grover et al., Flow-GAN, 2018 (a GAN's likelihood, known); Hinton, 2002 (contrastive divergence); Tieleman, 2008
(persistent chains); Welling et al., Self Supervised Boosting, 2002; Che et al., MaliGAN, 2017, Hjelm et al.,
Boundary-Seeking GANs, 2018, and Yu et al., SeqGAN, 2017 (the rewards of a GAN of discrete pixels).
Command: python experiments/sixteen_pixels.py train --workdir runs/sixteen_pixels
Figure: runs/sixteen_pixels/small_digits.png and bars_and_stripes.png: a row for each model, its cost on training and
test images between the entropy of the training images and independent pixels, and its most probable states.
A decoder of two latents is a mixture over a grid of them: "decoder on a grid" is its maximum likelihood, "VAE" and
"GAN" are the same decoder trained by a bound and by a game. The GAN's pixels are drawn; its gradient is the score
function with a baseline that leaves each draw out, its reward D / (1 - D) over its mean in the batch ("ratio", MaliGAN)
or among four outputs of one z ("ratio in z", BGAN), D's logit, or D ("probability"). A flow has no place here: one of
discrete pixels permutes the states. Rates, steps and decays went by the cost of training images, with seed 0: at Adam's
0.1 in 400 steps autoregression and Boltzmann machine stayed at 4.395 and 4.394, the exact RBM at 4.42 (0.05: 4.51);
plain steps of 0.05 left the RBMs of contrastive divergence at 4.82, and Adam at 0.02 takes them to 4.27; a decay of
1e-3 left the mixture at 4.54.
What we measured: seeds 0 to 2, mean of the last steps, 137 seconds of processor time for the digits and a minute for
the ratio in z, six to nine minutes a set on 2 CPU cores that were shared. Digits (test, nats; training images' entropy
4.057): Boltzmann machine 4.255, autoregression 4.260, RBM by CD-1, CD-10, persistent chains and exactly 4.274, 4.274,
4.275, 4.278, decoder on a grid 4.278, GAN by the ratio 4.290, mixture 4.316, VAE 4.318, boosting 4.349, GAN by the
logit 4.457, by D 4.474 and by the ratio in z 4.483, independent pixels 4.679; deviations over seeds at most 0.01, but
for boosting 0.04, the last three GANs 0.09, 0.05 and 0.06: what is weighed in each z alone does not hear that another z
makes better ones.
Bars and stripes, all 30 of them seen: Boltzmann machine 3.429, boosting 3.431, RBM 3.485 exactly, 3.787 by CD-10, 5.17
by persistent chains and 5.30 by CD-1, decoder on a grid 3.570, autoregression 3.639, VAE 3.867, mixture 5.40,
independent pixels 11.090; the GANs 24.2, 24.2 and 29.4, in z 43.4: each draws a few of the 30 patterns, other images
with 2 to 5 % of its mass, and most patterns never; at 0.15 of the steps the first three cost 14.0, 12.7 (D) and 14.7.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from numpy.typing import NDArray
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array, Batch, Game, Key, PyTree
from ganjax.data import binary as data
from ganjax.dynamics import simultaneous
from ganjax.enumerated import boosted, log_probabilities
from ganjax.errors import ConfigError, did_you_mean
from ganjax.games import gan, variational
from ganjax.games.discrete import Reward, score_function
from ganjax.games.energy import (
    MODEL,
    contrastive_divergence,
    maximum_likelihood,
)
from ganjax.likelihoods import bernoulli
from ganjax.losses import LOSSES
from ganjax.models import binary, vae
from ganjax.report import grid
from ganjax.report.style import FAINT, INK, LABEL, SMALL, TITLE, colour, dress, log_axis, new_figure, save_figure
from ganjax.training import population, simulate

STATES = data.states()
LATENT = 2
BOOSTING = "boosting"


@dataclass(frozen=True)
class Config:
    """The data, the models and how long they learn."""

    data: tuple[str, ...] = ("small_digits", "bars_and_stripes")
    """Which of small_digits and bars_and_stripes."""
    models: tuple[str, ...] = ()
    """Which models to fit; all by default."""
    seeds: int = 3
    """Runs of each model, trained together."""
    seed: int = 0
    """The first of the seeds."""
    effort: float = 1.0
    """All numbers of steps are multiplied by it."""

    def __post_init__(self):
        require(self, "seeds", self.seeds >= 1, "at least 1")
        require(self, "effort", 0 < self.effort <= 100, "positive and at most 100")
        for option, names, known in (("data", self.data, SETS), ("models", self.models, (*MODELS, BOOSTING))):
            for name in names:
                if name not in known:
                    raise ConfigError(f'--{option}: "{name}" is unknown{did_you_mean(name, known)}')
        require(self, "data", len(self.data) > 0, "one set at least")


SETS: dict[str, Callable[[], tuple[NDArray, NDArray]]] = {
    "small_digits": data.small_digits,
    "bars_and_stripes": lambda: (data.bars_and_stripes(), data.bars_and_stripes()),
}


class Model(NamedTuple):
    """A model and how it learns."""

    module: nn.Module  # x -> log p, or the energy's log p*
    game: Callable[[], Game]
    params: Callable[[PyTree], PyTree]  # those of the module among those of the players
    rates: Mapping[str, float]  # of Adam, falling to 0 along a cosine, keyed by player
    steps: int
    decay: float = 0.0  # weight of |theta|^2 / 2 in the costs
    batch: int = 0  # examples of a step; 0 for all
    optimizer: Callable[..., optax.GradientTransformation] = optax.adam


def of_likelihood(module: nn.Module, states: bool, rate: float, steps: int, decay: float = 0.0) -> Model:
    """Maximum likelihood on all images at once."""
    game = partial(maximum_likelihood, module, STATES if states else None)
    return Model(module, game, lambda p: p[MODEL], {MODEL: rate}, steps, decay)


def of_contrast(hidden: int, updates: int, **options: int) -> Model:
    """An RBM by plain gradient steps of contrastive divergence."""
    rbm = binary.RBM(16, hidden)
    game = partial(contrastive_divergence, rbm, **options)
    return Model(rbm, game, lambda p: p[MODEL], {MODEL: 0.5}, updates, batch=256, optimizer=optax.sgd)


DECODER = vae.Decoder((4, 4, 1), hidden=(64, 64))


def latent_prior(key: Key) -> Array:
    """z of N(0, I) and uniform noise for the pixels, [2 + 16]."""
    for_z, for_u = jax.random.split(key)
    return jnp.concatenate([jax.random.normal(for_z, (LATENT,)), jax.random.uniform(for_u, (16,))])


def of_game(reward: Reward, outputs: int = 1) -> Model:
    """The same decoder as a GAN's generator; pixels are drawn, and the score function is its gradient."""
    generator = binary.Drawn(DECODER, LATENT)
    terms = {"generator": {"score": score_function(generator, reward, outputs)}}
    game = partial(gan, generator, binary.Perceptron((64, 64)), LOSSES["minimax"], prior=latent_prior, terms=terms)
    rates = {"generator": 1e-3, "discriminator": 2e-3}
    return Model(binary.Gridded(DECODER), game, lambda p: p["generator"], rates, 6000, batch=256,
                 optimizer=partial(optax.adam, b1=0.5))  # fmt: skip


def of_bound() -> Model:
    """A variational autoencoder; the grid of latents says what the bound does not."""
    networks = vae.Encoder(LATENT, (64, 64)), DECODER, bernoulli()
    rates = {variational.ENCODER: 3e-3, variational.DECODER: 3e-3}
    game = partial(variational.vae, *networks, size=LATENT)
    return Model(binary.Gridded(DECODER), game, lambda p: {"decoder": p[variational.DECODER]}, rates, 3000, batch=256)


MODELS: dict[str, Model] = {
    "factorial": of_likelihood(binary.Factorial(), False, 0.1, 300),
    "autoregression": of_likelihood(binary.Autoregression(), False, 0.3, 1000, 7e-4),
    "Boltzmann machine": of_likelihood(binary.Pairwise(), True, 0.3, 1000, 1e-4),
    "RBM, exact": of_likelihood(binary.RBM(16, 16), True, 0.2, 600, 1e-4),
    "RBM, CD-1": of_contrast(16, 4000),
    "RBM, CD-10": of_contrast(16, 4000, steps=10),
    "RBM, PCD": of_contrast(16, 4000, chains=256),
    "mixture": of_likelihood(binary.Mixture(20), False, 0.1, 1000, 1e-4),
    "decoder on a grid": of_likelihood(binary.Gridded(DECODER), False, 2e-3, 3000)._replace(batch=256),
    "VAE": of_bound(),
    "GAN, ratio": of_game("ratio"),
    "GAN, ratio in z": of_game("ratio", outputs=4),
    "GAN, logit": of_game("logit"),
    "GAN, probability": of_game("probability"),
}


def trained(model: Model, config: Config, x: NDArray) -> PyTree:
    """Parameters of the module for each seed, with a leading axis."""
    steps = max(1, round(config.effort * model.steps))
    images = jnp.asarray(x)

    def drawn(key: Key) -> Batch:
        rows = jax.random.randint(key, (model.batch,), 0, len(x))
        return Batch(images[rows], None, jnp.arange(model.batch))

    def descent(rate: float) -> optax.GradientTransformation:
        own = model.optimizer(optax.cosine_decay_schedule(rate, steps))
        return optax.chain(optax.add_decayed_weights(model.decay), own) if model.decay else own

    dynamics = simultaneous({player: descent(rate) for player, rate in model.rates.items()})
    given = {"sample": drawn} if model.batch else {"batch": Batch(images, None, jnp.arange(len(x)))}

    def run(seed: Array) -> PyTree:
        state, _ = simulate(model.game(), dynamics, steps, key=jax.random.key(seed), keep=None, **given)
        return model.params(state.params)

    return population(run)(seed=config.seed + np.arange(config.seeds))


def boosted_states(config: Config, x: NDArray, seed: int) -> NDArray:
    """`log p` of all states after three rounds from the factorial law, exact negatives and coefficients."""
    ones = (x.reshape(len(x), -1) > 0).mean(0)
    logits = np.clip(np.log(ones + 1e-9) - np.log1p(1e-9 - ones), -7, 7)
    log_p = log_probabilities(binary.Factorial(), {"bias": logits})
    feature, steps = binary.Perceptron((8,)), max(1, round(300 * config.effort))
    rounds = boosted(feature, x, log_p, key=jax.random.key(seed), steps=steps, rate=0.05, decay=1e-3)
    return next(islice(rounds, 2, None)).log_p


def fitted(name: str, config: Config, x: NDArray) -> NDArray:
    """`log p` of all states for each seed, [seeds, 65,536]."""
    if name == BOOSTING:
        return np.stack([boosted_states(config, x, config.seed + i) for i in range(config.seeds)])
    model = MODELS[name]
    params = jax.tree.map(np.asarray, trained(model, config, x))
    one = lambda i: jax.tree.map(lambda leaf: leaf[i], params)  # noqa: E731
    return np.stack([log_probabilities(model.module, one(i)) for i in range(config.seeds)])


def costs(log_p: NDArray, x: NDArray) -> NDArray:
    """Mean `-log p` of images in nats for each seed, [seeds]."""
    return -log_p[:, data.index(x)].mean(1)


def floor_of(x: NDArray) -> float:
    """The entropy of the images' own frequencies, the least that any model of them can cost."""
    share = np.unique(data.index(x), return_counts=True)[1] / len(x)
    return float(-(share * np.log(share)).sum())


def compute(config: Config, workdir: Path) -> list[str]:
    """Fit every model to every set; one table and one figure for each."""
    lines, figures = [], []
    chosen = config.models or (*MODELS, BOOSTING)
    for name in config.data:
        x_train, x_test = SETS[name]()
        found, start = {}, time.perf_counter()
        for one in tqdm(chosen, desc=name, unit="model"):
            found[one] = fitted(one, config, x_train)
        floor = floor_of(x_train)
        lines.append(f"{name}: nats an image, {config.seeds} seeds; the training images' entropy is {floor:.4f}")
        lines.append(f"{'model':20}{'train':>9}{'+-':>8}{'test':>9}{'+-':>8}{'unseen mass':>13}")
        seen = np.unique(data.index(np.concatenate([x_train, x_test])))
        for one, log_p in found.items():
            train, test = costs(log_p, x_train), costs(log_p, x_test)
            unseen = 1 - np.exp(log_p[:, seen]).sum(1).mean()
            lines.append(
                f"{one:20}{train.mean():9.4f}{train.std():8.4f}{test.mean():9.4f}{test.std():8.4f}{unseen:13.3f}"
            )
        lines.append(f"{time.perf_counter() - start:.0f} seconds")
        figures.append(draw(name, found, x_train, x_test, workdir / f"{name}.png"))
    return [*lines, *map(str, figures)]


SHOWN = 30  # states of each model, the most probable ones


def draw(name: str, found: Mapping[str, NDArray], x_train: NDArray, x_test: NDArray, out: Path) -> Path:
    """A row for each model: its cost on training (hollow) and test images, and what it takes for most probable."""
    order = sorted(found, key=lambda one: costs(found[one], x_test).mean())
    figure = new_figure(13.0, 0.36 * len(order) + 1.6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.1))
    for place, one in enumerate(order):
        train, test = (costs(found[one], x).mean() for x in (x_train, x_test))
        left.plot([train, test], [place, place], color=FAINT, zorder=1)
        left.plot(costs(found[one], x_test), [place] * len(found[one]), "o", color=colour(0), ms=4)
        left.plot(train, place, "o", mfc="white", mec=colour(0), ms=6, zorder=3)
    factorial = costs(fitted("factorial", Config(seeds=1), x_train), x_test)[0]
    marks = (
        (floor_of(x_train), " entropy of the training images", "left"),
        (factorial, "independent pixels ", "right"),
    )
    for height, (value, word, side) in zip((-0.75, -1.2), marks, strict=True):
        left.axvline(value, color=INK, lw=0.9, ls="--")
        left.annotate(word, (value, height), fontsize=SMALL, color=INK, ha=side, va="bottom")
    if max(costs(found[one], x_test).max() for one in order) > 2 * factorial:
        log_axis(left, *left.get_xlim(), which="x")
    left.set(yticks=range(len(order)), yticklabels=order, ylim=(len(order) - 0.5, -1.7))
    dress(left, x="nats an image: training (hollow), test of each seed (full)")
    strips = [grid(picture(found[one][0]), columns=SHOWN, scale=4, border=3) for one in order]
    right.imshow(np.concatenate(strips), aspect="auto", interpolation="nearest", extent=(0, 1, len(order) - 0.5, -0.5))
    right.set(ylim=(len(order) - 0.5, -1.7))
    right.axis("off")
    right.set_title(f"the {SHOWN} most probable states of each, from the left", fontsize=LABEL, color=INK, y=0.95)
    figure.suptitle(name.replace("_", " "), fontsize=TITLE, color=INK)
    save_figure(figure, out)
    return out


def picture(log_p: NDArray) -> NDArray[np.uint8]:
    """The most probable states as images."""
    best = np.argsort(-log_p, kind="stable")[:SHOWN]
    return np.where(STATES[best] > 0, 30, 215).astype(np.uint8)


SMOKE = {"data": ("bars_and_stripes",), "models": ("factorial", "RBM, CD-1"), "seeds": 1, "effort": 0.005}
EXPERIMENT = launch.Experiment("sixteen_pixels", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
