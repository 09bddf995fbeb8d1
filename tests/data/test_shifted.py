"""Two data sets as two domains: frames, colours, classes and samples."""

import dataclasses

import numpy as np
import pytest

from ganjax.data import Dataset, load, outline, stand_in
from ganjax.data.shifted import both, coloured, paired, resized, sampled, subset
from ganjax.errors import DataError


def _images(count, side, channels=1, names=None, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    y = (np.arange(count) % classes).astype(np.int32)
    return Dataset(x, y, x[: count // 2], y[: count // 2], name=f"set{side}", class_names=names)


@pytest.mark.fault("ADDA: a sample is seeded by hash(str), which Python salts in every process")
def test_a_sample_is_a_function_of_name_and_seed():
    """Pinned, so that it is the same in every process and on every day."""
    assert subset("mnist", 0, 60_000, 2000)[:6].tolist() == [10, 119, 242, 342, 402, 403]
    assert subset("usps", 0, 7291, 1800)[:4].tolist() == [0, 3, 14, 16]
    assert subset("mnist", 1, 60_000, 2000)[:4].tolist() == [35, 41, 59, 184]
    rows = subset("mnist", 0, 60_000, 2000)
    assert len(np.unique(rows)) == 2000 and (np.diff(rows) > 0).all()
    data = dataclasses.replace(_images(60, 16), name="/anywhere/usps.npz")
    few = sampled(data, 20)
    np.testing.assert_array_equal(few.x_train, data.x_train[subset("usps", 0, 60, 20)])
    assert len(few.x_test) == 30, "what is held out stays"
    with pytest.raises(DataError, match="has 60 training images, expected 61 to sample"):
        sampled(data, 61)


def test_the_frame_of_usps():
    """A digit that fills 16 pixels fills 28 when resized plainly, and 16/22 of them with a border of 3, as MNIST's."""
    x = np.full((1, 16, 16, 1), 255, np.uint8)
    filled = {
        scaling: (resized(x, scaling)[0, :, :, 0] > 127).any(0).sum() for scaling in ("plain", "padded", "cropped")
    }
    assert filled == {"plain": 28, "padded": 20, "cropped": 28}
    inner = _images(2, 32)
    np.testing.assert_array_equal(resized(inner.x_train, "cropped"), inner.x_train[:, 2:30, 2:30])
    assert resized(inner.x_train, "plain").shape == (2, 28, 28, 1)
    same = _images(2, 28).x_train
    assert resized(same, "padded") is same, "what has the size is not touched"


@pytest.mark.fault("ADDA: gray2rgb multiplies by the weights of grey instead of repeating")
def test_colours():
    grey = np.array([[[[100]]]], np.uint8)
    assert coloured(grey, "rgb").tolist() == [[[[100, 100, 100]]]]
    assert coloured(grey, "grey") is grey
    colours = np.array([[[[255, 0, 0]], [[0, 255, 0]], [[0, 0, 255]], [[10, 20, 30]]]], np.uint8)
    assert coloured(colours, "grey").ravel().tolist() == [76, 150, 29, 18]


def test_classes_are_matched_by_name_and_targets_are_not_looked_at():
    source, target = paired(load("glyphs"), load("digits"))
    assert source.classes == target.classes == 10 and len(source.x_train) == 2780 and len(target.x_train) == 1500
    assert source.shape == target.shape == (28, 28, 1)
    whole = load("glyphs")
    seven = whole.x_train[whole.y_train == whole.class_names.index("7")]
    np.testing.assert_array_equal(source.x_train[source.y_train == 7], seven)
    for labels in (None, np.zeros(1500, np.int32)):
        blind = dataclasses.replace(load("digits"), y_train=labels)
        again = paired(whole, blind)
        for one, other in zip((source, target), again, strict=True):
            np.testing.assert_array_equal(one.x_train, other.x_train)
        np.testing.assert_array_equal(source.y_train, again[0].y_train)


def test_names_that_are_numbers_need_none_of_the_target():
    """As street numbers of TFDS, named "0" to "9", meet digits of a file, which have no names."""
    named, plain = _images(20, 32, channels=3, names=tuple("0123456789")), _images(20, 28)
    source, target = paired(named, plain)
    assert source.class_names is target.class_names is None and source.classes == 10
    np.testing.assert_array_equal(source.y_train, named.y_train)


def test_what_stands_in_for_data_is_paired_as_they_are():
    """So that what was trained can be drawn without them."""
    found = paired(*(stand_in(outline(load(name)), "0" * 64) for name in ("glyphs", "digits")))
    assert [(data.classes, data.shape) for data in found] == [(10, (28, 28, 1))] * 2
    assert set(found[0].y_train) == set(range(10))


def test_what_does_not_fit_is_said():
    named = _images(20, 16, names=tuple("0123456789"))
    with pytest.raises(DataError, match="has no class 'x', which the target set16 has"):
        paired(named, _images(20, 16, names=tuple("012345678x")))
    with pytest.raises(DataError, match="has names of classes and the target set16 has none"):
        paired(_images(20, 16, names=tuple("abcdefghij")), _images(20, 16))
    with pytest.raises(DataError, match="has 12 classes and the source set16 10"):
        paired(named, _images(24, 16, classes=12))
    with pytest.raises(DataError, match="5 classes without names and the target set16 10"):
        paired(_images(20, 16, classes=5), named)
    with pytest.raises(DataError, match="has 10 classes and the source set16 5"):
        paired(_images(20, 16, classes=5), _images(20, 16))
    with pytest.raises(DataError, match="has no labels"):
        paired(dataclasses.replace(_images(20, 16), y_train=None), named)
    with pytest.raises(DataError, match=r"expected grey or RGB images"):
        paired(_images(20, 16, channels=2), _images(20, 16))


def test_domains_as_classes():
    a, b = _images(40, 28, seed=1), _images(30, 28, seed=2)
    found = both(a, b, 25)
    assert found.y_train.tolist() == [0] * 25 + [1] * 25 and len(found.x_test) == 30
    assert {x.tobytes() for x in found.x_train[:25]} <= {x.tobytes() for x in a.x_train}
    assert both(a, dataclasses.replace(b, x_test=None, y_test=None), 25).x_test is None
