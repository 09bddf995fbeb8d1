"""What stands in for data that are not at hand."""

import json

import numpy as np
import pytest

from ganjax.data import Dataset, outline, stand_in
from ganjax.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1], np.int32)
SETS = {
    "images": Dataset(IMAGES, name="photos"),
    "labels": Dataset(IMAGES, LABELS, IMAGES, LABELS, name="more"),
    "names": Dataset(IMAGES[..., :1], LABELS, class_names=("a", "b", "c")),
    "gapped": Dataset(IMAGES, 7 * LABELS, IMAGES, 9 * LABELS),
    "points": Dataset(IMAGES[:, 0, 0].astype(np.float32), LABELS),
}


@pytest.mark.parametrize("data", SETS.values(), ids=SETS)
def test_a_stand_in_has_what_networks_are_built_from(data):
    record = json.loads(json.dumps(outline(data)))
    found = stand_in(record, data.digest)
    for name in ("name", "shape", "classes", "class_names", "digest"):
        assert getattr(found, name) == getattr(data, name), name
    assert found.x_train.dtype == data.x_train.dtype
    known = [None if one.y_train is None else np.unique(one.y_train).tolist() for one in (found, data)]
    assert known[0] == known[1], "classes that have training examples"


GOOD = {"name": "a", "shape": [4, 4, 1], "classes": 3, "class_names": None}
WRONG = [
    *([], 3, "a", {}, {**GOOD, "shape": None}, {**GOOD, "shape": [4, 4]}, {**GOOD, "shape": [0, 4, 1]}),
    *({**GOOD, "shape": ["x", 4, 1]}, {**GOOD, "shape": [2**40, 2**40, 3]}, {**GOOD, "shape": [8, 8, 9]}),
    *({**GOOD, "classes": "3"}, {**GOOD, "classes": 0}, {**GOOD, "classes": 10**10}, {**GOOD, "class_names": 3}),
    *({**GOOD, "class_names": ["a"]}, {**GOOD, "labels": [3]}, {**GOOD, "labels": ["a"]}, {**GOOD, "labels": 3}),
]


@pytest.mark.parametrize("record", WRONG, ids=str)
def test_what_is_no_outline_is_one_sentence(record):
    with pytest.raises(DataError, match=r"the outline of the data in config.json cannot be read \(.*\); give them by"):
        stand_in(record, "0")
