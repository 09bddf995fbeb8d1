"""Games of a few numbers whose dynamics are known in closed form."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.nn import softplus

from ganjax.core import Array, Game, Key, Outcome, PerPlayer, PyTree


def zero_sum(value: Callable[[PerPlayer, PyTree, Key], Array], minimiser: str, maximiser: str, init) -> Game:
    """Two players, one value: `minimiser` descends it, `maximiser` ascends it.

    Args:
        value: `(params, batch, key) -> scalar`.
        minimiser: name of the player whose cost is `value`; it plays first.
        maximiser: name of the player whose cost is `-value`.
        init: `(key, batch) -> params`, keyed by player.
    """

    def cost(sign: int):
        def signed(params: PerPlayer, net_state: PerPlayer, batch: PyTree, key: Key):
            v = value(params, batch, key)
            return sign * v, Outcome({}, {"value": v})

        return signed

    return Game(
        init=lambda key, batch: (init(key, batch), {minimiser: {}, maximiser: {}}),
        costs={minimiser: cost(+1), maximiser: cost(-1)},
    )


def bilinear(matrix: Array | None = None, *, saddle: tuple = (0.0, 0.0), start: tuple = (1.0, 1.0)) -> Game:
    """`v(a, b) = (a - a0) (b - b0)`, or `v(a, b) = (a - a0)^T A (b - b0)`: a minimises, b maximises.

    The field turns about the saddle `(a0, b0)`, the only equilibrium (Goodfellow 2016, section 8.2; Mescheder et
    al. 2017). A singular value `s` of A makes a plane that turns at speed `s`.

    Args:
        matrix: A, [m, n]; without it a and b are scalars.
        saddle: `(a0, b0)`, each broadcast to the shape of its player.
        start: where the players begin, likewise.
    """
    if matrix is not None and jnp.ndim(matrix) != 2:
        raise ValueError(f"bilinear: matrix has shape {jnp.shape(matrix)}, expected two axes [m, n]")
    shapes = [(), ()] if matrix is None else [(n,) for n in jnp.shape(matrix)]

    def value(params: PerPlayer, batch: PyTree, key: Key) -> Array:
        del batch, key
        a, b = params["a"] - jnp.asarray(saddle[0]), params["b"] - jnp.asarray(saddle[1])
        return a * b if matrix is None else a @ jnp.asarray(matrix) @ b

    def init(key: Key, batch: PyTree) -> dict:
        del key, batch
        return {
            player: jnp.broadcast_to(jnp.asarray(x, float), shape)
            for player, x, shape in zip(("a", "b"), start, shapes, strict=True)
        }

    return zero_sum(value, "a", "b", init)


# f(t) of the Dirac-GAN's value f(psi theta) + f(0), for a discriminator that ascends it.
DIRAC_VALUES: dict[str, Callable[[Array], Array]] = {
    "gan": lambda t: -softplus(-t),
    "wasserstein": lambda t: t,
}


def dirac_gan(f: str = "gan", *, non_saturating: bool = False, start: tuple = (1.0, 1.0)) -> Game:
    """The Dirac-GAN (Mescheder et al. 2018, definition 2.1): real data at 0, one fake at theta, `D(x) = psi x`.

    The discriminator ascends `L(theta, psi) = f(psi theta) + f(0)`. The generator descends the same value, or, non
    saturating, `-f(-psi theta)`. The only equilibrium is the origin; there the field has the eigenvalues
    `+-i f'(0)`.

    Args:
        f: "gan" for `f(t) = -log(1 + exp(-t))`, or "wasserstein" for `f(t) = t`.
        non_saturating: give the generator the non-saturating cost.
        start: `(theta, psi)` at step 0.
    """
    if f not in DIRAC_VALUES:
        raise ValueError(f"dirac_gan: f is {f!r}, expected one of {sorted(DIRAC_VALUES)}")
    function = DIRAC_VALUES[f]

    def logit(params: PerPlayer) -> Array:
        return params["generator"] * params["discriminator"]

    def generator(params: PerPlayer, net_state: PerPlayer, batch: PyTree, key: Key):
        del net_state, batch, key
        cost = -function(-logit(params)) if non_saturating else function(logit(params)) + function(jnp.zeros(()))
        return cost, Outcome({}, {})

    def discriminator(params: PerPlayer, net_state: PerPlayer, batch: PyTree, key: Key):
        del net_state, batch, key
        return -(function(logit(params)) + function(jnp.zeros(()))), Outcome({}, {})

    def init(key: Key, batch: PyTree) -> tuple[dict, dict]:
        del key, batch
        theta, psi = (jnp.asarray(x, float) for x in start)
        return {"generator": theta, "discriminator": psi}, {"generator": {}, "discriminator": {}}

    return Game(init, {"generator": generator, "discriminator": discriminator})
