"""The table of domain adaptation: every method, several seeds, and by which protocol its numbers were taken.

Claim: most ways to align two domains beat a classifier of the source alone; by how much depends on the protocol, the
scale of the images and the split as much as on the method, and published tables mix all three.
Paper: Tzeng, Hoffman, Saenko and Darrell, Adversarial Discriminative Domain Adaptation, 2017 (table 2), and the papers
that `adaptation` names.
Command: python experiments/adaptation_table.py train --workdir runs/adaptation_table
         python experiments/adaptation_table.py train --workdir runs/usps --data mnist.npz --target usps.npz \
             --protocol transductive
Figure: runs/adaptation_table/accuracy.png, accuracy on the target's held-out images over steps, above the dashed line
of the classifier of the source; features_glyphs_digits.png, features of both domains before and after the method,
coloured by domain and by class. Numbers are those of the last step, and methods that lose are printed too. The last row
is the same network trained on the target's labels, which no method can be asked to beat.
What we measured on 2 CPU cores that others used too, seeds from 0 on, at the last step, in percent:
MNIST and USPS (--data mnist.npz --target usps.npz --both-ways --protocol transductive --methods adda --picture adda
--no-on-target --steps 1000 --source-steps 400, 16 minutes), plain scaling: the classifier of MNIST names 79.0 +- 0.7 of
the 1,800 images of USPS that adapted and 76.0 +- 0.9 of the canonical test set, ADDA on logits 89.9 +- 0.7 and 86.2 +-
1.0, published 75.2 and 89.4, met on the images that adapted and not on the test set. From USPS 52.0 +- 5.0 and 52.3
+- 5.7, ADDA 82.7 +- 1.4 and 83.5 +- 1.5, published 57.1 and 90.1 after 10,000 steps of 128 images. Four times as many
steps are no remedy: seed 0 of `adaptation` ends at 77.8 and 78.6 after 500 and 4,000 (77 s on quiet cores). Features
are told apart without error before and after: ADDA aligns logits. With --batch-norm --seeds 5, which leave the source
alone at 43.7 +- 8.2 and 43.9 +- 8.0, ADDA has 91.8 +- 0.7 and 88.5 +- 1.0, from USPS 81.1 +- 5.6 and 81.7 +- 5.8.
Padded scaling, all else the same (--scaling padded --batch-norm --seeds 5, 11 minutes of one core): source alone 78.1
+- 1.9 and 76.1 +- 1.9, ADDA 96.1 +- 0.9 and 93.1 +- 1.2; from USPS 75.0 +- 1.9 and 77.1 +- 1.7, ADDA 93.3 +- 1.5 and
94.0 +- 1.4, above the published on the images that adapted both ways: what USPS lacked was the scale of MNIST.
Whole sets, padded scaling (--both-ways --scaling padded --batch-norm --methods adda --picture adda --no-on-target
--seeds 5 --steps 1500 --source-steps 1000, 21 minutes of one core, so two a run), of the canonical test sets: MNIST to
USPS 95.3 +- 0.3 where the source alone has 89.3 +- 1.6, USPS to MNIST 95.9 +- 1.4 and 83.9 +- 2.0. Chosen on seed 100,
USPS to MNIST, by the test set: without --batch-norm source alone 84.5, reversal 90.7, confusion 89.1, coral 90.7, mmd
93.3, adabn 88.9, adda 92.9, adda_features 91.1, on the target's labels 98.8; with it source alone 80.6, reversal 90.3,
confusion 95.2, coral 95.4, mmd 93.4, adda 95.7. MCD (`adaptation --method mcd --scaling padded --batch-size 128 --steps
2000`, seed 0, 8 minutes each): MNIST to USPS 95.4, published 96.5, USPS to MNIST 91.3, published 94.1 of a sample, and
with the authors' network (--network dann --batch-norm) 89.1.
MNIST to 8,000 images of MNIST-M (--colour rgb --scaling cropped --methods reversal --picture reversal --no-on-target
--seeds 2 --steps 1000 --source-steps 400, 7 minutes): 47.7 +- 3.6 for the source alone, published 52.25; reversal with
a critic of 500 and 500 units does nothing in so many steps, 47.3 +- 3.1, published 76.66 on all 59,001 images. With the
100 units of its paper, which it has now, seed 0 of `adaptation --method reversal` ends at 53.0 (98.5 on the source)
after --steps 5000 --ramp-steps 5000; with the network and the rate of the paper (--network dann --optimiser sgd
--source-rate 0.01 --weight 0.5 --steps 12000 --ramp-steps 12000, 9 minutes) at 72.9 of 1,500 and 98.2 on the source,
the A-distance at 1.2: it was the network. At the paper's --weight 1 all features die within 1,700 steps; with
--batch-norm they live, 70.6 after 6,000 steps of SGD, and 74.9 after as many of Adam (--network dann --batch-norm,
seed 100, 7 minutes of one core) and 78.7 after 12,000 (97.3 on the source, A-distance 1.5; seed 0 78.3 and 94.8; 12
minutes of processor time), the paper's 76.7 met.
Printed to handwritten digits (--seeds 1 --steps 300 --source-steps 200 --ramp-steps 300, 12 minutes), of 297 images:
source alone 35.0, reversal 31.6, confusion 51.2, coral 48.5, mmd 45.8, adabn 44.1, adda 50.2, adda_features 45.8, cogan
7.1, mcd 39.7 (at a rate of 1e-3, with which it began, 10.4, and 41.6 on the source), on the target's labels 97.3; one
seed of so few images tells no two of 40 to 51 apart. Reversal loses here, with
--source-rate 2e-4 even more (15.2, 85.7 on the source), with --weight 0.1 it gains two points (37.4): nothing holds
features where the critic is undecided. Coupled GANs draw nothing yet.
Not run: five seeds of other methods, street numbers.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ganjax import adaptation, launch
from ganjax.config import require
from ganjax.core import Owned
from ganjax.data import Dataset, load, subsample
from ganjax.errors import ConfigError, DataError, did_you_mean
from ganjax.files import write_atomically
from ganjax.games.adaptation import DOMAINS, SOURCE, TARGET, Judge
from ganjax.kinds import from_bytes
from ganjax.metrics.domains import label_shift_bound, proxy_a_distance
from ganjax.options import Adaptation, AdaptationConfig, Latent, Rate
from ganjax.report import Panel, Series, panels
from ganjax.report.style import INK, SMALL, TITLE, colour, new_figure, save_figure
from ganjax.training import Keys, Setup, check
from ganjax.training.fit import stretch
from ganjax.training.setup import arrays, initial_state, order

ON_TARGET = "target's labels"  # the row of the network that has them
ADVERSARIAL = ("reversal", "confusion", "adda", "adda_features", "cogan")
CALL = 250  # images
SHOWN = 500  # features of each domain in the picture


class Published(NamedTuple):
    """A figure of the literature."""

    accuracy: float  # on the target, in percent
    protocol: str  # by which it was taken


SAMPLED = "sample, adapting"  # 2,000 of MNIST and 1,800 of USPS, tested on the images that adapted (Tzeng et al. 2017)
SAMPLED_TEST = "sample, test"  # as many, tested on the canonical test set (Saito et al. 2018)
CHOSEN = "sample, best step"  # the same, the best step by the target's labels (Liu and Tuzel 2016)
WHOLE = "whole, test"  # all training images, canonical test set
SEEN = "whole, adapting"  # all, tested on the target's training images, as the code of ADDA does
PUBLISHED: Mapping[tuple[str, str], Mapping[str, Published]] = {
    ("mnist", "usps"): {
        "source_only": Published(75.2, SAMPLED),
        "reversal": Published(77.1, SAMPLED),
        "confusion": Published(79.1, SAMPLED),
        "cogan": Published(91.2, CHOSEN),
        "adda": Published(89.4, SAMPLED),
        "mcd": Published(96.5, WHOLE),
    },
    ("usps", "mnist"): {
        "source_only": Published(57.1, SAMPLED),
        "reversal": Published(73.0, SAMPLED),
        "confusion": Published(66.5, SAMPLED),
        "cogan": Published(89.1, CHOSEN),
        "adda": Published(90.1, SAMPLED),
        "mcd": Published(94.1, SAMPLED_TEST),
    },
    ("svhn_cropped", "mnist"): {
        "source_only": Published(60.1, SEEN),
        "reversal": Published(73.9, WHOLE),
        "confusion": Published(68.1, SEEN),
        "adda": Published(76.0, SEEN),
        "mcd": Published(96.2, WHOLE),
    },
    ("mnist", "mnist_m"): {"source_only": Published(52.25, WHOLE), "reversal": Published(76.66, WHOLE)},
}


@dataclass(frozen=True, kw_only=True)
class Config(Adaptation, Latent, Rate):
    """The two domains, and what is compared."""

    data: str = "glyphs"
    """The images of the source, with labels; of sets with names of classes those that the target has."""
    both_ways: bool = False
    """Adapt from the target to the source as well."""
    methods: tuple[str, ...] = ("source_only", "reversal", "confusion", "coral", "mmd", "adabn", "mcd", "adda",
                                "adda_features", "cogan")  # fmt: skip
    """Which, as --method of adaptation; source_only, with which adda begins, is always there."""
    on_target: bool = True
    """Train the same network on the target's labels as well."""
    seeds: int = 3
    """How many runs of each."""
    seed: int = 0
    """The first of them; the images of the transductive protocol are the same for all."""
    steps: int = 600
    """Of each method, in adda those of its second stage."""
    source_steps: int = 400
    """Of the classifier of the source."""
    batch_size: int = 64
    """Images of each domain."""
    looks: int = 10
    """How often the accuracy on the target is taken on the way, of at most 500 held-out images."""
    judged: int = 10_000
    """Images of each split, at most, by which the last step is judged; half as many of those that adapted."""
    picture: str = "reversal"
    """The method whose features are drawn."""
    projection: Literal["tsne", "pca"] = "tsne"
    """How they come into the plane."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("seeds", "steps", "source_steps", "batch_size", "looks"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        require(self, "judged", self.judged >= 8, "at least 8")
        for name in ("steps", "source_steps"):
            require(self, name, getattr(self, name) % self.looks == 0, f"a multiple of --looks {self.looks}")
        require(self, "seed", 0 <= self.seed < 2**32 - self.seeds, "0 to 4294967295, the last of the seeds included")
        for option, names in (("methods", self.methods), ("picture", (self.picture,))):
            for name in names:
                if name not in adaptation.METHODS:
                    raise ConfigError(f'--{option}: "{name}" is unknown{did_you_mean(name, adaptation.METHODS)}')
        require(self, "picture", self.picture in ("source_only", *self.methods), "one of --methods")

    def unused(self) -> dict[str, str]:
        found = self.unread(("source_only", *self.methods), "none of --methods reads it")
        found.pop("source_steps", None)  # source_only has them here, with which adda begins
        return super().unused() | found


class Trained(NamedTuple):
    """All seeds of a method."""

    params: Mapping[str, Any]  # player -> parameters, leaves [S, ...]
    net_state: Mapping[str, Any]
    setup: Setup
    judge: Judge
    curve: NDArray  # [S, looks], accuracy on some of the target's held-out images

    def weights(self, member: int) -> dict[str, Owned]:
        """Those of one seed."""
        pick = partial(jax.tree.map, lambda leaf: leaf[member])
        return {p: Owned(pick(self.params[p]), pick(self.net_state[p])) for p in self.judge.players}


def trained(
    setup: Setup, judge: Judge, config: Config, steps: int, first: Trained | None = None, begin: Mapping[str, str] = {}
) -> Trained:
    """All seeds in one program: member after member on a CPU, which one member fills, else at once.

    Args:
        setup: of the method.
        judge: what it trains.
        config: seeds and looks.
        steps: how many.
        first: what was trained before, if anything.
        begin: player -> with whose weights of `first` it begins; with fresh ones where nothing is said.
    """
    check(setup)
    seeds, count = config.seed + np.arange(config.seeds), steps // config.looks
    one, data = stretch(setup), jax.device_put(arrays(setup))
    stack = partial(jax.tree.map, lambda *leaves: np.stack(leaves))
    state = stack(*(initial_state(setup, int(seed), {}) for seed in seeds))
    for part in ("params", "net_state"):
        taken = {player: getattr(first, part)[own] for player, own in begin.items()}
        state = replace(state, **{part: {**getattr(state, part), **taken}})
    keys = jnp.stack([Keys.of(int(seed)).steps for seed in seeds])

    @partial(jax.jit, donate_argnums=0)
    def run(states: Any, data: Any, rows: Any, keys: Any) -> Any:
        if jax.default_backend() != "cpu":
            return jax.vmap(one, (0, None, 0, 0))(states, data, rows, keys)
        return jax.lax.map(lambda own: one(own[0], data, own[1], own[2]), (states, rows, keys))

    said, curve = asked(judge), []
    data_of_target = setup.streams[TARGET].dataset
    x, y = some(data_of_target, "test", min(500, config.judged))
    for start in range(0, steps, count):
        shown = [order(setup, int(seed))(start, count) for seed in seeds]
        state = run(state, data, stack(*shown), keys)
        now = Trained(state.params, state.net_state, setup, judge, np.empty(0))
        curve.append([(said(now.weights(m), x, TARGET)[1].argmax(-1) == y).mean() for m in range(len(seeds))])
    params, net_state = jax.tree.map(np.asarray, (state.params, state.net_state))
    return Trained(params, net_state, setup, judge, np.array(curve).T)


@cache
def asked(judge: Judge) -> Callable[[Any, NDArray, str], tuple[NDArray, NDArray]]:
    """`(weights, uint8 images, domain) -> features and logits`, some images a call."""
    said = jax.jit(judge.said, static_argnums=2)

    def ask(weights: Any, x: NDArray, domain: str) -> tuple[NDArray, NDArray]:
        parts = []
        for start in range(0, len(x), CALL):
            full = np.resize(x[start : start + CALL], (CALL, *x.shape[1:]))  # one program for all calls
            parts.append(jax.tree.map(np.asarray, said(weights, from_bytes(jnp.asarray(full)), domain)))
        features, logits = (np.concatenate(part)[: len(x)] for part in zip(*parts, strict=True))
        return features, logits

    return ask


class Line(NamedTuple):
    """A row of the table, each over seeds."""

    accuracy: NDArray  # on the target's held-out images
    adapting: NDArray  # on the target's training images
    source: NDArray  # on the source's held-out images
    a_distance: NDArray  # of the features of held-out images
    of_logits: NDArray  # the same of their logits


def measured(found: Trained, judged: int) -> Line:
    """The accuracies and the A-distance of the last step of every seed."""
    said, streams = asked(found.judge), found.setup.streams
    sets: list[tuple[Dataset, str, str]] = [
        (streams[TARGET].dataset, "test", TARGET),
        (streams[TARGET].dataset, "train", TARGET),
        (streams[SOURCE].dataset, "test", SOURCE),
    ]
    rows = []
    for member in range(len(found.curve)):
        weights, own = found.weights(member), []
        for data, split, domain in sets:
            x, y = some(data, split, judged if split == "test" else judged // 2)
            own.append((said(weights, x, domain)[1].argmax(-1) == y).mean())
        few = min(adaptation.COMPARED, judged)
        pair = (said(weights, some(streams[domain].dataset, "test", few)[0], domain) for domain in DOMAINS)
        rows.append([*own, *(proxy_a_distance(*of_both) for of_both in zip(*pair, strict=True))])
    return Line(*np.array(rows).T)


def some(data: Dataset, split: str, count: int) -> tuple[NDArray, NDArray]:
    """So many images of a split at most, and their classes."""
    x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
    rows = subsample(len(x), count)
    return x[rows], y[rows]


def of_task(config: Config, source: Dataset, target: Dataset) -> Iterator[tuple[str, Trained]]:
    """Every method from source to target, one after another."""
    shared = {field.name: getattr(config, field.name) for base in (Adaptation, Latent, Rate) for field in fields(base)}
    common = AdaptationConfig(**shared, steps=config.steps, batch_size=config.batch_size)
    first: Trained | None = None
    names = list(dict.fromkeys(["source_only", *config.methods, *([ON_TARGET] if config.on_target else [])]))
    for name in tqdm(names, desc=f"{name_of(source)} to {name_of(target)}", unit="method", dynamic_ncols=True):
        if name in ("source_only", ON_TARGET):
            data, count = (target, config.target_count) if name == ON_TARGET else (source, config.source_count)
            plan = adaptation.plan(replace(common, method="source_only", source_count=count), data, target)
            found = trained(plan.stages[""], plan.judge, config, config.source_steps)
            first = first or found
        else:
            plan = adaptation.plan(replace(common, method=name), source, target)  # type: ignore[arg-type]
            setup = list(plan.stages.values())[-1]
            begin = {player: own.player for player, own in setup.start.items()}
            found = trained(setup._replace(start={}), plan.judge, config, config.steps, first, begin)
        yield name, found


def name_of(data: Dataset) -> str:
    """Without folders and endings, or where it is from."""
    return Path(data.name.removeprefix("tfds:")).stem


def table(config: Config, source: Dataset, target: Dataset, lines: Mapping[str, Line]) -> list[str]:
    """Mean and standard deviation over seeds, in percent, beside what was published."""
    known = PUBLISHED.get((name_of(source), name_of(target)), {})

    def spread(values: NDArray) -> str:
        deviation = f" ± {100 * values.std(ddof=1):4.2f}" if len(values) > 1 else ""
        return f"{100 * values.mean():.2f}{deviation}"

    heads = ("target test", "adapting", "source test", "A-distance", "of logits", "published")
    rows = [
        f"{name_of(source)} to {name_of(target)}: {config.protocol}, {config.scaling} scaling, {config.colour}, "
        f"{config.seeds} seeds, last step; accuracy in percent",
        f"{'method':16}" + "".join(f"{head:>16}" for head in heads) + "  by its protocol",
    ]
    for name, line in lines.items():
        distances = [f"{one.mean():.2f}" if one.size else "-" for one in (line.a_distance, line.of_logits)]
        published = f"{known[name].accuracy:>16g}  {known[name].protocol}" if name in known else f"{'-':>16}"
        rows.append(
            f"{name:16}{spread(line.accuracy):>16}{spread(line.adapting):>16}{spread(line.source):>16}"
            f"{distances[0]:>16}{distances[1]:>16}{published}"
        )
    if source.classes == target.classes:
        shares = [np.bincount(data.y("class"), minlength=data.classes or 0) for data in (source, target)]  # type: ignore[arg-type]
        rows.append(f"features alike in both domains err at least {label_shift_bound(*shares):.4f} in both together")
    return rows


def compute(config: Config, workdir: Path) -> list[str]:
    """Every task, method and seed; the table and the pictures."""
    a, b = load(config.data), load(config.target)
    for data in (a, b):
        if data.y_train is None or data.y_test is None:
            raise DataError(f"{data.name} lacks labels of training or of held-out images, by which the table is taken")
    told, parts, kept = [], [], {}
    for source, target in [(a, b), *([(b, a)] if config.both_ways else [])]:
        own = config
        if source is b:  # the numbers are those of the sets
            own = replace(config, source_count=config.target_count, target_count=config.source_count)
        task, found, lines = f"{name_of(source)} to {name_of(target)}", {}, {}
        for name, one in of_task(own, source, target):
            found[name], lines[name] = one, measured(one, config.judged)
            if name == ON_TARGET:  # where there is one domain
                lines[name] = lines[name]._replace(a_distance=np.empty(0), of_logits=np.empty(0))
            kept[task] = {name: {k: v.tolist() for k, v in line._asdict().items()} for name, line in lines.items()}
            write_atomically(workdir / "results.json", json.dumps(kept) + "\n")  # what there is, should the rest fail
        told += [*table(own, source, target, lines), ""]
        parts += curves(own, task, found, lines)
        path = workdir / f"features_{name_of(source)}_{name_of(target)}.png"
        draw_features(own, found, path)
        told.append(str(path))
    path = workdir / "accuracy.png"
    panels(parts, path, columns=2, size=(6.4, 4.4))
    return [*told, str(path)]


def curves(config: Config, task: str, found: Mapping[str, Trained], lines: Mapping[str, Line]) -> list[Panel]:
    """Mean accuracy on the target over steps, of methods with a critic and of others, and the classifiers as lines."""
    steps = np.arange(1, config.looks + 1) * (config.steps // config.looks)
    levels = {name: 100 * lines[name].accuracy.mean() for name in ("source_only", ON_TARGET) if name in lines}
    groups: dict[bool, list[Series]] = {True: [], False: []}
    for name, one in found.items():
        if name not in levels:
            groups[name in ADVERSARIAL].append(Series(steps, 100 * one.curve.mean(0), name))
    named = ((f"{task}, {'with' if critic else 'without'} a critic", own) for critic, own in groups.items() if own)
    parts = [Panel(own, "steps", "accuracy on the target (%)", title, lines=levels) for title, own in named]
    return parts or [Panel([], "steps", "accuracy on the target (%)", task, lines=levels)]


def draw_features(config: Config, found: Mapping[str, Trained], path: Path) -> None:
    """Features of both domains under the classifier of the source and after the method: by domain and by class."""
    names = list(dict.fromkeys(("source_only", config.picture)))
    figure = new_figure(8.4, 4.0 * len(names))
    figure.suptitle(f"features in the plane ({config.projection})", fontsize=TITLE, color=INK)
    for row, name in zip(figure.subplots(len(names), 2, squeeze=False), names, strict=True):
        one = found[name]
        data = [one.setup.streams[domain].dataset for domain in DOMAINS]
        sets = [some(own, "test", min(SHOWN, config.judged)) for own in data]
        said, weights = asked(one.judge), one.weights(0)
        features = [said(weights, x, domain)[0] for (x, _), domain in zip(sets, DOMAINS, strict=True)]
        points = projected(np.concatenate(features), config.projection)
        domains = np.repeat([0, 1], [len(part) for part in features])
        _scatter(row[0], points, domains, DOMAINS)
        _scatter(row[1], points, np.concatenate([y for _, y in sets]), data[0].class_names)
        row[0].set_ylabel(name.replace("_", " "), fontsize=TITLE, color=INK)
    save_figure(figure, path)


def projected(x: NDArray, how: str) -> NDArray:
    """[N, F] features to [N, 2]."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    return PCA(2).fit_transform(x) if how == "pca" else TSNE(init="pca", random_state=0).fit_transform(x)


def _scatter(axes: Any, points: NDArray, by: NDArray, names: Sequence[str] | None) -> None:
    """Points coloured by a number that they have."""
    import matplotlib

    many = by.max() > 1
    for value in np.unique(by):
        tint = matplotlib.colormaps["tab10"](value % 10) if many else colour(value)
        label = names[value] if names else str(value)
        axes.plot(*points[by == value].T, "o", color=tint, markersize=2.5, markeredgewidth=0, alpha=0.7, label=label)
    axes.set(xticks=[], yticks=[])
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, frameon=False, fontsize=SMALL, markerscale=2.5,
        handletextpad=0.1, columnspacing=0.8,
    )  # fmt: skip


SMOKE = {"methods": ("source_only",), "on_target": False, "seeds": 1, "steps": 1, "source_steps": 1, "looks": 1,
         "batch_size": 4, "judged": 20, "picture": "source_only", "projection": "pca"}  # fmt: skip
EXPERIMENT = launch.Experiment("adaptation_table", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
