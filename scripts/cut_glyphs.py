"""Cut the glyphs that the package ships: A-Z, a-z and 0-9 in open fonts, 28 x 28 pixels, white on black.

A font is taken if it declares the SIL Open Font License, has all 62 glyphs, all different, and no small capitals for
lower-case letters; of a family at most `STYLES` fonts, the plain one first, and none that nearly repeats another.
One size holds for all glyphs of a font: from the lowest to the highest point of any there are at most 24 pixels, and no
glyph is wider. They stand on one baseline, so that the whole font is in the middle from top to bottom, and each glyph
is in the middle from left to right. A font whose x is lower than `LEAST` pixels, for its flourishes, is left out.

The split is by font: families that share the first word of their name, are known to be drawn after another, or have two
fonts that look alike are on one side, and the CRC-32 of a name decides which. Run twice, it writes the same bytes. The
fonts come with one package of Debian:

    apt-get download texlive-fonts-extra && dpkg -x texlive-fonts-extra_*.deb fonts
    python scripts/cut_glyphs.py fonts/usr/share/texlive/texmf-dist/fonts
"""

import argparse
import re
import string
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from archive import save
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

CHARACTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
SIDE, EXTENT = 28, 24
FINE = 8  # sub-pixels of a pixel, along one axis
LEAST = 7
STYLES = 4  # fonts of a family
TEST_SHARE = 15  # of 100 groups of families
REPEATED, ALIKE = 0.06, 0.2  # mean difference of two fonts, over their mean brightness
SEED = 0  # of the order within a split
PLAIN = ("Regular", "Book", "Roman", "Bold", "Italic", "BoldItalic", "Bold Italic", "Light", "Black")
# tiny; formulas, church Slavonic, keys; small capitals
LEFT_OUT = {"Aboensis", "Math", "Unicode", "Keyboard", "SC", "Cinzel"}
KIN = {  # what is drawn after another
    "BaskervilleF": "Libre",
    "Cochineal": "Crimson",
    "Concrete": "CMU",
    "Erewhon": "Heuristica",
    "KpMono": "KpRoman",
    "KpSans": "KpRoman",
    "Libertinus": "Linux",
    "Quattro": "IBM",
    "UM": "CMU",
    "XITS": "STIX",
}


class Font(NamedTuple):
    family: str
    style: str
    copyright: str
    terms: str
    path: Path


def fonts(folder: Path) -> Iterator[Font]:
    """Those of the folder that declare the Open Font License and have all characters."""
    for path in sorted(folder.rglob("*.[ot]tf")):
        with TTFont(path, lazy=True) as font:
            said = {number: (font["name"].getDebugName(number) or "").strip() for number in (0, 1, 2, 13, 14, 16, 17)}
            has = all(ord(character) in (font.getBestCmap() or {}) for character in CHARACTERS)
        terms = " ".join((said[0], said[13], said[14])).lower()
        family = " ".join((said[16] or said[1]).split())
        open_font = "open font license" in terms or "scripts.sil.org/ofl" in terms
        if has and open_font and not LEFT_OUT & set(re.split(r"[\s_-]+", f"{family} {said[2]} {path.stem}")):
            owner = re.split("This Font Software is licensed", " ".join(said[0].split()))[0].strip()
            yield Font(family, said[17] or said[2], owner, said[13], path)


def render(path: Path) -> np.ndarray:
    """[62, SIDE, SIDE] uint8."""

    def boxes(size: float) -> tuple[ImageFont.FreeTypeFont, np.ndarray]:
        font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
        return font, np.array([font.getbbox(character, anchor="ls") for character in CHARACTERS])

    _, box = boxes(1000.0)
    extent = max(box[:, 3].max() - box[:, 1].min(), (box[:, 2] - box[:, 0]).max())
    font, box = boxes(1000.0 * EXTENT * FINE / extent)
    baseline = (SIDE * FINE - (box[:, 1].min() + box[:, 3].max())) / 2
    found = []
    for character, (left, _, right, _) in zip(CHARACTERS, box, strict=True):
        page = Image.new("L", (SIDE * FINE, SIDE * FINE))
        at = ((SIDE * FINE - (left + right)) / 2, baseline)
        ImageDraw.Draw(page).text(at, character, fill=255, font=font, anchor="ls")
        found.append(np.asarray(page.reduce(FINE)))
    return np.stack(found)


