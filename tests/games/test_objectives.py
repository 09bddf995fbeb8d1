"""What a GAN can add to its loss: penalties, auxiliary terms, packs, noise and kept fakes, as the game plays them."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from flax import linen as nn

from ganjax.core import Batch, Critique, Moment, noise
from ganjax.dynamics import alternating, clipped, simultaneous, vector_field
from ganjax.games import Sight, Term, code_prior, gan, normal_prior
from ganjax.losses import LOSSES, auxiliary_classifier, feature_matching, information, of_fakes
from ganjax.models import mlp
from ganjax.options import GanConfig
from ganjax.penalties import gradient_penalty, orthogonal, r1, r2
from ganjax.recipe import options
from ganjax.training import init_state, simulate, train_step

PRIOR, KEY = normal_prior(3), jax.random.key(5)
GENERATOR = mlp.Generator((2,), (5,), output=mlp.identity)
CRITIC = mlp.Discriminator((6,))


class Judge(nn.Module):
    """A discriminator with features and the heads of three classes and of a code."""

    @nn.compact
    def __call__(self, x, labels=None):
        del labels
        h = nn.tanh(nn.Dense(6)(x))
        heads = {"class": nn.Dense(3)(h), "code": nn.Dense(4)(h)}
        return Critique(nn.Dense(1)(h)[:, 0], h, heads)


def _penalised(**terms):
    """Terms of the discriminator, as `gan` takes them."""
    return {"terms": {"discriminator": terms}}


def _batch(size=8, labelled=False, start=0):
    x, position, classes = _drawn(size, start)
    return Batch(x, classes if labelled else None, position)


@partial(jax.jit, static_argnums=(0, 1))
def _drawn(size, start):
    position = start + jnp.arange(size, dtype=jnp.int32)
    return noise(lambda key: 1 + jax.random.normal(key, (2,)), jax.random.key(9), position), position, position % 3


def _start(game, batch):
    dynamics = simultaneous(dict.fromkeys(game.players, optax.sgd(0.1)))
    return jax.jit(lambda: init_state(game, dynamics, jax.random.key(1), batch))()


@cache
def _common():
    """How each game of `GENERATOR` and `CRITIC` starts, whatever its loss and terms."""
    return _start(gan(GENERATOR, CRITIC, LOSSES["hinge"], prior=PRIOR), _batch())


def _cost(game, player, state, batch, key=KEY):
    return jax.jit(game.costs[player])(state.params, Moment(state.net_state, batch, key))


def _play(state, batch, discriminator=CRITIC):
    """Fakes and the critique of any x, by stock Flax calls."""
    fake = _faked(state.params["generator"], batch.position)
    keywords = {"train": True} if discriminator is CRITIC else {}
    return fake, lambda x: discriminator.apply({"params": state.params["discriminator"]}, x, **keywords)


@jax.jit
def _faked(params, position):
    return GENERATOR.apply({"params": params}, noise(PRIOR, KEY, position), train=True)


def test_penalties_are_added_to_the_discriminators_cost_alone():
    batch, plain = _batch(), gan(GENERATOR, CRITIC, LOSSES["non_saturating"], prior=PRIOR)
    terms = _penalised(r1=Term(r1(), 3.0), r2=Term(r2(), 0.5))
    game = gan(GENERATOR, CRITIC, LOSSES["non_saturating"], prior=PRIOR, **terms)
    state = _common()
    fake, judge = _play(state, batch)

    @jax.jit
    def half_square(x):
        return (jax.vmap(jax.grad(lambda one: judge(one[None])[0]))(x) ** 2).sum(-1).mean() / 2

    real, lies = half_square(batch.x), half_square(fake)
    cost, outcome = _cost(game, "discriminator", state, batch)
    plainly = _cost(plain, "discriminator", state, batch)[0]
    for name, expected in (("r1", real), ("r2", lies), ("adversarial", plainly)):
        np.testing.assert_allclose(outcome.metrics[name], expected, rtol=1e-5, err_msg=f"{name} is not weighed")
    np.testing.assert_allclose(cost, plainly + 3 * real + 0.5 * lies, rtol=1e-5)
    np.testing.assert_array_equal(_cost(game, "generator", state, batch)[0], _cost(plain, "generator", state, batch)[0])


def test_a_penalty_can_be_lazy():
    """At every third step three times the weight: the mean over steps is that of the constant one. Logged as it is."""
    batch = _batch()
    game = gan(GENERATOR, CRITIC, LOSSES["hinge"], prior=PRIOR, **_penalised(r1=Term(r1(), 2.0, every=3)))
    every = gan(GENERATOR, CRITIC, LOSSES["hinge"], prior=PRIOR, **_penalised(r1=Term(r1(), 2.0)))
    state = _common()
    full = _cost(every, "discriminator", state, batch)[1].metrics["r1"]
    cost = jax.jit(lambda step: game.costs["discriminator"](state.params, Moment(state.net_state, batch, KEY, step)))
    values, outcomes = zip(*(cost(step) for step in np.arange(7)), strict=True)
    paid = [value - outcome.metrics["adversarial"] for value, outcome in zip(values, outcomes, strict=True)]
    due = np.array([1, 0, 0, 1, 0, 0, 1]) * np.asarray(full)
    np.testing.assert_allclose([outcome.metrics["r1"] for outcome in outcomes], due, rtol=1e-5)
    np.testing.assert_allclose(paid, 3 * 2.0 * due, rtol=1e-5, atol=1e-6)
    slope = jax.jit(jax.grad(lambda p: game.costs["discriminator"](p, Moment(state.net_state, batch, KEY, 1))[0]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope(state.params)))


def test_a_lazy_penalty_takes_the_steps_of_an_eager_one_of_as_many_times_the_weight_and_of_none():
    """Bit for bit where it is due at every step."""
    batch, start, dynamics = _batch(), _common(), simultaneous({"discriminator": optax.sgd(0.1)})
    start = start.replace(dynamics_state=dynamics.init({"discriminator": start.params["discriminator"]}))

    def steps(*term):
        """The discriminator after one step from the same state at each of four times."""
        game = gan(GENERATOR, CRITIC, LOSSES["hinge"], prior=PRIOR, **_penalised(r1=Term(r1(), *term)))
        alone = game._replace(costs={"discriminator": game.costs["discriminator"]})
        step = jax.jit(lambda k: train_step(alone, dynamics)(start.replace(step=k), batch, KEY)[0].params)
        return jax.device_get([step(np.int32(k))["discriminator"] for k in range(4)])

    jax.tree.map(np.testing.assert_array_equal, steps(2.0, 1), steps(2.0))
    eager = steps(lambda step: jnp.where(step % 3 == 0, 3 * 2.0, 0.0))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), steps(2.0, 3), eager)


def test_a_schedule_counts_steps_whoever_plays_how_often():
    """Two turns of the discriminator in each step see the same time, and a rejected step has passed too."""
    weight = lambda step: jnp.where(step == 3, jnp.inf, step)  # noqa: E731
    game = gan(GENERATOR, CRITIC, LOSSES["hinge"], prior=PRIOR, **_penalised(r1=Term(r1(), weight)))
    dynamics = alternating(dict.fromkeys(game.players, optax.sgd(0.0)), turns={"discriminator": 2})
    batch = _batch(24)
    state = jax.jit(lambda: init_state(game, dynamics, KEY, batch))()
    step = jax.jit(train_step(game, dynamics))
    found = []
    for _ in range(5):
        state, metrics = step(state, batch, KEY)
        cost, adversarial, slope = (metrics[f"discriminator/{name}"] for name in ("cost", "adversarial", "r1"))
        found.append((cost - adversarial) / slope)
    np.testing.assert_allclose(found, [0, 1, 2, np.nan, 4], rtol=1e-5)
    assert (int(state.step), int(state.skipped)) == (5, 1)


@pytest.mark.fault("gans-pytorch: WGAN-GP with BatchNorm in the critic")
@pytest.mark.parametrize("penalty", [r1(), gradient_penalty()], ids=["r1", "gp"])
def test_a_batch_normalised_discriminator_with_a_penalty_is_an_error(penalty):
    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return nn.Dense(1)(nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x)))[:, 0]

    game = gan(GENERATOR, Normalised(), LOSSES["wasserstein"], prior=PRIOR, **_penalised(p=Term(penalty)))
    with pytest.raises(ValueError, match="BatchNorm, which makes an example's logit depend on the whole batch"):
        jax.eval_shape(game.init, KEY, _batch())
    jax.eval_shape(gan(GENERATOR, Normalised(), LOSSES["wasserstein"], prior=PRIOR).init, KEY, _batch())


def test_penalties_run_in_float32_whatever_the_networks_dtype():
    """Under bfloat16 the penalty equals that of the float32 network, not the rounded one."""
    batch = _batch()
    terms = _penalised(gp=Term(gradient_penalty()))
    narrow, wide = (
        gan(GENERATOR, mlp.Discriminator((6,), dtype=dtype), LOSSES["hinge"], prior=PRIOR, **terms)
        for dtype in (jnp.bfloat16, None)
    )
    state = _common()
    values = [_cost(game, "discriminator", state, batch)[1].metrics for game in (narrow, wide)]
    np.testing.assert_allclose(values[0]["gp"], values[1]["gp"], rtol=1e-5)
    assert values[0]["gp"].dtype == jnp.float32
    assert abs(values[0]["real_logit"] / values[1]["real_logit"] - 1) > 1e-4, "the logits themselves are narrow"


def test_the_command_line_reaches_every_option():
    config = GanConfig(penalty="r1", penalty_weight=3.0, penalty_every=4, packing=2, instance_noise=0.1, orthogonal=0.2)
    found = options(config)
    terms = found.pop("terms")
    weights = {player: {name: term[1:] for name, term in named.items()} for player, named in terms.items()}
    assert weights == {
        "discriminator": {"penalty": (3.0, 4), "orthogonal": (0.2, 1)},
        "generator": {"orthogonal": (0.2, 1)},
    }
    assert terms["discriminator"]["penalty"].values.on_examples
    assert found == {"sight": Sight(packing=2, instance_noise=0.1), "accumulate": 1}
    assert options(GanConfig()) == {"terms": {"discriminator": {}, "generator": {}}, "sight": Sight(), "accumulate": 1}


def test_orthogonal_regularisation_is_each_players_own():
    """`w sum |offdiag(K^T K)|^2` over a player's own kernels, by NumPy; a player without a weight pays nothing."""
    batch, plain = _batch(), gan(GENERATOR, CRITIC, LOSSES["hinge"], prior=PRIOR)
    terms = {"generator": {"orthogonal": Term(orthogonal("generator"), 0.3)}}
    game = gan(GENERATOR, CRITIC, LOSSES["hinge"], prior=PRIOR, terms=terms)
    state = _common()
    added = {p: _cost(game, p, state, batch)[0] - _cost(plain, p, state, batch)[0] for p in game.players}
    kernels = [np.asarray(layer["kernel"]) for layer in state.params["generator"].values()]
    grams = [k.T @ k for k in kernels]
    expected = 0.3 * sum(((gram - np.diag(np.diag(gram))) ** 2).sum() for gram in grams)
    np.testing.assert_allclose(added["generator"], expected, rtol=1e-4)
    assert added["discriminator"] == 0


