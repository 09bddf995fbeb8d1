"""The page holds what the files say, all of it inside, none of it as markup, whatever state they are in."""

import base64
import hashlib
import io
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from ganjax.data.wav import save_recordings
from ganjax.errors import ConfigError, printable
from ganjax.report import write_page
from ganjax.report.animation import save_animation
from ganjax.report.html import tag
from ganjax.report.scores import hint, number
from ganjax.rundir import config_digest

VOID = {"img", "meta"}


class Page(HTMLParser):
    """The elements of a page with their attributes and text; fails where they do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._open = [], "", []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self._open += [] if name in VOID else [name]

    def handle_endtag(self, name):
        assert self._open.pop() == name

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data + " "

    def all(self, name):
        return [attributes for element, attributes in self.elements if element == name]

    def pictures(self):
        return {image["alt"]: base64.b64decode(image["src"].partition("base64,")[2]) for image in self.all("img")}


def written(run, **arguments):
    return Page(write_page(run.workdir, **arguments).read_text())


def size(png):
    from PIL import Image

    return Image.open(io.BytesIO(png)).size


@pytest.fixture
def no_charts(monkeypatch):
    """Curves take most of a page's time."""
    monkeypatch.setattr("ganjax.report.page.group_figures", lambda columns: {})


def test_the_page_says_what_the_files_say(run):
    page = written(run)
    assert page.text.strip().startswith("vanilla_gan: run-a")
    for said in ("step 100 of 100", "50 s of training", "digits", "hinge", "[64, 32]", "cpu x 2", "0.10.2", "d" * 64):
        assert said in page.text
    for said in ("Last: step 100, ema weights", "500 samples against 1,500 real images of the split train"):
        assert said in page.text
    assert re.search(r"fid ↓ lower is better on logits 41\.25 2\.5 43\.75", page.text)
    assert hint("fid") in page.text and "e" * 64 in page.text and "2026-01-02T03:04:05+00:00" in page.text
    assert "No warnings" in page.text and "Nothing to warn of." in page.text
    assert [f"{alt[:20]}" for alt in page.pictures()][:3] == [
        "cost over training s",
        "logit over training ",
        "kid over training st",
    ]


def test_everything_is_inside(run):
    page = written(run)
    names = {name for name, _ in page.elements}
    assert names.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form", "svg"})
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in page.all("img"))
    assert all(link["href"].startswith("#") for link in page.all("a"))
    text = write_page(run.workdir).read_text()
    assert "://" not in text and "url(" not in text and "@import" not in text
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_pictures_are_the_files_and_earlier_grids_an_even_small_selection(run, no_charts):
    for step in range(0, 101, 5):
        run.picture(f"samples/{step:08d}.png", 8, 8)
    pictures = written(run).pictures()
    steps = [int(alt.split()[-1]) for alt in pictures if alt.startswith("Samples at step")]
    assert steps == [100, 0, 15, 30, 45, 55, 70, 85]  # of 21, the last one first
    assert pictures["Samples at step 100"] == (run.workdir / "samples" / "00000100.png").read_bytes()
    assert size(pictures["Samples at step 100"]) == (530, 530) and size(pictures["Samples at step 15"]) == (480, 480)
    held = list(pictures.values())
    assert all((run.workdir / name).read_bytes() in held for name in ("panel.png", "neighbours.png"))


def test_recordings_of_the_last_picture_can_be_played(run, no_charts):
    """Those in the folder that is called as the picture, inside the page; a damaged one is a note."""
    last = max((run.workdir / "samples").glob("*.png")).with_suffix("")
    other = last.with_name("00000000")
    save_recordings(last, np.arange(300, dtype=np.int16).reshape(3, 100), 8000)
    save_recordings(other, np.zeros((2, 100), np.int16), 8000)
    (last / "001.wav").write_bytes(b"no sound")
    page = written(run)
    heard = [base64.b64decode(audio["src"].removeprefix("data:audio/wav;base64,")) for audio in page.all("audio")]
    assert heard == [(last / f"{number}.wav").read_bytes() for number in ("000", "002")]
    assert "001.wav is not a WAV file" in page.text
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "media-src data:;" in policy and all("controls" in audio for audio in page.all("audio"))


