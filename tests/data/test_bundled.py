"""The sets that come with the package, and the scripts that cut them."""

import gzip
import hashlib
import json
import re
import runpy
import struct
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from ganjax.data import load

SCRIPTS = Path(__file__).parents[2] / "scripts"
SCRIPT = SCRIPTS / "cut_fashion_mnist.py"


def test_fashion_mnist_is_pinned_balanced_and_named():
    data = load("fashion_mnist")
    assert data.digest == "39ca11843bd74633c8d0fb345f0dde1a2e80e6a40c4d22c0a7daff874b6f192d"
    assert data.x_train.shape == (10_000, 28, 28, 1) and data.x_test.shape == (2_000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.y_train), [1000] * 10)
    np.testing.assert_array_equal(np.bincount(data.y_test), [200] * 10)
    assert (data.name, data.licence, len(data.class_names)) == ("fashion_mnist", "MIT", 10)


def test_fashion_mnist_labels_fit_the_pictures():
    """Trousers are tall and narrow, sneakers low and wide: the class means show it."""
    data = load("fashion_mnist")
    middle = {name: data.x_train[data.y_train == k].mean(0)[..., 0] for k, name in enumerate(data.class_names)}
    assert middle["Trouser"][:, :6].mean() < 5 < 60 < middle["Trouser"][:4].mean()
    assert middle["Sneaker"][:6].mean() < 5 < 60 < middle["Sneaker"][14:20, :4].mean()


def test_fashion_mnist_is_mixed_and_its_splits_share_nothing():
    data = load("fashion_mnist")
    assert (np.bincount(data.y_train[:1000], minlength=10) > 60).all()
    train = {hashlib.sha256(x).digest() for x in data.x_train}
    test = {hashlib.sha256(x).digest() for x in data.x_test}
    assert len(train) == 10_000 and not train & test


def licence(name):
    return (resources.files("ganjax.data") / "embedded" / f"LICENSE.{name}").read_text()


def test_the_licences_lie_beside_the_data():
    owners = {"fashion_mnist": "Zalando SE", "fluent_emoji": "Microsoft Corporation", "glyphs": "SIL OPEN FONT LICENSE"}
    for name, owner in owners.items():
        assert owner in licence(name) and "Permission is hereby granted, free of charge" in licence(name)


def test_both_new_sets_are_small():
    folder = resources.files("ganjax.data") / "embedded"
    assert sum((folder / f"{name}.npz").stat().st_size for name in ("fluent_emoji", "glyphs")) < 5 * 2**20


