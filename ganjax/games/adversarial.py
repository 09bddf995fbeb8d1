"""The game of two networks: a generator and a discriminator (Goodfellow et al. 2014)."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.augment import Augmentation
from ganjax.checks import check_kind, check_players, check_range
from ganjax.core import (
    Array,
    Batch,
    Draw,
    Game,
    Judgement,
    Key,
    Latent,
    Moment,
    Outcome,
    Owned,
    PerPlayer,
    PyTree,
    Sampler,
    Weights,
    noise,
    substream,
)
from ganjax.errors import ConfigError
from ganjax.games import replay
from ganjax.games.latents import truncated
from ganjax.games.network import in_full_precision, network, pass_keys
from ganjax.games.priors import Normal, Prior
from ganjax.losses import AdversarialLoss, Auxiliary
from ganjax.penalties import Penalty, orthogonal_regularisation
from ganjax.spectral import SpectralNorm

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
_POOL, _AUGMENT = "pool", "augment"  # entries of the discriminator's net_state: kept fakes; an augmentation's memory


Schedule = Callable[[Array | int], Array | float]  # the step, scalar int32 -> value


def gan(
    generator: nn.Module,
    discriminator: nn.Module,
    loss: AdversarialLoss,
    *,
    prior: Prior,
    spectral: SpectralNorm | None = None,
    generator_spectral: SpectralNorm | None = None,
    penalties: Sequence[Penalty] = (),
    auxiliary: Sequence[Auxiliary] = (),
    packing: int = 1,
    instance_noise: float | Schedule = 0.0,
    output_noise: float = 0.0,
    fakes_kept: int = 0,
    augment: Augmentation | None = None,
    orthogonal: Mapping[str, float] = MappingProxyType({}),
    accumulate: int = 1,
    one_pass: bool = True,
    axis_name: str | None = None,
) -> Game:
    """A generative adversarial network from two Flax modules, a loss, and whatever is added to it.

    The discriminator minimises `mean loss.discriminator(D(x), D(G(z)))` and its penalties, the generator
    `mean loss.generator(D(x), D(G(z)))`; auxiliary terms are added to both. Both see the noise of their batch's global
    positions. Class labels of the batch, where it has any, go to both networks, the fakes sharing the labels of
    the real examples.

    A player's cost moves its own state alone: BatchNorm statistics of the discriminator by its passes over real
    and fake examples (in this order, each batch by itself), those of the generator by its own turn. `u` of a
    spectrally normalised network moves once per evaluation of its own cost, and all passes of that evaluation
    share it. Dropout and noise are as random in the generator's turn as in the discriminator's.

    A discriminator that says `by_example = True`, because nothing in it mixes examples, sees real and fake ones in one
    pass of its own turn; not under penalties on the real or fake examples themselves, whose passes are shared instead
    (but not where penalties need passes of their own: in a narrower `dtype`, and on augmented fakes).
    Networks may compute in a narrower `dtype`: logits, losses, penalties and statistics are in float32 all the same.

    Args:
        generator: module, `(z [B, ...], labels [B]) -> x [B, ...]`.
        discriminator: module, `(x [B, ...], labels [B]) -> logits [B, ...]`, or a `Judgement` with such logits.
        loss: what the two minimise.
        prior: draws the latent of one example.
        spectral: spectral normalisation of the discriminator.
        generator_spectral: of the generator.
        penalties: of the discriminator as a function of its input, computed in float32 or wider whatever its dtype.
        auxiliary: terms of features and heads, which the discriminator must then return.
        packing: examples that the discriminator judges at once, joined along the last axis (PacGAN, Lin et al. 2018).
        instance_noise: standard deviation of Gaussian noise on all that the discriminator sees (Sonderby et al. 2017),
            or a function of the step.
        output_noise: standard deviation of Gaussian noise on generated examples alone, as if it were part of G.
        fakes_kept: size of a pool of earlier fakes; the discriminator sees half of its fakes from there (Shrivastava
            et al. 2017).
        augment: changes all that the discriminator sees, real and fake, in both players' turns (Zhao et al. 2020;
            Karras et al. 2020). Penalties are on the gradient in the images before it, as in the authors' code.
        orthogonal: player -> weight of `orthogonal_regularisation` of its kernels, without their lengths (Brock et al.
            2019).
        accumulate: micro-batches in which each cost is evaluated, one after another; `dynamics.field.View` says what it
            changes. Each must be a multiple of `packing`.
        one_pass: allow the pass over real and fake examples together. False where both players move at once: then,
            without spectral normalisation, the generator's pass over the fakes is the discriminator's, computed once.
        axis_name: the mapped axis that shares the batch, if any; the pool and dropout need it.

    Returns:
        A game of the players "discriminator" and "generator", in this order, whose batch is a `Batch`.

    Raises:
        ValueError: an option is out of its range, or for a player that there is not. From `init`, if batch, networks
            and options do not fit. A discriminator with BatchNorm and a penalty do not: BatchNorm makes an example's
            logit depend on the others, and the penalty is on each by itself.
        TypeError: from `init`, if batch or outputs have another type.
    """
    check_kind("gan", AdversarialLoss, loss=loss)
    check_kind("gan", SpectralNorm, spectral=spectral, generator_spectral=generator_spectral)
    check_range("gan", 1, whole=True, packing=packing, accumulate=accumulate)
    check_range("gan", 0, whole=True, fakes_kept=fakes_kept)
    check_range("gan", 0, instance_noise=instance_noise, output_noise=output_noise)
    check_players("gan, orthogonal", orthogonal, (DISCRIMINATOR, GENERATOR))
    for player, weight in orthogonal.items():
        check_range("gan", 0, **{f"orthogonal of {player}": weight})  # type: ignore[arg-type]
    own = (_POOL, _AUGMENT)
    g, d = network(generator, generator_spectral), network(discriminator, spectral, beside=own)
    exact_module = in_full_precision(discriminator)
    exact = network(exact_module, spectral, beside=own)
    by_example = getattr(discriminator, "by_example", False)
    shared = any(p.on_examples for p in penalties) and exact_module is discriminator
    in_one_pass = one_pass and by_example and not shared
    if fakes_kept and accumulate > 1:
        raise ValueError("gan: the pool of fakes_kept moves with the whole batch; expected accumulate of 1")

    def init(key: Key, batch: Batch) -> tuple[dict, dict]:
        _check_batch(batch)
        if batch.y is not None and (packing > 1 or fakes_kept):
            raise ValueError("gan: packs and kept fakes have no single label; expected data without labels")
        d_key, g_key, z_key = jax.random.split(key, 3)
        z = noise(prior, z_key, batch.position)
        judged = batch.x if packing == 1 else _pack(jnp.repeat(batch.x[:1], packing, axis=0), packing)
        d_params, d_state, judgement = d.init(d_key, judged, batch.y)
        _judgement(judgement)
        if penalties and "batch_stats" in d_state:
            raise ValueError(
                "gan: the discriminator has BatchNorm, which makes an example's logit depend on the whole batch, and a "
                "penalty on each example by itself; leave BatchNorm out (norm=False) or use spectral_norm"
            )
        g_params, g_state, x_fake = g.init(g_key, z, batch.y)
        if not _is_array(x_fake):
            raise TypeError(f"gan: the generator returns a {type(x_fake).__name__}, expected one array of examples")
        if x_fake.shape != batch.x.shape:
            raise ValueError(
                f"gan: the generator makes {x_fake.shape[1:]} and the data are {batch.x.shape[1:]}; "
                "give the generator the shape of one example"
            )
        if fakes_kept:
            first = noise(prior, jax.random.fold_in(z_key, 1), jnp.arange(fakes_kept))
            d_state = {**d_state, _POOL: g.apply(g_params, g_state, first, None, train=False)[0]}
        if augment is not None:
            d_state = {**d_state, _AUGMENT: augment.init()}
        return {DISCRIMINATOR: d_params, GENERATOR: g_params}, {DISCRIMINATOR: d_state, GENERATOR: g_state}

    def play(params: PerPlayer, g_state: PyTree, d_state: PyTree, moment: Moment, player: str) -> _Scene:
        """One look at both networks in a player's turn, in training mode."""
        batch, key = moment.batch, moment.key
        _check_batch(batch)
        g_weights, d_weights = g.weights(params[GENERATOR], g_state), d.weights(params[DISCRIMINATOR], d_state)
        g_keys, real_keys, fake_keys = pass_keys(batch.position, key, axis_name, 3)
        z = noise(prior, key, batch.position)
        x_fake, g_state = g.apply(g_weights, g_state, z, batch.y, train=True, keys=g_keys)
        keys = noise(lambda k: jax.random.split(substream(k, Draw.OTHER), 4), key, batch.position)
        x_fake = _noisy(x_fake.astype(batch.x.dtype), output_noise, keys[:, 0])
        if fakes_kept and player == DISCRIMINATOR:
            x_fake = jax.lax.stop_gradient(x_fake)
            pool, x_fake = replay.swap(d_state[_POOL], x_fake, batch.position, key, axis_name)
            d_state = {**d_state, _POOL: pool}
        std = instance_noise(moment.step) if callable(instance_noise) else instance_noise
        x_real, x_fake = (_pack(_noisy(x, std, keys[:, k]), packing) for x, k in ((batch.x, 1), (x_fake, 2)))

        def shown(x: Array, k: int) -> Array:
            """What the discriminator sees of packs, by the k-th key of each example."""
            if augment is None:
                return x
            return _pack(_augmented(_unpack(x, packing), augment, d_state, keys[:, k]), packing)

        seen_real, seen_fake = shown(x_real, 1), shown(x_fake, 2)
        if in_one_pass and player == DISCRIMINATOR:
            both, labels = _joined((seen_real, batch.y), (seen_fake, batch.y))
            judged, d_state = d.apply(d_weights, d_state, both, labels, train=True, keys=real_keys)
            real, fake = _halves(judged)
        else:
            real, d_state = d.apply(d_weights, d_state, seen_real, batch.y, train=True, keys=real_keys)
            fake, d_state = d.apply(d_weights, d_state, seen_fake, batch.y, train=True, keys=fake_keys)

        def critic(x: Array) -> Array:
            output, _ = exact.apply(d_weights, d_state, shown(x, 1), batch.y, train=True, keys=real_keys)
            return _judgement(output).logits

        pair = (_judgement(real), _judgement(fake))
        return _Scene(*pair, z, x_real, x_fake, keys[: len(x_real), 3], critic, g_state, d_state)

    def terms(seen: _Scene, player: str, batch: Batch) -> Array:
        costs = [(getattr(term, player), term.weight) for term in auxiliary]
        return sum((w * f(seen.real, seen.fake, batch.y, seen.z).mean() for f, w in costs if f), jnp.zeros(()))

    def regularisation(params: PerPlayer, player: str) -> Array | float:
        weight = orthogonal.get(player, 0.0)
        return weight * orthogonal_regularisation(params[player], off_diagonal=True) if weight else 0.0

    def discriminator_cost(params: PerPlayer, moment: Moment):
        net_state = moment.net_state
        d_state = d.advance(params[DISCRIMINATOR], net_state[DISCRIMINATOR])
        seen = play(params, net_state[GENERATOR], d_state, moment, DISCRIMINATOR)
        metrics = {"real_logit": seen.real.logits.mean(), "fake_logit": seen.fake.logits.mean()}
        cost = loss.discriminator(seen.real.logits, seen.fake.logits).mean()
        if auxiliary:
            metrics["auxiliary"] = terms(seen, DISCRIMINATOR, moment.batch)
            cost += metrics["auxiliary"]
        d_state = seen.d_state
        if penalties:
            metrics["penalty"] = sum((_lazily(penalty, moment.step, seen) for penalty in penalties), jnp.zeros(()))
            cost += metrics["penalty"]
        cost += regularisation(params, DISCRIMINATOR)
        if augment is not None:
            new = augment.update(d_state[_AUGMENT], seen.real.logits, axis_name, packing * accumulate)
            d_state = {**d_state, _AUGMENT: new}
        return cost, Outcome(jax.lax.stop_gradient(d_state), metrics)

    def generator_cost(params: PerPlayer, moment: Moment):
        net_state = moment.net_state
        g_state = g.advance(params[GENERATOR], net_state[GENERATOR])
        seen = play(params, g_state, net_state[DISCRIMINATOR], moment, GENERATOR)
        cost, metrics = (
            loss.generator(seen.real.logits, seen.fake.logits).mean(),
            {"fake_logit": seen.fake.logits.mean()},
        )
        if auxiliary:
            metrics["auxiliary"] = terms(seen, GENERATOR, moment.batch)
            cost += metrics["auxiliary"]
        cost += regularisation(params, GENERATOR)
        return cost, Outcome(seen.g_state, metrics)

    return Game(init, {DISCRIMINATOR: discriminator_cost, GENERATOR: generator_cost}, parts=accumulate, group=packing)


