"""What every model promises to games, walked through one table: a new family is tested on the day that it is added.

Weights are drawn, not initialised, so that none is zero or one by design. Programs are few: what needs no numbers is
read off shapes and jaxprs.
"""

import importlib
import pkgutil
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.core import freeze
from flax.traverse_util import flatten_dict, unflatten_dict

from ganjax import models
from ganjax.core import Critique
from ganjax.errors import ConfigError
from ganjax.layers.conditioning import ConcatenatedImage, ConcatenatedLatent
from ganjax.layers.dropout import SHARED
from ganjax.layers.mode import check_told, mode
from ganjax.models import biggan, dcgan, mlp, r3gan, resnet, semi_supervised, sndcgan, stylegan, wavegan
from ganjax.models.classifier import classifier
from ganjax.models.patchgan import PatchDiscriminator

B, K, E = 4, 3, 5  # examples, classes, length of a vector
IMAGE, SMALL = (8, 8, 1), (4, 4, 1)
CLASSES = jnp.arange(B) % K
VECTORS = jax.random.normal(jax.random.key(1), (B, E))
CONDITIONS = {"nothing": None, "class": CLASSES, "vector": VECTORS}
OTHERS = {"class": (CLASSES + 1) % K, "vector": VECTORS[::-1]}


class Model(NamedTuple):
    module: nn.Module
    inputs: tuple[int, ...]  # shape of one z, or of one example
    outputs: tuple[int, ...]  # shape of one example, or of what is said of it
    unconditional: bool = True  # whether it can do without labels

    def conditioned(self, condition: str) -> nn.Module:
        return self.module.clone(num_classes=0 if condition == "nothing" else K)


R3GAN = {"width": 4, "blocks": 1, "group": 4}
# An option that decides about one of the promises makes a row of its own.
GENERATORS = {
    "mlp": Model(mlp.Generator((3,), (4,)), (6,), (3,)),
    "mlp, normalised": Model(mlp.Generator((3,), (4,), batch_norm=True), (6,), (3,)),
    "dcgan": Model(dcgan.Generator(IMAGE, 2), (6,), IMAGE),
    "dcgan, norms": Model(dcgan.Generator(SMALL, 2, "batch_norm"), (6,), SMALL),
    "sndcgan": Model(sndcgan.Generator(SMALL, 2), (6,), SMALL),
    "resnet": Model(resnet.Generator(IMAGE, 2), (6,), IMAGE),
    "biggan": Model(biggan.Generator(IMAGE, 2), (6,), IMAGE),
    "biggan, tables": Model(biggan.Generator(IMAGE, 2, embedding=0, split=False), (6,), IMAGE),
    "r3gan": Model(r3gan.Generator(IMAGE, **R3GAN), (6,), IMAGE),
    "wavegan": Model(wavegan.Generator((64,), 2), (6,), (64,)),
    "joined": Model(ConcatenatedLatent(partial(dcgan.Generator, SMALL, 2), K), (6,), SMALL, unconditional=False),
}
DISCRIMINATORS = {
    "mlp": Model(mlp.Discriminator((4,)), (3,), ()),
    "mlp, maxout": Model(mlp.Discriminator((4,), maxout=2), (3,), ()),
    "mlp, dropout": Model(mlp.Discriminator((8,), dropout=0.5), (3,), ()),
    "mlp, discrimination": Model(mlp.Discriminator((4,), minibatch="discrimination"), (3,), ()),
    "mlp, deviation": Model(mlp.Discriminator((4,), minibatch="std"), (3,), ()),
    "dcgan": Model(dcgan.Discriminator(2), IMAGE, ()),
    "dcgan, biases": Model(dcgan.Discriminator(2, batch_norm=False), SMALL, ()),
    "dcgan, dropout": Model(dcgan.Discriminator(2, batch_norm=False, dropout=0.5), SMALL, ()),
    "sndcgan": Model(sndcgan.Discriminator(2), SMALL, ()),
    "resnet": Model(resnet.Discriminator(2), SMALL, ()),
    "biggan": Model(biggan.Discriminator(2), SMALL, ()),
    "r3gan": Model(r3gan.Discriminator(**R3GAN), IMAGE, ()),
    "wavegan": Model(wavegan.Discriminator(2), (256,), ()),  # of two layers, with a shuffle between them
    "joined": Model(ConcatenatedImage(partial(dcgan.Discriminator, 2), K), SMALL, (), unconditional=False),
}
MODELS = {f"G: {k}": v for k, v in GENERATORS.items()} | {f"D: {k}": v for k, v in DISCRIMINATORS.items()}
HEADED = [name for name, model in MODELS.items() if "heads" in vars(model.module)]
SHARED_AXIS = [
    name
    for name, model in MODELS.items()
    if "axis_name" in vars(model.module) and getattr(model.module, "minibatch", "none") == "none"
]


