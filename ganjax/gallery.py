"""The pictures of a training run: its sample grids while it trains, its figures at the end."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ganjax.core import GameState, Sampler
from ganjax.data import Dataset, subsample
from ganjax.data.wav import save_recordings
from ganjax.files import write_atomically
from ganjax.report import curves, grid, nearest_neighbours, panel, save_image, scatter
from ganjax.report.alarms import write_alarms
from ganjax.report.animation import animated_grid, save_animation
from ganjax.report.rows import stack
from ganjax.report.signals import COLUMNS, ROWS, spectrograms, texts, waveforms
from ganjax.report.style import to_array
from ganjax.training import Given, Keys, Setup, draw, in_turn
from ganjax.training.sampling import given_kind, given_of, of_split
from ganjax.training.writers import Writers

COUNT = 64  # samples of a picture; 16 times as many points, fewer clips
STRIP = 8  # images side by side, where others stand under them
SHORTEST = 64  # samples of a waveform that is heard, and has a spectrogram
MOVING = 16  # clips of an animation


def animation_of(path: Path) -> Path:
    """Where the animation of a picture of clips lies."""
    return path.with_suffix(".gif")


def picture(setup: Setup, x: np.ndarray, path: Path, sampler: str = "", given: Given | None = None) -> np.ndarray:
    """Write samples as a picture of their kind; returns it, [H, W, 3] uint8.

    Images that were made of images stand under those, and under both what they should have been, where that is known.
    Waveforms are written as WAV files too, `000.wav` and so on in a folder beside the picture that is called as it is.
    Of points that do not lie in a plane the first two coordinates are drawn, or the only one, which the title says.

    Args:
        setup: what was trained.
        x: [N, ...] samples as stored.
        path: the .png to write.
        sampler: that drew them; the first by default.
        given: what they were asked for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draws = setup.sampler(sampler)
    data = setup.imitated(draws)
    if given and _of_given_images(setup, draws):
        return _save(_beside(setup, {sampler: draws}, {"drawn": x}, given), path)
    return PICTURES[data.kind.name](x, data, path)


def _of_given_images(setup: Setup, draws: Sampler) -> bool:
    """Whether a sampler makes images of images, or of maps of labels."""
    seen = None if draws.given is None else given_kind(setup, draws).name
    return setup.imitated(draws).kind.name == "image" and seen in ("image", "map")


