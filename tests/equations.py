"""All equations of a program, those of the programs inside it too, as often as they are there."""

from collections.abc import Iterator
from typing import Any

import jax


def equations(jaxpr: Any) -> Iterator[Any]:
    """Of a jaxpr, closed or open. (JAX 0.11 prints a program that is called twice once, so text is no count.)"""
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield eqn
        for inner in jax.tree.leaves(eqn.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from equations(inner)


def convolutions(jaxpr: Any) -> list[Any]:
    return [eqn for eqn in equations(jaxpr) if eqn.primitive.name == "conv_general_dilated"]
