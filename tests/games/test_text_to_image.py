"""Text to image: where each choice of pairs leads, and who pays what for whose captions."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.core import Batch, Moment, Owned
from ganjax.dynamics import alternating, extragradient
from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
from ganjax.games.text_to_image import (
    BEFORE,
    CLASSIFIER,
    IMAGE,
    PAIRS,
    READERS,
    TEXT,
    Before,
    Painter,
    Pairs,
    densities,
    measures,
    samplers,
    table,
    tabular,
    text_to_image,
    value,
)
from ganjax.training import population, simulate

SHAPE, B = (2, 2, 1), 6
MILD, STRONG = np.array([[0.3, 0.2], [0.2, 0.3]]), np.array([[0.4, 0.1], [0.1, 0.4]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", (MILD, STRONG)),
        ("matching_aware", ([[0.35, 0.15], [0.15, 0.35]], [[0.5, 0], [0, 0.5]])),
        ("balanced", (MILD, STRONG)),
        ("alone", ([[0.35, 0.15], [0.15, 0.35]], [[0.5, 0], [0, 0.5]])),
        ("three_fakes", ([[0.4, 0.1], [0.1, 0.4]], [[0.5, 0], [0, 0.5]])),
    ],
    ids=["plain", "matching_aware", "balanced", "alone", "three_fakes"],
)
@pytest.mark.fault("GAN-CLS, StackGAN: the matching-aware cost is taken to have the data as its optimum")
def test_tables_train_to_the_optimum_of_their_pairs(name, expected, float64):
    """q* = 2p - m with real images under wrong captions, clipped at 0, and not p."""

    def end(p):
        play = extragradient({DISCRIMINATOR: optax.sgd(2.0), GENERATOR: optax.sgd(1.0)})
        state, _ = simulate(tabular(p, PAIRS[name]), play, 4000, keep=None)
        return table(p, state.params[GENERATOR])

    mild, strong = population(end)(p=np.stack([MILD, STRONG]))
    np.testing.assert_allclose(mild, expected[0], atol=1e-5)
    np.testing.assert_allclose(strong, expected[1], atol=5e-3)  # the border is reached ever more slowly


def test_values_of_the_matching_aware_game(float64):
    """-log 4 at 2p - m; at q = p more, and the logit of real pairs is log 2 - log(1 + m / p) there."""
    p, own = jnp.asarray(MILD), PAIRS["matching_aware"]
    best = jnp.array([[0.35, 0.15], [0.15, 0.35]])
    assert float(value(p, best, own)) == pytest.approx(-np.log(4), abs=1e-12)
    assert float(value(p, p, own)) == pytest.approx(-1.383736, abs=1e-6)
    real, fake = densities(p, p, own)
    np.testing.assert_allclose(jnp.log(real / fake), np.log(2) - np.log1p(0.25 / MILD), rtol=1e-12)
    independent = jnp.full((2, 2), 0.25)  # a caption that says nothing: logit 0; one that decides: log 2
    np.testing.assert_allclose(jnp.log(jnp.divide(*densities(independent, independent, own))), 0, atol=1e-12)
    for name in ("plain", "balanced"):
        mass = 1 + PAIRS[name].turned
        assert float(value(p, p, PAIRS[name])) == pytest.approx(-mass * np.log(4), abs=1e-12)


class Text(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        return nn.Embed(9, 3)(tokens).sum(1)


class Paint(nn.Module):
    """Conditions of two numbers, noise of two; with `normal` BatchNorm."""

    normal: bool = False

    @nn.compact
    def __call__(self, z, phi, x=None, *, train):
        mean, log_std = jnp.split(nn.Dense(4, name="conditions")(phi), 2, 1)
        parts = [z[:, :-2], mean + jnp.exp(log_std) * z[:, -2:], *([] if x is None else [x.reshape(x.shape[0], -1)])]
        h = nn.Dense(4)(jnp.concatenate(parts, 1))
        h = nn.BatchNorm(use_running_average=not train)(h) if self.normal else h
        return jnp.tanh(h).reshape(-1, *SHAPE), mean, log_std


class Critic(nn.Module):
    blind: bool = False

    def setup(self):
        self.trunk, self.logit, self.own = nn.Dense(3), nn.Dense(1), nn.Dense(1)

    def features(self, x):
        return jnp.tanh(self.trunk(x.reshape(x.shape[0], -1)))

    def judge(self, h, phi):
        return self.logit(jnp.tanh(jnp.concatenate([h, 0 * phi if self.blind else phi], 1)))[:, 0]

    def alone(self, h):
        return self.own(h)[:, 0]

    def __call__(self, x, phi):
        return self.judge(self.features(x), phi), self.alone(self.features(x))


PAINTER = Painter(Paint(), Text(), 4)
ALL = Pairs(wrong=0.5, fake=0.7, turned=0.3, alone=0.2)


def _batch():
    rng = np.random.default_rng(0)
    tokens = jnp.array([[1, 2, 3, 4, 5, 6], [7, 8, 1, 2, 3, 4]])[
        ..., None
    ]  # no wrong one is right, nor if they move on
    x = jnp.asarray(rng.normal(size=(2, B, *SHAPE)))
    streams = enumerate(("data", "wrong"))
    return {
        s: Batch(x[i], {"caption": tokens[i], "class": jnp.arange(B) % 2}, i * B + jnp.arange(B)) for i, s in streams
    }


def _by_hand(params, batch, key):
    """Both costs, written out."""
    on = lambda player, module, *x, **k: module.apply({"params": params[player]}, *x, **k)  # noqa: E731
    data, wrong = batch["data"], batch["wrong"]
    phi, other = (on(TEXT, Text(), b.y["caption"]) for b in (data, wrong))
    phi, other = (x / jnp.linalg.norm(x, axis=1, keepdims=True) * 3**0.5 for x in (phi, other))
    z = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (4,)))(data.position)
    x, mean, log_std = on(GENERATOR, Paint(), z, phi, train=True)
    middle = (phi + other) / 2
    between = on(GENERATOR, Paint(), z, middle, train=True)[0]

    def say(x, c):
        return on(DISCRIMINATOR, Critic(), x, c)

    differ = (data.y["caption"] != wrong.y["caption"])[:, 0]
    (real, real_alone), (fake, fake_alone) = say(data.x, phi), say(x, phi)
    mixed, turned = say(data.x, other)[0], say(x, other)[0]
    log_d = lambda u: jnp.log(jax.nn.sigmoid(u))  # noqa: E731
    alone = -log_d(real_alone) - log_d(-fake_alone)
    judge = -log_d(real) - 0.7 * log_d(-fake) - differ * (0.5 * log_d(-mixed) + 0.3 * log_d(turned)) + 0.2 * alone
    kl = ((mean**2 + jnp.exp(log_std) ** 2 - 1) / 2 - log_std).mean(1)
    fool = -log_d(fake) - 0.3 * differ * log_d(-turned) - 0.2 * log_d(fake_alone) + 2 * kl
    return {DISCRIMINATOR: judge.mean(), GENERATOR: (fool - 0.4 * log_d(say(between, middle)[0])).mean()}


def _fields(game, params, state, batch, key=1):
    """Cost, metrics and whole gradient of each player, in one program."""

    def all_costs(params, batch):
        moment = Moment(state, batch, jax.random.key(key))
        return {
            name: jax.value_and_grad(lambda p, c=c: (lambda v, o: (v, o.metrics))(*c(p, moment)), has_aux=True)(params)
            for name, c in game.costs.items()
        }

    return jax.jit(all_costs)(params, batch)


def test_each_player_pays_its_own_terms(float64):
    """Values and fields of a game that has every term, captions between two among them, against what is written out."""
    game, batch = text_to_image(PAINTER, Critic(), pairs=ALL, interpolation=0.4), _batch()
    params, state = jax.jit(game.init)(jax.random.key(0), batch)
    assert game.players == (DISCRIMINATOR, GENERATOR) and set(params) == {*game.players, TEXT}
    found = _fields(game, params, state, batch)
    by_hand = lambda p: (lambda costs: (costs, costs))(_by_hand(p, batch, jax.random.key(1)))  # noqa: E731
    slopes, values = jax.jit(jax.jacrev(by_hand, has_aux=True))(params)
    for player in game.players:
        (cost, _), field = found[player]
        np.testing.assert_allclose(cost, values[player], rtol=1e-6)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), field[player], slopes[player][player]
        )


def test_all_that_the_discriminator_sees_is_augmented_in_both_turns():
    """Of what is all black no player learns; each example, and each of its images, has draws of its own."""
    batch, told = _batch(), {"pairs": ALL, "interpolation": 0.4, "kl": 0.0}
    black = text_to_image(PAINTER, Critic(), augment=lambda key, x: 0 * x, **told)
    params, state = jax.jit(black.init)(jax.random.key(0), batch)
    found = _fields(black, params, state, batch)
    assert not any(leaf.any() for leaf in jax.tree.leaves(found[GENERATOR][1][GENERATOR]))
    other = batch | {"data": batch["data"]._replace(x=batch["data"].x + 1)}
    assert _fields(black, params, state, other)[DISCRIMINATOR][0][0] == found[DISCRIMINATOR][0][0]

    drawn = []

    def grey(key, x):
        jax.debug.callback(lambda u: drawn.append(float(u)), jax.random.uniform(key))
        return x

    for _ in range(2):
        text_to_image(PAINTER, Critic(), augment=grey, **told).costs[DISCRIMINATOR](
            params, Moment(state, batch, jax.random.key(1))
        )
        jax.effects_barrier()
    assert len(set(drawn)) == 3 * B and sorted(drawn[: 3 * B]) == sorted(drawn[3 * B :])


@cache
def _conditioned():
    """A discriminator that is shown no fakes, and the same without eyes for captions: fields and metrics."""
    batch, found = _batch(), {}
    for blind in (False, True):
        game = text_to_image(PAINTER, Critic(blind), pairs=Pairs(wrong=0.5, fake=0.0))
        params, state = jax.jit(game.init)(jax.random.key(0), batch)
        program = jax.jit(lambda b, game=game, params=params, state=state: _fields(game, params, state, b))
        own = dict.fromkeys(("right", "moved"), batch)
        own["moved"] = batch | {"wrong": jax.tree.map(lambda leaf: np.roll(leaf, 1, 0), batch["wrong"])}
        own["same"] = batch | {"wrong": batch["wrong"]._replace(y=batch["data"].y)}
        own["permuted"] = jax.tree.map(lambda leaf: np.asarray(leaf)[[3, 1, 5, 0, 2, 4]], batch)
        found[blind] = {name: jax.device_get(program(b)) for name, b in own.items()}
    return found


@pytest.mark.fault("StackGAN-Pytorch: the discriminator's condition is the generator's mean, which its optimiser moves")
def test_the_condition_of_the_discriminator_is_not_the_generators():
    _, field = _conditioned()[False]["right"][DISCRIMINATOR]
    moved = lambda tree: max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert moved(field[GENERATOR]) == 0 and moved(field[TEXT]) > 1e-4 and moved(field[DISCRIMINATOR]) > 1e-3


def test_who_is_blind_to_captions_cannot_tell_wrong_pairs():
    """Its logits are those of the right pairs, whatever captions are wrong."""
    metrics = {
        blind: {k: own[DISCRIMINATOR][0][1] for k, own in found.items()} for blind, found in _conditioned().items()
    }
    assert float(metrics[True]["right"]["wrong"]) == float(metrics[True]["moved"]["wrong"]) > 0
    assert abs(float(metrics[False]["right"]["wrong"] - metrics[False]["moved"]["wrong"])) > 1e-6
    _, field = _conditioned()[True]["right"][DISCRIMINATOR]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(field[TEXT]))


@pytest.mark.fault("StackGAN-Pytorch, AttnGAN: the neighbour's caption counts as wrong though it may be the same text")
def test_a_caption_is_not_wrong_beside_itself():
    metrics = {name: found[DISCRIMINATOR][0][1] for name, found in _conditioned()[False].items()}
    assert float(metrics["same"]["wrong"]) == 0 < float(metrics["right"]["wrong"])
    assert float(metrics["same"]["real"]) == float(metrics["right"]["real"])


def test_an_example_does_not_depend_on_its_batch():
    found = _conditioned()[False]
    for player in (DISCRIMINATOR, GENERATOR):
        np.testing.assert_allclose(found["permuted"][player][0][0], found["right"][player][0][0], rtol=1e-6)


def test_pairs_can_be_asked_to_differ_in_class():
    game, batch = text_to_image(PAINTER, Critic(), apart="class"), _batch()
    params, state = jax.jit(game.init)(jax.random.key(0), batch)
    metrics = _fields(game, params, state, batch)[DISCRIMINATOR][0][1]
    assert float(metrics["wrong"]) == 0  # all wrong captions are of the class of their image
    with pytest.raises(ValueError, match=r"apart is 'clas'.*did you mean"):
        text_to_image(PAINTER, Critic(), apart="clas")


@cache
def _staged():
    """Five steps of a second stage: the state before and after, and what both samplers draw."""
    painter = Painter(Paint(), Text(), 2, Before(Paint(normal=True), 4))
    game, batch = text_to_image(painter, Critic()), _batch()
    batch = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype.kind == "f" else leaf, batch)
    play = alternating({player: optax.adam(0.1) for player in game.players}, fresh=False)
    state, path = simulate(game, play, 5, batch=batch, keep=lambda state: (state.params, state.net_state))
    tokens = jnp.tile(batch["data"].y["caption"][:1], (4, 1))
    index = jnp.array([0, 1, 2, 0], jnp.int32)
    drawn = {
        name: np.asarray(jax.jit(one.__call__)(state.weights, jax.random.key(3), index, tokens))
        for name, one in samplers(painter, small="small").items()
    }
    return path, drawn


@pytest.mark.fault("StackGAN-Pytorch: stage I is held in training mode, and its running statistics keep moving")
def test_a_frozen_stage_does_not_move_by_a_bit():
    path, _ = _staged()
    params, net_state = path
    for player in (BEFORE, TEXT):
        for leaf in jax.tree.leaves((params[player], net_state[player])):
            assert (leaf == leaf[:1]).all()
    assert jax.tree.leaves(net_state[BEFORE]), "it has statistics that could move"
    assert all((leaf[0] != leaf[-1]).any() for leaf in jax.tree.leaves(params[GENERATOR]))


@pytest.mark.fault("StackGAN: pictures are drawn with z = 0, and networks in training mode")
def test_samples_have_noise_of_their_own():
    """One caption: another number is another picture, the same number the same one, in both stages."""
    _, drawn = _staged()
    for x in drawn.values():
        assert (x[0] == x[3]).all() and (np.abs(x[0] - x[1]) > 1e-4).any() and (np.abs(x[1] - x[2]) > 1e-4).any()


class Statistical(Critic):
    def setup(self):
        super().setup()
        self.normal = nn.BatchNorm(use_running_average=False)

    def features(self, x):
        return self.normal(super().features(x))

    def __call__(self, x, phi, *, train):
        return super().__call__(x, phi)


class Flat(nn.Module):
    @nn.compact
    def __call__(self, z, phi):
        return nn.Dense(4)(z), phi, phi


@pytest.mark.parametrize(
    ("painter", "critic", "sentence"),
    [
        (Painter(Flat(), Text(), 4), Critic(), r"the generator makes \(4,\), expected \(2, 2, 1\)"),
        (PAINTER, Statistical(), "the discriminator has statistics of a batch"),
    ],
    ids=["shape", "statistics"],
)
def test_what_does_not_fit_is_refused(painter, critic, sentence):
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(text_to_image(painter, critic).init, jax.random.key(0), _batch())
    with pytest.raises(ValueError, match="kl is -1"):
        text_to_image(painter, critic, kl=-1.0)


CAPTIONS, CATEGORIES = 400, 4  # caption i is of category i % 4


class Words(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        return nn.Embed(CAPTIONS, 16)(tokens[:, 0])


class Copy(nn.Module):
    """A share of what a caption means, the rest is noise."""

    @nn.compact
    def __call__(self, z, phi):
        share = self.param("share", nn.initializers.ones, ())
        return (share * phi + (1 - share) * z).reshape(-1, 4, 4, 1), z, z


class Seen(nn.Module):
    def __call__(self, x):
        return x.reshape(-1, 16)


class Named(nn.Module):
    """The category of the nearest caption."""

    @nn.compact
    def __call__(self, x):
        words = self.param("words", nn.initializers.ones, (CAPTIONS, 16))
        return (x.reshape(-1, 16) @ words.T).reshape(-1, CAPTIONS // CATEGORIES, CATEGORIES).max(1)


def test_measures_are_of_what_is_drawn_and_their_ceilings_of_real_images():
    """Captions drawn as they are give 1, noise and real images of other captions 1 / 4; neither moves the other."""
    rng = np.random.default_rng(3)
    words = rng.normal(size=(CAPTIONS, 16)).astype(np.float32)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    tokens, text = rng.permutation(CAPTIONS)[:, None], {"Embed_0": {"embedding": words}}
    frozen = {TEXT: text, READERS[TEXT]: text, READERS[IMAGE]: {}, READERS[CLASSIFIER]: {"words": words}}
    found = measures(Painter(Copy(), Words(), 16), {TEXT: Words(), IMAGE: Seen(), CLASSIFIER: Named()}, candidates=4)
    assert list(found) == ["r_precision", "category", "r_precision_real", "category_real"]

    @jax.jit
    def values(share, x):
        params = {**frozen, GENERATOR: {"share": share}}
        y = {"caption": tokens, "class": tokens[:, 0] % CATEGORIES}
        batch = Batch(x.reshape(-1, 4, 4, 1), y, jnp.arange(CAPTIONS))
        weights = [{p: Owned(params[p], {}) for p in one.players} for one in found.values()]
        return [one.values(w, batch, jax.random.key(4)) for one, w in zip(found.values(), weights, strict=True)]

    def of(share, x):
        drawn = jax.device_get(values(share, x))
        return np.array([one.summary(own) for one, own in zip(found.values(), drawn, strict=True)])

    right = words[tokens[:, 0]]
    np.testing.assert_array_equal(of(1.0, right), 1)
    noise, unlike, chance = of(0.0, right), of(1.0, words), 3 * np.sqrt(3 / 16 / CAPTIONS)
    np.testing.assert_array_equal([noise[2:], unlike[:2]], 1)
    np.testing.assert_allclose([noise[:2], unlike[2:]], 1 / 4, atol=chance)
