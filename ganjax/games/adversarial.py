"""The game of two networks: a generator and a discriminator (Goodfellow et al. 2014)."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.checks import check_kind, check_players, check_range
from ganjax.core import (
    Array,
    Batch,
    Cost,
    Critique,
    Draw,
    Game,
    Key,
    Latent,
    Moment,
    Owned,
    PerPlayer,
    PyTree,
    Sampler,
    Weights,
    noise,
    substream,
)
from ganjax.errors import ConfigError
from ganjax.games.latents import truncated
from ganjax.games.network import Network, in_full_precision, network, pass_keys
from ganjax.games.priors import Normal, Prior
from ganjax.games.sight import PLAIN, Sight
from ganjax.games.terms import Term, Terms, check_terms, lazily, of_terms
from ganjax.losses import AdversarialLoss
from ganjax.penalties import Critic, Penalty
from ganjax.spectral import SpectralNorm

GENERATOR, DISCRIMINATOR = "generator", "discriminator"


def gan(
    generator: nn.Module,
    discriminator: nn.Module,
    loss: AdversarialLoss,
    *,
    prior: Prior,
    terms: Terms = MappingProxyType({}),
    sight: Sight = PLAIN,
    spectral: Mapping[str, SpectralNorm] = MappingProxyType({}),
    accumulate: int = 1,
    one_pass: bool = True,
    axis_name: str | None = None,
) -> Game:
    """A generative adversarial network from two Flax modules, a loss, and whatever is added to it.

    The discriminator minimises `mean loss.discriminator(D(x), D(G(z)))` and its terms, the generator
    `mean loss.generator(D(x), D(G(z)))` and its own. Both see the noise of their batch's global
    positions. What accompanies the examples of the batch, their classes or vectors, goes to both networks, the fakes
    sharing that of the real examples.

    A player's cost moves its own state alone: BatchNorm statistics of the discriminator by its passes over real
    and fake examples (in this order, each batch by itself), those of the generator by its own turn. `u` of a
    spectrally normalised network moves once per evaluation of its own cost, and all passes of that evaluation
    share it. Dropout and noise are as random in the generator's turn as in the discriminator's.

    A discriminator that says `by_example = True`, because nothing in it mixes examples, sees real and fake ones in one
    pass of its own turn; not under penalties on the real or fake examples themselves, whose passes are shared instead
    (but not where penalties need passes of their own: in a narrower `dtype`, and on augmented fakes).
    Networks may compute in a narrower `dtype`: logits, losses, penalties and statistics are in float32 all the same.

    Metrics of a cost are the means of its terms, unweighted: "adversarial" is the loss's. Both log "fake_logit",
    the discriminator "real_logit" too.

    >>> from ganjax.games import normal_prior
    >>> from ganjax.losses import LOSSES
    >>> from ganjax.penalties import r1
    >>> lazy = {"discriminator": {"r1": Term(r1(), 10.0, every=16)}}
    >>> gan(nn.Dense(2), nn.Dense(1), LOSSES["hinge"], prior=normal_prior(3), terms=lazy).players
    ('discriminator', 'generator')

    Args:
        generator: module, `(z [B, ...], y [B, ...]) -> x [B, ...]`; y is left out where the batch has none.
        discriminator: module, `(x [B, ...], y [B, ...]) -> logits [B, ...]`, or a `Critique` with such logits.
        loss: what the two minimise.
        prior: draws the latent of one example.
        terms: what else they pay for, keyed by player and name, each a function of a `Scene`: penalties, which are
            computed in float32 or wider whatever the discriminator's dtype, and on the gradient in the images before
            an augmentation, as in the authors' code; terms of features and heads, which the discriminator must then
            return; whatever else takes numbers from a scene.
        sight: what the discriminator sees of the examples: noise, kept fakes, packs, augmentation.
        spectral: player -> spectral normalisation of its network.
        accumulate: micro-batches in which each cost is evaluated, one after another; `dynamics.field.View` says what it
            changes. Each must be a multiple of `sight.packing`.
        one_pass: allow the pass over real and fake examples together. False where both players move at once: then,
            without spectral normalisation, the generator's pass over the fakes is the discriminator's, computed once.
        axis_name: the mapped axis that shares the batch, if any; the pool and dropout need it.

    Returns:
        A game of the players "discriminator" and "generator", in this order, whose batch is a `Batch`.

    Raises:
        ValueError: an option is out of its range, or for a player that there is not; a term has the name of a metric
            that is there already. From `init`, if batch, networks and options do not fit. A discriminator with
            BatchNorm and a penalty do not: BatchNorm makes an example's logit depend on the others, and the penalty is
            on each by itself.
        TypeError: an argument is of another kind. From `init`, if batch or outputs have another type.
    """
    _check_options(loss, terms, sight, spectral, accumulate)
    paid = [(player, term.values) for player, named in terms.items() for term in named.values()]
    penalties = [(player, values) for player, values in paid if isinstance(values, Penalty)]
    exact = in_full_precision(discriminator)
    on_examples = any(penalty.on_examples for player, penalty in penalties if player == DISCRIMINATOR)
    apart = on_examples and exact is discriminator
    of_discriminator = partial(network, spectral=spectral.get(DISCRIMINATOR), beside=sight.entries)
    play = _Play(
        network(generator, spectral.get(GENERATOR)), of_discriminator(discriminator), of_discriminator(exact),
        prior=prior, sight=sight, penalised=bool(penalties), parts=accumulate, axis_name=axis_name,
        joined=one_pass and getattr(discriminator, "by_example", False) and not apart,
    )  # fmt: skip
    own: dict[str, dict[str, Term]] = {
        DISCRIMINATOR: {
            "real_logit": Term(lambda scene: scene.real.logits, 0.0),
            "fake_logit": Term(lambda scene: scene.fake.logits, 0.0),
            "adversarial": Term(lambda scene: loss.discriminator(scene.real.logits, scene.fake.logits)),
        },
        GENERATOR: {
            "fake_logit": Term(lambda scene: scene.fake.logits, 0.0),
            "adversarial": Term(lambda scene: loss.generator(scene.real.logits, scene.fake.logits)),
        },
    }
    costs: dict[str, Cost] = {}
    for player in (DISCRIMINATOR, GENERATOR):
        costs |= of_terms(partial(play.look, player), {player: {**own[player], **terms.get(player, {})}})
    return Game(play.init, costs, parts=accumulate, group=sight.packing, taken_every=lazily(terms))


class Scene(NamedTuple):
    """What a player sees of the game in its turn, of which terms take their values. Packs are examples here."""

    real: Critique  # of real examples, its leaves [B, ...] in float32 or wider
    fake: Critique
    y: PyTree  # what accompanies both, as of the batch
    z: Array  # [B, ...], latents of the fakes
    x_real: Array  # [B, ...], before augmentation
    x_fake: Array  # [B, ...]
    keys: Array  # [B], for whatever is random in a term
    critic: Critic  # x [B, ...] before augmentation -> logits, the discriminator in full precision
    params: PerPlayer


@dataclasses.dataclass(frozen=True)
class _Play:
    """How two networks play: their first state, and a look at both in a player's turn."""

    generator: Network
    discriminator: Network
    exact: Network  # the discriminator in full precision
    prior: Prior
    sight: Sight
    penalised: bool
    parts: int  # micro-batches
    joined: bool  # real and fake examples in one pass of the discriminator's turn
    axis_name: str | None

    def init(self, key: Key, batch: Batch) -> tuple[dict, dict]:
        """The first params and net_state of both."""
        check_batch(batch)
        g, d, sight = self.generator, self.discriminator, self.sight
        if batch.y is not None and sight.joins:
            raise ValueError("gan: packs and kept fakes have no single label; expected data without labels")
        d_key, g_key, z_key = jax.random.split(key, 3)
        z = noise(self.prior, z_key, batch.position)
        d_params, d_state, output = d.init(d_key, sight.first(batch.x), batch.y)
        _critique(output)
        if self.penalised and "batch_stats" in d_state:
            raise ValueError(
                "gan: the discriminator has BatchNorm, which makes an example's logit depend on the whole batch, and a "
                "penalty on each example by itself; leave BatchNorm out (norm=False) or use spectral_norm"
            )
        g_params, g_state, x_fake = g.init(g_key, z, batch.y)
        check_fakes(x_fake, batch.x)

        def fakes(index: Array) -> Array:
            first = noise(self.prior, jax.random.fold_in(z_key, 1), index)
            return g.apply(g_params, g_state, first, None, train=False)[0]

        d_state = {**d_state, **sight.init(fakes)}
        return {DISCRIMINATOR: d_params, GENERATOR: g_params}, {DISCRIMINATOR: d_state, GENERATOR: g_state}

    def look(self, player: str, params: PerPlayer, moment: Moment) -> tuple[Scene, PerPlayer]:
        """The scene of a player's turn, in training mode, and the net_state that it leaves."""
        batch, key, sight = moment.batch, moment.key, self.sight
        check_batch(batch)
        g, d, g_state, d_state = self._advanced(player, params, moment.net_state)
        g_keys, real_keys, fake_keys = pass_keys(batch.position, key, self.axis_name, 3)
        z = noise(self.prior, key, batch.position)
        x_fake, g_state = self.generator.apply(g, g_state, z, batch.y, train=True, keys=g_keys)
        keys = noise(lambda k: jax.random.split(substream(k, Draw.OTHER), 4), key, batch.position)
        x_fake = sight.made(x_fake.astype(batch.x.dtype), keys[:, 0])
        if player == DISCRIMINATOR:
            d_state, x_fake = sight.exchanged(d_state, x_fake, batch.position, key, self.axis_name)
        x_real, x_fake = (sight.packs(x, moment.step, keys[:, k]) for x, k in ((batch.x, 1), (x_fake, 2)))
        seen = [(sight.see(d_state, x, keys[:, k]), batch.y) for x, k in ((x_real, 1), (x_fake, 2))]
        see = partial(self.discriminator.apply, d, train=True)
        if self.joined and player == DISCRIMINATOR:
            both, d_state = see(d_state, *_joined(*seen), keys=real_keys)
            real, fake = _halves(both)
        else:
            real, d_state = see(d_state, *seen[0], keys=real_keys)
            fake, d_state = see(d_state, *seen[1], keys=fake_keys)

        def critic(x: Array) -> Array:
            x = sight.see(d_state, x, keys[:, 1])
            return _critique(self.exact.apply(d, d_state, x, batch.y, train=True, keys=real_keys)[0]).logits

        pair = _critique(real), _critique(fake)
        scene = Scene(*pair, batch.y, z, x_real, x_fake, keys[: len(x_real), 3], critic, params)
        if player == GENERATOR:
            return scene, {GENERATOR: g_state}
        after = sight.update(
            d_state, scene.real.logits, self.axis_name, self.parts
        )  # the critic sees as the passes did
        return scene, {DISCRIMINATOR: jax.lax.stop_gradient(after)}

    def _advanced(self, player: str, params: PerPlayer, net_state: PerPlayer) -> tuple[PyTree, PyTree, PyTree, PyTree]:
        """Both networks' weights and states in a turn of the player, whose `u` has moved."""
        g_params, d_params = params[GENERATOR], params[DISCRIMINATOR]
        g_state, d_state = net_state[GENERATOR], net_state[DISCRIMINATOR]
        if player == DISCRIMINATOR:
            d_state = self.discriminator.advance(d_params, d_state)
        else:
            g_state = self.generator.advance(g_params, g_state)
        weights = self.generator.weights(g_params, g_state), self.discriminator.weights(d_params, d_state)
        return *weights, g_state, d_state