def test_samples_that_are_texts_stand_on_the_page(run, no_charts):
    """As text, whatever they hold, and some of them."""
    run.picture("samples/00000100.png", 8, 8)
    (run.workdir / "samples" / "00000100.txt").write_text("<b>so\x1b am i\n" + "to be\n" * 100, encoding="utf-8")
    page = written(run)
    assert "<b>so\\x1b am i" in page.text and page.text.count("to be") == 23


def test_clips_move_in_the_page(run, no_charts):
    path = run.workdir / "samples" / "00000100.gif"
    save_animation(path, np.arange(3 * 8 * 8 * 3, dtype=np.uint8).reshape(3, 8, 8, 3))
    moving = [image for image in written(run).all("img") if image["src"].startswith("data:image/gif;base64,")]
    assert [image["alt"] for image in moving] == ["Samples at step 100, animated"]
    path.write_bytes(path.read_bytes()[:9])
    assert "00000100.gif is not a readable GIF" in written(run).text


def test_what_else_was_drawn_stands_on_the_page_by_name(run, no_charts):
    """Animations too, damaged ones as a note; nothing twice, and a figure called curves.png where nothing is logged."""
    for name in ("mixing.png", "curves.png", "made.png"):
        run.picture(name)
    save_animation(run.workdir / "film.gif", np.arange(3 * 8 * 8 * 3, dtype=np.uint8).reshape(3, 8, 8, 3))
    (run.workdir / "torn.png").write_bytes(b"no picture")
    page = written(run)
    named = {alt: held for alt, held in page.pictures().items() if "." in alt[-4:-1]}
    assert named == {name: (run.workdir / name).read_bytes() for name in ("film.gif", "mixing.png")}
    assert "torn.png is not a readable PNG" in page.text and "Pictures" in page.text
    (run.workdir / "metrics.jsonl").unlink()
    assert "curves.png" in written(run).pictures()
    for path in [path for path in run.workdir.glob("*.*") if path.suffix in (".png", ".gif")]:
        path.unlink()
    assert "Pictures" not in written(run).text


@pytest.fixture
def staged(run, tmp_path):
    """A run of three stages, of which the first has ended and the last has not begun; a command has drawn panel.png."""
    files = type(run)
    whole, second, names = files(tmp_path / "run-s"), files(tmp_path / "run-s" / "second"), ["first", "second", "third"]
    whole.config(stages=names)
    whole.picture("panel.png", 5, 4)
    run.picture("made.png", 1, 2)
    run.config(stages=names, stage="first", steps=100)
    run.workdir.rename(whole.workdir / "first")
    second.config(stages=names, stage="second", steps=7)
    second.lines("metrics.jsonl", [{"step": k, "time": 1.0 * k, "finite": 1.0, "text/cost": 1.0} for k in range(1, 6)])
    second.picture("samples/00000005.png", 2, 2)
    second.picture("near.png", 3, 3)
    return whole


def test_all_stages_of_a_run_stand_on_its_page(staged):
    """Each with its pictures, curves and scores under its name, and how far it has come of its own steps."""
    page = written(staged)
    names = ["Protocol", "Stage first", "Stage second", "Stage third", "Pictures", "Warnings"]
    assert [link["href"] for link in page.all("a")] == [f"#{name.lower().replace(' ', '-')}" for name in names]
    headed = re.search("".join(f" {name} (.*?)" for name in names[1:]) + "$", page.text.split("All values")[1], re.S)
    first, second, third, own, warned = headed.groups()
    assert "2 of 3 stages begun" in page.text
    assert "step 100 of 100 · 50 s of training" in first and "fid ↓ lower is better" in first
    assert "step 5 of 7 · 5 s of training" in second and "This run has no scores." in second and "near.png" in second
    assert "This stage has not begun." in third and "panel.png" in own
    assert "second: unfinished" in warned and "third: unfinished" in warned and "first: " not in warned
    held = {base64.b64decode(image["src"].partition("base64,")[2]) for image in page.all("img")}
    for path in staged.workdir.rglob("*.png"):
        assert path.read_bytes() in held or path.parent.name == "samples"
    assert (staged.workdir / "first" / "samples" / "00000100.png").read_bytes() in held
    assert (staged.workdir / "second" / "samples" / "00000005.png").read_bytes() in held
    charts = [image["alt"].split()[0] for image in page.all("img") if "over training steps" in image["alt"]]
    assert charts == ["cost", "logit", "kid", "cost"]


