"""Any command line and any config.json ends in a configuration or in one sentence."""

import dataclasses
import importlib.util
import json
import sys
import typing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ganjax.config import as_record, from_record, option, parse
from ganjax.errors import ConfigError
from ganjax.options import GanConfig
from ganjax.rundir import read_run

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.py"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(GanConfig):
    sizes: tuple[int, ...] = (1, 2)
    start: tuple[float, float] = (1.0, 2.0)


COMMANDS = {"train": Config, "show": GanConfig}
OPTIONS = st.sampled_from([option(field.name) for field in dataclasses.fields(Config)])
TEXT = st.text(st.characters(exclude_characters="\0"), max_size=12)  # no system passes a NUL on
VALUES = st.one_of(st.integers().map(str), st.floats().map(str), st.sampled_from(["hinge", "none", "digits"]), TEXT)
WORDS = st.one_of(st.sampled_from(["train", "show"]), OPTIONS, VALUES, st.tuples(OPTIONS, VALUES).map("=".join))
PAIRS = st.lists(st.tuples(OPTIONS, VALUES), max_size=3).map(lambda pairs: ["train", *(w for p in pairs for w in p)])


@given(st.one_of(st.lists(WORDS, max_size=6), PAIRS))
@example(["train", "--data", "a\nb\x1b[31m\u202e"])
@example(["train", "--steps", "[/red]\n╭─╮\n│x│"])
@example(["train", "--sizes", "1", "--sizes", "9" * 5000])
def test_any_arguments_end_in_a_config_or_one_sentence(args):
    if {"-h", "--help"} & set(args):
        return  # prints and exits, see tests/test_command_line.py
    try:
        config = parse(COMMANDS, args, prog="x.py", description="")
    except ConfigError as error:
        assert str(error).isprintable() and str(error) and len(str(error)) < 3000
    else:
        assert isinstance(config, GanConfig)
        assert from_record(type(config)(), json.loads(json.dumps(as_record(config)))) == config


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = st.sampled_from([field.name for field in dataclasses.fields(Config)])


@given(st.dictionaries(FIELDS, JSON, max_size=3))
def test_any_record_ends_in_a_config_that_survives_its_own_record(record):
    try:
        config = from_record(Config(), record)
    except ConfigError as error:
        assert str(error).startswith("config.json") and str(error).isprintable()
    else:
        assert from_record(Config(), as_record(config)) == config
        for field in dataclasses.fields(config):
            assert type(getattr(config, field.name)) in (int, float, bool, str, tuple, type(None))


RUN = st.fixed_dictionaries(
    {"experiment": st.text(max_size=5), "config": st.dictionaries(FIELDS, JSON, max_size=2)},
    optional={"data_digest": st.text("0123456789abcdef", max_size=64), "ganjax": JSON},
)
CONTENT = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(str.encode),
    st.one_of(JSON, RUN).map(lambda value: json.dumps(value).encode()),
    st.tuples(RUN.map(lambda value: json.dumps(value).encode()), st.integers(0, 60)).map(
        lambda both: both[0][: both[1]]
    ),
)


@given(CONTENT)
def test_any_config_json_is_a_run_or_one_sentence(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    try:
        run = read_run(tmp_path)
    except ConfigError as error:
        assert str(tmp_path) in str(error) and str(error).isprintable()
    else:
        assert isinstance(run["experiment"], str) and isinstance(run["config"], dict)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_reads_its_record_and_refuses_numbers_that_it_cannot_compute_with(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.EXPERIMENT.config
    assert from_record(config, as_record(config)) == config
    bad = {float: "NaN Infinity", int: f"{-(2**40)} {2**40}", bool: "2", str: "3"}
    hints = typing.get_type_hints(type(config))
    for name, value in dataclasses.asdict(config).items():
        for number in bad[type(value)].split() if type(value) in bad else ["[NaN, NaN]", '[[["x"]]]']:
            with pytest.raises(ConfigError, match=r"^config.json"):
                from_record(config, {name: json.loads(number)})
                pytest.fail(f"{path.stem}: {option(name)} ({hints[name]}) takes {number}")
