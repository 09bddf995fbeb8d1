"""Games: what each player wants."""

from ganjax.games.adversarial import gan, normal_prior, sampler, uniform_prior
from ganjax.games.toy import bilinear, dirac_gan, zero_sum

__all__ = ["bilinear", "dirac_gan", "gan", "normal_prior", "sampler", "uniform_prior", "zero_sum"]
