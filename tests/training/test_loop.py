"""The loop: exact resume, one trace, damage and errors before anything is written."""

import json
import shutil
from dataclasses import replace
from functools import cache

import chex
import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax import penalties
from ganjax.core import Game, Outcome
from ganjax.data import Dataset
from ganjax.dynamics import alternating, ema, lookahead
from ganjax.errors import CheckpointError, ConfigError, DataError, DivergedError
from ganjax.games import Term, gan, normal_prior, sampler
from ganjax.losses import LOSSES
from ganjax.spectral import spectral_norm
from ganjax.training import Averaged, Keys, Schedule, Setup, Stream, digest, draw, load_state, loop, train, weights_of
from ganjax.training import setup as setups
from ganjax.training.checkpoint import Checkpoints
from ganjax.training.divergence import owner_of
from ganjax.training.streams import arrays, collate

pytestmark = pytest.mark.usefixtures("compiled_once")


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z, labels=None, *, train):
        h = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(z)))
        h = h if labels is None else h + nn.Embed(3, 8)(labels)
        return nn.tanh(nn.Dense(16)(h)).reshape(-1, 4, 4, 1)


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x, labels=None, *, train):
        h = nn.leaky_relu(nn.Dense(8)(x.reshape(len(x), -1)))
        h = nn.BatchNorm(use_running_average=not train)(h)
        return nn.Dense(1)(h if labels is None else h + nn.Embed(3, 8)(labels))[:, 0]


def _dataset(count=40):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)
    return Dataset(x, rng.integers(0, 3, count).astype(np.int32))


def _setup(scan=True, labelled=False, turns=2, normed=True):
    return _made(scan, labelled, turns, normed, None)  # one object, however its arguments are given


@cache
def _made(scan, labelled, turns, normed, dataset):
    prior, spectral = normal_prior(5), {"discriminator": spectral_norm()} if normed else {}
    adam = optax.adam(1e-2)
    return Setup(
        game=gan(Generator(), Discriminator(), LOSSES["hinge"], prior=prior, spectral=spectral),
        dynamics=alternating({"discriminator": adam, "generator": adam}, turns={"discriminator": turns}),
        streams={"data": Stream(_dataset() if dataset is None else dataset, 4, y="class" if labelled else None)},
        averages={"ema": Averaged("generator", ema(0.9))},
        samplers={"prior": sampler(Generator(), prior, given=("data", "class") if labelled else None)},
        scan=scan,
    )


def _number():
    """One number that follows its data."""

    def cost(params, moment):
        return jax.numpy.square(params["one"] - moment.batch.x.mean()), Outcome({}, {})

    game = Game(lambda key, batch: ({"one": jax.numpy.zeros(())}, {"one": {}}), {"one": cost})
    averages = {"ema": Averaged("one", ema(0.9))}
    return Setup(game, alternating({"one": optax.adam(0.1)}), {"data": Stream(_dataset(), 4)}, averages)


@cache
def _for_users():
    """One program, which takes long to compile: of seed 0 the steps 2, 8 and 9 are not finite, of another all are.

    The data are as many examples as a chunk has, so that a stream goes through it as well.
    """
    setup = _made(True, False, 1, True, _dataset(32))
    play, bad = setup.game.costs["generator"], [jax.random.fold_in(Keys.of(0).steps, k) for k in (2, 8, 9)]

    def cost(params, moment):
        value, outcome = play(params, moment)
        hit = (jax.random.key_data(moment.key)[None] == jax.random.key_data(jax.numpy.stack(bad))).all(1).any()
        return value + jax.numpy.where(hit, jax.numpy.nan, 0.0), outcome

    return setup._replace(game=setup.game._replace(costs=setup.game.costs | {"generator": cost}))


def _schedule(steps, **kwargs):
    return Schedule(steps, **{"log_every": 1, "sample_every": 7, "checkpoint_every": 5, "chunk": 4, **kwargs})


def _train(workdir, steps, setup=None, seed=0, **kwargs):
    return train(setup or _setup(), workdir, seed=seed, schedule=_schedule(steps, **kwargs), progress=False)


