"""metrics.jsonl is read whatever a kill or a rewind left in it."""

import numpy as np
import pytest

from ganjax.errors import DataError
from ganjax.report import read_metrics
from ganjax.report.history import numbers, read_records


def read(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text)
    return read_metrics(tmp_path / "metrics.jsonl")


def test_rows_become_aligned_columns(tmp_path):
    metrics = read(tmp_path, '{"step": 0, "time": 0.5, "g/cost": 1}\n{"step": 10, "time": 1.5, "fid": 7.5}\n')
    assert list(metrics) == ["step", "time", "g/cost", "fid"]
    assert metrics["step"].dtype == np.int64 and metrics["g/cost"].dtype == np.float64
    np.testing.assert_array_equal(metrics["step"], [0, 10])
    np.testing.assert_array_equal(metrics["g/cost"], [1.0, np.nan])
    np.testing.assert_array_equal(metrics["fid"], [np.nan, 7.5])


WHOLE = '{"step": 1, "a": 1.0}\n{"step": 2, "a": 2.0}\n'
NEXT = '{"step": 3, "a": 3.0, "b": 0.5}'


@pytest.mark.parametrize("length", range(1, len(NEXT)))
def test_a_last_line_cut_anywhere_is_left_out(tmp_path, length):
    metrics = read(tmp_path, WHOLE + NEXT[:length])
    assert list(metrics) == ["step", "a"]
    np.testing.assert_array_equal(metrics["step"], [1, 2])


def test_a_whole_last_line_without_newline_counts(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, WHOLE + NEXT)["a"], [1, 2, 3])


@pytest.mark.parametrize("torn", ['{"step": 3, "a', '{"step": 3, "a": 9.0, "b', "{", '{"step": 3, "a": '])
def test_a_row_appended_to_a_torn_line_is_read(tmp_path, torn):
    metrics = read(tmp_path, WHOLE + torn + NEXT + '\n{"step": 4, "a": 4.0}\n')
    np.testing.assert_array_equal(metrics["step"], [1, 2, 3, 4])
    np.testing.assert_array_equal(metrics["a"], [1, 2, 3, 4])


def test_a_cut_inside_a_character_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(WHOLE.encode() + '{"step": 3, "σ": 1}'.encode()[:14])
    np.testing.assert_array_equal(read_metrics(tmp_path)["step"], [1, 2])


def test_after_a_rewind_the_last_value_of_a_step_counts(tmp_path):
    rows = [(0, 1.0), (10, 2.0), (20, 3.0), (10, 5.0), (20, 6.0), (30, 7.0)]
    metrics = read(tmp_path, "".join(f'{{"step": {step}, "a": {value}}}\n' for step, value in rows))
    np.testing.assert_array_equal(metrics["step"], [0, 10, 20, 30])
    np.testing.assert_array_equal(metrics["a"], [1, 5, 6, 7])


def test_rows_of_one_step_are_merged(tmp_path):
    metrics = read(tmp_path, '{"step": 5, "a": 1}\n{"step": 5, "fid": 2}\n')
    assert {name: values.tolist() for name, values in metrics.items()} == {"step": [5], "a": [1], "fid": [2]}


def test_what_is_no_number_does_not_disturb(tmp_path):
    metrics = read(tmp_path, '{"step": 1, "a": null, "b": NaN, "note": "x", "flag": true, "c": -Infinity}\n[1]\n\n3\n')
    assert {name: values.tolist() for name, values in metrics.items() if name != "b"} | {"a": 0} == {
        "step": [1],
        "a": 0,
        "c": [-np.inf],
    }
    assert np.isnan(metrics["a"]).all() and np.isnan(metrics["b"]).all()


@pytest.mark.parametrize("text", ["", "\n", '{"step": 1', '{"a": 2}\n'])
def test_nothing_to_read_is_an_error_that_says_so(tmp_path, text):
    with pytest.raises(DataError, match="no complete line"):
        read(tmp_path, text)


def test_a_missing_file_is_an_error_that_says_so(tmp_path):
    with pytest.raises(DataError, match=r"No metrics at .*metrics\.jsonl"):
        read_metrics(tmp_path)


def test_records_are_all_that_is_whole_with_a_count_of_the_rest(tmp_path):
    lines = ['{"step": 1, "a": {"b": [1]}}', "", '{"step": 2, "a', '{"torn": 3{"step": 4}', "[1]", "[" * 100_000, "{}"]
    (tmp_path / "alarms.jsonl").write_text("\n".join(lines))
    records = read_records(tmp_path / "alarms.jsonl")
    assert records.rows == [{"step": 1, "a": {"b": [1]}}, {"step": 4}] and records.damaged == 4


def test_numbers_are_what_a_float_can_hold():
    row = {"step": 1, "a": 2, "b": 0.5, "c": True, "d": "1", "e": 10**400, "f": [1]}
    assert numbers(row) == {"a": 2.0, "b": 0.5}


@pytest.mark.parametrize("step", ["true", "1.0", "9" * 400, str(2**63)])
def test_a_step_is_an_integer_of_64_bits(tmp_path, step):
    metrics = read(tmp_path, WHOLE + f'{{"step": {step}, "a": 5}}\n')
    assert {name: values.tolist() for name, values in metrics.items()} == {"step": [1, 2], "a": [1, 2]}
