"""What an autoencoder of codes has made of its data: `codes`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganjax.commands.base import Experiment, OfRun, config_of, opened
from ganjax.config import require
from ganjax.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from ganjax.core import Weights
    from ganjax.data import Dataset

SHOWN = 2000  # vectors of the encoder in the plane
CALL = 128  # images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codes(OfRun):
    """Print what a code costs by counting and by the learned prior, and draw maps of codes and the codebook.

    Held-out images stand above the maps of their codes, where codes of like vectors have like colours; another picture
    has the codebook among the encoder's vectors, in the plane of their two largest variances.
    """

    out: Path
    """The picture of the maps to write, .png; that of the codebook lies beside it, with -codebook in its name."""
    count: int = 8
    """Images in the picture."""

    def __post_init__(self):
        require(self, "count", 1 <= self.count <= 32, "1 to 32")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")

    def run(self, experiment: Experiment) -> None:
        config, _ = config_of(experiment, self.workdir)
        run = opened(experiment, self)
        from ganjax.evaluation.held_out import measured
        from ganjax.games import quantised
        from ganjax.metrics.codes import bits_by_counting
        from ganjax.models.vqvae import MapEncoder
        from ganjax.training import load_state

        state, data = load_state(run.setup, run.workdir), run.setup.streams["data"].dataset.in_memory()
        if quantised.ENCODER not in state.params:
            raise ConfigError("--stage: expected codes or prior, the stages that have a codebook")
        if data.x_test is None:
            raise ConfigError(f"{data.name} holds nothing out, and what a code costs is asked of held-out images")
        (vectors, train), (_, test) = (
            told(MapEncoder(config.vector, config.width), state.weights, x) for x in (data.x_train, data.x_test)
        )
        bits = bits_by_counting(train, test, config.codes)
        if "bits_per_code" in run.setup.measures:
            bits["prior"] = measured(run.setup, "bits_per_code")(state)
        places = train[0].size
        print(f"{'bits a code':12}  of {len(test)} held-out maps of {places} codes; by_left: counts by place and left")
        print("\n".join(f"{name:12} {one:6.3f}  {one * places:7.1f} bits a map" for name, one in bits.items()))
        self.out.parent.mkdir(parents=True, exist_ok=True)
        draw(self, state.weights, data, vectors, test)


def told(encoder: Any, weights: "Weights", x: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Vectors [SHOWN or fewer, D] of images of all kinds, and the codes of all, [N, H, W]."""
    import jax
    import numpy as np

    from ganjax.data import subsample
    from ganjax.games import quantised
    from ganjax.kinds import from_bytes

    @jax.jit
    def of(weights: Any, x: Any) -> Any:
        z = quantised.embed(encoder, weights, from_bytes(x))
        return z, quantised.nearest(quantised.vectors_of(weights[quantised.ENCODER]), z)

    vectors, codes, shown = [], [], np.isin(np.arange(len(x)), subsample(len(x), SHOWN))
    for start in range(0, len(x), CALL):
        rows = np.arange(start, start + CALL)
        z, index = (np.asarray(one)[rows < len(x)] for one in of(weights, x[np.minimum(rows, len(x) - 1)]))
        vectors.append(z[shown[start : start + CALL]].reshape(-1, z.shape[-1]))
        codes.append(index)
    some = np.concatenate(vectors)
    return some[subsample(len(some), SHOWN)], np.concatenate(codes)


def draw(asked: Codes, weights: "Weights", data: "Dataset", vectors: "np.ndarray", test: "np.ndarray") -> None:
    """Both pictures."""
    import numpy as np

    from ganjax.data import subsample
    from ganjax.games import quantised
    from ganjax.report import Panel, Series, panels
    from ganjax.report.images import to_rgb
    from ganjax.report.rows import Row, rows

    book = np.asarray(quantised.vectors_of(weights[quantised.ENCODER]))
    axes = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[2]
    book, vectors = ((v - vectors.mean(0)) @ axes[:3].T for v in (book, vectors))
    low, high = book.min(0), book.max(0)
    tints = np.rint(255 * (book - low) / np.maximum(high - low, 1e-9)).astype(np.uint8)
    shown = subsample(len(test), asked.count)
    x = data.x_test[shown]  # type: ignore[index]
    scale = x.shape[1] // test.shape[1]
    maps = tints[test[shown]].repeat(scale, 1).repeat(scale, 2)
    rows([Row(to_rgb(x), "held out"), Row(maps, "their codes")], asked.out)
    beside = asked.out.with_name(f"{asked.out.stem}-codebook.png")
    all_of = {"vectors of the encoder": (vectors, "points"), f"{len(book)} codes": (book, "star")}
    series = [Series(v[:, 0], v[:, 1], label, kind) for label, (v, kind) in all_of.items()]
    plane = Panel(series, "first principal axis", "second", equal=True)
    panels([plane], beside, columns=1, size=(6.0, 5.0))
    print(beside, asked.out, sep="\n")
