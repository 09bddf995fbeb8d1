"""How many floating-point operations a program needs, counted on its jaxpr: those of matrix products and convolutions.

A multiplication with its addition is 2. What a network adds beside them, element by element, is less than a hundredth
of a wide one and is not counted. The count is what XLA computes after it removed what nobody reads and what is there
twice: the generator's pass that simultaneous players share is counted once, weight-gradients that nobody takes not at
all.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Literal
from jax.interpreters.partial_eval import dce_jaxpr

from ganjax.training import parallel
from ganjax.training.absorbing import CALLS
from ganjax.training.setup import Keys, Setup, batch_shapes, collate, state_shapes
from ganjax.training.step import unguarded_step


def step_flops(setup: Setup) -> float:
    """The FLOPs of one training step, all turns of all players and all devices together.

    Where a penalty is lazy, the step is one in which it is due.
    """
    return jax.device_count() * jaxpr_flops(_step(setup, parallel.axis_name(), jax.device_count()))


class Load(NamedTuple):
    """What one step asks of one device beside arithmetic."""

    products: int  # matrix products and convolutions, each a kernel at least
    bytes_of_products: float  # of their factors and results, each read or written once
    bytes_reduced: float  # of what is summed over the devices: gradients, statistics, metrics
    rounds: int  # of such sums, one of which needs the result of another: nobody can merge or overlap them


def step_load(setup: Setup, axis_name: str | None = None, devices: int = 1) -> Load:
    """The load of one training step on each of so many devices, which share the batch; nothing runs.

    Args:
        setup: built with this `axis_name`.
        axis_name: of the devices; None for one.
        devices: how many.
    """
    jaxpr = _step(setup, axis_name, devices)
    count, moved = (
        _total(jaxpr, measure)[0] for measure in (lambda eqn: float(_products(eqn) > 0), _bytes_of_products)
    )
    reduced, rounds = _total(jaxpr, _bytes_reduced)[0], _total(jaxpr, lambda eqn: float(_bytes_reduced(eqn) > 0))[1]
    return Load(int(count), moved, reduced, int(rounds))


def _step(setup: Setup, axis_name: str | None, devices: int) -> Any:
    """The jaxpr of a step on one of these devices; the guard after it is no part of the model."""
    data, rows = batch_shapes(setup)
    own = {name: jax.ShapeDtypeStruct((x.shape[0] // devices,), x.dtype) for name, x in rows.items()}
    batch = jax.eval_shape(partial(collate, setup), data, own, Keys.of(0).steps)
    step = unguarded_step(setup.game, setup.dynamics, setup.averages)
    make = jax.make_jaxpr(step, axis_env=None if axis_name is None else [(axis_name, devices)])
    return make(state_shapes(setup), batch, Keys.of(0).steps)


def flops(function: Callable, *args: Any, trips: int | None = None) -> float:
    """The FLOPs of a function of these arguments, or of arrays of their shapes.

    >>> x = jax.ShapeDtypeStruct((3, 4), jnp.float32)
    >>> flops(lambda x: x @ x.T, x)
    72.0
    """
    return jaxpr_flops(jax.make_jaxpr(function)(*args), trips=trips)


def jaxpr_flops(jaxpr: Any, *, trips: int | None = None) -> float:
    """The FLOPs of a jaxpr, closed or open.

    A `scan` counts its body as often as it runs, a `cond` its dearest branch.

    Args:
        jaxpr: what `jax.make_jaxpr` made.
        trips: how often the body of a `while_loop` runs.

    Raises:
        ValueError: a `while_loop` with products in it and no `trips`, or products in a call that is not known.
    """
    return _total(jaxpr, _products, trips)[0]


Measure = Callable[[Any], float]  # of an equation that holds no program


def _total(jaxpr: Any, measure: Measure, trips: int | None = None) -> tuple[float, float]:
    """The sum over all computations, and the largest sum over a chain of them."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    graph = _Graph(measure, trips)
    return graph.total(graph.trace(jaxpr, list(jaxpr.invars)))


