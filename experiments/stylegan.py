"""StyleGAN2: a style for every layer, and a generator whose paths in latent space are evenly long.

Claim: modulated convolutions, noise maps of one channel and a penalty on the lengths of paths draw images whose coarse
and fine traits can be told apart, and mixed.
Paper: Karras, Laine and Aila, A Style-Based Generator Architecture for Generative Adversarial Networks, 2019; Karras et
al., Analyzing and Improving the Image Quality of StyleGAN, 2020; Karras et al., Training Generative Adversarial Nets
with Limited Data, 2020 (the networks as built here, and adaptive augmentation: --augment ada); Karras et al.,
Alias-Free Generative Adversarial Networks, 2021 (--alias-free: two parts of it, waves at the input, low-pass filters).
Command: python experiments/stylegan.py train --workdir runs/stylegan
         python experiments/stylegan.py sample --workdir runs/stylegan --truncation 0.7 --out truncated.png
         python experiments/stylegan.py evaluate --workdir runs/stylegan --count 1000
         python experiments/stylegan.py styles --workdir runs/stylegan --what mixing --out runs/stylegan/mixing.png
         python experiments/stylegan.py paths --workdir runs/stylegan --space z --ends --extractor classifier
         python experiments/stylegan.py latent --workdir runs/stylegan --sampler z --what interpolation --out paths.png
Figure: mixing.png, images of A that have the coarse, middle or fine styles of B; `styles` draws also truncation
(towards the mean style), noise (what noise maps alone change) and projection (held-out and training images above what
is found for them, in one style and in a style for every layer). `evaluate` puts path_length, of pixels in w, beside the
other scores; `paths` prints it of z or w, anywhere or at the ends of paths, of pixels or of the features of a network.
Published sizes: --preset config_f is that of 1024 pixels, 30.4 and 29.0 million numbers in generator and discriminator,
config_f_256 that of 256; the default, 350,520 and 366,945 at 64 pixels, is for a CPU. Sides are 28, 32, 64, ...
What we measured, on 2 CPU cores that about eight other programs used too, in processor time, compilation included:
- 600 steps of 28x28 garments, 9,600 images (--data fashion_mnist --preset smaller --steps 600 --sample-every 100
  --checkpoint-every 50 --chunk 25 --ema-decay 0.99), seed 0: 214 s. Too few to draw garments: patches of light in their
  rough outlines, with much of the noise maps in them (median distance to the nearest training image 5.21, of held-out
  images 3.92). StyleGAN is trained on millions; a DCGAN draws garments after 64,000.
  Its styles reach further than its draws: projection (--steps 100, 6 images each) comes to a median RMSE of .150 of
  held-out images in one style and .121 in one for every layer, of training images .129 and .104 (pixels from 0 to 1).
- drawn faces of 64x64 (--data faces.npz --no-mirror, all else by default: 1,500 steps, 24,000 images), seed 0: 22
  minutes of one core (.9 s a step). Colours of hair and skin are there, a face is not: heads are blots with an edge.
  Frechet distance 276 by evaluate --extractor efficientnet_lite0 (floor 6, held-out images 19), precision and recall
  0, path length .55. A DCGAN (dcgan.py --steps 400 --ema-decay 0.99 --latent 64, 51,200 images) draws noisy faces with
  eyes, ears and hair after 3.3 minutes, at a distance of 293. So half of a DCGAN's distance at equal time is far off:
  these networks take longer than that to begin. After four minutes each it is 1,254 for a DCGAN's 502, in pixels
  (`early_faces`). Two other settings were tried: --preset smaller --path-weight 0 --ema-decay 0.99, seed 100,
  has 303 after the same 1,500 steps, 12 minutes: rings with a dark edge and a white mouth. Larger steps of smaller
  batches, and no augmentation (besides, --augment none --learning-rate 6e-3 --batch-size 8 --steps 2200), 10 minutes,
  have 379: brown rings, all alike.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ganjax import launch
from ganjax.commands.base import OfRun, config_of, opened
from ganjax.config import require
from ganjax.options import Adam, Averaging, Latent, Precision, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ganjax.core import Array, Key, Weights
    from ganjax.data import Dataset
    from ganjax.models.stylegan import Discriminator, Generator
    from ganjax.report.rows import Row
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Precision, Averaging, Adam, Latent, TrainConfig):
    """The networks and the penalties."""

    preset: Literal["none", "config_f", "config_f_256", "medium", "smaller"] = "none"
    """Sizes instead of --latent, --style, --mapping, --base and --most: those published for 1024 and 256 pixels, four
    times the default, or half of its channels."""
    style: int = 64
    """Numbers of w, and units of each layer of the mapping network."""
    mapping: int = 2
    """Layers of the mapping network."""
    base: int = 2048
    """A map of side s has base / s channels, at most --most."""
    most: int = 64
    """Channels of a map at most."""
    alias_free: bool = False
    """Begin with waves that the style moves, and double maps by filters of 12 taps."""
    group: int = 4
    """Examples whose deviation the discriminator sees; a divisor of the batch of each device."""
    mixing: float = 0.9
    """Share of generated images whose later layers have the style of another latent."""
    r1: float = 0.0
    """Gamma of R1, the weight of half of the squared slope; 0 takes the authors' rule, 0.0002 pixels / batch."""
    r1_every: int = 16
    """Steps between two evaluations of R1, which then weighs as many times as much."""
    path_weight: float = 2.0
    """Of the penalty on lengths of paths; 0 for none."""
    path_every: int = 4
    """Steps between two evaluations of that penalty."""
    mirror: bool = True
    """Show each training image or its mirror image, as often."""
    augment: Literal["none", "diffaugment", "ada"] = "diffaugment"
    """What real and generated images go through before the discriminator."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("style", "mapping", "most", "group", "r1_every", "path_every"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "base", self.base >= 8, "at least 8")
        require(self, "mixing", 0 <= self.mixing <= 1, "0 to 1")
        for name in ("r1", "path_weight"):
            require(self, name, 0 <= getattr(self, name) < math.inf, "a number that is not negative")
        require(self, "batch_size", self.batch_size % self.group == 0, f"a multiple of --group {self.group}")
        require(self, "remat", not self.remat, "left out: these networks have no blocks to compute again")
        for name in ("latent", "style", "mapping", "base", "most"):
            alone = self.preset == "none" or getattr(self, name) == getattr(CONFIG, name)
            require(self, name, alone, f"left out with --preset {self.preset}, which says it")


CONFIG = Config(
    steps=1500,  # 24,000 images
    data="fluent_emoji",  # colour, 64x64
    batch_size=16,
    latent=64,
    learning_rate=2.5e-3,  # the authors'
    beta1=0.0,
    beta2=0.99,
    ema_decay=0.998,  # half of it is the last 5,500 images
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """Two networks in turns, lazily regularised."""
    from ganjax import recipe
    from ganjax.augment import AUGMENTATIONS, jitter
    from ganjax.dynamics import alternating
    from ganjax.games import Sight, Term, gan, styles
    from ganjax.games.adversarial import DISCRIMINATOR, GENERATOR
    from ganjax.losses import LOSSES
    from ganjax.models import stylegan
    from ganjax.penalties import r1
    from ganjax.training import Averaged, Setup, Stream

    dataset = load(config.data)
    g, d, latent = networks(config, dataset.shape)
    prior = styles.style_prior(latent, stylegan.Synthesis(dataset.shape).layers, mixing=config.mixing)
    gamma = config.r1 or 0.0002 * dataset.shape[0] ** 2 / config.batch_size
    game = gan(
        g,
        d,
        LOSSES["non_saturating"],
        prior=prior,
        terms={DISCRIMINATOR: {"r1": Term(r1(), gamma, config.r1_every)}},
        sight=Sight(augment=None if config.augment == "none" else AUGMENTATIONS[config.augment]),
        axis_name=axis_name,
    )._replace(group=config.group)
    if config.path_weight:
        lazy: dict[str, Any] = {"weight": config.path_weight, "every": config.path_every}
        game = styles.with_path_length(game, g, prior, **lazy, axis_name=axis_name)
    adam, kept = recipe.adam_of(config), recipe.averages(config)
    return Setup(
        game=game,
        dynamics=alternating(dict.fromkeys((DISCRIMINATOR, GENERATOR), adam), axis_name=axis_name),
        streams={"data": Stream(dataset, config.batch_size, prepare=jitter(0) if config.mirror else None)},
        averages={} if kept is None else {config.average: Averaged(GENERATOR, kept)},
        samplers=styles.samplers(g, size=latent),
        measures=styles.measures(g, size=latent),
        score="styles",
    )


def networks(config: Config, shape: tuple[int, ...]) -> "tuple[Generator, Discriminator, int]":
    """Both networks of images of this shape, and the size of z."""
    from ganjax import recipe
    from ganjax.models import stylegan

    stylegan.sides(shape)  # raises where images have no such size
    latent, style, mapping, base, most = stylegan.SIZES.get(
        config.preset, (config.latent, config.style, config.mapping, config.base, config.most)
    )
    sizes: dict[str, Any] = {"base": base, "most": most, "dtype": recipe.dtype_of(config)}
    g = stylegan.Generator(shape, style, mapping, alias_free=config.alias_free, **sizes)
    return g, stylegan.Discriminator(group=config.group, **sizes), latent


@dataclass(frozen=True, kw_only=True)
class Paths(OfRun):
    """Print the path length (PPL): how fast images change on the way from one latent to another, squared."""

    space: Literal["w", "z"] = "w"
    """w: straight from one style to another. z: on the sphere from the latent of the one to that of the other."""
    ends: bool = False
    """Where paths begin, rather than anywhere on them."""
    extractor: Literal["pixels", "classifier", "fid", "efficientnet_lite0"] = "pixels"
    """What sees the change, as of evaluate: pixels, from -1 to 1, or a network, whose features are compared. Lengths by
    different extractors cannot be compared."""
    extractor_file: Path | None = None
    """The weights of fid or efficientnet_lite0, as scripts/convert_weights.py wrote them."""
    count: int = 1000
    """How many paths; of their lengths the longest and the shortest hundredth are left out."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    seed: int = 0
    """Seed of the latents."""

    def __post_init__(self):
        require(self, "count", self.count >= 2, "at least 2")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")

    def run(self, experiment: launch.Experiment) -> None:
        config, _ = config_of(experiment, self.workdir)
        run = opened(experiment, self)
        import jax
        from scipy.stats import trimboth

        from ganjax import evaluation
        from ganjax.games.styles import path_speeds
        from ganjax.training import Keys, load_state, weights_of
        from ganjax.training.sampling import in_batches

        data = run.setup.streams["data"].dataset
        seen = evaluation.chosen_extractor(self.extractor, data, self.extractor_file, progress=True)
        g, _, size = networks(config, data.shape)
        how: dict[str, Any] = {"space": self.space, "ends": self.ends}
        if self.extractor != "pixels":
            how["feature"] = lambda x: seen.apply(seen.weights, 127.5 * (x + 1)).features
        speeds, key = jax.jit(path_speeds(g, size=size, **how)), Keys.of(self.seed).samples
        chosen = weights_of(run.setup, load_state(run.setup, run.workdir), ("generator",), self.weights)
        kept = trimboth(in_batches(lambda index: speeds(chosen, key, index), self.count, 32), 0.01)
        mean, error = kept.mean(), kept.std() / math.sqrt(len(kept))
        told = f"of {self.count} paths in {self.space}, {'at the ends' if self.ends else 'all along'}"
        print(f"path length {mean:.4g} +- {error:.2g} a feature, {told}, as {seen.name} sees them")