def call(module, variables, x, y=None, *, train=True):
    """What the module returns, and its new statistics; masks of dropout are drawn from one key."""
    output, new = module.apply(
        variables, x, y, **mode(module, train), mutable=["batch_stats"], rngs={SHARED: jax.random.key(5)}
    )
    return output, new.get("batch_stats", {})


def batch(model, key=2):
    return jax.random.normal(jax.random.key(key), (B, *model.inputs))


def shapes(module, x, y):
    """Shapes and dtypes of a module's variables."""
    return jax.eval_shape(lambda: module.init(jax.random.key(0), x, y, **mode(module, True)))


@lru_cache
def variables(module, size, condition):
    """Entries from N(0, 1 / inputs), statistics as they begin."""
    rng = np.random.default_rng(0)

    def drawn(path, leaf):
        if path[0] == "batch_stats":
            return np.full(leaf.shape, path[-1] == "var", np.float32)
        return (rng.normal(size=leaf.shape) / np.sqrt(max(1, np.prod(leaf.shape[:-1])))).astype(np.float32)

    found = shapes(module, jnp.zeros((B, *size)), CONDITIONS[condition])
    return unflatten_dict({path: drawn(path, leaf) for path, leaf in flatten_dict(found).items()})


@lru_cache
def program(module):
    return jax.jit(partial(call, module))


def outputs(name, condition, y=None, **options):
    """What the model of this name says in training, from weights that do not depend on the options."""
    model = MODELS[name]
    plain = model.conditioned(condition)
    y = CONDITIONS[condition] if y is None else y
    return program(plain.clone(**options))(variables(plain, model.inputs, condition), batch(model), y)


def conditions(name):
    return [c for c in CONDITIONS if c != "nothing" or MODELS[name].unconditional]


def test_every_family_is_in_the_table():
    found = {
        module
        for _, name, _ in pkgutil.iter_modules(models.__path__)
        for module in vars(importlib.import_module(f"ganjax.models.{name}")).values()
        if isinstance(module, type)
        and issubclass(module, nn.Module)
        and module.__name__.endswith(("Generator", "Discriminator"))
    }
    judges_of_patches = {PatchDiscriminator}  # a map of logits, and no labels: tests/models/test_patchgan.py
    of_styles = {stylegan.Generator, stylegan.Discriminator}  # no labels either: tests/models/test_stylegan.py
    of_few = {semi_supervised.Generator, semi_supervised.Discriminator}  # nor here: tests/games/test_semi_supervised.py
    in_table = {type(m.module) for m in MODELS.values()} - {ConcatenatedLatent, ConcatenatedImage}
    assert found == in_table | judges_of_patches | of_styles | of_few


@pytest.mark.parametrize("name", MODELS)
def test_shapes_and_dtypes(name):
    """One output per example, of the dtype of the computation; parameters and statistics are float32 all the same."""
    model = MODELS[name]
    for condition in conditions(name):
        half, y = model.conditioned(condition).clone(dtype=jnp.bfloat16), CONDITIONS[condition]
        found = shapes(half, batch(model), y)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float32"}
        check_told(half, found)
        x, new = jax.eval_shape(partial(call, half), found, batch(model), y)
        assert (x.shape, x.dtype.name) == ((B, *model.outputs), "bfloat16")
        assert new == found.get("batch_stats", {})
        if condition == "nothing":
            assert shapes(half, batch(model), CLASSES) == found  # labelled data can train it


def test_a_classifier_says_one_logit_per_class():
    for shape in ((3,), IMAGE):
        module = classifier(shape, K, width=2, features=4)
        logits, _ = jax.eval_shape(lambda m=module, s=shape: m.init_with_output(jax.random.key(0), jnp.ones((B, *s))))
        assert logits.shape == (B, K) and mode(module, True) == {}


