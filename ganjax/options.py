"""What experiments can be told: small groups of options, and the configurations that they add up to. Free of JAX.

A configuration is made of groups by inheritance, so that it has the options it means and no others; its fields stay
flat, on the command line and in config.json. `Options` ends the chain of `__post_init__`, by which every group checks
its own fields and a configuration what they say together:

>>> @dataclass(frozen=True, kw_only=True)
... class Config(Precision, Averaging, Adam, Latent, TrainConfig):
...     kl_weight: float = 1.0
>>> Config(steps=10, beta2=0.9).average
'ema'
>>> Config(beta2=1.0)
Traceback (most recent call last):
ganjax.errors.ConfigError: --beta2 is 1.0, expected at least 0 and less than 1

No field is declared twice. An experiment whose numbers are others says them in an instance, with a comment that says
why; one that has options of its own declares these alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ganjax.config import require


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every group and every configuration is."""

    def __post_init__(self):
        """Raise `ConfigError` about a field out of its range: an heir calls this first, then checks its own."""

    def unused(self) -> dict[str, str]:
        """Why some fields have no effect, as the others are: an heir adds its own. A command that sets one is refused.

        Not by `__post_init__`: what an experiment and its smoke size say of it is no mistake.
        """
        return {}


@dataclass(frozen=True)
class Schedule(Options):
    """How long, and what how often, all in steps; and how examples reach the devices."""

    steps: int = 1000
    """Train until this step; a larger number continues a finished run."""
    log_every: int = 10
    """Steps between two records in metrics.jsonl."""
    sample_every: int = 500
    """Steps between two sample grids and measures of gradients; 0 for none, and neither pictures nor alarms."""
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


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Schedule):
    """What every training experiment can be told."""

    seed: int = 0
    """Seed of the initialisation, the order of the data and all noise."""
    data: str = "fashion_mnist"
    """fashion_mnist, fluent_emoji, glyphs, digits, chirps, ring, grid, swiss_roll, tfds:NAME, stacked:NAME,
    bouncing:NAME, spinning:NAME, oracle:WORDS, a path to an .npz file or a folder of images or WAV files."""
    data_dir: str | None = None
    """Where TFDS keeps its prepared data sets; by default, where TFDS looks."""
    batch_size: int = 64
    """Examples that one turn of a player sees, over all devices."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("steps", "batch_size", "log_every", "checkpoint_every", "chunk", "workers"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("sample_every", "judge_every", "resident_megabytes"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


# -- groups that any game can have ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Latent(Options):
    """What samples are made from."""

    latent: int = 100
    """Size of z ~ N(0, I)."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "latent", self.latent >= 1, "at least 1")


@dataclass(frozen=True, kw_only=True)
class Conditional(Options):
    """Whether labels are given."""

    conditional: bool = False
    """Give the networks the class labels of the data."""


