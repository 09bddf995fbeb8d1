"""The trio against autodiff of the stock convolution, in float64."""

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equations import convolutions
from jax import lax
from matrix import cases

from ganjax.layers import convolution as trio
from ganjax.layers import few_products, winograd
from ganjax.layers.convolution import Conv, ConvTranspose, conv_general_dilated, conv_transpose

NUMBERS = ("NHWC", "HWIO", "NHWC")
CANONICAL = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))

# Channels from which a strided input-gradient goes phase by phase: all of the test's, or none.
WIDE = (1, 16)


@pytest.fixture
def few(monkeypatch):
    """The forms with fewer or larger products, however few the channels; layers of 1 to 4 channels are first ones."""
    monkeypatch.setattr(few_products, "LEAST", (0.5, 0.5))
    monkeypatch.setattr(few_products, "FEATURES", 1)


# (height, width), (kernel), (strides), padding
CASES = [
    ((8, 8), (4, 4), (2, 2), ((1, 1), (1, 1))),
    ((7, 9), (3, 3), (2, 2), "SAME"),
    ((7, 8), (4, 3), (2, 3), "VALID"),
    ((6, 5), (3, 2), (1, 1), "SAME"),
    ((9, 10), (2, 3), (3, 2), ((0, 2), (1, 0))),  # asymmetric, and the last rows are never read
    ((5, 6), (1, 1), (2, 2), "VALID"),  # the stride jumps over phases
    ((5, 5), (5, 5), (1, 1), "VALID"),  # one window: a matrix product
    ((4, 4), (5, 5), (2, 2), ((2, 2), (2, 2))),
    ((6, 6), (3, 3), (2, 2), ((-1, 2), (0, -1))),  # negative padding crops
    ((2, 2), (4, 4), (2, 2), ((1, 1), (1, 1))),  # one window of the taps that are on the map
    ((1, 3), (3, 7), (1, 1), "SAME"),  # rows of taps, and columns, that never are
    ((1, 2), (2, 2), (1, 1), ((3, 0), (0, 3))),  # outputs that see nothing
]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def close(a, b, tolerance=1e-10):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), a, b)


def data(size, kernel, c, o):
    return normal(0, 3, *size, c), normal(1, *kernel, c, o)


def pair(strides, padding, **kwargs):
    """The same convolution twice: by the trio and by the stock function."""
    return tuple(
        lambda x, w, f=f: f(x, w, strides, padding, dimension_numbers=NUMBERS, **kwargs)
        for f in (conv_general_dilated, lax.conv_general_dilated)
    )


def derivatives(f, x, w):
    """Value, all first derivatives, and all second ones along fixed directions."""
    v, dx, dw = normal(2, *jax.eval_shape(f, x, w).shape), normal(3, *x.shape), normal(4, *w.shape)

    def cost(x, w):
        y = f(x, w)
        return jnp.vdot(v, y) + (y**2).sum(), y  # linear and quadratic: mixed second derivatives do not vanish

    def slope(x, w):
        (gx, gw), y = jax.grad(cost, (0, 1), has_aux=True)(x, w)
        return jnp.vdot(gx, dx) + jnp.vdot(gw, dw) + (gx**2).sum(), (y, gx, gw)

    return jax.jit(jax.grad(slope, (0, 1), has_aux=True))(x, w)


@pytest.mark.parametrize(("size", "kernel", "strides", "padding"), CASES)
def test_value_and_derivatives_of_two_orders_equal_autodiff_of_lax(
    float64, size, kernel, strides, padding, monkeypatch
):
    """However many channels count as wide enough for a strided input-gradient by phases."""
    x, w = data(size, kernel, 2, 3)
    fast, stock = pair(strides, padding)
    expected = derivatives(stock, x, w)
    for wide in WIDE:
        monkeypatch.setattr(trio, "_WIDE", wide)
        close(derivatives(fast, x, w), expected)


# (height, width), padding, of 4x4 kernels and stride 2; the outputs have even sides
HALVED = [
    ((8, 12), ((1, 1), (1, 1))),
    ((7, 9), ((0, 2), (3, 0))),  # asymmetric, and the last rows are never read
    ((11, 10), ((-1, 0), (2, 3))),  # negative padding crops
]