def test_packs_are_joined_and_the_penalty_is_on_a_pack():
    """PacGAN: the discriminator sees [B / 2, 4]; hand-made packs of examples half a batch apart."""
    batch = _batch()
    how = {"sight": Sight(packing=2), **_penalised(r1=Term(r1(), 2.0))}
    game = gan(GENERATOR, CRITIC, LOSSES["non_saturating"], prior=PRIOR, **how)
    state = _start(game, batch)
    assert state.params["discriminator"]["Dense_0"]["kernel"].shape == (4, 6)
    fake, judge = _play(state, batch)
    packed = [np.stack([np.concatenate([x[i], x[i + 4]]) for i in range(4)]) for x in map(np.asarray, (batch.x, fake))]
    real, lies, slopes = map(
        np.asarray,
        jax.jit(lambda x, y: (judge(x), judge(y), jax.vmap(jax.grad(lambda one: judge(one[None])[0]))(x)))(*packed),
    )
    cost, outcome = _cost(game, "discriminator", state, batch)
    np.testing.assert_allclose(outcome.metrics["r1"], (slopes**2).sum(-1).mean() / 2, rtol=1e-5)
    softplus = lambda t: np.logaddexp(0, t)  # noqa: E731
    expected = (softplus(-real) + softplus(lies)).mean() + 2 * outcome.metrics["r1"]
    np.testing.assert_allclose(cost, expected, rtol=1e-5)
    np.testing.assert_allclose(_cost(game, "generator", state, batch)[0], softplus(-lies).mean(), rtol=1e-5)
    with pytest.raises(ValueError, match="batch of 7 cannot be packed by 2"):
        game.costs["generator"](state.params, Moment(state.net_state, _batch(7), KEY))
    with pytest.raises(ValueError, match="expected data without labels"):
        jax.eval_shape(game.init, KEY, _batch(labelled=True))


