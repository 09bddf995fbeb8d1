"""Generative and discriminative: a model of the joint, or of the decision alone, and the family tree of models.

Claim: a classifier that models the joint can do with fewer examples where its assumptions hold, and ends worse where
they do not; logistic regression ends at the least error of a linear rule either way. A joint answers what a decision
cannot: features that are missing are integrated out.
Paper: Ng and Jordan, On Discriminative vs. Generative Classifiers, 2002; Efron, The Efficiency of Logistic Regression
Compared to Normal Discriminant Analysis, 1975; Goodfellow, NIPS Tutorial, 2016 (figure 9, the tree).
Command: python experiments/generative_discriminative.py train --workdir runs/generative_discriminative
Time: about a minute and a half on 2 CPU cores that were shared.
Figure: runs/generative_discriminative/curves.png, errors against the number of examples above the dashed errors with
all data; missing.png, errors with features missing; taxonomy.png, the tree with the experiments that run each leaf.
Classifiers are scikit-learn's; logistic regression is hardly regularised (C = 10^4; 1 with features missing).
What we measured (seed 0, 100 draws, 10 from 1,000 examples on): 20 bits that naive Bayes describes: .318 with 10
examples where logistic regression has .441, both at .192 to .200 with 320; Bayes' error is .186092. With four of the
bits six times naive Bayes ends at .251211: it leads up to 40 examples (.305, .357), trails from 80 on (.292, .264),
.249 and .185 with 4,000. A linear discriminant of 20 dimensions that is true has no such start: at 20 examples its
covariance is all but singular (.423, logistic regression .290), from 80 on it leads (.222, .247), and both end at
.158655; Efron's efficiency at this distance of 2 is .899. On scikit-learn's sets the first regime hardly shows: breast
cancer .119 and .097 with 10 examples, .066 and .043 with 370; digits 3 and 8 as bits .093 and .096 with 10, .046 and
.036 with 200: samples that a plane separates leave logistic regression near the widest margin. With 60 % of the
features missing at random the discriminant errs on .059 of breast cancer by integrating them out, on .373 with means
filled in, logistic regression with means on .075; filling in E[x_m | x_o] of one Gaussian for all decides as
integration does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, stats
from scipy.special import expit
from tqdm import tqdm

from ganjax import gaussians, launch
from ganjax.config import require
from ganjax.errors import ConfigError, did_you_mean
from ganjax.report import Panel, Series, panels
from ganjax.report.style import INK, LABEL, SMALL, TITLE, colour, new_figure, save_figure

SIZES = (10, 20, 40, 80, 160, 320, 1000, 4000)
MANY = 1000  # from here on a tenth of the draws will do
BITS, P = 20, 0.6
Sample = Callable[[np.random.Generator, int], tuple[NDArray, NDArray]]  # (rng, n) -> x [n, D], y [n]


@dataclass(frozen=True)
class Config:
    """The repetitions, and which parts to run."""

    draws: int = 100
    """Training sets of each size; a tenth of them from 1,000 examples on."""
    tests: int = 10_000
    """Fresh examples on which the classifiers of each draw are judged."""
    parts: tuple[str, ...] = ("curves", "sets", "missing", "taxonomy")
    """Which of curves, sets, missing and taxonomy."""
    seed: int = 0
    """Of all draws."""

    def __post_init__(self):
        for name in ("draws", "tests"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in self.parts:
            if name not in PARTS:
                raise ConfigError(f'--parts: "{name}" is unknown{did_you_mean(name, PARTS)}')
        require(self, "parts", len(self.parts) > 0, "one part at least")


# -- learning curves with known ends ----------------------------------------------------------------------------------


class Task(NamedTuple):
    """Two classes of equal priors, and where each classifier ends."""

    name: str
    sample: Sample
    generative: Callable[[], Any]
    ends: tuple[float, float]  # errors of the generative and of the discriminative classifier with all data


def votes(weights: NDArray) -> float:
    """The error of `sum_i w_i (2 b_i - 1) > 0` on bits that are right with the probability .6; a tie is half an error.

    The law of the sum is the convolution of those of its terms.
    """
    law = {0: 1.0}
    for w in np.asarray(weights, int):
        after: dict[int, float] = {}
        for at, share in law.items():
            for step, p in ((w, P), (-w, 1 - P)):
                after[at + step] = after.get(at + step, 0.0) + p * share
        law = after
    return sum(share * (1.0 if at < 0 else 0.5) for at, share in law.items() if at <= 0)


def bits(copies: int) -> Sample:
    """20 independent bits, of which the first four come so many times more."""

    def sample(rng: np.random.Generator, n: int) -> tuple[NDArray, NDArray]:
        y = rng.integers(0, 2, n)
        x = (rng.uniform(size=(n, BITS)) < np.where(y, P, 1 - P)[:, None]).astype(float)
        return np.concatenate([x, *[x[:, :4]] * copies], 1), y

    return sample


def normals(size: int, distance: float) -> Sample:
    """Two normal laws N(+-distance / 2 e_1, I)."""

    def sample(rng: np.random.Generator, n: int) -> tuple[NDArray, NDArray]:
        y = rng.integers(0, 2, n)
        x = rng.normal(size=(n, size))
        x[:, 0] += (y - 0.5) * distance
        return x, y

    return sample


def efficiency(distance: float) -> float:
    """Of logistic regression relative to linear discriminant analysis where that is true, priors equal (Efron 1975).

    `(4 + Delta^2) E[pi (1 - pi)]`, the ratio of their excess errors with many data, pi = sigmoid(Delta x) the posterior
    and Delta the distance; for directions orthogonal to the axis.
    """

    def density(x: float) -> float:
        return (stats.norm.pdf(x - distance / 2) + stats.norm.pdf(x + distance / 2)) / 2

    def inner(x: float) -> float:
        return density(x) * expit(distance * x) * expit(-distance * x)

    return (4 + distance**2) * integrate.quad(inner, -distance - 12, distance + 12, epsabs=1e-13)[0]


def tasks() -> list[Task]:
    """Naive Bayes where it is true and where it is not, and linear discriminant analysis where it is."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.naive_bayes import BernoulliNB

    bayes, wrong = votes(np.ones(BITS)), votes(np.array([6] * 4 + [1] * 16))
    apart = 2.0
    least = float(stats.norm.cdf(-apart / 2))
    return [
        Task("naive Bayes, its assumption true", bits(0), BernoulliNB, (bayes, bayes)),
        Task("naive Bayes, four bits six times", bits(5), BernoulliNB, (wrong, bayes)),
        Task("linear discriminant, true", normals(BITS, apart),
             lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1e-6), (least, least)),
    ]  # fmt: skip


