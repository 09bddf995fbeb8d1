"""StackGAN: pictures of captions, sketched at half the size and drawn once more at the whole.

Claim: a generator that is told what a caption means, and how sure that is, draws what held-out captions ask for better
than chance; a second network, which sees the sketch and reads the caption again, draws it twice as large.
Paper: Reed et al., Generative Adversarial Text to Image Synthesis, 2016 (GAN-CLS, GAN-INT); Zhang et al., StackGAN,
2017 (conditioning augmentation, two stages); Xu et al., AttnGAN, 2018 (R-precision).
Command: python experiments/stackgan.py train --workdir runs/stackgan
         python experiments/stackgan.py sample --workdir runs/stackgan --text "red heart" "yellow car" --out drawn.png
         python experiments/stackgan.py evaluate --workdir runs/stackgan --count 228
         python experiments/stackgan.py panel --workdir runs/stackgan --out runs/stackgan/panel.png
         python experiments/stackgan.py panel --workdir runs/stackgan --out between.png --between "red heart" "blue car"
Figure: panel.png, held-out captions, what both stages draw of each with the same three draws of noise, and the truth;
between.png, what lies between two captions, a draw of noise a row.
Four stages, each an ordinary run in a folder of its own: "text" learns what captions mean, by a contrast of right and
wrong pairs of training images (--encoder words: linear in hashed pieces of words; characters: a transformer of
characters; random: the first with its initial weights, and no such stage); "matcher" learns the readers that measures
ask, which no generator is trained against; "sketch" and "image" are the two of the paper. The readers have other
networks than the encoder and learn all pairs, those that are held out of the generators' reach too, for there are too
few to keep some for them alone; so what they say of real images (r_precision_real, category_real) is a ceiling that
they have learned by heart.
--pairs says what the discriminator is told: see matching_aware.py for where each choice leads.
Data of your own are an .npz file with x_train, x_test (square, a side of 16, 32, 64, ...), caption_train, caption_test
(texts) and, for the measure category, y_train, y_test; --without leaves out captions that hold some words.
What we measured on the embedded emoji (1,366 captions, 228 held out), averaged weights; chance is 1 %, real images have
an R-precision of 98.6 to 99.4 % held out, their category is read right in 98 to 100 %, and the largest is 16.2 % of
those held out. Figures are of held-out captions, then of as many training captions:

                                              seed   R-precision      category        minutes of one core
    sketch, 6,000 steps, as by default           0   14.4   89.5 %    36.4   79.4 %    8
                                                 1   14.8   88.1      36.0   79.0
                                                 2   14.3   84.7      37.7   71.5
    --steps 4000                               100   14.8   85.1      31.6   66.7      7
    --steps 8000                               100   13.8   93.0      36.8   80.3     11
    --steps 5000 --interpolation 1             100   13.4   86.3      37.7   69.3     11
    --learning-rate 2e-4 --steps 2000            0    7.3   38.3      24.6   39.5
      --steps 4000                               0   10.5   62.0      30.7   52.2
      --steps 8000                               0   12.8   80.2      31.6   70.2     10
        --interpolation 1                        0   12.3   83.4      28.5   70.2     10
      --steps 4000 --encoder random            100    4.7   11.8      25.4   39.5      7
      --steps 4000 --augment diffaugment       100    7.7   27.9      24.1   28.9      7
    image, 600 steps after the first             0   12.7   81.7      36.0   71.5      6 more
      --second-steps 300 after 2,000 at 2e-4     0    4.7   29.4      23.7   32.5

So the rate of the papers is too small for so few steps, what captions mean must be learned, and augmentation, under
which less than half is learned by heart, does not pay. By default twice the largest class is reached, and 15 % is
missed by one caption or two, near to what the encoder knows: with real images it finds 15.8 % of held-out captions
(99.6 % of those of training, seed 100, evaluate --stage text). Colours, outlines of faces and rings of clocks follow
the caption; the second stage smooths surfaces and draws edges, hands of clocks and mouths among them.
Of Google's emoji, which are more (--data emoji64.npz, 1,713 captions and 198 held out, of which the largest category is
21.2 %), with --interpolation 1 --learning-rate 2e-4 --steps 8000, 13 minutes of one core: R-precision 26.7 % held out
(real images 67.8 %, as words that training does not have are read as nothing) and 73.1 % in training, category 49.0 %
and 66.7 %, so twice the largest class is reached there.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganjax import launch
from ganjax.commands.base import OfRun, config_of, opened
from ganjax.config import require
from ganjax.options import Averaging, Latent, Rate, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import flax.linen as nn
    import numpy as np

    from ganjax.core import GameState
    from ganjax.data import Dataset
    from ganjax.games.text_to_image import Painter
    from ganjax.report.rows import Row
    from ganjax.training import Given, Setup


@dataclass(frozen=True, kw_only=True)
class Config(Averaging, Rate, Latent, TrainConfig):
    """What reads captions, the networks of both stages, and what their players pay."""

    without: str = "skin tone"
    """Examples whose caption holds these words, one after another, are left out; nothing keeps all."""
    encoder: Literal["words", "characters", "random"] = "words"
    """What captions are read with: a linear map of pieces of words or a transformer of characters, both learned, or a
    random projection of the former."""
    objective: Literal["infonce", "structured"] = "infonce"
    """How it is learned: by the symmetric contrast of a batch, or with a margin, as the structured joint embedding."""
    temperature: float = 0.07
    """Of the contrast."""
    text_steps: int = 400
    """Steps of the stage text."""
    text_rate: float = 1e-3
    """Step size of Adam in the stages text and matcher."""
    text_batch: int = 128
    """Pairs of a batch there: right ones are told from all others of it."""
    matcher_steps: int = 600
    """Steps of the stage matcher."""
    pairs: Literal["matching_aware", "plain", "balanced", "alone"] = "matching_aware"
    """What the discriminator tells apart: real pairs from fakes and real images with wrong captions; from fakes alone;
    as the first, with fakes of wrong captions on the real side; as the first, and images without captions."""
    wrong: Literal["caption", "class"] = "caption"
    """What a wrong pair must differ in."""
    augmented: bool = True
    """Draw conditions around what a caption means, rather than take a layer of it."""
    kl: float = 2.0
    """Weight of the mean divergence of these conditions from N(0, 1)."""
    interpolation: float = 0.0
    """Weight of captions between two, of which there is no image (GAN-INT); 1 in the paper."""
    conditions: int = 128
    """How many there are."""
    augment: Literal["none", "diffaugment"] = "none"
    """What real and generated images go through before the discriminator."""
    width: int = 32
    """Channels of the last map of the sketch's generator and of the first of its discriminator."""
    second_width: int = 16
    """Channels of the last map of the image's generator; the first of its discriminator has twice as many."""
    blocks: int = 2
    """Its residual blocks; 4 in the paper."""
    second_steps: int = 600
    """Steps of the stage image; --steps is of the sketch."""
    candidates: int = 100
    """Captions among which R-precision looks for the right one."""

    def __post_init__(self):
        super().__post_init__()
        names = ("text_steps", "text_batch", "matcher_steps", "second_steps", "conditions", "width", "second_width")
        for name in names:
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "blocks", self.blocks >= 0, "at least 0")
        require(self, "candidates", self.candidates >= 2, "at least 2")
        for name in ("temperature", "text_rate"):
            require(self, name, 0 < getattr(self, name) < float("inf"), "a positive number")
        for name in ("kl", "interpolation"):
            require(self, name, 0 <= getattr(self, name) < float("inf"), "a number that is not negative")


