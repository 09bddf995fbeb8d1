"""Configuration: frozen dataclasses, read from the command line and from a run directory. Free of JAX."""

import contextlib
import dataclasses
import io
import json
import math
import os
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ganjax.errors import ConfigError, did_you_mean

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,80}")


def option(name: str) -> str:
    """How a field is spelled on the command line."""
    return "--" + name.replace("_", "-")


def require(config: Any, name: str, holds: bool, expected: str) -> None:
    """Raise `ConfigError` about a field of a config unless the condition holds."""
    if not holds:
        raise ConfigError(f"{option(name)} is {str(getattr(config, name))[:200]}, expected {expected}")


def check_numbers(config: Any) -> None:
    """Raise `ConfigError` about a number, of a config or one inside it, that no experiment can compute with."""
    for name in (field.name for field in dataclasses.fields(config)):
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            check_numbers(value)
        for number in value if isinstance(value, tuple) else (value,):
            require(config, name, not isinstance(number, float) or math.isfinite(number), "a finite number")
            if isinstance(number, int) and name == "seed":
                require(config, name, 0 <= number < 2**32, "0 to 4294967295")
            elif isinstance(number, int):
                require(config, name, abs(number) < 2**31, "at most 2147483647, what JAX counts with")


def check_name(kind: str, name: str) -> None:
    """Raise `ConfigError` about what becomes part of a file's name, unless it can.

    >>> check_name("average", "../ema")
    Traceback (most recent call last):
    ganjax.errors.ConfigError: the average is called '../ema', expected 1 to 80 letters, digits, . _ - and no dot first
    """
    if not _NAME.fullmatch(name):
        expected = "expected 1 to 80 letters, digits, . _ - and no dot first"
        raise ConfigError(f"the {kind} is called {name[:90]!r}, {expected}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What every training experiment can be told."""

    steps: int = 1000
    """Train until this step; a larger number continues a finished run."""
    seed: int = 0
    """Seed of the initialisation, the order of the data and all noise."""
    data: str = "fashion_mnist"
    """fashion_mnist, fluent_emoji, glyphs, digits, ring, grid, swiss_roll, tfds:NAME, stacked:NAME, a path to an .npz
    file or a folder of images."""
    data_dir: str | None = None
    """Where TFDS keeps its prepared data sets; by default, where TFDS looks."""
    batch_size: int = 64
    """Examples that one turn of a player sees, over all devices."""
    log_every: int = 10
    """Steps between two records in metrics.jsonl."""
    sample_every: int = 500
    """Steps between two sample grids."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    judge_every: int = 0
    """Steps between two scores of 2,000 samples in judge.jsonl; the best state so far is kept too. 0 judges never."""
    chunk: int = 50
    """Steps per compiled call, which are tested together for values that are not finite."""
    resident_megabytes: int = 2048
    """Data sets up to this many MiB lie on every device; larger ones are streamed, chunk by chunk."""
    workers: int = 2
    """Threads that gather the examples of a streamed data set."""

    def __post_init__(self):
        for name in ("steps", "batch_size", "log_every", "sample_every", "checkpoint_every", "chunk", "workers"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("judge_every", "resident_megabytes"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


Loss = Literal[
    "minimax",
    "non_saturating",
    "maximum_likelihood",
    "least_squares",
    "hinge",
    "wasserstein",
    "smoothed",
    "relativistic_paired",
    "relativistic_average",
    "f_total_variation",
    "f_kl",
    "f_reverse_kl",
    "f_pearson",
    "f_neyman",
    "f_squared_hellinger",
    "f_jeffrey",
    "f_jensen_shannon",
    "f_jensen_shannon_0.3",
    "f_gan",
    "f_alpha_0.5",
    "f_alpha_2",
]
PenaltyName = Literal["none", "gradient_penalty", "one_sided", "dragan", "r1", "r2", "zero_centred", "consistency"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanConfig(TrainConfig):
    """What every adversarial experiment can be told; both players use Adam."""

    latent: int = 100
    """Size of z ~ N(0, I)."""
    loss: Loss = "non_saturating"
    """What the two players minimise; f_NAME is the variational game of an f-divergence."""
    penalty: PenaltyName = "none"
    """What the discriminator pays for its gradient in x: gradient_penalty is WGAN-GP, one_sided WGAN-LP."""
    penalty_weight: float = 10.0
    """Weight of the penalty: lambda, or gamma of R1 and R2."""
    penalty_every: int = 1
    """Steps from one application of the penalty to the next; it then weighs as much more, in every turn of the step."""
    packing: int = 1
    """Examples that the discriminator judges at once (PacGAN)."""
    instance_noise: float = 0.0
    """Standard deviation of Gaussian noise on everything that the discriminator sees."""
    orthogonal: float = 0.0
    """Weight of orthogonal regularisation of both networks' kernels; 1e-4 in BigGAN."""
    accumulate: int = 1
    """Micro-batches in which a turn's batch is evaluated, one after another, to need the memory of one."""
    conditional: bool = False
    """Give both networks the class labels of the data."""
    discriminator_turns: int = 1
    """Discriminator steps per generator step, in alternating play."""
    learning_rate: float = 2e-4
    """Of Adam, for both players."""
    beta1: float = 0.5
    """Adam's momentum (Radford et al. 2016)."""
    ema_decay: float = 0.999
    """Of the averaged generator, BatchNorm statistics included, that draws the samples."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("latent", "discriminator_turns", "penalty_every", "packing", "accumulate"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        whole = self.batch_size % (self.accumulate * self.packing) == 0
        expected = f"a multiple of --packing {self.packing} times --accumulate {self.accumulate}"
        require(self, "batch_size", whole, expected)
        require(self, "packing", self.packing == 1 or not self.conditional, "1 with --conditional: a pack has no label")
        for name in ("penalty_weight", "instance_noise", "orthogonal"):
            require(self, name, 0 <= getattr(self, name) < math.inf, "a number that is not negative")
        require(self, "learning_rate", 0 < self.learning_rate < math.inf, "a positive number")
        for name in ("beta1", "ema_decay"):
            require(self, name, 0 <= getattr(self, name) < 1, "at least 0 and less than 1")


# The dynamics in which one player's turn follows the other's.
IN_TURN = ("alternating", "lookahead", "unrolled", "history_of_opponents", "against_average")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConfig(GanConfig):
    """What every recipe for images can be told; `ganjax.recipe` puts it together."""

    conditioning: Literal["projection", "concatenation", "auxiliary"] = "projection"
    """What the discriminator makes of labels: their inner product with its features, one more channel of the image,
    or a second output that names the class (AC-GAN)."""
    generator_conditioning: Literal["batch_norm", "concatenation"] = "batch_norm"
    """What the generator makes of labels: scales and offsets of BatchNorm, or more entries of z."""
    spectral_norm: Literal["none", "discriminator", "both"] = "none"
    """Whose kernels are divided by their spectral norm."""
    augment: Literal["none", "diffaugment", "ada"] = "none"
    """Augmentation of all that the discriminator sees: DiffAugment, or ADA with its controller."""
    dynamics: Literal[
        "alternating",
        "simultaneous",
        "extragradient",
        "past_extragradient",
        "optimistic",
        "runge_kutta",
        "lookahead",
        "unrolled",
        "opponent_lookahead",
        "lola",
        "history_of_opponents",
        "against_average",
        "competitive",
    ] = "alternating"
    """How the players move; competitive play has steps of its own instead of Adam."""
    inner_step: float = 0.01
    """Length of the plain gradient steps inside unrolled, lola, opponent_lookahead and runge_kutta (whose optimiser
    then moves by the mean slope), and of competitive play's own."""
    clip: float = 0.0
    """Bound on every weight of the discriminator, clipped to it after each step (0.01 in WGAN); 0 sets none."""
    adjust: Literal["none", "consensus", "symplectic", "gradient_norm", "historical_averaging"] = "none"
    """A term added to the vector field."""
    adjust_weight: float = 0.1
    """Its weight."""
    average: Literal["ema", "tail", "none"] = "ema"
    """The averaged generator: exponential, or uniform over all steps after the first --average-start."""
    average_start: int = 0
    """Steps before a uniform average begins."""
    beta2: float = 0.999
    """Adam's second decay."""
    decay_steps: int = 0
    """Steps over which the learning rate falls to zero along a line; 0 keeps it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in; parameters, statistics, losses and penalties are float32 in any case. On an
    accelerator products of float32 numbers are narrower inside unless JAX_DEFAULT_MATMUL_PRECISION=float32 is set."""
    remat: bool = False
    """Compute blocks again in the backward pass rather than keep them: less memory, a third more work."""

    def __post_init__(self):
        super().__post_init__()
        alone = self.discriminator_turns == 1 or self.dynamics in IN_TURN
        require(self, "discriminator_turns", alone, f"1 with --dynamics {self.dynamics}, where all move at once")
        for name in ("conditioning", "generator_conditioning"):
            told = self.conditional or getattr(self, name) == getattr(type(self), name)
            require(self, name, told, f"{getattr(type(self), name)} without --conditional: there are no labels")
        constant = self.dynamics != "competitive" or not self.decay_steps
        require(self, "decay_steps", constant, "0 with --dynamics competitive, whose steps are constant")
        moving = not self.decay_steps or self.steps <= self.decay_steps
        expected = f"at most --decay-steps {self.decay_steps}, after which nothing moves (0 keeps the rate)"
        require(self, "steps", moving, expected)
        require(self, "inner_step", 0 < self.inner_step < math.inf, "a positive number")
        require(self, "clip", 0 <= self.clip < math.inf, "a number that is not negative")
        require(self, "clip", self.dynamics != "competitive" or not self.clip, "0 with --dynamics competitive")
        require(self, "adjust_weight", self.adjust_weight >= 0, "a number that is not negative")
        require(self, "beta2", 0 <= self.beta2 < 1, "at least 0 and less than 1")
        for name in ("decay_steps", "average_start"):
            require(self, name, getattr(self, name) >= 0, "at least 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig(ImageConfig):
    """What every recipe with the networks of DCGAN can be told."""

    width: int = 64
    """Channels next to the image in both networks, doubled at each halving."""
    discriminator_norm: Literal["batch", "none"] = "none"
    """BatchNorm in the discriminator, or none, as every penalty on single examples needs."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "width", self.width >= 1, "at least 1")
        needed = "none with --penalty: BatchNorm makes a logit depend on the batch, the penalty is on each example"
        require(self, "discriminator_norm", self.penalty == "none" or self.discriminator_norm == "none", needed)
        require(self, "remat", not self.remat, "left out: these networks have no blocks to compute again")


def parse(commands: Mapping[str, type], args: Sequence[str], *, prog: str, description: str) -> Any:
    """Read a command line into one of the dataclasses of `commands`.

    `--help` prints and exits with 0.

    Raises:
        ConfigError: one sentence about an unknown command or option, or a value of the wrong type or out of range.
    """
    import tyro

    if args and args[0] in commands:  # the others' parsers would take half of the time
        commands = {args[0]: commands[args[0]]}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _wide_terminal("--help" not in args and "-h" not in args):
            config = tyro.extras.subcommand_cli_from_dict(
                dict(commands),
                args=list(args),
                prog=prog,
                description=description,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigError(_one_sentence(said.getvalue(), args, commands) + f"; see {prog} --help") from None
    check_numbers(config)
    return _at_home(config)


def _at_home(config: Any) -> Any:
    """The config with ~ in its paths as the home directory: no shell replaces it in --workdir=~/runs."""
    changes = {}
    for field in dataclasses.fields(config):
        try:
            changes[field.name] = _expanded(getattr(config, field.name))
        except RuntimeError:
            require(config, field.name, False, "the home of a user who exists")
    return dataclasses.replace(config, **changes)


def _expanded(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_expanded, value))
    return value.expanduser() if isinstance(value, Path) else value


@contextlib.contextmanager
def _wide_terminal(wide: bool):
    """Keep tyro from wrapping its message, which is to become one line."""
    before = os.environ.get("COLUMNS")
    if wide:
        os.environ["COLUMNS"] = "1000"
    try:
        yield
    finally:
        if wide and before is None:
            os.environ.pop("COLUMNS", None)
        elif wide and before is not None:
            os.environ["COLUMNS"] = before


def _one_sentence(box: str, args: Sequence[str], commands: Mapping[str, type]) -> str:
    """The first paragraph of tyro's error box, with the nearest known word."""
    lines = [re.sub(r"[│╭╮╰╯]", "", line).strip() for line in box.splitlines()]
    body = [line for line in lines[1:] if line]
    first = next((i for i, line in enumerate(body) if set(line) <= {"─"}), len(body))
    sentence = " ".join(body[:first])[:2000]
    known = {*commands, "--help"}
    for command in commands.values():
        known |= {option(name) for name in _field_names(command)}
    said = sentence.replace(",", " ").split()
    for word in args:
        name = word.split("=")[0]
        if word in said and name not in known:
            return sentence + did_you_mean(name, known)
    return sentence


def _field_names(cls: Any) -> list[str]:
    """Names of a dataclass's fields, those of nested dataclasses included."""
    names = []
    for field in dataclasses.fields(cls):
        names += _field_names(field.default) if dataclasses.is_dataclass(field.default) else [field.name]
    return names


def as_record(config: Any) -> dict[str, Any]:
    """A config as JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_record(like: Any, record: Mapping[str, Any]) -> Any:
    """The config of the class of `like` that `as_record` made `record` from; what it lacks is as in `like`.

    Raises:
        ConfigError: a field is unknown, of another type, or out of its range; says which.
    """
    names = {field.name for field in dataclasses.fields(like)}
    unknown = set(record) - names
    if unknown:
        raise ConfigError(f"config.json has the unknown fields {sorted(unknown)}; it was written by another version")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    hints = get_type_hints(type(like))
    for name, value in values.items():
        if not _fits(value, hints[name]):
            kind = hints[name].__name__ if isinstance(hints[name], type) else hints[name]
            raise ConfigError(f"config.json: {option(name)} is {str(value)[:200]!r}, expected {kind}")
    try:
        config = dataclasses.replace(like, **values)
        check_numbers(config)
    except ConfigError as error:
        raise ConfigError(f"config.json: {error}") from None
    return config


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a field is declared as: a scalar, one of some words, or a tuple of these."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in parts
    if kind in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint or hint not in (int, bool, str, types.NoneType)
