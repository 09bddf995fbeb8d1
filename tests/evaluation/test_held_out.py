"""Measures of held-out examples: their summary, and what else they say, of the split that the note names."""

from types import SimpleNamespace

import numpy as np

from ganjax.core import Measure
from ganjax.data import Dataset
from ganjax.evaluation import measured, score_of
from ganjax.training import Setup, Stream


def test_a_note_is_of_the_values_of_held_out_examples():
    train, test = (np.arange(count, dtype=np.float32)[:, None] + first for count, first in ((5, 100), (3, 0)))
    data = Dataset(train, x_test=test, name="numbers")
    loud = Measure(
        lambda weights, batch, key: {"x": batch.x},
        (), "data", "lower",
        summary=lambda values: values["x"].max(), note=lambda values: f"least {values['x'].min():g}", batch=2,
    )  # fmt: skip
    setup = Setup(None, None, {"data": Stream(data, 1)}, measures={"loud": loud, "quiet": loud._replace(note=None)})
    state = SimpleNamespace(params={}, averages={}, weights={})
    how = {"seed": 0, "count": 9, "weights": "default"}
    said = "of 3 test examples of numbers; {} of as many training examples, raw weights"
    known = measured(setup, "loud", split="train", count=3)(state)
    assert 102 <= known <= 104
    found = score_of(setup, state, "loud", **how)
    assert (found.value, found.note) == (2.0, f"{said.format(f'{known:g}')}; least 0")
    assert score_of(setup, state, "quiet", **how).note == said.format(f"{known:g}")