CONFIG = Config(
    steps=6000,
    data="fluent_emoji",
    batch_size=32,  # 64 in the papers
    learning_rate=6e-4,  # 2e-4 in both papers, who take hundreds of epochs
    ema_decay=0.995,
)
FEATURES = 128  # numbers of a caption's vector
PLACES = 2048  # of hashed pieces


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "dict[str, Setup]":
    """The encoder of captions, the readers of measures, and two generators with a discriminator each."""
    from functools import partial

    import optax

    from ganjax.data.unpaired import resized
    from ganjax.dynamics import simultaneous
    from ganjax.games import matching
    from ganjax.games.text_to_image import READERS
    from ganjax.models.captions import PictureReader
    from ganjax.training import From, Setup, Stream

    data = captioned(load(config.data), config.without)
    small = resized(data, data.shape[0] // 2)
    side = small.shape[0]
    text = encoder(config.encoder, data)
    readers = readers_of(data, side, config.width)
    y = ("caption", *(["class"] if "classifier" in readers else []))

    def matched(dataset: "Dataset", *networks: "nn.Module", steps: int) -> "Setup":
        kinds = ("text", "image", "classifier")[: len(networks)]
        how: dict[str, Any] = {"objective": config.objective, "temperature": config.temperature, "axis_name": axis_name}
        return Setup(
            game=matching.matching(*networks, **how),
            dynamics=simultaneous(dict.fromkeys(kinds, optax.adam(config.text_rate)), axis_name=axis_name),
            streams={"data": Stream(dataset, config.text_batch, y[: len(networks) - 1], shifted(side // 16))},
            measures=matching.measures(*networks[:2], candidates=config.candidates),
            steps=steps,
        )

    stages: dict[str, Setup] = {}
    if config.encoder != "random":
        seer = PictureReader(FEATURES, side, config.width)
        stages["text"] = matched(small, text, seer, steps=config.text_steps)
    stages["matcher"] = matched(pooled(small), *readers.values(), steps=config.matcher_steps)
    start = {player: From("matcher", name) for name, player in READERS.items() if name in readers}
    start |= {} if config.encoder == "random" else {"text": From("text", "text")}
    drawn = partial(stage, config, axis_name, readers=readers, y=y)
    first, second = painters(config, small.shape, data.shape, text, axis_name)
    weights = "raw" if config.average == "none" else config.average
    stages["sketch"] = drawn(first, small, start=start, steps=config.steps)
    before = {"before": From("sketch", "generator", weights)}
    stages["image"] = drawn(second, data, start=start | before, steps=config.second_steps, small=small)
    return stages


def captioned(data: "Dataset", without: str) -> "Dataset":
    """Square images with captions, but for those whose captions hold some words.

    Raises:
        DataError: no such images, no captions, a caption without a word, or nothing is left.
    """
    import numpy as np

    from ganjax.errors import DataError
    from ganjax.models.stackgan import check_image_shape

    if data.kind.name != "image":
        raise DataError(f"the data set {data.name} has {data.kind.plural}, expected images with captions")
    check_image_shape(data.shape)
    vocabulary = data.y_kind("caption").facts.get("vocabulary")
    if vocabulary is None:
        raise DataError(
            f"the data set {data.name} has {data.y_kind('caption').plural} for captions, expected texts; store them as "
            "caption_train and caption_test"
        )
    kept = {"train": np.arange(len(data.x_train)), "test": np.arange(0 if data.x_test is None else len(data.x_test))}
    for split, rows in kept.items():
        texts = vocabulary.decode(data.y("caption", split)) if len(rows) else []
        if empty := [row for row, text in enumerate(texts) if not text]:
            raise DataError(
                f"the data set {data.name} has {len(empty)} of {len(texts)} captions without a word in caption_{split}"
                f", the first at index {empty[0]}; write what these images show, or leave them out of the data"
            )
        out = [bool(without) and f" {without.lower()} " in f" {text} " for text in texts]
        kept[split] = rows[~np.array(out, bool)]
        if len(rows) and not len(kept[split]):
            raise DataError(f"--without {without!r} leaves no {split} example of {data.name}; leave out fewer")
    return of_rows(data.in_memory(), **kept)


def of_rows(data: "Dataset", train: "np.ndarray", test: "np.ndarray") -> "Dataset":
    """These examples of both splits, with their classes and captions."""
    from dataclasses import replace

    def cut(x, rows):
        return None if x is None else x[rows]

    own = data.companions["caption"]
    return replace(
        data,
        x_train=data.x_train[train],
        y_train=cut(data.y_train, train),
        x_test=cut(data.x_test, test),
        y_test=cut(data.y_test, test),
        companions={"caption": own._replace(train=own.train[train], test=cut(own.test, test))},
    )


def pooled(data: "Dataset") -> "Dataset":
    """All examples of both splits for training, those that are held out still held out for measures."""
    from dataclasses import replace

    import numpy as np

    if data.x_test is None:
        return data
    own = data.companions["caption"]
    y = data.y_train
    return replace(
        data,
        x_train=np.concatenate([data.x_train, data.x_test]),
        y_train=None if y is None or data.y_test is None else np.concatenate([y, data.y_test]),
        companions={"caption": own._replace(train=np.concatenate([own.train, own.test]))},  # type: ignore[list-item]
    )


def shifted(pixels: int):
    """Images that are shifted a little whenever they are seen, not flipped: captions say left and right."""
    from ganjax.augment import jitter

    return jitter(pixels, flip=False)


def encoder(kind: str, data: "Dataset") -> "nn.Module":
    """What reads captions for the generators."""
    from ganjax.data.text import hashed_words, spelled
    from ganjax.models.captions import CharacterTransformer, PiecesOfWords

    vocabulary = data.y_kind("caption").facts["vocabulary"]
    if kind == "characters":
        return CharacterTransformer(spelled(vocabulary), FEATURES)
    return PiecesOfWords(hashed_words(vocabulary, size=PLACES), FEATURES)


def readers_of(data: "Dataset", side: int, width: int) -> "dict[str, nn.Module]":
    """The readers of the measures: other networks than those that generators see, of pieces of other lengths."""
    from ganjax.data.text import hashed_words
    from ganjax.models.captions import PictureReader, PiecesOfWords

    vocabulary = data.y_kind("caption").facts["vocabulary"]
    table = hashed_words(vocabulary, size=PLACES, lengths=(2, 4))
    found: dict[str, nn.Module] = {
        "text": PiecesOfWords(table, FEATURES, hidden=2 * FEATURES),
        "image": PictureReader(FEATURES, side, width, pooled=True),
    }
    labelled = data.y_train is not None and (data.x_test is None or data.y_test is not None)
    return found | ({"classifier": PictureReader(data.classes or 1, side, width)} if labelled else {})


def painters(
    config: Config, small: tuple[int, ...], large: tuple[int, ...], text: "nn.Module", axis_name: str | None
) -> "tuple[Painter, Painter]":
    """The generators of both stages, and what they read captions with."""
    from ganjax.games.text_to_image import Before, Painter
    from ganjax.models.stackgan import StageOne, StageTwo

    how: dict[str, Any] = {"conditions": config.conditions, "augmented": config.augmented, "axis_name": axis_name}
    first = StageOne(small, config.width, **how)
    second = StageTwo(large, config.second_width, config.blocks, **how)
    size = config.latent + config.conditions
    return Painter(first, text, size), Painter(second, text, config.conditions, Before(first, size))


def stage(
    config: Config, axis_name: str | None, painter: "Painter", dataset: "Dataset", *,
    readers: "dict[str, nn.Module]", y: tuple[str, ...], start: dict, steps: int, small: "Dataset | None" = None,
) -> "Setup":  # fmt: skip
    """One generator and its discriminator."""
    import optax

    from ganjax import recipe
    from ganjax.augment import diff_augment
    from ganjax.dynamics import alternating
    from ganjax.games import text_to_image as games
    from ganjax.models.stackgan import MatchingCritic, halvings
    from ganjax.training import Averaged, Setup, Stream

    width = config.width if small is None else 2 * config.second_width
    critic = MatchingCritic(halvings(dataset.shape[0]), width, unconditional=config.pairs == "alone")
    adam, kept = optax.adam(config.learning_rate, b1=config.beta1), recipe.averages(config)
    players = (games.DISCRIMINATOR, games.GENERATOR)
    streams = {name: Stream(dataset, config.batch_size, y=y) for name in (games.DATA, games.WRONG)}
    return Setup(
        game=games.text_to_image(
            painter,
            critic,
            pairs=games.PAIRS[config.pairs],
            kl=config.kl,
            interpolation=config.interpolation,
            apart=config.wrong,
            augment=None if config.augment == "none" else diff_augment,
            readers=readers,
        ),
        dynamics=alternating(dict.fromkeys(players, adam), fresh=False, axis_name=axis_name),
        streams=streams if small is None else {**streams, "small": Stream(small, 0)},
        averages={} if kept is None else {config.average: Averaged(games.GENERATOR, kept)},
        samplers=games.samplers(painter, small="" if small is None else "small"),
        measures=games.measures(painter, readers, candidates=config.candidates),
        start=start,
        steps=steps,
    )


@dataclass(frozen=True, kw_only=True)
class Panel(OfRun):
    """Captions, what both stages draw of them, and the truth; or what lies between two captions."""

    out: Path
    """The picture to write, .png."""
    text: tuple[str, ...] = ()
    """Captions to draw, each in quotation marks; by default held-out ones, with their truth."""
    between: tuple[str, ...] = ()
    """Two captions, and what lies between them."""
    count: int = 8
    """How many captions, or places between two."""
    draws: int = 3
    """Draws of noise."""
    weights: str = "default"
    """raw, the name of an average (ema), or default: the first average if the run keeps one."""
    seed: int = 0
    """Seed of the noise."""

    def __post_init__(self):
        require(self, "count", 2 <= self.count <= 32, "2 to 32")
        require(self, "draws", 1 <= self.draws <= 8, "1 to 8")
        require(self, "seed", 0 <= self.seed < 2**32, "0 to 4294967295")
        require(self, "out", self.out.suffix == ".png", "a name that ends in .png")
        require(self, "between", len(self.between) in (0, 2), "two captions")
        require(self, "text", not (self.text and self.between), "nothing beside --between")

    def run(self, experiment: launch.Experiment) -> None:
        run = opened(experiment, self)
        from ganjax.errors import ConfigError
        from ganjax.report.rows import rows
        from ganjax.training import load_state

        if not run.setup.samplers:
            raise ConfigError(f"{run.workdir} draws nothing; train on to the stage sketch, or name it by --stage")
        asked = tokens_of(run.setup, self)
        state = load_state(run.setup, run.workdir)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        if self.between:
            painter = painter_of(config_of(experiment, self.workdir)[0], run.setup)
            content, heads = path(run.setup, state, painter, asked, self)
        else:
            content, heads = strips(run.setup, state, asked, self)
        rows(content, self.out, heads=heads)
        print(self.out)


def tokens_of(setup: "Setup", panel: Panel) -> "Given":
    """The captions that are asked for, or held-out ones; unknown words are said."""
    import sys

    from ganjax.training import in_turn
    from ganjax.training.sampling import told, unknown_words

    sampler, texts = setup.sampler("image"), panel.text or panel.between
    if not texts:
        return in_turn(setup, sampler, panel.count)
    if unknown := unknown_words(setup, sampler, texts):
        print(f"unknown words, which are left out: {', '.join(unknown)[:200]}", file=sys.stderr)
    return told(setup, sampler, texts, len(texts))


def painter_of(config: Config, setup: "Setup") -> "Painter":
    """That of a stage."""
    data = setup.streams["data"].dataset
    text, (side, _, channels) = encoder(config.encoder, data), data.shape
    if "small" in setup.streams:
        return painters(config, setup.streams["small"].dataset.shape, data.shape, text, None)[1]
    return painters(config, data.shape, (2 * side, 2 * side, channels), text, None)[0]


def strips(setup: "Setup", state: "GameState", asked: "Given", panel: Panel) -> "tuple[list[Row], list[str]]":
    """A row a caption: sketches, images of the same draws of noise, the truth where there is one."""
    import jax
    import numpy as np

    from ganjax.report.images import enlarge, to_rgb
    from ganjax.report.rows import Row
    from ganjax.training import Keys, weights_of

    key, count = Keys.of(panel.seed).samples, len(asked.values)
    data = setup.streams["data"].dataset
    index = np.tile(np.arange(panel.draws, dtype=np.int32), count)
    columns, heads = [], []
    for name in [name for name in ("sketch", "image") if name in setup.samplers]:
        sampler = setup.sampler(name)
        weights = weights_of(setup, state, sampler.players, panel.weights)
        x = jax.jit(lambda w, i, given, sampler=sampler: sampler(w, key, i, given))(
            weights, index, np.repeat(asked.values, panel.draws, 0)
        )
        drawn = data.kind.decode(np.asarray(x))
        drawn = enlarge(drawn, data.shape[0] // drawn.shape[1])
        columns.append(drawn.reshape(count, panel.draws, *data.shape))
        heads += [name, *[""] * (panel.draws - 1)]
    if asked.rows is not None:
        columns.append(getattr(data, f"x_{asked.split}")[asked.rows][:, None])
        heads.append("truth")
    texts = data.y_kind("caption").facts["vocabulary"].decode(asked.values)
    images = to_rgb(np.concatenate(columns, 1))
    return [Row(own, "\n".join(textwrap.wrap(text, 18))) for own, text in zip(images, texts, strict=True)], heads


def path(
    setup: "Setup", state: "GameState", painter: "Painter", asked: "Given", panel: Panel
) -> "tuple[list[Row], list[str]]":
    """A row a draw of noise: what the mean of two captions' vectors is drawn as, each from 0 to 1 of the way."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ganjax.games.latents import linear
    from ganjax.report.images import to_rgb
    from ganjax.report.rows import Row
    from ganjax.training import Keys, weights_of

    weights = weights_of(setup, state, painter.players, panel.weights)
    index = jnp.arange(panel.draws, dtype=jnp.int32)
    z = setup.sampler("image").latents(weights, Keys.of(panel.seed).samples, index)

    @jax.jit
    def drawn(weights, tokens):
        ends = painter.read(weights, tokens)
        phi = linear(ends[0], ends[1], panel.count)
        return painter.paint(weights, jnp.repeat(z, panel.count, 0), jnp.tile(phi, (panel.draws, 1)))

    data = setup.streams["data"].dataset
    x = data.kind.decode(np.asarray(drawn(weights, asked.values)))
    content = [Row(to_rgb(own), f"noise {k + 1}") for k, own in enumerate(np.split(x, panel.draws))]
    return content, [panel.between[0], *[""] * (panel.count - 2), panel.between[1]]


SMOKE = {
    "steps": 4,
    "text_steps": 4,
    "text_batch": 8,
    "matcher_steps": 4,
    "second_steps": 4,
    "width": 2,
    "second_width": 2,
    "blocks": 1,
    "conditions": 4,
    "latent": 4,
    "batch_size": 8,
    "sample_every": 2,
    "checkpoint_every": 2,
    "chunk": 2,
}
EXPERIMENT = launch.Experiment("stackgan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT, more={"panel": Panel})
