"""Do sums of latents mean what they say? Arithmetic, editing, interpolation and inversion, counted by classifiers.

Claim: in the latent space of a trained generator "a - b + c" of means draws what c is with what a has and b lacks; a
step along the difference of two means edits one attribute; between two latents lie images; an image has a latent. The
paper shows pictures that were chosen. Here classifiers of known attributes, trained on real images, read every picture,
and the same is counted without the edit, with a random direction of equal length and with shuffled labels.
Paper: Radford, Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks, 2016 (section 6.3.2: means of three latents a concept); White, Sampling Generative Networks, 2016; Bora,
Jalal, Price and Dimakis, Compressed Sensing using Generative Models, 2017 (inversion with restarts); Karras et al.,
Analyzing and Improving the Image Quality of StyleGAN, 2020 (section 5, projection into the space of styles).
Command: python experiments/dcgan.py train --workdir runs/dcgan_glyphs --data glyphs --steps 2500 --latent 64 \\
             --ema-decay 0.99
         python experiments/latent_arithmetic.py train --workdir runs/arithmetic --dcgan runs/dcgan_glyphs
         python experiments/stylegan.py train --workdir runs/stylegan_faces --data faces.npz
         python experiments/latent_arithmetic.py train --workdir runs/faces --data faces.npz --networks styles \\
             --stylegan runs/stylegan_faces --attributes skin haircolor glasses earrings
Without --dcgan or --stylegan a small generator is trained first. Attributes are the letter and its case where classes
are characters, the class elsewhere; every companion that is a class of few values (faces.npz has nine as columns of
attr_train and attr_test, called as its array attributes says); and of a companion of many values whether its name holds
a word (--words: bold and italic fonts).
Figure: for each network arithmetic_NAME.png, a, b, c, a - b + c and the controls, a trial a row, drawn at random;
interpolation_NAME.png, ways between two latents above the fading of one picture into the other; inversion_NAME.png,
images above what is found for them and the errors of what is shown. Of several starts (--starts) the best is kept, and
the table says how many end near it.
The mean of n draws of N(0, I) is shorter than draws are, by 1 / sqrt(n): sums of z are scaled to the length sqrt(d)
before they are drawn, those of every control alike. Styles w have no such law and stay as they are.
What we measured, seed 0, the first two commands with --networks dcgan, 21 s of processor time once the classifiers were
there (letters 96.8 % right of held-out images, case 97.4, bold 93.9, italic 97.9); hit rates of 200 trials, +- 3.5:
- Sums of three latents are right more often than every control and far less often than not: both attributes as asked
  for in 18 % of trials that change the case of a letter (c alone 2, a random direction of that length 4, shuffled
  labels 7), bold 23 (13, 6, 6), italic 18 (10, 5, 7), bold of a case 46 (10, 24, 19). The mean of three latents that
  have what is asked for draws it in 65 to 79 %. What is lost is what should stay: the letter stays in 23 to 32 %, of c
  alone in 79 to 85.
- A step along the difference of all means edits one attribute: at its own length case 58 %, bold 68, italic 49, one
  letter into another 37, the other attributes stay in 64 to 86 %; twice as long 67, 94, 74 and 51 (53 to 73 stay).
  Random directions of these lengths reach 2 to 16 %, shuffled labels 2 to 24. Of 32 held-out images as they were found,
  53, 56, 25 and 31 at its own length, the controls at most 3.
- Ways on the sphere and straight ones pass other letters at 36 % of their points, fading pictures at 24: a letter
  becomes another through third ones. Their largest step is 1.5 times the mean one, and they are 1.8 to 1.9 times as
  long as straight.
- Held-out images are found up to an RMSE of .043 (the nearest training image .090), training images .044, own samples
  .025, and 94 % of the attributes of held-out ones are read right in what is found.
A classifier names a class of anything, so the table begins with what the pictures are worth: of the DCGAN's samples a
Frechet distance of 216 (held-out images 29), as diverse as real ones (8.5 of 8.5). A generator of styles of 600 steps
(stylegan.py --data glyphs --preset smaller --no-mirror --ema-decay 0.99), far too few, shows what for: all it draws is
one blot in many shades (2863, diversity 3.3), and its edits still hit in 29 to 61 % and twice as long in 53 to 96, the
controls in 2 to 29. Hit rates of one generator say nothing beside another whose pictures are of other worth. What it
found for held-out images has an RMSE of .133 in one style and .086 in one for every layer.
Drawn faces of 64x64, seed 0 (--data faces.npz --networks dcgan --attributes skin haircolor glasses earrings, of a
DCGAN of dcgan.py --data faces.npz --steps 400 --ema-decay 0.99 --latent 64), 18 minutes of one core, most of them the
classifiers', which read 100, 95.5, 99.5 and 88.5 % of held-out images right. The DCGAN's samples have a Frechet
distance of 283 (held-out images 11) and two thirds of their diversity (26.1 for 39.5).
- Sums of three latents have both attributes as asked for in 47 % (hair by skin; c alone 2, random 2, shuffled 4), 32
  (glasses by skin; 0, 11, 15), 35 (glasses by hair; 0, 12, 12), 26 and 26 (earrings by skin and by hair; 8 to 14). Of
  earrings by glasses 19 and shuffled labels 18, and c, which nothing was done to, is seen so in 32.
- One step along the difference of means: skin 72 %, hair 44, glasses 34, earrings 24, controls at most 6, the others
  stay in 42 to 76; twice as long glasses 66. Of 32 held-out faces as they were found 69, 47, 31 and 28, controls 3 to
  16.
- Ways are seen as neither end at 14 to 15 % of their points, fading pictures at 17: no better than a fade.
- Held-out faces are found up to an RMSE of .171, worse than the nearest training image (.134), training faces as
  badly: this generator has not learned to draw them; its own samples are found up to .027.
The style generator of faces (`stylegan`) draws none after 22 minutes, so nothing of its edits would mean anything.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ganjax import launch
from ganjax.commands.base import OfRun, opened
from ganjax.config import require
from ganjax.core import Array, GameState
from ganjax.data import Dataset, load, subsample
from ganjax.errors import ConfigError, DataError, did_you_mean
from ganjax.evaluation import Extractor, Recipe, accuracy, extract, trained_classifier
from ganjax.explore import diversity
from ganjax.files import write_atomically
from ganjax.games import latents, styles
from ganjax.metrics import frechet_distance, moments, nearest
from ganjax.report import Row, rows
from ganjax.rundir import read_run
from ganjax.training import Keys, Setup, check, fit, weights_of
from ganjax.training.sampling import in_batches
from ganjax.training.setup import load_state

FEW = 50  # values of an attribute at most
COLUMNS = 9  # images of a way
BATCH = 64  # images that are rendered at once
PICTURES, DIVERSE = 2000, 500  # images of a Frechet distance, and of distances between all of them
SHOWN = 8  # trials, ways or images in a picture
NOISE = 0.2  # deviation of what an inversion leaves unexplained, of pixels from -1 to 1, as in the command `latent`
WITHIN = 1.1  # a start of an inversion counts as near the best up to so many times its loss
SUM, TARGET = "a - b + c", "mean of the target"
STEP = "direction"
ARMS = (SUM, "c alone", "random direction", "shuffled labels", TARGET)


@dataclass(frozen=True)
class Config:
    """The generators, who reads their pictures, and how much is counted."""

    data: str = "glyphs"
    """Images with labels or companions that say what they show, some of them held out; sums need two attributes."""
    networks: tuple[Literal["dcgan", "styles"], ...] = ("dcgan", "styles")
    """Whose latents: z of a DCGAN, w of a generator of styles."""
    dcgan: str = ""
    """The directory of a run of the experiment dcgan, without labels; empty to train one."""
    stylegan: str = ""
    """The directory of a run of the experiment stylegan; empty to train one."""
    dcgan_steps: int = 2500
    """Of a DCGAN that is trained here."""
    style_steps: int = 1500
    """Of a generator of styles that is trained here, with the preset smaller up to 32 pixels."""
    width: int = 32
    """Channels of the DCGAN next to the image."""
    latent: int = 64
    """Size of z."""
    words: tuple[str, ...] = ("bold|black|heavy", "italic|oblique|slanted")
    """Of a companion of many values: attributes that its names tell, as regular expressions."""
    attributes: tuple[str, ...] = ()
    """Which attributes; empty for all that there are."""
    judge: int = 1000
    """Steps of each classifier."""
    judge_width: int = 32
    """Channels of its first convolution."""
    samples: int = 2048
    """Latents that the classifiers sort, from which means are taken."""
    exemplars: int = 3
    """Latents of a mean."""
    trials: int = 200
    """Sums of each pair of attributes, and edits of each attribute."""
    strengths: tuple[float, ...] = (1.0, 2.0)
    """Of an edit, in differences of means."""
    ways: int = 48
    """Pairs of latents that are joined."""
    inverted: int = 32
    """Images of each kind that are inverted; those that are held out are edited then."""
    starts: int = 2
    """Of each inversion; the best is kept."""
    inversion: int = 150
    """Its steps of Adam."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self):
        counts = ("dcgan_steps", "style_steps", "width", "latent", "judge", "judge_width", "samples", "exemplars")
        for name in (*counts, "trials", "ways", "inverted", "starts", "inversion"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "networks", len(self.networks) > 0, "dcgan, styles or both")
        require(self, "strengths", min(self.strengths, default=0) > 0, "positive numbers")
        require(self, "samples", self.samples >= 2 * self.exemplars, f"at least {2 * self.exemplars}, two means")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")