@pytest.mark.parametrize(("size", "padding"), HALVED)
def test_nine_products_for_sixteen_equal_autodiff_of_lax(float64, size, padding, few, monkeypatch):
    """Values and all derivatives of two orders; the windows of first layers come before."""
    monkeypatch.setattr(few_products, "THIN", 0)
    x, w = data(size, (4, 4), 2, 3)
    fast, stock = pair((2, 2), padding)
    close(derivatives(fast, x, w), derivatives(stock, x, w))


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "padding"),
    [((8, 8), (4, 4), (2, 2), ((1, 1), (1, 1))), ((9, 10), (4, 3), (2, 3), ((0, 2), (1, 0)))],
)
def test_one_product_of_all_windows_equals_autodiff_of_lax(float64, size, kernel, strides, padding, few, monkeypatch):
    monkeypatch.setattr(few_products, "LEAST", (99, 99))
    x, w = data(size, kernel, 2, 3)
    fast, stock = pair(strides, padding)
    close(derivatives(fast, x, w), derivatives(stock, x, w))


@pytest.mark.parametrize(
    ("size", "kernel", "padding"),
    [
        ((6, 5), (3, 3), "SAME"),
        ((7, 6), (5, 4), "VALID"),
        ((6, 6), (3, 3), ((-1, 2), (3, -1))),
        ((4, 5), (1, 1), "SAME"),
    ],
)
@pytest.mark.parametrize("channels", [(2, 6), (6, 2)], ids=["first", "last"])
def test_last_layers_as_one_product_equal_autodiff_of_lax(float64, size, kernel, padding, channels, monkeypatch):
    """And the input-gradients of first ones."""
    monkeypatch.setattr(few_products, "THIN", 2)
    monkeypatch.setattr(few_products, "FEATURES", 6)
    x, w = data(size, kernel, *channels)
    fast, stock = pair((1, 1), padding)
    close(derivatives(fast, x, w), derivatives(stock, x, w))


@pytest.mark.parametrize("at_once", [2**19, 200], ids=["whole", "in parts"])
@pytest.mark.parametrize(
    ("size", "padding"),
    [((6, 4), "SAME"), ((7, 6), "VALID"), ((3, 3), ((2, 2), (2, 1))), ((6, 6), ((-1, 2), (3, -1))), ((2, 2), "SAME")],
)
def test_sixteen_products_for_thirty_six_equal_autodiff_of_lax(float64, size, padding, at_once, few, monkeypatch):
    """Of sides that tiles of two cover or overlap, the batch at once or example by example."""
    monkeypatch.setattr(few_products, "THIN", 0)
    monkeypatch.setattr(winograd, "AT_ONCE", at_once)
    forms = (winograd.convolution, winograd.input_gradient, winograd.weight_gradient)
    for form in forms:  # which may be traced already, of another AT_ONCE
        form.clear_cache()
    x, w = data(size, (3, 3), 2, 3)
    fast, stock = pair((1, 1), padding)
    taken = []
    monkeypatch.setattr(trio, "_on_cpu", lambda tiled, other, *z: taken.append(tiled.func) or tiled(*z))
    close(derivatives(fast, x, w), derivatives(stock, x, w))
    assert set(taken) == set(forms)


def test_a_batch_goes_through_in_the_fewest_equal_parts_that_fit():
    parts = lambda n, side: winograd._parts((n, side, side), 128)  # noqa: E731
    assert [parts(n, 8) for n in (1, 16, 64, 65, 66)] == [1, 1, 1, 5, 2]
    assert parts(64, 32) == 16 and parts(7, 63) == 7 and parts(64, 65) is None


