"""An autoencoder: examples copied through a code that is too small, with noise or with a penalty on its slope.

Claim: a linear autoencoder ends where principal component analysis does, a non-linear one of the same code below; a
denoiser learns the gradient of log p; and what is decoded of N(0, I) is no sample, unlike the codes' own density.
Paper: Baldi and Hornik, Neural Networks and Principal Component Analysis, 1989; Vincent et al., Denoising Autoencoders,
2008; Rifai et al., Contractive Autoencoders, 2011; Alain and Bengio, What Regularized Auto-Encoders Learn, 2014; Ghosh
et al., From Variational to Deterministic Autoencoders, 2020 (a density fitted to the codes).
Command: python experiments/autoencoder.py train --workdir runs/autoencoder
         python experiments/autoencoder.py train --workdir runs/pca --network linear
         python experiments/autoencoder.py evaluate --workdir runs/autoencoder --sampler normal
Figure: runs/autoencoder/panel.png, decoded draws of the Gaussian of the codes over training; `sample --sampler normal`,
decoded N(0, I), and `--sampler reconstruction`, held-out examples above their copies.
What we measured on MNIST (--data mnist.npz), seed 0, the average's last step: squared error on the 10,000 test images
with pixels from 0 to 1, a quarter of that of `evaluate`; 50 principal components leave 9.00, 16 leave 21.06:
--network linear --code 50 --learning-rate 3e-3 --steps 20000 --decay-steps 20000, 21 s of processor time: 9.04 (9.23
after 6,000 steps, 13.10 after 3,000 at the default rate); the default network with 16 numbers, 29 s: 13.05.
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
    """The network, and what beside the copy it pays for."""

    network: Literal["linear", "mlp"] = "mlp"
    """No hidden layer, which is principal component analysis, or those of --hidden."""
    hidden: tuple[int, ...] = (512, 256)
    """Widths of the encoder's hidden layers; the decoder has the same in reverse."""
    code: int = 16
    """Numbers of the code."""
    tied: bool = False
    """The decoder's matrices are the encoder's transposed."""
    corruption: float = 0.0
    """Standard deviation of the noise at the input, of pixels from -1 to 1; the target stays clean (denoising)."""
    contraction: float = 0.0
    """Weight of the squared Jacobian of the encoder, with --tied (contractive)."""
    decay: float = 0.0
    """Weight of the squares of all matrices."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "code", self.code >= 1, "at least 1")
        require(self, "hidden", all(width >= 1 for width in self.hidden), "widths of at least 1")
        for name in ("corruption", "contraction", "decay"):
            require(self, name, 0 <= getattr(self, name) < float("inf"), "a number that is not negative")
        fixed = self.tied or not self.contraction
        require(self, "contraction", fixed, "0 without --tied: a decoder of its own makes up for any scale of the code")


CONFIG = Config(
    steps=3000,
    learning_rate=1e-3,
    beta1=0.9,  # no game whose rotation a smaller one would damp
    decay_steps=3000,
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """One network by Adam."""
    from ganjax import recipe
    from ganjax.dynamics import simultaneous
    from ganjax.games import autoencoding
    from ganjax.models.autoencoder import Autoencoder
    from ganjax.training import Averaged, Setup, Stream

    dataset, player = load(config.data), autoencoding.AUTOENCODER
    hidden = config.hidden if config.network == "mlp" else ()
    module = Autoencoder(dataset.shape, config.code, hidden, config.tied)
    told = {name: getattr(config, name) for name in ("corruption", "contraction", "decay")}
    kept = recipe.averages(config)
    return Setup(
        game=autoencoding.autoencoder(module, **told),
        dynamics=simultaneous({player: recipe.adam_of(config)}, axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size)},
        averages={} if kept is None else {config.average: Averaged(player, kept)},
        samplers=autoencoding.samplers(module, size=config.code),
        measures=autoencoding.measures(module),
    )


SMOKE = {
    "steps": 20,
    "data": "digits",
    "hidden": (16,),
    "code": 4,
    "sample_every": 10,
    "checkpoint_every": 10,
    "chunk": 10,
}
EXPERIMENT = launch.Experiment("autoencoder", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
