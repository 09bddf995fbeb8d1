"""The score tables of a page: every metric beside its floor, and the receipt of how it came about."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ganjax.report.history import is_number
from ganjax.report.html import Html, details, join, table, tag
from ganjax.report.run import Run

# What a metric says, by a word in its name.
HINTS = {
    "fid": "Fréchet distance of Gaussians fitted to features of samples and of real images; falls with n, so compare "
    "at one n only.",
    "kid": "Squared kernel distance (MMD) of features; unbiased, so a perfect generator scatters around 0.",
    "frame_frechet": "Fréchet distance of all frames of clips, in features of frames; blind to their order.",
    "frechet": "Fréchet distance of Gaussians fitted to these features; not comparable with FID, nor at another n.",
    "kernel": "Squared kernel distance (MMD) of these features; unbiased, so a perfect generator scatters around 0.",
    "inception_score": "How sure the network is of each sample's class, and how many classes it sees.",
    "classifier_score": "The inception score with another classifier: sure of each sample, and of many classes.",
    "precision": "Share of samples that lie among real images: fidelity.",
    "recall": "Share of real images that lie among samples: diversity.",
    "density": "How closely real images surround a sample; can pass 1.",
    "coverage": "Share of real images that have a sample nearby.",
    "sliced_wasserstein": "Mean transport distance of projections on random lines.",
    "modes": "How many modes or classes of the data the samples hit.",
    "mode_kl": "Divergence of the samples' modes from equal shares, which sees uneven modes that a count does not.",
    "memorised": "Share of samples that lie suspiciously near to a training image; the floor is that of real images.",
    "duplicates": "Share of samples as near to another one as hardly any two real images are.",
    "time_per_sample": "Milliseconds of wall time for a sample, in full calls on the device that the receipt names.",
    "motion_consistency": "Share of the steps of what is bright that are those of one thing bouncing between walls.",
    "straightness": "Share of the frames away from walls at which what is bright goes straight on, to half a pixel.",
    "at_rest": "Share of the steps in which what is bright moves less than half a pixel: what is frozen has 1.",
    "ink_variation": "How much the brightness of a clip varies over its frames, relative to its mean.",
    "identity": "Share of a clip's frames whose class, for the classifier, is that of most of them.",
    "accuracy": "Share of examples that a classifier gets right.",
}
CIRCUMSTANCES = {"created", "ganjax", "jax", "device", "config_digest"}  # of a receipt, as opposed to the protocol
BETTER = {"lower": "↓ lower is better", "higher": "↑ higher is better"}
EXPLANATION = (
    "Floor: the same metric of real images against real images at the same n, which no generator is expected to pass. "
    "Held out: against images that training never saw; samples that do much better against training images than "
    "against these are copies."
)


def number(value: Any) -> str:
    """A number for reading, four digits of it; a dash for none.

    >>> [number(value) for value in (3000, 0.123456, 123456.7, None, "x")]
    ['3,000', '0.1235', '123,457', '–', 'x']
    """
    if value is None:
        return "–"
    if not is_number(value):
        return str(value)
    return f"{value:,.0f}" if isinstance(value, int) or 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def spelled(value: Any) -> str:
    """A JSON value in full; a string without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def hint(name: str) -> str:
    """What a metric means; nothing for an unknown one.

    >>> hint("KID (x 1000)")[:23]
    'Squared kernel distance'
    """
    words = f"_{re.sub('[^a-z0-9]+', '_', name.lower())}_"
    return next((text for word, text in HINTS.items() if f"_{word}_" in words), "")


def score_tables(run: Run) -> Html:
    """The newest last and the newest best score of each protocol, the earlier ones folded up."""
    shown: dict[str, Mapping[str, Any]] = {}
    for score in run.scores:
        shown.setdefault(_protocol(score), score)
    earlier = [score for score in run.scores if not any(score is other for other in shown.values())]
    parts = [
        tag("p", EXPLANATION, class_="note"),
        tag("div", *(_score(score) for score in shown.values()), class_="scores"),
    ]
    if earlier:
        parts.append(details(f"Earlier scores ({len(earlier)})", *(_score(score) for score in earlier)))
    return join([*parts, _meanings(run)])


def _protocol(score: Mapping[str, Any]) -> str:
    """All by which a score was taken, but for when, by which versions and at which step of the run."""
    asked = {key: value for key, value in score["receipt"].items() if key not in CIRCUMSTANCES}
    return json.dumps([score.get("which"), score.get("weights"), asked], sort_keys=True)


def _said(receipt: Mapping[str, Any]) -> str:
    """The protocol in a line: what tells the scores of a page from each other."""
    drawn = [f"truncated at {receipt.get('truncation')}"] if receipt.get("truncation", "inf") != "inf" else []
    standing = str(receipt.get("batch_norm"))
    drawn += [standing] if standing.startswith("standing") else []
    samples = f"{number(receipt.get('count'))} samples"
    reference = f"{number(receipt.get('reference_count'))} real images of the split {receipt.get('reference')}"
    judged = [f"{samples} against {reference}", f"seed {receipt.get('seed')}", f"seen by {receipt.get('extractor')}"]
    return ", ".join([*judged, *drawn])


def _meanings(run: Run) -> Html:
    """What the metrics of the scores mean, where that is known."""
    names = dict.fromkeys(name for score in run.scores for name in score["metrics"])
    known = [(name.replace("_", " "), hint(name)) for name in names if hint(name)]
    return join([tag("h3", "What they mean"), table((), known, class_="pairs")]) if known else Html("")


def _score(score: Mapping[str, Any]) -> Html:
    receipt = score["receipt"]
    other = {key: value for key, value in score.items() if key not in ("metrics", "receipt")}
    fields = [(key, spelled(value)) for key, value in (receipt | other).items()]
    kind, weights = str(score.get("which", "score")).capitalize(), score.get("weights", "unknown")
    return tag(
        "article",
        tag("h3", f"{kind}: step {number(score['step'])}, {weights} weights"),
        *([tag("p", _said(receipt), class_="note")] if receipt else []),
        table(
            ("metric", "value", "floor", "held out"),
            [_metric(name, one) for name, one in score["metrics"].items()],
            class_="measured",
        ),
        details("Receipt", table((), fields, class_="pairs")),
    )


def _metric(name: str, one: Mapping[str, Any]) -> list[object]:
    """A metric's row: its name with the better direction and its note, then value, floor and held-out figure."""
    better = BETTER.get(str(one.get("better")), "")
    said = [tag("small", part) for part in (better, one.get("note")) if part]
    value = tag("strong", number(one["value"]))
    return [join([name.replace("_", " "), *said]), value, number(one.get("floor")), number(one.get("held_out"))]