def test_taps_that_no_window_lays_on_the_map_cost_nothing():
    """In products of the program: the innermost layers of a U-Net are matrix products, down and up."""
    conv = partial(conv_general_dilated, window_strides=(2, 2), padding=((1, 1), (1, 1)), dimension_numbers=NUMBERS)
    up = partial(conv_transpose, strides=(2, 2), padding="SAME")
    x, w, y = jnp.ones((2, 2, 2, 5)), jnp.ones((4, 4, 5, 6)), jnp.ones((2, 1, 1, 6))
    both = jax.grad(lambda x, w: conv(x, w).sum(), (0, 1))
    for f, args in ((conv, (x, w)), (both, (x, w)), (up, (y, w.swapaxes(2, 3)))):
        text = jax.jit(f).lower(*args).as_text()
        assert "stablehlo.convolution" not in text and "stablehlo.dot_general" in text


def programs(f, *args):
    """(products, convolutions) of the program for each of a CPU and a GPU."""
    texts = (jax.export.export(jax.jit(f), platforms=[device])(*args).mlir_module() for device in ("cpu", "cuda"))
    return tuple((text.count("stablehlo.dot_general"), text.count("stablehlo.convolution")) for text in texts)


def test_fewer_products_are_those_of_programs_for_a_cpu():
    """Of wide layers and of first ones, in float32, unless they are refused."""
    c, o = few_products.LEAST
    x, w = jnp.ones((2, 8, 8, c)), jnp.ones((4, 4, c, o))
    kernel = w[::-1, ::-1].swapaxes(2, 3)  # of the transposed convolution
    conv = partial(conv_general_dilated, window_strides=(2, 2), padding=((1, 1), (1, 1)), dimension_numbers=NUMBERS)
    up = partial(conv_transpose, strides=(2, 2), padding="SAME")
    assert programs(conv, x, w) == ((9, 0), (0, 1))
    y = jnp.ones((2, 4, 4, o))
    assert programs(up, y, kernel) == ((9, 0), (0, 4))
    assert programs(jax.grad(lambda w: conv(x, w).sum()), w) == ((9, 0), (0, 1))
    assert programs(conv, x[..., :3], w[:, :, :3]) == ((1, 0), (0, 1))
    last = partial(conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NUMBERS)
    assert programs(last, x, w[..., :3]) == ((1, 0), (0, 1))
    assert programs(jax.grad(lambda x: last(x, w[:, :, :3]).sum()), x[..., :3]) == ((1, 0), (0, 1))
    half = x.astype("bfloat16"), w.astype("bfloat16")
    for f, args in ((conv, half), (partial(conv, few=False), (x, w)), (partial(up, few=False), (y, kernel))):
        (products, _), other = programs(f, *args)
        assert products == other[0] == 0


@pytest.mark.parametrize("channels", [(128, 128), (64, 3), (3, 64)], ids=str)
def test_a_program_for_batches_of_any_size_has_the_same_outputs(channels):
    """As exported ones are; of layers where fewer products are taken of a batch that is known."""
    (n,) = jax.export.symbolic_shape("n")
    conv = partial(conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NUMBERS)
    x, w = (
        normal(seed, *shape).astype("float32") for seed, shape in enumerate([(3, 8, 8, channels[0]), (3, 3, *channels)])
    )
    made = jax.export.export(jax.jit(conv))(jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype), w)
    np.testing.assert_allclose(made.call(x, w), jax.jit(conv)(x, w), rtol=1e-4, atol=1e-4)


