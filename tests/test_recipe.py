"""What the recipes share: every choice of their configuration makes a game that takes a step, and does what it says."""

import importlib.util
import re
import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import get_args, get_type_hints

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from equations import convolutions

from ganjax import recipe
from ganjax.core import Batch, Moment, Owned
from ganjax.data import Dataset, load
from ganjax.errors import ConfigError
from ganjax.games import Term, gan, normal_prior
from ganjax.losses import LOSSES
from ganjax.models import dcgan, mlp, r3gan, resnet
from ganjax.options import IN_TURN, ConvolutionalConfig, ImageConfig
from ganjax.spectral import spectral_norm
from ganjax.training import Keys, init_state, train_step
from ganjax.training.setup import arrays, collate, initial_state, state_shapes

SMALL = ConvolutionalConfig(data="digits", width=4, latent=4, batch_size=8, steps=4)
DIGITS = load("digits")
EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def perceptrons(config, dataset, axis_name):
    """Small networks for what does not depend on the networks."""
    generator = partial(mlp.Generator, dataset.shape, (), output=jnp.tanh)
    return recipe.build(config, dataset, axis_name, generator=generator, discriminator=partial(mlp.Discriminator, ()))


@cache
def step(config, build=recipe.convolutional):
    """A setup, its first state, the state and metrics after one step, and the compiled step of this batch."""
    setup = build(config, DIGITS, None)
    state = initial_state(setup, 0)
    batch = collate(setup, arrays(setup), {"data": jnp.arange(setup.examples)}, Keys.of(0).steps)
    compiled = jax.jit(train_step(setup.game, setup.dynamics, setup.averages))
    advance = partial(compiled, batch=batch, base_key=Keys.of(0).steps)
    new, metrics = advance(state)
    return setup, state, new, metrics, advance


PLAY = [
    *({"dynamics": name} for name in get_args(get_type_hints(ImageConfig)["dynamics"])),
    *({"adjust": name} for name in get_args(get_type_hints(ImageConfig)["adjust"])[1:]),
]
CHOICES = [  # that need convolutions
    *({"conditional": True, "conditioning": name} for name in ("projection", "concatenation")),
    {"conditional": True, "conditioning": "auxiliary", "generator_conditioning": "concatenation"},
    {"spectral_norm": "both", "augment": "diffaugment", "precision": "bfloat16"},
]
ANYHOW = [
    {"augment": "ada", "penalty": "r1", "discriminator_turns": 2, "decay_steps": 10},
    {"average": "tail", "accumulate": 2, "loss": "wasserstein", "penalty": "gradient_penalty"},
    {"average": "none", "packing": 2},
    {"clip": 0.01},
]


@cache
def draw(config, build=recipe.convolutional):
    """Eight images of these labels after one step, compiled."""
    setup, _, new, *_ = step(config, build)
    return jax.jit(partial(setup.sampler(), new.weights, Keys.of(0).samples, jnp.arange(8)))


# Their memory plays a part after five and after a hundred steps.
LATER = ("lookahead", "history_of_opponents")
# The others, which after three steps are elsewhere than plain play; that is the test that they take a step.
OWN_WAYS = [c for c in PLAY[2:] if c.get("dynamics") not in LATER]


@pytest.mark.parametrize(
    ("build", "changes"),
    [
        pytest.param(build, changes, id="-".join(map(str, changes.values())))
        for build, choices in (
            (perceptrons, [c for c in PLAY if c not in OWN_WAYS] + ANYHOW),
            (recipe.convolutional, CHOICES),
        )
        for changes in choices
    ],
)
def test_every_choice_takes_a_step(build, changes):
    setup, state, new, metrics, _ = step(replace(SMALL, **changes), build)
    assert metrics["finite"] == 1
    for player in ("discriminator", "generator"):
        moved = jax.tree.map(lambda a, b: np.abs(np.subtract(a, b)).max(), new.params[player], state.params[player])
        assert max(jax.tree.leaves(moved)) > 0, f"{player} stood still"
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(new.params)), "parameters are float32"
    labels = jnp.arange(8) % 10 if setup.sampler().given else None
    x = draw(replace(SMALL, **changes), build)(labels)
    assert x.shape == (8, 8, 8, 1) and jnp.isfinite(x).all()


@pytest.mark.parametrize("name", get_args(get_type_hints(ImageConfig)["dynamics"]))
def test_the_options_know_in_which_dynamics_players_take_turns(name):
    """Options cannot ask the dynamics, which they do not import."""
    assert recipe.dynamics(replace(SMALL, dynamics=name), None).one_at_a_time == (name in IN_TURN)