def discriminative(strength: float = 1e4) -> Any:
    """Logistic regression, hardly regularised unless told."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=500)


def both_classes(draw: Callable[[], tuple[NDArray, NDArray]]) -> tuple[NDArray, NDArray]:
    """A draw with two examples of each class at least."""
    x, y = draw()
    while min(y.sum(), len(y) - y.sum()) < 2:
        x, y = draw()
    return x, y


def curve(task: Task, config: Config, rng: np.random.Generator) -> NDArray:
    """Mean errors and their standard errors, [2 classifiers, sizes, 2]."""
    found = np.empty((2, len(SIZES), 2))
    for i, size in enumerate(tqdm(SIZES, desc=task.name, unit="size")):
        errors = []
        for _ in range(max(1, config.draws // 10 if size >= MANY else config.draws)):
            x, y = both_classes(lambda size=size: task.sample(rng, size))  # type: ignore[misc]
            x_test, y_test = task.sample(rng, config.tests)
            errors.append(
                [(m.fit(x, y).predict(x_test) != y_test).mean() for m in (task.generative(), discriminative())]
            )
        found[:, i, 0] = np.mean(errors, 0)
        found[:, i, 1] = np.std(errors, 0) / np.sqrt(len(errors))
    return found


def curves(config: Config, workdir: Path) -> list[str]:
    """Errors against the number of examples, and where they end."""
    rng = np.random.default_rng(config.seed)
    lines, parts = [f"{'mean error with m =':36}" + "".join(f"{m:8,}" for m in SIZES) + f"{'end':>9}"], []
    for task in tasks():
        found = curve(task, config, rng)
        series = []
        for i, word in enumerate(("generative", "logistic regression")):
            lines.append(
                f"{task.name if not i else '':36}"[:36]
                + "".join(f"{e:8.3f}" for e in found[i, :, 0])
                + f"{task.ends[i]:9.6f} {word}"
            )
            mean, error = found[i, :, 0], found[i, :, 1]
            series += [
                Series(SIZES, mean - 2 * error, kind="band", tint=i, y2=mean + 2 * error),
                Series(SIZES, mean, word, tint=i),
            ]
            series.append(Series(SIZES, np.full(len(SIZES), task.ends[i]), "with all data", "predicted", i))
        parts.append(Panel(series, "training examples", "error", task.name, log="x", ylim=(0.14, 0.48)))
    table = ", ".join(f"{d:g}: {efficiency(d):.3f}" for d in np.arange(0.5, 4.1, 0.5))
    lines.append(f"efficiency of logistic regression where the linear discriminant is true, by distance: {table}")
    figure = workdir / "curves.png"
    panels(parts, figure, columns=3, size=(4.2, 3.6), title="A model of the joint, or of the decision alone")
    return [*lines, str(figure)]


# -- real sets --------------------------------------------------------------------------------------------------------


def sets(config: Config, workdir: Path) -> list[str]:
    """Gaussian naive Bayes and logistic regression on sets of scikit-learn: the first regime hardly shows."""
    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.naive_bayes import BernoulliNB, GaussianNB

    cancer, digits = load_breast_cancer(return_X_y=True), load_digits(return_X_y=True)
    pair = np.isin(digits[1], (3, 8))
    found = {
        "breast cancer": (*cancer, GaussianNB, (10, 40, 370)),
        "digits 3 and 8": ((digits[0][pair] >= 8) * 1.0, digits[1][pair], BernoulliNB, (10, 40, 200)),
    }
    lines = [f"{'set':18}{'m':>6}{'naive Bayes':>13}{'logistic':>10}"]
    rng = np.random.default_rng(config.seed)
    for name, (x, y, generative, sizes) in found.items():
        for size in sizes:
            errors = []
            for _ in range(max(1, config.draws // 2)):
                split = train_test_split(x, y, train_size=size, stratify=y, random_state=int(rng.integers(2**31)))
                scale = np.maximum(split[0].std(0), 1e-9)
                a, b = ((part - split[0].mean(0)) / scale if generative is GaussianNB else part for part in split[:2])
                errors.append(
                    [(m.fit(a, split[2]).predict(b) != split[3]).mean() for m in (generative(), discriminative())]
                )
            mean = np.mean(errors, 0)
            lines.append(f"{name:18}{size:6d}{mean[0]:13.3f}{mean[1]:10.3f}")
    return lines


# -- missing features -------------------------------------------------------------------------------------------------

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)


def missing(config: Config, workdir: Path) -> list[str]:
    """Error on breast cancer where features of the test examples are missing at random; training sees all."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    x, y = load_breast_cancer(return_X_y=True)
    rng = np.random.default_rng(config.seed)
    errors: dict[str, list] = {name: [] for name in ("marginalised", "completed", "mean filled in", "logistic, mean")}
    for _ in range(max(1, config.draws // 5)):
        split = train_test_split(x, y, test_size=0.3, stratify=y, random_state=int(rng.integers(2**31)))
        center, scale = split[0].mean(0), split[0].std(0)
        a, b = ((part - center) / scale for part in split[:2])
        pi = np.bincount(split[2]) / len(split[2])
        laws = [gaussians.fit(a[split[2] == k]) for k in (0, 1)]
        pooled = sum(p * law.covariance for p, law in zip(pi, laws, strict=True))
        laws = [law._replace(covariance=pooled) for law in laws]
        whole, logistic = gaussians.fit(a), discriminative(1.0).fit(a, split[2])
        told: dict[str, list] = {name: [] for name in errors}
        for share in SHARES:
            holes = np.where(rng.uniform(size=b.shape) < share, np.nan, b)
            filled = np.nan_to_num(holes)  # the mean is 0
            said = {
                "marginalised": gaussians.posterior(pi, laws, holes),
                "completed": gaussians.posterior(pi, laws, gaussians.completed(whole, holes)),
                "mean filled in": gaussians.posterior(pi, laws, filled),
                "logistic, mean": logistic.predict_proba(filled),
            }
            for name, p in said.items():
                told[name].append((p.argmax(1) != split[3]).mean())
        for name, values in told.items():
            errors[name].append(values)
    lines, series = [f"{'breast cancer, missing':24}" + "".join(f"{share:8.1f}" for share in SHARES)], []
    for name, values in errors.items():
        mean = np.mean(values, 0)
        lines.append(f"{name:24}" + "".join(f"{e:8.3f}" for e in mean))
        series.append(Series(SHARES, mean, name, "mark" if name == "completed" else "line"))
    figure = workdir / "missing.png"
    part = Panel(series, "share of features that are missing", "error", "linear discriminant with features missing")
    panels([part], figure, size=(5.6, 4.0))
    return [*lines, str(figure)]


# -- taxonomy ---------------------------------------------------------------------------------------------------------


class Leaf(NamedTuple):
    """A family of models, what it can do, and the experiments that run it."""

    branch: tuple[str, ...]  # from the root
    name: str
    experiments: str
    density: str  # what it says of log p(x)
    rest: tuple[str, ...]  # sampling, latent, missing features, trained by


COLUMNS = ("log p(x)", "sampling", "latent", "missing or asked for", "trained by")
TRACTABLE, APPROXIMATE, IMPLICIT = ("explicit", "tractable"), ("explicit", "approximate"), ("implicit",)
LEAVES = (
    Leaf(TRACTABLE, "Gaussian, naive Bayes, mixture", "generative_discriminative, sixteen_pixels", "exact",
         ("one pass", "exact", "exact", "likelihood, EM")),
    Leaf(TRACTABLE, "autoregression", "pixelcnn, pixelrnn, sixteen_pixels", "exact",
         ("pixel by pixel", "none", "a prefix only", "likelihood")),
    Leaf(TRACTABLE, "flow", "flow", "exact", ("one pass", "exact inverse", "none", "likelihood")),
    Leaf(APPROXIMATE, "variational", "vae, vqvae", "a bound", ("one pass", "q(z | x)", "by Gibbs, nearly", "bound")),
    Leaf(APPROXIMATE, "Markov chain: RBM, boosting", "boosting, sixteen_pixels", "up to Z",
         ("Markov chain", "exact p(h | v)", "Gibbs, clamped", "CD, contrast, discriminators")),
    Leaf(IMPLICIT, "one pass: GAN", "vanilla_gan, dcgan, biggan, ...", "none",
         ("one pass", "none, or an encoder's", "none", "game")),
    Leaf(IMPLICIT, "code of an autoencoder", "autoencoder", "none",
         ("fit the codes first", "encoder", "none", "reconstruction")),
)  # fmt: skip
TINTS = {"exact": 2, "a bound": 4, "up to Z": 3, "none": 1}


def taxonomy(config: Config, workdir: Path) -> list[str]:
    """Goodfellow's tree of generative models, each leaf with the experiments that run it, coloured by its density."""
    del config
    figure = new_figure(16.0, 4.8, layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set(xlim=(0, 16), ylim=(len(LEAVES) - 0.2, -1.7))
    heights: dict[tuple[str, ...], list[float]] = {}
    for place, leaf in enumerate(LEAVES):
        for depth in range(len(leaf.branch) + 1):
            heights.setdefault(leaf.branch[:depth], []).append(place)
    at = {branch: float(np.mean(places)) for branch, places in heights.items()}
    x = {0: 0.15, 1: 1.6, 2: 2.75}

    def line(x_0: float, y_0: float, x_1: float, y_1: float) -> None:
        axes.plot([x_0, x_1], [y_0, y_1], color=INK, lw=0.8, zorder=0)

    def box(x: float, y: float, text: str, **options: Any) -> None:
        face = {"boxstyle": "round,pad=0.3", "fc": "white", "ec": INK, "lw": 0.8} | options
        axes.text(x, y, text, va="center", fontsize=LABEL, color=INK, bbox=face)

    for branch, y in at.items():
        if branch:
            line(x[len(branch) - 1] + 0.4, at[branch[:-1]], x[len(branch)], y)
        box(x[len(branch)], y, branch[-1] if branch else "generative\nmodels")
    for place, leaf in enumerate(LEAVES):
        line(x[len(leaf.branch)] + 0.4, at[leaf.branch], 4.3, place - 0.15)
        box(4.3, place - 0.15, leaf.name, ec=colour(TINTS[leaf.density]), lw=1.8)
        axes.text(4.25, place + 0.3, leaf.experiments, va="center", fontsize=SMALL, color=INK, family="monospace")
    for column, (head, left) in enumerate(zip(COLUMNS, (8.2, 9.2, 10.6, 12.2, 13.9), strict=True)):
        axes.text(left, -0.75, head, va="center", fontsize=LABEL, color=INK, weight="bold")
        for place, leaf in enumerate(LEAVES):
            word = (leaf.density, *leaf.rest)[column]
            tint = INK if column else colour(TINTS[leaf.density])
            axes.text(left, place, word, va="center", fontsize=LABEL, color=tint)
    axes.text(
        4.3, -0.75, "family, and the experiments that run it", va="center", fontsize=LABEL, color=INK, weight="bold"
    )
    axes.text(
        0.15, -1.35, "What a generative model says of its density (after Goodfellow 2016)", fontsize=TITLE, color=INK
    )
    figure_path = workdir / "taxonomy.png"
    save_figure(figure, figure_path)
    return [str(figure_path)]


PARTS: Mapping[str, Callable[[Config, Path], list[str]]] = {
    "curves": curves, "sets": sets, "missing": missing, "taxonomy": taxonomy,
}  # fmt: skip


def compute(config: Config, workdir: Path) -> list[str]:
    """The parts that were asked for, one after another."""
    return [line for name in config.parts for line in PARTS[name](config, workdir)]


SMOKE = {"draws": 1, "tests": 100, "parts": ("missing", "taxonomy")}
EXPERIMENT = launch.Experiment("generative_discriminative", __doc__, Config(), SMOKE, compute=compute)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
