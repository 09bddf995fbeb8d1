"""Domain adaptation: each player's field against one written out, who moves and who does not, and what nobody sees."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from ganjax.core import Batch, Moment, Owned
from ganjax.dynamics import View, alternating, simultaneous
from ganjax.games import adaptation as games
from ganjax.games.adaptation import CLASSIFIER, CLASSIFIERS, CRITIC, ENCODER, SOURCE, TARGET, TARGET_CLASSIFIER
from ganjax.training import init_state, train_step

K, B = 3, 6


class Encoder(nn.Module):
    """One layer; with statistics and noise where they are asked for."""

    norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, *, train):
        h = nn.Dense(4)(x)
        if self.norm:
            h = nn.BatchNorm(use_running_average=not train, momentum=0.9)(h)
        return nn.Dropout(self.dropout, deterministic=not train)(nn.tanh(h))


class Critic(nn.Module):
    @nn.compact
    def __call__(self, h):
        return nn.Dense(1)(nn.tanh(nn.Dense(3)(h)))[:, 0]


class Pair(nn.Module):
    @nn.compact
    def __call__(self, h):
        return nn.Dense(2 * K)(h).reshape(h.shape[0], 2, K)


HEAD = nn.Dense(K)


def batches(y_target=None, apart=1.0):
    rng = np.random.default_rng(0)
    x_s, x_t = rng.normal(size=(2, B, 3))
    source = Batch(jnp.asarray(x_s, jnp.float32), jnp.arange(B) % K, jnp.arange(B))
    return {SOURCE: source, TARGET: Batch(jnp.asarray(x_t + apart, jnp.float32), y_target, B + jnp.arange(B))}


def begun(game, batch=None):
    batch = batches() if batch is None else batch
    params, net_state = jax.jit(game.init)(jax.random.key(0), batch)
    return params, Moment(net_state, batch, jax.random.key(1), jnp.int32(3))


def field(game, params, moment, costs=None):
    return jax.jit(lambda p: View(game, moment).field(p, costs))(params)


def close(found, expected, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **({"rtol": 1e-5, "atol": 1e-6} | tolerance)), found, expected
    )


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


@jax.custom_vjp
def reverse(x, weight):
    return x


reverse.defvjp(lambda x, weight: (x, weight), lambda weight, g: (jax.tree.map(lambda leaf: -weight * leaf, g), None))


def test_reversal_in_one_backward_pass_is_two_players_at_once():
    """A layer that turns the gradient gives the encoder -lambda times it, and the critic its own, unscaled."""
    lam = 0.3
    game = games.aligned(Encoder(), HEAD, "reversal", critic=Critic(), weight=lambda step: lam * step / 3)
    params, moment = begun(game)
    source, target = moment.batch[SOURCE], moment.batch[TARGET]

    def one_pass(params):
        h_s, h_t = (Encoder().apply({"params": params[ENCODER]}, b.x, train=True) for b in (source, target))
        u_s, u_t = (Critic().apply({"params": params[CRITIC]}, reverse(h, lam)) for h in (h_s, h_t))
        logits = HEAD.apply({"params": params[CLASSIFIER]}, h_s)
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, source.y).mean()
        return entropy + jnp.log1p(jnp.exp(-u_s)).mean() + jnp.log1p(jnp.exp(u_t)).mean()

    close(field(game, params, moment).gradients, jax.jit(jax.grad(one_pass))(params))
    assert game.players == (CRITIC, ENCODER, CLASSIFIER)


@pytest.mark.parametrize("alignment", ["confusion", "coral", "mmd"])
def test_what_aligns_moves_the_encoder_alone(alignment):
    """The field of a weight less that of none is the alignment's; the classifier hears of the source."""
    critic = Critic() if alignment == "confusion" else None
    sides = [games.aligned(Encoder(), HEAD, alignment, critic=critic, weight=w) for w in (0.0, 1.0, 3.0)]
    params, moment = begun(sides[0])
    looks = jax.jit(lambda p: [View(game, moment).field(p, None) for game in sides])
    none, once, thrice = jax.device_get(looks(params))
    for player in {CLASSIFIER, CRITIC} & set(params):
        close(thrice.gradients[player], none.gradients[player])
    away = jax.tree.map(lambda a, b: a - b, once.gradients[ENCODER], none.gradients[ENCODER])
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(away)) > 1e-4
    close(jax.tree.map(lambda a, b: a + 3 * b, none.gradients[ENCODER], away), thrice.gradients[ENCODER], atol=1e-5)
    assert once.metrics["encoder/alignment"] == none.metrics["encoder/alignment"], "logged unweighted"