@pytest.mark.parametrize("name", LATER)
def test_what_remembers_has_a_memory_of_its_own(name):
    """A copy of parameters beside the optimisers' state, one slow one or five of opponents."""
    size = {}
    for dynamics in ("alternating", name):
        state = state_shapes(perceptrons(replace(SMALL, dynamics=dynamics), DIGITS, None))
        weights = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        size[dynamics] = sum(leaf.size for leaf in jax.tree.leaves(state.dynamics_state))
    copies = {"lookahead": 1, "history_of_opponents": 5}[name]
    assert 0 <= size[name] - size["alternating"] - copies * weights < 5


@pytest.mark.parametrize("changes", OWN_WAYS, ids=lambda c: "-".join(c.values()))
def test_every_way_to_play_goes_its_own_way(changes):
    """After three steps it is elsewhere than both plain ways, by more than a fiftieth of their length."""

    def moved(**changes):
        config = replace(SMALL, inner_step=0.1, learning_rate=1e-2, adjust_weight=1.0, average="none", **changes)
        _, start, state, _, advance = step(config, perceptrons)
        for _ in range(2):
            state, metrics = advance(state)
        assert metrics["finite"] == 1
        return jax.tree.map(np.subtract, state.params, start.params)

    def norm(tree):
        return np.linalg.norm(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]))

    found = moved(**changes)
    for name in ("alternating", "simultaneous"):
        plain = moved(dynamics=name)
        assert norm(jax.tree.map(np.subtract, found, plain)) > 0.02 * norm(plain), f"{changes} plays like {name}"


def test_a_clipped_discriminator_is_bounded():
    _, _, state, *_ = step(replace(SMALL, clip=0.01), perceptrons)
    largest = {p: max(np.abs(leaf).max() for leaf in jax.tree.leaves(t)) for p, t in state.params.items()}
    assert largest["discriminator"] <= 0.01 + 1e-7 < largest["generator"]


def test_devices_share_the_means_of_a_relativistic_loss():
    """Two devices with half of a batch each lose what one device loses."""
    config, half = replace(SMALL, loss="relativistic_average"), lambda leaf: leaf.reshape(2, 4, *leaf.shape[1:])
    alone, shared = (perceptrons(config, DIGITS, axis).game for axis in (None, "data"))
    batch = Batch(jax.random.normal(jax.random.key(1), (8, 8, 8, 1)), None, jnp.arange(8))
    params, net_state = jax.jit(alone.init)(jax.random.key(0), batch)
    for player in alone.players:
        both = jax.vmap(shared.costs[player], (None, Moment(None, 0, None, None)), axis_name="data")
        costs, _ = jax.jit(both)(params, Moment(net_state, jax.tree.map(half, batch), jax.random.key(2)))
        expected, _ = jax.jit(alone.costs[player])(params, Moment(net_state, batch, jax.random.key(2)))
        np.testing.assert_allclose(costs.mean(), expected, rtol=1e-6)


def test_the_conditioning_is_felt():
    """Each form of conditioning changes what both networks say with the label."""
    for changes in CHOICES:
        if not changes.get("conditional"):
            continue
        setup, _, state, *_ = step(replace(SMALL, **changes), recipe.convolutional)
        state = jax.tree.map(lambda leaf: np.add(leaf, np.float32(0.1)) if leaf.dtype == jnp.float32 else leaf, state)

        @jax.jit
        def felt(state, labels, setup=setup):
            keys, index = Keys.of(0), jnp.arange(4)
            x = jax.vmap(partial(setup.sampler(), state.weights, keys.samples, index))(labels)
            moments = lambda label: Moment(state.net_state, Batch(x[0], label, index), keys.steps)  # noqa: E731
            cost = lambda label: setup.game.costs["discriminator"](state.params, moments(label))[0]  # noqa: E731
            return x, jax.vmap(cost)(labels)

        x, costs = map(np.asarray, felt(state, np.repeat(np.arange(2, dtype=np.int32), 4).reshape(2, 4)))
        assert np.abs(x[0] - x[1]).max() > 1e-4
        assert abs(costs[0] - costs[1]) > 1e-5


def test_a_learning_rate_that_falls_counts_steps_of_the_generator():
    """After half of 4 steps half of the rate is left, for both players, whose counts differ by their turns."""
    config = replace(SMALL, decay_steps=4, discriminator_turns=3, learning_rate=0.5)
    rate = recipe.learning_rate(config)
    assert [float(rate(k)) for k in (0, 2, 4, 9)] == [0.5, 0.25, 0, 0]
    _, _, last, *_ = step(config, perceptrons)
    by_player = last.dynamics_state.optimizers
    counts = {player: int(optax.tree.get(by_player[player], "ScaleByScheduleState")[0]) for player in by_player}
    assert counts == {"discriminator": 3, "generator": 1}
    assert [float(recipe._of_turns(rate, 3, k)) for k in (0, 2, 3, 6, 12)] == [0.5, 0.5, 0.375, 0.25, 0]