def test_relativistic_costs_see_both_sides_in_both_turns():
    batch, game = _batch(), gan(GENERATOR, CRITIC, LOSSES["relativistic_paired"], prior=PRIOR)
    state = _common()
    fake, judge = _play(state, batch)
    gap = np.subtract(*jax.jit(lambda *sides: [judge(x) for x in sides])(batch.x, fake))
    softplus = lambda t: np.logaddexp(0, t).mean()  # noqa: E731
    np.testing.assert_allclose(_cost(game, "discriminator", state, batch)[0], softplus(-gap), rtol=1e-5)
    np.testing.assert_allclose(_cost(game, "generator", state, batch)[0], softplus(gap), rtol=1e-5)


def test_a_cost_of_fakes_pays_no_pass_over_real_examples():
    """The compiled generator's turn is as short as one that never heard of real logits."""
    batch, game = _batch(64), gan(GENERATOR, mlp.Discriminator((256, 256)), LOSSES["hinge"], prior=PRIOR)
    both = gan(GENERATOR, mlp.Discriminator((256, 256)), LOSSES["relativistic_paired"], prior=PRIOR)
    state = _start(game, batch)

    def flops(game):
        field = jax.jit(
            lambda p: vector_field(game, p, Moment(state.net_state, batch, KEY), costs=("generator",)).gradients
        )
        return field.lower(state.params).compile().cost_analysis()["flops"]

    assert flops(game) < 0.8 * flops(both)


