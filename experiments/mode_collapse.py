"""Mode collapse: shown, measured beside what a perfect sampler scores, and cured.

Claim: a plain GAN loses modes of a mixture, and some remedies of the literature bring them back.
Paper: Metz et al., Unrolled GANs, 2017; Srivastava et al., VEEGAN, 2017; Lin et al., PacGAN, 2018; Salimans et al.,
Improved Techniques for Training GANs, 2016; Mescheder et al., Which Training Methods for GANs do actually Converge?,
2018; Jolicoeur-Martineau, The relativistic discriminator, 2019.
Command: python experiments/mode_collapse.py train --task grid --workdir runs/mode_collapse
Time: on one CPU core about 3 minutes for each remedy of the grid (5 seeds, 50,000 steps), three times as long with
gradient penalties; 2 minutes for each of the ring with --steps 20000.
Figure: runs/mode_collapse/<task>-samples.png, the first seed of each remedy; runs/mode_collapse/<task>-curves.png,
total variation between the histogram of modes and the uniform one over training, with that of a perfect sampler.
Tasks and their protocols: ring and grid, 8 Gaussians of radius 2 and 25 with a spacing of 1.5, sigma 0.1, two hidden
layers of 128, z of size 16, batches of 256, Adam 2e-4 (0.5, 0.999), 10,000 samples, a mode counts with 1 % of them;
pacgan, 25 Gaussians at -4 ... 4, sigma 0.05, judged as in PacGAN by 2,500 samples, a mode counts with one, but three
hidden layers of 256 (PacGAN: 400 with BatchNorm, maxout), z of size 2, batches of 256, Adam 1e-3 falling to 0; stacks,
three 8 x 8 digits in the channels of one image, whose 1,000 modes a classifier tells apart.
Measured on the grid at the last step, seeds 0 to 4, averaged weights (0.999), mode TV in brackets (perfect: 0.020):
none 6.8 +- 1.1 modes, at least 6 (0.665); twice the rate 7.2 +- 1.6 (0.649); packing 2 24.2 +- 1.8, at least 21
(0.104); packing 2 at twice the rate 25 in every seed (0.027 +- 0.002), 88.9 % of high quality (perfect: 98.9 %), but
its raw weights 24.6 +- 0.9, at least 23 (0.049); packing 4 20.6 +- 3.0 (0.185); R1 17.0 +- 1.7 (0.296); relativistic
with R1 and R2 20.8 +- 2.8 (0.197); instance noise 13.2 +- 2.9 (0.416); packing 2, relativistic 24.0 +- 2.2, at
least 20 (0.103), but 71 % of high quality; KL 15.6 +- 0.5 (0.268), 35 %; minibatch deviation 10.4 +- 1.5 (0.559);
history of discriminators 9.4 +- 2.4 (0.619); history of fakes 7.4 +- 2.1 (0.680); reverse KL 4.8 +- 0.8 (0.740), which
seeks modes; packing 2, R1 25 in every seed, raw weights too (0.064 +- 0.047, raw 0.060), 75 % of high quality. Averaged
and raw weights are alike but where it is said. "R1 and R2, deeper", which was chosen on the ring (below), 25 in every
seed (0.025 +- 0.006), 94.4 +- 2.3 % of high quality and a density TV of 0.331 +- 0.014 (perfect: 0.101); raw weights
25, 94.4 % and 0.352; 18 minutes of one core.
The stopping rule helps those that collapse (none: 12.0 modes) and harms those that don't (packing 2: 19.6): a blob over
all modes is near in Wasserstein distance. Unrolling, minibatch discrimination and Wasserstein, GP have not been run to
the end: each takes longer than half an hour.
Ring, 20,000 steps, raw weights: none 7.2 +- 0.4 modes (0.225), packing 2 8/8 in every seed (0.016; perfect: 0.011), at
twice the rate too (0.017), R1 8/8 (0.040), relativistic with R1 and R2 8/8 (0.019); these have about 90 % of high
quality and a density TV of 0.50, a perfect sampler 98.9 and 0.06. "R1 and R2, deeper", relativistic with three hidden
layers, ten times the rate, falling to 0 along a cosine, and beta1 = 0, has 95.9 +- 0.4 % and 0.182 +- 0.011 (raw
weights 95.7, 0.202), 8/8 in every seed, reverse KL 0.001. It was chosen on seeds 100 and 101, where it had 96.6 % and
0.167; all that was tried there, in variants that are not kept, of high quality and density TV: two layers 92.2 and
0.308, with two turns 91.8 and 0.298; with two layers at twenty times the rate 94.0 and 0.360, with penalties of 0.05
at ten and twenty times 92.3 and 0.354, 92.5 and 0.349; with two layers and beta1 = 0.5, falling from five times the
rate, 92.5 and 0.443, penalties of 0.1 there 92.9 and 0.475, of 0.005 91.6 and 0.391, from ten times and of 0.1 93.7
and 0.473; R1 of 0.1 alone 93.0 and 0.445; packing 2 92.9 and 0.513, with R1 92.8 and 0.502; beta1 = 0 from five times
the rate 91.1 and 0.341.
pacgan with --width 128, seeds 0 to 9, 120,000 steps (PacGAN: 400,000): relativistic with R1 and R2 25/25 in every seed,
95.9 +- 2.3 % of high quality (perfect: 98.9 %), reverse KL 0.008 +- 0.005 (0.005), raw and averaged weights alike.
PacGAN4 is published with 24.8 modes, 93.6 % and 0.04. Its length and width were chosen on seeds 100 and 101, where
20,000 steps gave 88 and 83 %, 50,000 94 and 92 %; half and twice the rate, a quarter and three times the penalty, twice
the batch, width 192 and Fourier features in the discriminator were no better there.
Stacks, 10,000 steps, seeds 0 to 2: nothing collapses there; all 1,000 modes from none (KL 0.081, a perfect sampler
0.081; 38 % of high quality, perfect 86 %) and packing 2 (0.071; 22 %).
Tried besides on the grid in variants that are not kept, with seeds from 100 on, and not better: packing 2 with instance
noise (15 modes), packing 2 with two discriminator turns (16) or with Adam falling to 0 from 2e-4 (18) or 1e-3 (19);
twice the rate was chosen there. The initialisation matters: with zero biases the plain game is still one blob after
5,000 steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from tqdm import tqdm

from ganjax import launch
from ganjax.config import require
from ganjax.core import Array, Batch, Dynamics, GameState, Key
from ganjax.data import load
from ganjax.data.points import grid, grid_centres, ring, ring_centres
from ganjax.dynamics import alternating, ema, history_of_opponents, unrolled
from ganjax.errors import ConfigError, DataError, did_you_mean
from ganjax.games import Sight, Term, gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.metrics import (
    Modes,
    density_tv,
    histogram_modes,
    modes,
    perfect_density_tv,
    perfect_modes,
    sliced_wasserstein,
)
from ganjax.models import mlp
from ganjax.penalties import gradient_penalty, r1, r2
from ganjax.report import Panel, Series, panels, save_image
from ganjax.report import grid as image_grid
from ganjax.training import Averaged, Keys, states_at

SCORES = ("modes", "high_quality", "reverse_kl", "mode_tv", "density_tv")


@dataclass(frozen=True)
class Config:
    """What is trained, for how long, and which remedies are tried."""

    task: Literal["ring", "grid", "pacgan", "stacks"] = "grid"
    """The distribution and its protocol."""
    remedies: tuple[str, ...] = ()
    """Which remedies to try; all by default."""
    seeds: int = 5
    """Runs of each remedy, trained together; the same initial numbers and data for all remedies."""
    steps: int = 50_000
    """Steps of each run."""
    looks: int = 20
    """How often the samples are judged during training."""
    width: int = 0
    """Width of the hidden layers, 0 for the protocol's."""
    average: float = 0.999
    """Decay of the exponential average of the generator that is judged beside the raw one; 0 for none."""
    seed: int = 0
    """The first of the seeds."""

    def __post_init__(self):
        for name in ("seeds", "steps", "looks"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "looks", self.looks <= self.steps, "no more than --steps")
        require(self, "width", self.width >= 0, "at least 0")
        require(self, "average", 0 <= self.average < 1, "at least 0 and less than 1")
        require(self, "seed", 0 <= self.seed < 2**31 - self.seeds, "at least 0")
        for remedy in self.remedies:
            if remedy not in REMEDIES:
                raise ConfigError(f'--remedies: "{remedy}" is unknown{did_you_mean(remedy, REMEDIES)}')