def test_where_fewer_products_win():
    c, o = few_products.LEAST
    wide = {"dtype": jnp.dtype("float32"), "strides": (2, 2), "w_shape": (4, 4, c, o), "y_size": (8, 6)}
    assert few_products.halved(**wide) and few_products.halved(**wide | {"dtype": jnp.dtype("float64")})
    for change in (
        {"dtype": jnp.dtype("bfloat16")},
        {"dtype": jnp.dtype("float16")},
        {"strides": (1, 1)},
        {"w_shape": (3, 3, c, o)},
        {"w_shape": (4, 4, c - 1, o)},
        {"w_shape": (4, 4, c, o - 1)},
        {"y_size": (8, 7)},
    ):
        assert not few_products.halved(**wide | change), change
    square = {"dtype": jnp.dtype("float32"), "strides": (1, 1), "w_shape": (3, 3, 2 * c, 2 * o), "y_shape": (64, 8, 8)}
    assert winograd.tiled(**square)
    for change in (
        {"dtype": jnp.dtype("bfloat16")},
        {"strides": (2, 2)},
        {"w_shape": (3, 5, 2 * c, 2 * o)},
        {"w_shape": (3, 3, 2 * c - 1, 2 * o)},
        {"w_shape": (3, 3, 2 * c, 2 * o - 1)},
        {"y_shape": (64, 65, 64)},
    ):
        assert not winograd.tiled(**square | change), change
    c, o = few_products.THIN, few_products.FEATURES
    first = {"dtype": jnp.dtype("float32"), "strides": (2, 3), "w_shape": (4, 3, c, o)}
    assert few_products.thin(**first)
    for change in (
        {"dtype": jnp.dtype("bfloat16")},
        {"strides": (1, 1)},
        {"strides": (3, 3)},
        {"w_shape": (4, 3, c + 1, o)},
        {"w_shape": (4, 3, c, o - 1)},
    ):
        assert not few_products.thin(**first | change), change
    last = {"dtype": jnp.dtype("float32"), "strides": (1, 1), "w_shape": (7, 7, o, c)}
    assert few_products.narrow(**last)
    for change in (
        {"dtype": jnp.dtype("bfloat16")},
        {"strides": (2, 2)},
        {"w_shape": (7, 7, o - 1, c)},
        {"w_shape": (7, 7, o, c + 1)},
    ):
        assert not few_products.narrow(**last | change), change


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 1)])
def test_errors_against_float64(float64, kernel, stride, few):
    """Relative in norm, of two layers in float32: values, both gradients, the gradient of a penalty on the slope."""

    def errors(dtype):
        shapes = {(2, 16, 16, 3): 1, (kernel, kernel, 3, 16): 7, (kernel, kernel, 16, 16): 4 * kernel}
        x, v, w = ((normal(0, *shape) / root).astype(dtype) for shape, root in shapes.items())
        ends = ((1, 1), (1, 1))
        fast = partial(conv_general_dilated, window_strides=(stride,) * 2, padding=ends, dimension_numbers=NUMBERS)

        def critic(x, v, w):
            return jnp.tanh(fast(jnp.tanh(fast(x, v)), w))

        def penalty(v, w):
            return jnp.square(jax.grad(lambda x: critic(x, v, w).sum())(x)).sum()

        slopes = jax.grad(lambda x, v, w: critic(x, v, w).sum(), (0, 1, 2))
        both = jax.jit(lambda x, v, w: (critic(x, v, w), slopes(x, v, w), jax.grad(penalty, (0, 1))(v, w)))
        return both(x, v, w)

    def error(a, b):
        return float(np.linalg.norm(np.float64(a) - b) / np.linalg.norm(b))

    assert max(jax.tree.leaves(jax.tree.map(error, errors("float32"), errors("float64")))) < 2e-6


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (0, 3))])
@pytest.mark.parametrize(
    ("size", "kernel", "strides"),
    [((4, 4), (4, 4), (2, 2)), ((1, 1), (4, 3), (1, 1)), ((3, 5), (3, 3), (2, 3)), ((3, 4), (1, 2), (2, 3))],
)
def test_transposed_convolution_equals_autodiff_of_lax(float64, size, kernel, strides, padding, monkeypatch):
    x, w = data(size, kernel, 2, 3)
    stock = derivatives(lambda x, w: lax.conv_transpose(x, w, strides, padding), x, w)
    for wide in WIDE:
        monkeypatch.setattr(trio, "_WIDE", wide)
        close(derivatives(lambda x, w: conv_transpose(x, w, strides, padding), x, w), stock)
        if not isinstance(padding, str) and max(strides) > 1:
            fast, _ = pair((1, 1), padding, lhs_dilation=strides)
            close(derivatives(fast, x, w), stock)


