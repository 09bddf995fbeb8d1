"""Judges of samples: pure functions of arrays."""

from ganjax.metrics.accuracy import AccuracyScore, Membership, classification_accuracy_score, membership
from ganjax.metrics.copies import Duplicates, Memorisation, Nearest, duplicates, memorisation, nearest
from ganjax.metrics.frechet import (
    Extrapolation,
    IntraClass,
    Moments,
    frechet_bias,
    frechet_distance,
    frechet_distance_infinity,
    intra_class_frechet,
    merge,
    moments,
)
from ganjax.metrics.inception_score import (
    InceptionScore,
    Predictions,
    inception_score,
    merge_predictions,
    predictions,
    score_predictions,
)
from ganjax.metrics.kernel import KernelDistance, kernel_distance, kernel_distance_subsets
from ganjax.metrics.manifold import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    perfect_coverage,
    precision_recall,
)
from ganjax.metrics.modes import (
    Modes,
    PerfectModes,
    density_tv,
    histogram_modes,
    label_modes,
    modes,
    perfect_density_tv,
    perfect_modes,
)
from ganjax.metrics.parzen import Parzen, parzen_cross_validated, parzen_log_likelihood
from ganjax.metrics.ranks import RankTest, rank_test
from ganjax.metrics.similarity import Diversity, ms_ssim, ms_ssim_diversity
from ganjax.metrics.spectrum import Spectrum, radial_spectrum, spectral_distance
from ganjax.transport import sliced_wasserstein

__all__ = [
    "AccuracyScore",
    "DensityCoverage",
    "Diversity",
    "Duplicates",
    "Extrapolation",
    "InceptionScore",
    "IntraClass",
    "KernelDistance",
    "Membership",
    "Memorisation",
    "Modes",
    "Moments",
    "Nearest",
    "Parzen",
    "PerfectModes",
    "PrecisionRecall",
    "Predictions",
    "RankTest",
    "Spectrum",
    "classification_accuracy_score",
    "density_coverage",
    "density_tv",
    "duplicates",
    "frechet_bias",
    "frechet_distance",
    "frechet_distance_infinity",
    "histogram_modes",
    "inception_score",
    "intra_class_frechet",
    "kernel_distance",
    "kernel_distance_subsets",
    "label_modes",
    "membership",
    "memorisation",
    "merge",
    "merge_predictions",
    "modes",
    "moments",
    "ms_ssim",
    "ms_ssim_diversity",
    "nearest",
    "parzen_cross_validated",
    "parzen_log_likelihood",
    "perfect_coverage",
    "perfect_density_tv",
    "perfect_modes",
    "precision_recall",
    "predictions",
    "radial_spectrum",
    "rank_test",
    "score_predictions",
    "sliced_wasserstein",
    "spectral_distance",
]