class Remedy(NamedTuple):
    """What differs from the plain non-saturating game."""

    loss: str = "non_saturating"
    terms: Mapping[str, Term] = {}  # of the discriminator
    packing: int = 1
    minibatch: Literal["none", "discrimination", "std"] = "none"
    noise: float = 0.0  # of instances at the start, in units of the data's deviation; falls linearly to 0 at 80 %
    fakes_kept: int = 0
    turns: int = 1  # of the discriminator
    rate: float = 1.0  # of both players' Adam, times the task's
    falls: bool = False  # that rate, to 0 along a cosine, as in all remedies of some tasks
    beta1: float = 0.5  # of both players' Adam
    layers: int = 0  # hidden ones of both networks, each as wide as the task's first; 0 as the task has them
    play: Callable[[Dynamics], Dynamics] | None = None  # wraps the dynamics


R1 = {"r1": Term(r1(), 0.02)}
R1_AND_R2 = {**R1, "r2": Term(r2(), 0.02)}
REMEDIES = {
    "none": Remedy(),
    "packing 2": Remedy(packing=2),
    "packing 4": Remedy(packing=4),
    "packing 2, twice the rate": Remedy(packing=2, rate=2.0),
    "twice the rate": Remedy(rate=2.0),
    "minibatch deviation": Remedy(minibatch="std"),
    "minibatch discrimination": Remedy(minibatch="discrimination"),
    "history of fakes": Remedy(fakes_kept=2048),
    "history of discriminators": Remedy(play=partial(history_of_opponents, size=4, every=100, players=("generator",))),
    "unrolling": Remedy(play=partial(unrolled, player="generator", steps=5, step=0.1)),
    "instance noise": Remedy(noise=0.5),
    "KL": Remedy(loss="f_kl"),
    "reverse KL": Remedy(loss="f_reverse_kl"),
    "Wasserstein, GP": Remedy(loss="wasserstein", terms={"gp": Term(gradient_penalty(), 0.1)}, turns=5),
    "R1": Remedy(terms=R1),
    "relativistic, R1 and R2": Remedy(loss="relativistic_paired", terms=R1_AND_R2),
    "R1 and R2, deeper": Remedy(
        loss="relativistic_paired", terms=R1_AND_R2, layers=3, rate=10.0, falls=True, beta1=0.0
    ),
    "packing 2, R1": Remedy(packing=2, terms=R1),
    "packing 2, relativistic": Remedy(packing=2, loss="relativistic_paired"),
}
# Examples of a batch that minibatch layers compare; all 256 would take discrimination half a second a step.
GROUP = 32


