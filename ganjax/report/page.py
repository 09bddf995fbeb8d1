"""The page of a run: one file that shows what was trained, how well, and what to beware of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganjax import __version__
from ganjax.errors import DataError, printable, reason
from ganjax.files import write_atomically
from ganjax.report.findings import Finding, findings
from ganjax.report.history import Records, to_columns
from ganjax.report.html import Html, details, gif, join, player, png, table, tag
from ganjax.report.learning import group_figures
from ganjax.report.run import Run, read
from ganjax.report.scores import number, score_tables, spelled
from ganjax.report.style import to_png
from ganjax.rundir import config_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRIDS = 8  # sample pictures shown
HEARD = 16  # recordings of the last of them that can be played
LABEL = 60  # characters of a metric's name in a chart
TEXTS, LETTERS = 24, 10_000  # sampled texts shown as such, and characters of all of them
PICTURES, LARGE = 16, 2400  # of other names, and pixels of the longer side of each
SMALL = 480  # pixels of the longer side of all but the last
# The page may load nothing and run nothing, whatever a file of the run holds.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; media-src data:; base-uri 'none'; form-action 'none'"
)
MADE = "Held-out images, what each sampler makes of them, and what they should have become, where that is known."
NEIGHBOURS = (
    "Each sample (orange) beside its nearest training images, with the Euclidean distance over all pixels. The control "
    "rows (blue) do the same for held-out real images. A sample that looks like its neighbour, or a median distance "
    "well under that of held-out images, is a sign of memorisation. Nearness in pixels misses shifted copies."
)


def write_page(
    workdir: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
) -> Path:
    """Write what the files of a run say as one page that needs nothing else and opens anywhere.

    Files that are missing or damaged become notes on the page. Pictures of other names, such as experiments and their
    own commands leave in the run directory, are shown under these. Of a run of several stages, what each has left
    stands under its name.

    Args:
      workdir: run directory with config.json; of the rest, what there is: metrics.jsonl, judge.jsonl,
        alarms.jsonl, scores/*.json, samples/<step>.png, panel.png, made.png, neighbours.png, checkpoints/, and the
        same in the folders of stages.
      out: the file to write; report.html in the run directory when None.
      defaults: the experiment's default config, from which the page marks what was changed.

    Returns:
      The file written.

    Raises:
      ConfigError: the directory has no config.json.
    """
    run = read(workdir)
    path = run.workdir / "report.html" if out is None else Path(out)
    write_atomically(path, _page(run, defaults or {}).encode())
    return path


def _page(run: Run, defaults: Mapping[str, Any]) -> str:
    name = run.workdir.resolve().name
    found = findings(run)
    stages = {f"Stage {name}": _stage(own) for name, own in run.stages.items()}
    sections = {"Protocol": [_facts(run), _config(run, defaults)]} | (stages or _trained(run))
    sections |= {"Pictures": [_pictures(run)]} if run.pictures else {}
    sections["Warnings"] = [_warnings(run, found)]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{run.record['experiment']}: {name}"),
        tag("style", Html(resources.files("ganjax.report").joinpath("page.css").read_text())),
    ]
    body = [
        _header(run, name, list(sections), len(found)),
        *(_section(title, parts) for title, parts in sections.items()),
        tag("footer", f"Written by ganjax {__version__} from the files of the run alone."),
    ]
    return "<!DOCTYPE html>\n" + tag("html", tag("head", *head), tag("body", *body), lang="en") + "\n"


def _trained(run: Run) -> dict[str, list[Html]]:
    """What training and evaluating have left, by title."""
    return {
        "Scores": [score_tables(run) if run.scores else _note("This run has no scores.")],
        "Curves": [*_curves("", run.metrics), *_curves("Light judge", run.judge, hidden=("count", "floor"))],
        "Samples": [
            *_grids(run),
            *_moving(run),
            _picture(run, "panel.png", "Samples of the same latents by training step.", "wide"),
            *([_picture(run, "made.png", MADE, "beside")] if (run.workdir / "made.png").exists() else []),
        ],
        "Neighbours": [_picture(run, "neighbours.png", NEIGHBOURS, "beside")],
    }


def _stage(run: Run | None) -> list[Html]:
    """What a stage has left, under its name."""
    if run is None:
        return [_note("This stage has not begun.")]
    sections = _trained(run) | ({"Pictures": [_pictures(run)]} if run.pictures else {})
    parts = [tag("section", tag("h3", title), *parts) for title, parts in sections.items()]
    return [tag("p", " · ".join(_progress(run))), *parts]


def _pictures(run: Run) -> Html:
    """What else was drawn of the run, by the names of the files: the newest."""
    newest = sorted(run.pictures, key=lambda path: path.stat().st_mtime)[-PICTURES:]
    shown = [_figure(path, path.name, path.name, LARGE, class_="wide") for path in sorted(newest)]
    if left := len(run.pictures) - len(newest):
        shown.append(_note(f"{_count(left, 'older picture')} in {run.workdir.name} left out."))
    return join(shown)


def _section(title: str, parts: list[Html]) -> Html:
    return tag("section", tag("h2", title), *parts, id=_id(title))


def _id(title: str) -> str:
    return "-".join(title.lower().split())


def _note(sentence: str) -> Html:
    return tag("p", sentence, class_="note")


def _header(run: Run, name: str, titles: list[str], warnings: int) -> Html:
    begun = [own for own in run.stages.values() if own]
    progress = [f"{len(begun)} of {_count(len(run.stages), 'stage')} begun"] if run.stages else _progress(run)
    links = [tag("a", title, href=f"#{_id(title)}") for title in titles[:-1]]
    links.append(tag("a", _count(warnings or "No", "warning"), href="#warnings", class_="badge"))
    return tag(
        "header",
        tag("h1", run.record["experiment"], " ", tag("span", name)),
        tag("p", " · ".join([*progress, f"last written {_when([run, *begun])}"])),
        tag("nav", *links),
    )


def _count(many: Any, thing: str) -> str:
    return f"{many} {thing}" + ("" if many == 1 else "s")


def _progress(run: Run) -> list[str]:
    """How far it has come, and how long that took."""
    wanted = f" of {number(run.wanted)}" if run.wanted else ""
    step = [f"step {number(run.step)}{wanted}"] if run.trains else []
    return [*step, *([f"{_duration(run.seconds)} of training"] if run.seconds else [])]


def _when(runs: Iterable[Run]) -> str:
    """When they last wrote, by the clock of their files."""
    files = [run.workdir / name for run in runs for name in ("config.json", "metrics.jsonl")]
    newest = max(path.stat().st_mtime for path in files if path.exists())
    return f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M} UTC"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _facts(run: Run) -> Html:
    """The run in a dozen words."""
    last = [run, *(own for own in run.stages.values() if own)][-1]
    config, receipt = run.record["config"], last.scores[0]["receipt"] if last.scores else {}
    devices = last.checkpoint.get("devices")
    facts = {
        "data": config.get("data"),
        "loss": config.get("loss"),
        "batch": config.get("batch_size"),
        "seed": config.get("seed"),
        "ganjax": run.record.get("ganjax"),
        "jax": last.checkpoint.get("jax") or receipt.get("jax"),
        "device": receipt.get("device") or (devices and _count(devices, "device")),
        "config digest": config_digest(config),
        "data digest": run.record["data_digest"],
    }
    short = {name: str(value)[:12] if "digest" in name else value for name, value in facts.items()}
    items = [
        tag("div", tag("dt", name), tag("dd", short[name], title=facts[name]))
        for name, value in facts.items()
        if value not in (None, "")
    ]
    return tag("dl", *items, class_="facts")


def _config(run: Run, defaults: Mapping[str, Any]) -> Html:
    config = run.record["config"]
    values = {name: spelled(value) for name, value in config.items()}
    usual = {name: spelled(value) for name, value in defaults.items()}
    changed = [(name, values[name], usual[name]) for name in values if values[name] != usual.get(name, values[name])]
    parts = []
    if changed:
        parts = [tag("h3", "Changed from the defaults"), table(("option", "value", "default"), changed)]
    elif defaults:
        parts = [_note("All values are the experiment's defaults.")]
    digests = {"data digest": run.record["data_digest"], "config digest": config_digest(config)}
    return join([*parts, details("All values", table((), (values | digests).items(), class_="pairs"))])


def _curves(title: str, records: Records, hidden: tuple[str, ...] = ()) -> Iterator[Html]:
    """One chart per group of metrics but the hidden ones, light raw lines under running medians."""
    columns = {_label(name): values for name, values in to_columns(records.rows).items() if name not in hidden}
    charts = group_figures(columns)
    if not charts:
        if not title:
            yield _note("There is no metric to draw.")
        return
    if title:
        yield tag("h3", title)
    yield tag("div", *(_chart(group, figure) for group, figure in charts.items()), class_="charts")


def _label(name: str) -> str:
    """A metric's name that matplotlib can show: invisible characters spelled out, no formula, not endless."""
    return printable(name)[:LABEL].replace("$", r"\$")


def _chart(group: str, figure: Figure) -> Html:
    labels = [str(line.get_label()) for line in figure.axes[0].get_lines()]
    names = ", ".join(label for label in labels if not label.startswith("_"))
    return tag("figure", png(to_png(figure), f"{group} over training steps: {names}"), class_="chart")


def _grids(run: Run) -> list[Html]:
    """An even selection of the sample pictures, the last one large."""
    steps = list(run.samples)
    if not steps:
        return [_note("There is no sample picture in samples/.")]
    chosen = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, GRIDS).round().astype(int))]
    small = [_grid(run.samples[step], step, SMALL) for step in chosen[:-1]]
    last = run.samples[chosen[-1]]
    return [
        tag("div", _grid(last, chosen[-1], None), tag("div", *small, class_="small"), class_="grids"),
        *_players(last.with_suffix("")),
        *_texts(last.with_suffix(".txt")),
    ]


def _players(folder: Path) -> list[Html]:
    """The recordings of a picture to listen to, in the order in which they are drawn; none where it has none."""
    paths = [path for path in sorted(folder.glob("*.wav")) if path.is_file()][:HEARD]
    return [tag("div", *(_player(path) for path in paths), class_="sounds")] if paths else []


def _player(path: Path) -> Html:
    """A recording of the run, or a note that it is damaged."""
    number = path.stem.lstrip("0") or "0"
    try:
        return tag("figure", player(path.read_bytes(), f"Sample {number}"), tag("figcaption", number))
    except (DataError, OSError) as error:
        return _note(f"{path.name} is {error}")


def _texts(path: Path) -> Iterator[Html]:
    """Samples that are texts, as such."""
    if path.is_file():
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                yield tag("pre", join(file.read(LETTERS).splitlines()[:TEXTS], "\n"))
        except OSError as error:
            yield _note(f"{path.name} cannot be read ({reason(error)})")


def _moving(run: Run) -> list[Html]:
    """The last sample picture of clips, animated."""
    step = max(run.samples, default=0)
    path = run.samples[step].with_suffix(".gif") if run.samples else None
    if path is None or not path.is_file():
        return []
    return [_figure(path, f"Samples at step {step:,}, animated", f"step {step:,}, animated", None, class_="beside")]


def _grid(path: Path, step: int, longest: int | None) -> Html:
    return _figure(path, f"Samples at step {step:,}", f"step {step:,}", longest)


def _picture(run: Run, name: str, caption: str, shape: str) -> Html:
    path = run.workdir / name
    return _figure(path, caption, caption, None, class_=shape) if path.is_file() else _note(f"There is no {name}.")


def _figure(path: Path, alt: str, caption: str, longest: int | None, **attributes: object) -> Html:
    """A picture of the run, or a note that it is damaged."""
    try:
        content = path.read_bytes()
        picture = gif(content, alt) if path.suffix == ".gif" else png(content, alt, longest=longest)
    except (DataError, OSError) as error:
        return _note(f"{path.name} is {error}")
    return tag("figure", tag("div", picture), tag("figcaption", caption), **attributes)


def _warnings(run: Run, found: list[Finding]) -> Html:
    kept = any((own.workdir / "alarms.jsonl").is_file() for own in (run, *run.stages.values()) if own)
    alarms = _note(f"This run {'kept' if kept else 'has no'} alarms.jsonl; the rest is seen from its files.")
    if not found:
        return join([_note("Nothing to warn of."), alarms])
    return join([tag("ul", *(_warning(one) for one in found), class_="warnings"), alarms])


def _warning(one: Finding) -> Html:
    figures = [tag("span", f"{name} ", tag("b", number(value))) for name, value in one.numbers.items()]
    return tag("li", tag("strong", one.name), " ", one.sentence, *([tag("div", *figures)] if figures else []))
