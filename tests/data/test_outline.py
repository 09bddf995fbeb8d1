"""What stands in for data that are not at hand."""

import json

import numpy as np
import pytest

from ganjax import kinds
from ganjax.data import Dataset, outline, stand_in, text
from ganjax.data.dataset import Companion
from ganjax.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1], np.int32)
SETS = {
    "images": Dataset(IMAGES, name="photos"),
    "labels": Dataset(IMAGES, LABELS, IMAGES, LABELS, name="more"),
    "names": Dataset(IMAGES[..., :1], LABELS, class_names=("a", "b", "c")),
    "gapped": Dataset(IMAGES, 7 * LABELS, IMAGES, 9 * LABELS),
    "points": Dataset(IMAGES[:, 0, 0].astype(np.float32), LABELS),
    "waveforms": Dataset(IMAGES[:, 0, 0].astype(np.int16), x_kind=kinds.waveforms(8000)),
    "clips": Dataset(IMAGES[:, None]),
    "vectors": Dataset(IMAGES[:, 0, 0].astype(np.float32), x_kind=kinds.VECTOR),
    "texts": Dataset(LABELS[:, None], x_kind=text.tokens(text.Vocabulary(("b", " ", "a"), "character"), 1)),
    "accompanied": Dataset(
        IMAGES,
        LABELS,
        companions={
            "drawing": Companion(IMAGES[..., :1], None, kinds.IMAGE),
            "caption": Companion(np.zeros((6, 7), np.int32), None, text.tokens(text.Vocabulary(("a", "b")), 7)),
            "attributes": Companion(IMAGES[:, 0, 0].astype(np.float32), None, kinds.VECTOR),
            "font": Companion(LABELS, None, kinds.classes(("serif", "sans"))),
            "parts": Companion(IMAGES[..., 0].astype(np.int32), None, kinds.MAP),
        },
    ),
}


@pytest.mark.parametrize("data", SETS.values(), ids=SETS)
def test_a_stand_in_has_what_networks_are_built_from(data):
    record = json.loads(json.dumps(outline(data)))
    found = stand_in(record, data.digest)
    for name in ("name", "shape", "classes", "class_names", "digest"):
        assert getattr(found, name) == getattr(data, name), name
    assert (found.kind.name, found.kind.facts) == (data.kind.name, data.kind.facts)
    assert list(found.companions) == list(data.companions)
    for name, one in data.companions.items():
        other = found.companions[name]
        assert (other.kind.name, other.kind.facts, other.train.dtype) == (
            one.kind.name,
            one.kind.facts,
            one.train.dtype,
        )
        assert other.train.shape[1:] == one.train.shape[1:] and other.test is None
    assert found.x_train.dtype == data.x_train.dtype
    known = [None if one.y_train is None else np.unique(one.y_train).tolist() for one in (found, data)]
    assert known[0] == known[1], "classes that have training examples"


def test_a_caption_can_be_given_to_a_run_without_its_data():
    data = SETS["accompanied"]
    found = stand_in(json.loads(json.dumps(outline(data))), data.digest)
    assert found.y_kind("caption").parse("B a").tolist() == [3, 2, 0, 0, 0, 0, 0]
    assert outline(found) == outline(data)


def test_outlines_that_were_written_before_there_were_kinds():
    for data in (SETS["names"], SETS["points"]):
        record = outline(data)
        kind = record.pop("kind")
        assert stand_in(record, "0").kind.name == kind == data.kind.name


GOOD = {"name": "a", "shape": [4, 4, 1], "classes": 3, "class_names": None}
WRONG = [
    *([], 3, "a", {}, {**GOOD, "shape": None}, {**GOOD, "shape": [4, 4]}, {**GOOD, "shape": [0, 4, 1]}),
    *({**GOOD, "shape": ["x", 4, 1]}, {**GOOD, "shape": [2**40, 2**40, 3]}, {**GOOD, "shape": [8, 8, 9]}),
    *({**GOOD, "classes": "3"}, {**GOOD, "classes": 0}, {**GOOD, "classes": 10**10}, {**GOOD, "class_names": 3}),
    *({**GOOD, "kind": "smell"}, {**GOOD, "kind": "clip"}, {**GOOD, "kind": 3}, {**GOOD, "facts": 3}),
    *({**GOOD, "facts": {"rate": 8000}}, {**GOOD, "facts": {"vocabulary": {"words": ["a", "a"], "unit": "word"}}}),
    *({**GOOD, "companions": 3}, {**GOOD, "companions": {"a": 3}}, {**GOOD, "companions": {"x": {"shape": [2]}}}),
    {**GOOD, "companions": {"a": {"shape": [2**40], "kind": "vector"}}},
    *({**GOOD, "class_names": ["a"]}, {**GOOD, "labels": [3]}, {**GOOD, "labels": ["a"]}, {**GOOD, "labels": 3}),
]


@pytest.mark.parametrize("record", WRONG, ids=str)
def test_what_is_no_outline_is_one_sentence(record):
    with pytest.raises(DataError, match=r"the outline of the data in config.json cannot be read \(.*\); give them by"):
        stand_in(record, "0")
