"""What makes a run the one it is, beside the leaves of its state: whoever continues a checkpoint must share it."""

import dataclasses
import functools
import hashlib
import sys
import types
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ganjax import __version__
from ganjax.data import Dataset
from ganjax.options import TrainConfig
from ganjax.rundir import MAY_CHANGE
from ganjax.training.state import kind

if TYPE_CHECKING:
    from ganjax.training.setup import Setup

_BUILT = ("game", "dynamics", "averages")  # of a setup: functions, known by their fingerprints
_LIBRARIES = ("jax", "flax", "optax")  # whose functions hold other names in other versions
# Nothing that changes what is computed: where devices average, where Flax keeps a module, what a log leaves out.
_IGNORED = frozenset({"axis_name", "parent", "taken_every"})


def identity(setup: "Setup", seed: int) -> dict[str, Any]:
    """Seed, data, batch, and fingerprints of how the players move and what they want, as JSON values."""
    made_with = [f"ganjax {__version__}", *(f"{name} {version(name)}" for name in _LIBRARIES)]
    return {
        "seed": int(seed),
        **_of_streams(setup),
        **{name: fingerprint(getattr(setup, name)) for name in _BUILT},
        "made_with": ", ".join([f"python {sys.version_info[0]}.{sys.version_info[1]}", *made_with]),
    }


def _of_streams(setup: "Setup") -> dict[str, Any]:
    """Data, batch size and what players get with an example; of each stream by its name where there are several."""
    described: dict[str, Any] = {}
    for stream, own in setup.played.items():
        of = "" if len(setup.played) == 1 else f" of {stream}"
        y = list(own.y) if isinstance(own.y, tuple) else own.y
        described |= {f"data{of}": own.dataset.digest, f"batch_size{of}": int(own.batch_size), f"y{of}": y}
        described |= {f"prepare{of}": fingerprint(own.prepare)} if own.prepare else {}
    return described


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, in words; fingerprints only if the same libraries made them."""
    alike = before.get("made_with") == now["made_with"]
    names = [name for name in now if name != "made_with" and (alike or name.split()[0] not in (*_BUILT, "prepare"))]
    changed = [name for name in names if name in before and before[name] != now[name]]
    hashed = (*_BUILT, "data", "prepare")
    return [name if name.split()[0] in hashed else f"{name} {before[name]} -> {now[name]}" for name in changed]


def fingerprint(thing: Any) -> str:
    """SHA-256 in hexadecimal of what functions, modules and trees of them are made of, the same in every process.

    A function counts by its name and by all that it holds (the variables of its closure, its defaults), and so on
    inwards: the rate of an optimiser, the weight of a penalty, the width of a network. Its code and what it finds in
    its module do not count, and neither does the number of devices.

    >>> import optax
    >>> fingerprint(optax.adam(0.1)) == fingerprint(optax.adam(0.1)) != fingerprint(optax.adam(0.2))
    True
    """
    known: dict[int, str] = {}
    alive = []  # or another object could get an id that is known

    def of(x: Any) -> str:
        if x is None or isinstance(x, bool | int | float | complex | str | bytes):
            return repr(x)
        if id(x) not in known:
            alive.append(x)
            known[id(x)] = "itself"  # where it is met again within itself
            parts = [f"{name}={of(part)}" for name, part in _parts(x) if name not in _IGNORED]
            known[id(x)] = hashlib.sha256(" ".join([_named(x), *parts]).encode()).hexdigest()
        return known[id(x)]

    return of(thing)


def _named(x: Any) -> str:
    """The name of a function or class with its module, or that of an object's class."""
    named = x if hasattr(x, "__qualname__") else type(x)
    return f"{named.__module__}.{named.__qualname__}"


def _parts(x: Any) -> Iterator[tuple[str, Any]]:
    """What an object is made of, each with a name; nothing of objects that are neither data nor callable."""
    if isinstance(x, Dataset):
        yield "digest", x.digest
    elif isinstance(x, np.ndarray | np.generic | jax.Array):
        array = np.asarray(
            jax.random.key_data(jnp.asarray(x)) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        )
        yield kind(array), array.tobytes()
    elif isinstance(x, Mapping):
        yield from ((str(key), value) for key, value in x.items())
    elif isinstance(x, tuple) and hasattr(x, "_fields"):
        yield from zip(x._fields, x, strict=True)
    elif isinstance(x, tuple | list):
        yield from ((str(place), value) for place, value in enumerate(x))
    elif isinstance(x, functools.partial):
        yield from (("func", x.func), ("args", x.args), ("keywords", x.keywords))
    elif isinstance(x, types.MethodType):
        yield from (("self", x.__self__), ("func", x.__func__))
    elif isinstance(x, types.FunctionType):
        cells = zip(x.__code__.co_freevars, x.__closure__ or (), strict=True)
        yield from ((name, cell.cell_contents) for name, cell in cells if _filled(cell))
        yield from (("defaults", x.__defaults__), ("keywords", x.__kwdefaults__))
    elif hasattr(x, "__wrapped__"):
        yield "wrapped", x.__wrapped__
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        free = MAY_CHANGE if isinstance(x, TrainConfig) else frozenset()
        names = [field.name for field in dataclasses.fields(x) if field.name not in free]
        yield from ((name, getattr(x, name)) for name in names if hasattr(x, name))
    elif callable(x) and not isinstance(x, type):
        yield from vars(x).items() if hasattr(x, "__dict__") else ()


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
