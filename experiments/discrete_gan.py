"""Games of discrete sequences beside the model that they can at best become.

Claim: where the truth is known, games of sequences gain nothing on maximum likelihood: what they do not lose they
trade, diversity for what the truth says of samples, as a lower temperature would. How noisy the gradient of a reward
is, and what a held critic hides, have closed forms.
Paper: Yu, Zhang, Wang and Yu, SeqGAN, 2017; Che et al., Maximum-Likelihood Augmented Discrete GANs, 2017; Jang, Gu and
Poole, Categorical Reparameterization with Gumbel-Softmax, 2017; Caccia et al., Language GANs Falling Short, 2020 (the
curve over temperatures); Pfau and Vinyals, Connecting GANs and Actor-Critic Methods, 2016.
Command: python experiments/discrete_gan.py train --workdir runs/discrete_gan
Figure: chain.png, what held-out sequences cost against what the truth says of samples, the curve of the perfect model
at all temperatures, and each run from maximum likelihood on; estimators.png, variances of gradients over parameter and
dimensions, and how relaxed gradients lead astray; actor_critic.png, an actor who holds its critic and one who does not.
Sequences are of a Markov chain of 8 states, whose rows and columns are permutations of the same numbers: its entropy
rate is 1.5077 nats. Models are tables, so that all that is plotted is exact, and nothing of it is an estimate. No model
costs held-out sequences less than that rate. But the perfect model at a temperature is not the best that there is: of
models that visit all states equally often `chains.frontier` is, of others nothing is known. So a run may end left of
the curve of temperatures, and the table says by how much.
What we measured with seed 0, 69 seconds of processor time, in nats per transition: maximum likelihood has 1.5080
(samples) and 1.5079 (held out). 3,500 steps of rewards end where they began, within what 64 sequences a step shake: D
at 1.5087 and 1.5081, D / (1 - D) at 1.5092 and 1.5081, its logarithm at 1.5088 and 1.5081, log D at 1.5084 and 1.5081,
-log(1 - D) at 1.5089 and 1.5081, straight-through gradients at 1.5100 and 1.5082. Gumbel-softmax at temperature 1,
whose critic sees no corners, goes to 0.9508 and 2.9506: sharper by half a nat at twice the cost, left of the curve of
temperatures by .36 (3.31 there) and behind the frontier (2.55).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray
from scipy.special import softmax

from ganjax import chains, estimators, launch
from ganjax.config import require
from ganjax.core import Batch, Game, GameState, Key
from ganjax.data import Dataset
from ganjax.data.text import Vocabulary, tokens
from ganjax.dynamics import alternating, simultaneous
from ganjax.games import sequences as games
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.models.sequences import PairCritic, TabularChain
from ganjax.report import Panel, Series, panels
from ganjax.training import Setup, Stream, fit

TEMPERATURES = np.geomspace(0.2, 1.3, 40)
WEIGHTS = np.concatenate([np.linspace(-0.3, 0, 8), np.geomspace(0.02, 20, 40)])
NAMES: Mapping[games.Estimator, str] = {
    "probability": "SeqGAN, D",
    "ratio": "MaliGAN, D / (1 - D)",
    "logit": "log D / (1 - D)",
    "non_saturating": "log D",
    "minimax": "-log(1 - D)",
    "concrete": "Gumbel-softmax",
    "straight_through": "straight-through",
}


@dataclass(frozen=True)
class Config:
    """The chain, the budgets, and how players move."""

    states: int = 8
    """Of the chain."""
    sharpness: float = 2.0
    """Of its laws; 0 makes all states equally likely."""
    length: int = 20
    """Of a sequence."""
    count: int = 10_000
    """Training sequences."""
    likelihood_steps: int = 2000
    """Of Adam, by which all games begin."""
    steps: int = 4000
    """Of each game."""
    critic_steps: int = 500
    """Of these, those at first in which the generator waits."""
    estimators: tuple[games.Estimator, ...] = tuple(NAMES)
    """Of the generator's gradient, a game each."""
    turns: int = 3
    """Of the discriminator, to one of the generator."""
    batch_size: int = 64
    """Sequences of a step; of maximum likelihood eight times as many."""
    learning_rate: float = 0.01
    """Of Adam, for tables; of the games' generators a tenth."""
    temperature: float = 1.0
    """Of the relaxed estimators."""
    looks: int = 20
    """Points of a run's path."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        for name in ("likelihood_steps", "critic_steps", "steps", "turns", "looks", "count"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("states", "length", "batch_size"):
            require(self, name, getattr(self, name) >= 2, "at least 2")
        require(self, "states", self.states <= 26, "at most 26, a letter each")
        require(self, "steps", self.steps % self.looks == 0, f"a multiple of --looks {self.looks}")
        require(self, "critic_steps", self.critic_steps < self.steps, f"less than --steps {self.steps}")
        require(self, "estimators", len(self.estimators) > 0, "one at least")
        require(self, "sharpness", 0 <= self.sharpness < math.inf, "a number that is not negative")
        for name in ("learning_rate", "temperature"):
            require(self, name, 0 < getattr(self, name) < math.inf, "a positive number")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


def as_tokens(x: np.ndarray, states: int, name: str) -> Dataset:
    """States as letters."""
    letters = Vocabulary(tuple("abcdefghijklmnopqrstuvwxyz"[:states]), "character")
    return Dataset(x + games.FIRST, name=name, x_kind=tokens(letters, x.shape[1]))


def read(params: Any) -> chains.Chain:
    """A table's chain, in double precision."""
    start, table = (np.asarray(params[name], np.float64) for name in ("start", "table"))
    return chains.Chain(softmax(start), softmax(table, axis=1))


