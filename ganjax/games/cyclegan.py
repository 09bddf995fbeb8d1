"""CycleGAN: two translators and two discriminators, and what was translated there and back (Zhu et al. 2017)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.checks import check_range
from ganjax.core import Array, Cost, Game, Key, Moment, Outcome, PerPlayer, PyTree
from ganjax.games import replay
from ganjax.games.network import network, owned
from ganjax.games.terms import Term, of_terms
from ganjax.games.translation import D_A, D_B, A, B, F, G, check_made, check_stateless, fooling, judging

_POOL = "pool"  # the entry of a discriminator's net_state


class Seen(NamedTuple):
    """What one look shows: both batches, their translations, and a way to ask networks for more."""

    a: Array  # [B, ...]
    b: Array  # [B, ...]
    fake_a: Array  # F(b)
    fake_b: Array  # G(a)
    on: Callable[[str, Array], Array]  # (player, x) -> what the player's network makes of x


def cyclegan(
    g: nn.Module,
    f: nn.Module,
    discriminator: nn.Module,
    *,
    cycle: float = 10.0,
    identity: float = 0.5,
    pool: int = 50,
    axis_name: str | None = None,
) -> Game:
    """Four players, none of whom sees a pair (section 3, and the code):

    - G: A -> B: `(D_B(G(a)) - 1)^2 + cycle (|F(G(a)) - a| + |G(F(b)) - b|) + cycle identity |G(b) - b|`;
    - F: B -> A: the same with A and B exchanged, both cycles among it;
    - D_B: `((D_B(b) - 1)^2 + D_B(G(a))^2) / 2`, half of the translations from a pool of earlier ones; D_A likewise.

    Norms and squares are means over examples and pixels or logits. G and F differentiate the same look, each in its own
    parameters, of which a compiler computes once what they share. Players that move at once see what was translated
    before any of them moved, as in the PyTorch code; `alternating(..., order=["g", "d_b", "f", "d_a"], fresh=False)` is
    the order of the Torch code, whose discriminators however see the G(a) made before G moved, not, as here, after it,
    and whose labels of .9 for real images are not used. For any phi that preserves the law of A, (G phi, phi^-1 F) pays
    the same for game and cycle: colours may come out inverted, classes swapped.

    Args:
        g: module, `a -> b`.
        f: module, `b -> a`.
        discriminator: module, `x -> logits [B, ...]`, of which D_A and D_B have weights of their own.
        cycle: lambda.
        identity: weight of the identity terms, as a share of lambda. 0 evaluates none of them; it must be 0 where a and
            b differ in shape.
        pool: P, translations that each discriminator keeps; 0 shows it those of the step alone.
        axis_name: the mapped axis that shares the batch, if any.

    Returns:
        A game of the players "g", "f", "d_a" and "d_b", whose batch is `{"a": Batch, "b": Batch}`.

    Raises:
        ValueError: a weight is out of its range; from `init`, if networks or shapes do not fit.
    """
    check_range("cyclegan", 0, cycle=cycle, identity=identity)
    check_range("cyclegan", 0, whole=True, pool=pool)
    nets = {G: network(g), F: network(f)} | {d: network(discriminator, beside=(_POOL,)) for d in (D_A, D_B)}

    def init(key: Key, batch: PyTree) -> tuple[dict, dict]:
        a, b = batch[A].x, batch[B].x
        if identity and a.shape[1:] != b.shape[1:]:
            raise ValueError(
                f"cyclegan: examples of a and b have shapes {a.shape[1:]} and {b.shape[1:]}, so neither translator can "
                f"leave the other's alone and the identity weight {identity} has no meaning; set it to 0, or bring "
                "both to one shape"
            )
        keys, seen = jax.random.split(key, 4), {G: a, F: b, D_A: a, D_B: b}
        made = {player: nets[player].init(k, x) for k, (player, x) in zip(keys, seen.items(), strict=True)}
        for player, shape in ((G, b.shape[1:]), (F, a.shape[1:])):
            check_made("cyclegan", player, made[player], shape)
        params, state = owned(made)
        for player, x in ((D_A, a), (D_B, b)):
            check_stateless("cyclegan", player, state[player])
            state[player] = {_POOL: replay.init(pool, x.shape[1:])} if pool else {}
        return params, state

    def look(params: PerPlayer, moment: Moment) -> tuple[Seen, PerPlayer]:
        def on(player: str, x: Array) -> Array:
            return nets[player].apply(params[player], moment.net_state[player], x, train=True)[0]

        a, b = moment.batch[A].x, moment.batch[B].x
        return Seen(a, b, on(F, b), on(G, a), on), moment.net_state

    def judges(player: str, real: str, other: str) -> Cost:
        def cost(params: PerPlayer, moment: Moment) -> tuple[Array, Outcome]:
            seen, state = look(params, moment)[0], moment.net_state[player]
            x, fakes = (seen.a, seen.fake_a) if real == A else (seen.b, seen.fake_b)
            if pool:
                at = moment.batch[other].position
                kept, fakes = replay.show(state[_POOL], fakes, at, moment.key, axis_name)
                state = {_POOL: kept}
            return judging(seen.on(player, x), seen.on(player, fakes)), Outcome(state, {})

        return cost

    cycles = {
        "cycle_a": Term(lambda s: jnp.abs(s.on(F, s.fake_b) - s.a), cycle),
        "cycle_b": Term(lambda s: jnp.abs(s.on(G, s.fake_a) - s.b), cycle),
    }
    adversarial = {
        G: Term(lambda s: fooling(s.on(D_B, s.fake_b))),
        F: Term(lambda s: fooling(s.on(D_A, s.fake_a))),
    }
    staying = {
        G: Term(lambda s: jnp.abs(s.on(G, s.b) - s.b), cycle * identity),
        F: Term(lambda s: jnp.abs(s.on(F, s.a) - s.a), cycle * identity),
    }
    terms = {
        player: {"adversarial": adversarial[player], **cycles, **({"identity": staying[player]} if identity else {})}
        for player in (G, F)
    }
    return Game(init, {**of_terms(look, terms), D_A: judges(D_A, A, B), D_B: judges(D_B, B, A)})