@pytest.mark.fault(
    "StyleGAN2-ADA, CycleGAN, lightweight-gan, discretisation_drift: optimisers, counters or keys are not restored"
)
@pytest.mark.parametrize("scan", [True, False])
def test_resume_is_bitwise(tmp_path, scan, request):
    if scan:
        request.getfixturevalue("as_users")
    setup = _for_users() if scan else _setup(scan)
    whole = _train(tmp_path / "whole", 23, setup, seed=1).state
    for stop in (5, 11, 23):
        part = _train(tmp_path / "part", stop, setup, seed=1)
    assert part.began == 11
    assert digest(part.state) == digest(whole)
    records = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "part")
    ]
    for a, b in zip(*records, strict=True):
        assert a.keys() == b.keys() and all(a[k] == b[k] for k in a if k != "time")
    assert [r["step"] for r in records[0]] == list(range(1, 24)) and all(r["finite"] for r in records[0])


def test_scan_and_dispatch_take_the_same_steps(tmp_path):
    a, b = (_train(tmp_path / str(scan), 6, _setup(scan)).state for scan in (True, False))
    chex.assert_trees_all_close(a.params, b.params, rtol=1e-4, atol=1e-5)


def test_seeds_differ_and_repeat(tmp_path):
    digests = [digest(_train(tmp_path / str(i), 5, seed=seed).state) for i, seed in enumerate((0, 0, 1))]
    assert digests[0] == digests[1] != digests[2]


def test_chunks_and_events_change_nothing(tmp_path):
    a = _train(tmp_path / "a", 12).state
    b = _train(tmp_path / "b", 12, chunk=5, sample_every=100, checkpoint_every=3).state
    assert digest(a) == digest(b)


def test_rejected_steps_are_the_same_however_a_run_is_cut(tmp_path, as_users):
    """Steps 2, 8 and 9 are not finite: chunks that begin and end elsewhere, stops inside a bad chunk, a stream."""
    setup = _for_users()
    runs = {
        "whole": ([13], {}),
        "cut": ([3, 9, 13], {"checkpoint_every": 2}),
        "streamed": ([13], {"resident_megabytes": 0}),
    }
    found = {}
    for name, (stops, how) in runs.items():
        for stop in stops:
            state = _train(tmp_path / name, stop, setup, **how).state
        records = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        assert [r["finite"] for r in records] == [float(k not in (2, 8, 9)) for k in range(13)], name
        found[name] = digest(state), [{k: v for k, v in r.items() if k != "time"} for r in records]
        assert (int(state.step), int(state.skipped)) == (13, 3)
    assert found["whole"] == found["cut"] == found["streamed"]


@pytest.mark.parametrize("scan", [True, False])
def test_the_step_is_traced_once(tmp_path, scan, monkeypatch):
    traces = []
    plain = loop.unguarded_step

    def counted(*args, **kwargs):
        step = plain(*args, **kwargs)
        return lambda *a: traces.append(1) or step(*a)

    monkeypatch.setattr(loop, "unguarded_step", counted)
    setup = _number()._replace(scan=scan)  # nobody has compiled it before
    train(setup, tmp_path, seed=0, schedule=_schedule(23), observe=lambda *a: None, progress=False)
    assert len(traces) == 1


def test_a_finished_run_changes_nothing(tmp_path):
    first = _train(tmp_path, 6)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = _train(tmp_path, 6)
    assert (first.began, again.began) == (0, 6) and digest(first.state) == digest(again.state)
    assert files == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}


def test_every_epoch_sees_every_example_once_and_each_turn_its_own(tmp_path):
    """The noise and the examples of a step: 2 + 1 turns of 4 take 12 positions, all different."""
    setup, seen = _setup(), []
    order = setups.order(setup, 3)
    for k in range(3):
        seen.append(order(k, 1)["data"][0])
    assert setup.examples == 12 and len(set(np.concatenate(seen))) == 36
    np.testing.assert_array_equal(order(0, 3)["data"], np.stack(seen))