def is_written(x: np.ndarray) -> bool:
    """Whether all glyphs are there, no two are equal, and x is not too low."""
    if (x.reshape(len(x), -1).max(1) < 128).any() or len({one.tobytes() for one in x}) < len(x):
        return False
    return bool(np.ptp(np.flatnonzero(x[CHARACTERS.index("x")].max(1) > 64)) + 1 >= LEAST)


def difference(x: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How much a font [62, ...] differs from each of others [K, 62, ...]: 0 is equal, 2 shares no pixel."""
    x, others = x.astype(np.float32), others.astype(np.float32)
    return np.abs(others - x).mean((1, 2, 3)) / ((others.mean((1, 2, 3)) + x.mean()) / 2)


def chosen(folder: Path) -> tuple[list[Font], np.ndarray]:
    """The fonts that are taken and their glyphs [K, 62, SIDE, SIDE]."""
    taken: list[Font] = []
    glyphs: list[np.ndarray] = []

    def order(font: Font) -> tuple:
        rank = PLAIN.index(font.style) if font.style in PLAIN else len(PLAIN)
        return font.family, rank, font.style, font.path.name

    for font in sorted(fonts(folder), key=order):
        if sum(other.family == font.family for other in taken) >= STYLES:
            continue
        x = render(font.path)
        if is_written(x) and (not glyphs or difference(x, np.array(glyphs)).min() > REPEATED):
            taken.append(font)
            glyphs.append(x)
    return taken, np.array(glyphs)


def groups(taken: list[Font], glyphs: np.ndarray) -> list[str]:
    """The name of each font's group: the least first word of the families that are joined by name or by looks."""
    words = [font.family.split()[0] for font in taken]
    words = [KIN.get(word[0].upper() + word[1:], word) for word in words]
    group = {word: word for word in words}

    def root(word: str) -> str:
        return word if group[word] == word else root(group[word])

    for i in range(len(taken)):
        for j in np.flatnonzero(difference(glyphs[i], glyphs[:i]) < ALIKE) if i else ():
            first, second = sorted((root(words[i]), root(words[j])))
            group[second] = first
    return [root(word) for word in words]


def cut(folder: Path) -> tuple[dict[str, np.ndarray], list[Font]]:
    """The arrays of the archive, and the fonts in the order of their numbers."""
    taken, glyphs = chosen(folder)
    is_test = np.array([zlib.crc32(group.encode()) % 100 < TEST_SHARE for group in groups(taken, glyphs)])
    names = [f"{font.family} {font.style}" for font in taken]
    stems = [f"{font.family} {font.path.stem}" for font in taken]
    names = [stem if names.count(name) > 1 else name for name, stem in zip(names, stems, strict=True)]
    arrays = {"font_names": np.array(names)}
    for split, fonts_of in (("train", np.flatnonzero(~is_test)), ("test", np.flatnonzero(is_test))):
        font = np.repeat(fonts_of, len(CHARACTERS))
        label = np.tile(np.arange(len(CHARACTERS)), len(fonts_of))
        order = np.random.default_rng(SEED).permutation(len(font))
        arrays[f"x_{split}"] = glyphs[font[order], label[order], :, :, None]
        arrays[f"y_{split}"] = label[order].astype(np.uint8)
        arrays[f"font_{split}"] = font[order].astype(np.uint16)
    return arrays, taken


def licence(taken: list[Font]) -> str:
    """The text of LICENSE.glyphs: whose fonts they are, then the licence of all of them, as one of them holds it."""
    head = (
        "glyphs.npz holds pictures of the glyphs of these fonts, taken from Debian's package texlive-fonts-extra by\n"
    )
    head += "scripts/cut_glyphs.py. Each declares the SIL Open Font License, version 1.1, which is below.\n\n"
    rows = {f"{font.family}: {font.copyright}" for font in taken}
    whole = next(font.terms for font in taken if re.search("PREAMBLE\n.*DISCLAIMER\n", font.terms, re.DOTALL))
    lines = whole[whole.index("SIL OPEN FONT LICENSE") :].splitlines()
    return head + "\n".join(sorted(rows)) + "\n\n" + "\n".join(line.rstrip() for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of fonts, looked through to its depth")
    default = Path("ganjax/data/embedded/glyphs.npz")
    parser.add_argument("--output", type=Path, default=default, help="default: %(default)s")
    options = parser.parse_args()
    arrays, taken = cut(options.folder)
    save(options.output, arrays)
    options.output.with_name(f"LICENSE.{options.output.stem}").write_text(licence(taken))


if __name__ == "__main__":
    main()
