"""How good a generator is: scores that come with their protocol, or not at all."""

from ganjax.evaluation.classifier import Recipe, accuracy, clip_classifier, trained_classifier
from ganjax.evaluation.evaluate import chosen_extractor, evaluate, receipt_of
from ganjax.evaluation.extractor import NOTHING, Extractor, Features, extract, extract_moments, pixels
from ganjax.evaluation.held_out import measured, score_of
from ganjax.evaluation.judge import light_judge
from ganjax.evaluation.measures import METRICS
from ganjax.evaluation.pretrained import efficientnet_lite0, fid_inception
from ganjax.evaluation.receipt import Comparison, Receipt, Record, Score, compare, keep, read, score_path, table, write

__all__ = [
    "METRICS",
    "NOTHING",
    "Comparison",
    "Extractor",
    "Features",
    "Receipt",
    "Recipe",
    "Record",
    "Score",
    "accuracy",
    "chosen_extractor",
    "clip_classifier",
    "compare",
    "efficientnet_lite0",
    "evaluate",
    "extract",
    "extract_moments",
    "fid_inception",
    "keep",
    "light_judge",
    "measured",
    "pixels",
    "read",
    "receipt_of",
    "score_of",
    "score_path",
    "table",
    "trained_classifier",
    "write",
]