def compute(config: Config, workdir: Path) -> list[str]:
    """Count, generator by generator, what sums, steps, ways and inversions draw."""
    data = load(config.data)
    if data.kind.name != "image" or data.x_test is None:
        raise DataError(f"{data.name}: expected images, some of them held out for the classifiers; take another set")
    known = chosen(attributes(data, config.words), config.attributes)
    if not known:
        raise DataError(f"{data.name} says nothing of its images that has two values, expected attributes as in --help")
    spaces = [SPACES[name](config, data) for name in config.networks]
    data = data.in_memory()
    judges = {one.name: judge(config, data, one) for one in known}
    lines = [f"{data.name}, seed {config.seed}; the classifiers name, of held-out images,", *told(known, judges, data)]
    kept: dict[str, Any] = {}
    for space in spaces:
        worth = quality(space.images(space.codes(0, config.samples)), judges[known[0].name], data)
        codes = space.codes(0, config.samples)
        sorted_ = Sorted(np.asarray(codes), readings(judges, space.images(codes)))
        sums = sums_of(config, space, sorted_, known, judges, workdir)
        fresh, rng = np.asarray(space.codes(config.samples, config.trials)), np.random.default_rng(config.seed)
        steps = {one.name: edits(config, space, sorted_, one, judges, fresh, rng) for one in known}
        turns = ways(config, space, known[0], judges, workdir)
        found = inversions(config, space, known, judges, data, workdir)
        real = edited_images(config, space, sorted_, known, judges, data, workdir)
        kept[space.name] = {"samples": worth, "arithmetic": sums, "editing": steps, "ways": turns, "inversion": found,
                            "editing held-out images": real}  # fmt: skip
        lines += [f"-- {space.name} --", told_of_quality(worth), *table(config, sums), *told_of_edits(config, steps)]
        lines += [*told_of_ways(turns), *told_of_inversion(found)]
        lines += told_of_edits(config, real, f"{config.inverted} held-out images, as they were found")
        write_atomically(workdir / "results.json", json.dumps(kept) + "\n")
    views = ("arithmetic", "interpolation", "inversion", "editing")
    out = [workdir / f"{view}_{space.name}.png" for space in spaces for view in views]
    return [*lines, *(str(one) for one in out if one.exists())]


