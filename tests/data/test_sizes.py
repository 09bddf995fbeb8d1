"""Images of half the side."""

import numpy as np
import pytest

from ganjax.data import Dataset, halved, load, outline, stand_in
from ganjax.errors import DataError


def box(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def test_means_are_rounded_to_8_bits_and_all_else_stays(monkeypatch):
    monkeypatch.setattr("ganjax.data.sizes.CALL", 100)
    data = load("glyphs")
    small = halved(halved(data, box), box)
    exact = data.x_train[:300].astype(np.float64)
    away = halved(data, box).x_train[:300] - box(exact)
    assert np.abs(away).max() <= 0.5 and np.ptp(away) > 0.5, "to the nearest"
    assert small.shape == (7, 7, 1) and small.name == "glyphs of 7x7" and small.x_test.dtype == np.uint8
    np.testing.assert_array_equal(small.y_test, data.y_test)
    assert small.class_names == data.class_names and set(small.companions) == {"font"}
    assert len({data.digest, halved(data, box).digest, small.digest}) == 3


def test_it_stands_in_for_data_that_are_not_there():
    data = Dataset(np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1), name="ramp")
    assert halved(stand_in(outline(data), data.digest), box).shape == (4, 4, 1)


def test_what_cannot_be_halved_is_named():
    for data in (Dataset(np.arange(50, dtype=np.uint8).reshape(2, 5, 5, 1), name="odd"), load("ring")):
        with pytest.raises(DataError, match=rf"the data set {data.name} .*expected images of even sides to halve"):
            halved(data, box)
