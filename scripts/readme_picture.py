"""Make the README's picture from two finished runs.

make demo
.venv/bin/python experiments/bilinear.py train --workdir runs/bilinear
.venv/bin/python scripts/readme_picture.py runs/bilinear/phase_plane.png runs/demo/panel.png docs/ganjax.png
"""

import argparse
from pathlib import Path

from PIL import Image

HEIGHT = 460  # pixels


def main() -> None:
    """Put pictures of one height side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+", help="PNG files, from left to right")
    parser.add_argument("out", type=Path, help="PNG file to write")
    args = parser.parse_args()
    parts = []
    for path in args.pictures:
        with Image.open(path) as picture:
            size = (round(picture.width * HEIGHT / picture.height), HEIGHT)
            parts.append(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    whole = Image.new("RGB", (sum(part.width for part in parts), HEIGHT), "white")
    left = 0
    for part in parts:
        whole.paste(part, (left, 0))
        left += part.width
    args.out.parent.mkdir(parents=True, exist_ok=True)
    whole.save(args.out, optimize=True)


if __name__ == "__main__":
    main()
