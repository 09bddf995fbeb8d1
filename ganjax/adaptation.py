"""Domain adaptation from two data sets and a configuration to what is trained: every method with the same networks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax

from ganjax.alignment import reversal_weight
from ganjax.core import Array, Batch, Key, Measure, Weights
from ganjax.data import Dataset, shifted
from ganjax.data.outline import StandIn
from ganjax.dynamics import alternating, simultaneous
from ganjax.games import adaptation, cogan
from ganjax.games.adaptation import (
    CLASSIFIER,
    CLASSIFIERS,
    DOMAINS,
    ENCODER,
    SOURCE,
    TARGET,
    TARGET_CLASSIFIER,
    Judge,
    Sees,
)
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.metrics.domains import proxy_a_distance
from ganjax.models import lenet
from ganjax.options import AdaptationConfig
from ganjax.training import From, Setup, Stream

SOURCE_STAGE, STAGE = "source_only", "adapt"  # of adda
ADAPTING, BOTH = "adapting", "domains"  # streams that nobody is trained on
COMPARED = 1000  # images of each domain whose features are told apart


class Plan(NamedTuple):
    """What a method trains, and how to ask what came of it."""

    stages: dict[str, Setup]  # in their order; one alone is called ""
    judge: Judge  # of the last


def plan(config: AdaptationConfig, source: Dataset, target: Dataset, axis_name: str | None = None) -> Plan:
    """What the method of the configuration trains.

    Streams are "source", with classes, and "target", without; "adapting" holds the target's training images once more,
    as what is measured, and "domains" images of both. A run is judged by the accuracy on the source's held-out images:
    that on the target's reads what training withholds.

    Args:
        config: method, protocol, rates.
        source: images with classes.
        target: images.
        axis_name: the mapped axis that shares the batch, if any.

    Raises:
        DataError: the data do not fit each other or the protocol.
    """
    whole = not isinstance(source, StandIn)  # which has two images in the place of all
    source, target = shifted.paired(source, target, scaling=config.scaling, colour=config.colour)
    if config.protocol == "transductive" and whole:
        source, target = shifted.sampled(source, config.source_count), shifted.sampled(target, config.target_count)
    return METHODS[config.method](_Made(config, source, target, axis_name))


@dataclass(frozen=True)
class _Made:
    """What all methods are made of."""

    config: AdaptationConfig
    source: Dataset
    target: Dataset
    axis_name: str | None

    @property
    def classes(self) -> int:
        return self.source.classes or 0

    def encoder(self, *, batch_norm: bool = False) -> nn.Module:
        own: dict[str, Any] = {} if self.config.network == "lenet" else {"features": None, "widths": (32, 48)}
        return lenet.Encoder(axis_name=self.axis_name, batch_norm=batch_norm or self.config.batch_norm, **own)

    def classifier(self) -> nn.Module:
        return nn.Dense(self.classes) if self.config.network == "lenet" else lenet.Classifier(self.classes)

    def optimiser(self, rate: float, decay: float = 0.0) -> optax.GradientTransformation:
        if self.config.optimiser == "adam":
            made = optax.adam(rate, b1=self.config.beta1)
        else:
            made = optax.sgd(annealed(rate, self.config.ramp_steps), momentum=0.9)
        return optax.chain(optax.add_decayed_weights(decay), made) if decay else made

    def setup(self, judged: Judge, *, target: bool = True, **what: Any) -> Setup:
        """The setup of a game of these streams; `target` is whether players see it."""
        size, own = self.config.batch_size, self.target
        again = replace(own, x_test=own.x_train, y_test=own.y_train, name=f"{own.name}, which adapted")
        streams = {
            SOURCE: Stream(self.source, size, y="class"),
            TARGET: Stream(own, size if target else 0),
            ADAPTING: Stream(again, 0),
            BOTH: Stream(shifted.both(self.source, own, COMPARED), 0),
        }
        return Setup(streams=streams, measures=_measures(judged, streams), score="source_accuracy", **what)


def _measures(judged: Judge, streams: Mapping[str, Stream]) -> dict[str, Measure]:
    """Accuracies of the domains that have labels, and the A-distance of the features."""
    asked = {"source_accuracy": (SOURCE, SOURCE), "accuracy": (TARGET, TARGET), "adapting_accuracy": (TARGET, ADAPTING)}
    found = {
        name: adaptation.accuracy(judged, domain, stream)
        for name, (domain, stream) in asked.items()
        if _is_labelled(streams[stream].dataset)
    }
    return {**found, "a_distance": a_distance(judged, BOTH)}


def _is_labelled(data: Dataset) -> bool:
    return data.y_train is not None and (data.x_test is None or data.y_test is not None)


def a_distance(judged: Judge, stream: str) -> Measure:
    """`metrics.proxy_a_distance` of the features that each domain's encoder makes, of a stream of both domains."""

    def values(weights: Weights, batch: Batch, key: Key) -> dict[str, Array]:
        del key
        of_source, of_target = (judged.said(weights, batch.x, domain)[0] for domain in DOMAINS)
        return {"features": jnp.where(batch.y[:, None] == 0, of_source, of_target), "domain": batch.y}

    def summary(found: Mapping[str, np.ndarray]) -> float:
        return proxy_a_distance(*(found["features"][found["domain"] == domain] for domain in (0, 1)))

    return Measure(values, judged.players, stream, "lower", y="class", summary=summary)


