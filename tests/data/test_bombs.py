"""Small files that claim to be large: what reading them costs, in a process of its own."""

import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

READ = """
import sys, PIL.Image, tqdm
from ganjax.data import load
from ganjax.errors import DataError
for path in sys.argv[1:]:
    try:
        load(path)
    except DataError as error:
        print(error)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def npy(descr, shape, content):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def zipped(path, member, name="x_train"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if name != "x_train":
            archive.writestr("x_train.npy", npy("|u1", (2, 1, 1, 1), b"12"))
        archive.writestr(f"{name}.npy", member)


def png(side):
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(2**24)))]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# A lossless WEBP of one colour, 16383 x 16383 pixels: 800 MB as RGB
WEBP = bytes.fromhex("524946461a000000574542505650384c0e0000002ffebfff0f071011fd0f4444ff03")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read from /proc")
def test_bombs_cost_no_memory(tmp_path):
    size = 2**26  # what each archive holds, unpacked
    zipped(tmp_path / "shape.npz", npy("|u1", (10**6, 10**3, 10**3, 3), bytes(size)))
    zipped(tmp_path / "text.npz", b"\x93NUMPY\x02\x00" + struct.pack("<I", size) + b" " * size)
    zipped(tmp_path / "objects.npz", npy("|O", (size // 8, 1), bytes(size)))
    zipped(tmp_path / "unnamed.npz", bytes(size))
    zipped(tmp_path / "beside.npz", npy("<f4", (2, 10**12), bytes(size)), "a_train")
    zipped(tmp_path / "captions.npz", npy("<U1000000000", (2,), bytes(size)), "caption_train")
    zipped(tmp_path / "words.npz", npy("<U1", (size // 16,), bytes(size // 4)), "caption_train")
    zipped(tmp_path / "objects_beside.npz", npy("|O", (size // 8,), bytes(size)), "a_train")
    for name, content in (("png", png(65_000)), ("webp", WEBP)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"a.{name}").write_bytes(content)
    bombs = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-W", "error", "-c", READ, *bombs], capture_output=True, text=True)
    *sentences, peak = done.stdout.splitlines()
    assert len(sentences) == len(bombs) == 10, done.stderr
    assert all(bomb in sentence for bomb, sentence in zip(bombs, sentences, strict=True))
    assert sum("exceeds limit of 178956970 pixels" in sentence for sentence in sentences) == 2
    assert int(peak) < 100_000, "kB"
