"""Games: what each player wants."""

from ganjax.games.adversarial import Scene, gan, sampler
from ganjax.games.dirac import dirac_gan
from ganjax.games.likelihood import classification
from ganjax.games.priors import Normal, code_prior, normal_prior, uniform_prior
from ganjax.games.sight import Sight
from ganjax.games.terms import Term, of_terms, weighed
from ganjax.games.toy import (
    bilinear,
    duality_gap,
    gradient_noise,
    linear_gan,
    matrix_game,
    quadratic,
    zero_sum,
)
from ganjax.games.unpaired import four_scalars, linear_gaussian

__all__ = [
    "Normal",
    "Scene",
    "Sight",
    "Term",
    "bilinear",
    "classification",
    "code_prior",
    "dirac_gan",
    "duality_gap",
    "four_scalars",
    "gan",
    "gradient_noise",
    "linear_gan",
    "linear_gaussian",
    "matrix_game",
    "normal_prior",
    "of_terms",
    "quadratic",
    "sampler",
    "uniform_prior",
    "weighed",
    "zero_sum",
]