def test_a_stage_may_be_called_as_a_section_is(staged):
    (staged.workdir / "second").rename(staged.workdir / "Warnings")
    staged.config(stages=["first", "Warnings"])
    text = written(staged).text
    assert "step 5 of 7" in text and "config digest" in text and "stages begun" in text


def test_of_many_other_pictures_the_newest_are_shown(run, no_charts):
    for k in range(20):
        run.picture(f"drawn_{k:02}.png", 3 + k, 3)
        os.utime(run.workdir / f"drawn_{k:02}.png", (k, k))
    page = written(run)
    shown = [f"drawn_{k:02}.png" for k in range(20) if f"drawn_{k:02}.png" in page.text]
    assert shown == [f"drawn_{k:02}.png" for k in range(4, 20)] and "4 older pictures in" in page.text


def test_a_stage_has_a_page_of_its_own_where_it_is_asked_for(staged, no_charts):
    page = Page(write_page(staged.workdir / "second").read_text())
    assert "step 5 of 7" in page.text and "near.png" in page.text and "first" not in page.text
    staged.config(stages=["second", HOSTILE, ".."])
    assert printable(HOSTILE) in written(staged).text
    staged.config(stages="first")
    assert "This run has no scores." in written(staged).text


def test_what_was_changed_comes_first(run, no_charts):
    page = written(run, defaults={"steps": 6000, "seed": 3, "data": "digits", "hidden": (64, 32), "unheard": 1})
    assert re.search(r"Changed from the defaults\s+option value default steps 100 6000 All values", page.text)
    assert "All values are the experiment's defaults" in written(run, defaults={"seed": 3}).text
    assert "default" not in written(run).text.replace("defaults", "")


def test_best_and_last_are_shown_and_earlier_scores_folded(run, no_charts):
    run.score(60, "best")
    run.score(80)
    run.score(100, weights="raw")
    page = written(run)
    titles = re.findall(r"(?:Last|Best): step \d+, \w+ weights|Earlier scores \(\d\)", page.text)
    assert titles == [
        "Last: step 100, ema weights",
        "Last: step 100, raw weights",
        "Best: step 60, ema weights",
        "Earlier scores (1)",
        "Last: step 80, ema weights",
    ]


HOSTILE = "$\\frac$</td><script>alert(1)</script><img src=x onerror=alert(1)>\"' \x00\x1b[31m\n\u202e\ud800"


def test_what_the_files_hold_is_text(run):
    run.workdir = run.workdir.rename(run.workdir.parent / "<b>run & 'co'")
    run.config(experiment=HOSTILE, config={HOSTILE: HOSTILE, "data": HOSTILE, "steps": 100}, data_digest=HOSTILE)
    run.lines("metrics.jsonl", [{"step": 100, f"{HOSTILE}/cost": 1.0, "finite": 1.0}])
    run.lines("alarms.jsonl", [{"step": HOSTILE, "alarm": HOSTILE, "sentence": HOSTILE, "numbers": {HOSTILE: HOSTILE}}])
    metric = {"value": HOSTILE, "floor": HOSTILE, "held_out": HOSTILE, "better": HOSTILE, "note": HOSTILE}
    run.score(100, HOSTILE, metrics={HOSTILE: metric}, receipt={HOSTILE: HOSTILE, "more": [HOSTILE]})
    text = write_page(run.workdir, defaults={"data": HOSTILE + "!"}).read_text(encoding="utf-8")
    assert all(c.isprintable() or c == "\n" for c in text)
    page = Page(text)
    names = [name for name, _ in page.elements]
    assert "script" not in names and "b" in names  # figures of warnings
    assert not [attribute for _, held in page.elements for attribute in held if attribute.startswith("on")]
    assert "<b>run & 'co'" in page.text
    assert page.text.count(printable(HOSTILE)) >= 15


