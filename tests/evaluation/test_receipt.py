"""Records of scores: read back as written, refused when damaged, compared only by one protocol."""

import dataclasses
import json
import math
import re

import pytest

from ganjax.errors import ConfigError
from ganjax.evaluation import receipt as module
from ganjax.evaluation.receipt import (
    MUST_AGREE,
    OUGHT_TO_AGREE,
    Receipt,
    Record,
    Score,
    compare,
    read,
    score_path,
    write,
)

RECEIPT = Receipt(
    extractor="classifier",
    extractor_digest="e" * 64,
    count=1000,
    reference="train",
    reference_count=900,
    resize="none",
    weights="ema",
    batch_norm="running statistics",
    seed=0,
    ganjax="0.1.0",
    jax="0.10.2",
    config_digest="c" * 64,
    data_digest="d" * 64,
    device="cpu",
    created="2025-01-01T00:00:00+00:00",
)
SCORES = {
    "frechet_classifier": Score(value=12.5, floor=3.25, held_out=4.0, better="lower"),
    "modes": Score(value=9.0, floor=10.0, held_out=None, better="higher", note="of 10"),
}
RECORD = Record(300, "ema", "last", SCORES, RECEIPT)
MAY_DIFFER = ("seed", "config_digest", "created")


def _written(folder, name, **changes):
    """A record whose receipt has these changes."""
    write(folder / name, RECORD._replace(receipt=dataclasses.replace(RECEIPT, **changes)))
    return folder / name


def _other(field):
    value = getattr(RECEIPT, field)
    return value + 1 if isinstance(value, int) else f"other {value}"


def test_what_is_written_is_read(tmp_path):
    path = module.score_path(tmp_path, RECORD)
    write(path, RECORD)
    assert read(path) == RECORD and path.parent == tmp_path / "scores"
    assert re.fullmatch("00000300-ema-classifier-1000-seed0-[0-9a-f]{8}.json", path.name)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    content = json.loads(path.read_text())
    assert content.keys() == {"step", "weights", "which", "metrics", "receipt"}
    assert content["metrics"]["modes"] == {
        "value": 9.0, "floor": 10.0, "held_out": None, "better": "higher", "note": "of 10"
    }  # fmt: skip


def test_what_is_not_finite_becomes_null(tmp_path):
    write(tmp_path / "a", RECORD._replace(metrics={"m": dataclasses.replace(SCORES["modes"], value=float("nan"))}))
    assert json.loads((tmp_path / "a").read_text())["metrics"]["m"]["value"] is None
    assert math.isnan(read(tmp_path / "a").metrics["m"].value)


DAMAGE = {
    "no JSON": lambda c: "{",
    "nested too deep": lambda c: "[" * 100_000,
    "a list": lambda c: [],
    "no step": lambda c: {k: v for k, v in c.items() if k != "step"},
    "step a word": lambda c: c | {"step": "many"},
    "neither last nor best": lambda c: c | {"which": "first"},
    "metrics a number": lambda c: c | {"metrics": 3},
    "no receipt": lambda c: c | {"receipt": None},
    "a field missing": lambda c: c | {"receipt": {k: v for k, v in c["receipt"].items() if k != "seed"}},
    "a field too many": lambda c: c | {"receipt": c["receipt"] | {"more": 1}},
    "a count in words": lambda c: c | {"receipt": c["receipt"] | {"count": "1000"}},
    "better": lambda c: c | {"metrics": {"modes": c["metrics"]["modes"] | {"better": "larger"}}},
    "a value in words": lambda c: c | {"metrics": {"modes": c["metrics"]["modes"] | {"value": "9"}}},
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_record_is_one_sentence(tmp_path, case):
    path = _written(tmp_path, "a.json")
    damaged = DAMAGE[case](json.loads(path.read_text()))
    path.write_text(damaged if isinstance(damaged, str) else json.dumps(damaged))
    with pytest.raises(ConfigError, match=r"a\.json is not a record of scores \(.+\); run") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.json: No such file"):
        read(tmp_path / "no.json")


def test_every_field_has_its_rule():
    names = {field.name for field in dataclasses.fields(Receipt)}
    assert names == {*MUST_AGREE, *OUGHT_TO_AGREE, *MAY_DIFFER}


@pytest.mark.parametrize("field", MUST_AGREE)
def test_unlike_records_are_refused(tmp_path, field):
    other = _other(field)
    paths = _written(tmp_path, "a.json"), _written(tmp_path, "b.json", **{field: other})
    named = f"{field} {getattr(RECEIPT, field)!r} and {other!r}"
    with pytest.raises(ConfigError, match=re.escape(f"b.json cannot be compared, they differ in {named}") + "$"):
        compare(paths)


@pytest.mark.parametrize("field", [*OUGHT_TO_AGREE, *MAY_DIFFER])
def test_like_records_are_compared(tmp_path, field):
    comparison = compare([_written(tmp_path, "a.json"), _written(tmp_path, "b.json", **{field: _other(field)})])
    assert len(comparison.warnings) == (field in OUGHT_TO_AGREE)
    assert all(f"{field} {getattr(RECEIPT, field)!r} and {_other(field)!r}" in text for text in comparison.warnings)


def test_all_differences_are_named_and_weights_may_differ_if_asked(tmp_path):
    first, second = _written(tmp_path, "a.json"), _written(tmp_path, "b.json", count=5, weights="raw")
    with pytest.raises(ConfigError, match=r"differ in count 1000 and 5; weights 'ema' and 'raw'$"):
        compare([first, second])
    third = _written(tmp_path, "c.json", weights="raw")
    with pytest.raises(ConfigError, match="differ in weights"):
        compare([first, first, third])
    lines = compare([first, third], across_weights=True).lines
    assert lines[0].endswith("a.json: step 300 (last), ema weights, seed 0")
    assert lines[3].split() == ["frechet_classifier", "lower", "12.5", "12.5", "3.25"]
    with pytest.raises(ConfigError, match="got 1 file of scores"):
        compare([first])


def test_a_metric_that_one_record_lacks_is_a_dash(tmp_path):
    first = _written(tmp_path, "a.json")
    write(tmp_path / "b.json", RECORD._replace(which="best", metrics={"kid": SCORES["modes"]}))
    lines = compare([first, tmp_path / "b.json"]).lines
    assert "step 300 (best)" in lines[1]
    assert [line.split()[2:4] for line in lines[3:]] == [["12.5", "-"], ["9", "-"], ["-", "9"]]


@pytest.mark.parametrize(
    "weights, extractor", [("../ema", "pixels"), ("ema", "a/b"), ("", "pixels"), ("ema", "x" * 81)]
)
def test_scores_lie_in_their_folder(tmp_path, weights, extractor):
    assert score_path(tmp_path, RECORD).parent == tmp_path / "scores"
    led_away = RECORD._replace(weights=weights, receipt=dataclasses.replace(RECEIPT, extractor=extractor))
    with pytest.raises(ConfigError, match=r"is called .*, expected 1 to 80 letters"):
        score_path(tmp_path, led_away)