@pytest.mark.parametrize("alignment", ["coral", "mmd"])
def test_two_devices_compare_all_examples_of_both_domains(alignment):
    """Neither is a mean over examples: each device has those of all, and the mean of the fields is that of one."""
    alone, shared = (games.aligned(Encoder(), HEAD, alignment, axis_name=axis) for axis in (None, "devices"))
    params, moment = begun(alone)
    dealt = jax.tree.map(lambda leaf: leaf.reshape(B // 2, 2, *leaf.shape[1:]).swapaxes(0, 1), moment.batch)

    @partial(jax.vmap, axis_name="devices")
    def mean_field(batch):
        own = View(shared, moment._replace(batch=batch)).field(params, None).gradients
        return jax.lax.pmean(own, "devices")

    found = jax.tree.map(lambda leaf: leaf[0], jax.jit(mean_field)(dealt))
    close(found, field(alone, params, moment).gradients)


def test_equal_domains_leave_a_critic_at_chance():
    """Of the same images in both domains no critic pays less than 2 log 2, and training takes it there."""
    batch = batches(apart=0.0)
    batch[TARGET] = batch[TARGET]._replace(x=batch[SOURCE].x)
    game = games.aligned(Encoder(), HEAD, "reversal", critic=Critic())
    dynamics = simultaneous(dict.fromkeys(game.players, optax.adam(0.03)))
    state, step = init_state(game, dynamics, jax.random.key(0), batch), jax.jit(train_step(game, dynamics))
    costs = []
    for _ in range(150):
        state, said = step(state, batch, jax.random.key(1))
        costs.append(float(said["critic/cost"]))
    assert min(costs) > 2 * np.log(2) - 1e-6 and costs[0] > costs[-1]
    assert costs[-1] == pytest.approx(2 * np.log(2), abs=1e-3) and said["critic/domain_accuracy"] == 0.5


@pytest.mark.fault("DANN: source and target pass BatchNorm apart in training, and are judged by mixed statistics")
def test_each_domain_has_its_statistics_in_training_and_afterwards():
    """AdaBN: the target's are those of its own batches, by which it is judged."""
    game = games.aligned(Encoder(norm=True), HEAD, "none")
    params, moment = begun(game)
    after = field(game, params, moment).net_state[ENCODER]
    for domain in (SOURCE, TARGET):
        own = moment.batch[domain].x @ params[ENCODER]["Dense_0"]["kernel"]
        close(after[domain]["batch_stats"]["BatchNorm_0"]["mean"], 0.1 * own.mean(0))
    weights = {p: Owned(params[p], after if p == ENCODER else {}) for p in params}
    said = games.judge(Encoder(norm=True), HEAD).said
    x = moment.batch[SOURCE].x
    for domain in (SOURCE, TARGET):
        alone = {"params": params[ENCODER], **after[domain]}
        close(said(weights, x, domain)[0], Encoder(norm=True).apply(alone, x, train=False))
    assert not np.allclose(said(weights, x, SOURCE)[1], said(weights, x, TARGET)[1])


SEES = ["features", "logits"]


@pytest.mark.fault("pytorch-adda: the critic's optimiser was built over the parameters of the target's encoder")
@pytest.mark.parametrize("sees", SEES)
def test_adda_moves_the_target_alone(sees):
    """Five steps: not a bit of the source's encoder, the classifier and their states; optimisers are their players'."""
    game = games.adda(Encoder(norm=True), HEAD, Critic(), sees=sees)
    moving = (CRITIC, TARGET) if sees == "features" else (CRITIC, TARGET, TARGET_CLASSIFIER)
    assert game.players == moving
    dynamics = simultaneous(dict.fromkeys(game.players, optax.adam(0.01)))
    first = jax.jit(lambda key: init_state(game, dynamics, key, batches()))(jax.random.key(0))
    state, step = first, jax.jit(train_step(game, dynamics))
    for _ in range(5):
        state, _ = step(state, batches(), jax.random.key(1))
    for player in first.params:
        moved = not same(state.params[player], first.params[player])
        assert moved == (player in moving), player
    assert same(state.net_state, first.net_state)
    memory = state.dynamics_state.optimizers
    assert set(memory) == set(moving)
    for player in moving:
        assert jax.tree.structure(memory[player][0].mu) == jax.tree.structure(state.params[player])


@pytest.mark.parametrize("sees", SEES)
def test_the_costs_of_adda(sees):
    """The critic's is the entropy of the domains; the target's that of inverted labels, on the new logits alone."""
    game = games.adda(Encoder(), HEAD, Critic(), sees=sees)
    params, moment = begun(game)

    def u(params, body, head):
        h = Encoder().apply({"params": params[body]}, moment.batch[body].x, train=False)
        code = h if sees == "features" else HEAD.apply({"params": params[head]}, h)
        return Critic().apply({"params": params[CRITIC]}, code)

    own = TARGET_CLASSIFIER if sees == "logits" else CLASSIFIER
    critic = lambda p: (  # noqa: E731
        jnp.log1p(jnp.exp(-u(p, SOURCE, CLASSIFIER))).mean() + jnp.log1p(jnp.exp(u(p, TARGET, own))).mean()
    )
    target = lambda p: jnp.log1p(jnp.exp(-u(p, TARGET, own))).mean()  # noqa: E731
    found = field(game, params, moment).gradients
    of_critic, of_target = jax.jit(lambda p: (jax.grad(critic)(p), jax.grad(target)(p)))(params)
    close(found[CRITIC], of_critic[CRITIC])
    for player in set(found) - {CRITIC}:
        close(found[player], of_target[player])


@pytest.mark.fault(
    "pytorch-adda: dropout is on for the target's encoder alone, so that D can read the domain off the noise"
)
def test_adda_shows_both_domains_in_one_mode():
    """Equal images and equal weights: the critic is told the same of both."""
    game = games.adda(Encoder(norm=True, dropout=0.5), HEAD, Critic())
    batch = batches()
    batch[TARGET] = batch[TARGET]._replace(x=batch[SOURCE].x)
    params, moment = begun(game, batch)
    params = {**params, TARGET: params[SOURCE]}
    value = jax.jit(game.costs[TARGET])(params, moment)[0]
    critic = jax.jit(game.costs[CRITIC])(params, moment)[0]
    judged = jax.jit(lambda p: Critic().apply({"params": p[CRITIC]}, _features(p, moment, batch)))
    u = np.asarray(judged(params))
    np.testing.assert_allclose(value, np.log1p(np.exp(-u)).mean(), rtol=1e-5)
    np.testing.assert_allclose(critic, (np.log1p(np.exp(-u)) + np.log1p(np.exp(u))).mean(), rtol=1e-5)


def _features(params, moment, batch):
    own = {"params": params[SOURCE], **moment.net_state[SOURCE]}
    return Encoder(norm=True, dropout=0.5).apply(own, batch[SOURCE].x, train=False)


@pytest.mark.fault("MCD_DA: the one-step variant has loss_dis.backward() commented out, so nothing is adversarial")
def test_the_three_steps_of_mcd():
    """Who moves in each, by what, with the signs of the paper; the third comes four times."""
    game = games.mcd(Encoder(), Pair())
    assert [game.mover(name) for name in game.costs] == [ENCODER, CLASSIFIERS, CLASSIFIERS, ENCODER]
    assert games.ORDER_OF_MCD == ((ENCODER, CLASSIFIERS), "apart", "together", "together", "together", "together")
    params, moment = begun(game)

    def said(params, domain):
        h = Encoder().apply({"params": params[ENCODER]}, moment.batch[domain].x, train=True)
        return Pair().apply({"params": params[CLASSIFIERS]}, h)

    def named(params):
        logits, y = said(params, SOURCE), moment.batch[SOURCE].y
        log_p = jax.nn.log_softmax(logits)
        return -sum(log_p[jnp.arange(B), i, y].mean() for i in (0, 1))

    def apart(params):
        p = jax.nn.softmax(said(params, TARGET))
        return (jnp.abs(p[:, 0] - p[:, 1]).sum(1) / K).mean()

    named, apart = (jax.jit(jax.grad(f))(params) for f in (named, apart))
    both = field(game, params, moment, (ENCODER, CLASSIFIERS)).gradients
    close(both, named)
    close(field(game, params, moment, ("apart",)).gradients, {CLASSIFIERS: _minus(named, apart)[CLASSIFIERS]})
    close(field(game, params, moment, ("together",)).gradients, {ENCODER: apart[ENCODER]})


@pytest.mark.fault("MCD_DA: the seed is set at the start of each epoch, which repeats the masks of dropout")
def test_masks_of_mcd_differ_from_step_to_step():
    game = games.mcd(Encoder(dropout=0.5), Pair())
    params, moment = begun(game)
    together = jax.jit(lambda key: game.costs["together"](params, moment._replace(key=key))[0])
    assert len({float(together(jax.random.key(step))) for step in range(3)}) == 3


def _minus(a, b):
    return jax.tree.map(np.subtract, a, b)


GAMES = {
    "reversal": lambda: games.aligned(Encoder(), HEAD, "reversal", critic=Critic()),
    "confusion": lambda: games.aligned(Encoder(), HEAD, "confusion", critic=Critic(), sees="logits"),
    "coral": lambda: games.aligned(Encoder(), HEAD, "coral", sees="logits"),
    "mmd": lambda: games.aligned(Encoder(), HEAD, "mmd"),
    "adabn": lambda: games.aligned(Encoder(norm=True), HEAD, "none"),
    "mcd": lambda: games.mcd(Encoder(), Pair()),
    "adda": lambda: games.adda(Encoder(), HEAD, Critic()),
}


@pytest.mark.parametrize("name", GAMES)
def test_labels_of_the_target_are_no_input(name):
    """Two steps end in the same bits without them, and the program does not read them."""
    game = GAMES[name]()
    adams = dict.fromkeys(game.players, optax.adam(0.01))
    order = games.ORDER_OF_MCD if name == "mcd" else None
    dynamics = simultaneous(adams) if order is None else alternating(adams, order=order, fresh=False)
    garbage = batches(jnp.full(B, 10**6))
    state = jax.eval_shape(lambda key: init_state(game, dynamics, key, garbage), jax.random.key(0))
    step = train_step(game, dynamics)
    jaxpr = jax.make_jaxpr(lambda y, state: step(state, batches(y), jax.random.key(1)))(garbage[TARGET].y, state)
    label, *_ = jaxpr.jaxpr.invars
    assert not any(label is var for eqn in jaxpr.jaxpr.eqns for var in eqn.invars)
    without = jax.eval_shape(step, state, batches(None), jax.random.key(1))
    assert jax.tree.map(str, without[0]) == jax.tree.map(str, state)


def test_garbage_in_the_place_of_labels_changes_no_bit():
    game = GAMES["mcd"]()
    adams = dict.fromkeys(game.players, optax.adam(0.01))
    dynamics = alternating(adams, order=games.ORDER_OF_MCD, fresh=False)
    begin = jax.jit(lambda batch: init_state(game, dynamics, jax.random.key(0), batch))
    step, ends = jax.jit(train_step(game, dynamics)), []
    for y in (np.arange(B) % K, np.full(B, -(10**6))):
        batch = batches(jnp.asarray(y, jnp.int32))
        ends.append(step(begin(batch), batch, jax.random.key(1))[0])
    assert same(*ends)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"expected one for \['reversal', 'confusion'\] and for no other"):
        games.aligned(Encoder(), HEAD, "reversal")
    with pytest.raises(ValueError, match="expected one for"):
        games.aligned(Encoder(), HEAD, "coral", critic=Critic())
    with pytest.raises(ValueError, match="expected one of"):
        games.aligned(Encoder(), HEAD, "reversl", critic=Critic())
    with pytest.raises(ValueError, match="sees is 'pixels', expected one of"):
        games.adda(Encoder(), HEAD, Critic(), sees="pixels")