def beginning_with(game: Game, own: Mapping[str, Any]) -> Game:
    """The same game with given parameters of some players."""

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        params, state = game.init(key, batch)
        return {**params, **jax.tree.map(jnp.asarray, dict(own))}, state

    return game._replace(init=init)


def likely(config: Config, data: Dataset) -> Any:
    """The table of maximum likelihood, by Adam whose rate falls to nothing."""
    module = TabularChain(config.states)
    rate = optax.linear_schedule(10 * config.learning_rate, 0.0, config.likelihood_steps)
    setup = Setup(
        game=games.sequence_likelihood(module),
        dynamics=simultaneous({GENERATOR: optax.adam(rate)}),
        streams={"data": Stream(data, min(8 * config.batch_size, config.count))},
    )
    return fit(setup, config.seed, config.likelihood_steps, label="likelihood", progress=True).params[GENERATOR]


def path_of(config: Config, data: Dataset, estimator: games.Estimator, begun: Any, truth: chains.Chain) -> np.ndarray:
    """What a game does to the table of maximum likelihood: [looks + 1, 2], NLL_oracle and NLL_test."""
    game = games.sequence_gan(TabularChain(config.states), PairCritic(), estimator, temperature=config.temperature)
    late = optax.adam(lambda step: jnp.where(step < config.critic_steps, 0.0, config.learning_rate / 10))
    setup = Setup(
        game=beginning_with(game, {GENERATOR: begun}),
        dynamics=alternating(
            {DISCRIMINATOR: optax.adam(config.learning_rate), GENERATOR: late},
            order=[*config.turns * [DISCRIMINATOR], GENERATOR],
            fresh=False,
        ),
        streams={"data": Stream(data, config.batch_size)},
    )
    found = [rates(read(begun), truth, config.length)]

    def look(step: int, state: GameState) -> bool:
        del step
        found.append(rates(read(state.params[GENERATOR]), truth, config.length))
        return False

    chunk = config.steps // config.looks
    fit(setup, config.seed, config.steps, label=NAMES[estimator], progress=True, chunk=chunk, watch=look)
    return np.array(found)