class Task(NamedTuple):
    """What is to be learned, by which networks, and how samples are judged."""

    data: np.ndarray  # [N, ...] float32
    held_out: np.ndarray  # [count, ...] float32, for the stopping rule
    judged: int  # samples
    hidden: tuple[int, ...]
    generator: Mapping[str, Any]  # further options of the perceptrons
    discriminator: Mapping[str, Any]
    latent: int
    batch: int
    rate: float  # of Adam
    decay: bool  # of the rate to zero along a cosine
    judge: Callable[[Array], Mapping[str, Any]]  # samples [count, ...] -> a figure for each of SCORES it knows
    perfect: Mapping[str, float]


def compute(config: Config, workdir: Path) -> list[str]:
    """Train every remedy on all seeds, judge, draw; finished remedies of an earlier run are taken as they are."""
    task = TASKS[config.task](config)
    chosen = config.remedies or tuple(REMEDIES)
    results = {}
    with tqdm(total=len(chosen) * config.looks, unit="look", dynamic_ncols=True) as bar:
        for name in chosen:
            bar.set_description(name)
            kept = workdir / f"{config.task}-{name.replace(' ', '_')}.npz"
            if not kept.exists():
                _keep(_train(task, REMEDIES[name], config, bar.update), kept)
            results[name] = _kept(kept)
            bar.n = len(results) * config.looks
    figures = [_draw_samples(task, config, results, workdir), _draw_curves(task, config, results, workdir)]
    return [*_table(task, config, results), *map(str, figures)]


