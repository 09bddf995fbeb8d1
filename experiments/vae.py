"""A variational autoencoder: a decoder of latents and an encoder that says where to look for them, by one bound.

Claim: two networks that maximise the evidence lower bound draw digits from N(0, I), and their likelihood of held-out
images can be estimated, which no adversarial game allows; latents that do not pay for their divergence are off.
Paper: Kingma and Welling, Auto-Encoding Variational Bayes, 2014; Burda, Grosse and Salakhutdinov, Importance Weighted
Autoencoders, 2016 (the networks, L_k, active units); Tucker et al., Doubly Reparameterized Gradient Estimators, 2019.
Command: python experiments/vae.py train --workdir runs/vae
         python experiments/vae.py evaluate --workdir runs/vae --count 2000
Figure: runs/vae/panel.png, the same latents over training; `sample --sampler reconstruction`, held-out images above
what is made of their codes. `evaluate` puts elbo, log_likelihood (L_k by importance sampling, --importance draws) and
the latents in use beside the scores of samples, to be compared with a DCGAN of the same data.
--observation bernoulli binarises every image anew whenever it is seen (dynamic binarisation), test images by draws that
are fixed; continuous_bernoulli and discretised_logistic take grey levels as they are; gaussian is least squares.
What we measured: on MNIST (--data mnist.npz --steps 36000 --decay-steps 36000 --importance 2500; evaluate --metrics
elbo --count 10000, --metrics log_likelihood --count 500), seed 0, the average's last step, 164 s on 2 quiet CPU cores:
elbo -96.57 nats on 10,000 test images, L_2500 -93.41 on 500 of them, 19 latents in use. A third of the steps, 12,000:
-104.4, -101.1, 28 in use. With black at -1 at the encoder's input these were -119.9, with 6 latents in use: most pixels
of a digit are black. As many steps as an hour of these cores takes, 790,000 (--steps 790000 --decay-steps 790000,
stopped and continued, beside much else for the most part): elbo -90.31 (training images -89.66), L_2500 -87.67
(-86.14). Burda et al. have -86.76 after 3,280 epochs in batches of 20, 12 times as many steps.
Beside a DCGAN (2,000 steps) and Gated PixelCNN (7,000 steps) of the same images, 500 samples each, by `evaluate` and
`compare`: Frechet distance in the classifier's features 44.0 (DCGAN 51.6, PixelCNN 89.4, floor 10.6), precision .77
(.60, .43), recall .87 (.74, .85), coverage .74 (.55, .35), bits per dimension .172 (none, .163), a sample in .008 ms
(.15, 3.0). What is drawn are means of pixels, those of PixelCNN are black or white; the images are grey.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ganjax import launch
from ganjax.config import require
from ganjax.options import Adam, Averaging, Latent, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Averaging, Adam, Latent, TrainConfig):
    """The networks, the bound, and what is said of a pixel."""

    network: Literal["mlp", "conv"] = "mlp"
    """Two layers of --hidden tanh units in encoder and decoder, or two convolutions of stride 2."""
    hidden: int = 200
    """Units of each hidden layer of the perceptrons."""
    observation: Literal["bernoulli", "continuous_bernoulli", "gaussian", "discretised_logistic"] = "bernoulli"
    """What the decoder says of a pixel; bernoulli binarises the images."""
    std: float = 0.2
    """Of the gaussian observation, of pixels from -1 to 1."""
    objective: Literal["elbo", "iwae", "dreg"] = "elbo"
    """The evidence lower bound, the importance-weighted bound of --samples draws, or that bound with the doubly
    reparameterised gradient of the encoder."""
    samples: int = 1
    """Draws of the posterior for each example."""
    beta: float = 1.0
    """Weight of the divergence in elbo (beta-VAE)."""
    warm_up: int = 0
    """Steps over which that weight rises from 0 along a line; 0 begins with all of it."""
    free_bits: float = 0.0
    """Nats of each latent that cost nothing, in elbo."""
    importance: int = 100
    """Draws of the estimate of log p in evaluate; 5,000 in the literature."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("hidden", "samples", "importance"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "std", 0 < self.std < math.inf, "a positive number")
        for name in ("beta", "free_bits", "warm_up"):
            require(self, name, getattr(self, name) >= 0, "a number that is not negative")
        plain = self.objective == "elbo" or (self.beta == 1 and not self.warm_up and not self.free_bits)
        require(self, "objective", plain, "elbo with --beta, --warm-up or --free-bits, which change the divergence")


CONFIG = Config(
    steps=4000,  # 40 epochs of the embedded images
    batch_size=100,  # five times Burda's, for a CPU
    latent=50,  # Burda's; about half of them are used
    learning_rate=1e-3,
    beta1=0.9,  # there is no game whose rotation a smaller one would damp
    decay_steps=4000,  # the end of a line is worth two nats
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """Encoder and decoder, simultaneously, each by Adam."""
    from ganjax import recipe
    from ganjax.dynamics import simultaneous
    from ganjax.games import variational
    from ganjax.likelihoods import bernoulli, binarised, continuous_bernoulli, discretised_logistic, gaussian
    from ganjax.models import vae as models
    from ganjax.training import Averaged, Setup, Stream

    dataset = load(config.data)
    observation = {
        "bernoulli": bernoulli,
        "continuous_bernoulli": continuous_bernoulli,
        "gaussian": lambda: gaussian(config.std),
        "discretised_logistic": discretised_logistic,
    }[config.observation]()
    encoder, decoder = models.networks(config.network, dataset.shape, observation.outputs, config.latent, config.hidden)
    prepare = binarised if config.observation == "bernoulli" else None
    networks = (encoder, decoder, observation)
    kept = recipe.averages(config)
    players = (variational.ENCODER, variational.DECODER)
    return Setup(
        game=variational.vae(
            *networks,
            size=config.latent,
            objective=config.objective,
            samples=config.samples,
            beta=ramp(config.beta, config.warm_up),
            free_bits=config.free_bits,
            axis_name=axis_name,
        ),
        dynamics=simultaneous(dict.fromkeys(players, recipe.adam_of(config)), axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size, prepare=prepare)},
        averages={} if kept is None else {config.average: Averaged(players, kept)},
        samplers=variational.samplers(*networks, size=config.latent),
        measures=variational.measures(*networks, size=config.latent, samples=config.importance, prepare=prepare),
    )


def ramp(weight: float, steps: int):
    """A weight that rises from 0 over so many steps, or is there at once."""
    import jax.numpy as jnp

    return (lambda step: weight * jnp.minimum(1.0, step / steps)) if steps else weight


SMOKE = {
    "steps": 20,
    "data": "digits",
    "hidden": 16,
    "latent": 4,
    "importance": 10,
    "sample_every": 10,
    "checkpoint_every": 10,
    "chunk": 10,
}
EXPERIMENT = launch.Experiment("vae", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
