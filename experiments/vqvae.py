"""A vector-quantised autoencoder: images as small maps of codes from a learned codebook.

Claim: an encoder that is told through the rounding, and a codebook that follows it, copy images better than a linear
autoencoder of as many numbers as a map has codes; seeding rare codes anew has them used more equally; a second model,
of the codes alone, draws maps of which whole images are decoded.
Paper: van den Oord, Vinyals and Kavukcuoglu, Neural Discrete Representation Learning, 2017 (equation 3; averages in
appendix A.1); Razavi, van den Oord and Vinyals, VQ-VAE-2, 2019.
Command: python experiments/vqvae.py train --workdir runs/vqvae
         python experiments/vqvae.py evaluate --workdir runs/vqvae --count 2000
         python experiments/vqvae.py evaluate --workdir runs/vqvae --stage codes --count 2000
         python experiments/vqvae.py codes --workdir runs/vqvae --out codes.png
Figure: runs/vqvae/codes/panel.png, codes drawn by their use, each position by itself, which shows what a prior over
maps of codes is for, and runs/vqvae/prior/panel.png, those that a Gated PixelCNN of the codes draws one after another;
`sample --stage codes --sampler reconstruction`, held-out images above their copies; codes.png, held-out images above
their maps, and codes-codebook.png, the codes among the vectors that they stand for. `evaluate` puts bits_per_code of
the prior beside the scores of its samples, and with --stage codes the error, the codes in use and the perplexity of
their use (at most --codes). `codes` prints what a code costs by counts, which a learned prior has to beat.
What we measured on MNIST (--data mnist.npz), seed 0, both stages in 3 minutes of one CPU core: squared error 15.2 on
the 10,000 test images with pixels from -1 to 1, which is 3.80 with pixels from 0 to 1, where the linear autoencoder of
50 numbers has 9.00; all 64 codes in use, perplexity 47.8; a map has 294 bits, 274 by the use of codes, 203 by their use
at each place, 167 by that after the code to the left, and 123 by the prior (2.51 bits a code). It had 174, and did not
beat the counts, while it saw codes as numbers from -1 to 1 and not onehot.
By default, of 1,000 held-out garments, 200 s of one core: squared error 23.9 from -1 to 1, all 64 codes in use,
perplexity 51.0; codes by their use have a Frechet distance of 180, the prior's, at 2.92 bits a code (3.92 by the code
to the left), 21.1, held-out images 2.5.
A first stage of another initialisation, before there was a second: without revival (--revival 0) codes that nobody is
near wait for the encoder: a training batch of step 500 uses 35, perplexity 21, with a codebook by gradient 30 and 19,
with revival 63 and 46. After 1,000 steps averages without revival leave an error of 7.01 (pixels from 0 to 1) and
perplexity 36.8, the gradient 10.0 and 19.7.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ganjax import launch
from ganjax.commands.codes import Codes
from ganjax.config import require
from ganjax.options import Adam, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Adam, TrainConfig):
    """The networks, the codebook, and what is said of a pixel."""

    width: int = 32
    """Channels of the maps next to the image; twice as many further in."""
    codes: int = 64
    """K, vectors of the codebook."""
    vector: int = 16
    """Numbers of each."""
    commitment: float = 0.25
    """Weight of the distance from the encoder's vectors to their codes, which the encoder pays."""
    codebook: Literal["ema", "gradient"] = "ema"
    """How the codes follow: exponential averages of the vectors that they stand for, or a term of the cost."""
    codebook_decay: float = 0.99
    """Of these averages."""
    revival: int = 2000
    """Steps in which codes that are hardly used begin anew at a vector of the encoder; 0 leaves them."""
    std: float = 0.5
    """Of the Gaussian that a pixel is said to have, from -1 to 1."""
    prior_steps: int = 1500
    """Steps of the second stage, the Gated PixelCNN of the codes."""
    prior_width: int = 32
    """Features of its layers."""
    prior_blocks: int = 3
    """Residual blocks after its first layer."""
    prior_rate: float = 2e-3
    """Step size of its Adam."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("width", "codes", "vector", "prior_steps", "prior_width"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "codebook_decay", 0 <= self.codebook_decay < 1, "at least 0 and less than 1")
        require(self, "std", 0 < self.std < float("inf"), "a positive number")
        require(self, "commitment", 0 <= self.commitment < float("inf"), "a number that is not negative")
        for name in ("revival", "prior_blocks"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "prior_rate", 0 < self.prior_rate < float("inf"), "a positive number")
        ema = self.codebook == "ema" or not self.revival
        require(self, "revival", ema, "0 with --codebook gradient: a code is a parameter there, which descends")


CONFIG = Config(
    steps=3000,
    learning_rate=1e-3,
    beta1=0.9,  # there is no game whose rotation a smaller one would damp
    decay_steps=3000,
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "dict[str, Setup]":
    """Encoder with codebook, and decoder; then a Gated PixelCNN of the codes, at which both look on."""
    from functools import partial

    import optax

    from ganjax import recipe
    from ganjax.dynamics import simultaneous
    from ganjax.games import quantised
    from ganjax.likelihoods import gaussian
    from ganjax.models.pixelcnn import GatedPixelCNN
    from ganjax.models.vqvae import MapDecoder, MapEncoder, map_shape
    from ganjax.training import From, Setup, Stream

    dataset = load(config.data)
    shape = map_shape(dataset.shape)
    observation = gaussian(config.std)
    encoder = MapEncoder(config.vector, config.width)
    networks = (encoder, MapDecoder(dataset.shape[-1], observation.outputs, config.width), observation)
    players = (quantised.ENCODER, quantised.DECODER)
    game = quantised.vqvae(
        *networks,
        codes=config.codes,
        commitment=config.commitment,
        codebook=config.codebook,
        decay=config.codebook_decay,
        revival=config.revival,
        axis_name=axis_name,
    )
    model = GatedPixelCNN(config.codes, config.prior_width, config.prior_blocks, values=config.codes)
    adam, streams = recipe.adam_of(config), {"data": Stream(dataset, config.batch_size)}
    play = partial(simultaneous, axis_name=axis_name)
    return {
        "codes": Setup(
            game=game,
            dynamics=play(dict.fromkeys(players, adam)),
            streams=streams,
            samplers=quantised.samplers(*networks, shape=shape),
            measures=quantised.measures(*networks, codes=config.codes),
        ),
        "prior": Setup(
            game=quantised.prior(game, encoder, model, codes=config.codes),
            dynamics=play({quantised.MODEL: optax.adam(config.prior_rate)}),
            streams=streams,
            samplers=quantised.prior_samplers(*networks[1:], model, shape=shape, codes=config.codes),
            measures=quantised.prior_measures(encoder, model, codes=config.codes),
            steps=config.prior_steps,
            start={player: From("codes", player) for player in players},
        ),
    }


SMOKE = {
    "steps": 20,
    "data": "digits",
    "width": 4,
    "codes": 8,
    "vector": 4,
    "prior_steps": 20,
    "prior_width": 4,
    "prior_blocks": 1,
    "sample_every": 10,
    "checkpoint_every": 10,
    "chunk": 10,
}
EXPERIMENT = launch.Experiment("vqvae", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT, more={"codes": Codes})