class Result(NamedTuple):
    """What a remedy led to."""

    scores: Mapping[str, Mapping[str, np.ndarray]]  # by weights, raw or ema, and name: [looks, seeds]
    distance: Mapping[str, np.ndarray]  # by weights: [looks, seeds] sliced Wasserstein distance to held-out data
    samples: Mapping[str, np.ndarray]  # by weights: [count, ...] of the first seed, at the end
    skipped: int


def _keep(result: Result, path: Path) -> None:
    """Write a result, whole or not at all, so that the same command goes on after the last finished remedy."""
    flat = flatten_dict(result._asdict(), sep="/")
    unfinished = path.with_suffix(".tmp.npz")
    np.savez(unfinished, **flat)
    unfinished.replace(path)


def _kept(path: Path) -> Result:
    with np.load(path, allow_pickle=False) as arrays:
        return Result(**unflatten_dict(dict(arrays), sep="/"))


def _train(task: Task, remedy: Remedy, config: Config, tick: Callable[[], Any]) -> Result:
    """All seeds in one program, a part between two looks at a time."""
    shape, data = task.data.shape[1:], jnp.asarray(task.data)
    hidden = task.hidden[:1] * remedy.layers or task.hidden
    generator = mlp.Generator(shape, hidden, **task.generator)
    discriminator = mlp.Discriminator(hidden, minibatch=remedy.minibatch, group=GROUP, **task.discriminator)
    prior, deviation = normal_prior(task.latent), float(task.data.std())
    last = 0.8 * config.steps
    fades = lambda step: remedy.noise * deviation * jnp.maximum(1 - step / last, 0)  # noqa: E731
    game = gan(
        generator, discriminator, LOSSES[remedy.loss], prior=prior, terms={"discriminator": remedy.terms},
        sight=Sight(
            fakes_kept=remedy.fakes_kept, instance_noise=fades if remedy.noise else 0.0, packing=remedy.packing,
        ),
    )  # fmt: skip
    turns, rate = {"generator": 1, "discriminator": remedy.turns}, remedy.rate * task.rate
    falls = task.decay or remedy.falls
    rates = {p: optax.cosine_decay_schedule(rate, n * config.steps) if falls else rate for p, n in turns.items()}
    optimizers = {player: optax.adam(rate, b1=remedy.beta1) for player, rate in rates.items()}
    dynamics = alternating(optimizers, turns={"discriminator": remedy.turns})
    dynamics = remedy.play(dynamics) if remedy.play else dynamics
    averages = {"ema": Averaged("generator", ema(config.average, warmup=True))} if config.average else {}
    draw, size = sampler(generator, prior), task.batch * dynamics.slices

    def batch(key: Key) -> Batch:
        rows = jax.random.randint(key, (size,), 0, len(data))
        return Batch(data[rows], None, jnp.arange(size, dtype=jnp.int32))

    def samples(state: GameState, key: Key) -> dict[str, Array]:
        weights = {"raw": state.weights} | {name: kept.value(state.averages[name]) for name, kept in averages.items()}
        return {name: draw(w, key, jnp.arange(task.judged)) for name, w in weights.items()}

    distances = jax.jit(jax.vmap(lambda x: sliced_wasserstein(x, jnp.asarray(task.held_out), jax.random.key(1))))
    keys, sample = jax.vmap(Keys.of)(config.seed + jnp.arange(config.seeds)), jax.jit(jax.vmap(samples))
    data_keys, sample_keys = (jax.vmap(partial(jax.random.fold_in, data=n))(keys.samples) for n in (0, 1))
    stops = np.linspace(0, config.steps, config.looks + 1).astype(int)[1:]
    looks = []  # one after another: weights -> (figures of each seed, distances [seeds])
    for state in states_at(stops, game, dynamics, keys._replace(samples=data_keys), batch, averages):
        x = sample(state, sample_keys)
        look = {w: ([task.judge(one) for one in s], distances(s[:, : len(task.held_out)])) for w, s in x.items()}
        looks.append(jax.device_get(look))  # waits, so that the progress bar tells the truth
        tick()
    names = [name for name in SCORES if name in task.perfect]
    return Result(
        {w: {n: np.array([[float(one[n]) for one in look[w][0]] for look in looks]) for n in names} for w in x},
        {w: np.array([look[w][1] for look in looks]) for w in x},
        {w: np.asarray(s[0]) for w, s in x.items()},
        int(state.skipped.sum()),
    )


