"""How a Flax module is told whether it trains: by one of the keywords that its `__call__` takes."""

import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

# The common keywords, and whether they say True in training or in evaluation.
KEYWORDS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}


def mode(module: nn.Module, train: bool, method: str = "__call__") -> dict[str, bool]:
    """The keywords that tell a method of this module its mode; none if it takes none of `KEYWORDS`."""
    taken = inspect.signature(getattr(type(module), method)).parameters
    return {name: train == says_train for name, says_train in KEYWORDS.items() if name in taken}


def check_told(module: nn.Module, variables: Mapping[str, Any]) -> None:
    """Raise `TypeError` about a module with BatchNorm's statistics that cannot be told its mode."""
    if "batch_stats" in variables and not mode(module, True):
        raise TypeError(
            f"{type(module).__name__} has the statistics of BatchNorm and no way to tell it whether it trains; give "
            f"its __call__ one of the keywords {', '.join(KEYWORDS)}, and its BatchNorm use_running_average by it"
        )