def _check_options(
    loss: AdversarialLoss, terms: Terms, sight: Sight, spectral: Mapping[str, SpectralNorm], accumulate: int
) -> None:
    """Raise about the first of `gan`'s options that is out of its range."""
    check_kind("gan", AdversarialLoss, loss=loss)
    check_kind("gan", Sight, sight=sight)
    check_kind("gan", Mapping, terms=terms, spectral=spectral)
    check_players("gan, spectral", spectral, (DISCRIMINATOR, GENERATOR))
    check_kind("gan", SpectralNorm, **{f"spectral of {player}": norm for player, norm in spectral.items()})
    check_players("gan, terms", terms, (DISCRIMINATOR, GENERATOR))
    check_terms("gan", terms, 0)
    for player, named in terms.items():
        if taken := {"cost", "adversarial", "real_logit", "fake_logit"} & set(named):
            raise ValueError(f"gan: terms of {player} are named {sorted(taken)}, as its own are; expected other names")
    check_range("gan", 1, whole=True, accumulate=accumulate)
    if sight.fakes_kept and accumulate > 1:
        raise ValueError("gan: the pool of fakes_kept moves with the whole batch; expected accumulate of 1")


def check_fakes(x_fake: Any, x_real: Array) -> None:
    """Raise unless the generator makes an array of the data's shape."""
    if not _is_array(x_fake):
        raise TypeError(f"gan: the generator returns a {type(x_fake).__name__}, expected one array of examples")
    if x_fake.shape != x_real.shape:
        raise ValueError(
            f"gan: the generator makes {x_fake.shape[1:]} and the data are {x_real.shape[1:]}; "
            "give the generator the shape of one example"
        )


