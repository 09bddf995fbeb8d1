"""One generator against several discriminators, each of which has a view of its own of the examples."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.checks import check_kind, check_range
from ganjax.core import Array, Batch, Cost, Draw, Game, Key, Moment, PerPlayer, noise, substream
from ganjax.errors import ConfigError
from ganjax.games.adversarial import GENERATOR, check_batch, check_fakes
from ganjax.games.network import Network, network, owned, pass_keys
from ganjax.games.priors import Prior
from ganjax.games.terms import Term, check_terms, lazily, of_terms
from ganjax.losses import AdversarialLoss
from ganjax.spectral import SpectralNorm

View = Callable[[Key, Array], Array]  # (key of one example, x [...]) -> what is seen of it [...]


def whole(key: Key, x: Array) -> Array:
    """The example as it is."""
    del key
    return x


def some_frames(count: int) -> View:
    """So many frames of a clip, each of its T as likely and none twice: [T, ...] to [count, ...].

    One, in the game of Tulyakov et al. (2018, section 3.2).
    """
    check_range("some_frames", 1, whole=True, count=count)
    return lambda key, x: x[jax.random.choice(key, len(x), (count,), replace=False)]


class Judge(NamedTuple):
    """A discriminator, what it sees, and what the generator pays it."""

    module: nn.Module  # (what is seen [B, ...]) -> logits [B, ...]
    view: View = whole
    weight: float = 1.0


class Scene(NamedTuple):
    """What a player sees in its turn."""

    real: dict[str, Array]  # logits of real examples, floating, keyed by judge
    fake: dict[str, Array]
    x_fake: Array  # [B, ...]
    aside: dict[str, Array]  # what else the generator says of them


def views(
    generator: nn.Module,
    judges: Mapping[str, Judge],
    loss: AdversarialLoss,
    *,
    prior: Prior,
    terms: Mapping[str, Term] = MappingProxyType({}),
    aside: str = "",
    spectral: SpectralNorm | None = None,
    axis_name: str | None = None,
) -> Game:
    """A generator and several discriminators, each a player.

    - discriminator k: `mean loss.discriminator(D_k(v_k(x)), D_k(v_k(G(z))))`;
    - generator: `sum_k weight_k mean loss.generator(D_k(v_k(x)), D_k(v_k(G(z))))`, and its terms.

    MoCoGAN's are one that sees a random frame of a clip and one that sees the clip (Tulyakov et al. 2018, equation 5).
    What is random in a view is drawn for each example from keys of its own, others for real examples and for fakes, so
    that a frame of a fake is judged beside any frame of real clips. The generator's BatchNorm and all `u` move in their
    owner's turn alone.

    Metrics of a discriminator are "real_logit", "fake_logit" and "adversarial"; the generator's are named after judges
    and terms.

    Args:
        generator: module, `z [B, ...] -> x [B, ...]`.
        judges: the discriminators, keyed by player, in the order of play.
        loss: what each of them and the generator play for.
        prior: draws the latent of one example.
        terms: what else the generator pays for, each a function of a `Scene`.
        aside: a method of the generator that returns x and a dictionary of arrays, for terms that look at these.
        spectral: spectral normalisation of all discriminators.
        axis_name: the mapped axis that shares the batch, if any.

    Returns:
        A game of the judges and "generator", in this order, whose batch is a `Batch`.

    Raises:
        ConfigError: there is no judge, or one is called "generator".
        ValueError: a weight is out of its range. From `init`, if the generator's examples have another shape.
    """
    check_kind("views", AdversarialLoss, loss=loss)
    if not judges or GENERATOR in judges:
        raise ConfigError(f"views: judges are {list(judges)}, expected one at least, and none named {GENERATOR!r}")
    for name, judge in judges.items():
        check_range("views", 0, **{f"weight of {name}": judge.weight})  # type: ignore[arg-type]
    check_terms("views", {GENERATOR: terms}, 0)
    nets = {name: network(judge.module, spectral) for name, judge in judges.items()}
    play = _Play(network(generator), nets, judges, prior, aside, axis_name)
    costs: dict[str, Cost] = {}
    for name in judges:
        costs |= of_terms(partial(play.look, name), {name: _judging(name, loss)})
    fooling = {name: Term(partial(_fooled, name, loss), judge.weight) for name, judge in judges.items()}
    costs |= of_terms(partial(play.look, GENERATOR), {GENERATOR: {**fooling, **terms}})
    return Game(play.init, costs, taken_every=lazily({GENERATOR: terms}))


def _judging(name: str, loss: AdversarialLoss) -> dict[str, Term]:
    """What a discriminator pays."""
    return {
        "real_logit": Term(lambda scene: scene.real[name], 0.0),
        "fake_logit": Term(lambda scene: scene.fake[name], 0.0),
        "adversarial": Term(lambda scene: loss.discriminator(scene.real[name], scene.fake[name])),
    }


def _fooled(name: str, loss: AdversarialLoss, scene: Scene) -> Array:
    """What the generator pays to a discriminator."""
    return loss.generator(scene.real[name], scene.fake[name])


@dataclasses.dataclass(frozen=True)
class _Play:
    """How they play: their first state, and a look in a player's turn."""

    generator: Network
    nets: Mapping[str, Network]
    judges: Mapping[str, Judge]
    prior: Prior
    aside: str
    axis_name: str | None

    def init(self, key: Key, batch: Batch) -> tuple[dict, dict]:
        """The first params and net_state of all."""
        check_batch(batch)
        z_key, g_key, *keys = jax.random.split(key, 2 + len(self.judges))
        made = {}
        for (name, judge), k in zip(self.judges.items(), keys, strict=True):
            seen = jax.vmap(partial(judge.view, k))(batch.x)
            made[name] = self.nets[name].init(k, seen)
        made[GENERATOR] = self.generator.init(g_key, noise(self.prior, z_key, batch.position))
        check_fakes(made[GENERATOR][2], batch.x)
        return owned(made)

    def look(self, who: str, params: PerPlayer, moment: Moment) -> tuple[Scene, PerPlayer]:
        """The scene of a player's turn, in training mode, and the net_state that it leaves."""
        batch, key, state = moment.batch, moment.key, dict(moment.net_state)
        check_batch(batch)
        keys_of = pass_keys(batch.position, key, self.axis_name, 1 + 2 * len(self.judges))
        z = noise(self.prior, key, batch.position)
        how = {"method": self.aside} if self.aside else {}
        made, g_state = self.generator.apply(params[GENERATOR], state[GENERATOR], z, train=True, keys=keys_of[0], **how)
        x_fake, aside = made if self.aside else (made, {})
        x_fake = x_fake.astype(batch.x.dtype)
        own = noise(lambda k: jax.random.split(substream(k, Draw.OTHER), 2 * len(self.judges)), key, batch.position)
        real: dict[str, Array] = {}
        fake: dict[str, Array] = {}
        for i, (name, judge) in enumerate(self.judges.items()):
            if who not in (name, GENERATOR):
                continue
            net = self.nets[name]
            d_state = net.advance(params[name], state[name]) if who == name else state[name]
            weights = net.weights(params[name], d_state)
            logits = []
            for j, x in ((2 * i, batch.x), (2 * i + 1, x_fake)):
                seen = jax.vmap(judge.view)(own[:, j], x)
                said, d_state = net.apply(weights, d_state, seen, train=True, keys=keys_of[1 + j])
                logits.append(said.astype(jnp.promote_types(said.dtype, jnp.float32)))
            real[name], fake[name] = logits
            state[name] = jax.lax.stop_gradient(d_state)
        state[GENERATOR] = g_state
        return Scene(real, fake, x_fake, aside), {who: state[who]}
