"""Real processes that are killed, stopped, started twice and started again."""

import itertools
import random
import re
import resource
import signal
import socket
import subprocess
import time

import pytest
from faults import FULL, STOPPED, Row, Run, StagedRun, contents, number

from ganjax.training import parallel

STEPS = 300 if FULL else 80  # of the runs that are killed: every fault of a tenth has shorter ones


@pytest.fixture(scope="module")
def killed_later(tmp_path_factory, reference):
    """The last line of an uninterrupted run of so many steps, and the seconds that it took: the first one compiled."""
    began = time.perf_counter()
    return Run(tmp_path_factory.mktemp("whole") / "run", steps=STEPS).digest(), time.perf_counter() - began


def _killed_at_random(workdir, rng, longest, case):
    """Kill and start the same command until it ends by itself; every kill is a case."""
    run, kills = Run(workdir, steps=STEPS), 0
    while True:
        process, began = run.start(), time.perf_counter()
        try:
            out, err = process.communicate(timeout=rng.uniform(0, longest))
            assert process.returncode == 0, err
            return kills, time.perf_counter() - began, out.strip().splitlines()[-1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        kills += 1
        with case(f"kill {kills} in {workdir.name}"):
            lost = run.logged() - max(run.steps(), default=0)
            assert lost <= 40, f"{lost} steps were lost"  # two intervals: one of them was being written


def test_sigkill_at_random_moments(killed_later, tmp_path):
    rng, (reference, seconds) = random.Random(0), killed_later
    with Row("R1", "SIGKILL at random moments, the same command again") as row:
        trials = 0
        while row.injected < number(100):
            trials += 1
            workdir = tmp_path / str(trials)
            kills, took, last = _killed_at_random(workdir, rng, 1.2 * seconds, row.case)
            if not kills:  # a whole run, and the machine may have been busy when the first was timed
                seconds = min(seconds, took)
            if last != reference:
                row.failures.append(f"{workdir.name} ended with {last}, expected {reference}")
            if Run(workdir).unfinished():
                row.failures.append(f"{workdir.name} kept {Run(workdir).unfinished()}")
        row.notes = f"seed 0, {trials} runs"


def test_sigkill_while_a_checkpoint_is_written(killed_later, tmp_path):
    """The parent waits for the temporary directory of a save, and kills as soon as it sees one."""
    with Row("R2", "SIGKILL inside a save") as row:
        for trial in itertools.takewhile(lambda _: row.injected < number(30), range(90)):
            run = Run(tmp_path / str(trial), steps=STEPS)
            process, seen = run.start(), False
            while process.poll() is None and not seen:
                seen = bool(run.unfinished()) and len(run.steps()) >= trial % 3
                time.sleep(0.001)  # else it takes the processor from the run that it watches
            process.kill()
            process.communicate()
            if not seen:  # it was too fast for a look: nothing was injected
                continue
            with row.case(f"kill {trial}"):
                before = run.steps()
                assert run.digest() == killed_later[0]
                assert not run.unfinished(), "a temporary directory is left"
                assert not before or run.steps()[-1] > before[-1]


def _stage_ends(run):
    """The digest of each stage, once all have ended."""
    code, out, err = run.finish()
    assert code == 0, err
    return dict(re.findall(r"^step \d+ of the stage (\w+) digest (\w+)$", out, re.MULTILINE))


PLACES = {  # whether a run is there, by the checkpoints of its two stages
    "in the first stage": lambda first, second: first and first[-1] < 300,
    "between the stages": lambda first, second: first[-1:] == [300] and not second,
    "in the second stage": lambda first, second: second and second[-1] < 300,
}


@pytest.mark.skipif(not FULL, reason="two stages, seven times: make faults")
def test_sigkill_in_every_stage(tmp_path):
    """Both end as they would have; one that had ended is not touched."""
    with Row("R1 stages", "SIGKILL in the first of two stages, in the second and between them") as row:
        whole = _stage_ends(StagedRun(tmp_path / "whole"))
        assert list(whole) == ["level_0", "level_1"]
        for place, there in PLACES.items():
            run = StagedRun(tmp_path / place.replace(" ", "_"))
            first, second = (Run(run.workdir / name) for name in whole)
            process = run.start()
            while process.poll() is None and not there(first.steps(), second.steps()):
                time.sleep(0.001)
            process.kill()
            process.communicate()
            with row.case(place):
                assert there(first.steps(), second.steps()), "it was killed elsewhere"
                kept, ended = contents(first.workdir / "checkpoints"), first.steps()[-1] == 300
                assert _stage_ends(run) == whole
                assert not ended or contents(first.workdir / "checkpoints") == kept


@pytest.mark.parametrize(("name", "row", "full"), [("SIGTERM", "R3", 20), ("SIGINT", "R4", 10)])
def test_a_signal_saves_and_ends(reference, tmp_path, name, row, full):
    """Few checkpoints are due, so that the one of the interrupted step is told from them."""
    rng = random.Random(1)
    with Row(row, f"{name} at a random step: saved, exit {STOPPED[name]}") as row:
        for trial in itertools.takewhile(lambda _: row.injected < number(full), range(3 * number(full))):
            run = Run(tmp_path / str(trial), every=150)
            process = run.start()
            assert run.began(process), process.communicate()
            time.sleep(rng.uniform(0, 0.1))
            sent = time.perf_counter()
            process.send_signal(getattr(signal, name))
            _, err = process.communicate(timeout=60)
            if run.steps()[-1:] == [300]:  # the signal came after the last step, and may have ended the end
                continue
            with row.case(f"{name} {trial}"):
                assert process.returncode == STOPPED[name], err
                assert time.perf_counter() - sent < 10
                step = int(re.search(r"stopped at step (\d+); the same command", err)[1])
                assert run.steps()[-1] == step
                assert Run(run.workdir).digest() == reference


def test_sigint_twice_ends_at_once(reference, tmp_path):
    with Row("R4 twice", "SIGINT twice: ends at once, the last checkpoint intact") as row:
        for trial in range(number(10)):
            run = Run(tmp_path / str(trial))
            process = run.start()
            assert run.began(process), process.communicate()
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                time.sleep(0.01)
            process.communicate(timeout=10)
            if process.returncode == 0:
                continue
            with row.case(trial):
                assert process.returncode in (-signal.SIGINT, 130)  # 130 if it had saved before the second came
                assert run.digest() == reference


def test_two_writers(tmp_path):
    """The second ends with 7 and names the first; after the first is killed, its lock holds nobody up."""
    with Row("R19", "two writers of one directory, and a lock that its holder left") as row:
        for trial in range(number(5)):
            run = Run(tmp_path / str(trial), steps=20_000, every=500)
            first = run.start()
            assert run.began(first), first.communicate()
            with row.case(trial):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                code, out, err = run.finish()
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                assert code == 7 and out == "" and f"in use by process {first.pid}" in err, err
                assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2  # seconds
            first.kill()
            first.communicate()
            with row.case(f"{trial}, after the kill"):
                assert (run.workdir / "lock").exists()
                code, _, err = Run(run.workdir, steps=max(run.steps(), default=0) + 10, every=500).finish()
                assert code == 0 and not (run.workdir / "lock").exists(), err


def test_a_finished_run_is_left_alone(tmp_path):
    with Row("R20", "a finished run is started again") as row:
        run = Run(tmp_path / "run", steps=40)
        last, before = run.digest(), contents(tmp_path)
        for trial in range(number(3)):
            with row.case(trial):
                began = time.perf_counter()
                assert run.digest() == last
                assert time.perf_counter() - began < 10
                assert contents(tmp_path) == before


def test_the_same_seed_gives_the_same_bits(reference, tmp_path):
    with Row("R23", "the same seed again in another process; another seed") as row:
        for trial in range(number(5)):
            with row.case(trial):
                seeded = [Run(tmp_path / f"{trial}{k}", "--seed", trial, steps=40).digest() for k in range(2)]
                assert seeded[0] == seeded[1]
                assert seeded[0] != Run(tmp_path / f"{trial}x", "--seed", trial + 100, steps=40).digest()


def test_a_dead_process_ends_the_others(tmp_path):
    """One of two processes is killed; the other ends with an error, and both together continue to the same state."""

    def start(workdir):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        more = ["--coordinator", address, "--process-count", 2, "--process-id"]
        return [Run(workdir, *more, i, steps=20, every=10).start() for i in range(2)]

    def end(processes):
        outs = [process.communicate(timeout=300) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outs
        return outs[0][0].strip().splitlines()[-1]

    with Row("R18", "SIGKILL of one of two processes") as row:
        whole = end(start(tmp_path / "whole"))
        for trial in range(number(5)):
            run = Run(tmp_path / str(trial))
            processes = start(run.workdir)
            assert run.began(processes[0]), processes[0].communicate()
            processes[trial % 2].kill()
            processes[trial % 2].communicate()
            survivor = processes[1 - trial % 2]
            with row.case(trial):
                try:
                    _, err = survivor.communicate(timeout=parallel.HEARTBEAT + 10)
                except subprocess.TimeoutExpired:
                    survivor.kill()
                    raise AssertionError("the other process hangs") from None
                assert survivor.returncode != 0, err
                assert end(start(run.workdir)) == whole
