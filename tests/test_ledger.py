"""Short runs end where they ended when the ledger was written: a few of its rows, all of them in test-all."""

import json

import ledger
import pytest
from matrix import FULL

KEPT = json.loads(ledger.LEDGER.read_text())
FEW = (
    "vanilla_gan --accumulate 2 --instance-noise 0.1 --orthogonal 1e-4",
    "vanilla_gan --data ring --penalty r1 --penalty-every 4",
    "dcgan_cifar --discriminator-norm none --augment ada --penalty r1 --penalty-every 2",
)


def test_the_ledger_has_a_row_for_each_experiment_that_trains():
    assert list(KEPT["rows"]) == list(ledger.ROWS)
    assert {row.split()[0] for row in ledger.ROWS} >= {"vanilla_gan", "dcgan", "sngan", "wgan_gp", "biggan", "r3gan"}
    assert len({end["digest"] for end in KEPT["rows"].values()}) == len(ledger.ROWS), "two rows are one run"


@pytest.mark.parametrize("row", ledger.ROWS if FULL else FEW)
def test_a_run_ends_where_it_did(row):
    bits = KEPT["machine"] == ledger.machine()
    found = ledger.end(row)
    assert not ledger.moved(KEPT["rows"][row], found, bits=bits), f"{found}, expected {KEPT['rows'][row]}"


@pytest.mark.parametrize(("cost", "bits", "moved"), [(1.0, True, True), (1.0, False, False), (1.1, False, True)])
def test_on_another_machine_costs_are_compared(cost, bits, moved):
    expected, found = ({"digest": d, "costs": {"a/cost": c}} for d, c in (("x", 1.0), ("y", cost)))
    assert ledger.moved(expected, found, bits=bits) == moved
    assert not ledger.moved(expected, expected, bits=bits)
