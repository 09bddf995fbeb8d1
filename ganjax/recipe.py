"""What the recipes for images share: from two networks and an `ImageConfig` to a `Setup`."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from ganjax.augment import AUGMENTATIONS, Augmentation
from ganjax.core import Array, Dynamics
from ganjax.data import Dataset
from ganjax.dynamics import (
    Average,
    against_average,
    alternating,
    clipped,
    competitive,
    consensus,
    ema,
    extragradient,
    gradient_norm,
    historical_averaging,
    history_of_opponents,
    lola,
    lookahead,
    opponent_lookahead,
    optimistic,
    past_extragradient,
    runge_kutta,
    simultaneous,
    symplectic,
    tail_average,
    unrolled,
)
from ganjax.dynamics.rule import Optimizers
from ganjax.games import Sight, Term, gan, normal_prior, sampler
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.terms import Terms
from ganjax.layers.conditioning import ConcatenatedImage, ConcatenatedLatent
from ganjax.losses import auxiliary_classifier, named
from ganjax.models import dcgan
from ganjax.options import IN_TURN, Adam, Averaging, ConvolutionalConfig, GanConfig, ImageConfig, Precision
from ganjax.penalties import PENALTIES, orthogonal
from ganjax.spectral import spectral_norm
from ganjax.training import Averaged, Setup, Stream

Make = Callable[..., nn.Module]  # a module with all but (num_classes, dtype, name) given, and heads for discriminators


def build(
    config: ImageConfig,
    dataset: Dataset,
    axis_name: str | None,
    *,
    generator: Make,
    discriminator: Make,
    optimizers: Optimizers | None = None,
    penalties: Mapping[str, Term] = {},
    augment: Augmentation | None = None,
) -> Setup:
    """The game of two networks as the configuration says, and how it is played.

    Args:
        config: loss, penalty, conditioning, dynamics, averages, precision.
        dataset: its images and classes.
        axis_name: the mapped axis that shares the batch, if any.
        generator: called with `num_classes` and `dtype`.
        discriminator: called with `num_classes` and `dtype`, with `heads` for an auxiliary classifier.
        optimizers: of both players, instead of Adam as the configuration says.
        penalties: further terms of the discriminator, keyed by name.
        augment: instead of the augmentation that the configuration names.
    """
    classes = (dataset.classes or 0) if config.conditional else 0
    prior = normal_prior(config.latent)
    g = conditional_generator(config, generator, classes)
    d, auxiliary = conditional_discriminator(config, discriminator, classes)
    kept, spectral = averages(config), {}
    given = ("data", "class") if config.conditional else None
    if config.spectral_norm != "none":
        spectral[DISCRIMINATOR] = spectral_norm()
    if config.spectral_norm == "both":  # without the tables of conditional BatchNorm, which begin at zero
        spectral[GENERATOR] = spectral_norm(select=_is_kernel)
    if augment is None and config.augment != "none":
        augment = AUGMENTATIONS[config.augment]
    return Setup(
        game=gan(
            g,
            d,
            named(config.loss, axis_name),
            prior=prior,
            spectral=spectral,
            one_pass=config.dynamics in IN_TURN,
            axis_name=axis_name,
            **options(config, auxiliary=auxiliary, penalties=penalties, augment=augment),
        ),
        dynamics=dynamics(config, axis_name, optimizers),
        streams={"data": Stream(dataset, config.batch_size, y="class" if config.conditional else None)},
        averages={} if kept is None else {config.average: Averaged(GENERATOR, kept)},
        samplers={"prior": sampler(g, prior, spectral=spectral.get(GENERATOR), given=given)},
    )


def options(
    config: GanConfig,
    *,
    auxiliary: Terms = MappingProxyType({}),
    penalties: Mapping[str, Term] = {},
    augment: Augmentation | None = None,
) -> dict[str, Any]:
    """What a command line adds to the loss, as `gan` takes it: terms, sight and micro-batches.

    Args:
        config: penalty, orthogonal regularisation, packing, instance noise, accumulation.
        auxiliary: terms of either player before these.
        penalties: of the discriminator beside the one of the configuration, which is called "penalty".
        augment: of what the discriminator sees.
    """
    terms: dict[str, dict[str, Term]] = {p: dict(auxiliary.get(p, {})) for p in (DISCRIMINATOR, GENERATOR)}
    if config.penalty != "none":
        penalty = PENALTIES[config.penalty]()
        terms[DISCRIMINATOR]["penalty"] = Term(penalty, config.penalty_weight, config.penalty_every)
    terms[DISCRIMINATOR] |= penalties
    for player, own in terms.items():
        if config.orthogonal:
            own["orthogonal"] = Term(orthogonal(player), config.orthogonal)
    sight = Sight(instance_noise=config.instance_noise, packing=config.packing, augment=augment)
    return {"terms": terms, "sight": sight, "accumulate": config.accumulate}


def convolutional(config: ConvolutionalConfig, dataset: Dataset, axis_name: str | None) -> Setup:
    """The recipe with the networks of DCGAN."""
    dcgan.check_image_shape(dataset.shape)
    return build(
        config,
        dataset,
        axis_name,
        generator=partial(
            dcgan.Generator, dataset.shape, width=config.width, conditioning="batch_norm", axis_name=axis_name
        ),
        discriminator=partial(
            dcgan.Discriminator,
            width=config.width,
            batch_norm=config.discriminator_norm == "batch",
            axis_name=axis_name,
        ),
    )


def _is_kernel(path: tuple[str, ...], leaf: Array) -> bool:
    return path[-1] == "kernel" and leaf.ndim >= 2


def dtype_of(config: Precision) -> Any:
    """What the networks compute in; None for float32, which leaves float64 to those who enable it."""
    return jnp.bfloat16 if config.precision == "bfloat16" else None


def conditional_generator(config: ImageConfig, make: Make, classes: int) -> nn.Module:
    """The generator with its conditioning; one that knows no BatchNorm tables concatenates by itself."""
    dtype = dtype_of(config)
    if classes and config.generator_conditioning == "concatenation":
        return ConcatenatedLatent(partial(make, num_classes=0), classes, dtype=dtype)
    return make(num_classes=classes, dtype=dtype)


def conditional_discriminator(config: ImageConfig, make: Make, classes: int) -> tuple[nn.Module, Terms]:
    """The discriminator with its conditioning, and the terms that this adds to both players' costs."""
    dtype = dtype_of(config)
    if classes and config.conditioning == "auxiliary":
        sides = {DISCRIMINATOR: ("real", "fake"), GENERATOR: ("fake",)}
        terms = {player: {"auxiliary": Term(auxiliary_classifier(*of))} for player, of in sides.items()}
        return make(num_classes=0, heads={"class": classes}, dtype=dtype), terms
    if classes and config.conditioning == "concatenation":
        alone = getattr(make(num_classes=0), "by_example", False)
        return ConcatenatedImage(partial(make, num_classes=0), classes, alone, dtype), {}
    return make(num_classes=classes, dtype=dtype), {}


