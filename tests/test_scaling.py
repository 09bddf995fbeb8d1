"""The scaling law against sums by hand; what it counts, against the experiments."""

import dataclasses
import importlib.util
import itertools
import sys
from pathlib import Path

import pytest
from children import finished

ROOT = Path(__file__).parents[1]


def _script():
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "scripts" / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


scaling = _script()
MACHINE = scaling.Machine("m", rate=100.0, memory=50.0, launch=0.25, node=4, near=8.0, far=2.0,
                          latency_near=0.5, latency_far=3.0)  # fmt: skip
RECIPE = scaling.Recipe("r", batch=8, parameters={"a": 5}, turns=2, flops=400.0, products=3, bytes_of_products=100.0,
                        state=25.0, leaves=2, reduced=16.0, rounds=5)  # fmt: skip


def test_one_device_by_hand():
    """400 / (100 / 2) arithmetic, 50 / 50 for the state, (6 + 2) / 4 of launches; no sums."""
    for weak in (True, False):
        assert scaling.step_seconds(RECIPE, MACHINE, 1, 0.5, weak=weak) == 8 + 1 + 2
    slow = RECIPE._replace(bytes_of_products=1000.0)
    assert scaling.step_seconds(slow, MACHINE, 1, 0.5, weak=True) == 20 + 1 + 2, "bound by memory"


def test_sums_by_hand():
    """In a node of 4: 5 rounds of 2 log2(n) messages of 0.5; 2 (n - 1) / n of 16 bytes at 8 a second."""
    assert scaling.sum_seconds(16, 5, MACHINE, 1) == 0
    assert scaling.sum_seconds(16, 5, MACHINE, 2) == 5 * 2 * 0.5 + 16 / 8
    assert scaling.sum_seconds(16, 5, MACHINE, 4) == 5 * 4 * 0.5 + 1.5 * 16 / 8
    # 8 nodes of 4: two more stages, 4 bytes of each device over the slow link.
    assert scaling.sum_seconds(16, 5, MACHINE, 32) == 5 * (4 * 0.5 + 6 * 3.0) + 1.5 * 16 / 8 + 1.75 * 4 / 2


def test_weak_scaling_keeps_the_work_of_a_device_and_strong_scaling_shares_it():
    sums = scaling.sum_seconds(16, 5, MACHINE, 4)
    assert scaling.step_seconds(RECIPE, MACHINE, 4, 0.5, weak=True) == 11 + sums
    assert scaling.step_seconds(RECIPE, MACHINE, 4, 0.5, weak=False) == 2 + 1 + 2 + sums
    head, _, row = scaling.law([RECIPE], MACHINE, 0.5, weak=False).splitlines()
    assert head.count("|") == row.count("|") == 13
    assert row.count("| -") == 7, "a batch of 8 cannot be shared by 16 and more"
    first, second = (cell.strip() for cell in row.split("|")[2:4])
    assert first.endswith("(100 %)") and second.endswith(f"({100 * 11 / (2 * (4 + 1 + 2 + 7)):.0f} %)")


def test_forced_devices_do_all_the_work_and_every_update():
    assert scaling.forced_seconds(RECIPE, MACHINE, 1, 0.5) == 11
    assert scaling.forced_seconds(RECIPE, MACHINE, 4, 0.5) == 11 + (2 * 25 * 3 + 2 * 16 * 4) / 50


def test_what_is_summed_over_devices():
    """Gradients of every parameter and 5 metrics; the generator's turn waits for the discriminator's."""
    experiment = scaling.experiments()["vanilla_gan"]
    recipe = scaling.recipe_of(experiment, experiment.config)
    layers = {
        "discriminator": [784, 512, 256, 1],
        "generator": [100, 256, 512, 1024, 784],
    }
    count = {player: sum(a * b + b for a, b in itertools.pairwise(sizes)) for player, sizes in layers.items()}
    assert recipe.parameters == count and (recipe.turns, recipe.rounds) == (2, 2)
    assert recipe.reduced == 4 * (sum(count.values()) + 7)
    together = dataclasses.replace(experiment.config, play="simultaneous")
    assert scaling.recipe_of(experiment, together).rounds == 1


def test_batch_norm_adds_rounds():
    experiment = scaling.experiments()["dcgan"]
    without = dataclasses.replace(experiment.config, discriminator_norm="none")
    more, less = (scaling.recipe_of(experiment, config) for config in (experiment.config, without))
    assert more.rounds > less.rounds > 2 and more.flops == less.flops


def test_the_tables(tmp_path):
    args = ["--recipes", "vanilla_gan", "--machine", "tpu_v4"]
    args += ["--plot", tmp_path / "law.png", "--far", "1e9", "--node", "4"]
    done = finished(ROOT / "scripts" / "scaling.py", *args)
    assert done.returncode == 0, done.stderr
    assert "4 accelerators in a node" in done.stdout and "1 GB/s each beyond" in done.stdout
    assert done.stdout.count("| vanilla_gan |") == 3 and (tmp_path / "law.png").stat().st_size > 10_000


def test_the_documented_tables_name_every_option():
    """docs/scaling.md says where its figures come from."""
    text = (ROOT / "docs" / "scaling.md").read_text()
    assert "scripts/scaling.py" in text and "--coordinator auto" in text and "srun" in text
    assert scaling.assumptions(scaling.MACHINES["h100"], 0.4).splitlines()[2] in text


def test_the_documented_rows_are_those_of_the_script():
    text, names = (ROOT / "docs" / "scaling.md").read_text(), ("vanilla_gan", "stacked_mnist")
    done = finished(ROOT / "scripts" / "scaling.py", "--recipes", *names)
    rows = [line for line in done.stdout.splitlines() if line.startswith(tuple(f"| {name} " for name in names))]
    assert done.returncode == 0 and len(rows) == 3 * len(names), done.stderr
    for row in rows:
        assert row in text, f"docs/scaling.md lacks: {row}"


@pytest.mark.parametrize("name", sorted(scaling.MACHINES))
def test_more_devices_never_make_a_step_of_the_same_work_faster(name):
    times = [scaling.step_seconds(RECIPE, scaling.MACHINES[name], n, 0.4, weak=True) for n in scaling.COUNTS]
    assert times == sorted(times)
