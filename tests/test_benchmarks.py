"""The ganjax side of every benchmark: it builds, as large as published, and does the work that is counted."""

import os
import sys
from pathlib import Path

import jax
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import contender  # noqa: E402
import convolutions  # noqa: E402
import operations  # noqa: E402
import ours  # noqa: E402
from workloads import OBJECTIVES, STYLES, TRANSLATION, WORKLOADS, data_file  # noqa: E402

from ganjax.training.flops import step_flops  # noqa: E402
from ganjax.training.setup import state_shapes  # noqa: E402

# (discriminator, generator): weights and biases layer by layer, as PyTorch counts the peer's. Those of sngan32 are the
# layers of mimicry, torch_mimicry/nets/sngan/sngan_32.py, summed by hand.
PARAMETERS = {
    "toy8": (17_025, 18_946),
    "mlp28": (533_505, 1_486_352),
    "wgangp_mlp": (533_505, 1_486_352),
    "dcgan28": (138_689, 759_681),
    "dcgan32": (663_361, 1_068_931),
    "sngan32_s": (264_769, 368_771),
    "sngan32": (1_053_825, 4_276_739),
    "wgangp_res_s": (264_769, 368_771),
    "sample_dcgan": (663_361, 1_068_931),
    "sample_sngan_s": (264_769, 368_771),
    "wgan_gp28": (138_561, 759_681),
    "r1_28": (138_561, 759_681),
    "stylegan64": (366_945, 350_520),
    "sample_stylegan64": (366_945, 350_520),
}
PAIRS = WORKLOADS | OBJECTIVES | STYLES  # of a discriminator and a generator


@pytest.fixture(scope="module")
def setup_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")

    def make(name: str):
        workload = (PAIRS | TRANSLATION)[name]
        return ours.build(workload, data_file(workload, folder, 1024))[0]

    return make


@pytest.mark.parametrize("name", PAIRS)
def test_networks_are_as_large_as_their_peers(name, setup_of):
    params = state_shapes(setup_of(name)).params
    sizes = {player: sum(leaf.size for leaf in jax.tree.leaves(params[player])) for player in params}
    assert (sizes["discriminator"], sizes["generator"]) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cyclegan", {**dict.fromkeys("gf", 1_073_281), **dict.fromkeys(("d_a", "d_b"), 166_625)}),
        ("pix2pix", {"generator": 7_313_731, "discriminator": 168_353}),
    ],
)
def test_translators_are_as_large_as_the_authors(name, parameters, setup_of):
    """Counted from the published lists of layers, of as many channels, blocks and halvings."""
    params = state_shapes(setup_of(name)).params
    assert {player: sum(leaf.size for leaf in jax.tree.leaves(params[player])) for player in params} == parameters


@pytest.mark.parametrize("name", ["toy8", "mlp28", "wgangp_mlp"])
def test_a_step_does_the_products_of_the_formula_and_no_more(name, setup_of):
    """Those of `peer._flops`, whose table counts them."""
    workload, setup = WORKLOADS[name], setup_of(name)
    params = state_shapes(setup).params
    kernels = {p: [leaf.size for leaf in jax.tree.leaves(params[p]) if leaf.ndim == 2] for p in params}
    d, g = (2 * workload.batch * sum(kernels[player]) for player in ("discriminator", "generator"))
    first = {p: 2 * workload.batch * params[p]["Dense_0"]["kernel"].size for p in params}
    penalty = 4 * d if workload.penalty != "none" else 0
    turn = g + 6 * d - 2 * first["discriminator"] + penalty
    expected = workload.turns * turn + 3 * g - first["generator"] + 2 * d
    assert step_flops(setup) == pytest.approx(expected, rel=1e-3)


def test_every_form_of_a_layer_is_raced_and_compared():
    """With 9 products where the tiles fit, by one where the channels of either side are few; each against float64."""
    forms = {
        convolutions.Layer(4, 8, 8): ("y", "dx", "dw"),
        convolutions.Layer(4, 1, 2): ("y", "dw"),
        convolutions.Layer(4, 16, 3, 3, 1): ("y", "dw"),
        convolutions.Layer(4, 3, 16, 3, 1): ("dx",),
        convolutions.Layer(4, 8, 8, 3, 1): ("y", "dx", "dw"),
    }
    records = [r for layer in forms for r in convolutions.measure_layer(layer, 2, rounds=1, calls=1)]
    records = [r for r in records if r["contender"] != "torch"]
    assert all(r["error"] < 1e-6 and len(r["milliseconds"]) == 1 for r in records)
    found = {(r["layer"], r["contraction"]) for r in records if r["contender"] == "few"}
    assert found == {(str(layer), part) for layer, parts in forms.items() for part in parts}
    assert len(convolutions.table_of_layers(records).splitlines()) == 2 + 15


def test_the_time_of_a_step_is_told_by_kind():
    """Both networks' products are seen, and no core is busy for longer than the trace."""
    step = operations.measure(WORKLOADS["toy8"], 0.1)
    total = sum(step[kind] for kind in operations.KINDS)
    assert 0 < step["products"] < total
    threads = (os.cpu_count() or 1) + 1  # one a core, and that of the client
    assert 0 < step["busy"] <= step["traced"] and 0.999 * step["busy"] <= total <= threads * step["traced"]
    assert operations.KINDS["products"].search("dot.3") and not operations.KINDS["products"].search("convert_fusion.1")


def test_the_side_of_another_commit_is_that_commits_own(tmp_path, monkeypatch):
    """Its package and its way to run a workload come before those of this one."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "ours.py").write_text("def create(workload, settings):\n    return 'theirs'\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "ours", raising=False)
    found = contender.create(
        WORKLOADS["toy8"], "ganjax before", contender.Settings(1, "cpu", "float32", before=tmp_path)
    )
    monkeypatch.delitem(sys.modules, "ours")
    assert found == "theirs" and sys.path[0] == str(tmp_path)