# -- attributes, and who reads them -----------------------------------------------------------------------------------


class Attribute(NamedTuple):
    """What is known of every image."""

    name: str
    values: tuple[str, ...]
    train: NDArray  # [N] int32, which of the values
    test: NDArray  # [M] int32


def attributes(data: Dataset, words: Sequence[str]) -> list[Attribute]:
    """What the labels and companions of a data set say, of which there are two values at least."""
    found: list[Attribute] = []

    def add(name: str, values: Sequence[str], train: NDArray, test: NDArray) -> None:
        if 2 <= len(values) <= FEW and len(np.unique(train)) > 1 and len(np.unique(test)) > 1:
            found.append(Attribute(name, tuple(values), train.astype(np.int32), test.astype(np.int32)))

    def told_by(name: str, of: Callable[[str], str], names: Sequence[str], train: NDArray, test: NDArray) -> None:
        """What a word says of each class, `of(word)`."""
        said = [of(word) for word in names]
        values = sorted(set(said))
        place = np.array([values.index(one) for one in said])
        add(name, values, place[train], place[test])

    if data.y_train is not None and data.y_test is not None:
        names = data.class_names or [str(k) for k in range(data.classes or 0)]
        characters = all(len(name) == 1 for name in names) and any(name.isalpha() for name in names)
        if characters:
            told_by("letter", str.lower, names, data.y_train, data.y_test)
            told_by("case", case, names, data.y_train, data.y_test)
        else:
            add("class", names, data.y_train, data.y_test)
    for name, one in data.companions.items():
        if one.kind.name != "class" or one.test is None:
            continue
        names = one.kind.facts.get("names") or [str(k) for k in range(int(max(one.train.max(), one.test.max())) + 1)]
        if len(names) <= FEW:
            add(name, names, one.train, one.test)
            continue
        for word in words:
            holds = lambda said, word=word: "yes" if re.search(word, said, re.IGNORECASE) else "no"  # noqa: E731
            told_by(word.split("|")[0], holds, names, one.train, one.test)
    return found


def chosen(known: Sequence[Attribute], names: Sequence[str]) -> list[Attribute]:
    """Those of these names, all if there are none."""
    for name in names:
        if name not in (every := [one.name for one in known]):
            raise ConfigError(f"--attributes: {name!r} is none, expected some of {every}{did_you_mean(name, every)}")
    return [one for one in known if not names or one.name in names]


def case(character: str) -> str:
    """Of a letter; what has none is a digit or a sign."""
    return "upper" if character.isupper() else "lower" if character.islower() else "neither"


def judge(config: Config, data: Dataset, one: Attribute) -> Extractor:
    """A classifier of one attribute, trained on the real images."""
    known = Dataset(data.x_train, one.train, data.x_test, one.test, f"{data.name}, {one.name}", class_names=one.values)
    recipe = Recipe(steps=config.judge, width=config.judge_width)
    return trained_classifier(known, recipe=recipe, progress=True)


def readings(judges: Mapping[str, Extractor], x: NDArray) -> dict[str, NDArray]:
    """{attribute: [N] which value is seen}."""
    return {name: extract(one, x)[1].argmax(1) for name, one in judges.items()}  # type: ignore[union-attr]


def told(known: Sequence[Attribute], judges: Mapping[str, Extractor], data: Dataset) -> list[str]:
    """How far each classifier is to be trusted."""
    return [
        f"  {one.name} ({len(one.values)} values): {accuracy(judges[one.name], data.x_test, one.test):.1%} right, "  # type: ignore[arg-type]
        f"of whom the most frequent value is {np.bincount(one.test).max() / len(one.test):.1%}"
        for one in known
    ]


