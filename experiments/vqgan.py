"""A VQGAN: maps of codes whose copies a discriminator of patches and a network's features find good.

Claim: at equal codes, an autoencoder that is also told by features how a copy looks and by a discriminator how its
patches look copies images that are nearer in law to the data than those of squared or absolute error alone; a weight
that keeps both gradients equally long in the last layer needs no tuning. A causal transformer of the codes draws new
maps, of a class where it is told one, completes half an image, and by sliding over the map draws larger ones.
Paper: Esser, Rombach and Ommer, Taming Transformers for High-Resolution Image Synthesis, 2021 (equations 5 to 7).
Command: python experiments/vqgan.py train --workdir runs/vqgan
         python experiments/vqgan.py evaluate --workdir runs/vqgan --stage codes --sampler reconstruction --count 2000
         python experiments/vqgan.py evaluate --workdir runs/vqgan --count 2000
         python experiments/vqgan.py enlarge --workdir runs/vqgan --out wide.png
The same networks as a VQ-VAE, to be set beside: --adversarial 0 --perceptual 0.
Figure: `sample --stage codes --sampler reconstruction`, held-out images above their copies; runs/vqgan/prior/panel.png,
maps drawn code after code and decoded; `sample --sampler completion`, held-out images above what is made of their upper
halves; wide.png, images of more codes than any that was seen.
Three stages: "features" is a small classifier of the data, whose maps, of unit length at each place, say how far a copy
is from its image, in the place of the VGG of the paper; "codes" the autoencoder and its discriminator; "prior" the
model of the codes (--prior pixelcnn for the Gated PixelCNN of `vqvae`). The classifier that `evaluate` takes for a
Frechet distance is twice as wide and trained by itself, but of the same data: --extractor pixels is a judge that shares
nothing with what was minimised. Data without classes need --perceptual 0.
What we measured, --steps 800 --decay-steps 800 --adversarial-start 200 --features-steps 200, seed 0, on 2 CPU cores
beside much else (ten minutes), of 1,000 copies of held-out garments: a Frechet distance of 15.4 in the classifier's
features and 7.51 in pixels, where the same networks with --adversarial 0 --perceptual 0 after as many steps have 20.6
and 7.87 (held-out images 2.5 and 3.86); all 64 codes in use and perplexity 52.2, where those have 64 and 46.2; squared
error 46.7, where those have 43.0, of pixels from -1 to 1. After --prior-steps 300 the transformer needs 2.94 bits for
a code of 500 test images, so 144 for an image, and draws garments at 71.5; images of 14x28 codes are cloth with edges,
of no garment, as every window has seen whole ones alone. After the default 3,000 steps (682 s beside other work) the
distance is 3.15 (2,000 copies, floor 1.63), all 64 codes in use, perplexity 49.2, squared error 30.2; the same networks
without game and features and the prior have not been run for so long.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ganjax import launch
from ganjax.commands.base import OfRun, config_of, opened
from ganjax.commands.codes import Codes
from ganjax.config import require
from ganjax.errors import ConfigError
from ganjax.options import Adam, Conditional, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.core import Weights
    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Conditional, Adam, TrainConfig):
    """The networks, the codebook, what each player pays, and the model of the codes, which --conditional is about."""

    width: int = 32
    """Channels of the maps next to the image in encoder and decoder; twice as many further in."""
    codes: int = 64
    """K, vectors of the codebook."""
    vector: int = 16
    """Numbers of each."""
    commitment: float = 0.25
    """Weight of the distance from the encoder's vectors to their codes, which the encoder pays."""
    codebook_decay: float = 0.99
    """Of the averages by which codes follow the vectors that they stand for."""
    revival: int = 2000
    """Steps in which codes that are hardly used begin anew at a vector of the encoder; 0 leaves them."""
    perceptual: float = 1.0
    """Weight of the distance in features beside the mean absolute error; 0 leaves the classifier out."""
    features_steps: int = 500
    """Steps of the first stage, the classifier."""
    features_width: int = 16
    """Channels of its first map."""
    features_rate: float = 1e-3
    """Step size of its Adam."""
    adversarial: float = 0.8
    """Weight of the game beside the adaptive one; 0 leaves the discriminator out."""
    adversarial_start: int = 500
    """The step of the second stage from which on there is a game."""
    discriminator_width: int = 32
    """Channels of its first map."""
    discriminator_layers: int = 1
    """Its layers of stride 2: patches of 7, 16, 34, 70, 142 or 286 pixels are judged with 0 to 5."""
    prior: Literal["transformer", "pixelcnn"] = "transformer"
    """The model of the codes."""
    prior_steps: int = 1500
    """Steps of the third stage, in which it learns."""
    prior_width: int = 64
    """Features of its layers."""
    prior_blocks: int = 3
    """Blocks of the transformer, or residual ones of the PixelCNN."""
    prior_heads: int = 4
    """Of the transformer's attention; they share the features."""
    prior_rate: float = 2e-3
    """Step size of its Adam."""

    def __post_init__(self):
        super().__post_init__()
        for name in (
            *("width", "codes", "vector", "features_steps", "features_width", "discriminator_width"),
            *("prior_steps", "prior_width", "prior_heads"),
        ):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("revival", "adversarial_start", "discriminator_layers", "prior_blocks"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("commitment", "perceptual", "adversarial"):
            require(self, name, 0 <= getattr(self, name) < float("inf"), "a number that is not negative")
        require(self, "codebook_decay", 0 <= self.codebook_decay < 1, "at least 0 and less than 1")
        for name in ("features_rate", "prior_rate"):
            require(self, name, 0 < getattr(self, name) < float("inf"), "a positive number")
        shared = self.prior != "transformer" or self.prior_width % self.prior_heads == 0
        require(self, "prior_width", shared, f"a multiple of the {self.prior_heads} heads")


CONFIG = Config(
    steps=3000,
    learning_rate=1e-3,
    decay_steps=3000,
)


class Networks(NamedTuple):
    """The modules that encode, decode and draw codes."""

    encoder: Any
    decoder: Any
    observation: Any  # what is said of a pixel
    model: Any  # of the codes
    shape: tuple[int, int]  # of a map
    classes: int  # that the model of the codes is told; 0 for none


def networks(config: Config, dataset: "Dataset") -> Networks:
    """Those of the data."""
    from ganjax.likelihoods import laplace
    from ganjax.models.pixelcnn import GatedPixelCNN
    from ganjax.models.transformer import Transformer
    from ganjax.models.vqvae import MapDecoder, MapEncoder, map_shape

    observation, classes = laplace(1.0), (dataset.classes or 0) if config.conditional else 0
    told = config.codes, config.prior_width, config.prior_blocks, classes
    transformed = config.prior == "transformer"
    return Networks(
        MapEncoder(config.vector, config.width),
        MapDecoder(dataset.shape[-1], observation.outputs, config.width),
        observation,
        Transformer(*told, config.prior_heads) if transformed else GatedPixelCNN(*told, values=config.codes),
        map_shape(dataset.shape),
        classes,
    )


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "dict[str, Setup]":
    """A classifier; encoder with codebook, decoder and discriminator; then a model of the codes."""
    from functools import partial

    import optax

    from ganjax import recipe
    from ganjax.dynamics import simultaneous
    from ganjax.games import likelihood, quantised
    from ganjax.games.vqgan import vqgan
    from ganjax.models.classifier import classifier
    from ganjax.models.patchgan import PatchDiscriminator
    from ganjax.training import From, Setup, Stream

    dataset = load(config.data)
    if config.perceptual and not dataset.classes:
        raise ConfigError(
            f"--perceptual {config.perceptual:g}: the data set {dataset.name} has no classes, of which the network is "
            "trained whose features it compares; leave them out by --perceptual 0"
        )
    made = networks(config, dataset)
    seen, said = (made.encoder, made.decoder, made.observation), (made.decoder, made.observation)
    judge = classifier(dataset.shape, dataset.classes or 0, width=config.features_width) if config.perceptual else None
    patches = PatchDiscriminator(config.discriminator_width, config.discriminator_layers, "none")
    kept: dict[str, Any] = {
        "codes": config.codes,
        "commitment": config.commitment,
        "decay": config.codebook_decay,
        "revival": config.revival,
        "axis_name": axis_name,
    }
    game = vqgan(
        quantised.quantisation(*seen, **kept), *said, patches if config.adversarial else None,
        features=judge, perceptual=config.perceptual, weight=config.adversarial, start=config.adversarial_start,
        axis_name=axis_name,
    )  # fmt: skip
    play = partial(simultaneous, axis_name=axis_name)
    data, labelled = Stream(dataset, config.batch_size), Stream(dataset, config.batch_size, y="class")
    codes = Setup(
        game=game,
        dynamics=play(dict.fromkeys(game.players, recipe.adam_of(config))),
        streams={"data": data},
        samplers=quantised.samplers(*seen, shape=made.shape),
        measures=quantised.measures(*seen, codes=config.codes),
        start={} if judge is None else {likelihood.CLASSIFIER: From("features", likelihood.CLASSIFIER)},
    )
    told: dict[str, Any] = {"codes": config.codes, "classes": made.classes}
    prior = Setup(
        game=quantised.prior(quantised.vqvae(*seen, **kept), made.encoder, made.model, codes=config.codes),
        dynamics=play({quantised.MODEL: optax.adam(config.prior_rate)}),
        streams={"data": labelled if config.conditional else data},
        samplers=quantised.prior_samplers(*said, made.model, shape=made.shape, encoder=made.encoder, **told),
        measures=quantised.prior_measures(made.encoder, made.model, **told),
        steps=config.prior_steps,
        start={player: From("codes", player) for player in (quantised.ENCODER, quantised.DECODER)},
    )
    first = {} if judge is None else {"features": _features(config, judge, labelled, play)}
    return first | {"codes": codes, "prior": prior}


def _features(config: Config, judge: Any, labelled: Any, play: Any) -> "Setup":
    """The classifier whose maps say how far a copy is from its image."""
    import optax

    from ganjax.games import classification, likelihood
    from ganjax.training import Setup

    return Setup(
        game=classification(judge),
        dynamics=play({likelihood.CLASSIFIER: optax.adam(config.features_rate)}),
        streams={"data": labelled},
        measures=likelihood.classification_measures(judge),
        steps=config.features_steps,
    )


@dataclass(frozen=True, kw_only=True)
class Enlarge(OfRun):
    """Images of more codes than the model of the codes has seen, drawn by sliding its window over the map."""

    out: Path
    """The picture to write, .png."""
    rows: int = 14
    """Of the map; a code is 4x4 pixels."""
    columns: int = 28
    """Of the map."""
    count: int = 3
    """How many images; of a model that is told classes, of so many classes in turn."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self):
        for name in ("rows", "columns"):
            require(self, name, 1 <= getattr(self, name) <= 256, "1 to 256")
        require(self, "count", 1 <= self.count <= 32, "1 to 32")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")

    def run(self, experiment: launch.Experiment) -> None:
        config, _ = config_of(experiment, self.workdir)
        run = opened(experiment, self)
        from ganjax.report.images import to_rgb
        from ganjax.report.rows import Row, rows
        from ganjax.training import Keys, load_state

        made = networks(config, run.setup.streams["data"].dataset)
        if min(self.rows - made.shape[0], self.columns - made.shape[1]) < 0:
            raise ConfigError(
                f"--rows {self.rows} --columns {self.columns}: expected at least {made.shape}, the map that the model "
                "of the codes has seen"
            )
        if "prior" not in run.setup.samplers:
            raise ConfigError("--stage: expected prior, the stage in which the model of the codes learns")
        x = enlarged(made, load_state(run.setup, run.workdir).weights, Keys.of(self.seed).samples, self)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        rows([Row(to_rgb(one[None]), "") for one in x], self.out)
        print(self.out)


def enlarged(made: Networks, weights: "Weights", key: Any, asked: Enlarge) -> Any:
    """The images [count, 4 rows, 4 columns, C] uint8."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ganjax.games import autoregressive, quantised
    from ganjax.kinds import to_bytes
    from ganjax.likelihoods import categorical

    codes = len(quantised.vectors_of(weights[quantised.ENCODER]))
    keys, size = jax.random.split(key, asked.count), (asked.rows, asked.columns)
    labels = jnp.arange(asked.count) % made.classes if made.classes else None

    @jax.jit
    def drawn(weights: Any, keys: Any) -> Any:
        own = weights[quantised.MODEL]
        x = autoregressive.sliding(made.model, categorical(codes), own, keys, made.shape, size, labels)
        return to_bytes(quantised.decode(made.decoder, made.observation, weights, quantised.from_seen(x, codes)))

    return np.asarray(drawn(weights, keys))


SMOKE = {
    "steps": 4,
    "data": "digits",
    "width": 4,
    "codes": 8,
    "vector": 4,
    "features_steps": 2,
    "features_width": 4,
    "adversarial_start": 2,
    "discriminator_width": 4,
    "prior_steps": 4,
    "prior_width": 8,
    "prior_blocks": 1,
    "prior_heads": 2,
    "batch_size": 16,
    "sample_every": 2,
    "checkpoint_every": 2,
    "chunk": 2,
    "decay_steps": 0,
}
EXPERIMENT = launch.Experiment("vqgan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT, more={"codes": Codes, "enlarge": Enlarge})