class _Scene(NamedTuple):
    """What one player sees of the game."""

    real: Judgement
    fake: Judgement
    z: Array
    x_real: Array  # noisy and packed, before augmentation
    x_fake: Array
    keys: Array  # one for each thing judged
    critic: Callable[[Array], Array]  # x -> logits in full precision
    g_state: PyTree
    d_state: PyTree


def _check_batch(batch: Batch) -> None:
    """Raise `TypeError` unless the examples are floating, as fakes are, which take their dtype."""
    if not jnp.issubdtype(batch.x.dtype, jnp.floating):
        raise TypeError(
            f"gan: the batch's examples are {batch.x.dtype}, expected floating values as the generator makes them; "
            "scale pixels from 0 to 255 with x.astype(jnp.float32) / 127.5 - 1"
        )
    if batch.y is not None and not jnp.issubdtype(batch.y.dtype, jnp.integer):
        raise TypeError(f"gan: the batch's labels are {batch.y.dtype}, expected integers, the class of each example")


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape")


def _judgement(output: Array | Judgement) -> Judgement:
    """What a discriminator said, in float32 or wider."""
    judgement = output if isinstance(output, Judgement) else Judgement(output, None, {})
    if not _is_array(judgement.logits):
        raise TypeError(
            f"gan: the discriminator returns a {type(output).__name__}, expected logits [B, ...] or a "
            "ganjax.core.Judgement(logits, features, heads)"
        )
    return jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), judgement)