def quality(x: NDArray, judge: Extractor, data: Dataset) -> dict[str, list[float]]:
    """{samples, held-out images: Frechet distance to the training images in the classifier's features, and diversity}.

    A classifier names a class of anything: a hit rate is worth what the pictures are.
    """
    train = moments(extract(judge, data.x_train[subsample(len(data.x_train), PICTURES)])[0])
    sets = {"samples": x[:PICTURES], "held-out images": data.x_test[subsample(len(data.x_test), PICTURES)]}  # type: ignore[index, arg-type]
    return {
        name: [float(frechet_distance(moments(extract(judge, own)[0]), train)), diversity(own[:DIVERSE])]
        for name, own in sets.items()
    }


# -- generators and their latents -------------------------------------------------------------------------------------


class Inversion(NamedTuple):
    """What is found for images."""

    codes: Array  # [B, ...], of the best start
    ends: Array  # [starts, B], the last losses of all starts


class Space(NamedTuple):
    """The latents of a trained generator, called codes whatever they are: z, or w."""

    name: str
    codes: Callable[[int, int], Array]  # (first, count) -> [count, D]; code i is the same whatever else is drawn
    render: Callable[[Any], Array]  # codes [B, ...] -> images, uint8
    settled: Callable[[Array], Array]  # codes [..., D] as they are drawn
    # (images as networks see them [B, ...], key) -> what is found, keyed by the name of the way to find it
    inverters: Mapping[str, Callable[[Array, Any], Inversion]]
    straight: bool  # whether ways are straight, or turn on the sphere

    def images(self, codes: Any) -> NDArray:
        """uint8 [N, H, W, C]: the one way by which every code is seen, counted and shown."""
        kept = np.asarray(codes)
        return in_batches(lambda i: self.render(kept[np.minimum(i, len(kept) - 1)]), len(kept), BATCH)


def on_the_shell(z: Array) -> Array:
    """z at the length sqrt(d), which draws of N(0, I) in d dimensions have; 0 stays 0."""
    length = jnp.linalg.norm(z, axis=-1, keepdims=True)
    return z * jnp.sqrt(z.shape[-1]) / jnp.where(length > 0, length, 1)


def dcgan_space(config: Config, data: Dataset) -> Space:
    """z of a DCGAN."""
    import dcgan  # which lies beside this script, where Python looks first

    own = replace(
        dcgan.CONFIG, data=config.data, steps=config.dcgan_steps, width=config.width, latent=config.latent,
        ema_decay=0.99,
    )  # fmt: skip
    setup, state = generator(config, dcgan, config.dcgan, own, data)
    draws = setup.sampler()
    if draws.given is not None:
        raise ConfigError("--dcgan: its generator is told the class, so that z need not say it; take one that is not")
    weights = weights_of(setup, state, draws.players)
    decode = lambda z: draws.latent.decode(weights, z, None)  # type: ignore[union-attr]  # noqa: E731
    size, key, pixels = draws.latent.normal, Keys.of(config.seed).samples, int(np.prod(data.shape))  # type: ignore[union-attr]

    drawn = jax.jit(lambda index: draws.latents(weights, key, index))

    def invert(x: Array, key: Any) -> Inversion:
        how: dict[str, Any] = {"starts": config.starts, "steps": config.inversion}
        found = latents.project(decode, x, key, size=size, prior_weight=NOISE**2 / pixels, **how)
        return Inversion(found.z, found.ends)

    return Space(
        "dcgan",
        lambda first, count: drawn(np.arange(first, first + count)),
        jax.jit(lambda z: data.kind.decode(decode(z))),
        jax.jit(on_the_shell),
        {"z": jax.jit(invert)},
        straight=False,
    )


def style_space(config: Config, data: Dataset) -> Space:
    """w of a generator of styles, drawn without noise maps."""
    import stylegan

    small = max(data.shape[:2]) <= 32
    own = replace(stylegan.CONFIG, data=config.data, steps=config.style_steps, preset="smaller" if small else "none",
                  mirror=False)  # fmt: skip  # a mirrored letter is none
    setup, state = generator(config, stylegan, config.stylegan, own, data)
    draws = setup.sampler("styles")
    weights = weights_of(setup, state, draws.players)
    render = lambda w: draws.latent.decode(weights, {"w": w}, None)  # type: ignore[union-attr]  # noqa: E731
    key = Keys.of(config.seed).samples

    drawn = jax.jit(lambda index: draws.latents(weights, key, index)["w"])

    def codes(first: int, count: int) -> Array:
        return drawn(np.arange(first, first + count))

    many = codes(0, 1024)
    mean, spread, layers = many.mean(0), many.std(0), stylegan_layers(data.shape)

    def inverter(start: Array) -> Callable[[Array, Any], Inversion]:
        def invert(x: Array, key: Any) -> Inversion:
            found = [styles.project(render, x, k, start, spread, steps=config.inversion) for k in starts(key)]
            ends = jnp.stack([one.losses[-1] for one in found])
            return Inversion(jnp.stack([one.w for one in found])[ends.argmin(0), jnp.arange(len(x))], ends)

        return jax.jit(invert)

    def starts(key: Any) -> list[Any]:
        return [jax.random.fold_in(key, i) for i in range(config.starts)]

    ways = {"w": inverter(mean), "w of every layer": inverter(jnp.broadcast_to(mean, (layers, *mean.shape)))}
    seen = jax.jit(lambda w: data.kind.decode(render(w)))
    return Space("styles", codes, seen, lambda w: w, ways, straight=True)