@pytest.mark.parametrize("name", MODELS)
def test_the_network_is_told_its_mode(name):
    """In evaluation statistics go out as they came in and nothing is drawn; in training they are computed."""
    model = MODELS[name]
    condition = conditions(name)[-1]
    module, y = model.conditioned(condition), CONDITIONS[condition]
    weights = variables(module, model.inputs, condition)

    def moved(train):
        def statistics(stats, x):
            return module.apply(
                {**weights, "batch_stats": stats}, x, y, **mode(module, train), mutable=["batch_stats"],
                rngs={SHARED: jax.random.key(5)} if train else {},
            )[1].get("batch_stats", stats)  # fmt: skip

        traced = jax.make_jaxpr(statistics)(weights.get("batch_stats", {}), batch(model)).jaxpr
        return [out not in traced.invars for out in traced.outvars]

    assert not any(moved(False)) and all(moved(True))


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_by_example_is_told_truly(name):
    """Example 0 among others and in another place gets the logit that it had, exactly if the module says so."""
    name = f"D: {name}"
    model = MODELS[name]
    condition = conditions(name)[0]
    module = model.conditioned(condition)
    x, y, weights = batch(model), CONDITIONS[condition], variables(module, model.inputs, condition)
    others = batch(model, 3).at[1].set(x[0])
    beside = None if y is None else jnp.roll(y, 1, 0)
    logits, there = (program(module)(weights, *told)[0] for told in ((x, y), (others, beside)))
    off, large = abs(logits[0] - there[1]), abs(logits).max()
    assert (off < 1e-5 * large) if module.by_example else (off > 1e-3 * large)


@pytest.mark.fault("style-based-gan 78, pro_gan 34: BatchNorm statistics of one device")
@pytest.mark.parametrize("name", SHARED_AXIS)
def test_two_halves_that_share_an_axis_are_one_batch(name):
    """Statistics of BatchNorm are of both, and so is the number by which an example draws its mask."""
    model = MODELS[name]
    module = model.conditioned("nothing")
    x, weights = batch(model), variables(module, model.inputs, "nothing")
    whole, stats = outputs(name, "nothing")
    dealt = x.reshape(B // 2, 2, *model.inputs)  # examples go to devices like cards
    shared = jax.vmap(partial(call, module.clone(axis_name="data")), (None, 1), (1, 0), axis_name="data")
    halves, split = jax.jit(shared)(weights, dealt)
    np.testing.assert_allclose(halves.reshape(whole.shape), whole, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-5, atol=1e-6), split, stats)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_is_finite_and_near_float32(name):
    condition = conditions(name)[0]
    full, _ = outputs(name, condition)
    half, _ = outputs(name, condition, dtype=jnp.bfloat16)
    assert (full.dtype, half.dtype) == (jnp.float32, jnp.bfloat16) and full.shape == (B, *MODELS[name].outputs)
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.1 * float(abs(full).max()))


@pytest.mark.parametrize("condition", OTHERS)
@pytest.mark.parametrize("name", MODELS)
def test_conditions_change_what_is_said(name, condition):
    """Class or vector, each example goes by its own; without either a conditional model refuses."""
    model = MODELS[name]
    one, other = outputs(name, condition)[0], outputs(name, condition, y=OTHERS[condition])[0]
    assert (abs(one - other).reshape(B, -1).max(1) > 1e-4 * abs(one).max()).all()
    module = model.conditioned(condition)
    if "num_classes" in vars(module) and model.unconditional:
        with pytest.raises(ConfigError, match="labels: got None"):
            call(module, variables(module, model.inputs, condition), batch(model))


@pytest.mark.parametrize("name", MODELS)
def test_a_vector_is_a_condition_without_classes(name):
    """The captions' vectors need no number of classes: the layers are those of a model with classes."""
    module, x = MODELS[name].module, batch(MODELS[name])
    with_classes = MODELS[name].conditioned("vector")
    assert jax.tree.structure(shapes(module, x, VECTORS)) == jax.tree.structure(shapes(with_classes, x, VECTORS))


@pytest.mark.parametrize("name", HEADED)
def test_heads_are_affine_maps_of_the_features(name):
    """Without heads nothing but the logits comes back, with any mapping a `Critique`, of the same logits."""
    model = MODELS[name]
    module = model.conditioned("nothing")
    headed = module.clone(heads=freeze({"class": 3, "code": 2}))
    weights, x = variables(headed, model.inputs, "nothing"), batch(model)
    said, _ = program(headed)(weights, x)
    assert isinstance(said, Critique) and said.logits.shape == (B,) and said.features.shape[0] == B
    assert {head: value.shape for head, value in said.heads.items()} == {"class": (B, 3), "code": (B, 2)}
    for head, value in said.heads.items():
        affine = weights["params"][f"head_{head}"]
        np.testing.assert_allclose(value, said.features @ affine["kernel"] + affine["bias"][None], rtol=1e-4, atol=1e-5)
    plain = variables(module, model.inputs, "nothing")
    bare, _ = jax.eval_shape(partial(call, module.clone(heads=freeze({}))), plain, x)
    assert bare.heads == {} and bare.features.shape == said.features.shape
    assert not any(key.startswith("head") for key in plain["params"])