class _Graph:
    """The values of a program, each computation once. A value is (computation, output), an input, or a literal."""

    def __init__(self, measure: Measure, trips: int | None):
        self._measure, self._trips = measure, trips
        self._known: dict[tuple, int] = {}  # primitive, parameters and inputs -> computation
        self._cost: list[float] = []
        self._chain: list[float] = []  # the dearest chain of computations that ends here
        self._inputs: list[list[int]] = []

    def trace(self, jaxpr: Any, values: Sequence[Any]) -> list[Any]:
        """Follow a program with these inputs; returns its outputs."""
        env = dict(zip(jaxpr.invars, values, strict=True))

        def read(atom: Any) -> Any:
            return ("literal", str(atom.val), str(atom.aval)) if isinstance(atom, Literal) else env.get(atom, atom)

        for eqn in jaxpr.eqns:
            name, inputs = eqn.primitive.name, tuple(map(read, eqn.invars))
            if name in CALLS:
                inner = eqn.params[CALLS[name]]
                outputs = self.trace(getattr(inner, "jaxpr", inner), inputs)
            elif eqn.params.get("branches_platforms"):
                outputs = self.trace(_of_this_platform(eqn).jaxpr, inputs[1:])
            else:
                place = self._computation(eqn, inputs)
                outputs = [(place, i) for i in range(len(eqn.outvars))]
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def total(self, outputs: Sequence[Any]) -> tuple[float, float]:
        """The cost of all that these values need: the sum, and that of the dearest chain."""
        seen: set[int] = set()
        waiting = _computations(outputs)
        chain = max((self._chain[place] for place in waiting), default=0.0)
        while waiting:
            place = waiting.pop()
            if place not in seen:
                seen.add(place)
                waiting += self._inputs[place]
        return float(sum(self._cost[place] for place in seen)), chain

    def _computation(self, eqn: Any, inputs: tuple) -> int:
        """The number of this computation, a new one if it is new."""
        key = (eqn.primitive.name, str(eqn.params), inputs)
        if key not in self._known:
            self._known[key] = len(self._cost)
            cost, chain = self._costs(eqn)
            before = _computations(inputs)
            self._cost.append(cost)
            self._chain.append(chain + max((self._chain[place] for place in before), default=0.0))
            self._inputs.append(before)
        return self._known[key]

    def _costs(self, eqn: Any) -> tuple[float, float]:
        """The cost of one equation: the sum, and that of the dearest chain in it."""
        name, params = eqn.primitive.name, eqn.params
        inner = [_total(jaxpr, self._measure, self._trips) for jaxpr in _programs(params)]
        if not any(cost for cost, _ in inner):
            own = 0.0 if inner else self._measure(eqn)
            return own, own
        if name == "cond":
            return max(inner)
        cost, chain = (sum(each) for each in zip(*inner, strict=True))
        if name == "while" and self._trips is None:
            raise ValueError("flops: a while_loop has products in its body; say with trips how often it runs")
        times = {"scan": params.get("length"), "while": self._trips, "shard_map": 1}.get(name)
        if times is None:
            raise ValueError(
                f"flops: the call {name} has products in it and is not known; expected one of {sorted(CALLS)}"
            )
        return times * cost, times * chain


def _of_this_platform(eqn: Any) -> Any:
    """The branch of `jax.lax.platform_dependent` that is run here."""
    backend = jax.default_backend()
    branches = zip(eqn.params["branches"], eqn.params["branches_platforms"], strict=True)
    return next(branch for branch, platforms in branches if platforms is None or backend in platforms)


def _computations(values: Sequence[Any]) -> list[int]:
    """Those that made the values; inputs and literals were not made."""
    return [value[0] for value in values if isinstance(value, tuple) and value[0] != "literal"]


def _products(eqn: Any) -> float:
    """Two for each multiplication of a matrix product or a convolution, else 0."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2.0 * eqn.outvars[0].aval.size * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    return _of_convolution(eqn) if eqn.primitive.name == "conv_general_dilated" else 0.0


def _bytes_of_products(eqn: Any) -> float:
    return float(sum(map(_bytes, (*eqn.invars, *eqn.outvars)))) if _products(eqn) else 0.0


def _bytes_reduced(eqn: Any) -> float:
    """Bytes of the operands of a sum, a least or a greatest value over devices."""
    reduces = eqn.primitive.name.startswith(("psum", "pmin", "pmax"))
    return float(sum(map(_bytes, eqn.invars))) if reduces else 0.0


def _bytes(atom: Any) -> int:
    return atom.aval.size * atom.aval.dtype.itemsize


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