def stylegan_layers(shape: tuple[int, ...]) -> int:
    """How many w the synthesis network takes."""
    from ganjax.models.stylegan import Synthesis

    return Synthesis(shape).layers


SPACES: Mapping[str, Callable[[Config, Dataset], Space]] = {"dcgan": dcgan_space, "styles": style_space}


def generator(config: Config, module: Any, run: str, own: Any, data: Dataset) -> tuple[Setup, GameState]:
    """What a run has trained, at its newest checkpoint, or what is trained here."""
    name = module.EXPERIMENT.name
    if not run:
        setup = module.build(own, lambda _: data, None)
        check(setup)
        return setup, fit(setup, config.seed, own.steps, label=name, progress=True)
    found = read_run(Path(run))
    if found is None or found["experiment"] != name:
        what = "no run" if found is None else f"a run of {str(found['experiment'])[:80]!r}"
        raise ConfigError(f"--{name} {run} holds {what}, expected one of {name}; train one first, or leave it out")
    setup, folder, _ = opened(module.EXPERIMENT, OfRun(workdir=Path(run)))
    imitated = setup.imitated(setup.sampler())
    if imitated.digest != data.digest:
        raise ConfigError(f"--{name} {run} has learned {imitated.name}, expected {data.name} as --data says")
    return setup, load_state(setup, folder)


# -- sums and steps ---------------------------------------------------------------------------------------------------


class Sorted(NamedTuple):
    """Codes, and what the classifiers see in their images."""

    codes: NDArray  # [N, D]
    seen: Mapping[str, NDArray]  # {attribute: [N]}


def sums_of(
    config: Config, space: Space, sorted_: Sorted, known: Sequence[Attribute], judges: Mapping[str, Extractor],
    workdir: Path,
) -> dict[str, dict[str, list[float]]]:  # fmt: skip
    """Hit rates of sums of every two attributes, and a picture of some."""
    rng = np.random.default_rng(config.seed)
    sums, pictures = {}, []
    for i, a in enumerate(known):
        for b in known[:i]:
            wanted = trials(config, sorted_, a, b, rng)
            if len(wanted):
                arms = arms_of(config, space, sorted_, (a, b), wanted, rng)
                x = {arm: space.images(z) for arm, z in arms.items()}
                seen = {arm: readings({n: judges[n] for n in (a.name, b.name)}, one) for arm, one in x.items()}
                sums[f"{a.name} and {b.name}"] = hits(seen, (a, b), wanted)
                pictures += shown(x, seen, (a, b), wanted)
    if pictures:
        order = rng.permutation(len(pictures))[:SHOWN]
        heads = ["a", "b", "c", "a - b + c", "c alone", "random", "shuffled", "target"]
        rows([pictures[k] for k in order], workdir / f"arithmetic_{space.name}.png", heads=heads, title=TITLE)
    return sums


TITLE = "Means of latents, their sum, and the same without it"


def trials(config: Config, sorted_: Sorted, a: Attribute, b: Attribute, rng: Any) -> NDArray:
    """[trials, 4], (s, t, u, v): from value s of a to t, at value v of b, by what differs at value u of b.

    All four kinds must be drawn often enough for a mean, that of the target (t, v) too; so none is asked for that there
    is not, such as an upper-case 7.
    """
    count = np.zeros((len(a.values), len(b.values)), int)
    np.add.at(count, (sorted_.seen[a.name], sorted_.seen[b.name]), 1)
    real = np.zeros_like(count)
    np.add.at(real, (a.train, b.train), 1)
    often = (count >= config.exemplars) & (real > 0)
    s, t = often[:, None, :, None], often[None, :, :, None]  # at u
    fine = s & t & often[:, None, None, :] & often[None, :, None, :]
    fine &= ~np.eye(len(often), dtype=bool)[:, :, None, None] & ~np.eye(often.shape[1], dtype=bool)
    every = np.argwhere(fine)
    return every[rng.integers(0, len(every), config.trials)] if len(every) else every


