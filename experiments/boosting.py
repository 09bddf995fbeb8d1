"""Boosting: an energy that is the sum of its discriminators, beside machines that learn from samples of themselves.

Claim: a classifier that tells data from samples of an energy is what the energy lacks: added to it, with a coefficient
of its own, it raises the likelihood by a gain that can be named, and no discriminator is forgotten; linear ones add
nothing. Contrastive divergence climbs and falls again, and noise contrast learns the normaliser as a parameter.
Paper: Welling, Zemel and Hinton, Self Supervised Boosting, 2002; Hinton, Training Products of Experts by Minimizing
Contrastive Divergence, 2002; Tieleman, Training Restricted Boltzmann Machines using Approximations to the Likelihood
Gradient, 2008; Gutmann and Hyvarinen, Noise-Contrastive Estimation, 2010.
Command: python experiments/boosting.py train --workdir runs/boosting
Time: about five minutes on 2 CPU cores that were shared.
Figure: runs/boosting/machines.png, the exact likelihood of an
RBM of 16 hidden units over its updates; rounds.png, that of boosted energies over rounds and the costs of their
discriminators; noise.png, that of an RBM by noise contrast, and log Z as it believes and as it is. The data are the 30
bars and stripes of 4x4, so that -log 30 = -3.4012 is the best and independent pixels have -11.0904.
What we measured (seed 0): CD-1 comes to -4.79 at 2,500 updates and is at -5.39 after 10,000; CD-10 to -3.67 and -3.91;
chains that are kept follow steps of 0.02 to -4.26 and lose those of 0.1 (-5.26, then -16.3); 3,000 steps of Adam by the
exact gradient give -3.407 (1,000: -3.422). Boosting, a round after the other: perceptrons of 8 units on all states
weighed by the energy -4.40, then -3.427 after four rounds and -3.426 after twelve, never falling, where their cost is 2
log 2; on 300 draws, coefficients at most 1, -6.67, -3.77 after four and -3.49 after twelve, with 2 falls (without that
bound a feature that separates the draws has no best coefficient: at 1,000 the likelihood was -7,083); linear features
-11.0904 on all states and -11.10 on draws, whose noise they fit; single softplus units with a coefficient of 1, which
make an RBM unit by unit, -11.09, -10.05 (4), -8.60 (8), -6.38 (16), -5.32 (24), never falling (begun with a bias of 0
instead of -3 they end at -6.29 or -6.21 and fall once or twice: a unit of Adam can miss that adding nothing is better).
Noise contrast with 1,000 draws of fair bits a step: -3.646, its log Z 31.65 where counting says 29.36: next to none of
the noise falls on what the machine says (at a rate of 0.02 for 2,000 steps, with log Z from 0, it stayed at -10.95). On
scikit-learn's digits as 64 bits, 1,347 for training and 450 of other writers (10,000 steps, 100 images each), machines
of 16 units, counted by their hidden states, cost 18.37 nats of a test image by CD-1, 18.25 by CD-10 and 18.23 by kept
chains (independent pixels 24.87); annealed importance sampling finds log Z within 0.04. With 64 units, by that estimate
alone, 16.88.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray
from scipy.special import logsumexp
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Batch, Game, Key
from ganjax.data import binary as data
from ganjax.dynamics import simultaneous
from ganjax.enumerated import Round, annealed_log_z, boosted, log_probabilities, rbm_log_z, said
from ganjax.errors import ConfigError, did_you_mean
from ganjax.games.energy import MODEL, Contrast, contrastive_divergence, maximum_likelihood, noise_contrastive
from ganjax.models import binary
from ganjax.report import Panel, Series, panels
from ganjax.training import Keys, states_at

X, STATES = data.bars_and_stripes(), data.states()
UNIFORM = np.full(len(STATES), -16 * np.log(2))  # the factorial law of these images: every pixel mean is 1/2
BEST, NOISE = np.log(30), 1000
TRAINED = 1347  # of 1,797 digits


@dataclass(frozen=True)
class Config:
    """How long everything learns."""

    rounds: int = 12
    """Of boosting with perceptrons; a third more with linear features, twice as many with single units."""
    round_steps: int = 300
    """Of Adam in a round."""
    updates: int = 10_000
    """Of the machines that learn by contrastive divergence."""
    exact_updates: int = 3000
    """Of the one that learns by the exact gradient."""
    noise_steps: int = 6000
    """Of noise-contrastive estimation."""
    digit_updates: int = 10_000
    """Of the machines of digits."""
    temperatures: int = 2000
    """Of annealed importance sampling."""
    looks: int = 20
    """How often the exact likelihood is taken."""
    seed: int = 0
    """Of initialisations and samples."""
    parts: tuple[str, ...] = ("machines", "rounds", "noise", "digits")
    """Which of machines (contrastive divergence), rounds (boosting), noise (noise contrast) and digits (64 pixels)."""

    def __post_init__(self):
        for name in self.parts:
            if name not in PARTS:
                raise ConfigError(f'--parts: "{name}" is unknown{did_you_mean(name, PARTS)}')
        require(self, "parts", len(self.parts) > 0, "one part at least")
        for name in (
            "rounds",
            "round_steps",
            "updates",
            "exact_updates",
            "noise_steps",
            "digit_updates",
            "temperatures",
            "looks",
        ):
            require(self, name, getattr(self, name) >= 1, "at least 1")


def likelihood(log_p: NDArray) -> float:
    """Mean log-likelihood of the 30 images, at most -log 30."""
    return float(log_p[data.index(X)].mean())


# -- a machine and its negative samples -------------------------------------------------------------------------------

RBM = binary.RBM(16, 16)


def rules() -> dict[str, tuple[Game, optax.GradientTransformation]]:
    """Each estimate of the gradient, and the plain steps that it takes."""
    return {
        "CD-1, rate 0.1": (contrastive_divergence(RBM), optax.sgd(0.1)),
        "CD-10, rate 0.1": (contrastive_divergence(RBM, steps=10), optax.sgd(0.1)),
        "PCD, rate 0.1": (contrastive_divergence(RBM, chains=30), optax.sgd(0.1)),
        "PCD, rate 0.02": (contrastive_divergence(RBM, chains=30), optax.sgd(0.02)),
    }


def watched(game: Game, optimizer: optax.GradientTransformation, config: Config, updates: int) -> tuple[list, list]:
    """Updates and exact log-likelihoods of a machine that learns."""
    stops = np.unique(np.linspace(0, updates, config.looks + 1).astype(int))
    batch = Batch(jnp.asarray(X), None, jnp.arange(len(X)))
    found = states_at(stops, game, simultaneous({MODEL: optimizer}), Keys.of(config.seed), lambda key: batch)
    return list(stops), [likelihood(log_probabilities(RBM, state.params[MODEL])) for state in found]


def machines(config: Config, workdir: Path) -> list[str]:
    """An RBM against its own samples, by several estimates of them, and by the exact gradient."""
    lines = [f"{'RBM of 16 hidden units':24}{'best':>9}{'at':>8}{'last':>9}{'at':>8}"]
    series = []
    exact = optax.adam(optax.cosine_decay_schedule(0.1, config.exact_updates))
    games = {name: (*rule, config.updates) for name, rule in rules().items()}
    games["exact, Adam"] = (maximum_likelihood(RBM, jnp.asarray(STATES)), exact, config.exact_updates)
    for name, (game, optimizer, updates) in tqdm(games.items(), desc="machines", unit="rule"):
        steps, values = watched(game, optimizer, config, updates)
        best = int(np.argmax(values))
        lines.append(f"{name:24}{values[best]:9.4f}{steps[best]:8d}{values[-1]:9.4f}{steps[-1]:8d}")
        series.append(Series(steps, values, name))
    part = Panel(series, "updates", "mean log-likelihood (nats)", "a machine and its negative samples", ylim=(-12, -3),
                 lines={"- log 30": -BEST})  # fmt: skip
    figure = workdir / "machines.png"
    panels([part], figure, size=(7.0, 4.2))
    return [*lines, str(figure)]


# -- boosting ---------------------------------------------------------------------------------------------------------


def variants(config: Config) -> dict[str, Iterator[Round]]:
    """Boosting of the factorial law, by the feature and by where its negatives come from."""
    n, begin = config.rounds, partial(boosted, x=X, log_p=UNIFORM, key=jax.random.key(config.seed))
    unit: dict[str, Any] = {"rate": 0.1, "criterion": "likelihood", "search": 0.0}
    own: dict[str, Any] = {"steps": config.round_steps, "rate": 0.05, "decay": 1e-3}
    mlp, linear = binary.Perceptron((8,)), binary.Perceptron(())
    return {
        "units, greedy": islice(begin(binary.Unit(), **{**own, **unit, "decay": 0.0}), 2 * n),
        "perceptrons": islice(begin(mlp, **own), n),
        "perceptrons, 300 drawn": islice(begin(mlp, sampled=300, search=1.0, **own), n),
        "linear": islice(begin(linear, **own), n),
        "linear, 300 drawn": islice(begin(linear, sampled=300, search=1.0, **own), n),
    }


def rounds(config: Config, workdir: Path) -> list[str]:
    """The log-likelihood after each round, and what the discriminator still tells apart."""
    told = [n for n in (1, 4, 8, 12, 16, 24) if n <= 2 * config.rounds]
    lines = [
        f"{'likelihood after round':26}" + "".join(f"{n:9d}" for n in told) + f"{'falls':>7}{'first D':>9}{'last D':>9}"
    ]
    climbs, losses = [], []
    for name, found in variants(config).items():
        kept = list(tqdm(found, desc=name, unit="round"))
        values = [likelihood(UNIFORM), *(likelihood(one.log_p) for one in kept)]
        falls = int((np.diff(values) < -1e-9).sum())
        likelihoods = "".join(f"{values[n]:9.4f}" if n < len(values) else " " * 9 for n in told)
        lines.append(f"{name:26}{likelihoods}{falls:7d}{kept[0].cost:9.4f}{kept[-1].cost:9.4f}")
        climbs.append(Series(np.arange(len(values)), values, name))
        losses.append(Series(np.arange(1, len(values)), [one.cost for one in kept], name))
    figure = workdir / "rounds.png"
    parts = [
        Panel(climbs, "rounds", "mean log-likelihood (nats)", "the energy", ylim=(-12, -3), lines={"- log 30": -BEST}),
        Panel(losses, "rounds", "cross-entropy (nats)", "its discriminators", lines={"2 log 2": 2 * np.log(2)}),
    ]
    panels(parts, figure, columns=2, size=(5.6, 4.2))
    return [*lines, str(figure)]


# -- noise-contrastive estimation -------------------------------------------------------------------------------------


def noise(config: Config, workdir: Path) -> list[str]:
    """A machine told from uniform noise: its likelihood, and its own idea of log Z beside the sum over all states."""
    game = noise_contrastive(RBM, lambda x: jnp.full(len(x), -16 * jnp.log(2.0)))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, config.noise_steps))

    def drawn(key: Key) -> Contrast:
        negatives = jax.random.rademacher(key, (NOISE, *X.shape[1:]), jnp.float32)
        return Contrast(jnp.asarray(X), negatives, jnp.full(NOISE, -jnp.log(NOISE)))

    stops = np.unique(np.linspace(0, config.noise_steps, config.looks + 1).astype(int))
    exact, own, values = [], [], []
    for state in states_at(stops, game, simultaneous({MODEL: optimizer}), Keys.of(config.seed), drawn):
        f = said(RBM, state.params[MODEL]["module"], STATES)
        exact.append(logsumexp(f))
        own.append(float(state.params[MODEL]["log_z"]))
        values.append(likelihood(f - exact[-1]))
    line = (
        f"noise: {NOISE} draws of 16 fair bits a step: log-likelihood {values[-1]:.4f}, log Z counted {exact[-1]:.4f}"
    )
    figure = workdir / "noise.png"
    parts = [
        Panel([Series(stops, values, "RBM by NCE")], "steps", "mean log-likelihood (nats)", lines={"- log 30": -BEST}),
        Panel([Series(stops, own, "its own parameter"), Series(stops, exact, "by counting", "predicted", 0)], "steps",
              "log Z"),
    ]  # fmt: skip
    panels(parts, figure, columns=2, size=(5.2, 3.8))
    return [line + f", its own {own[-1]:.4f}", str(figure)]


# -- digits of 64 pixels ----------------------------------------------------------------------------------------------

MANY = 64  # hidden units of a machine whose normaliser nobody can count


def digits(config: Config, workdir: Path) -> list[str]:
    """RBMs of scikit-learn's digits as bits: the exact likelihood of 16 hidden units, and AIS, which goes beyond."""
    from sklearn.datasets import load_digits

    x = np.where(load_digits().images >= 8, 1, -1).astype(np.float32)[..., None]  # the order of the source, by writers
    x_train, x_test = x[:TRAINED], x[TRAINED:]
    images, ones = jnp.asarray(x_train), ((x_train + 1) / 2).reshape(TRAINED, -1).sum(0)
    base = np.log(ones + 1) - np.log(TRAINED + 1 - ones)
    alone = -said(binary.Factorial(), {"bias": base}, x_test).mean()
    lines = [
        f"digits of 64 pixels: independent pixels cost {alone:.3f} nats of a test image",
        f"{'RBM':24}{'train':>9}{'test':>9}{'log Z':>9}{'by AIS':>9}",
    ]

    def drawn(key: Key) -> Batch:
        return Batch(images[jax.random.randint(key, (100,), 0, TRAINED)], None, jnp.arange(100))

    descent = simultaneous({MODEL: optax.sgd(optax.cosine_decay_schedule(0.1, config.digit_updates))})
    rules = {"CD-1": {}, "CD-10": {"steps": 10}, "PCD": {"chains": 100}}
    for hidden, (name, rule) in [*((16, one) for one in rules.items()), (MANY, ("PCD", rules["PCD"]))]:
        rbm = binary.RBM(64, hidden)
        game = contrastive_divergence(rbm, **rule)
        (state,) = states_at([config.digit_updates], game, descent, Keys.of(config.seed), drawn)
        own = state.params[MODEL]
        annealed = annealed_log_z(own, base, key=jax.random.key(config.seed), steps=config.temperatures)
        log_z = rbm_log_z(own) if hidden <= 16 else annealed
        train, test = (log_z - said(rbm, own, part).mean() for part in (x_train, x_test))
        counted = f"{log_z:9.3f}" if hidden <= 16 else f"{'-':>9}"
        lines.append(f"{f'{name}, {hidden} hidden units':24}{train:9.3f}{test:9.3f}{counted}{annealed:9.3f}")
    return lines


PARTS = {"machines": machines, "rounds": rounds, "noise": noise, "digits": digits}


def compute(config: Config, workdir: Path) -> list[str]:
    """The parts that were asked for, one after another."""
    return [line for name in config.parts for line in PARTS[name](config, workdir)]


SMOKE = {"parts": ("noise",), "noise_steps": 4, "looks": 1}
EXPERIMENT = launch.Experiment("boosting", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