def check_batch(batch: Batch) -> None:
    """Raise `TypeError` unless examples are floating, as the fakes that take their dtype, and y classes or vectors."""
    if not jnp.issubdtype(batch.x.dtype, jnp.floating):
        raise TypeError(
            f"gan: the batch's examples are {batch.x.dtype}, expected floating values as the generator makes them; "
            "scale pixels from 0 to 255 with x.astype(jnp.float32) / 127.5 - 1"
        )
    for y in jax.tree.leaves(batch.y):
        if not (jnp.issubdtype(y.dtype, jnp.integer) or (jnp.issubdtype(y.dtype, jnp.floating) and y.ndim > 1)):
            raise TypeError(
                f"gan: the batch's labels are {y.dtype}, expected integers, the class of each example, "
                f"or floating vectors [B, E]; their shape is {y.shape}"
            )


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape")


def _critique(output: Array | Critique) -> Critique:
    """What a discriminator said, in float32 or wider."""
    critique = output if isinstance(output, Critique) else Critique(output, None, {})
    if not _is_array(critique.logits):
        raise TypeError(
            f"gan: the discriminator returns a {type(output).__name__}, expected logits [B, ...] or a "
            "ganjax.core.Critique(logits, features, heads)"
        )
    return jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), critique)


def _joined(x: PyTree, y: PyTree) -> PyTree:
    """Two batches as one."""
    return jax.tree.map(lambda *pair: jnp.concatenate(pair), x, y)


