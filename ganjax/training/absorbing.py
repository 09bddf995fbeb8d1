"""What a step cannot heal: the leaves of a state in which a value that is not finite stays not finite.

Read off the program of the step. Arithmetic in which an operand that is not finite gives a result that is not finite,
whatever the other one is, carries the value on: `inf + x`, `x - inf`, `0 inf`, `inf / x` are infinite or NaN, and XLA
keeps them so unless it is told to compile with fast, wrong mathematics. A leaf each element of which reaches itself
through such arithmetic alone is absorbing: parameters (`p + u`), moments of Adam (`b m + (1 - b) g`, b = 0 too),
traces, averages (`m + r (x - m)`, r = 1 too), slow weights. What is replaced (gradients of the step before,
power-iteration vectors), bounded (`max`, `clip`), moved about or looked up is not, and what is not known here counts as
not.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from ganjax.core import PyTree

# Primitives that are the program in one of their parameters, by its name: it runs once.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
}
# Of a value: the numbers of the inputs of its shape of which every element that is not finite leaves this value's
# element at the same place not finite.
Carried = frozenset[int]
_NOTHING: Carried = frozenset()
# What arithmetic carries on of what its operands of its own shape carry.
_ARITHMETIC: dict[str, Callable[[list[Carried]], Carried]] = dict.fromkeys(
    ("add", "add_any", "sub", "mul", "neg", "copy", "convert_element_type"), lambda same: _NOTHING.union(*same)
)
_ARITHMETIC |= {"div": lambda same: same[0], "select_n": lambda same: frozenset.intersection(*same[1:])}


def absorbing(function: Callable, state: PyTree, *rest: Any) -> list[bool]:
    """Whether, for each leaf of the state, `function(state, *rest) -> (a state like it, ...)` cannot heal it.

    >>> def step(state, x):
    ...     return {"sum": state["sum"] + x, "last": x, "mean": 0.0 * state["mean"] + x}, x
    >>> absorbing(step, {"sum": 1.0, "last": 1.0, "mean": 1.0}, 2.0)  # in the order of the leaves: last, mean, sum
    [False, True, True]
    """
    jaxpr = jax.make_jaxpr(function)(state, *rest).jaxpr
    size = len(jax.tree.leaves(state))
    inputs = [frozenset([i]) if i < size else _NOTHING for i in range(len(jaxpr.invars))]
    return [i in carried for i, carried in enumerate(_through(jaxpr, inputs)[:size])]


def _through(jaxpr: Any, inputs: Sequence[Carried]) -> list[Carried]:
    """What the outputs of a program carry, given what its inputs do."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Carried:
        return _NOTHING if isinstance(atom, Literal) else known.get(atom, _NOTHING)

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, _of(eqn, [read(atom) for atom in eqn.invars]), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _of(eqn: Any, inputs: list[Carried]) -> list[Carried]:
    """What the outputs of one equation carry."""
    name, params = eqn.primitive.name, eqn.params
    if name in CALLS:
        return _through(params[CALLS[name]], inputs)
    if name == "optimization_barrier":
        return inputs
    if name == "cond":
        branches = [_through(branch, inputs[1:]) for branch in params["branches"]]
        return [frozenset.intersection(*each) for each in zip(*branches, strict=True)]
    if name == "scan":
        body = getattr(params["jaxpr"], "jaxpr", params["jaxpr"])
        end, size = _whole(eqn.invars, body.invars), _whole(eqn.outvars, body.outvars)
        consts, slices = inputs[: end - size], [_NOTHING] * len(inputs[end:])
        carry = _kept(lambda carry: _through(body, [*consts, *carry, *slices]), inputs[end - size : end])
        return carry + [_NOTHING] * (len(eqn.outvars) - size)
    if name == "while":
        first = params["cond_nconsts"]
        end = first + params["body_nconsts"]
        return _kept(lambda carry: _through(params["body_jaxpr"], [*inputs[first:end], *carry]), inputs[end:])
    if name in _ARITHMETIC and _has_infinities(eqn.outvars[0].aval.dtype):
        shape = eqn.outvars[0].aval.shape
        same = [one if atom.aval.shape == shape else _NOTHING for one, atom in zip(inputs, eqn.invars, strict=True)]
        return [_ARITHMETIC[name](same)]
    return [_NOTHING] * len(eqn.outvars)


def _whole(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """How many of a scan's inputs or outputs each turn has whole; it has slices of the ones after them.

    Told by their ranks: the equation's own counts have other names in JAX 0.10 and 0.11.
    """
    return sum(one.aval.ndim == turn.aval.ndim for one, turn in zip(outside, inside, strict=True))


def _has_infinities(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 16


def _kept(body: Callable[[list[Carried]], list[Carried]], carry: list[Carried]) -> list[Carried]:
    """What a loop carries however often it runs: of what it begins with, all that every turn hands on."""
    while True:
        after = [before & turned for before, turned in zip(carry, body(carry), strict=False)]
        if after == carry:
            return carry
        carry = after
