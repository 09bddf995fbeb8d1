"""PixelCNN: an image is drawn pixel after pixel, and its probability is the product of what was said of each.

Claim: convolutions that see the past alone give exact likelihoods of images, better ones than a variational bound, and
complete half an image in as many ways as it has; two stacks of them, with gates, see all of the past.
Paper: van den Oord, Kalchbrenner and Kavukcuoglu, Pixel Recurrent Neural Networks, 2016; van den Oord et al.,
Conditional Image Generation with PixelCNN Decoders, 2016 (--network gated, --conditional); Salimans et al., PixelCNN++,
2017 (--observation logistic_mixture); Ramachandran et al., Fast Generation for Convolutional Autoregressive Models,
2017 (how samples are drawn).
Command: python experiments/pixelcnn.py train --workdir runs/pixelcnn
         python experiments/pixelcnn.py sample --workdir runs/pixelcnn --sampler completion --out completed.png
         python experiments/pixelcnn.py evaluate --workdir runs/pixelcnn --count 500
Figure: runs/pixelcnn/panel.png, samples over training; `sample --sampler completion`, held-out images above what the
model makes of their upper halves; with --given images.npz the images of that file are completed in turn, --count
times in all, each time in another way. `evaluate` puts bits_per_dimension and nats beside the scores of samples and,
with --conditional, the accuracy of argmax p(x | y), a generative classifier.
What we measured, seed 0, the average's last step, on 2 quiet CPU cores: on MNIST (--data mnist.npz, binarised anew
whenever seen) 92.11 nats, .1695 bits per dimension, on 10,000 test images after --steps 2800 --decay-steps 2800, in
280 s; with --network gated 87.73 nats after --steps 7000 --decay-steps 7000, in 1,155 s (94.98 after 450 of 450). The
paper's have 81.30 nats at full length. On the digits (--data digits), 297 test images after 1,500 steps: 22.88 nats,
gated 22.48, and with --conditional 20.47 of p(x | y) and 85.5 % right. By default, the garments binarised, 247.5 nats,
.456 bits per dimension, of 500 test images (242.4 of as many training images); samples have a Frechet distance of 243,
held-out images 5.0: pieces of garments, few whole ones (5 minutes on shared cores). With --observation
logistic_mixture --steps 250 --decay-steps 250: 3.436 bits per dimension of 2,000 test images. The windows reach nine
rows up (gated: ten), so what is drawn below a blank does not know where it is; more --blocks reach further. 64 images
of 28x28 are drawn in .15 s, by the whole network for each pixel in 74 s, and are the same images, timed once by hand
(`games.autoregressive.remembering`, `naively`); gated in .5 s, 72 times as fast as by tuned PyTorch, which passes
the rows that matter alone through the network for each pixel (`benchmarks/relatives.py`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ganjax import launch
from ganjax.config import require
from ganjax.options import Adam, Averaging, Conditional, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Averaging, Adam, Conditional, TrainConfig):
    """The network, and what is said of a pixel."""

    network: Literal["plain", "gated"] = "plain"
    """One stack of masked convolutions, which has a blind spot, or two with gates, which have none."""
    width: int = 16
    """Features of a layer, twice as many between the blocks of plain; a multiple of the channels of the images."""
    blocks: int = 6
    """Residual blocks after the first layer."""
    observation: Literal["bernoulli", "categorical", "logistic_mixture"] = "bernoulli"
    """What is said of a pixel: bernoulli binarises the images, anew whenever they are seen; categorical says the
    probability of each of --levels levels; logistic_mixture a mixture of --components logistics of them."""
    levels: int = 256
    """Levels of a pixel, to which the 256 that are stored are rounded down."""
    components: int = 5
    """Of the logistic mixture."""
    keep: int = 0
    """Rows from the top that a completion keeps; 0 keeps half of them."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("width", "components"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("blocks", "keep"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "levels", 2 <= self.levels <= 256, "2 to 256")
        said = self.observation != "bernoulli" or self.levels == 256
        require(self, "levels", said, "left out with --observation bernoulli, which has two")


CONFIG = Config(
    steps=1500,  # 10 epochs of the embedded images
    learning_rate=3e-3,
    beta1=0.9,  # there is no game whose rotation a smaller one would damp
    decay_steps=1500,
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """One network by Adam."""
    import numpy as np

    from ganjax import recipe
    from ganjax.dynamics import simultaneous
    from ganjax.errors import ConfigError, DataError
    from ganjax.games import autoregressive
    from ganjax.likelihoods import bernoulli, binarised, categorical, logistic_mixture, quantised
    from ganjax.models import pixelcnn
    from ganjax.training import Averaged, Setup, Stream

    dataset = load(config.data)
    if dataset.kind.name != "image":
        raise DataError(f"the data set {dataset.name} has {dataset.kind.plural}, expected images [N, H, W, C]")
    height, columns, channels = dataset.shape
    if config.width % channels:
        raise ConfigError(f"--width is {config.width}, expected a multiple of the {channels} channels of {config.data}")
    if config.keep > height:
        raise ConfigError(f"--keep is {config.keep}, expected at most {height}, the rows of {config.data}")
    observation = {
        "bernoulli": bernoulli,
        "categorical": lambda: categorical(config.levels),
        "logistic_mixture": lambda: logistic_mixture(config.components, config.levels),
    }[config.observation]()
    few = quantised(config.levels) if config.levels < 256 else None
    prepare = binarised if config.observation == "bernoulli" else few
    classes = (dataset.classes or 0) if config.conditional else 0
    network = {"plain": pixelcnn.PixelCNN, "gated": pixelcnn.GatedPixelCNN}[config.network]
    module = network(observation.outputs, config.width, config.blocks, classes)
    kept = np.zeros((height, columns), bool)
    kept[: config.keep or height // 2] = True
    average, y = recipe.averages(config), "class" if config.conditional else None
    return Setup(
        game=autoregressive.autoregression(module, observation),
        dynamics=simultaneous({autoregressive.MODEL: recipe.adam_of(config)}, axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size, y=y, prepare=prepare)},
        averages={} if average is None else {config.average: Averaged(autoregressive.MODEL, average)},
        samplers=autoregressive.samplers(
            module, observation, dataset.shape, kept=kept, classes=classes, prepare=prepare
        ),
        measures=autoregressive.measures(module, observation, classes=classes, prepare=prepare),
    )


SMOKE = {
    "steps": 20,
    "data": "digits",
    "width": 4,
    "blocks": 1,
    "sample_every": 10,
    "checkpoint_every": 10,
    "chunk": 10,
}
EXPERIMENT = launch.Experiment("pixelcnn", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