def script(name, monkeypatch):
    """The names of a script, which imports a neighbour; what only the cutting needs is not installed."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return runpy.run_path(str(SCRIPTS / f"{name}.py"))


def test_fluent_emoji_are_pinned_and_named():
    data = load("fluent_emoji")
    assert data.digest == "a89c9e851a2d119337578dcd86a0cd6d57607efd60be5bcc18973a6618fe034d"
    assert data.x_train.shape == (1366, 64, 64, 3) and data.x_test.shape == (228, 64, 64, 3)
    assert (data.name, data.licence, data.classes) == ("fluent_emoji", "MIT", 9)
    assert np.bincount(data.y_test, minlength=9).min() > 4
    assert data.y("drawing").shape == (1366, 64, 64, 1) and data.y_kind("drawing").name == "image"
    assert data.y("caption", "test").shape == (228, 8) and data.y_kind("caption").facts["vocabulary"].size == 1414


def captions(data, split):
    return data.y_kind("caption").facts["vocabulary"].decode(data.y("caption", split))


def test_every_name_of_an_emoji_can_be_read_again():
    data = load("fluent_emoji")
    names = captions(data, "train") + captions(data, "test")
    assert len(set(names)) == len(names) == 1594 and not any("?" in name for name in names)
    row = captions(data, "train").index("red heart")
    assert data.class_names[data.y_train[row]] == "Smileys & Emotion"
    red, green, blue = data.x_train[row].reshape(-1, 3).mean(0)
    assert red > green + 30 and red > blue + 30
    assert not any(name.endswith(("medium light", "medium dark")) for name in names), "of skin tones there is one"


def test_pictures_and_drawings_of_emoji_are_of_one_thing():
    """Both leave the corners white, and what is drawn lies where the picture is coloured."""
    data = load("fluent_emoji")
    ink = 255 - data.y("drawing")[:100, ..., 0].astype(float)
    colour = (255 - data.x_train[:100].astype(float)).mean(-1)
    assert ink[:, 0, 0].mean() < 5 and colour[:, 0, 0].mean() < 5
    assert 40 < ink.mean() < 90 and data.y("drawing").max() == 255

    def agreement(a, b):
        a, b = (one.reshape(len(one), -1) for one in (a, b))
        return np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])

    assert agreement(ink, colour) > 0.35 > 0.25 > agreement(ink, np.roll(colour, 1, 0))


def test_variants_of_an_emoji_are_on_one_side(monkeypatch):
    family = script("cut_fluent_emoji", monkeypatch)["family"]
    data = load("fluent_emoji")
    train, test = ({family(name.replace(" ", "-")) for name in captions(data, split)} for split in ("train", "test"))
    assert not train & test and len(train) + len(test) < 1450
    assert family("woman-running-facing-right") == family("man-running") == "running"


def test_glyphs_are_pinned_balanced_and_named():
    data = load("glyphs")
    assert data.digest == "84e85a4c006b6dcc1d2b93aeda0fe57e05c391512fcec5516d179ae91536125f"
    assert data.x_train.shape == (17_236, 28, 28, 1) and data.x_test.shape == (3_472, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.y_train), [278] * 62)
    np.testing.assert_array_equal(np.bincount(data.y_test), [56] * 62)
    assert "".join(data.class_names) == "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    assert (np.bincount(data.y_train[:6200], minlength=62) > 60).all(), "mixed"


def test_no_font_is_on_both_sides():
    """Nor a family, and no two pictures are equal."""
    data = load("glyphs")
    names = data.y_kind("font").facts["names"]
    sides = [{names[k] for k in data.y("font", split)} for split in ("train", "test")]
    assert [len(side) for side in sides] == [278, 56] and not sides[0] & sides[1] and len(names) == 334
    words = [{name.split()[0].lower() for name in side} for side in sides]
    assert not words[0] & words[1]
    x = np.concatenate([data.x_train, data.x_test])
    assert len({one.tobytes() for one in x}) == len(x)
    listed = tuple(re.findall("^(.+?): ", licence("glyphs"), re.MULTILINE))
    assert all(name.startswith(listed) for name in names)


def test_glyphs_are_white_in_the_middle_and_share_a_size():
    """Of a font: from the lowest to the highest point of all there are 24 pixels, or the widest has as many."""
    data = load("glyphs")
    for font in range(0, 334, 17):
        split = "train" if (data.y("font") == font).any() else "test"
        x = getattr(data, f"x_{split}")[data.y("font", split) == font, :, :, 0]
        assert len(x) == 62
        rows, columns = np.flatnonzero(x.max((0, 2)) > 8), np.flatnonzero(x.max((0, 1)) > 8)
        assert 22 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 25
        assert abs(rows.mean() - 13.5) <= 1 and abs(columns.mean() - 13.5) <= 1
    large = {letter: data.x_train[data.y_train == data.class_names.index(letter)].mean() for letter in "Oo"}
    assert large["O"] > 1.3 * large["o"], "capitals are larger"


def test_the_cut_of_emoji(tmp_path, monkeypatch):
    """Of four that are drawn in both ways, by a renderer that draws the length of a picture's description."""
    names = ["cat", "man-cook", "woman-cook", "flag"]
    for kind, more in (("fluent-emoji-flat", ["cook-dark"]), ("fluent-emoji-high-contrast", [])):
        icons = {name: {"body": "-" * (k + 1)} for k, name in enumerate(names + more)}
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "icons.json").write_text(json.dumps({"icons": icons, "width": 32, "height": 32}))
    categories = {"B": ["cat", "man-cook", "cook-dark"], "A": ["woman-cook", "flag"]}
    (tmp_path / "fluent-emoji-flat" / "metadata.json").write_text(json.dumps({"categories": categories}))
    cut = script("cut_fluent_emoji", monkeypatch)["cut"]
    monkeypatch.setitem(
        cut.__globals__, "render", lambda text, mode: np.full((64, 64, len(mode)), text.count(b"-"), np.uint8)
    )
    monkeypatch.setitem(cut.__globals__, "is_for_testing", lambda name: name.endswith("cook"))
    arrays = cut(tmp_path)
    assert arrays["vocabulary"].tolist() == ["cook", "cat", "flag", "man", "woman"]
    for split, wanted in (
        ("train", {"cat": (1, 1), "flag": (4, 0)}),
        ("test", {"man cook": (2, 1), "woman cook": (3, 0)}),
    ):
        captions, x, y, drawing = (arrays[f"{name}_{split}"] for name in ("caption", "x", "y", "drawing"))
        assert x.shape == (2, 64, 64, 3) and drawing.shape == (2, 64, 64, 1)
        assert {c: (int(a[0, 0, 0]), int(k)) for c, a, k in zip(captions, x, y, strict=True)} == wanted
        np.testing.assert_array_equal(x[..., :1], drawing)