def _halves(both: PyTree) -> tuple[PyTree, PyTree]:
    """The two batches that were joined."""
    half = len(jax.tree.leaves(both)[0]) // 2
    return jax.tree.map(lambda leaf: leaf[:half], both), jax.tree.map(lambda leaf: leaf[half:], both)


def sampler(
    generator: nn.Module,
    prior: Prior,
    *,
    spectral: SpectralNorm | None = None,
    stream: str = "data",
    given: tuple[str, str] | None = None,
) -> Sampler:
    """What is drawn of a generator in evaluation mode: running BatchNorm statistics, `u` unmoved.

    Sample i is `G(z_i)` with `z_i = prior(fold_in(key, i))`. A prior N(0, I) can be truncated to `|z_j| <= threshold`:
    truer to the mode, less diverse (Brock et al. 2019).

    Args:
        generator: module, `(z [B, ...], labels [B]) -> x [B, ...]`.
        prior: draws the latent of one example.
        spectral: spectral normalisation of the generator.
        stream: the stream whose examples it imitates.
        given: where its labels come from, such as `("data", "class")`; None for a generator without them.
    """
    g, normal = network(generator, spectral), prior.size if isinstance(prior, Normal) else 0

    def latent(weights: Weights, key: Key, truncation: float | None) -> Array:
        if truncation is None:
            return prior(key)
        if not normal or not truncation > 0:
            raise ConfigError(f"truncation at {truncation}: expected a positive threshold and a prior N(0, I)")
        return truncated(key, (normal,), truncation)

    def decode(weights: Weights, z: Array, labels: Array | None) -> Array:
        params, net_state = weights[GENERATOR]
        x, _ = g.apply(g.weights(params, net_state), net_state, z, labels, train=False)
        return x

    def pass_through(params: PyTree, net_state: PyTree, z: Array, labels: Array | None) -> PyTree:
        return g.apply(g.weights(params, net_state), net_state, z, labels, train=True)[1]

    def standing(
        weights: Weights, key: Key, labels: Array | None, shape: tuple[int, int], truncation: float | None
    ) -> Weights:
        """The weights with BatchNorm's statistics measured anew, the mean over passes (Brock et al. 2019).

        A pass moves a running statistic from 0 to `(1 - m) s`, and from 1 to `m + (1 - m) s`, which tells m.
        """
        params, net_state = weights[GENERATOR]
        z = noise(lambda k: latent(weights, k, truncation), key, jnp.arange(shape[0] * shape[1]))
        z, by_pass = z.reshape(*shape, *z.shape[1:]), None if labels is None else labels.reshape(shape)

        def moved(start: float, z: Array, label: Array | None) -> PyTree:
            stats = jax.tree.map(lambda leaf: jnp.full_like(leaf, start), net_state["batch_stats"])
            return pass_through(params, {**net_state, "batch_stats": stats}, z, label)["batch_stats"]

        _, means = jax.lax.scan(lambda _, one: (None, moved(0.0, *one)), None, (z, by_pass))
        first = (z[0], None if by_pass is None else by_pass[0])
        share = jax.tree.map(lambda one, zero: 1 - (one - zero), moved(1.0, *first), moved(0.0, *first))  # 1 - m
        stats = jax.tree.map(lambda m, s: m.mean(0) / s, means, share)
        return {**weights, GENERATOR: Owned(params, {**net_state, "batch_stats": stats})}

    return Sampler((GENERATOR,), stream, given=given, latent=Latent(latent, decode, normal), standing=standing)
