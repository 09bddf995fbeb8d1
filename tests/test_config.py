"""Configurations: what the command line and a run directory may say, and what is refused before anything is written."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

import pytest

from ganjax.config import as_record, check_name, check_numbers, from_record, parse
from ganjax.errors import ConfigError
from ganjax.options import TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    rate: float = 0.5
    word: Literal["a", "b"] = "a"
    flag: bool = False
    sizes: tuple[int, ...] = (1, 2)
    start: tuple[float, float] = (1.0, 2.0)
    anything: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    config: Config


def test_a_record_comes_back_as_it_was():
    config = Config(steps=7, rate=2.0, word="b", flag=True, sizes=(), start=(0.0, -1.0), data_dir="x")
    assert from_record(Config(), as_record(config)) == config
    assert from_record(config, {}) == config
    assert from_record(Config(), {"rate": 2, "start": [1, 2]}) == Config(rate=2, start=(1, 2))  # JSON may drop the ".0"


WRONG = {
    "text for a number": ({"steps": "many"}, "--steps is 'many', expected int"),
    "fraction for a count": ({"steps": 1.5}, "--steps is '1.5', expected int"),
    "flag for a count": ({"steps": True}, "--steps is 'True', expected int"),
    "number for a text": ({"data": 5}, "--data is '5', expected str"),
    "nothing for a text": ({"data": None}, "--data is 'None', expected str"),
    "list for a text": ({"data_dir": ["a"]}, r"--data-dir is \"\('a',\)\", expected str | None"),
    "number for a flag": ({"flag": 1}, "--flag is '1', expected bool"),
    "unknown word": ({"word": "c"}, "--word is 'c', expected typing.Literal"),
    "object for a word": ({"word": {}}, "--word is '{}', expected typing.Literal"),
    "text in numbers": ({"sizes": [1, "2"]}, "--sizes is .*, expected tuple"),
    "a number alone": ({"sizes": 3}, "--sizes is '3', expected tuple"),
    "three of two": ({"start": [1.0, 2.0, 3.0]}, "--start is .*, expected tuple"),
    "out of range": ({"steps": 0}, "--steps is 0, expected at least 1"),
    "not finite": ({"rate": math.nan}, "--rate is nan, expected a finite number"),
    "unknown": ({"stesp": 1}, r"unknown fields \['stesp'\]; it was written by another version"),
}


@pytest.mark.parametrize("record, sentence", WRONG.values(), ids=WRONG)
def test_a_record_of_another_kind_is_refused(record, sentence):
    with pytest.raises(ConfigError, match=f"^config.json.*{sentence}"):
        from_record(Config(), record)


@pytest.mark.parametrize(
    "fields, sentence",
    [
        ({"rate": math.inf}, "--rate is inf, expected a finite number"),
        ({"start": (0.0, math.nan)}, r"--start is \(0.0, nan\), expected a finite number"),
        ({"sizes": (1, 2**31)}, r"--sizes is \(1, 2147483648\), expected at most 2147483647"),
        ({"steps": 10**300}, "--steps is 10{199}, expected at most 2147483647"),
    ],
)
def test_numbers_that_nothing_computes_with(fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_numbers(Command(config=Config(**fields)))
    check_numbers(Command(config=Config(seed=2**32 - 1, sizes=(-1, 2**31 - 1))))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    word: Literal["a", "b"] = "a"
    rate: float = 0.5

    def unused(self):
        return {"rate": "only b has a rate"} if self.word == "a" else {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    config: Choice = Choice(rate=0.1)


def test_an_option_without_effect_is_refused_where_it_was_set():
    """By the defaults of the command, which an experiment and its smoke size say: these are no mistake."""

    def told(*words):
        return parse({"train": Chosen}, ["train", *words], prog="x.py", description="").config

    assert told() == told("--rate", "0.1") == Choice(rate=0.1) and told("--word", "b", "--rate", "3").rate == 3
    sentence = "^--rate is 0.5, expected 0.1, its default, for it has no effect: only b has a rate$"
    with pytest.raises(ConfigError, match=sentence):
        told("--rate", "0.5")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "a\0", "a\n", "a b", "\u00e9", "x" * 81])
def test_names_that_lead_elsewhere(name):
    with pytest.raises(ConfigError, match=r"^the average is called .*, expected 1 to 80 letters"):
        check_name("average", name)


@pytest.mark.parametrize("name", ["ema", "fid_inception_v3", "f_alpha_0.5", "-", "x" * 80])
def test_names_that_do_not(name):
    check_name("average", name)


@pytest.mark.parametrize(
    "text", ["__import__('os').remove", "open('made', 'w')", "!!python/object:os.system x", "$(x)"]
)
def test_values_are_never_evaluated(text, tmp_path, monkeypatch):
    """A number that is none is refused, a text stays what it is."""
    monkeypatch.chdir(tmp_path)
    commands = {"train": Config, "show": Config}
    for option in ("--steps", "--rate", "--sizes", "--start", "--word"):
        with pytest.raises(ConfigError):
            parse(commands, ["train", option, text], prog="x.py", description="")
    assert parse(commands, ["train", "--data", text], prog="x.py", description="").data == text
    assert not list(tmp_path.iterdir())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paths:
    folder: Path
    several: tuple[Path, ...] = ()
    perhaps: Path | None = None
    word: str = "~/word"


def test_paths_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    found = parse({"a": Paths}, ["a", "--folder=~/x", "--several", "~", "y/~"], prog="p", description="")
    assert found == Paths(folder=Path("/home/me/x"), several=(Path("/home/me"), Path("y/~")))
    found = parse({"a": Paths}, ["a", "--folder", "x", "--perhaps=~"], prog="p", description="")
    assert found.perhaps == Path("/home/me")