def arms_of(
    config: Config, space: Space, sorted_: Sorted, pair: tuple[Attribute, Attribute], wanted: NDArray, rng: Any
) -> dict[str, NDArray]:
    """{"a", "b", "c" and each of ARMS: codes [trials, D]}, a of (t, u), b of (s, u), c of (s, v)."""
    first, second = (sorted_.seen[one.name] for one in pair)

    def mean(p: int, q: int) -> NDArray:
        return sorted_.codes[rng.choice(np.flatnonzero((first == p) & (second == q)), config.exemplars, False)].mean(0)

    def any_mean() -> NDArray:
        return sorted_.codes[rng.choice(len(sorted_.codes), config.exemplars, False)].mean(0)

    a, b, c, target = (
        np.stack([mean(*cell) for cell in cells])
        for cells in (wanted[:, [1, 2]], wanted[:, [0, 2]], wanted[:, [0, 3]], wanted[:, [1, 3]])
    )
    shuffled = np.stack([any_mean() - any_mean() for _ in wanted])
    codes: dict[str, Any] = {"a": a, "b": b, "c": c, SUM: a - b + c, "c alone": c}
    codes |= {"random direction": c + random_like(a - b, rng), "shuffled labels": c + shuffled, TARGET: target}
    return {name: np.asarray(space.settled(one)) for name, one in codes.items()}


def random_like(step: NDArray, rng: Any) -> NDArray:
    """[N, D] directions of N(0, I) as long as those that are given, row by row."""
    other = rng.standard_normal(step.shape).astype(step.dtype)
    return other * np.linalg.norm(step, axis=1, keepdims=True) / np.linalg.norm(other, axis=1, keepdims=True)


def hits(
    seen: Mapping[str, Mapping[str, NDArray]], pair: tuple[Attribute, Attribute], wanted: NDArray
) -> dict[str, list[float]]:
    """{arm: shares seen as t of a, as v of b, and as both}."""
    found = {}
    for arm in ARMS:
        one, other = seen[arm][pair[0].name] == wanted[:, 1], seen[arm][pair[1].name] == wanted[:, 3]
        found[arm] = [float(share.mean()) for share in (one, other, one & other)]
    return found


def shown(
    x: Mapping[str, NDArray], seen: Mapping[str, Mapping[str, NDArray]], pair: tuple[Attribute, Attribute],
    wanted: NDArray,
) -> list[Row]:  # fmt: skip
    """Rows of the first trials: what is asked for on the left, what is seen of the sum on the right."""
    a, b = pair
    found = []
    for i, (s, t, u, v) in enumerate(wanted[:SHOWN]):
        p, q = (seen[SUM][one.name][i] for one in pair)
        asked = f"{a.name} {a.values[s]} to {a.values[t]}\n{b.name} {b.values[v]}, by {b.values[u]}"
        said = f"seen as {a.values[p]}, {b.values[q]}\n{'hit' if (p, q) == (t, v) else 'miss'}"
        found.append(Row(np.stack([one[i] for one in x.values()]), asked, said))
    return found


class Edit(NamedTuple):
    """Where codes are to be moved."""

    known: NDArray  # [N] bool, which of them can be
    goal: NDArray  # [n] the value that is asked for, of those that can be
    arms: Mapping[str, NDArray]  # {arm: [n, D]}, the step


def planned(config: Config, sorted_: Sorted, one: Attribute, start: NDArray, rng: Any) -> Edit:
    """From what is seen to another value that is drawn often enough, any of them.

    The step is the difference of the mean codes of the two values, of all sorted samples; that of shuffled labels and
    the random one are made as long.
    """
    seen = sorted_.seen[one.name]
    often = np.flatnonzero(np.bincount(seen, minlength=len(one.values)) >= config.exemplars)
    goal = np.array([rng.choice(others) if len(others := often[often != s]) else s for s in start])
    known = np.isin(start, often) & (goal != start)
    if not known.any():
        return Edit(known, goal[known], {})
    start, goal = start[known], goal[known]

    def step(labels: NDArray) -> NDArray:
        """[n, D]; means of values that nothing has are not asked for."""
        means = np.asarray(latents.group_means(jnp.asarray(sorted_.codes), jnp.asarray(labels), groups=len(one.values)))
        return means[goal] - means[start]

    way, shuffled = step(seen), step(rng.permutation(seen))
    length = [np.linalg.norm(x, axis=1, keepdims=True) for x in (way, shuffled)]
    arms = {STEP: way, "random direction": random_like(way, rng), "shuffled labels": shuffled * length[0] / length[1]}
    return Edit(known, goal, arms)


def edits(
    config: Config, space: Space, sorted_: Sorted, one: Attribute, judges: Mapping[str, Extractor], codes: NDArray,
    rng: Any,
) -> dict[str, list[float]]:  # fmt: skip
    """{"arm at strength": shares seen as the value that was asked for, and of the other attributes that stay}."""
    before = readings(judges, space.images(codes))
    known, goal, arms = planned(config, sorted_, one, before[one.name], rng)
    found = {}
    for strength in config.strengths:
        for arm, step in arms.items():
            now = readings(judges, space.images(space.settled(codes[known] + strength * step)))
            stays = [(now[name] == before[name][known]).mean() for name in judges if name != one.name] or [1.0]
            found[f"{arm} x {strength:g}"] = [float((now[one.name] == goal).mean()), float(np.mean(stays))]
    return found


