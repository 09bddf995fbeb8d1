"""PixelRNN: the past of a pixel through the states of LSTMs, which run down the rows or along the diagonals.

Claim: recurrent states see all that came before, where a stack of convolutions sees as far as it is deep, and say as
much of an image with fewer layers, two for six.
Paper: van den Oord, Kalchbrenner and Kavukcuoglu, Pixel Recurrent Neural Networks, 2016.
Command: python experiments/pixelrnn.py train --workdir runs/pixelrnn
         python experiments/pixelrnn.py train --workdir runs/diagonal --network diagonal
         python experiments/pixelrnn.py evaluate --workdir runs/pixelrnn --count 500
Figure: runs/pixelrnn/panel.png, samples over training; `sample --sampler completion`, held-out images above what the
model makes of their upper halves. The game, its samplers and its measures are those of pixelcnn.py. The rows remember
their states while an image is drawn; diagonals are drawn by the whole network, anew for each pixel.
What we measured: on the digits, seed 0, the average's last step, 297 test images: rows 23.04 nats in 42 s of processor
time, --network diagonal 22.76 in 78 s, pixelcnn.py --data digits 22.88 in 48 s: too near to tell apart, for the windows
of the convolutions see nearly all of an image of 8x8.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ganjax import launch
from ganjax.config import require
from ganjax.options import Adam, Averaging, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Averaging, Adam, TrainConfig):
    """The network, and how many levels a pixel has."""

    network: Literal["row", "diagonal"] = "row"
    """Row LSTM, or Diagonal BiLSTM."""
    width: int = 16
    """Numbers of a state, twice as many between the layers; a multiple of the channels of the images."""
    layers: int = 2
    """Layers of LSTMs."""
    levels: int = 2
    """Levels of a pixel: 2 binarises every image anew whenever it is seen, more are a softmax of as many."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("width", "layers"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "levels", 2 <= self.levels <= 256, "2 to 256")


CONFIG = Config(
    steps=1500,  # of digits of 8x8, 64 epochs
    data="digits",  # diagonals of 28x28 take minutes to draw
    learning_rate=3e-3,
    beta1=0.9,  # there is no game whose rotation a smaller one would damp
    decay_steps=1500,
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """One network by Adam."""
    from ganjax import recipe
    from ganjax.dynamics import simultaneous
    from ganjax.errors import ConfigError, DataError
    from ganjax.games import autoregressive
    from ganjax.likelihoods import bernoulli, binarised, categorical, quantised
    from ganjax.models.pixelrnn import PixelRNN
    from ganjax.training import Averaged, Setup, Stream

    dataset = load(config.data)
    if dataset.kind.name != "image":
        raise DataError(f"the data set {dataset.name} has {dataset.kind.plural}, expected images [N, H, W, C]")
    if config.width % dataset.shape[2]:
        channels = f"the {dataset.shape[2]} channels of {config.data}"
        raise ConfigError(f"--width is {config.width}, expected a multiple of {channels}")
    binary = config.levels == 2
    observation = bernoulli() if binary else categorical(config.levels)
    prepare = binarised if binary else quantised(config.levels)
    module = PixelRNN(observation.outputs, config.width, config.layers, layer=config.network)
    average = recipe.averages(config)
    return Setup(
        game=autoregressive.autoregression(module, observation),
        dynamics=simultaneous({autoregressive.MODEL: recipe.adam_of(config)}, axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size, prepare=prepare)},
        averages={} if average is None else {config.average: Averaged(autoregressive.MODEL, average)},
        samplers=autoregressive.samplers(
            module, observation, dataset.shape, prepare=prepare, cached=config.network == "row"
        ),
        measures=autoregressive.measures(module, observation, prepare=prepare),
    )


SMOKE = {
    "steps": 20,
    "width": 4,
    "layers": 1,
    "sample_every": 10,
    "checkpoint_every": 10,
    "chunk": 10,
}
EXPERIMENT = launch.Experiment("pixelrnn", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