@pytest.mark.parametrize(
    "options",
    [
        {"feature_group_count": 2},
        {"rhs_dilation": (2, 1)},
        {"lhs_dilation": (2, 2)},  # beside a stride
        {"precision": "highest"},
        {"preferred_element_type": "float64"},
    ],
)
def test_what_the_trio_does_not_cover_goes_to_lax(float64, options):
    x, w = data((8, 8), (3, 3), 4 // options.get("feature_group_count", 1), 6)
    x = normal(0, 3, 8, 8, 4)
    fast, stock = pair((2, 2), ((1, 1), (1, 1)), **options)
    np.testing.assert_array_equal(fast(x, w), stock(x, w))


def test_other_layouts_and_ranks_go_to_lax(float64):
    x, w = normal(0, 2, 3, 8, 8), normal(1, 4, 3, 3, 3)
    np.testing.assert_array_equal(
        conv_general_dilated(x, w, (1, 1), "SAME"), lax.conv_general_dilated(x, w, (1, 1), "SAME")
    )
    x, w, numbers = normal(0, 2, 8, 3), normal(1, 3, 3, 4), ("NHC", "HIO", "NHC")
    np.testing.assert_array_equal(
        conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=numbers),
        lax.conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=numbers),
    )


def test_the_switch_gives_the_stock_form(float64, monkeypatch):
    x, w = data((8, 8), (4, 4), 6, 5)
    fast, stock = pair((2, 2), "SAME")
    monkeypatch.setattr(trio, "use_trio", lambda: False)
    assert "custom_vjp" not in str(jax.make_jaxpr(lambda x: fast(x, w))(x))
    np.testing.assert_array_equal(fast(x, w), stock(x, w))
    layer = ConvTranspose(3, (4, 4), (2, 2))
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    assert "custom_vjp" not in str(jax.make_jaxpr(lambda x: layer.apply(variables, x))(x))


@pytest.mark.parametrize("form", ["direct", "few"])
def test_vmap_over_inputs_kernels_and_both(float64, form, request):
    if form == "few":
        request.getfixturevalue("few")
    xs, ws = normal(0, 4, 2, 8, 8, 2), normal(1, 4, 4, 4, 2, 3)
    fast, stock = pair((2, 2), ((1, 1), (1, 1)))
    up_fast = lambda x, w: conv_transpose(x, w, (2, 2), "SAME")  # noqa: E731
    up_stock = lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME")  # noqa: E731

    def both(f):
        """Values, and the gradients of the sum of their cubes."""

        def cost(x, w):
            y = f(x, w)
            return (y**3).sum(), y

        return jax.grad(cost, (0, 1), has_aux=True)

    for f, g in ((fast, stock), (up_fast, up_stock)):
        for axes in ((0, None), (None, 0), (0, 0)):
            x, w = (a[0] if axis is None else a for a, axis in zip((xs, ws), axes, strict=True))
            (ours, y), (theirs, expected) = jax.jit(
                lambda x, w, axes=axes, f=f, g=g: [jax.vmap(both(h), axes)(x, w) for h in (f, g)]
            )(x, w)
            close(y, expected)
            close(ours, theirs, 1e-9)


def penalty(f):
    """A cost with the gradient of a gradient in it, inside a scan."""

    def cost(x, w):
        def body(total, x):
            slope = jax.grad(lambda x: (f(x, w) ** 2).sum())(x)
            return total + (slope**2).sum(), None

        return lax.scan(body, 0.0, x)[0]

    return jax.grad(cost, 1)