def test_the_config_digest_is_that_of_its_sorted_json():
    assert config_digest({"b": 1, "a": [2]}) == hashlib.sha256(b'{"a": [2], "b": 1}').hexdigest()


def test_text_becomes_markup_by_tag_only():
    assert tag("p", "a < b", tag("b", 1), title='"x"') == '<p title="&quot;x&quot;">a &lt; b<b>1</b></p>'
    assert printable("σ\u2028\x7f\ud800") == r"σ\u2028\x7f\ud800"


def test_numbers_are_for_reading():
    values = (3000, 0.123456, 12345.6, 41.25, float("inf"), None, True, "x")
    assert [number(value) for value in values] == ["3,000", "0.1235", "12,346", "41.25", "inf", "–", "True", "x"]
    assert hint("KID (x 1000)").startswith("Squared kernel distance") and hint("fidelity") == ""


FILES = (
    "metrics.jsonl",
    "judge.jsonl",
    "alarms.jsonl",
    "scores/100-ema.json",
    "samples/00000100.png",
    "samples/00000000.png",
    "panel.png",
    "neighbours.png",
    "checkpoints/100/meta/metadata",
    "config.json",
)


def half(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 + 1])


def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(500))


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [half, noise, folder])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_a_note(run, name, damage, no_charts):
    run.lines("alarms.jsonl", [{"step": 1, "alarm": "a", "sentence": "s", "numbers": {}}])
    damage(run.workdir / name)
    if (name, damage) == ("config.json", folder):
        return  # as if there were none
    text = written(run).text
    if damage is not folder:
        assert name.split("/")[-1] in text and (
            "could not be read" in text or "cannot be read" in text or "not a readable PNG" in text
        )
    assert "Samples at step 40" in written(run).pictures()


def test_an_almost_empty_directory_has_a_page(run):
    for path in run.workdir.iterdir():
        if path.name != "config.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = written(run)
    assert "There is no panel.png." in page.text and "This run has no scores." in page.text and not page.all("img")


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"step": 1e999}', f'{{"step": {"9" * 400}, "a": {"9" * 400}}}', '{"step": 100, "a/cost": 1e308}'],
)
def test_values_out_of_range_do_not_break_it(run, line):
    with (run.workdir / "metrics.jsonl").open("a") as file:
        file.write(line + "\n" + '{"step": 100, "time": Infinity, "b/cost": -1e308}\n')
    assert "step 100 of 100" in written(run).text


def test_a_picture_of_too_many_pixels_is_not_decoded(run, monkeypatch, no_charts):
    monkeypatch.setattr("ganjax.report.html.LARGEST", 200 * 200 - 1)
    assert "00000100.png is not a readable PNG: 200x200 pixels" in written(run).text


def test_a_directory_without_a_run_is_an_error(tmp_path):
    for workdir in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=r"holds no run: it has no config\.json"):
            write_page(workdir)
    assert not list(tmp_path.iterdir())


def test_the_page_appears_whole_where_it_is_wanted(run):
    before = sorted(run.workdir.iterdir())
    assert write_page(run.workdir) == run.workdir / "report.html"
    first = (run.workdir / "report.html").read_bytes()
    assert write_page(run.workdir, run.workdir.parent / "new" / "page.html").read_bytes() == first
    assert sorted(run.workdir.iterdir()) == sorted([*before, run.workdir / "report.html"])
