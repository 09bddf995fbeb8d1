"""Animation: an image that moves as a clip does, by keypoints that nobody named.

Claim: keypoints with affine maps around them, learned from clips alone by moving one frame onto another, follow what
moves; a motion that is one affine map is theirs exactly, wherever they are, so an image moves as another clip does.
Paper: Siarohin, Lathuiliere, Tulyakov, Ricci and Sebe, First Order Motion Model for Image Animation, 2019.
Command: python experiments/animation.py train --workdir runs/animation
         python experiments/animation.py evaluate --workdir runs/animation --count 200
         python experiments/animation.py sample --workdir runs/animation --sampler mirrored --out mirrored.png
Figure: `sample`, held-out clips and what is made of their first frames; with --sampler mirrored these move to the left
where the clip moves to the right. `evaluate` measures the absolute error of clips that are made of their first frames
beside that of first frames that stand still (l1_still), and by how many pixels keypoints miss the way of the digit
(drift).
What we measured, --steps 500 --decay-steps 500, seed 0, 297 s on 2 CPU cores beside much else: of 200 test clips an
absolute error of .0088 of pixels from -1 to 1, where first frames that stand still have .230; keypoints miss the way of
the digit by .13 pixels. The digits move without turning, so the frames of keypoints are told by equivariance alone, and
hardly follow so soon: it is .80. Mirrored clips lead out of the image where the digit stands at the other wall.
A small version: two networks of a few convolutions for 32x32 pixels, the distance of a pyramid of images in the place
of VGG's features, no discriminator.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganjax import launch
from ganjax.config import require
from ganjax.errors import DataError
from ganjax.options import Adam, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Adam, TrainConfig):
    """Both networks, and what they pay."""

    points: int = 4
    """K, keypoints; 10 in the paper."""
    width: int = 16
    """Channels of the first maps of both networks."""
    equivariance: float = 0.2
    """Weight of what keypoints miss of random affine maps."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("points", "width"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "equivariance", 0 <= self.equivariance < float("inf"), "a number that is not negative")


CONFIG = Config(
    steps=2000,
    data="bouncing:digits",
    batch_size=16,
    learning_rate=1e-3,
    beta1=0.9,  # there is no game whose rotation a smaller one would damp
    decay_steps=2000,
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """A detector of keypoints and a painter, both by one cost."""
    from ganjax import recipe
    from ganjax.dynamics import simultaneous
    from ganjax.games import animation
    from ganjax.models.keypoints import Detector, Painter
    from ganjax.training import Setup, Stream

    dataset = load(config.data)
    clips = dataset.kind.name == "clip" and dataset.shape[0] > 1
    if not clips or min(dataset.shape[1:3]) < 8 or any(n % 4 for n in dataset.shape[1:3]):
        raise DataError(
            f"the data set {dataset.name} has {dataset.kind.plural} of {dataset.shape}, expected clips (frames, "
            "height, width, channels) of two frames at least and sides divisible by 4, at least 8; see bouncing:NAME"
        )
    networks = Detector(config.points, config.width), Painter(config.width)
    players = (animation.DETECTOR, animation.GENERATOR)
    return Setup(
        game=animation.animation(*networks, weight=config.equivariance),
        dynamics=simultaneous(dict.fromkeys(players, recipe.adam_of(config)), axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size)},
        samplers=animation.samplers(*networks),
        measures=animation.measures(*networks),
    )


SMOKE = {
    "steps": 4,
    "points": 2,
    "width": 2,
    "batch_size": 4,
    "sample_every": 2,
    "checkpoint_every": 2,
    "chunk": 2,
    "decay_steps": 0,
}
EXPERIMENT = launch.Experiment("animation", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
