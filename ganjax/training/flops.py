"""How many floating-point operations a program needs, counted on its jaxpr: those of matrix products and convolutions.

A multiplication with its addition is 2. What a network adds beside them, element by element, is less than a hundredth
of a wide one and is not counted. The count is what XLA computes after it removed what nobody reads and what is there
twice: the generator's pass that simultaneous players share is counted once, weight-gradients that nobody takes not at
all.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.interpreters.partial_eval import dce_jaxpr

from ganjax.core import Batch
from ganjax.training import parallel
from ganjax.training.setup import Keys, Setup, state_shapes
from ganjax.training.step import unguarded_step

# Primitives that are the program in one of their parameters, by its name: it runs once.
_CALLS = {
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


def step_flops(setup: Setup) -> float:
    """Of one training step, all turns of all players and all devices together.

    Where a penalty is lazy, the step is one in which it is due.
    """
    axis, devices = parallel.axis_name(), jax.device_count()
    examples, shape = setup.examples // devices, setup.dataset.shape
    x: Any = jax.ShapeDtypeStruct((examples, *shape), jnp.float32)
    label: Any = jax.ShapeDtypeStruct((examples,), jnp.int32)
    batch = Batch(x, label if setup.labelled else None, label)
    step = unguarded_step(setup.game, setup.dynamics, setup.averages)
    make = jax.make_jaxpr(step, axis_env=None if axis is None else [(axis, devices)])
    return devices * jaxpr_flops(make(state_shapes(setup), batch, Keys.of(0).steps))


def flops(function: Callable, *args: Any, trips: int | None = None) -> float:
    """Of a function of these arguments, or of arrays of their shapes.

    >>> x = jax.ShapeDtypeStruct((3, 4), jnp.float32)
    >>> flops(lambda x: x @ x.T, x)
    72.0
    """
    return jaxpr_flops(jax.make_jaxpr(function)(*args), trips=trips)


def jaxpr_flops(jaxpr: Any, *, trips: int | None = None) -> float:
    """Of a jaxpr, closed or open.

    A `scan` counts its body as often as it runs, a `cond` its dearest branch.

    Args:
        jaxpr: what `jax.make_jaxpr` made.
        trips: how often the body of a `while_loop` runs.

    Raises:
        ValueError: a `while_loop` with products in it and no `trips`, or products in a call that is not known.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    graph = _Graph(trips)
    return graph.cost_of(graph.trace(jaxpr, list(jaxpr.invars)))


class _Graph:
    """The values of a program, each computation once. A value is (computation, output), an input, or a literal."""

    def __init__(self, trips: int | None):
        self._trips = trips
        self._known: dict[tuple, int] = {}  # primitive, parameters and inputs -> computation
        self._cost: list[float] = []
        self._inputs: list[tuple] = []

    def trace(self, jaxpr: Any, values: Sequence[Any]) -> list[Any]:
        """Follow a program with these inputs; returns its outputs."""
        env = dict(zip(jaxpr.invars, values, strict=True))

        def read(atom: Any) -> Any:
            return ("literal", str(atom.val), str(atom.aval)) if isinstance(atom, Literal) else env.get(atom, atom)

        for eqn in jaxpr.eqns:
            name, inputs = eqn.primitive.name, tuple(map(read, eqn.invars))
            if name in _CALLS:
                inner = eqn.params[_CALLS[name]]
                outputs = self.trace(getattr(inner, "jaxpr", inner), inputs)
            else:
                place = self._computation(eqn, inputs)
                outputs = [(place, i) for i in range(len(eqn.outvars))]
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def cost_of(self, outputs: Sequence[Any]) -> float:
        """Of all that these values need."""
        seen: set[int] = set()
        waiting = list(outputs)
        while waiting:
            value = waiting.pop()
            if isinstance(value, tuple) and value[0] != "literal" and value[0] not in seen:
                seen.add(value[0])
                waiting += self._inputs[value[0]]
        return float(sum(self._cost[place] for place in seen))

    def _computation(self, eqn: Any, inputs: tuple) -> int:
        """The number of this computation, a new one if it is new."""
        key = (eqn.primitive.name, str(eqn.params), inputs)
        if key not in self._known:
            self._known[key] = len(self._cost)
            self._cost.append(_cost(eqn, self._trips))
            self._inputs.append(inputs)
        return self._known[key]


def _cost(eqn: Any, trips: int | None) -> float:
    """Of one equation."""
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return 2.0 * eqn.outvars[0].aval.size * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return _of_convolution(eqn)
    inner = [jaxpr_flops(jaxpr, trips=trips) for jaxpr in _programs(params)]
    if not any(inner):
        return 0.0
    if name == "scan":
        return params["length"] * inner[0]
    if name == "cond":
        return max(inner)
    if name == "while":
        if trips is None:
            raise ValueError("flops: a while_loop has products in its body; say with trips how often it runs")
        return trips * sum(inner)
    if name == "shard_map":
        return params["mesh"].size * inner[0]
    raise ValueError(f"flops: the call {name} has products in it and is not known; expected one of {sorted(_CALLS)}")


def _programs(params: dict[str, Any]) -> list[Any]:
    """The jaxprs among the parameters of an equation."""
    values = [value for given in params.values() for value in (given if isinstance(given, tuple) else (given,))]
    return [value for value in values if hasattr(value, "eqns") or hasattr(value, "jaxpr")]


def _of_convolution(eqn: Any) -> float:
    """Two for each product of an input with a weight; zeros that padding and dilation insert are none of them.

    So a convolution, its gradient in the input and its gradient in the kernel cost the same, as they should: they are
    contractions of one trilinear form.
    """
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    x, w, y = (atom.aval.shape for atom in (*eqn.invars, eqn.outvars[0]))
    products = y[numbers.out_spec[0]] * y[numbers.out_spec[1]] * w[numbers.rhs_spec[1]]
    axes = zip(
        (x[axis] for axis in numbers.lhs_spec[2:]),
        (w[axis] for axis in numbers.rhs_spec[2:]),
        (y[axis] for axis in numbers.out_spec[2:]),
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    )
    return 2.0 * products * math.prod(_pairs(*axis) for axis in axes)


def _pairs(x: int, w: int, y: int, stride: int, padding: tuple[int, int], x_dilation: int, w_dilation: int) -> int:
    """How many (output, weight) pairs along one axis meet an input."""
    place = np.arange(y)[:, None] * stride + np.arange(w) * w_dilation - padding[0]
    return int(((place >= 0) & (place <= (x - 1) * x_dilation) & (place % x_dilation == 0)).sum())
