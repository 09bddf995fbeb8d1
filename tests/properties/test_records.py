"""What a run logs is one line of JSON for each record, whatever its names are."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ganjax.training.writers import Writers


@settings(max_examples=20)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=20))
def test_a_record_is_a_line(tmp_path, names):
    (tmp_path / "metrics.jsonl").unlink(missing_ok=True)
    writers = Writers(tmp_path, 0)
    for step, name in enumerate(names):
        writers.scalars(step, {f"\n\r\u2028\x1b[2J{name}": 1.0, name: float("nan")})
    writers.close()
    lines = (tmp_path / "metrics.jsonl").read_text().split("\n")
    assert lines.pop() == "" and all(line.isascii() and line.isprintable() for line in lines)
    for line, name in zip(lines, names, strict=True):
        record = json.loads(line)
        assert record[f"\n\r\u2028\x1b[2J{name}"] == 1.0 and record[name] is None