def edited_images(
    config: Config, space: Space, sorted_: Sorted, known: Sequence[Attribute], judges: Mapping[str, Extractor],
    data: Dataset, workdir: Path,
) -> dict[str, dict[str, list[float]]]:  # fmt: skip
    """As of `edits`, of what is found for held-out images; and a picture of steps of full length."""
    x = data.x_test[subsample(len(data.x_test), config.inverted)]  # type: ignore[arg-type, index]
    way, invert = next(iter(space.inverters.items()))
    codes = np.asarray(invert(data.kind.encode(jnp.asarray(x)), Keys.of(config.seed).steps).codes)
    plain = space.images(codes)
    before, content = readings(judges, plain), [Row(x[:SHOWN], "held-out images"), Row(plain[:SHOWN], f"by {way}")]
    found = {}
    for one in known:
        found[one.name] = edits(config, space, sorted_, one, judges, codes, np.random.default_rng(config.seed))
        plan = planned(config, sorted_, one, before[one.name], np.random.default_rng(config.seed))
        moved = codes.copy()
        if plan.arms:
            moved[plan.known] = space.settled(codes[plan.known] + plan.arms[STEP])
            hit = found[one.name].get(f"{STEP} x 1")
            images = space.images(moved)[:SHOWN]
            content.append(Row(images, f"another {one.name}", f"{hit[0]:.0%} of all hit" if hit else ""))
    rows(content, workdir / f"editing_{space.name}.png", title="Held-out images, what is found for them, and edits")
    return found


# -- ways and inversions ----------------------------------------------------------------------------------------------