# -- pictures of styles -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Styles(OfRun):
    """Pictures of what styles, truncation and noise maps do, and of images that are looked for among the styles."""

    what: Literal["mixing", "truncation", "noise", "projection"]
    """mixing: images of A with the coarse, middle or fine styles of B. truncation: styles drawn towards their mean.
    noise: one style under several noise maps, and how far the images differ. projection: held-out images and, as a
    control, training images, above what is found for them in one style and in a style for every layer."""
    out: Path
    """The picture to write, .png."""
    count: int = 6
    """Columns."""
    steps: int = 300
    """Of a projection."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    seed: int = 0
    """Seed of the latents."""

    def __post_init__(self):
        require(self, "count", 2 <= self.count <= 32, "2 to 32")
        require(self, "steps", self.steps >= 1, "at least 1")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")

    def run(self, experiment: launch.Experiment) -> None:
        run = opened(experiment, self)
        from ganjax.report.rows import rows
        from ganjax.training import Keys, load_state, weights_of

        sampler = run.setup.sampler("styles")
        chosen = weights_of(run.setup, load_state(run.setup, run.workdir), sampler.players, self.weights)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        more = (self.steps,) if self.what == "projection" else ()
        content = VIEWS[self.what](trained(run.setup, chosen, Keys.of(self.seed).samples), self.count, *more)
        rows(content, self.out, title=TITLES[self.what])
        for row in content:
            if row.note:
                print(f"{row.caption}: {row.note}".replace("\n", " "))
        print(self.out)


class Trained(NamedTuple):
    """A trained generator of styles."""

    setup: "Setup"
    weights: "Weights"
    key: "Key"
    # (weights, w, keys of noise maps or None) -> images as networks see them, compiled
    render: "Callable[[Weights, Array, Array | None], Array]"

    def latents(self, start: int, count: int, psi: float | None = None) -> "dict[str, Array]":
        """Draws of the prior, "w" [count, W] and the keys of noise maps; draw i is the same whatever else is drawn."""
        import jax.numpy as jnp

        index = jnp.arange(start, start + count)
        return self.setup.sampler("styles").latents(self.weights, self.key, index, psi)

    def images(self, w: "Array", noise: "Array | None" = None) -> "np.ndarray":
        """Images of styles [N, W] or [N, layers, W], uint8 [N, H, W, C]; without keys without noise maps."""
        import numpy as np

        return np.asarray(self.setup.streams["data"].dataset.kind.decode(self.render(self.weights, w, noise)))


def trained(setup: "Setup", weights: "Weights", key: "Key") -> Trained:
    """The generator of these weights."""
    import jax

    def render(weights: "Weights", w: "Array", noise: "Array | None") -> "Array":
        latent = {"w": w} if noise is None else {"w": w, "noise": noise}
        return setup.sampler("styles").latent.decode(weights, latent, None)  # type: ignore[union-attr]

    return Trained(setup, weights, key, jax.jit(render))


def mixing(of: Trained, count: int) -> "list[Row]":
    """Two images, A, with three bands of the styles of `count` others, B (Karras et al. 2019, figure 3)."""
    import jax.numpy as jnp
    import numpy as np

    from ganjax.models.stylegan import Synthesis
    from ganjax.report.rows import Row

    layers = Synthesis(of.setup.streams["data"].dataset.shape).layers
    a, b = of.latents(0, 2)["w"], of.latents(2, count)["w"]
    of_a, of_b = of.images(a), of.images(b)
    content = [Row(np.concatenate([np.full_like(of_a[:1], 255), of_b]), "B")]
    for name, band in zip(("coarse", "middle", "fine"), np.array_split(np.arange(layers), 3), strict=True):
        of_band = jnp.isin(jnp.arange(layers), jnp.asarray(band)).reshape(1, -1, 1)
        for i in range(len(a)):
            mixed = of.images(jnp.where(of_band, b[:, None], a[i].reshape(1, 1, -1)))
            content.append(Row(np.concatenate([of_a[i : i + 1], mixed]), f"A {i + 1} with\n{name} of B"))
    return content


def truncation(of: Trained, count: int) -> "list[Row]":
    """The same styles at five distances from their mean, without noise maps, and the spread of 64 such images."""
    from ganjax.explore import diversity
    from ganjax.report.rows import Row

    content = []
    for psi in (0.0, 0.25, 0.5, 0.75, 1.0):
        images = of.images(of.latents(0, max(count, 64), psi)["w"])
        content.append(Row(images[:count], f"psi = {psi:g}", f"diversity\n{diversity(images):.2f}"))
    return content


def noise(of: Trained, count: int) -> "list[Row]":
    """Three styles, each without noise maps, with several, and where these images differ: white by most."""
    import jax.numpy as jnp
    import numpy as np

    from ganjax.report.rows import Row

    content, many = [], 16
    keys = of.latents(0, many)["noise"]
    for i in range(3):
        w = of.latents(i, 1)["w"]
        images = of.images(jnp.repeat(w, many, 0), keys)
        spread = images.std(0).mean(-1, keepdims=True)
        shown = np.round(255 * spread / max(spread.max(), 1e-6)).astype(np.uint8)
        strip = [of.images(w), images[: max(1, count - 2)], np.broadcast_to(shown, (1, *images.shape[1:]))]
        content.append(Row(np.concatenate(strip), f"style {i + 1}", f"deviation {spread.mean():.2f}\nof 255"))
    return content


def projection(of: Trained, count: int, steps: int = 300) -> "list[Row]":
    """Images above those of the nearest styles; what the notes say is of what is shown."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ganjax.data import subsample
    from ganjax.games.styles import project
    from ganjax.models.stylegan import Synthesis
    from ganjax.report.rows import Row

    data, content = of.setup.streams["data"].dataset.in_memory(), []
    mean, spread = of.latents(0, 1, 0.0)["w"][0], of.latents(0, 512)["w"].std(0)
    starts = {"one style": mean, "a style for\nevery layer": jnp.tile(mean[None], (Synthesis(data.shape).layers, 1))}
    render = lambda w: of.render(of.weights, w, None)  # noqa: E731
    find = jax.jit(lambda x, start: project(render, x, of.key, start, spread, steps=steps))
    for name, split in {"held out": data.x_test, "training": data.x_train}.items():
        if split is None:
            continue
        images = split[np.resize(subsample(len(split), count), count)]
        x = data.kind.encode(jnp.asarray(images))
        content.append(Row(images, name))
        for how, start in starts.items():
            found = find(x, start)
            error = np.sqrt(np.asarray(found.losses[-1])) / 2  # of pixels from 0 to 1
            content.append(Row(np.asarray(data.kind.decode(found.x_hat)), how, f"RMSE\n{np.median(error):.3f}"))
    return content


VIEWS: "dict[str, Callable[..., list[Row]]]" = {
    "mixing": mixing,
    "truncation": truncation,
    "noise": noise,
    "projection": projection,
}
TITLES = {
    "mixing": "Images A with a third of the styles of B",
    "truncation": "The same styles, drawn towards their mean",
    "noise": "Without noise maps, with others, and where they matter",
    "projection": "Images and the nearest that styles make",
}

SMOKE = {
    "steps": 8,
    "data": "digits",
    "style": 8,
    "base": 64,
    "most": 8,
    "latent": 8,
    "batch_size": 8,
    "r1_every": 2,
    "path_every": 2,
    "sample_every": 4,
    "checkpoint_every": 4,
    "chunk": 4,
}
EXPERIMENT = launch.Experiment("stylegan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT, more={"styles": Styles, "paths": Paths})
