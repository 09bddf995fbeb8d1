"""The counter against layers counted by hand; the experiments' steps against what their players should compute."""

import dataclasses
import importlib.util
import sys
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from ganjax.data import load
from ganjax.layers.convolution import Conv, ConvTranspose
from ganjax.training import Keys, parallel
from ganjax.training.flops import flops, jaxpr_flops, step_flops
from ganjax.training.setup import batch_shapes, collate, state_shapes
from ganjax.training.step import unguarded_step

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _of(module, x, **more):
    variables = jax.eval_shape(module.init, jax.random.key(0), x, **more)
    return flops(module.apply, variables, x, **more)


def test_dense():
    assert _of(nn.Dense(7), _array(5, 3)) == 2 * 5 * 3 * 7
    assert flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), _array(2, 3, 4), _array(2, 4, 5)) == 2 * 2 * 3 * 4 * 5
    assert flops(jnp.dot, _array(9), _array(9)) == 18
    assert flops(jnp.sin, _array(9)) == 0


# Along an axis of 8 with stride 2 and padding 1, four windows of 4 see 3, 4, 4 and 3 inputs: 14.
@pytest.mark.parametrize("layer", [nn.Conv, Conv])
def test_a_convolution_of_stride_2(layer):
    assert _of(layer(5, (4, 4), strides=(2, 2), padding=1), _array(2, 8, 8, 3)) == 2 * 2 * 3 * 5 * 14 * 14
    assert _of(layer(5, (3, 3), padding="VALID"), _array(2, 8, 8, 3)) == 2 * 2 * 3 * 5 * 18 * 18
    assert _of(layer(5, (8, 8), padding="VALID"), _array(2, 8, 8, 3)) == 2 * 2 * 3 * 5 * 64


@pytest.mark.parametrize("layer", [nn.ConvTranspose, ConvTranspose])
def test_a_transposed_convolution_is_its_convolution_backwards(layer):
    """From 4 to 8, the same 14 pairs; three quarters of the dilated input are zeros that nobody multiplies."""
    assert _of(layer(3, (4, 4), strides=(2, 2), padding="SAME"), _array(2, 4, 4, 5)) == 2 * 2 * 3 * 5 * 14 * 14