def test_a_rate_that_falls_counts_steps_of_extragradient_whose_optimisers_move_twice():
    """Under a constant gradient Adam's moves are as long as its rate: 1/2, and a quarter of it less after each step."""
    adam = recipe.adam(replace(SMALL, decay_steps=4, dynamics="extragradient", learning_rate=0.5))["generator"]
    state, sizes = adam.init(jnp.zeros(())), []
    for _ in range(8):
        move, state = adam.update(jnp.ones(()), state)
        sizes.append(-float(move))
    np.testing.assert_allclose(sizes, [0.5, 0.5, 0.375, 0.375, 0.25, 0.25, 0.125, 0.125], rtol=1e-4)


def test_what_does_not_go_together_is_refused():
    for changes, sentence in [
        (
            {"dynamics": "optimistic", "discriminator_turns": 2},
            "--discriminator-turns is 2, expected 1 with --dynamics",
        ),
        ({"remat": True}, "--remat is True, expected left out"),
        ({"beta2": 1.0}, "--beta2 is 1.0, expected at least 0 and less than 1"),
        ({"conditioning": "auxiliary"}, "--conditioning is auxiliary, expected projection without --conditional"),
        ({"decay_steps": 3}, "--steps is 4, expected at most --decay-steps 3"),
        ({"clip": 0.1, "dynamics": "competitive"}, "--clip is 0.1, expected 0 with --dynamics competitive"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(sentence)):
            replace(SMALL, **changes)


@pytest.mark.parametrize("penalised", [False, True])
def test_one_pass_of_real_and_fake_is_two(penalised):
    """Costs and gradients agree, with fewer convolutions; under R1, which shares passes, they are as before."""
    from ganjax.penalties import r1

    results, found, begun = [], [], None
    for one_pass in (True, False):
        game = gan(
            dcgan.Generator((8, 8, 1), width=2),
            dcgan.Discriminator(width=2, batch_norm=False),
            LOSSES["hinge"],
            prior=normal_prior(4),
            spectral={"discriminator": spectral_norm()},
            terms={"discriminator": {"r1": Term(r1())}} if penalised else {},
            one_pass=one_pass,
        )
        x = np.random.default_rng(1).normal(size=(6, 8, 8, 1)).astype(np.float32)
        batch = Batch(x, None, np.arange(6))
        begun = begun or jax.jit(game.init)(jax.random.key(0), batch)
        params, net_state = begun

        def cost(own, params=params, net_state=net_state, game=game, batch=batch):
            return game.costs["discriminator"](
                {**params, "discriminator": own}, Moment(net_state, batch, jax.random.key(2))
            )[0]

        results.append(jax.jit(jax.value_and_grad(cost))(params["discriminator"]))
        found.append(len(convolutions(jax.make_jaxpr(cost)(params["discriminator"]))))
    chex.assert_trees_all_close(*results, rtol=1e-5, atol=1e-6)
    assert (found[0] < found[1]) != penalised


def test_who_judges_each_example_by_itself_says_so():
    assert resnet.Discriminator().by_example and mlp.Discriminator().by_example
    assert dcgan.Discriminator(batch_norm=False).by_example
    assert (
        not dcgan.Discriminator(batch_norm=True).by_example and not dcgan.Discriminator(False, dropout=0.1).by_example
    )
    assert not mlp.Discriminator(minibatch="std").by_example and not mlp.Discriminator(dropout=0.1).by_example


def test_turns_in_a_row_are_the_turns_one_by_one():
    """Five turns of the discriminator in one program, against five of one turn each with the generator held."""
    from dataclasses import replace as changed

    from ganjax.dynamics import alternating

    networks = dcgan.Generator((8, 8, 1), width=2), dcgan.Discriminator(width=2, batch_norm=False)
    game = gan(*networks, LOSSES["hinge"], prior=normal_prior(4), spectral={"discriminator": spectral_norm()})
    sgd = {"discriminator": optax.sgd(0.01), "generator": optax.sgd(0.01)}
    x = jax.random.normal(jax.random.key(1), (24, 8, 8, 1))
    batch, key = Batch(x, None, jnp.arange(24)), jax.random.key(2)
    together = alternating(sgd, turns={"discriminator": 5})
    begin = jax.jit(partial(init_state, game, together))
    start = begin(jax.random.key(0), jax.tree.map(lambda leaf: leaf[:2], batch))
    found, metrics = jax.jit(partial(together.step, game))(start, batch, key)
    state = start

    @partial(jax.jit, static_argnums=0)
    def turned(player, state, part):
        cost = lambda own: game.costs[player]({**state.params, player: own}, Moment(state.net_state, part, key))  # noqa: E731
        return jax.value_and_grad(cost, has_aux=True)(state.params[player])

    for turn in range(6):
        part = jax.tree.map(lambda leaf, t=turn: np.asarray(leaf)[4 * t : 4 * t + 4], batch)
        player = "discriminator" if turn < 5 else "generator"
        (value, outcome), slope = turned(player, state, part)
        moved = jax.tree.map(lambda p, g: np.subtract(p, np.multiply(g, np.float32(0.01))), state.params[player], slope)
        state = changed(
            state,
            params={**state.params, player: moved},
            net_state={**state.net_state, player: outcome.net_state},
        )
        np.testing.assert_allclose(value, metrics[f"{player}/cost"], rtol=1e-5) if turn >= 4 else None
    chex.assert_trees_all_close(found.params, state.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(found.net_state, state.net_state, rtol=1e-5, atol=1e-6)


def test_standing_statistics_are_the_mean_over_passes():
    """By hand on a generator of one BatchNorm: mean and variance of what each pass feeds it, averaged."""
    import flax.linen as nn

    from ganjax.games import sampler

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, z, *, train):
            return nn.BatchNorm(use_running_average=not train, momentum=0.7, use_fast_variance=False)(z)

    draw = sampler(Plain(), normal_prior(3))
    variables = jax.jit(partial(Plain().init, train=True))(jax.random.key(0), jnp.zeros((2, 3)))
    weights = {"generator": Owned(variables["params"], {"batch_stats": variables["batch_stats"]})}
    key = jax.random.key(5)
    measured = draw.standing(weights, key, None, (4, 16), None)["generator"]
    found = measured.net_state["batch_stats"]["BatchNorm_0"]
    z = np.asarray(draw.latents(weights, key, jnp.arange(64))).reshape(4, 16, 3)
    np.testing.assert_allclose(found["mean"], z.mean(1).mean(0), atol=1e-6)
    np.testing.assert_allclose(found["var"], z.var(1).mean(0), rtol=1e-5)


def test_truncation_bounds_z():
    from ganjax.games import sampler, uniform_prior

    draw = sampler(mlp.Generator((2,), (4,)), normal_prior(50))
    index = jnp.arange(40)
    key = Keys.of(0).samples
    assert jnp.abs(draw.latents({}, key, index)).max() > 2
    assert jnp.abs(draw.latents({}, key, index, 0.5)).max() <= 0.5
    with pytest.raises(ConfigError, match="expected a positive threshold and a prior N"):
        sampler(mlp.Generator((2,), (4,)), uniform_prior(3)).latents({}, key, index, 0.5)
    with pytest.raises(ConfigError, match=r"truncation at -1\.0"):
        draw.latents({}, key, index, -1.0)


def test_class_tables_that_begin_at_zero_are_not_normalised():
    state = state_shapes(recipe.convolutional(replace(SMALL, conditional=True, spectral_norm="both"), DIGITS, None))
    normalised = {player: str(jax.tree_util.tree_structure(s["spectral"])) for player, s in state.net_state.items()}
    assert "embedding" in normalised["discriminator"] and "embedding" not in normalised["generator"]


def test_a_generator_that_takes_no_mode_takes_concatenated_labels():
    config = replace(SMALL, conditional=True, generator_conditioning="concatenation")
    make = partial(r3gan.Generator, (8, 8, 1), width=16, blocks=1)
    generator = recipe.conditional_generator(config, make, 10)
    z, labels = jnp.ones((2, 4)), jnp.array([0, 1])
    x, _ = jax.jit(partial(generator.init_with_output, train=True))(jax.random.key(0), z, labels)
    assert x.shape == (2, 8, 8, 1)


@pytest.mark.parametrize("name", ["sngan", "biggan"])
def test_attention_stands_behind_a_map_of_both_networks_or_is_refused(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = replace(module.CONFIG, **{**module.SMOKE, "latent": 128})
    data = Dataset(np.arange(6144, dtype=np.uint8).reshape(2, 32, 32, 3), np.arange(2, dtype=np.int32))
    with pytest.raises(ConfigError, match=r"--attention is 12, expected 0 or one of \[8, 16\]"):
        module.build(replace(config, attention=12), lambda name: data, None)
    for side in (8, 16):
        shapes = state_shapes(module.build(replace(config, attention=side, width=8), lambda name: data, None))
        for player in ("discriminator", "generator"):
            assert sum("SelfAttention" in layer for layer in shapes.params[player]) == 1
