"""SeqGAN and its kin: games of sequences of words, begun where maximum likelihood ends, and their honest control.

Claim: rewards of a discriminator lower what samples cost under an oracle, as the paper reports; so does a lower
temperature of the model of maximum likelihood, which costs held-out sequences less (Caccia et al.).
Paper: Yu, Zhang, Wang and Yu, SeqGAN, 2017 (--method seqgan: reward D, completions of each prefix); Che et al.,
Maximum-Likelihood Augmented Discrete GANs, 2017 (maligan: D / (1 - D) normalised over the batch; Hjelm et al.,
Boundary-Seeking GANs, 2018, normalise it among the outputs of one z, which are all where a generator has no z: of one
that has, `sixteen_pixels` compares both); Jang, Gu and Poole, Categorical
Reparameterization with Gumbel-Softmax, 2017 (gumbel), Bengio et al. 2013 (straight_through); Caccia et al., Language
GANs Falling Short, 2020 (the curve over temperatures); Witten and Bell 1991 (the n-grams).
Command: python experiments/seqgan.py train --workdir runs/seqgan
         python experiments/seqgan.py train --workdir runs/maligan --method maligan --rollouts 0
         python experiments/seqgan.py curve --workdirs runs/seqgan runs/maligan --out curve.png
         python experiments/seqgan.py evaluate --workdir runs/seqgan --count 2000
         python experiments/seqgan.py train --workdir runs/text --data text.npz --length 64 --features 128
The oracle is an LSTM whose weights are from N(0, 1); it writes 10,000 sequences of 20 words to train on. There are
three stages: likelihood, discriminator (the generator holds still), game. NLL_oracle is what the oracle says of
samples, in nats of a word, NLL_test what the generator says of held-out sequences; the first alone is won by repeating
one sequence.
The generator's gradient in the game is a score-function estimate, or, relaxed, that of another game: its cost is a
surrogate whose value means nothing. Rollouts are of the generator as it is, not of a delayed copy.
The paper's size is --data oracle:5000 --likelihood-steps 18720 --discriminator-steps 7800 --steps 200 --rollouts 16
--turns 75; it asks for an accelerator and has not been run. A text is an .npz file with the bytes of a text, NAME_train
and NAME_test: characters in lower case, white space as one blank, so bits are not those of other alphabets.
Figure: curves.png of a stage, NLL_oracle and NLL_test over its steps; curve.png, both over all steps, and one against
the other: the model of maximum likelihood at all temperatures, and each game's end; of a text in bits of a character,
NLL_oracle being what n-grams of the training text say. `sample` prints what it draws.
What we measured with seed 0, 2,000 samples and held-out sequences, on 2 CPU cores that others used too, in nats of a
word, where the oracle has 2.687: maximum likelihood 3.932 (samples) and 3.251 (held out), of which a temperature of .98
makes 3.878 and 3.254; SeqGAN ends at 3.878 and 3.266, MaliGAN at 3.899 and 3.265, Gumbel-softmax, whose critic sees no
corners, at 4.186 and 4.211. A generator at ten times the rate is driven off to 4.102 and 3.533. 3-grams have 3.35. The
three stages of SeqGAN took 12 minutes among other jobs, 3.7 of processor time. On tiny Shakespeare, --length 32
--features 64 --method maligan --rollouts 0 --likelihood-steps 3000 --discriminator-steps 300 --steps 100, 4 minutes, in
bits of a character held out: 2.544 by likelihood, 2.577 after the game, 2.357 by 5-grams, which a network of this size
and so few steps does not reach.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ganjax import launch
from ganjax.config import require
from ganjax.options import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ganjax.data import Dataset
    from ganjax.games.sequences import Estimator
    from ganjax.training import Setup

ESTIMATORS: "dict[str, Estimator]" = {
    "seqgan": "probability",
    "maligan": "ratio",
    "reverse": "logit",
    "gumbel": "concrete",
    "straight_through": "straight_through",
}
RELAXED = ("gumbel", "straight_through")
STAGES = "likelihood", "discriminator", "game"


@dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """The networks, and how long each stage is."""

    length: int = 20
    """Symbols of a sequence, into which longer ones are cut."""
    method: Literal["seqgan", "maligan", "reverse", "gumbel", "straight_through"] = "seqgan"
    """How the generator's gradient is estimated: by rewards D, D / (1 - D) or log D / (1 - D); or relaxed."""
    rollouts: int = 8
    """Completions of each prefix, whose mean reward its last symbol has; 0 rewards all symbols of a sequence alike."""
    temperature: float = 1.0
    """Of the softmax of gumbel and straight_through."""
    embedding: int = 32
    """Numbers of a symbol's vector in the generator."""
    features: int = 32
    """Of the generator's LSTM."""
    critic: Literal["convolutional", "recurrent"] = "convolutional"
    """The discriminator: one number of a sequence, or one after each symbol, of the symbols so far."""
    critic_features: int = 32
    """Of the discriminator: of each width of window, or of its gated recurrent unit."""
    likelihood_steps: int = 4000
    """Of the first stage."""
    likelihood_rate: float = 1e-2
    """Of its Adam; it falls to zero along a line."""
    discriminator_steps: int = 1500
    """Of the second stage."""
    discriminator_rate: float = 2e-3
    """Of Adam of the discriminator, in the game too."""
    learning_rate: float = 1e-3
    """Of Adam of the generator in the game."""
    turns: int = 5
    """Of the discriminator in the game, to one of the generator."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("length", "batch_size"):
            require(self, name, getattr(self, name) >= 2, "at least 2")
        sizes = ("embedding", "features", "critic_features", "likelihood_steps", "discriminator_steps", "turns")
        for name in sizes:
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("temperature", "likelihood_rate", "discriminator_rate", "learning_rate"):
            require(self, name, 0 < getattr(self, name) < float("inf"), "a positive number")
        require(self, "rollouts", self.rollouts >= 0, "at least 0")
        whole = self.critic == "convolutional" or self.method in RELAXED or not self.rollouts
        require(self, "rollouts", whole, "0 with --critic recurrent, which rewards each symbol")


CONFIG = Config(
    data="oracle:100",  # or the path of an .npz file with a text, or with tokens of a vocabulary
    steps=300,  # of the game
    sample_every=100,
    checkpoint_every=100,
    chunk=20,
)


class Truth(NamedTuple):
    """What is known of the data."""

    size: int  # K, how many symbols there are
    unit: str  # "character" or "word"
    data: "Dataset"  # sequences


def truth_of(config: Config, load: "Callable[[str], Dataset]") -> Truth:
    """The sequences, and how many symbols they have."""
    from ganjax.data.running import sequences

    data = sequences(load(config.data), config.length)
    words = data.kind.facts["vocabulary"]
    return Truth(len(words.words), words.unit, data)


def measures_of(generator: Any, truth: Truth) -> dict[str, Any]:
    """Bits of a character of held-out texts; else NLL_test and, where the truth is known, NLL_oracle."""
    import math

    import numpy as np

    from ganjax.data.oracle import oracle_of
    from ganjax.games import sequences as games
    from ganjax.models.sequences import Lstm

    held_out = games.nll(generator)
    if truth.unit == "character":
        return {"bits_per_character": held_out._replace(summary=lambda nats: float(np.mean(nats)) / math.log(2))}
    found = {"nll_test": held_out}
    if (oracle := oracle_of(truth.data)) is not None:
        size, features = oracle.embedding.shape[1], len(oracle.out)
        says = Lstm(truth.size, size, features)
        found["nll_oracle"] = games.nll_of_samples(generator, truth.data.shape[0], says, oracle.params)
    return found


def telemetry_of(measures: dict[str, Any], truth: Truth, count: int = 512) -> "Callable[[Any], Any]":
    """The measures of a few held-out examples, for the curves of a run."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ganjax.core import Batch
    from ganjax.games.adversarial import GENERATOR

    held_out = truth.data.x_train if truth.data.x_test is None else truth.data.x_test
    x = np.asarray(held_out[:count])
    scale = 1 / np.log(2) if truth.unit == "character" else 1.0

    def look(state: Any) -> dict[str, Any]:
        batch = Batch(jnp.asarray(x), None, jnp.arange(len(x)))
        of = lambda one: one.values(state.weights, batch, jax.random.key(0)).mean() * scale  # noqa: E731
        return {f"{GENERATOR}/{name}": of(one) for name, one in measures.items()}

    return look


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "dict[str, Setup]":
    """Maximum likelihood; the discriminator alone; both."""
    from functools import partial

    import optax

    from ganjax.dynamics import alternating, simultaneous
    from ganjax.games import sequences as games
    from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
    from ganjax.models.sequences import ConvolutionalCritic, Lstm, RecurrentCritic
    from ganjax.training import From, Setup, Stream

    truth = truth_of(config, load)
    generator = Lstm(truth.size, config.embedding, config.features)
    critics: dict[str, Any] = {"convolutional": ConvolutionalCritic, "recurrent": RecurrentCritic}
    game = games.sequence_gan(
        generator,
        critics[config.critic](config.critic_features),
        ESTIMATORS[config.method],
        temperature=config.temperature,
        rollouts=0 if config.method in RELAXED else config.rollouts,
        axis_name=axis_name,
    )
    measures = measures_of(generator, truth)
    stage = partial(
        Setup,
        streams={"data": Stream(truth.data, config.batch_size)},
        samplers={"generator": games.sampler(generator, config.length)},
        measures=measures,
        telemetry=telemetry_of(measures, truth),
    )
    falling = optax.linear_schedule(config.likelihood_rate, 0.0, config.likelihood_steps)
    adams = {DISCRIMINATOR: optax.adam(config.discriminator_rate), GENERATOR: optax.adam(config.learning_rate)}
    begun = {GENERATOR: From("likelihood", GENERATOR)}
    return {
        "likelihood": stage(
            games.sequence_likelihood(generator),
            simultaneous({GENERATOR: optax.adam(falling)}, axis_name=axis_name),
            steps=config.likelihood_steps,
        ),
        "discriminator": stage(
            game._replace(costs={DISCRIMINATOR: game.costs[DISCRIMINATOR]}),
            simultaneous({DISCRIMINATOR: adams[DISCRIMINATOR]}, axis_name=axis_name),
            steps=config.discriminator_steps,
            start=begun,
            telemetry=None,
        ),
        "game": stage(
            game,
            alternating(adams, turns={DISCRIMINATOR: config.turns}, axis_name=axis_name),
            start={**begun, DISCRIMINATOR: From("discriminator", DISCRIMINATOR)},
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Draw games beside the model of maximum likelihood at all temperatures, from which the first of them began."""

    workdirs: tuple[Path, ...]
    """Run directories; the first one's first stage is the control."""
    out: Path
    """The picture to write, .png."""
    data: str | None = None
    """Where the data of the runs lie now, if they have moved."""
    count: int = 2000
    """Samples, and held-out sequences at most, of each point."""
    order: int = 5
    """Symbols of the longest run of n-grams; those are shown that say most of the held-out sequences."""
    temperatures: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.2, 1.5)
    """Of the control."""
    seed: int = 0
    """Of the samples."""

    def __post_init__(self):
        names = [workdir.name for workdir in self.workdirs]
        require(self, "workdirs", 0 < len(set(names)) == len(names), "one at least, each of another last name")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")
        for name in ("count", "order"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "temperatures", min(self.temperatures, default=0) > 0, "positive numbers")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")

    def run(self, experiment: launch.Experiment) -> None:
        for line in curve(self, experiment):
            print(line)


class Judged(NamedTuple):
    """What the truth says of samples, and what a generator says of held-out sequences, in nats or bits of a symbol."""

    oracle: float
    test: float


def curve(asked: Curve, experiment: launch.Experiment) -> list[str]:
    """The table, and the picture of two panels."""
    import numpy as np

    from ganjax.errors import ConfigError
    from ganjax.report import Panel, Series, panels

    asked.out.parent.mkdir(parents=True, exist_ok=True)
    control = stage_of(asked, experiment, asked.workdirs[0], "likelihood")
    truth = control.truth
    sweep = [control.at(t) for t in asked.temperatures]
    games = {w.name: stage_of(asked, experiment, w, "game") for w in asked.workdirs}
    for name, game in games.items():
        if game.truth.data.digest != truth.data.digest:
            raise ConfigError(f"{name} was trained on other data than {asked.workdirs[0].name}; draw it by itself")
    told = {"maximum likelihood": control.at(1.0), **{name: game.at(1.0) for name, game in games.items()}}
    per = "bits of a character" if truth.unit == "character" else "nats of a word"
    lines = [f"{'':>24}{'NLL_oracle':>12}{'NLL_test':>12}{'at a temperature':>18}{'NLL_test there':>16}   {per}"]
    order = np.argsort([one.oracle for one in sweep])
    oracles, tests = np.array(sweep)[order].T
    for name, one in told.items():
        there = [
            np.interp(one.oracle, oracles, ys, left=np.nan, right=np.nan)
            for ys in (np.array(asked.temperatures)[order], tests)
        ]
        lines.append(f"{name[-24:]:>24}{one.oracle:>12.4f}{one.test:>12.4f}{there[0]:>18.3f}{there[1]:>16.4f}")
    lines += [f"{name:>24}{one.oracle:>12.4f}{one.test:>12.4f}" for name, one in control.known.items()]
    levels = {name: one.test for name, one in control.known.items()}
    over = [
        Series(steps, values, f"{name}, {what}")
        for name, game in games.items()
        for what, (steps, values) in game.path.items()
    ]
    both = [Series(np.array([one.oracle for one in sweep]), np.array([one.test for one in sweep]),
                   "maximum likelihood, all temperatures", "predicted")]  # fmt: skip
    kinds = {"maximum likelihood": "star"}
    both += [Series([one.oracle], [one.test], name, kinds.get(name, "points")) for name, one in told.items()]
    said = f"of samples under {next(iter(control.known))} ({per})"
    parts = [
        Panel(over, "steps of likelihood and game", per, "over training", lines=levels),
        Panel(both, said, f"of held-out sequences ({per})", "quality and diversity", log="y"),
    ]
    panels(parts, asked.out, columns=2, size=(5.6, 4.4))
    return [*lines, str(asked.out)]


class Stage(NamedTuple):
    """A stage of a run, ready to be judged."""

    truth: Truth
    at: "Callable[[float], Judged]"  # of its generator at a temperature
    known: dict[str, Judged]  # of whatever has no network
    path: "dict[str, tuple[np.ndarray, np.ndarray]]"  # measure -> steps from the first stage on, and values


def stage_of(asked: Curve, experiment: launch.Experiment, workdir: Path, stage: str) -> Stage:
    """Open a stage of a run.

    Raises:
        ConfigError: there is no such run.
        DataError: its data are not there.
        CheckpointError: the stage has no checkpoint.
    """
    from ganjax.commands.base import OfRun, opened
    from ganjax.games.adversarial import GENERATOR
    from ganjax.training import load_state

    run = opened(experiment, OfRun(workdir=workdir, stage=stage, data=asked.data))
    data, config = run.setup.streams["data"].dataset, run.found["config"]
    words = data.kind.facts["vocabulary"]
    truth = Truth(len(words.words), words.unit, data)
    weights = load_state(run.setup, run.workdir).weights[GENERATOR]
    says, known = says_of(truth, min(asked.order, data.shape[0]), asked.count)
    sizes = config["embedding"], config["features"]
    return Stage(truth, judged(truth, sizes, weights, says, asked), known, path_of(workdir, config["likelihood_steps"]))


def says_of(truth: Truth, order: int, count: int) -> "tuple[Callable[[np.ndarray], float], dict[str, Judged]]":
    """What the oracle, or the best n-grams of the training text, say of sequences; and of held-out ones."""
    import numpy as np

    from ganjax import ngrams
    from ganjax.data.oracle import nll, oracle_of
    from ganjax.games.sequences import FIRST

    unit = np.log(2) if truth.unit == "character" else 1.0
    train = truth.data.x_train - FIRST
    test = (train if truth.data.x_test is None else truth.data.x_test - FIRST)[:count]
    models = [ngrams.ngram(train, truth.size, n) for n in range(1, order + 1)]
    costs = [float(ngrams.nll(model, test).mean() / unit) for model in models]
    best = int(np.argmin(costs))
    of_counts = lambda x: float(ngrams.nll(models[best], x).mean() / unit)  # noqa: E731
    counted = {f"{best + 1}-grams": Judged(np.nan, costs[best])}
    oracle = oracle_of(truth.data)
    if oracle is None:
        return of_counts, counted
    of_oracle = lambda x: float(nll(oracle, x).mean() / unit)  # noqa: E731
    perfect = of_oracle(test)
    return of_oracle, {"the oracle": Judged(perfect, perfect), **counted}


def judged(
    truth: Truth, sizes: tuple[int, int], weights: Any, says: "Callable[[np.ndarray], float]", asked: Curve
) -> "Callable[[float], Judged]":
    """temperature -> both numbers, by one program for all temperatures."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ganjax.games import sequences as games
    from ganjax.games.network import network
    from ganjax.models.sequences import Lstm

    module, length, block = Lstm(truth.size, *sizes), truth.data.shape[0], min(250, asked.count)
    held_out = truth.data.x_train if truth.data.x_test is None else truth.data.x_test
    rows = np.arange(-(-asked.count // block) * block).reshape(-1, block)

    @jax.jit
    def both(weights: Any, index: Any, x: Any, temperature: Any) -> tuple[Any, Any]:
        net = games.tempered(network(module), temperature)
        drawn = games.draw(net, module, weights, games.uniforms(jax.random.key(asked.seed), index, length, truth.size))
        nats = -games.log_probs(net, module, weights, games.symbols(x, truth.size))
        return drawn.x.argmax(-1), nats.mean(1)

    def at(temperature: float) -> Judged:
        found = [both(weights, own, held_out[own % len(held_out)], jnp.float32(temperature)) for own in rows]
        drawn, nats = (np.concatenate(list(map(np.asarray, part))) for part in zip(*found, strict=True))
        few = min(asked.count, len(held_out))
        unit = np.log(2) if truth.unit == "character" else 1.0
        return Judged(says(drawn[: asked.count]), float(nats[:few].mean() / unit))

    return at


def path_of(workdir: Path, likelihood_steps: int) -> "dict[str, tuple[np.ndarray, np.ndarray]]":
    """What was logged of the generator, over the steps of the first stage and of the last after them."""
    import numpy as np

    from ganjax.report.history import read_metrics

    found: dict[str, list[np.ndarray]] = {}
    for stage, before in (("likelihood", 0), ("game", likelihood_steps)):
        metrics = read_metrics(workdir / stage)
        for name in ("nll_oracle", "nll_test", "bits_per_character"):
            values = metrics.get(f"generator/{name}")
            if values is not None:
                there = np.isfinite(values)
                found.setdefault(name, []).append(np.stack([metrics["step"][there] + before, values[there]]))
    return {name: tuple(np.concatenate(parts, 1)) for name, parts in found.items()}


SMOKE = {
    "data": "oracle:8",
    "steps": 2,
    "length": 4,
    "rollouts": 2,
    "embedding": 3,
    "features": 4,
    "critic_features": 3,
    "likelihood_steps": 2,
    "discriminator_steps": 2,
    "turns": 1,
    "batch_size": 8,
    "sample_every": 2,
    "checkpoint_every": 2,
    "chunk": 1,
}
EXPERIMENT = launch.Experiment("seqgan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT, more={"curve": Curve})
