"""Features of images, and what is measured with them."""

from ganjax.evaluation.extractor import Extractor, Features
from ganjax.evaluation.pretrained import efficientnet_lite0, fid_inception

__all__ = ["Extractor", "Features", "efficientnet_lite0", "fid_inception"]