def test_images_are_scaled_to_plus_minus_one():
    x = np.array([[[[0]]], [[[255]]], [[[51]]]], np.uint8)
    streams = {"data": Stream(Dataset(x), 3)}
    batch = collate(streams, arrays(streams), {"data": np.arange(3)}, jax.random.key(0))
    np.testing.assert_allclose(batch.x.ravel(), [-1, 1, -0.6], atol=1e-6)


def test_samples_of_raw_and_averaged_weights(tmp_path):
    setup = _setup(labelled=True, turns=1, normed=False)
    state = _train(tmp_path, 6, setup).state
    loaded = load_state(setup, tmp_path)
    assert digest(loaded) == digest(state)
    key = jax.random.key(0)
    ema_, raw, default = (draw(setup, state, key, 70, weights=w) for w in ("ema", "raw", "default"))
    assert raw.shape == (70, 4, 4, 1) and raw.dtype == np.uint8
    np.testing.assert_array_equal(ema_, default)
    assert (ema_ != raw).any()
    np.testing.assert_array_equal(draw(setup, state, key, 5, weights="raw"), raw[:5])
    value = weights_of(setup, state, ["generator"], "ema")["generator"]
    expected = jax.tree.map(lambda total: total / state.averages["ema"].weight, state.averages["ema"].total)
    chex.assert_trees_all_close(tuple(value), expected, rtol=1e-6)
    with pytest.raises(ConfigError, match=r"--weights is 'eam', expected one of \['default', 'raw', 'ema'\]"):
        draw(setup, state, key, 1, weights="eam")


def test_an_average_without_a_step_gives_raw_weights(tmp_path):
    setup = _setup()
    state = setups.initial_state(setup, 0)
    params, _ = weights_of(setup, state, ["generator"], "ema")["generator"]
    chex.assert_trees_all_equal(params, state.params["generator"])


def test_checkpoints_keep_what_was_saved_while_training_goes_on(tmp_path):
    """The save is asynchronous and the state is donated; what lies on disk is the state of its step."""
    setup = _setup(scan=False)
    _train(tmp_path / "whole", 11, setup, checkpoint_every=5)
    shutil.rmtree(tmp_path / "whole/checkpoints/11")
    saved = load_state(setup, tmp_path / "whole")
    assert int(saved.step) == 10
    assert digest(saved) == digest(_train(tmp_path / "ten", 10, setup).state)


def test_metrics_after_the_checkpoint_are_dropped_and_repeated(tmp_path):
    """A run that died after step 10 was saved and 13 was logged, its last line cut in half."""
    setup = _setup()
    whole = _train(tmp_path, 13, setup)
    shutil.rmtree(tmp_path / "checkpoints/13")
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 14, "ti')
    again = _train(tmp_path, 15, setup)
    assert again.began == 10 and int(whole.state.step) == 13
    assert digest(again.state) == digest(_train(tmp_path.with_name("whole"), 15, setup).state)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 16))


def test_alarms_after_the_checkpoint_are_dropped(tmp_path):
    schedule = Schedule(4, log_every=1, sample_every=4, checkpoint_every=4, chunk=4)
    train(_setup(), tmp_path, seed=0, schedule=schedule, progress=False)
    lines = [json.dumps({"step": step, "alarm": "modes lost"}) + "\n" for step in (3, 6)]
    (tmp_path / "alarms.jsonl").write_text("".join(lines))
    train(_setup(), tmp_path, seed=0, schedule=replace(schedule, steps=5), progress=False)
    assert (tmp_path / "alarms.jsonl").read_text() == lines[0]


def test_telemetry_joins_the_records_of_the_samples(tmp_path):
    """At every sampling, in the one record of its step, also where no record was due."""
    setup = _setup()._replace(telemetry=lambda state: {"bias": state.params["discriminator"]["Dense_1"]["bias"][0]})
    schedule = Schedule(12, log_every=3, sample_every=4, checkpoint_every=5, chunk=5)
    state, _ = train(setup, tmp_path, seed=0, schedule=schedule, progress=False)
    records = {r["step"]: r for r in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())}
    assert list(records) == [3, 4, 6, 8, 9, 12]
    assert [step for step, record in records.items() if "bias" in record] == [4, 8, 12]
    assert records[12]["bias"] == np.float32(state.params["discriminator"]["Dense_1"]["bias"][0])
    for step in (4, 8, 12):
        assert records[step]["generator/gradient"] > 0 and "discriminator/gradient" in records[step]
    assert records[4]["bias"] != records[8]["bias"] and all("discriminator/cost" in r for r in records.values())
    train(setup, tmp_path, seed=0, schedule=replace(schedule, steps=13), progress=False)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(records), "not where a run happens to end"