def test_glyphs_of_a_font_stand_on_one_line(monkeypatch):
    """Those of the font that comes with matplotlib, whose H and x have the heights 0.729 and 0.547 of the size."""
    matplotlib = pytest.importorskip("matplotlib")
    names = script("cut_glyphs", monkeypatch)
    x = names["render"](Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    assert names["is_written"](x) and not names["is_written"](x[[0] * 62])
    glyph = {letter: np.flatnonzero(x[names["CHARACTERS"].index(letter)].max(1) > 64) for letter in "HxgQ"}
    assert glyph["H"][-1] == glyph["x"][-1] < glyph["g"][-1]
    assert abs(len(glyph["x"]) / len(glyph["H"]) - 0.547 / 0.729) < 0.08
    everything = x.max((0, 2))
    assert 23 <= np.count_nonzero(everything > 8) <= 25


def test_fonts_that_look_alike_are_joined(monkeypatch):
    names = script("cut_glyphs", monkeypatch)
    fonts = [names["Font"](family, "Regular", "", "", Path()) for family in ("A", "B Sans", "C", "B Serif", "erewhon")]
    glyphs = np.zeros((5, 62, 28, 28), np.uint8)
    for k in range(5):
        glyphs[k, :, 5 * k : 5 * k + 5] = 200
    assert names["groups"](fonts, glyphs) == ["A", "B", "C", "B", "Heuristica"]
    glyphs[2] = glyphs[0] // 2 + 100 * (glyphs[0] > 0)
    assert names["groups"](fonts, glyphs) == ["A", "B", "A", "B", "Heuristica"]
    glyphs[3] = glyphs[0]
    assert names["groups"](fonts, glyphs) == ["A", "A", "A", "A", "Heuristica"]


def test_an_archive_is_the_same_whenever_it_is_written(tmp_path, monkeypatch):
    save = script("archive", monkeypatch)["save"]
    for name in ("a.npz", "b.npz"):
        monkeypatch.setattr("time.time", lambda at=name: 1e9 + 1e8 * (at == "a.npz"))
        save(tmp_path / name, {"x_train": load("digits").x_test})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert load(str(tmp_path / "a.npz")).shape == (8, 8, 1)


def test_digits():
    from sklearn.datasets import load_digits

    data, source = load("digits"), load_digits()
    assert data.digest == "9b5f7c22700c7212d39de22367b0fb0fc053e7fb2a74ecbcb3778ea3d84148d0"
    assert data.x_train.shape == (1500, 8, 8, 1) and data.x_test.shape == (297, 8, 8, 1)
    # 16 is white, 1 is 255/16 = 15.9
    assert (data.x_train.min(), data.x_train.max(), np.unique(data.x_train)[1]) == (0, 255, 16)
    key = {
        np.rint(x * 255 / 16).astype(np.uint8).tobytes(): y for x, y in zip(source.images, source.target, strict=True)
    }
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    assert all(key[image.tobytes()] == label for image, label in zip(x, y, strict=True))
    assert len({image.tobytes() for image in x}) == len(key)
    assert np.bincount(data.y_test, minlength=10).min() > 15


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def idx(tmp_path):
    """30 + 20 images of 2x2 pixels whose first pixel is their position; labels 0..9 in turn."""
    for prefix, count in (("train", 30), ("t10k", 20)):
        images = np.zeros((count, 2, 2), np.uint8)
        images[:, 0, 0] = np.arange(count)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return tmp_path


def cut(idx, output, per_class=2):
    command = [sys.executable, SCRIPT, idx, "--output", output]
    command += ["--train-per-class", str(per_class), "--test-per-class", "1"]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_cut_takes_the_first_of_each_class_and_repeats_itself(idx):
    for name in ("a.npz", "b.npz"):
        assert cut(idx, idx / name).returncode == 0
    assert (idx / "a.npz").read_bytes() == (idx / "b.npz").read_bytes()
    data = load(str(idx / "a.npz"))
    first = data.x_train[:, 0, 0, 0]
    np.testing.assert_array_equal(np.sort(first), np.arange(20))
    np.testing.assert_array_equal(first % 10, data.y_train)
    assert not np.array_equal(first, np.arange(20))
    np.testing.assert_array_equal(np.sort(data.x_test[:, 0, 0, 0]), np.arange(10))


def test_the_cut_needs_enough_of_each_class(idx):
    done = cut(idx, idx / "a.npz", per_class=4)
    assert done.returncode == 1 and "a class has 3 examples, fewer than the 4 to cut" in done.stderr
    assert not (idx / "a.npz").exists()


def test_the_cut_refuses_other_idx_types(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBB1I", 0, 9, 1, 1) + b"\0"))
    with pytest.raises(SystemExit, match=r"IDX element type 9, expected 8 \(uint8\)"):
        runpy.run_path(str(SCRIPT))["read_idx"](path)