def test_auxiliary_terms_by_hand():
    """Cross-entropy of classes, surprise of the code, and the distance of mean features; who pays for which."""
    batch, state_of = _batch(labelled=True), lambda game: _start(game, batch)
    code = Term(information(2, 2), 0.5)
    terms = {
        "discriminator": {"class": Term(auxiliary_classifier("real", "fake"), 2.0), "code": code},
        "generator": {
            "class": Term(auxiliary_classifier("fake"), 2.0),
            "code": code,
            "features": Term(feature_matching(), 3.0),
        },
    }
    prior = code_prior(2, 2, 1)
    generator = mlp.Generator((2,), (5,), output=mlp.identity)
    game = gan(generator, Judge(), LOSSES["hinge"], prior=prior, terms=terms)
    state = state_of(game)
    z = jax.jit(lambda position: noise(prior, KEY, position))(batch.position)
    assert ((z[:, :2] == 0) | (z[:, :2] == 1)).all() and (z[:, :2].sum(1) == 1).all()

    @jax.jit
    def seen(params):
        fake = generator.apply({"params": params["generator"]}, z, batch.y, train=True)
        return [Judge().apply({"params": params["discriminator"]}, x) for x in (batch.x, fake)]

    real, lies = jax.tree.map(np.asarray, seen(state.params))
    z = np.asarray(z)

    def entropy(logits, target):
        return -(scipy.special.log_softmax(logits, axis=-1) * target).sum(-1).mean()

    classes = np.eye(3)[np.asarray(batch.y)]
    surprise = (
        entropy(lies.heads["code"][:, :2], z[:, :2])
        + 0.5 * ((lies.heads["code"][:, 2:] - z[:, 2:4]) ** 2).sum(1).mean()
    )
    matching = ((real.features.mean(0) - lies.features.mean(0)) ** 2).sum()
    recognised = entropy(lies.heads["class"], classes)
    expected = {
        "discriminator": {"class": recognised + entropy(real.heads["class"], classes), "code": surprise},
        "generator": {"class": recognised, "code": surprise, "features": matching},
    }
    for player, means in expected.items():
        cost, outcome = _cost(game, player, state, batch)
        for name, mean in means.items():
            np.testing.assert_allclose(outcome.metrics[name], mean, rtol=1e-5)
        added = sum(terms[player][name].weight * mean for name, mean in means.items())
        np.testing.assert_allclose(cost, outcome.metrics["adversarial"] + added, rtol=1e-5)


