"""SPADE: from a map of labels to an image, by a network that reads the map wherever it normalises.

Claim: a decoder that normalises its features and reads the map at its input alone washes the labels away; with scales
and offsets that are drawn from the map at every size, what it paints has the labels that were asked for.
Paper: Park, Liu, Wang and Zhu, Semantic Image Synthesis with Spatially-Adaptive Normalization, 2019 (section 3;
table 3: maps at the input of ordinary networks), without its VGG term, which needs weights of ImageNet.
Command: python experiments/spade.py train --workdir runs/spade
         python experiments/spade.py evaluate --workdir runs/spade --count 228
Figure: runs/spade/panel.png, held-out maps, what is painted of them over training, and the images that the maps are of.
The maps are made of the images: k-means finds --labels colours among the training images, and each pixel belongs to the
nearest. `evaluate` reads them back: agreement, the share of pixels whose nearest colour is the one that was asked for,
and iou, the mean over labels, which does not drown the small ones in the background.
--network plain is the same network with BatchNorm in the place of SPADE, which sees the map at its input, 4x4;
--network unet reads it at full size at its input, and has skips.
Maps of your own are a companion of the data, int32 [N, H, W], whose name --given tells, with --labels labels.
What we measured on emoji, 228 held-out maps, seed 0, the average's last step, 10 minutes on 2 CPU cores beside many
other programs: agreement .968, iou .887, l1 .109 from -1 to 1, colourfulness 1.03 of the truth's. With --network plain
.717, .431, .273 and .98, in 6 minutes: blots of the right colours, for its map has 4x4 pixels. With --network unet
.941, .825, .163 and .91, in 4 minutes: a map at full size at the input is nearly as well kept where there are skips.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ganjax import launch
from ganjax.config import require
from ganjax.options import Adam, Averaging, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Averaging, Adam, TrainConfig):
    """The networks, what each player pays, and the maps."""

    given: str = ""
    """The companion of the data that holds the maps; by default they are made of the images' colours."""
    labels: int = 6
    """Labels of the maps."""
    network: Literal["spade", "plain", "unet"] = "spade"
    """Where the generator reads the map: wherever it normalises, or at its input."""
    width: int = 16
    """Channels of the generator's last map; up to eight times as many further in."""
    hidden: int = 32
    """Channels between the map and the scales and offsets drawn from it; 128 in the paper."""
    discriminator_width: int = 32
    """Channels of the first map of each discriminator."""
    discriminator_layers: int = 2
    """Their layers of stride 2."""
    scales: int = 2
    """Discriminators, each of an image half as large."""
    features: float = 10.0
    """Weight of feature matching."""
    discriminator_rate: float = 4e-4
    """Step size of the discriminator's Adam."""
    spectral: bool = True
    """Normalise spectrally: the discriminators, and the generator's blocks but for what draws scales and offsets."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("width", "hidden", "discriminator_width", "scales"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "labels", 2 <= self.labels <= 256, "2 to 256")
        require(self, "discriminator_layers", self.discriminator_layers >= 0, "at least 0")
        require(self, "features", 0 <= self.features < float("inf"), "a number that is not negative")
        require(self, "discriminator_rate", 0 < self.discriminator_rate < float("inf"), "a positive number")

    def unused(self) -> dict[str, str]:
        own = {} if self.network == "spade" else {"hidden": f"--network {self.network} reads the map at its input"}
        return super().unused() | own


CONFIG = Config(
    steps=800,
    data="fluent_emoji",
    batch_size=8,
    width=8,  # 64 in the paper, and so on: minutes on 2 CPU cores
    hidden=16,
    discriminator_width=16,
    learning_rate=2e-4,  # 1e-4 in the paper, which takes a hundred times as many steps
    decay_steps=800,
    beta1=0.0,
    beta2=0.9,
    ema_decay=0.99,  # the last hundred steps of so few
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """The generator of SPADE and discriminators of two scales, by hinge and feature matching."""
    from functools import partial

    import optax

    from ganjax import recipe
    from ganjax.augment import jitter
    from ganjax.data.layout import LAYOUT, with_layout
    from ganjax.dynamics import alternating
    from ganjax.games import pix2pix
    from ganjax.kinds import from_bytes
    from ganjax.losses import LOSSES
    from ganjax.models.dcgan import check_image_shape
    from ganjax.models.patchgan import PatchDiscriminator
    from ganjax.models.spade import MultiScale
    from ganjax.spectral import spectral_norm
    from ganjax.training import Averaged, Setup, Stream

    dataset, colours = load(config.data), None
    check_image_shape(dataset.shape)
    if not config.given:
        dataset, found = with_layout(dataset, config.labels)
        colours = from_bytes(found)  # type: ignore[arg-type]
    name = config.given or LAYOUT
    check_maps(dataset, name, config.labels)
    generator = generator_of(config, dataset.shape, axis_name)
    patches = partial(PatchDiscriminator, config.discriminator_width, config.discriminator_layers)
    spectral = {}
    if config.spectral:
        spectral = {
            pix2pix.GENERATOR: spectral_norm(select=is_normalised),
            pix2pix.DISCRIMINATOR: spectral_norm(),
        }
    shown: dict[str, Any] = {
        "given": name,
        "labels": config.labels,
        "spectral": spectral.get(pix2pix.GENERATOR),
        "dropout": False,
    }
    adams = {
        pix2pix.DISCRIMINATOR: optax.adam(config.discriminator_rate, b1=config.beta1, b2=config.beta2),
        pix2pix.GENERATOR: recipe.adam_of(config),
    }
    kept = recipe.averages(config)
    return Setup(
        game=pix2pix.pix2pix(
            generator,
            MultiScale(patches, config.scales),
            loss=LOSSES["hinge"],
            distance_weight=0.0,
            features=config.features,
            labels=config.labels,
            spectral=spectral,
        ),
        dynamics=alternating(adams, fresh=False, axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size, y=name, prepare=jitter(0))},
        averages={} if kept is None else {config.average: Averaged(pix2pix.GENERATOR, kept)},
        samplers=pix2pix.samplers(generator, **shown),
        measures=pix2pix.measures(generator, colours=colours, **shown),
    )


def generator_of(config: Config, shape: tuple[int, ...], axis_name: str | None):
    """The network of that name, of images of this shape: it begins where `dcgan.Generator` would."""
    from ganjax.models.dcgan import doublings
    from ganjax.models.spade import SpadeResNet
    from ganjax.models.unet import UNet

    n = doublings(*shape[:2])
    if config.network == "unet":
        return UNet(shape[-1], config.width, n, dropout=0.0, axis_name=axis_name)
    factors = tuple(min(8, 2**i) for i in reversed(range(n + 1)))
    return SpadeResNet(
        shape[-1],
        config.width,
        factors,
        tuple(range(1, n + 1)),
        config.hidden,
        modulated=config.network == "spade",
        axis_name=axis_name,
    )


def is_normalised(path: tuple[str, ...], leaf) -> bool:
    """The convolutions of residual blocks, or all of a U-Net."""
    return path[-1] == "kernel" and not {"modulation", "shared", "first", "last"} & set(path)


def check_maps(dataset: "Dataset", name: str, labels: int) -> None:
    """Raise `DataError` unless what comes with the images under this name are maps of so many labels."""
    from ganjax.errors import DataError

    kind, found = dataset.y_kind(name), [y for split in ("train", "test") if (y := dataset.y(name, split)) is not None]
    if kind.name != "map" or found[0].shape[1:] != dataset.shape[:2]:
        raise DataError(
            f"--given {name}: it is {kind.plural} in the data set {dataset.name}, expected maps of labels "
            f"[N, {dataset.shape[0]}, {dataset.shape[1]}] of int32, as large as the images; name another companion"
        )
    if (most := max(int(y.max()) for y in found)) >= labels:
        raise DataError(
            f"--given {name}: the data set {dataset.name} has the label {most}, expected 0 to {labels - 1}, which are "
            f"--labels {labels}; give --labels {most + 1}"
        )


SMOKE = {
    "steps": 4,
    "decay_steps": 0,
    "data": "digits",
    "labels": 3,
    "width": 2,
    "hidden": 2,
    "discriminator_width": 2,
    "discriminator_layers": 0,
    "batch_size": 4,
    "sample_every": 2,
    "checkpoint_every": 2,
    "chunk": 2,
}
EXPERIMENT = launch.Experiment("spade", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