def ways(
    config: Config, space: Space, one: Attribute, judges: Mapping[str, Extractor], workdir: Path
) -> dict[str, list[float]]:
    """{way: as of `smoothness`} of straight ways, of those on the sphere, and of pictures that fade into each other."""
    a, b = (space.codes(first, config.ways) for first in (0, config.ways))
    kinds = {"straight": latents.linear} | ({} if space.straight else {"on the sphere": latents.spherical})
    x = {}
    for name, path in kinds.items():
        images = space.images(jax.jit(path, static_argnums=2)(a, b, COLUMNS).reshape(-1, a.shape[-1]))
        x[name] = images.reshape(config.ways, COLUMNS, *images.shape[1:])
    t = np.linspace(0, 1, COLUMNS).reshape(1, -1, 1, 1, 1)
    ends = next(iter(x.values()))[:, [0, -1]].astype(np.float64)
    x["fading pictures"] = np.rint((1 - t) * ends[:, :1] + t * ends[:, 1:]).astype(np.uint8)
    content = [Row(images[k], name) for k in range(min(SHOWN, config.ways) // 2 or 1) for name, images in x.items()]
    heads = [f"{share:.2f}" for share in t.ravel()]
    out = workdir / f"interpolation_{space.name}.png"
    rows(content, out, title="Ways between two latents, and fading pictures", heads=heads, group=len(x))
    own = {one.name: judges[one.name]}
    return {name: smoothness(images, readings(own, images.reshape(-1, *images.shape[2:]))[one.name])
            for name, images in x.items()}  # fmt: skip


def smoothness(images: NDArray, named: NDArray) -> list[float]:
    """Of ways [N, T, H, W, C]: the share of all points seen as what is at neither end, changes of what is seen along a
    way, the largest step over the mean step, and the length of the way over the distance of its ends, medians.

    Steps are distances of pixels; those of fading pictures are equal, and their way is straight: 1 and 1.
    """
    named = named.reshape(images.shape[:2])
    neither = (named != named[:, :1]) & (named != named[:, -1:])
    changes = (named[:, 1:] != named[:, :-1]).sum(1)
    flat = images.reshape(*images.shape[:2], -1).astype(np.float64)
    steps = np.linalg.norm(np.diff(flat, axis=1), axis=2)
    chord = np.linalg.norm(flat[:, -1] - flat[:, 0], axis=1)
    largest = steps.max(1) / np.maximum(steps.mean(1), 1e-9)
    around = steps.sum(1) / np.maximum(chord, 1e-9)
    return [float(x) for x in (neither.mean(), changes.mean(), np.median(largest), np.median(around))]


def inverted(
    space: Space, invert: Callable[[Array, Any], Inversion], x: NDArray, encode: Any, key: Any
) -> tuple[NDArray, float]:
    """The pictures of the codes that are found for images, both uint8: what is counted, reported and shown.

    And the share of starts near the best.
    """
    found = invert(encode(jnp.asarray(x)), key)
    return space.images(found.codes), near_the_best(np.asarray(found.ends))


def near_the_best(ends: NDArray) -> float:
    """The share of starts [S, B] whose last loss is at most WITHIN times the least of their image."""
    return float((ends <= WITHIN * ends.min(0)).mean())


def rmse(x: NDArray, x_hat: NDArray) -> NDArray:
    """[N], of uint8 images with pixels in [0, 1]."""
    return np.sqrt(np.square((x.astype(np.float64) - x_hat) / 255).mean((1, 2, 3)))


def inversions(
    config: Config, space: Space, known: Sequence[Attribute], judges: Mapping[str, Extractor], data: Dataset,
    workdir: Path,
) -> dict[str, list[float]]:  # fmt: skip
    """{what: median error, that of the nearest training image, shares of attributes read right and of starts near the
    best}.
    """
    sets: dict[str, tuple[NDArray, Sequence[NDArray]]] = {}
    for split in ("test", "train"):
        of = subsample(len(getattr(data, f"x_{split}")), config.inverted)
        sets[{"test": "held-out images", "train": "training images"}[split]] = (
            getattr(data, f"x_{split}")[of], [getattr(one, split)[of] for one in known])  # fmt: skip
    own = space.images(space.codes(config.samples + config.trials, config.inverted))
    sets["own samples"] = own, list(readings(judges, own).values())
    found, content, key = {}, [], Keys.of(config.seed).steps
    for what, (x, y) in sets.items():
        at, _ = nearest(x, data.x_train) if what != "training images" else (None, None)
        near = float("nan") if at is None else float(np.median(rmse(x, data.x_train[at])))
        content.append(Row(x[:SHOWN], what))
        for name, invert in space.inverters.items():
            x_hat, share = inverted(space, invert, x, data.kind.encode, key)
            error, seen = rmse(x, x_hat), readings(judges, x_hat)
            right = np.mean([(seen[one.name] == values).mean() for one, values in zip(known, y, strict=True)])
            found[f"{what}, {name}"] = [float(np.median(error)), near, float(right), share]
            content.append(Row(x_hat[:SHOWN], f"by {name}", f"RMSE {np.median(error[:SHOWN]):.3f}"))
    out = workdir / f"inversion_{space.name}.png"
    rows(content, out, title="Images, and what is found for them", group=1 + len(space.inverters))
    return found


# -- what is printed --------------------------------------------------------------------------------------------------


def table(config: Config, sums: Mapping[str, Any]) -> list[str]:
    """Sums, an arm a column."""
    lines = [
        f"means of {config.exemplars} latents, {config.trials} trials: seen as both that were asked for, in percent "
        f"(the edited attribute, the one that is to stay), +- {50 / np.sqrt(config.trials):.1f} at most",
        f"{'':26}" + "".join(f"{arm:>22}" for arm in ARMS),
    ]
    for pair, arms in sums.items():
        said = [f"{100 * both:.1f} ({100 * a:.0f}, {100 * b:.0f})" for a, b, both in (arms[arm] for arm in ARMS)]
        lines.append(f"{pair:26}" + "".join(f"{one:>22}" for one in said))
    if not sums:
        lines.append("no four kinds of samples are frequent enough for a sum; draw more --samples, or train on")
    return lines


def told_of_edits(config: Config, steps: Mapping[str, Any], of: str = "") -> list[str]:
    """Edits, a strength a column."""
    lines = [
        f"edits of {of or f'{config.trials} fresh samples'}: seen as what was asked for (the others stay), in percent"
    ]
    heads = [f"x {strength:g}" for strength in config.strengths]
    lines.append(f"{'':44}" + "".join(f"{head:>18}" for head in heads))
    for name, found in steps.items():
        for arm in (STEP, "random direction", "shuffled labels") if found else ():
            said = [f"{100 * hit:.1f} ({100 * stays:.0f})" for hit, stays in (found[f"{arm} {h}"] for h in heads)]
            lines.append(f"{name:26}{arm:18}" + "".join(f"{one:>18}" for one in said))
    return lines


def told_of_quality(worth: Mapping[str, Sequence[float]]) -> str:
    """What the hit rates below are worth."""
    said = [
        f"{name}: Frechet distance {frechet:.1f}, mean distance of two {apart:.2f}"
        for name, (frechet, apart) in worth.items()
    ]
    return "; ".join(said)


def told_of_ways(turns: Mapping[str, Sequence[float]]) -> list[str]:
    """A line for each kind of way."""
    heads = ("seen as neither end", "changes a way", "largest step / mean", "length / chord")
    lines = [f"{'ways':26}" + "".join(f"{head:>22}" for head in heads)]
    for name, (neither, changes, largest, around) in turns.items():
        lines.append(f"{name:26}{f'{neither:.1%}':>22}{changes:>22.2f}{largest:>22.2f}{around:>22.2f}")
    return lines


def told_of_inversion(found: Mapping[str, Sequence[float]]) -> list[str]:
    """A line for each set of images and way to invert them."""
    heads = (
        "RMSE of the picture",
        "nearest training image",
        "attributes read right",
        f"loss <= {WITHIN:g} x best start",
    )
    lines = [f"{'inversion':44}" + "".join(f"{head:>25}" for head in heads)]
    for name, (error, near, right, share) in found.items():
        lines.append(
            f"{name:44}{error:>25.4f}{'' if np.isnan(near) else f'{near:.4f}':>25}{right:>25.1%}{share:>25.1%}"
        )
    return lines


SMOKE = {"data": "digits", "networks": ("dcgan",), "dcgan_steps": 2, "style_steps": 2, "width": 2, "latent": 4,
         "judge": 4, "judge_width": 2, "samples": 64, "exemplars": 1, "trials": 8, "strengths": (1.0,), "ways": 2,
         "inverted": 2, "starts": 1, "inversion": 2}  # fmt: skip
EXPERIMENT = launch.Experiment("latent_arithmetic", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