def rates(model: chains.Chain, truth: chains.Chain, length: int) -> tuple[float, float]:
    """NLL_oracle, H(q, p), and NLL_test, H(p, q), in nats per transition."""
    return chains.cross_entropy(model, truth, length), chains.cross_entropy(truth, model, length)


def compute(config: Config, workdir: Path) -> list[str]:
    """The runs beside the curve; the estimators; the actor and the critic."""
    truth = chains.permuted_chain(config.states, config.sharpness)
    drawn = chains.draw(truth, config.count, config.length, config.seed)
    data = as_tokens(drawn, config.states, "chain")
    begun = likely(config, data)
    paths = {NAMES[kind]: path_of(config, data, kind, begun, truth) for kind in config.estimators}
    known = {
        "perfect, at a temperature": [chains.tempered(truth, t) for t in TEMPERATURES],
        "least of a model's laws": [chains.frontier(truth, w) for w in WEIGHTS],
    }
    curves = {name: np.array([rates(q, truth, config.length) for q in models]) for name, models in known.items()}
    told = {"maximum likelihood": next(iter(paths.values()))[0], **{name: path[-1] for name, path in paths.items()}}
    lines = [*table(told, truth, config.length)]
    pictures = [workdir / name for name in ("chain.png", "estimators.png", "actor_critic.png")]
    draw_chain(curves, paths, pictures[0])
    draw_estimators(pictures[1])
    draw_actor(pictures[2])
    return [*lines, *map(str, pictures)]


def table(told: Mapping[str, tuple[float, float]], truth: chains.Chain, length: int) -> Iterator[str]:
    """A line for each model's NLL_oracle and NLL_test, and what known models have at the same NLL_oracle."""
    yield f"{'':>24}{'NLL_oracle':>12}{'NLL_test':>12}{'temperature':>13}{'left by':>9}{'least':>9}   nats a transition"
    rate = chains.cross_entropy(truth, truth, length)
    for name, (oracle, test) in {**told, "perfect": (rate, rate)}.items():
        cold = at_oracle(lambda s: chains.tempered(truth, (1 - s) / (1 + s)), truth, oracle, length)
        least = at_oracle(lambda s: chains.frontier(truth, s / (1 - abs(s))), truth, oracle, length)
        left = f"{cold - test:.4f}" if oracle < rate and test < cold - 5e-5 else "-"
        yield f"{name:>24}{oracle:>12.4f}{test:>12.4f}{cold:>13.4f}{left:>9}{least:>9.4f}"
    yield "at the same NLL_oracle: NLL_test of the perfect model at a temperature; by how much what is sharper than the"
    yield "truth is below, left of that curve; the least NLL_test of models that visit all states equally often"


def at_oracle(family: Callable[[float], chains.Chain], truth: chains.Chain, oracle: float, length: int) -> float:
    """NLL_test of the member of a family that has this NLL_oracle, which falls from -1 to 1; nan where none has."""
    low, high = -0.9999, 0.9999
    says = lambda s: chains.cross_entropy(family(s), truth, length)  # noqa: E731
    if not says(high) <= oracle <= says(low):
        return math.nan
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if says(middle) > oracle else (low, middle)
    return chains.cross_entropy(truth, family(low), length)


def draw_chain(curves: Mapping[str, np.ndarray], paths: Mapping[str, np.ndarray], path: Path) -> None:
    """Quality against diversity."""
    series = [Series(curve[:, 0], curve[:, 1], name, "predicted") for name, curve in curves.items()]
    series += [Series(run[:, 0], run[:, 1], name) for name, run in paths.items()]
    start = next(iter(paths.values()))[0]
    series.append(Series([start[0]], [start[1]], "maximum likelihood", "star"))
    names = "NLL of samples under the truth (nats)", "NLL of held-out sequences (nats)", "quality and diversity"
    panels([Panel(series, *names)], path, columns=1, size=(6.6, 4.8))