def test_a_lazy_term_is_recorded_where_it_is_taken(tmp_path):
    """Once between two round numbers, whatever step that is, and never as the 0 of the steps that leave it out."""
    adam, r1 = optax.adam(1e-2), {"discriminator": {"r1": Term(penalties.r1(), 1.0, every=4)}}
    judge = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(1), jax.numpy.ravel])
    game = gan(Generator(), judge, LOSSES["hinge"], prior=normal_prior(2), terms=r1)
    dynamics = alternating({"discriminator": adam, "generator": adam})
    setup = Setup(game, dynamics, {"data": Stream(_dataset(), 4)})
    for steps in (7, 30):  # stopped between two records, and gone on
        schedule = Schedule(steps, log_every=10, sample_every=0, checkpoint_every=100, chunk=7)
        train(setup, tmp_path, seed=0, schedule=schedule, progress=False)
    records = {r["step"]: r for r in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())}
    assert list(records) == [1, 10, 13, 20, 21, 30]  # steps 1, 5, 9, 13, ... take it
    assert [step for step, record in records.items() if "discriminator/r1" in record] == [1, 13, 21]
    assert all(records[step]["discriminator/r1"] > 0 for step in (1, 13, 21))
    assert all("discriminator/cost" in record for record in records.values())


def test_tensorboard_reads_the_metrics(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    observed = []

    def observe(step, state, writers):
        observed.append(step)
        writers.image(step, "samples", np.full((8, 8, 3), step, np.uint8))

    train(_setup(), tmp_path, seed=0, schedule=_schedule(9), observe=observe, progress=False)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert observed == [0, 7, 9]
    assert [e.step for e in events.Images("samples")] == observed
    jsonl = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    values = {e.step: e.value for e in events.Scalars("generator/cost")}
    assert values == pytest.approx({r["step"]: r["generator/cost"] for r in jsonl})


def test_divergence_ends_the_run_with_its_metrics_on_disk(tmp_path):
    def cost(params, moment):
        wall = jax.numpy.where(params["one"] < -0.5, jax.numpy.nan, 1.0)
        return params["one"] * moment.batch.x.mean() * wall, Outcome({}, {})

    game = Game(lambda key, batch: ({"one": jax.numpy.zeros(())}, {"one": {}}), {"one": cost})
    dataset = Dataset(np.ones((20, 2), np.float32) * np.array([1, 3], np.float32))
    setup = Setup(game, alternating({"one": optax.sgd(0.1)}), {"data": Stream(dataset, 4)})
    sentence = r"step 8: 5 steps in a row .*one/cost.*the first of the player one: params\.one; .*lower --learning-rate"
    with pytest.raises(DivergedError, match=sentence):
        _train(tmp_path, 50, setup)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 8 and last["one/cost"] is None


OVERFLOWS = {
    # v(a, b) = 1e25 b: b's second moment is 1e50; parameters stay finite, for a step is g / sqrt(inf) = 0
    "second moment": (alternating, r"the first of the player two: dynamics_state\.optimizers\.two\."),
    "inside a wrapper": (
        lambda optimizers: lookahead(alternating(optimizers), k=2, alpha=0.5),
        r"the first of the player two: dynamics_state\.inner\.optimizers\.two\.",
    ),
}


@pytest.mark.parametrize("what", OVERFLOWS)
def test_whose_memory_overflowed(tmp_path, what):
    play, sentence = OVERFLOWS[what]

    def cost(scale, player):
        def of(params, moment):
            return scale * params[player] * moment.batch.x.mean(), Outcome({}, {})

        return of

    start = {"one": jax.numpy.zeros(()), "two": jax.numpy.zeros(())}
    game = Game(lambda key, batch: (start, {"one": {}, "two": {}}), {"one": cost(1.0, "one"), "two": cost(1e25, "two")})
    dataset = Dataset(np.ones((20, 2), np.float32) * np.array([1, 3], np.float32))
    dynamics = play({"one": optax.adam(0.1), "two": optax.adam(0.1)})
    with pytest.raises(DivergedError, match=sentence):
        _train(tmp_path, 50, Setup(game, dynamics, {"data": Stream(dataset, 4)}))


def test_an_average_is_blamed_on_its_player():
    setup = _setup()
    owners = {
        "averages.ema.total.0.Dense_0.bias": "generator",
        "params.discriminator.Dense_0.kernel": "discriminator",
        "dynamics_state.adjustments.0.total.generator.Dense_0.bias": "generator",
        "discriminator/cost": "discriminator",
        "residual": None,
    }
    assert {name: owner_of(setup, name) for name in owners} == owners


def test_bad_setups_fail_before_anything_is_written(tmp_path):
    workdir = tmp_path / "run"
    unlabelled = Dataset(_dataset().x_train)
    with pytest.raises(DataError, match="has no labels"):
        _train(workdir, 5, _made(True, True, 2, True, unlabelled))
    assert not workdir.exists()


def test_another_model_cannot_continue(tmp_path):
    _train(tmp_path, 5)
    with pytest.raises(CheckpointError, match=r"checkpoint 5 .*Embed_0.* is missing, expected float32\[3, 8\]"):
        _train(tmp_path, 9, _setup(labelled=True))
    half = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16" if x.dtype == "float32" else x.dtype),
        setups.state_shapes(_setup()),
    )
    with pytest.raises(CheckpointError, match=r"is float32.*, expected bfloat16"):
        Checkpoints(tmp_path, read_only=True).restore(half)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_state(_setup(), tmp_path / "nowhere")