def _with(values, discriminator=None):
    terms = {"generator": {"term": Term(values)}}
    return gan(GENERATOR, discriminator or Judge(), LOSSES["hinge"], prior=PRIOR, terms=terms)


def test_terms_without_what_they_need_say_so():
    def refused(game, labelled=False):
        params, net_state = jax.eval_shape(game.init, KEY, _batch())
        cost = lambda params, net_state, batch: game.costs["generator"](params, Moment(net_state, batch, KEY))  # noqa: E731
        jax.eval_shape(cost, params, net_state, _batch(labelled=labelled))

    with pytest.raises(ValueError, match="give it heads="):
        game = _with(feature_matching(), CRITIC)
        refused(game)
    game = _with(auxiliary_classifier("fake"))
    with pytest.raises(ValueError, match="no labels"):
        refused(game)
    game = _with(information(3, 2))
    with pytest.raises(ValueError, match="size 4, expected 5"):
        refused(game)
    game = _with(auxiliary_classifier("fake", head="kind"))
    with pytest.raises(ValueError, match=r"heads \['class', 'code'\], expected 'kind'"):
        refused(game, labelled=True)


def test_feature_matching_alone_is_the_published_generator():
    loss = LOSSES["non_saturating"]._replace(generator=of_fakes(jnp.zeros_like))
    terms = {"generator": {"features": Term(feature_matching())}}
    game = gan(GENERATOR, Judge(), loss, prior=PRIOR, terms=terms)
    state, batch = _start(game, _batch()), _batch()
    cost, outcome = _cost(game, "generator", state, batch)
    np.testing.assert_allclose(cost, outcome.metrics["features"], rtol=1e-6)
    assert cost > 1e-4