def annealed(rate: float, steps: int) -> optax.Schedule:
    """`rate / (1 + 10 p)^.75`, p = min(step / steps, 1) (Ganin et al. 2016, section 5.2.2)."""
    return lambda step: rate / (1 + 10 * jnp.minimum(step / steps, 1)) ** 0.75


def _source_only(made: _Made) -> Plan:
    encoder, classifier = made.encoder(), made.classifier()
    judged = adaptation.judge(encoder, classifier)
    own = made.optimiser(made.config.source_rate, made.config.weight_decay)
    setup = made.setup(
        judged,
        target=False,
        game=adaptation.supervised(encoder, classifier, axis_name=made.axis_name),
        dynamics=simultaneous({ENCODER: own, CLASSIFIER: own}, axis_name=made.axis_name),
    )
    return Plan({"": setup}, judged)


def _aligned(alignment: adaptation.Alignment, sees: Sees = "features") -> Callable[[_Made], Plan]:
    def build(made: _Made) -> Plan:
        encoder, classifier = made.encoder(batch_norm=alignment == "none"), made.classifier()
        critic = lenet.Critic((100,)) if alignment in adaptation.ADVERSARIAL else None  # that of Ganin et al. (2016)
        game = adaptation.aligned(
            encoder,
            classifier,
            alignment,
            critic=critic,
            sees=sees,
            weight=reversal_weight(made.config.ramp_steps, made.config.weight),
            axis_name=made.axis_name,
        )
        optimisers = dict.fromkeys(game.players, made.optimiser(made.config.source_rate))
        judged = adaptation.judge(encoder, classifier)
        setup = made.setup(judged, game=game, dynamics=simultaneous(optimisers, axis_name=made.axis_name))
        return Plan({"": setup}, judged)

    return build


def _mcd(made: _Made) -> Plan:
    encoder, classifiers = made.encoder(), lenet.ClassifierPair(made.classes)
    judged = adaptation.judge(encoder, classifiers, adaptation.JOINT_PAIR)
    optimisers = dict.fromkeys((ENCODER, CLASSIFIERS), made.optimiser(made.config.learning_rate))
    setup = made.setup(
        judged,
        game=adaptation.mcd(encoder, classifiers, axis_name=made.axis_name),
        dynamics=alternating(optimisers, order=adaptation.ORDER_OF_MCD, fresh=False, axis_name=made.axis_name),
    )
    return Plan({"": setup}, judged)


def _adda(sees: Sees) -> Callable[[_Made], Plan]:
    def build(made: _Made) -> Plan:
        encoder, classifier = made.encoder(), made.classifier()
        game = adaptation.adda(encoder, classifier, lenet.Critic(), sees=sees)
        optimisers = dict.fromkeys(game.players, made.optimiser(made.config.learning_rate))
        judged = adaptation.judge(encoder, classifier, adaptation.owners_of(sees))
        setup = made.setup(
            judged, game=game, dynamics=simultaneous(optimisers, axis_name=made.axis_name), start=begun(sees)
        )
        first = _source_only(made).stages[""]._replace(steps=made.config.source_steps)
        return Plan({SOURCE_STAGE: first, STAGE: setup}, judged)

    return build


def begun(sees: Sees) -> dict[str, From]:
    """Who of `adda` begins with whom of its first stage: all but the critic."""
    start = dict.fromkeys(DOMAINS, ENCODER) | {CLASSIFIER: CLASSIFIER}
    start |= {TARGET_CLASSIFIER: CLASSIFIER} if sees == "logits" else {}
    return {player: From(SOURCE_STAGE, of) for player, of in start.items()}


def _cogan(made: _Made) -> Plan:
    generator = lenet.GeneratorPair(made.source.shape[-1], made.config.coupled_width, axis_name=made.axis_name)
    discriminator = lenet.DiscriminatorPair(made.classes)
    judged = cogan.judge(discriminator)
    optimisers = dict.fromkeys((DISCRIMINATOR, GENERATOR), made.optimiser(made.config.learning_rate, 5e-4))
    setup = made.setup(
        judged,
        game=cogan.cogan(generator, discriminator, size=made.config.latent),
        dynamics=alternating(optimisers, fresh=False, axis_name=made.axis_name),
        samplers=cogan.samplers(generator, size=made.config.latent),
    )
    return Plan({"": setup}, judged)


# By the name of the option; all see the target's images, but for the first, and nobody its labels.
METHODS: Mapping[str, Callable[[_Made], Plan]] = {
    "source_only": _source_only,
    "reversal": _aligned("reversal"),
    "confusion": _aligned("confusion"),
    "coral": _aligned("coral", "logits"),
    "mmd": _aligned("mmd"),
    "adabn": _aligned("none"),
    "mcd": _mcd,
    "adda": _adda("logits"),
    "adda_features": _adda("features"),
    "cogan": _cogan,
}
