"""Translation without pairs: two translators that undo each other, or one that keeps patches apart.

Claim: two networks that each make images of the other's domain and lead back learn a translation from sets of images of
which no two belong together; a contrast of patches in the place of the way back learns one with a single network. What
is kept of an image can be measured where the truth is known and withheld.
Paper: Zhu, Park, Isola and Efros, Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks,
2017; Park, Efros, Zhang and Zhu, Contrastive Learning for Unpaired Image-to-Image Translation, 2020.
Command: python experiments/cyclegan.py train --workdir runs/cyclegan
         python experiments/cyclegan.py evaluate --workdir runs/cyclegan --count 228
         python experiments/cyclegan.py train --workdir runs/digits --data mnist.npz --target usps.npz
           --pad-target 3 --judge-steps 500
         python experiments/cyclegan.py train --workdir runs/cut --method cut --channels 3 --identity 1
Figure: runs/cyclegan/panel.png, the same held-out drawings in colour over training; `sample` shows what was translated
above its translation, with --sampler b_to_a the other way, with --sampler cycle there and back.
By default black drawings of emoji become colour pictures and back: one half of the training set gives its drawings, the
other its pictures, so that no pair is in training, and l1_g is the distance of held-out translations to the truth.
USPS fills its frame where MNIST leaves a margin: 3 pixels around it make both of one scale. With --judge-steps a first
stage trains a classifier of the second set, which reads translations of the first: kept_label, beside the floor of
what is untranslated and the ceiling of its own set. A large permuted_label beside it says that classes were swapped,
which is a legal solution, as inverted colours are, and the note beside it says which. cycle_a_rounded and
cycle_a_noised say whether the way back lives by faint texture, the note of the latter over how much noise; --sampler
residue, and made.png of the report, show that texture 64 times as strong.
What we measured, the last step, seed 0, on 2 CPU cores that others used too: by default, 11 minutes, drawings are
filled with orange, blue and red; their L1 to the truth is 0.353 on 228 held-out emoji where the drawing itself has
0.510, the mean picture 0.366 and the median one 0.335: which colour an emoji has, nobody told. The way back loses 0.145
of a pixel from -1 to 1, and no more after 8 bits (0.145) or noise (0.146) on the translation: nothing is hidden at this
size.
MNIST to USPS by the command above, 12 minutes: a classifier of USPS reads 0.812 of 2,000 translated test digits as
their class, no renaming of classes reads more, 0.722 of the untranslated ones and 0.952 of its own. With --identity 0.5
it is 0.777, for G then leaves more alone. After --steps 8000 --decay-steps 8000 --hold 4000, 12 to 13 minutes, it is
0.861 +- 0.004 of seeds 0 to 2 (0.864, 0.857, 0.863; of untranslated ones 0.722, 0.738, 0.741), no renaming of classes
reads more, the way back loses 0.035, and no more after 8 bits or noise. Width 32 with 16 images a step takes too long
to be tried.
Google's emoji and Twitter's (--data emoji64.npz --companion a), L1 on 383 held-out pairs from Twitter to Google and
back, where doing nothing has 0.333 and the median picture 0.382 and 0.420; minutes are of one core of two, S steps are
--steps S --decay-steps S with half of them as --hold, and all but the first have --batch-size 4 --identity 1, and seed
100 where no other is said:

    --batch-size 2 --identity 0.5, 3,000 steps, seed 0, 10 min         0.323   0.328
    8,000 steps, 15 min                                                0.318   0.321
      with --flip --shift 2, 18 min                                    0.326   0.322
      with --layers 1: patches of 16 pixels                            0.321   0.328
    6,000 steps, --learning-rate 6e-4, 14 min                          0.309   0.318
      with --learning-rate 1.2e-3                                      0.309   0.316
    --network unet --width 32 --downs 4, the same at 6e-4, 16 min      0.293   0.315
      with --cycle 20 (raw weights; averaged 0.294 and 0.316)          0.294   0.317
    --network unet --width 32, 6,000 steps, 3e-4, 8 min                0.293   0.317
      seeds 0 to 2: the mean and how far they are off at most          0.295   0.317 (0.002)
      with --layers 1                                                  0.302   0.318
      10,000 steps, --flip, 12 min                                     0.293   0.318
    --size 64 --network unet --downs 4 --layers 3 (width 16), 5,000
      steps at 6e-4, 11 min; doing nothing has 0.358 there             0.319   0.338

A residual network has to learn first to leave alone what it sees, and is 0.13 off after 1,000 steps; skips need not.
Flags begin to wave and lie flat again; faces keep their shape, and some get specks of all colours. People, six of ten
of these emoji, stand otherwise here and there, which no network has learned.
With --play turns the default comes to 0.344 from drawing to picture and loses 0.142 on the way back, in 6 minutes of
processor time; CUT (--method cut --channels 3 --identity 1) to 0.343, in 11: drawings are kept, and filled with
blue and orange under a fine lattice.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ganjax import launch
from ganjax.config import require
from ganjax.errors import ConfigError
from ganjax.options import Adam, Averaging, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.core import Measure
    from ganjax.data import Dataset
    from ganjax.training import Setup, Stream


@dataclass(frozen=True, kw_only=True)
class Config(Averaging, Adam, TrainConfig):
    """The domains, the networks, and what they pay."""

    target: str = ""
    """The data set of domain B, as --data is of A; without it both are of --data, whose images are B."""
    companion: str = "drawing"
    """Without --target, what of --data is A; no example of A has its partner in B."""
    size: int = 32
    """Height and width that all images are brought to; 0 leaves them, as sets of one size allow."""
    pad: int = 0
    """Pixels of the corners' colour around images of A before that."""
    pad_target: int = 0
    """The same of B; 3 around USPS make its digits as large as those of MNIST."""
    channels: int = 0
    """Channels that grey images are repeated in; 0 leaves them."""
    shift: int = 0
    """Pixels by which training images move, each axis by itself, edges repeated; with --flip the paper's jitter."""
    flip: bool = False
    """Whether they are mirrored half of the time; legal for emoji, not for digits."""
    method: Literal["cyclegan", "cut"] = "cyclegan"
    """Two translators and a cycle, or one and a contrast of patches."""
    play: Literal["simultaneous", "turns"] = "simultaneous"
    """All at once, as in the PyTorch code, or g, d_b, f, d_a one after another on one batch, as in the Torch code,
    whose discriminators see what was translated before the move, ours after it, and whose labels of .9 are not used."""
    width: int = 16
    """Channels next to the image in translators and discriminators."""
    network: Literal["resnet", "unet"] = "resnet"
    """The translators: residual blocks at a quarter of the size, as in the paper, or skips at every size, which keep
    what need not change, the other choice of the published code."""
    blocks: int = 3
    """Residual blocks of a translator; with a width of 64 the paper has 6 at 128 pixels and 9 at 256."""
    downs: int = 3
    """How often a translator halves, with --network unet."""
    layers: int = 2
    """Layers of stride 2 of a discriminator, which judges patches of 7, 16, 34, 70, ... pixels."""
    hold: int = 0
    """Of --decay-steps, those before the rate begins to fall."""
    cycle: float = 10.0
    """Weight of the way there and back."""
    identity: float = 0.0
    """Weight, as a share of --cycle, of leaving alone what is of the other domain already; of CUT, of its second
    contrast."""
    pool: int = 50
    """Translations that each discriminator keeps, half of what it sees being earlier ones; 0 keeps none."""
    contrast: float = 1.0
    """Of CUT: weight of the contrast of patches."""
    temperature: float = 0.07
    """Of that contrast."""
    patches: int = 256
    """Of each map that are compared, or all there are."""
    judge_steps: int = 0
    """Steps of a classifier of B, a stage before, which is asked what it reads of translations; 0 asks nobody."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("width", "blocks", "downs", "patches"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("size", "pad", "pad_target", "channels", "shift", "layers", "hold", "pool", "judge_steps"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("cycle", "identity", "contrast"):
            require(self, name, 0 <= getattr(self, name) < float("inf"), "a number that is not negative")
        require(self, "temperature", 0 < self.temperature < float("inf"), "a positive number")
        require(self, "channels", self.channels <= 4, "at most 4")
        falls = f"less than --decay-steps {self.decay_steps}"
        require(self, "hold", self.hold < max(self.decay_steps, 1), falls)
        cut = self.method == "cut"
        fits = cut or self.pool == 0 or self.pool >= self.batch_size
        require(self, "pool", fits, f"0, or at least --batch-size {self.batch_size}")
        for name, alone in (("play", "simultaneous"), ("network", "resnet")):
            require(self, name, not cut or getattr(self, name) == alone, f"{alone} with --method cut")

    def unused(self) -> dict[str, str]:
        cut, found = self.method == "cut", super().unused()
        skips = self.network == "unet"
        found["blocks" if skips else "downs"] = f"--network {self.network} has none"
        if self.target:
            found["companion"] = "A and B are those of --data and --target"
        if cut:
            found |= {"cycle": "--method cut leads no way back", "pool": "--method cut keeps no translations"}
        else:
            found |= dict.fromkeys(("contrast", "temperature", "patches"), "only --method cut compares patches")
        return found


CONFIG = Config(
    data="fluent_emoji",
    steps=3000,
    decay_steps=3000,
    hold=1500,  # half of the steps at the full rate, as published
    batch_size=4,  # 1 in the paper, whose images are larger
    average="none",  # as published
)


def domains(config: Config, load: "Callable[[str], Dataset]") -> "tuple[Dataset, Dataset]":
    """A and B, of one size."""
    from ganjax.data.unpaired import resized, unpaired

    a, b = (load(config.data), load(config.target)) if config.target else unpaired(load(config.data), config.companion)
    a = resized(a, config.size, pad=config.pad, channels=config.channels)
    b = resized(b, config.size, pad=config.pad_target, channels=config.channels)
    if a.kind.name != "image" or a.shape[:2] != b.shape[:2]:
        raise ConfigError(
            f"--data has {a.kind.name}s of {a.shape} and --target {b.kind.name}s of {b.shape}, expected images of one "
            "size; say by --size which"
        )
    return a, b


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup | dict[str, Setup]":
    """Four players or three, and before them, if it is asked for, a classifier who only looks on."""
    from ganjax import recipe
    from ganjax.data.unpaired import TRUTH
    from ganjax.dynamics import alternating, simultaneous
    from ganjax.games import translation
    from ganjax.games.cut import HEADS, cut
    from ganjax.games.cyclegan import cyclegan
    from ganjax.games.likelihood import CLASSIFIER
    from ganjax.games.translation import D_A, D_B, A, B, F, G
    from ganjax.models.classifier import classifier
    from ganjax.models.patchgan import PatchDiscriminator
    from ganjax.models.translator import PatchHeads
    from ganjax.training import Averaged, From, Setup

    a, b = domains(config, load)
    g = translator(config, b.shape)
    f = translator(config, a.shape) if config.method == "cyclegan" else None
    discriminator = PatchDiscriminator(config.width, config.layers)
    measures: dict[str, Measure] = {}
    if f is not None:
        told: dict[str, Any] = {"cycle": config.cycle, "identity": config.identity, "pool": config.pool}
        game = cyclegan(g, f, discriminator, **told, axis_name=axis_name)
        order, translators = [G, D_B, F, D_A], [G, F]
        measures |= translation.cycle_measures(g, f)
    else:
        told = {"contrast": config.contrast, "identity": config.identity, "patches": config.patches}
        game = cut(g, PatchHeads(), discriminator, temperature=config.temperature, **told)
        order, translators = [G, HEADS, D_B], [G]
    if TRUTH in a.companions:
        for module, player, stream, own, other in ((g, G, A, a, b), (f, F, B, b, a)):
            if module is not None:
                comparable = own.shape[-1] in (1, other.shape[-1])
                measures |= translation.truth_measures(
                    module, player, stream, TRUTH, other.x_train, untranslated=comparable
                )
    optimizers = dict.fromkeys(order, recipe.adam_of(config, config.hold))
    if config.play == "turns":
        dynamics = alternating(optimizers, order=order, fresh=False, axis_name=axis_name)
    else:
        dynamics = simultaneous(optimizers, axis_name=axis_name)
    kept = recipe.averages(config)
    setup = Setup(
        game=game,
        dynamics=dynamics,
        streams={name: _stream(data, config) for name, data in ((A, a), (B, b))},
        averages={} if kept is None else {config.average: Averaged(tuple(translators), kept)},
        samplers=translation.samplers(g, f),
        measures=measures,
    )
    if not config.judge_steps:
        return setup
    judge = classifier(b.shape, labelled(a, b))
    read = translation.label_measures(g, judge, untranslated=a.shape == b.shape)
    return {
        "judge": _judge(judge, b, config, axis_name, read["own_label"]),
        "translation": setup._replace(
            game=translation.with_onlooker(game, CLASSIFIER, judge, B),
            measures={**read, **measures},
            start={CLASSIFIER: From("judge", CLASSIFIER)},
        ),
    }


def translator(config: Config, shape: tuple[int, ...]) -> Any:
    """The network that makes images of this shape."""
    from ganjax.models.translator import Translator
    from ganjax.models.unet import UNet

    if config.network == "unet":
        return UNet(shape[-1], config.width, config.downs, norm="instance", dropout=0.0)
    return Translator(shape[-1], config.width, config.blocks)


def _stream(data: "Dataset", config: Config) -> "Stream":
    """A domain, jittered if that is asked for."""
    from ganjax.augment import jitter
    from ganjax.training import Stream

    moves = bool(config.shift or config.flip)
    return Stream(data, config.batch_size, prepare=jitter(config.shift, flip=config.flip) if moves else None)


def labelled(a: "Dataset", b: "Dataset") -> int:
    """The number of classes of both domains; raises `ConfigError` unless they have the same."""
    if a.y_train is None or b.y_train is None or a.classes != b.classes:
        raise ConfigError(
            f"--judge-steps needs the same classes in both sets, got {a.classes or 'none'} of {a.name} and "
            f"{b.classes or 'none'} of {b.name}"
        )
    return b.classes or 0


def _judge(model: Any, b: "Dataset", config: Config, axis_name: str | None, accuracy: "Measure") -> "Setup":
    """A classifier of B, as `evaluate` trains one to judge samples."""
    import optax

    from ganjax.dynamics import simultaneous
    from ganjax.games.likelihood import CLASSIFIER, classification
    from ganjax.games.translation import B
    from ganjax.training import Setup, Stream

    adam = optax.adam(optax.cosine_decay_schedule(1e-3, config.judge_steps))
    return Setup(
        game=classification(model),
        dynamics=simultaneous({CLASSIFIER: adam}, axis_name=axis_name),
        streams={B: Stream(b, 128, y="class")},
        measures={"own_label": accuracy},
        steps=config.judge_steps,
    )


SMOKE = {
    "steps": 20,
    "size": 16,
    "decay_steps": 30,
    "hold": 10,
    "width": 4,
    "blocks": 1,
    "layers": 1,
    "pool": 8,
    "sample_every": 10,
    "checkpoint_every": 10,
    "chunk": 10,
}
EXPERIMENT = launch.Experiment("cyclegan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
