"""Groups of options: each checks its own fields whatever it is combined with, and none declares another's field."""

import importlib.util
import inspect
import math
import sys
from collections import Counter
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path

import pytest

from ganjax import options
from ganjax.config import as_record, from_record
from ganjax.errors import ConfigError
from ganjax.options import (
    Adam,
    Adaptation,
    AdaptationConfig,
    Adversarial,
    Averaging,
    Conditional,
    Conditioning,
    ConvolutionalConfig,
    DcganConfig,
    Ema,
    GanConfig,
    ImageConfig,
    Latent,
    Options,
    Play,
    Precision,
    Rate,
    TrainConfig,
)

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Autoencoder(Precision, Averaging, Adam, Latent, TrainConfig):
    """What one player needs."""


@dataclass(frozen=True, kw_only=True)
class Translation(Averaging, Adam, TrainConfig):
    """What four players need, whose samples are made from data."""


@dataclass(frozen=True, kw_only=True)
class Labelled(Conditional, Rate, TrainConfig):
    """What a likelihood with labels needs."""


WRONG = {
    TrainConfig: [
        *({name: 0} for name in ("steps", "log_every", "checkpoint_every", "chunk", "workers")),
        *(
            {"batch_size": 0},
            {"sample_every": -1},
            {"judge_every": -1},
            {"resident_megabytes": -1},
            {"seed": -1},
            {"seed": 2**32},
        ),
    ],
    Latent: [{"latent": 0}],
    Rate: [{"learning_rate": 0.0}, {"learning_rate": math.inf}, {"beta1": 1.0}, {"beta1": -0.1}],
    Adam: [{"beta2": 1.0}, {"decay_steps": -1}, {"steps": 11, "decay_steps": 10}],
    Ema: [{"ema_decay": 1.0}, {"ema_decay": -0.1}],
    Averaging: [{"average_start": -1}],
    Adversarial: [
        *({name: 0} for name in ("discriminator_turns", "penalty_every", "packing", "accumulate")),
        *({name: bad} for name in ("penalty_weight", "instance_noise", "orthogonal") for bad in (-1.0, math.inf)),
    ],
    Conditioning: [{"conditioning": "auxiliary"}, {"generator_conditioning": "concatenation"}],
    Play: [{"inner_step": 0.0}, {"clip": -1.0}, {"clip": 0.1, "dynamics": "competitive"}, {"adjust_weight": -1.0}],
    GanConfig: [{"batch_size": 5, "accumulate": 2}, {"packing": 2, "conditional": True}],
    ImageConfig: [
        {"discriminator_turns": 2, "dynamics": "simultaneous"},
        {"decay_steps": 10, "steps": 10, "dynamics": "competitive"},
    ],
    DcganConfig: [{"width": 0}, {"penalty": "r1", "discriminator_norm": "batch"}],
    ConvolutionalConfig: [{"remat": True}],
    Adaptation: [
        *({name: 0} for name in ("source_count", "target_count", "ramp_steps")),
        *({name: -1.0} for name in ("weight", "weight_decay", "source_rate")),
        {"coupled_width": 7},
    ],
    AdaptationConfig: [{"source_steps": 0}],
}
MADE = [Autoencoder, Translation, Labelled, GanConfig, ImageConfig, DcganConfig, ConvolutionalConfig, AdaptationConfig]


def _experiments():
    for path in sorted((ROOT / "experiments").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if module.EXPERIMENT.build:
            yield module.EXPERIMENT


TRAINING = list(_experiments())


def test_every_group_that_checks_has_a_wrong_value_here():
    groups = {cls for _, cls in inspect.getmembers(options, inspect.isclass) if issubclass(cls, Options)} - {Options}
    assert {group for group in groups if "__post_init__" in vars(group)} == set(WRONG)


@pytest.mark.parametrize("config", MADE, ids=lambda config: config.__name__)
def test_every_group_of_a_configuration_checks_its_fields(config):
    assert from_record(config(), as_record(config())) == config()
    for wrong in (wrong for group in WRONG if issubclass(config, group) for wrong in WRONG[group]):
        with pytest.raises(ConfigError, match=f"^--({'|'.join(wrong).replace('_', '-')}) is .*, expected "):
            config(**wrong)
            pytest.fail(f"{config.__name__} takes {wrong}")


def test_an_average_has_options_of_its_own_kind():
    for kind, unread in (("ema", {"average_start"}), ("tail", {"ema_decay"}), ("none", {"average_start", "ema_decay"})):
        assert set(Autoencoder(average=kind).unused()) == unread


@pytest.mark.parametrize("config", MADE, ids=lambda config: config.__name__)
def test_what_is_said_to_have_no_effect_is_an_option(config):
    assert set(config().unused()) <= {field.name for field in fields(config)}


def test_one_player_has_no_options_of_two():
    adversarial = {field.name for group in (Adversarial, Play, Conditioning) for field in fields(group)}
    for config in (Autoencoder, Translation):
        assert not adversarial & {field.name for field in fields(config)}


@pytest.mark.parametrize("experiment", TRAINING, ids=lambda experiment: experiment.name)
def test_an_experiment_checks_what_its_groups_check_and_declares_no_field_again(experiment):
    config = type(experiment.config)
    declared = Counter(name for cls in config.__mro__ if is_dataclass(cls) for name in inspect.get_annotations(cls))
    assert max(declared.values()) == 1, [name for name, count in declared.items() if count > 1]
    assert set(declared) == {field.name for field in fields(config)}
    for name in (field.name for field in fields(options.Schedule)):
        with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} is -1, expected at least"):
            replace(experiment.config, **{name: -1})