def test_noise_falls_on_whom_it_should():
    """Instance noise on both sides with its own draws, output noise on fakes alone; fading with the steps."""

    def line(x):  # D(x) = x_0, so a logit is what the discriminator saw
        return x[:, 0]

    class Line(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param("unused", nn.initializers.zeros, (1, 1))
            return line(x)

    batch = _batch(4000)
    plain = gan(GENERATOR, Line(), LOSSES["wasserstein"], prior=PRIOR)
    state = _start(plain, batch)

    def seen(step=0, **options):
        """Deviation of the noise on real and on fake, from squares of the logits."""
        loss = LOSSES["wasserstein"]._replace(discriminator=lambda r, f: r, generator=lambda r, f: f)
        game = gan(GENERATOR, Line(), loss, prior=PRIOR, sight=Sight(**options))
        moment = Moment(state.net_state, batch, KEY, step)
        real = game.costs["discriminator"](state.params, moment)[0]
        fake = game.costs["generator"](state.params, moment)[0]
        return np.array([real, fake]) * np.sqrt(len(batch.x))  # N(0, std^2) plus what is there without noise

    rest = seen()
    draws = [seen(instance_noise=0.5) - rest, seen(output_noise=0.5) - rest]
    assert (np.abs(draws[0]) > 1e-4).all() and abs(draws[0][0] - draws[0][1]) > 1e-4, "real and fake have other draws"
    assert draws[1][0] == 0 and abs(draws[1][1]) > 1e-4
    assert np.abs(draws).max() < 4 * 0.5
    fading = seen(step=3, instance_noise=lambda step: 0.5 - 0.1 * step) - rest
    np.testing.assert_allclose(fading, draws[0] * 0.4, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(seen(step=5, instance_noise=lambda step: 0.5 - 0.1 * step), rest, atol=1e-3)


def test_dropout_is_random_in_the_generators_turn_too():
    class Dropping(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return nn.Dense(1)(nn.Dropout(0.5, deterministic=not train)(nn.tanh(nn.Dense(16)(x))))[:, 0]

    class Still(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.tanh(nn.Dense(16)(x)))[:, 0]

    batch, game = _batch(), gan(constant(), Dropping(), LOSSES["non_saturating"], prior=PRIOR)
    still = gan(constant(), Still(), LOSSES["non_saturating"], prior=PRIOR)
    state = _start(game, batch)
    for player in game.players:
        costs = [_cost(game, player, state, batch, jax.random.key(k))[0] for k in range(3)]
        assert len(np.unique(np.asarray(costs))) == 3
        same = [_cost(still, player, state, batch, jax.random.key(k))[0] for k in range(2)]
        assert same[0] == same[1], "nothing else is random here"


def test_weight_clipping_holds_every_weight_of_a_network():
    """After each step, biases included; the generator is left alone."""
    game = gan(GENERATOR, CRITIC, LOSSES["wasserstein"], prior=PRIOR)
    dynamics = alternating({"discriminator": clipped(optax.sgd(0.5), 0.05), "generator": optax.sgd(0.5)})
    state, _ = jax.jit(lambda: simulate(game, dynamics, 3, batch=_batch(16), keep=None))()
    largest = {p: max(float(jnp.abs(w).max()) for w in jax.tree.leaves(state.params[p])) for p in game.players}
    np.testing.assert_allclose(largest["discriminator"], 0.05, rtol=1e-6)
    assert largest["generator"] > 0.1


def constant():
    """A generator that ignores z: the only randomness left is the discriminator's."""

    class Constant(nn.Module):
        @nn.compact
        def __call__(self, z):
            return self.param("x", nn.initializers.ones, (2,))[None] + 0 * z[:, :2]

    return Constant()


def test_kept_fakes():
    """Half of what the discriminator sees is from the pool; what it saw fresh has taken those places."""
    loss = LOSSES["wasserstein"]._replace(discriminator=lambda r, f: f)
    batch, seen = _batch(), []

    class Seeing(nn.Module):
        @nn.compact
        def __call__(self, x):
            seen.append(x)
            return nn.Dense(1)(x)[:, 0]

    game = gan(GENERATOR, Seeing(), loss, prior=PRIOR, sight=Sight(fakes_kept=20))
    state = jax.jit(game.init)(jax.random.key(1), batch)
    before = np.asarray(state[1]["discriminator"]["pool"])
    assert before.shape == (20, 2) and len(np.unique(before[:, 0])) == 20
    fresh = np.asarray(_faked(state[0]["generator"], batch.position))
    seen.clear()
    params, net_state = state
    _, outcome = game.costs["discriminator"](params, Moment(net_state, batch, KEY))
    shown, after = np.asarray(seen[1]), np.asarray(outcome.net_state["pool"])
    rows = lambda a, b: (np.abs(a[:, None] - b[None]).max(-1) < 1e-5).any(1)  # noqa: E731
    old, new = rows(shown, before), rows(shown, fresh)
    assert (old ^ new).all() and 0 < old.sum() < 8
    assert rows(after, np.concatenate([before, fresh])).all()
    assert rows(fresh, after).sum() == old.sum() and rows(before, after).sum() == 20 - old.sum()
    seen.clear()
    game.costs["generator"](params, Moment(net_state, batch, KEY))
    np.testing.assert_allclose(seen[1], fresh, rtol=1e-5)
    small = gan(GENERATOR, CRITIC, loss, prior=PRIOR, sight=Sight(fakes_kept=4))
    params, net_state = jax.jit(small.init)(jax.random.key(1), batch)
    with pytest.raises(ValueError, match="fakes_kept is 4, expected at least the batch size, 8"):
        small.costs["discriminator"](params, Moment(net_state, batch, KEY))


def test_every_device_keeps_the_same_pool():
    """Two shards of one batch leave the pool of the whole batch, and see what it sees."""
    game = gan(GENERATOR, CRITIC, LOSSES["hinge"], prior=PRIOR, sight=Sight(fakes_kept=20))
    shared = gan(GENERATOR, CRITIC, LOSSES["hinge"], prior=PRIOR, sight=Sight(fakes_kept=20), axis_name="devices")
    batch = _batch()
    params, net_state = jax.jit(game.init)(jax.random.key(1), batch)
    cost, outcome = jax.jit(game.costs["discriminator"])(params, Moment(net_state, batch, KEY))
    halves = Batch(batch.x.reshape(4, 2, 2).swapaxes(0, 1), None, batch.position.reshape(4, 2).T)
    mapped = jax.vmap(
        lambda b: shared.costs["discriminator"](params, Moment(net_state, b, KEY)),
        axis_name="devices",
        in_axes=(Batch(0, None, 0),),
    )
    costs, outcomes = jax.jit(mapped)(halves)
    np.testing.assert_allclose(costs.mean(), cost, rtol=1e-5)
    for pool in outcomes.net_state["pool"]:
        np.testing.assert_allclose(pool, outcome.net_state["pool"], rtol=1e-5)
