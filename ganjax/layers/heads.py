"""The end of a discriminator: what the class adds to its logits, and further heads."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ganjax.checks import check_range
from ganjax.core import Array, Critique
from ganjax.errors import ConfigError
from ganjax.layers.conditioning import embedded, is_condition


def check_labels(labels: Array | None, num_classes: int) -> None:
    """Raises `ConfigError` where a conditional model is called without labels, `ValueError` where one is no class.

    Vectors, which are floating, pass.
    """
    check_range("labels", 0, whole=True, num_classes=num_classes)
    if num_classes and labels is None:
        raise ConfigError(
            f"labels: got None, expected int32 [B], because num_classes={num_classes}. Pass labels, "
            "or set num_classes=0 for an unconditional model."
        )
    if num_classes and not jnp.issubdtype(jnp.result_type(labels), jnp.floating):
        check_range("labels", 0, num_classes - 1, whole=True, labels=labels)


def projection(features: Array, labels: Array | None, num_classes: int, **options: Any) -> Array:
    """`<e(y), h>`, what a projection discriminator adds to its logits (Miyato & Koyama 2018, equation 3).

    Called inside a module, which then owns what makes the vectors `e(y)`.

    Args:
        features: h, [B, F].
        labels: y, [B] int32 classes or [B, E] floating vectors.
        num_classes: 0 adds nothing to the logits of classes, nor does the lack of labels.
        options: of `layers.conditioning.embedded`.
    """
    if not is_condition(labels, num_classes):
        return jnp.zeros(len(features), features.dtype)
    return (embedded(labels, features.shape[-1], num_classes, **options) * features).sum(-1)


def critique(logits: Array, features: Array, heads: Mapping[str, int] | None, dtype: Any) -> Array | Critique:
    """What a discriminator returns: logits [B], with heads a `Critique` with an affine map of the features for each.

    Called inside a module, which then owns the maps.

    Args:
        logits: [B].
        features: [B, F].
        heads: name -> size; with any mapping, even {}, the result is a `Critique`.
        dtype: of the maps.
    """
    if heads is None:
        return logits
    layers = {name: nn.Dense(size, dtype=dtype, name=f"head_{name}") for name, size in heads.items()}
    return Critique(logits, features, {name: layer(features) for name, layer in layers.items()})


def logit_head(
    features: Array,
    labels: Array | None,
    network: Any,
    kernel_init: Any,
    *,
    projected: Array | None = None,
) -> Array | Critique:
    """`w h + b + <e(y), h'>`, and further heads of h: how a projection discriminator ends.

    Called inside a module, which then owns the layers "logit" and "classes" and those of `critique`.

    Args:
        features: h, [B, F].
        labels: y, [B] int32 classes or [B, E] floating vectors.
        network: the module, of which `num_classes`, `heads` and `dtype` are read.
        kernel_init: of w and e.
        projected: h', [B, F']; h by default.
    """
    how = {"dtype": network.dtype}
    logits = nn.Dense(1, kernel_init=kernel_init, name="logit", **how)(features)[:, 0]
    of_class = features if projected is None else projected
    logits += projection(of_class, labels, network.num_classes, embedding_init=kernel_init, name="classes", **how)
    return critique(logits, features, network.heads, network.dtype)