@dataclass(frozen=True, kw_only=True)
class Rate(Options):
    """Adam at a constant rate, with the second decay of optax."""

    learning_rate: float = 2e-4
    """Of Adam, for both players."""
    beta1: float = 0.5
    """Adam's momentum (Radford et al. 2016)."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "learning_rate", 0 < self.learning_rate < math.inf, "a positive number")
        require(self, "beta1", 0 <= self.beta1 < 1, "at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class Adam(Rate, Schedule):
    """Adam, at a constant rate or one that falls over the steps."""

    beta2: float = 0.999
    """Adam's second decay."""
    decay_steps: int = 0
    """Steps over which the learning rate falls to zero along a line; 0 keeps it."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "beta2", 0 <= self.beta2 < 1, "at least 0 and less than 1")
        require(self, "decay_steps", self.decay_steps >= 0, "at least 0")
        moving = not self.decay_steps or self.steps <= self.decay_steps
        expected = f"at most --decay-steps {self.decay_steps}, after which nothing moves (0 keeps the rate)"
        require(self, "steps", moving, expected)


@dataclass(frozen=True, kw_only=True)
class Ema(Options):
    """An exponential average."""

    ema_decay: float = 0.999
    """Of the averaged generator, BatchNorm statistics included, that draws the samples."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "ema_decay", 0 <= self.ema_decay < 1, "at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class Averaging(Ema):
    """An average of one kind or another, or none."""

    average: Literal["ema", "tail", "none"] = "ema"
    """The averaged generator: exponential, or uniform over all steps after the first --average-start."""
    average_start: int = 0
    """Steps before a uniform average begins."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "average_start", self.average_start >= 0, "at least 0")

    def unused(self) -> dict[str, str]:
        readers = {"ema_decay": "ema", "average_start": "tail"}
        why = f"--average {self.average} goes without it"
        return super().unused() | {name: why for name, kind in readers.items() if kind != self.average}


@dataclass(frozen=True, kw_only=True)
class Precision(Options):
    """What networks compute in, and what they keep meanwhile."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in; parameters, statistics, losses and penalties are float32 in any case. On an
    accelerator products of float32 numbers are narrower inside unless JAX_DEFAULT_MATMUL_PRECISION=float32 is set."""
    remat: bool = False
    """Compute blocks again in the backward pass rather than keep them: less memory, a third more work."""


# -- groups of domain adaptation --------------------------------------------------------------------------------------

AdaptationMethod = Literal[
    "source_only", "reversal", "confusion", "coral", "mmd", "adabn", "mcd", "adda", "adda_features", "cogan"
]


_ALIGNED, _ADDA = ("reversal", "confusion", "coral", "mmd"), ("adda", "adda_features")
_FROM_THE_START = ("source_only", *_ALIGNED, "adabn", *_ADDA)
_READERS: Mapping[str, tuple[str, ...]] = {  # option -> the methods that it has an effect in, where these are not all
    "network": (*_FROM_THE_START, "mcd"),
    "batch_norm": ("source_only", *_ALIGNED, *_ADDA, "mcd"),
    "source_rate": _FROM_THE_START,
    "learning_rate": (*_ADDA, "mcd", "cogan"),
    "weight_decay": ("source_only", *_ADDA),
    "weight": _ALIGNED,
    "ramp_steps": _ALIGNED,
    "coupled_width": ("cogan",),
    "latent": ("cogan",),
    "source_steps": _ADDA,
}


@dataclass(frozen=True, kw_only=True)
class Adaptation(Options):
    """Two domains of images, of which one has labels that training sees, and what all methods share."""

    target: str = "digits"
    """The images of the target, named as --data, which are the source. No training sees their labels."""
    protocol: Literal["canonical", "transductive"] = "canonical"
    """All training images of both; or a sample of each, in the literature 2,000 images of MNIST and 1,800 of USPS,
    which is trained and tested on the same target images: the measure adapting_accuracy."""
    source_count: int = 2000
    """Images of the source under the transductive protocol."""
    target_count: int = 1800
    """Images of the target under the transductive protocol."""
    scaling: Literal["plain", "padded", "cropped"] = "plain"
    """How images of other sides become 28x28: resized; with a black border of 3/16 of their side first, which gives
    USPS the scale of MNIST; or, where they are larger, their middle."""
    colour: Literal["grey", "rgb"] = "grey"
    """What both become: grey by .2989, .587 and .114, or three channels, grey ones repeated."""
    network: Literal["lenet", "dann"] = "lenet"
    """LeNet of ADDA, 500 features and a linear classifier; or that of Ganin et al. for MNIST-M, all of whose last map
    are features (768 of 28x28 pixels) and the classifier a perceptron of 100 and 100 units."""
    batch_norm: bool = False
    """BatchNorm before each ReLU of the encoder: each domain by its own statistics where one encoder serves both, by
    those of the source in source_only and adda, whose second stage learns none; adabn has it always."""
    optimiser: Literal["adam", "sgd"] = "adam"
    """Adam; or SGD with a momentum of .9 and a rate that falls as (1 + 10 p)^-.75, p = step / ramp_steps up to 1, as
    Ganin et al. have it from 0.01 on."""
    source_rate: float = 1e-3
    """Of networks that learn classes from the start; --learning-rate is that of adda, mcd and cogan."""
    weight_decay: float = 2.5e-5
    """Of the squares of the weights, where the source alone is learned."""
    weight: float = 1.0
    """Of what aligns the domains, once it has risen."""
    ramp_steps: int = 1000
    """Steps in which it rises, as tanh(5 p), p = step / ramp_steps."""
    coupled_width: int = 64
    """Channels of the first map of cogan's generators; 1024 in the paper's."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("source_count", "target_count", "ramp_steps"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "source_rate", 0 < self.source_rate < math.inf, "a positive number")
        for name in ("weight", "weight_decay"):
            require(self, name, 0 <= getattr(self, name) < math.inf, "a number that is not negative")
        require(self, "coupled_width", self.coupled_width >= 8, "at least 8")

    def unread(self, methods: Sequence[str], why: str) -> dict[str, str]:
        """What has no effect where these methods are trained, as `unused` says it."""
        found = {name: why for name, readers in _READERS.items() if not set(readers) & set(methods)}
        if self.protocol == "canonical":
            found |= dict.fromkeys(("source_count", "target_count"), "--protocol canonical takes all images")
        if self.optimiser == "sgd":
            found.pop("ramp_steps", None)
            found["beta1"] = "--optimiser sgd has a momentum of its own"
        return found


