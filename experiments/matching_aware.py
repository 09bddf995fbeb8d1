"""Which distribution a matching-aware discriminator asks for: not that of the data.

Claim: a discriminator that is also shown real images with wrong captions makes a generator overstate what captions
say: with p(x, t) the data and m = p(x) p(t), its optimum is 2p - m, clipped at 0, and not p. To judge images alone too
changes nothing, fakes with wrong captions as a third kind of fake make it worse, 3p - 2m, and the same pairs on the
real side, half of each, cure it.
Paper: Reed et al., Generative Adversarial Text to Image Synthesis, 2016 (algorithm 1, GAN-CLS); the optimum is derived
here: max_D is -log 4 + 2 JSD(p, (m + q) / 2), and fakes are drawn with the captions of the data, q(t) = p(t).
Command: python experiments/matching_aware.py train --workdir runs/matching_aware
Time: about 10 seconds.
Figure: runs/matching_aware/optima.png, the cost of generators q(x = t) = a on two images and two captions over a, its
closed-form optimum dashed and where training ends, beside the data.
Both players are tables, so that nothing but the cost decides: `games.text_to_image.tabular`, whose weights are those
that the networks of stackgan.py are trained with (--pairs).
What we measured, with p(x = t) = .6 and .8: plain ends at .6000 and .8000, and so does balanced; matching_aware, and
with images alone beside it, at .7000 and, on the way to the border of 1, at .9967; three kinds of fakes at .8000 and
.9976. At p itself the cost of matching_aware is -1.383736, at its optimum -log 4 = -1.386294.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax

from ganjax import launch
from ganjax.config import require
from ganjax.dynamics import extragradient
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.text_to_image import PAIRS, table, tabular, value
from ganjax.report import Panel, Series, panels
from ganjax.training import population, simulate

DATA = {"mild": np.array([[0.3, 0.2], [0.2, 0.3]]), "strong": np.array([[0.4, 0.1], [0.1, 0.4]])}
# q* = s p + (1 - s) p_x p_t, clipped at 0
STRETCH = {"plain": 1, "matching_aware": 2, "balanced": 1, "alone": 2, "three_fakes": 3}


@dataclass(frozen=True)
class Config:
    """How the tables are trained; nothing is random."""

    steps: int = 4000
    """Of both players, who look ahead."""
    discriminator_rate: float = 2.0
    """Step size of its logits."""
    generator_rate: float = 1.0
    """Step size of its scores."""
    seed: int = 0
    """Nothing here is random."""

    def __post_init__(self):
        require(self, "steps", self.steps >= 1, "at least 1")
        for name in ("discriminator_rate", "generator_rate"):
            require(self, name, 0 < getattr(self, name) <= 20, "positive and at most 20")


def optimum(p: np.ndarray, name: str) -> np.ndarray:
    """q* in closed form, of tables with equally likely images and captions."""
    independent = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    return np.clip(STRETCH[name] * p + (1 - STRETCH[name]) * independent, 0, p.sum(0, keepdims=True))


def trained(name: str, config: Config) -> np.ndarray:
    """Where both tables end, [data, 2, 2]."""
    rates = {DISCRIMINATOR: config.discriminator_rate, GENERATOR: config.generator_rate}

    def end(p):
        play = extragradient({player: optax.sgd(rate) for player, rate in rates.items()})
        state, _ = simulate(tabular(p, PAIRS[name]), play, config.steps, keep=None)
        return table(p, state.params[GENERATOR])

    return np.asarray(population(end)(p=np.stack(list(DATA.values()))))


def compute(config: Config, workdir: Path) -> list[str]:
    """Both sets of data under every choice of pairs."""
    lines = [
        f"{'data':8}{'pairs':16}{'p(x = t)':>10}{'optimum':>10}{'trained':>10}{'value there':>13}{'value at p':>12}"
    ]
    parts = {}
    with jax.enable_x64(True):
        for name, pairs in PAIRS.items():
            cost = jax.jit(jax.vmap(partial(value, pairs=pairs), (None, 0)))
            for (label, p), found in zip(DATA.items(), trained(name, config), strict=True):
                best = optimum(p, name)
                right = [2 * float(q[0, 0]) for q in (p, best, found)]
                at = cost(p, np.stack([best, p]))
                lines.append(
                    f"{label:8}{name:16}" + "".join(f"{a:10.4f}" for a in right) + f"{at[0]:13.6f}{at[1]:12.6f}"
                )
                parts[label, name] = _panel(f"{name}, {label} data", partial(cost, p), right)
    figure = workdir / "optima.png"
    ordered = [parts[label, name] for label in DATA for name in PAIRS]
    panels(ordered, figure, columns=len(PAIRS), title="What each choice of pairs asks a generator for")
    return [*lines, str(figure)]


def _panel(title: str, cost: Callable, right: list[float]) -> Panel:
    """The cost of q with q(x = t) = a, half of it with each caption, over a; data, optimum and end on it."""
    shares = np.linspace(0.005, 0.995, 199)
    curve = np.asarray(cost(np.stack([np.array([[a, 1 - a], [1 - a, a]]) / 2 for a in shares])))
    ends = np.interp(right, shares, curve)
    return Panel(
        [
            Series(shares, curve, "cost of q", "line", 0),
            Series(np.repeat(right[1], 2), np.array([curve.min(), curve.max()]), "closed form", "predicted", 1),
            Series(right[2:], ends[2:], "trained", "mark", 1),
            Series(right[:1], ends[:1], "data", "star", 2),
        ],
        "share of right images",
        "max over D",
        title,
    )


SMOKE = {"steps": 5}
EXPERIMENT = launch.Experiment("matching_aware", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