def draw_estimators(path: Path) -> None:
    """Variances of three estimates of one gradient, and the bias of the relaxed ones."""
    theta, p = np.linspace(-2, 2, 101), np.linspace(0.01, 0.99, 99)
    gaussian = {
        "score": estimators.gaussian_score_variance(theta),
        "mean reward as baseline": estimators.gaussian_score_variance(theta, theta**2 + 1),
        "best baseline": estimators.gaussian_score_variance(theta, theta**2 + 3),
        "path": estimators.gaussian_path_variance(theta),
    }
    d = np.arange(1, 101)
    many = {
        "score": estimators.gaussian_score_variance(0.0, 0.0, d),
        "best baseline": estimators.gaussian_score_variance(0.0, d + 2, d),
        "path": estimators.gaussian_path_variance(0 * d),
    }
    f = (1.0, 2.0)
    bernoulli = {
        "score": estimators.bernoulli_score_variance(p, f),
        "mean reward as baseline": estimators.bernoulli_score_variance(p, f, (1 - p) * f[0] + p * f[1]),
        "best baseline": estimators.bernoulli_score_variance(p, f, (1 - p) * f[1] + p * f[0]),
    }
    taus = np.geomspace(0.02, 2, 40)
    concrete, noise = (
        [of(0.3, 0.45, t, 20_001) for t in taus] for of in (estimators.concrete_gradient, estimators.concrete_deviation)
    )
    limit = estimators.concrete_deviation_limit(0.3, 0.45, taus)
    level = {"true": float(estimators.bernoulli_gradient(0.3, 0.45)),
             "straight-through": float(estimators.straight_through_gradient(0.3, 0.45))}  # fmt: skip
    named = lambda x, found: [Series(x, y, name) for name, y in found.items()]  # noqa: E731
    parts = [
        Panel(named(theta, gaussian), "theta", "variance", "gradient of E x², x ~ N(theta, 1)", log="y"),
        Panel(named(d, many), "dimensions d", "variance", "gradient of E |x|², x ~ N(0, I)", log="xy"),
        Panel(named(p, bernoulli), "p", "variance", "gradient of E f(x), f = 1, 2, x ~ Bernoulli(p)"),
        Panel([Series(taus, concrete, "concrete")], "temperature", "mean of the estimate",
              "gradient of E (x - .45)², x ~ Bernoulli(.3)", log="x", lines=level),
        Panel([Series(taus, noise, "concrete"), Series(taus, limit, "limit of temperature 0", "predicted")],
              "temperature", "deviation of the estimate", "noise of the same", log="xy"),
    ]  # fmt: skip
    panels(parts, path, columns=3, size=(4.4, 3.8))


def actors(rate: float, steps: int, start: float) -> NDArray:
    """Gradient descent of an actor who foresees its critic's answer, and of one who holds it: [2, steps]."""
    found = np.full((2, steps), start)
    for k in range(1, steps):
        slopes = [estimators.bilevel_gradients(x)[place] for place, x in enumerate(found[:, k - 1])]
        found[:, k] = found[:, k - 1] - rate * np.array(slopes)
    return found


def draw_actor(path: Path) -> None:
    """Where gradient descent of an actor leads, who holds its critic or foresees its answer."""
    foreseen, held = actors(0.03, 120, 0.8)
    steps = np.arange(120)
    series = [Series(steps, held, "critic held"), Series(steps, foreseen, "critic foreseen")]
    title = "least of (y - 1)²/2 + x y at the critic's y = 2 x"
    part = Panel(series, "steps of the actor", "x", title, lines={"least": 0.25})
    panels([part], path, columns=1, size=(5.2, 3.8))


SMOKE = {
    "likelihood_steps": 2,
    "steps": 2,
    "critic_steps": 1,
    "looks": 1,
    "estimators": ("ratio",),
    "count": 16,
    "batch_size": 4,
    "length": 3,
    "states": 3,
    "turns": 1,
}
EXPERIMENT = launch.Experiment("discrete_gan", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