@pytest.mark.parametrize("up", [False, True])
def test_a_penalty_inside_a_scan_meets_only_canonical_convolutions(up):
    x, w = jnp.ones((2, 3, 8, 8, 6)), jnp.ones((4, 4, 6, 5))

    def numbers(f):
        found = convolutions(jax.make_jaxpr(penalty(f))(x, w))
        assert len(found) >= 5  # output, both gradients and theirs
        return {eqn.params["dimension_numbers"] for eqn in found}

    fast, stock = pair((2, 2), ((1, 1), (1, 1)))
    if up:
        fast = lambda x, w: conv_transpose(x, w, (2, 2), "SAME")  # noqa: E731
        stock = lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME")  # noqa: E731
    assert numbers(fast) == {CANONICAL}
    assert numbers(stock) != {CANONICAL}  # else this test would see nothing


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtypes_are_kept(dtype):
    x, w = (a.astype(dtype) for a in data((8, 8), (4, 4), 6, 5))
    fast, stock = pair((2, 2), "SAME")
    gradient = jax.grad(lambda x, w: (fast(x, w).astype("float32") ** 2).sum(), (0, 1))
    up = lambda x, w: conv_transpose(x, w, (2, 2), "SAME")  # noqa: E731
    assert {a.dtype.name for f in (fast, up, gradient) for a in jax.tree.leaves(jax.eval_shape(f, x, w))} == {dtype}
    ours, theirs = jax.jit(lambda x, w: (fast(x, w), stock(x, w)))(x, w)
    tolerance = {"float32": 1e-5, "bfloat16": 3e-2}[dtype]
    np.testing.assert_allclose(np.float64(ours), np.float64(theirs), rtol=tolerance, atol=20 * tolerance)


def rising(key, shape, dtype):
    """Values that differ from place to place."""
    return jnp.asarray(np.sin(np.arange(np.prod(shape))).reshape(shape), dtype)


LAYERS = itertools.product(
    ["Conv", "ConvTranspose", "ConvTranspose with transposed kernel"],
    [((3, 2), (1, 1)), ((2, 3), (3, 2)), ((4, 4), (2, 2))],  # kernel, strides
    [("VALID", False), ("SAME", True), (1, True), ("CIRCULAR", True)],  # padding, bias
)


@pytest.mark.parametrize("kind, kernel, ends", cases(LAYERS))
def test_layers_share_parameters_and_outputs_with_flax(float64, kind, kernel, ends):
    arguments = {"features": 5, "param_dtype": jnp.float64} | dict(zip(("kernel_size", "strides"), kernel, strict=True))
    arguments |= dict(zip(("padding", "use_bias"), ends, strict=True))
    if arguments["kernel_size"] != (4, 4):  # elsewhere with what draws no numbers, which compiles in half of the time
        arguments |= {"kernel_init": rising, "bias_init": rising}
    name, _, transposed = kind.partition(" ")
    if transposed:
        arguments |= {"transpose_kernel": True}
    x = normal(0, 2, 6, 5, 6)
    layers = (getattr(module, name)(**arguments) for module in (trio, nn))
    fast, stock = (jax.jit(layer.init_with_output)(jax.random.key(1), x) for layer in layers)
    assert jax.tree.structure(fast[1]) == jax.tree.structure(stock[1])
    close(fast, stock, 1e-12)


def test_conv_transpose_keeps_the_stock_options(float64):
    x = normal(0, 2, 6, 5, 6)
    for options in ({"kernel_dilation": (2, 2)}, {"mask": jnp.zeros((3, 3, 6, 4))}):
        layers = (m.ConvTranspose(4, (3, 3), **options) for m in (trio, nn))
        fast, stock = (jax.jit(layer.init_with_output)(jax.random.key(0), x) for layer in layers)
        close(fast, stock, 1e-12)
    line = normal(1, 2, 2, 7, 3)  # two batch axes and one of space
    layers = (m.ConvTranspose(4, (3,), (2,)) for m in (trio, nn))
    fast, stock = (jax.jit(layer.init_with_output)(jax.random.key(0), line) for layer in layers)
    close(fast, stock, 1e-12)


def test_an_unknown_padding_is_an_error():
    with pytest.raises(ValueError, match=r"padding: got 'FULL', expected"):
        conv_transpose(jnp.ones((1, 2, 2, 3)), jnp.ones((2, 2, 3, 4)), (2, 2), "FULL")


def test_conv_accepts_the_stock_ranks():
    for layer, shape in ((Conv(4, (3,)), (2, 8, 3)), (Conv(4, (3, 3)), (8, 8, 3))):
        y, _ = jax.jit(layer.init_with_output)(jax.random.key(0), jnp.ones(shape))
        assert y.shape == (*shape[:2], 4)
