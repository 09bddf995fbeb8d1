"""A run directory with a file of every kind, as a finished run leaves it."""

import json
from pathlib import Path

import numpy as np
import pytest

from ganjax.report import grid, save_image

CONFIG = {"steps": 100, "seed": 3, "data": "digits", "batch_size": 64, "loss": "hinge", "hidden": [64, 32]}
RECEIPT = {
    "extractor": "digits classifier",
    "extractor_digest": "e" * 64,
    "count": 500,
    "reference": "train",
    "reference_count": 1500,
    "resize": "none",
    "batch_norm": "running",
    "seed": 0,
    "ganjax": "0.1.0",
    "jax": "0.10.2",
    "config_digest": "c" * 64,
    "data_digest": "d" * 64,
    "device": "cpu x 2",
    "created": "2026-01-02T03:04:05+00:00",
}
FID = {"value": 41.25, "floor": 2.5, "held_out": 43.75, "better": "lower", "note": "on logits"}


class Files:
    """Writes into a run directory."""

    def __init__(self, workdir: Path):
        self.workdir = workdir

    def json(self, name, content):
        path = self.workdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def lines(self, name, rows):
        (self.workdir / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def config(self, **changes):
        record = {"experiment": "vanilla_gan", "ganjax": "0.1.0", "config": CONFIG, "data_digest": "d" * 64}
        self.json("config.json", record | changes)

    def score(self, step, which="last", weights="ema", **changes):
        score = {"step": step, "weights": weights, "which": which, "metrics": {"fid": FID}, "receipt": RECEIPT}
        self.json(f"scores/{step}-{weights}.json", score | changes)

    def picture(self, name, rows=3, columns=3, size=8):
        images = np.random.default_rng(0).integers(0, 255, (rows * columns, size, size, 1)).astype(np.uint8)
        save_image(self.workdir / name, grid(images, columns=columns))


@pytest.fixture
def run(tmp_path):
    """A finished run of 100 steps, judged, without anything to warn of."""
    files = Files(tmp_path / "run-a")
    files.config()
    costs = {"generator/cost": 0.75, "discriminator/cost": 1.25, "generator/logit": 0.5}
    files.lines("metrics.jsonl", [{"step": k, "time": 0.5 * k, "finite": 1.0, **costs} for k in range(10, 101, 10)])
    files.lines("judge.jsonl", [{"step": k, "kid": 1 / (k + 1)} for k in range(0, 101, 20)])
    files.score(100)
    for step in range(0, 101, 10):
        files.picture(f"samples/{step:08d}.png")
    files.picture("panel.png", 2, 8)
    files.picture("neighbours.png", 6, 5)
    meta = {"step": 100, "ganjax": "0.1.0", "jax": "0.10.2", "devices": 2, "xla_flags": ""}
    files.json("checkpoints/100/meta/metadata", meta)
    return files