def averages(config: Averaging) -> Average | None:
    """The average of the generator that the configuration asks for."""
    kinds: Mapping[str, Callable[[], Average | None]] = {
        "ema": lambda: ema(config.ema_decay, warmup=True),
        "tail": lambda: tail_average(config.average_start),
        "none": lambda: None,
    }
    return kinds[config.average]()


def learning_rate(config: Adam, hold: int = 0) -> optax.Schedule | float:
    """The rate of the generator: constant, or falling to zero along a line, after so many steps; the last one moves."""
    if not config.decay_steps:
        return config.learning_rate
    return optax.linear_schedule(config.learning_rate, 0.0, config.decay_steps - hold, hold)


def adam_of(config: Adam, hold: int = 0) -> optax.GradientTransformation:
    """Adam of a player who moves once a step; arguments as of `learning_rate`."""
    return optax.adam(learning_rate(config, hold), b1=config.beta1, b2=config.beta2)


def adam(config: ImageConfig) -> Optimizers:
    """Adam of both players, as the configuration has them move."""
    return adam_in_turns(config, config.discriminator_turns, updates_of_a_turn(config))


def adam_in_turns(config: Adam, turns: int, updates: int = 1) -> Optimizers:
    """Adam of both players. A schedule counts steps, of which each takes so many updates of a player.

    Args:
        config: step size, decays, schedule.
        turns: of the discriminator in a step; the generator has one.
        updates: in which an optimiser's count moves in a turn.
    """
    rate, optimizers = learning_rate(config), {}
    for player, own_turns in ((DISCRIMINATOR, turns), (GENERATOR, 1)):
        own = partial(_of_turns, rate, own_turns * updates) if callable(rate) else rate
        optimizers[player] = optax.adam(own, b1=config.beta1, b2=config.beta2)
    return optimizers


def updates_of_a_turn(config: ImageConfig) -> int:
    """How often an optimiser's count moves in a turn of its player."""
    return 2 if config.dynamics == "extragradient" else 1


def dynamics(config: ImageConfig, axis_name: str | None, optimizers: Optimizers | None = None) -> Dynamics:
    """How the players move, by Adam or by these optimisers."""
    optimizers = adam(config) if optimizers is None else optimizers
    if config.clip:
        optimizers = {**optimizers, DISCRIMINATOR: clipped(optimizers[DISCRIMINATOR], config.clip)}
    turns = {DISCRIMINATOR: config.discriminator_turns}
    weight, step = config.adjust_weight, config.inner_step
    adjustments = {
        "none": lambda: None,
        "consensus": lambda: consensus(weight),
        "symplectic": lambda: symplectic(weight),
        "gradient_norm": lambda: gradient_norm(weight),
        "historical_averaging": lambda: historical_averaging(weight),
    }
    how: dict[str, Any] = {"adjust": adjustments[config.adjust](), "axis_name": axis_name}
    alternate = partial(alternating, optimizers, turns=turns, **how)
    rules: Mapping[str, Callable[[], Dynamics]] = {
        "alternating": alternate,
        "simultaneous": lambda: simultaneous(optimizers, **how),
        "extragradient": lambda: extragradient(optimizers, **how),
        "past_extragradient": lambda: past_extragradient(optimizers, **how),
        "optimistic": lambda: optimistic(optimizers, **how),
        "runge_kutta": lambda: runge_kutta(optimizers, step=step, **how),
        "lookahead": lambda: lookahead(alternate(), k=5, alpha=0.5),
        "unrolled": lambda: unrolled(alternate(), player=GENERATOR, steps=5, step=step, axis_name=axis_name),
        "opponent_lookahead": lambda: opponent_lookahead(
            simultaneous(optimizers, **how), step=step, axis_name=axis_name
        ),
        "lola": lambda: lola(simultaneous(optimizers, **how), step=step, axis_name=axis_name),
        "history_of_opponents": lambda: history_of_opponents(alternate(), size=5, every=100),
        "against_average": lambda: against_average(alternate()),
        "competitive": lambda: competitive(step, tolerance=1e-3, iterations=5, **how),
    }
    return rules[config.dynamics]()


def _of_turns(rate: Callable[[Any], Any], turns: int, count: Any) -> Any:
    """A schedule over steps at a count of updates, of which there are `turns` in a step."""
    return rate(count // turns)