def _noisy(x: Array, std: Array | float, keys: Array) -> Array:
    """`x + std e`, with the noise of each example from its own key."""
    if isinstance(std, float | int) and std == 0:
        return x
    return x + (std * jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)).astype(x.dtype)


def _joined(x: PyTree, y: PyTree) -> PyTree:
    """Two batches as one."""
    return jax.tree.map(lambda *pair: jnp.concatenate(pair), x, y)


def _halves(both: PyTree) -> tuple[PyTree, PyTree]:
    """The two batches that were joined."""
    half = len(jax.tree.leaves(both)[0]) // 2
    return jax.tree.map(lambda leaf: leaf[:half], both), jax.tree.map(lambda leaf: leaf[half:], both)


def _augmented(x: Array, augment: Augmentation, d_state: PyTree, keys: Array) -> Array:
    """Each example changed at random, with what is drawn for it from its own key."""
    change = lambda key, one: augment.apply(d_state[_AUGMENT], substream(key, Draw.OTHER), one)  # noqa: E731
    return jax.vmap(change)(keys, x)


def _pack(x: Array, packing: int) -> Array:
    """[B, ..., C] to [B / packing, ..., packing * C]: example i with i + B / packing, and so on.

    These are together on one device, however many share the batch.
    """
    if packing == 1:
        return x
    if len(x) % packing:
        raise ValueError(f"gan: a batch of {len(x)} cannot be packed by {packing}; expected a multiple")
    return jnp.concatenate(jnp.split(x, packing), axis=-1)


def _unpack(x: Array, packing: int) -> Array:
    """The inverse of `_pack`."""
    return x if packing == 1 else jnp.concatenate(jnp.split(x, packing, axis=-1))


def _lazily(penalty: Penalty, step: Array | int, seen: _Scene) -> Array:
    """`weight * mean(values)`, or at every k-th step k times as much (Karras et al. 2020, lazy regularisation)."""
    weight = penalty.weight(step) if callable(penalty.weight) else penalty.weight

    def cost() -> Array:
        return weight * penalty.values(seen.critic, seen.x_real, seen.x_fake, seen.keys).mean()

    if penalty.every == 1:
        return cost()
    due = step % penalty.every == 0
    return jax.lax.cond(due, lambda: penalty.every * cost(), lambda: jnp.zeros_like(jax.eval_shape(cost)))


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
        """With BatchNorm's statistics of the present weights, the mean over passes (Brock et al. 2019).

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
