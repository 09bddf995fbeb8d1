"""Cut the small Fluent Emoji that the package ships: a colour picture, its black drawing, its name, its category.

Every emoji that is drawn in both ways, 64 x 64 pixels on white, without the variants of skin tone. The vocabulary has
the words of all names, so that each can be read again. What differs by
gender or by the side it faces is one family, and the CRC-32 of a family's name decides whether it is for training or
for testing, so that no test picture has a sibling among the training pictures. Run twice, it writes the same bytes.
The vector pictures come with two npm packages (Microsoft, MIT), the renderer with Debian's librsvg2-bin:

    npm install --prefix emoji @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/fluent-emoji-high-contrast@1.2.6
    python scripts/cut_fluent_emoji.py emoji/node_modules/@iconify-json
"""

import argparse
import io
import json
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from archive import save
from PIL import Image

from ganjax.data.text import vocabulary

SIDE = 64
SEED = 0  # of the order within a split
TEST_SHARE = 15  # of 100 families
COLOUR, DRAWING = "fluent-emoji-flat", "fluent-emoji-high-contrast"
GENDERS = {"man", "woman", "person", "people", "boy", "girl", "child", "mr", "mrs", "mx", "santa"}
SIDES = ("-facing-right",)


def family(name: str) -> str:
    """What an emoji has in common with those that differ from it by gender, or by the side it faces, alone.

    >>> [family(name) for name in ("man-running-facing-right", "woman-running", "older-person", "old-man", "boy")]
    ['running', 'running', 'old', 'old', 'person']
    """
    for side in SIDES:
        name = name.removesuffix(side)
    words = [word for word in name.replace("older", "old").split("-") if word not in GENDERS]
    return "-".join(words) or "person"


def is_for_testing(name: str) -> bool:
    return zlib.crc32(family(name).encode()) % 100 < TEST_SHARE


def svg(icons: dict, name: str) -> bytes:
    """The picture as a document of its own, with its view box."""
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons[side]) for side in ("width", "height"))
    box = f'width="{SIDE}" height="{SIDE}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{icon["body"]}</svg>'.encode()


def render(document: bytes, mode: str) -> np.ndarray:
    """[SIDE, SIDE, C] uint8 on white; mode RGB or L."""
    command = ["rsvg-convert", "--background-color", "white"]
    done = subprocess.run(command, input=document, capture_output=True, check=True)
    pixels = np.asarray(Image.open(io.BytesIO(done.stdout)).convert(mode), np.uint8)
    return pixels.reshape(SIDE, SIDE, -1)


def cut(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the archive."""
    read = {kind: json.loads((folder / kind / "icons.json").read_text()) for kind in (COLOUR, DRAWING)}
    categories = json.loads((folder / COLOUR / "metadata.json").read_text())["categories"]
    classes = sorted(categories)  # as FLUENT_CLASSES of ganjax/data/bundled.py
    category = {name: classes.index(kind) for kind, names in categories.items() for name in names}
    both = sorted(read[COLOUR]["icons"].keys() & read[DRAWING]["icons"].keys() & category.keys())
    words = vocabulary(name.replace("-", " ") for name in both)
    arrays = {"vocabulary": np.array(words.words)}
    for split, wanted in (("train", False), ("test", True)):
        names = [name for name in both if is_for_testing(name) == wanted]
        names = [names[i] for i in np.random.default_rng(SEED).permutation(len(names))]
        with ThreadPoolExecutor() as pool:
            colour = pool.map(lambda name: render(svg(read[COLOUR], name), "RGB"), names)
            drawing = pool.map(lambda name: render(svg(read[DRAWING], name), "L"), names)
            arrays |= {f"x_{split}": np.stack(list(colour)), f"drawing_{split}": np.stack(list(drawing))}
        arrays[f"y_{split}"] = np.array([category[name] for name in names], np.uint8)
        arrays[f"caption_{split}"] = np.array([name.replace("-", " ") for name in names])
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help=f"folder that holds {COLOUR} and {DRAWING}")
    default = Path("ganjax/data/embedded/fluent_emoji.npz")
    parser.add_argument("--output", type=Path, default=default, help="default: %(default)s")
    options = parser.parse_args()
    save(options.output, cut(options.folder))


if __name__ == "__main__":
    main()