@pytest.mark.parametrize("layer", [Conv, ConvTranspose])
def test_a_wide_strided_convolution_counts_what_a_cpu_computes(layer, monkeypatch):
    """9 products for each 2x2 of outputs (of inputs if transposed), 4 channels wide; elsewhere the plain form."""
    down = layer is Conv
    module = layer(128 if down else 64, (4, 4), strides=(2, 2), padding=1 if down else "SAME")
    x = _array(3, 8, 8, 64) if down else _array(3, 4, 4, 128)
    once = 2 * 3 * (4 * 4 // 4) * 9 * 4 * 64 * 128
    assert _of(module, x) == once
    variables = jax.eval_shape(module.init, jax.random.key(0), x)

    def loss(variables, x):
        return jnp.square(module.apply(variables, x)).sum()

    assert flops(jax.value_and_grad(loss, argnums=(0, 1)), variables, x) == 3 * once
    jaxpr = jax.make_jaxpr(module.apply)(variables, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert jaxpr_flops(jaxpr) == 2 * 3 * 64 * 128 * 14 * 14


def test_a_first_layer_counts_its_padding():
    """One product of all windows: along an axis of 8, four windows of 4 see 16 places, of which 2 are zeros."""
    assert _of(Conv(32, (4, 4), strides=(2, 2), padding=1), _array(2, 8, 8, 3)) == 2 * 2 * 3 * 32 * 16 * 16


@pytest.mark.parametrize("layer", [nn.Conv, Conv, nn.ConvTranspose, ConvTranspose])
def test_each_gradient_of_a_convolution_costs_what_it_costs(layer):
    module, x = layer(5, (4, 4), strides=(2, 2), padding="SAME"), _array(2, 8, 8, 3)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    once = flops(module.apply, variables, x)

    def loss(variables, x):
        return jnp.square(module.apply(variables, x)).sum()

    assert flops(jax.grad(loss), variables, x) == 2 * once
    assert flops(jax.grad(loss, argnums=1), variables, x) == 2 * once, "the weight-gradient that nobody reads"
    assert flops(jax.value_and_grad(loss, argnums=(0, 1)), variables, x) == 3 * once
    assert flops(jax.grad(jax.checkpoint(loss)), variables, x) >= 2 * once


def test_groups():
    """Each of 6 outputs sees 2 of 4 inputs; a group of the batch likewise."""
    assert _of(nn.Conv(6, (3,), feature_group_count=2, padding="VALID"), _array(1, 5, 4)) == 2 * 3 * 3 * 6 * 2
    conv = partial(
        jax.lax.conv_general_dilated,
        window_strides=(1,),
        padding="VALID",
        batch_group_count=2,
        dimension_numbers=("NHC", "HIO", "NHC"),
    )
    assert flops(conv, _array(4, 5, 3), _array(3, 3, 6)) == 2 * 2 * 3 * 3 * 3 * 6


def test_a_dilated_kernel():
    """Windows of 3 over 9 places, 7 inputs wide: 3 of them, no padding."""
    assert _of(nn.Conv(1, (3,), kernel_dilation=3, padding="VALID"), _array(1, 9, 1)) == 2 * 3 * 3


def test_loops_and_branches():
    x = _array(4, 4)
    once = 2 * 4**3
    assert flops(lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, None, 7)[0], x) == 7 * once
    assert flops(lambda x: jax.lax.map(lambda row: x @ row, x), x) == once

    def choose(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x @ x @ x, x)

    assert flops(choose, x) == 2 * once

    def loop(x):
        return jax.lax.while_loop(lambda c: c[0, 0] < 9, lambda c: c @ x, x)

    assert flops(loop, x, trips=3) == 3 * once
    with pytest.raises(ValueError, match="while_loop has products in its body"):
        flops(loop, x)
    assert flops(lambda n: jax.lax.fori_loop(0, n, lambda i, c: c + 1, 0), jax.ShapeDtypeStruct((), jnp.int32)) == 0


def test_what_nobody_reads_and_what_is_there_twice():
    x, once = _array(4, 4), 2 * 4**3
    assert flops(lambda x: (x @ x, jax.jit(lambda y: (y @ y @ y, y))(x)[1]), x) == once
    assert flops(lambda x: x @ x + jax.jit(lambda y: y @ y)(x), x) == once
    assert flops(lambda x: x @ x + x @ x.T, x) == 2 * once


def test_products_in_an_unknown_call_are_refused():
    x = _array(4, 4)
    with pytest.raises(ValueError, match="custom_linear_solve has products in it and is not known"):
        flops(lambda a: jax.lax.custom_linear_solve(lambda v: a @ v, a, lambda mv, b: mv(b)), x)


def _setup(name, **changes):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    experiment = module.EXPERIMENT
    config = dataclasses.replace(experiment.config, **{**experiment.smoke, **changes})
    return experiment.build(config, load, None)


# Products of one example in the smoke size, 8x8x1 digits, 100 latents: a network's layers from its input on.
DCGAN = {
    "generator": [100 * 2 * 2 * 16, 6 * 6 * 16 * 8, 14 * 14 * 8],  # 2x2, to 4x4 (6 pairs on an axis), to 8x8 (14)
    "discriminator": [14 * 14 * 8, 6 * 6 * 8 * 16, 2 * 2 * 16],
}
MLP = {"generator": [100 * 64, 64 * 64], "discriminator": [64 * 64, 64]}


def _forward(layers):
    return sum(layers)


def _own_gradient(layers):
    """Of a player's cost in its own weights: the weights' and the inputs' gradients, but for that of the input."""
    return 2 * sum(layers) - layers[0]


def _turns(networks):
    """Products of an example in a turn of each player."""
    g, d = networks["generator"], networks["discriminator"]
    return {
        "discriminator": _forward(g) + 2 * _forward(d) + 2 * _own_gradient(d),
        # Through the whole discriminator to its input, without its weights' gradients; real examples are not looked at.
        "generator": _forward(g) + _forward(d) + _forward(d) + _own_gradient(g),
    }


@pytest.mark.parametrize(("name", "networks", "batch"), [("dcgan", DCGAN, 32), ("vanilla_gan", MLP, 64)])
@pytest.mark.parametrize("turns", [1, 3])
def test_a_step_computes_what_it_must_and_no_more(name, networks, batch, turns):
    each = _turns(networks)
    expected = 2 * batch * (turns * each["discriminator"] + each["generator"])
    assert step_flops(_setup(name, discriminator_turns=turns)) == expected


def test_a_relativistic_generator_looks_at_real_examples():
    setup = _setup("vanilla_gan", loss="relativistic_paired")
    more = _forward(MLP["discriminator"])
    assert step_flops(setup) == 2 * 64 * (sum(_turns(MLP).values()) + more)


def test_simultaneous_players_share_the_generator_and_the_fakes():
    """The generator's pass and the discriminator's on fakes are there once."""
    each = _turns(MLP)
    shared = _forward(MLP["generator"]) + _forward(MLP["discriminator"])
    # The gradient flows back from the fake logit once for each player, through the last layer with other cotangents.
    assert step_flops(_setup("vanilla_gan", play="simultaneous")) == 2 * 64 * (sum(each.values()) - shared)


def test_a_gradient_penalty_in_products():
    """By hand, of the gradient of a gradient."""
    plain, penal = (step_flops(_setup("vanilla_gan", penalty=name)) for name in ("none", "gradient_penalty"))
    first, last = MLP["discriminator"]
    # Hidden layer (first), its input's gradient (last, first), and of that the weights' (first, last), back through the
    # hidden layer (first). The logit itself is not needed, and a piecewise linear layer has no second derivative.
    assert penal - plain == 2 * 64 * (4 * first + 2 * last)


def test_xla_counts_the_same_and_what_is_done_element_by_element():
    """XLA's own count of the compiled step, of networks wide enough."""
    setup = _setup("vanilla_gan", generator_hidden=(256, 512), discriminator_hidden=(512, 256))
    step = unguarded_step(setup.game, setup.dynamics, setup.averages)
    batch = jax.eval_shape(partial(collate, setup), *batch_shapes(setup), Keys.of(0).steps)
    compiled = jax.jit(step).lower(state_shapes(setup), batch, Keys.of(0).steps).compile()
    assert 1 < compiled.cost_analysis()["flops"] / step_flops(setup) < 1.1


def test_devices_share_the_work(monkeypatch):
    """As many examples per device as there are devices fewer: the whole step is the same."""
    whole = step_flops(_setup("vanilla_gan"))
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert parallel.axis_name() == "data"
    spec = sys.modules["vanilla_gan"].EXPERIMENT
    config = dataclasses.replace(spec.config, **spec.smoke)
    setup = spec.build(config, load, parallel.axis_name())
    assert step_flops(setup) == whole
