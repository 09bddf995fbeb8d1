"""The same update rules train networks: a GAN on 8 Gaussians and a DCGAN on digits, five seeds in one program.

Claim: a rule that is tested on v(a, b) = ab against its closed form is the object that trains a GAN. All get the same
networks, learning rate, number of steps and examples per evaluation; nothing is tuned per rule and no seed or
checkpoint is picked. Rules that look at the field more than once in a step cost more: the table says how much.
Paper: Gidel et al., A Variational Inequality Perspective on Generative Adversarial Networks, 2019 (ExtraAdam);
Daskalakis et al., Training GANs with Optimism, 2018; Chavdarova et al., Taming GANs with Lookahead-Minmax, 2021;
Mescheder et al. 2017 (consensus); Balduzzi et al. 2018 (symplectic); Metz et al. 2017 (unrolling).
Command: python experiments/dynamics_on_gans.py train --workdir runs/dynamics_on_gans
Time: about 10 minutes on 2 CPU cores.
Figure: runs/dynamics_on_gans/ring.png and digits.png, what seed 0 of each rule draws; quality.png, every seed's score.
Ring: modes of 8 found, share of samples within three standard deviations, reverse KL of the modes, with what a perfect
sampler scores. Digits: sliced Wasserstein distance of as many samples to held-out images, with the distance between
training and held-out images as floor. Rotation is the antisymmetric share of the field's Jacobian at the end, on one
fixed batch; each figure is mean +- standard deviation over the seeds. The same numbers lie in results.json.
Measured, seeds 0 to 4: on the ring the damped rules keep all modes (reverse KL 0.09 +- 0.04 with consensus, 0.87 +-
0.56 in alternating play) at the price of slower sharpening; extragradient and the history of opponents draw sharp
samples of fewer modes; competitive takes plain steps, without Adam, and has hardly left the start. On the digits
extragradient comes nearest (0.104 +- 0.01, floor 0.061) at two gradients a step; the symplectic term at weight 1
stops learning.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from ganjax import launch
from ganjax.core import Batch, Dynamics, Game
from ganjax.data import load
from ganjax.data.points import ring, ring_centres
from ganjax.dynamics import (
    View,
    alternating,
    competitive,
    consensus,
    extragradient,
    history_of_opponents,
    lookahead,
    optimistic,
    past_extragradient,
    rotation,
    runge_kutta,
    simultaneous,
    symplectic,
    unrolled,
)
from ganjax.errors import ConfigError, did_you_mean
from ganjax.games import gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.metrics import modes, perfect_modes, sliced_wasserstein
from ganjax.models import dcgan, mlp
from ganjax.report import Panel, Series, grid, panels, save_image
from ganjax.training import population, simulate
from ganjax.training.setup import gather


@dataclass(frozen=True)
class Config:
    """The budget that every rule gets."""

    seeds: int = 5
    """Runs of each rule, seeds 0, 1, ..., trained together."""
    ring_steps: int = 3000
    """Steps on the ring."""
    digits_steps: int = 300
    """Steps on the digits; 0 leaves them out."""
    ring_batch: int = 128
    """Examples of each look at the field, ring."""
    digits_batch: int = 64
    """Examples of each look at the field, digits."""
    learning_rate: float = 1e-3
    """Of Adam, for both players and every rule; the step of the rules that have one of their own."""
    beta1: float = 0.5
    """Of Adam."""
    hidden: int = 64
    """Width of the perceptrons' two hidden layers."""
    width: int = 8
    """Channels of the DCGAN's first layer."""
    latent: int = 16
    """Size of z."""
    sigma: float = 0.1
    """Standard deviation of each Gaussian; the ring has radius 2."""
    seed: int = 0
    """The first of the seeds."""
    rules: tuple[str, ...] = ()
    """Which rules to play; all by default."""

    def __post_init__(self):
        for name in ("seeds", "ring_steps", "ring_batch", "digits_batch", "hidden", "width", "latent"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
        for rule in self.rules:
            if rule not in RULES:
                raise ConfigError(f'--rules: "{rule}" is unknown, {did_you_mean(rule, RULES)}')
        if self.digits_steps < 0:
            raise ConfigError(f"--digits-steps is {self.digits_steps}, expected at least 0")
        if not (self.learning_rate > 0 and self.sigma > 0):
            raise ConfigError(f"--learning-rate is {self.learning_rate} and --sigma {self.sigma}, expected positive")


class Rule(NamedTuple):
    """A row of the table."""

    make: Callable[[dict, float], Dynamics]  # (optimisers, learning rate) -> Dynamics
    gradients: str  # what a step computes, in gradients of all players' costs
    on_images: bool = True


RULES = {
    "simultaneous": Rule(lambda opts, rate: simultaneous(opts), "1"),
    "alternating": Rule(lambda opts, rate: alternating(opts), "1"),
    "extragradient": Rule(lambda opts, rate: extragradient(opts), "2"),
    "past extragradient": Rule(lambda opts, rate: past_extragradient(opts), "1"),
    "optimistic": Rule(lambda opts, rate: optimistic(opts), "1"),
    "lookahead": Rule(lambda opts, rate: lookahead(alternating(opts), k=5, alpha=0.5), "1"),
    "Runge-Kutta 2": Rule(lambda opts, rate: runge_kutta(opts, step=rate, order=2), "2"),
    "consensus": Rule(lambda opts, rate: simultaneous(opts, adjust=consensus(0.1)), "1 + J'v"),
    "symplectic": Rule(lambda opts, rate: simultaneous(opts, adjust=symplectic(1.0, align=True)), "1 + J'v, Jv"),
    "competitive": Rule(
        # Adam has no part in it: plain steps, ten times as long.
        lambda opts, rate: competitive(10 * rate, tolerance=1e-3, iterations=5), "1 + 5 (Av, A'v)", False
    ),
    "unrolled": Rule(
        lambda opts, rate: unrolled(alternating(opts), player="generator", steps=3, step=10 * rate), "1 + 3 of D", False
    ),
    "history": Rule(lambda opts, rate: history_of_opponents(alternating(opts), size=4, every=50), "5", False),
}  # fmt: skip


class Task(NamedTuple):
    """What the rules are let loose on."""

    name: str
    game: Game
    sample: Callable  # (params, net_state, key, index) -> x
    batch: Callable[[int], Callable]  # examples -> (key -> Batch)
    batch_size: int
    steps: int
    score: Callable[[jax.Array], dict[str, jax.Array]]  # samples of one seed -> its scores
    judged: int  # samples that are scored
    perfect: dict[str, float]  # what real data score


def compute(config: Config, workdir: Path) -> list[str]:
    """Train every rule on every task, judge, draw."""
    tasks = [_ring(config)] + ([_digits(config)] if config.digits_steps else [])
    lines: list[str] = []
    results: dict[str, dict] = {}
    drawn: dict[str, dict] = {}
    for task in tasks:
        wanted = config.rules or tuple(RULES)
        chosen = {name: RULES[name] for name in wanted if RULES[name].on_images or task.name == "ring"}
        results[task.name], drawn[task.name] = {}, {}
        for name in tqdm(chosen, desc=task.name, unit="rule"):
            scores, seconds, samples = _run(config, task, chosen[name])
            results[task.name][name] = {k: [float(x) for x in v] for k, v in scores.items()} | {"seconds": seconds}
            drawn[task.name][name] = samples
        lines += [*_table(task, config, results[task.name]), ""]
    (workdir / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    figures = [_draw_ring(config, drawn["ring"], workdir / "ring.png")]
    if "digits" in drawn:
        figures.append(_draw_digits(drawn["digits"], workdir / "digits.png"))
    panels([_quality(task, results[task.name]) for task in tasks], workdir / "quality.png", columns=1, size=(8.5, 3.2))
    return [*lines, *map(str, figures), str(workdir / "quality.png")]


def _run(config: Config, task: Task, rule: Rule) -> tuple[dict[str, np.ndarray], float, np.ndarray]:
    """Scores of every seed, seconds of compiling and running, and the samples of the first seed."""
    adam = optax.adam(config.learning_rate, b1=config.beta1)
    dynamics = rule.make(dict.fromkeys(task.game.players, adam), config.learning_rate)
    fixed = task.batch(256)(jax.random.key(99))

    def train(seed):
        key = jax.random.key(seed)
        sample = task.batch(task.batch_size * dynamics.slices)
        state, _ = simulate(task.game, dynamics, task.steps, key=key, sample=sample, keep=None)
        judge = jax.random.fold_in(key, 1)
        x = task.sample(state.params["generator"], state.net_state["generator"], judge, jnp.arange(task.judged))
        view = View(task.game, state.net_state, fixed, judge)
        scores = task.score(x) | {"rotation": rotation(view, state.params, judge), "skipped": state.skipped}
        return scores, x

    began = time.perf_counter()
    scores, x = population(train)(seed=config.seed + np.arange(config.seeds))
    x = np.asarray(x[0])
    return {name: np.asarray(values) for name, values in scores.items()}, time.perf_counter() - began, x


def _ring(config: Config) -> Task:
    generator = mlp.Generator((2,), (config.hidden, config.hidden), output=mlp.identity)
    prior = normal_prior(config.latent)
    discriminator = mlp.Discriminator((config.hidden, config.hidden))
    data = jnp.asarray(ring(100_000, sigma=config.sigma)[0])
    centres, count = jnp.asarray(ring_centres()), 2500

    def score(x: jax.Array) -> dict[str, jax.Array]:
        found = modes(x, centres, config.sigma)
        return {"modes": found.captured, "quality": found.high_quality, "reverse_kl": found.reverse_kl}

    quality, floor = perfect_modes(8, count)
    return Task(
        "ring", gan(generator, discriminator, LOSSES["non_saturating"], prior=prior), sampler(generator, prior),
        _drawing(data), config.ring_batch, config.ring_steps, score, count,
        {"modes": 8.0, "quality": quality, "reverse_kl": floor},
    )  # fmt: skip


def _digits(config: Config) -> Task:
    digits = load("digits")
    generator, prior = dcgan.Generator(digits.shape, width=config.width), normal_prior(config.latent)
    real, held_out = (jnp.asarray(x, jnp.float32) / 127.5 - 1 for x in (digits.x_train, digits.x_test))
    key = jax.random.key(7)

    def score(x: jax.Array) -> dict[str, jax.Array]:
        return {"distance": sliced_wasserstein(x, held_out, key)}

    floor = float(sliced_wasserstein(real[: len(held_out)], held_out, key))
    return Task(
        "digits", gan(generator, dcgan.Discriminator(width=config.width), LOSSES["non_saturating"], prior=prior),
        sampler(generator, prior), _drawing(jnp.asarray(digits.x_train)), config.digits_batch, config.digits_steps,
        score, len(held_out), {"distance": floor},
    )  # fmt: skip


def _drawing(data: jax.Array) -> Callable[[int], Callable]:
    """examples -> (key -> a batch of so many rows, drawn with replacement)."""

    def batch_of(size: int) -> Callable[[Any], Batch]:
        def draw(key: Any) -> Batch:
            rows = jax.random.randint(key, (size,), 0, len(data))
            return gather({"x": data, "label": None}, rows, jnp.arange(size, dtype=jnp.int32))

        return draw

    return batch_of


def _table(task: Task, config: Config, results: dict) -> list[str]:
    names = [*task.perfect, "rotation"]
    head = "".join(f"{name.replace('_', ' '):>18}" for name in names)
    lines = [
        f"{task.name}: {config.seeds} seeds, {task.steps:,} steps, {task.batch_size} examples a look",
        f"{'rule':20} {'gradients a step':>16}{head} {'skipped':>8} {'seconds':>8}",
    ]
    for rule, scores in results.items():
        cells = "".join(
            f"{np.mean(scores[n]):10.3f} +- {np.std(scores[n], ddof=1 if config.seeds > 1 else 0):.2f}" for n in names
        )
        skipped, seconds = sum(scores["skipped"]), scores["seconds"]
        lines.append(f"{rule:20} {RULES[rule].gradients:>16}{cells} {skipped:8.0f} {seconds:8.1f}")
    real = "".join(f"{task.perfect[n]:10.3f}{'':8}" if n in task.perfect else f"{'':18}" for n in names)
    return [*lines, f"{'real data':20} {'':16}{real}"]


def _draw_ring(config: Config, drawn: dict[str, np.ndarray], out: Path) -> Path:
    real = ring(1000, sigma=config.sigma, seed=1)[0]
    parts = [
        Panel(
            [Series(real[:, 0], real[:, 1], "real", "points", 6), Series(x[:, 0], x[:, 1], "generated", "points", 0)],
            title=name, xlim=(-3, 3), ylim=(-3, 3), equal=True,
        )
        for name, x in drawn.items()
    ]  # fmt: skip
    panels(parts, out, columns=4, size=(2.6, 2.8), title=f"Seed {config.seed} of each rule after training")
    return out


def _draw_digits(drawn: dict[str, np.ndarray], out: Path) -> Path:
    """One row of 16 samples for each rule, in the order of the table."""
    rows = np.concatenate([x[:16] for x in drawn.values()])
    save_image(out, grid(np.clip((rows + 1) * 127.5, 0, 255).astype(np.uint8), columns=16, scale=5))
    return out


def _quality(task: Task, results: dict) -> Panel:
    """Every seed's first continuous score, the rules numbered as in the table."""
    score = "quality" if task.name == "ring" else "distance"
    label = "share of high quality" if task.name == "ring" else "sliced Wasserstein distance"
    series = [
        Series([place] * len(scores[score]), scores[score], f"{place} {rule}", "points", place - 1)
        for place, (rule, scores) in enumerate(results.items(), start=1)
    ]
    return Panel(series, "rule", label, f"{task.name}, one point per seed", lines={"real data": task.perfect[score]})


SMOKE = {
    "seeds": 2,
    "ring_steps": 2,
    "digits_steps": 1,
    "hidden": 8,
    "width": 2,
    "ring_batch": 16,
    "digits_batch": 8,
    "rules": ("alternating", "extragradient"),
}
EXPERIMENT = launch.Experiment("dynamics_on_gans", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