def _table(task: Task, config: Config, results: Mapping[str, Result]) -> list[str]:
    """For each remedy and weights a row for the last step, and one for the step chosen by the stopping rule."""
    names = [name for name in SCORES if name in task.perfect]
    lines = [
        f"{config.task}: seeds {config.seed} to {config.seed + config.seeds - 1}, {config.steps:,} steps, "
        f"{task.judged:,} samples; mean +- standard deviation over seeds, fewest modes in brackets",
        f"{'remedy':28} {'weights':8} {'at':8} "
        + " ".join(f"{name.replace('_', ' '):>18}" for name in names)
        + f" {'skipped':>8}",
    ]
    for remedy, found in results.items():
        last = np.full(config.seeds, config.looks - 1)
        for weights, scores in found.scores.items():
            for when, look in (("last", last), ("stopped", found.distance[weights].argmin(0))):
                values = {name: scores[name][look, np.arange(config.seeds)] for name in names}
                cells = " ".join(f"{_cell(name, value):>18}" for name, value in values.items())
                lines.append(f"{remedy:28} {weights:8} {when:8} {cells} {found.skipped:8d}")
    lines.append(f"{'perfect sampler':28} {'':8} {'':8} " + " ".join(f"{task.perfect[name]:18.4g}" for name in names))
    lines.append(
        "stopped: of the looks at training, the one whose samples have the smallest sliced Wasserstein distance to "
        "held-out data"
    )
    return lines


def _cell(name: str, values: np.ndarray) -> str:
    """Mean and deviation over the seeds; of the modes also the fewest."""
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    if name == "modes":
        return f"{values.mean():.1f} +- {spread:.1f} ({values.min():.0f})"
    return f"{values.mean():.3f} +- {spread:.3f}"


def _draw_samples(task: Task, config: Config, results: Mapping[str, Result], workdir: Path) -> Path:
    out = workdir / f"{config.task}-samples.png"
    if task.data.ndim > 2:
        rows = np.concatenate([_shown(found.samples)[:16] for found in results.values()])
        save_image(out, image_grid(np.clip((rows + 1) * 127.5, 0, 255).astype(np.uint8), columns=16, scale=4))
        return out
    reach = 1.25 * float(np.abs(task.data).max())
    parts = []
    for name, found in results.items():
        x = _shown(found.samples)[:2500]
        series = [
            Series(task.data[:1000, 0], task.data[:1000, 1], "real", "points", 6),
            Series(x[:, 0], x[:, 1], "generated", "points", 0),
        ]
        parts.append(Panel(series, title=name, xlim=(-reach, reach), ylim=(-reach, reach), equal=True))
    panels(parts, out, columns=5, size=(2.4, 2.6), title=f"Seed {config.seed} after {config.steps:,} steps")
    return out


def _shown(samples: Mapping[str, np.ndarray]) -> np.ndarray:
    """The averaged generator's, where there is one."""
    return samples.get("ema", samples["raw"])


def _draw_curves(task: Task, config: Config, results: Mapping[str, Result], workdir: Path) -> Path:
    """Mean and range over the seeds of the mode histogram's total variation."""
    out = workdir / f"{config.task}-curves.png"
    thousands = np.linspace(0, config.steps, config.looks + 1)[1:] / 1000
    parts = []
    for name, found in results.items():
        series = []
        for tint, (weights, scores) in enumerate(found.scores.items()):
            tv = scores["mode_tv"]
            series += [
                Series(thousands, tv.min(1), f"{weights}, range over seeds", "band", tint, tv.max(1)),
                Series(thousands, tv.mean(1), f"{weights}, mean", tint=tint),
            ]
        perfect = {"perfect sampler": task.perfect["mode_tv"]}
        parts.append(Panel(series, "thousand steps", "mode TV", name, ylim=(0, 1), lines=perfect))
    panels(parts, out, columns=5, size=(2.6, 2.4), title="Total variation between the modes' histogram and uniform")
    return out