def _beside(
    setup: Setup, samplers: Mapping[str, Sampler], drawn: Mapping[str, np.ndarray], given: Given
) -> tuple[list[str], list[np.ndarray], int]:
    """Strips of what was given, of all that was made of it, and of the truth if it is an example of the data imitated.

    Returns:
        Captions, strips, and how many of them belong together.
    """
    maps = given_kind(setup, next(iter(samplers.values()))).name == "map"
    strips = {"given": _grey(given.values) if maps else given.values, **drawn}
    for draws in samplers.values():
        dataset, what = given_of(setup, draws)  # type: ignore[misc]
        if what != "x" and dataset is setup.imitated(draws) and given.rows is not None:
            strips["truth"] = of_split(dataset, "x", given.split, given.rows)
    count = min(len(given.values), STRIP * 4)
    shown = [
        grid(strip[start : start + STRIP], columns=STRIP)
        for start in range(0, count, STRIP)
        for strip in strips.values()
    ]
    return list(strips) * -(-count // STRIP), shown, len(strips)


def _save(strips: tuple[list[str], list[np.ndarray], int], path: Path) -> np.ndarray:
    captions, shown, group = strips
    image = to_array(stack(captions, shown, "", group=group))
    save_image(path, image)
    return image


def _chains(setup: Setup) -> dict[tuple[str, str], dict[str, Sampler]]:
    """The samplers that make images of images, by what they are given."""
    chains: dict[tuple[str, str], dict[str, Sampler]] = {}
    for name, draws in setup.samplers.items():
        if draws.given is not None and _of_given_images(setup, draws):
            chains.setdefault(draws.given, {})[name] = draws
    return chains


def _made(setup: Setup, state: GameState, seed: int, path: Path) -> None:
    """All that is made of held-out images, sampler by sampler under them: an image, its translation, the way back."""
    captions, strips, groups = list[str](), list[np.ndarray](), list[int]()
    for samplers in _chains(setup).values():
        given = in_turn(setup, next(iter(samplers.values())), STRIP)
        how = {name: draw(setup, state, Keys.of(seed).samples, STRIP, given.values, sampler=name) for name in samplers}
        names, shown, group = _beside(setup, samplers, how, given)
        captions, strips, groups = captions + names, strips + shown, [*groups, group]
    _save((captions, strips, groups[0] if len({*groups}) == 1 else 1), path)


def _grid(x: np.ndarray, data: Dataset, path: Path) -> np.ndarray:
    del data
    image = grid(x)
    save_image(path, image)
    return image


def _frames(x: np.ndarray, data: Dataset, path: Path) -> np.ndarray:
    """A clip a row, at most 12 frames of it; beside it the first clips animated, as .gif."""
    del data
    save_animation(animation_of(path), animated_grid(x[:MOVING]))
    few = x[:, np.unique(np.linspace(0, x.shape[1] - 1, 12).astype(int))][:STRIP]
    image = grid(few.reshape(-1, *few.shape[2:]), columns=few.shape[1])
    save_image(path, image)
    return image


def _maps(x: np.ndarray, data: Dataset, path: Path) -> np.ndarray:
    return _grid(_grey(x, int(np.max(data.x_train))), data, path)


def _grey(maps: np.ndarray, high: int = 0) -> np.ndarray:
    """Maps of labels [N, H, W] as grey images, the largest label white, of these or `high`."""
    high = max(1, high or int(maps.max()))
    return (maps[..., None].astype(np.float32) * (255 / high)).astype(np.uint8)


def _scatter(x: np.ndarray, data: Dataset, path: Path) -> np.ndarray:
    real, size = _part(data.x_train, len(x)), x.shape[1]
    title = {1: "the only coordinate", 2: None}.get(size, f"the first two of {size} coordinates")
    return scatter(_plane(x), path, reference=_plane(real), title=title)


def _sounds(x: np.ndarray, data: Dataset, path: Path) -> np.ndarray:
    rate = data.kind.facts.get("rate")
    if rate is None or x.shape[1] < SHORTEST:
        return waveforms(x, rate, path)
    save_recordings(path.with_suffix(""), x, rate)
    return spectrograms(x, rate, path)


def written(x: np.ndarray, data: Dataset) -> list[str]:
    """Samples that are texts as such, one a line; nothing of other kinds."""
    if data.kind.name != "tokens":
        return []
    words = data.kind.facts.get("vocabulary")
    return words.decode(x) if words else [" ".join(map(str, one)) for one in x]


def _lines(x: np.ndarray, data: Dataset, path: Path) -> np.ndarray:
    return texts(written(x, data), path)


# By the kind of data: how samples are drawn, and how many make a picture.
PICTURES: dict[str, Callable[[np.ndarray, Dataset, Path], np.ndarray]] = {
    "image": _grid,
    "clip": _frames,
    "map": _maps,
    "point": _scatter,
    "vector": _scatter,
    "waveform": _sounds,
    "tokens": _lines,
}
MANY = {"point": 16 * COUNT, "vector": 16 * COUNT, "clip": MOVING, "waveform": COLUMNS * ROWS}


def observe(setup: Setup, seed: int, workdir: Path, step: int, state: GameState, writers: Writers) -> None:
    """The samples of a step, always from the same latents, to `samples/<step>.png` and TensorBoard; alarms, if any."""
    if setup.samplers:
        writers.image(step, "samples", _samples(setup, state, seed, _grid_of(workdir, step)))
    writers.flush()
    if step:
        warn(workdir)


def _samples(setup: Setup, state: GameState, seed: int, path: Path) -> np.ndarray:
    draws = setup.sampler()
    count = MANY.get(setup.imitated(draws).kind.name, COUNT)
    given = in_turn(setup, draws, count)
    x = draw(setup, state, Keys.of(seed).samples, count, given.values)
    if lines := written(x, setup.imitated(draws)):
        write_atomically(path.with_suffix(".txt"), "\n".join(lines) + "\n")  # for the page of the run
    return picture(setup, x, path, given=given)


def warn(workdir: Path) -> None:
    """Say what is wrong with the run, each time that it is seen anew."""
    for alarm in write_alarms(workdir):
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in alarm.numbers.items())
        tqdm.write(f"step {alarm.step}: {alarm.alarm} ({numbers}). {alarm.sentence}", file=sys.stderr)


def reports(setup: Setup, state: GameState, seed: int, workdir: Path) -> list[Path]:
    """The figures of a finished run, made where they are missing or older than its metrics; returns their paths."""
    log = (workdir / "metrics.jsonl").stat()
    names = ["curves.png"] if log.st_size else []  # a run may end before its first record
    if setup.samplers:
        made = ["made.png"] if _chains(setup) else []
        names = ["panel.png", *made, *(["neighbours.png"] if _of_images(setup) else []), *names]
    paths = [workdir / name for name in names]
    if not all(path.exists() and path.stat().st_mtime_ns >= log.st_mtime_ns for path in paths):
        _draw(setup, state, seed, workdir, curved=log.st_size > 0)
        warn(workdir)
    return [_grid_of(workdir, int(state.step)), *paths] if setup.samplers else paths


def _of_images(setup: Setup) -> bool:
    return setup.imitated(setup.sampler()).kind.name == "image"


def _draw(setup: Setup, state: GameState, seed: int, workdir: Path, *, curved: bool) -> None:
    if curved:
        curves(workdir, workdir / "curves.png")
    if not setup.samplers:
        return
    if not (last := _grid_of(workdir, int(state.step))).exists():
        _samples(setup, state, seed, last)
    grids = [path for path in sorted((workdir / "samples").glob("*.png")) if int(path.stem) <= int(state.step)]
    panel(grids, workdir / "panel.png")
    if _chains(setup):
        _made(setup, state, seed, workdir / "made.png")
    if _of_images(setup):
        data, x = setup.imitated(setup.sampler()), draw(setup, state, Keys.of(seed).samples, 4 * COUNT)
        held_out = None if data.x_test is None else _part(data.x_test, len(x))
        nearest_neighbours(x, data.in_memory().x_train, workdir / "neighbours.png", held_out=held_out)


def _part(split: np.ndarray, count: int) -> np.ndarray:
    return split[subsample(len(split), count)]


def _plane(points: np.ndarray) -> np.ndarray:
    """[N, D] to [N, 2]; points of a line lie on the first axis."""
    return np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))[:, :2]


def _grid_of(workdir: Path, step: int) -> Path:
    return workdir / "samples" / f"{step:08d}.png"