@dataclass(frozen=True, kw_only=True)
class AdaptationConfig(Adaptation, Latent, Rate, TrainConfig):
    """One method of domain adaptation; `ganjax.adaptation` puts it together."""

    method: AdaptationMethod = "adda"
    """source_only; gradient reversal; domain confusion; coral and mmd, which compare covariances and kernel means;
    adabn (statistics of the target); mcd (two classifiers); adda on logits, as its code has it, or on features, as its
    text; cogan."""
    source_steps: int = 500
    """Steps of adda's first stage, which learns the source; --steps is of the second, and of all other methods."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "source_steps", self.source_steps >= 1, "at least 1")

    def unused(self) -> dict[str, str]:
        return super().unused() | self.unread((self.method,), f"--method {self.method} goes without it")


# -- groups of generative adversarial networks ------------------------------------------------------------------------

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


@dataclass(frozen=True, kw_only=True)
class Adversarial(Options):
    """What a generator and a discriminator play for, and what the discriminator sees."""

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
    discriminator_turns: int = 1
    """Discriminator steps per generator step, in alternating play."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("discriminator_turns", "penalty_every", "packing", "accumulate"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("penalty_weight", "instance_noise", "orthogonal"):
            require(self, name, 0 <= getattr(self, name) < math.inf, "a number that is not negative")


@dataclass(frozen=True, kw_only=True)
class Conditioning(Conditional):
    """What the networks make of labels."""

    conditioning: Literal["projection", "concatenation", "auxiliary"] = "projection"
    """What the discriminator makes of labels: their inner product with its features, one more channel of the image,
    or a second output that names the class (AC-GAN)."""
    generator_conditioning: Literal["batch_norm", "concatenation"] = "batch_norm"
    """What the generator makes of labels: scales and offsets of BatchNorm, or more entries of z."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("conditioning", "generator_conditioning"):
            told = self.conditional or getattr(self, name) == getattr(Conditioning, name)
            require(self, name, told, f"{getattr(Conditioning, name)} without --conditional: there are no labels")


# The dynamics in which one player's turn follows the other's.
IN_TURN = ("alternating", "lookahead", "unrolled", "history_of_opponents", "against_average")


@dataclass(frozen=True, kw_only=True)
class Play(Options):
    """How two players move."""

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

    def __post_init__(self):
        super().__post_init__()
        require(self, "inner_step", 0 < self.inner_step < math.inf, "a positive number")
        require(self, "clip", 0 <= self.clip < math.inf, "a number that is not negative")
        require(self, "clip", self.dynamics != "competitive" or not self.clip, "0 with --dynamics competitive")
        require(self, "adjust_weight", self.adjust_weight >= 0, "a number that is not negative")


# -- their configurations ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class GanConfig(Ema, Rate, Conditional, Adversarial, Latent, TrainConfig):
    """What every adversarial experiment can be told; both players use Adam."""

    def __post_init__(self):
        super().__post_init__()
        whole = self.batch_size % (self.accumulate * self.packing) == 0
        expected = f"a multiple of --packing {self.packing} times --accumulate {self.accumulate}"
        require(self, "batch_size", whole, expected)
        require(self, "packing", self.packing == 1 or not self.conditional, "1 with --conditional: a pack has no label")


@dataclass(frozen=True, kw_only=True)
class ImageConfig(Precision, Adam, Averaging, Play, Conditioning, GanConfig):
    """What every recipe for images can be told; `ganjax.recipe` puts it together."""

    spectral_norm: Literal["none", "discriminator", "both"] = "none"
    """Whose kernels are divided by their spectral norm."""
    augment: Literal["none", "diffaugment", "ada"] = "none"
    """Augmentation of all that the discriminator sees: DiffAugment, or ADA with its controller."""

    def __post_init__(self):
        super().__post_init__()
        alone = self.discriminator_turns == 1 or self.dynamics in IN_TURN
        require(self, "discriminator_turns", alone, f"1 with --dynamics {self.dynamics}, where all move at once")
        constant = self.dynamics != "competitive" or not self.decay_steps
        require(self, "decay_steps", constant, "0 with --dynamics competitive, whose steps are constant")


@dataclass(frozen=True, kw_only=True)
class DcganConfig(GanConfig):
    """What an adversarial experiment with the networks of DCGAN can be told."""

    width: int = 64
    """Channels next to the image in both networks, doubled at each halving."""
    discriminator_norm: Literal["batch", "none"] = "none"
    """BatchNorm in the discriminator, or none, as every penalty on single examples needs."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "width", self.width >= 1, "at least 1")
        needed = "none with --penalty: BatchNorm makes a logit depend on the batch, the penalty is on each example"
        require(self, "discriminator_norm", self.penalty == "none" or self.discriminator_norm == "none", needed)


@dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig(DcganConfig, ImageConfig):
    """What every recipe with the networks of DCGAN can be told."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "remat", not self.remat, "left out: these networks have no blocks to compute again")