def _mixture(points: Callable[..., tuple], centres: np.ndarray, std: float, config: Config, **changes: Any) -> Task:
    """A mixture of Gaussians under the protocol of the paired discriminator, unless changed."""
    count = changes.pop("judged", 10_000)
    least = changes.pop("least", 0.01)

    @jax.jit
    def judge(x: Array) -> dict[str, Array]:
        found = modes(x, jnp.asarray(centres), std, least=least)
        return {**_figures(found), "density_tv": density_tv(x, jnp.asarray(centres), std)}

    ideal = perfect_modes(len(centres), count)
    perfect = {
        "modes": len(centres), "high_quality": ideal.high_quality, "reverse_kl": ideal.reverse_kl,
        "mode_tv": ideal.tv, "density_tv": perfect_density_tv(len(centres), count),
    }  # fmt: skip
    uniform = {"initialisation": "uniform"}
    task = Task(
        points(100_000)[0], points(2_500, seed=1)[0], count, (128, 128), {"output": mlp.identity, **uniform}, uniform,
        16, 256, 2e-4, False, judge, perfect,
    )  # fmt: skip
    task = task._replace(**changes)
    return task._replace(hidden=(config.width,) * len(task.hidden)) if config.width else task


def _figures(found: Modes) -> dict[str, Array]:
    return {
        "modes": found.captured,
        "high_quality": found.high_quality,
        "reverse_kl": found.reverse_kl,
        "mode_tv": found.tv,
    }


def _pacgan(config: Config) -> Task:
    """PacGAN's data and critique; its networks of 400 units take too long without an accelerator."""
    return _mixture(
        grid, grid_centres(), 0.05, config, judged=2_500, least=0.0, latent=2, hidden=(256,) * 3, rate=1e-3, decay=True
    )


def _stacks(config: Config) -> Task:
    """Three digits in the channels of one image; a classifier of digits tells the 1,000 modes apart."""
    from sklearn.neural_network import MLPClassifier

    digits = load("digits")
    if digits.x_test is None:
        raise DataError("the digits have no test images")
    x_train, x_test = digits.x_train, digits.x_test
    flat = lambda x: x.reshape(len(x), -1) / 127.5 - 1  # noqa: E731
    classifier = MLPClassifier((128,), max_iter=300, random_state=0).fit(flat(x_train), digits.y_train)
    count = 26_000

    def stacks(x: np.ndarray, number: int, seed: int) -> np.ndarray:
        rows = np.random.default_rng(seed).integers(len(x), size=(3, number))
        return (np.concatenate([x[r] for r in rows], axis=-1) / 127.5 - 1).astype(np.float32)

    def judge(x: Any) -> dict[str, Any]:
        channels = [np.asarray(x)[..., c].reshape(len(x), -1) for c in range(3)]
        sure = [classifier.predict_proba(channel) for channel in channels]
        mode = sum(10**c * p.argmax(1) for c, p in enumerate(sure))
        figures = _figures(histogram_modes(jnp.asarray(np.bincount(mode, minlength=1000)), len(x)))
        return {**figures, "high_quality": np.mean(np.min([p.max(1) for p in sure], axis=0) > 0.9)}

    perfect = {name: float(value) for name, value in judge(stacks(x_test, count, 2)).items()}
    task = Task(
        stacks(x_train, 100_000, 0), stacks(x_test, 2_500, 1), count, (512, 512), {}, {}, 64, 128,
        2e-4, False, judge, perfect,
    )  # fmt: skip
    return task._replace(hidden=(config.width,) * 2) if config.width else task


TASKS: dict[str, Callable[[Config], Task]] = {
    "ring": lambda config: _mixture(partial(ring, sigma=0.1), ring_centres(), 0.1, config),
    "grid": lambda config: _mixture(partial(grid, spacing=1.5, sigma=0.1), grid_centres(spacing=1.5), 0.1, config),
    "pacgan": _pacgan,
    "stacks": _stacks,
}
SMOKE = {"task": "ring", "seeds": 2, "steps": 4, "looks": 2, "width": 8, "remedies": ("none", "packing 2")}
EXPERIMENT = launch.Experiment("mode_collapse", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