def test_reading_a_run_in_progress_disturbs_nothing(tmp_path):
    _train(tmp_path, 5)
    being_written = tmp_path / "checkpoints" / "9.orbax-checkpoint-tmp"
    being_written.mkdir()
    assert int(load_state(_setup(), tmp_path).step) == 5
    assert being_written.exists()


def test_a_failed_save_is_one_sentence_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    setup, saves, plain = _setup(), [], Checkpoints.save

    def full_disk(self, state):
        saves.append(int(state.step))
        if len(saves) > 1:
            monkeypatch.setattr(self._manager, "save", _raise)
        plain(self, state)

    def _raise(*args, **kwargs):
        raise ValueError("OUT_OF_RANGE: no space left\nmore lines")

    monkeypatch.setattr(Checkpoints, "save", full_disk)
    with pytest.raises(CheckpointError, match=r"checkpoint 10 could not be written to .*no space left"):
        _train(tmp_path, 20, setup)
    assert int(load_state(setup, tmp_path).step) == 5


def _rooted(value):
    """A cost of three terms, of which the one under the root is at 0: its value is finite and its gradient is not."""

    def cost(params, moment):
        x = params["one"] - moment.batch.x.mean()
        parts = {"square": x**2, "root": jax.numpy.sqrt(params["one"] * value), "count": jax.numpy.int32(1)}
        return parts["square"] + parts["root"], Outcome({}, parts)

    return Game(lambda key, batch: ({"one": jax.numpy.zeros(())}, {"one": {}}), {"one": cost})


@pytest.mark.parametrize(("value", "what"), [(1.0, "gradient"), (np.nan, "value")])
def test_divergence_names_the_term(tmp_path, value, what):
    """sqrt at 0: no metric of the record tells which term it was."""
    dataset = Dataset(np.ones((20, 2), np.float32) * np.array([1, 3], np.float32))
    setup = Setup(_rooted(value), alternating({"one": optax.sgd(0.1)}), {"data": Stream(dataset, 4)})
    bad = r"\(no metric\)" if what == "gradient" else r"\(one/cost, one/root\)"
    sentence = rf"step 5: .*{bad}.*: params\.one; not finite of its terms: the {what} of one/root; the same"
    with pytest.raises(DivergedError, match=sentence):
        _train(tmp_path, 50, setup)
