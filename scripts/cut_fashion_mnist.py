"""Cut the small, balanced Fashion-MNIST that the package ships.

Takes the first k images of every class in the order of the original files, then shuffles them with a fixed
seed; run twice, it writes the same bytes. The IDX files come with Debian's package
`dataset-fashion-mnist` (MIT):

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb fashion
    python scripts/cut_fashion_mnist.py fashion/usr/share/datasets/fashion-mnist
"""

import argparse
import gzip
import struct
from pathlib import Path

import numpy as np

SEED = 0  # of the shuffle
CLASSES = 10


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of a gzipped IDX file: two zero bytes, type 8 (uint8), rank, the sizes, the data."""
    raw = gzip.decompress(path.read_bytes())
    kind, rank = struct.unpack(">HBB", raw[:4])[1:]
    if kind != 8:
        raise SystemExit(f"{path}: IDX element type {kind}, expected 8 (uint8)")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def balanced(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of the first `per_class` examples of every class, shuffled."""
    found = [np.flatnonzero(labels == c)[:per_class] for c in range(CLASSES)]
    shortest = min(len(f) for f in found)
    if shortest < per_class:
        raise SystemExit(f"a class has {shortest} examples, fewer than the {per_class} to cut")
    return rng.permutation(np.concatenate(found))


def cut(folder: Path, train_per_class: int, test_per_class: int) -> dict[str, np.ndarray]:
    """The arrays of the archive: images uint8 [N, 28, 28, 1], labels uint8 [N]."""
    rng = np.random.default_rng(SEED)
    arrays = {}
    for split, prefix, per_class in (("train", "train", train_per_class), ("test", "t10k", test_per_class)):
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        chosen = balanced(labels, per_class, rng)
        arrays[f"x_{split}"], arrays[f"y_{split}"] = images[chosen, :, :, None], labels[chosen]
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the four *-ubyte.gz IDX files")
    default = Path("ganjax/data/embedded/fashion_mnist.npz")
    parser.add_argument("--output", type=Path, default=default, help="default: %(default)s")
    parser.add_argument("--train-per-class", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--test-per-class", type=int, default=200, help="default: %(default)s")
    options = parser.parse_args()
    arrays = cut(options.folder, options.train_per_class, options.test_per_class)
    np.savez_compressed(options.output, **arrays)
    shapes = ", ".join(f"{key} {value.shape}" for key, value in arrays.items())
    print(f"{options.output}: {shapes}, {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
