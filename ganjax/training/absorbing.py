"""What a step cannot heal: the leaves of a state in which a value that is not finite stays not finite.

Read off the program of the step. Arithmetic in which an operand that is not finite gives a result that is not finite,
whatever the other operands are, carries the value on: `inf + x`, `inf - x`, `0 inf`, `inf / x` are infinite or NaN, and
XLA keeps them so unless it is told to compile with fast, wrong mathematics. A leaf that reaches itself through such
arithmetic alone is absorbing: parameters (`p + u`), moments of Adam (`b m + (1 - b) g`, b = 0 too), traces, averages
(`m + r (x - m)`, r = 1 too), slow weights. What is replaced (gradients of the step before, power-iteration vectors),
bounded (`max`, `clip`) or looked up is not, and what is not known here counts as not.
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
# What is not finite in any of these operands is not finite in the result.
_ANY = {"add", "add_any", "sub", "mul", "neg", "copy", "concatenate"}
_ANY |= {"reshape", "transpose", "squeeze", "broadcast_in_dim", "convert_element_type"}
Carried = frozenset[int]  # numbers of the inputs of which any that is not finite leaves this value not finite
_NOTHING: Carried = frozenset()


def absorbing(function: Callable, state: PyTree, *rest: Any) -> list[bool]:
    """Of each leaf of the state, whether `function(state, *rest) -> (a state like it, ...)` cannot heal it.

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
        first, count = params["num_consts"], params["num_carry"]
        consts, carry, xs = inputs[:first], inputs[first : first + count], inputs[first + count :]
        body = lambda carry: _through(params["jaxpr"], [*consts, *carry, *([_NOTHING] * len(xs))])[:count]  # noqa: E731
        return _kept(body, carry) + [_NOTHING] * (len(eqn.outvars) - count)
    if name == "while":
        first = params["cond_nconsts"]
        consts, carry = inputs[first : first + params["body_nconsts"]], inputs[first + params["body_nconsts"] :]
        return _kept(lambda carry: _through(params["body_jaxpr"], [*consts, *carry]), carry)
    (out,) = eqn.outvars if len(eqn.outvars) == 1 else (None,)
    if out is None or not jnp.issubdtype(out.aval.dtype, jnp.floating) or not out.aval.size:
        return [_NOTHING] * len(eqn.outvars)
    if name in _ANY:
        return [_NOTHING.union(*inputs)]
    if name == "div":
        return inputs[:1]
    return [frozenset.intersection(*inputs[1:]) if name == "select_n" else _NOTHING]


def _kept(body: Callable[[list[Carried]], list[Carried]], carry: list[Carried]) -> list[Carried]:
    """What a loop carries however often it runs: of what it begins with, all that every turn hands on."""
    while True:
        after = [before & turned for before, turned in zip(carry, body(carry), strict=True)]
        if after == carry:
            return carry
        carry = after
