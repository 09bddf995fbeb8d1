"""One folder with all that a machine without a network needs, and its unpacking there.

MANIFEST.json    what lies here: bytes and SHA-256 of every file, the commit, what was left out
ganjax/          the source
site.tar.xz      packages, as pip installs the wheels of wheels.lock
data/            mnist.npz and cifar10.npz, cut to fit
"""

import hashlib
import io
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LOCK = HERE / "wheels.lock"
MANIFEST = "MANIFEST.json"
SETS = ("mnist", "cifar10")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
PYTHON, TAGS = "3.12", (28, 27, 24, 17, 12, 5)  # of manylinux_2_N; pip takes each of them exactly
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in TAGS] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
NOT_PACKED = {
    "jax, jaxlib, numpy, scipy, ml_dtypes, opt_einsum": "the machine has jax",
    "torch": "the machine has it; without it the parts that race against it are left out",
    "tensorflow-datasets": "data travel as .npz",
}
NOT_READ = [  # of the source, by any part of a run
    "tests", "notebooks", "docs", "requirements.lock",
    "ganjax/data/embedded/glyphs.npz", "ganjax/data/embedded/fluent_emoji.npz",
]  # fmt: skip
# x86 code compresses better with the addresses of its jumps made absolute first: 45.5 MB for 47.2 by "w:xz".
XZ = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 9}]


def pack(
    root: Path, out: Path, data: Path | None = None, megabytes: float = 60, without: Sequence[str] = (), **make: Any
) -> dict[str, Any]:
    """Write the folder, whole or not at all; the manifest.

    Args:
        root: a git checkout; what is committed is packed.
        out: the folder to make.
        data: a folder with .npz files of the names `SETS`; the first images that fit are packed.
        megabytes: the largest size, in 10^6 bytes.
        without: packages of wheels.lock that the machine has.
        make: `source` and `site`, in a test the functions that make these; each `(root, folder, without)`.

    Raises:
        ValueError: it would be larger, or there is something at `out`, or no such package or data.
    """
    if out.exists():
        raise ValueError(f"{out} is there already; choose another --out, or remove it")
    unknown = set(without) - set(locked(LOCK.read_text()))
    if unknown:
        raise ValueError(
            f"--without {' '.join(sorted(unknown))}: not in {LOCK}; known: {', '.join(locked(LOCK.read_text()))}"
        )
    found = {name: data / f"{name}.npz" for name in SETS if data and (data / f"{name}.npz").is_file()}
    if data and not found:
        raise ValueError(f"--data {data} holds none of {', '.join(f'{name}.npz' for name in SETS)}")
    for path in found.values():
        check(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
        folder = Path(name) / out.name
        folder.mkdir()
        left_out = NOT_PACKED | dict.fromkeys(without, "--without") | make.get("source", source)(root, folder, without)
        make.get("site", site)(root, folder, without)
        room = 1e6 * megabytes - size(folder) - 50_000  # the manifest
        if room < 0:
            raise ValueError(
                f"source and packages alone take {size(folder) / 1e6:.1f} MB, more than {megabytes:g}; leave packages "
                "that the machine has out by --without, the largest are tensorstore, matplotlib, scikit-learn, pillow"
            )
        for i, path in enumerate(found.values()):
            share = room / (len(found) - i)  # what one set does not need is the next one's
            (folder / "data").mkdir(exist_ok=True)
            packed = folder / "data" / path.name
            left_out |= cut(path, packed, int(share))
            room -= packed.stat().st_size if packed.exists() else 0
        for title in set(SETS) - set(found):
            left_out[title] = "not in --data" if data else "no --data was given"
        manifest = {
            "pack of": "ganjax",
            "commit": _git(root, "rev-parse", "HEAD").strip() if "source" not in make else "",
            "python": PYTHON,
            "left out": left_out,
            "files": {
                path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest(path)}
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=0) + "\n")
        if size(folder) > 1e6 * megabytes:
            raise ValueError(f"the folder takes {size(folder) / 1e6:.1f} MB, more than {megabytes:g}")
        folder.rename(out)
    print(f"{out}: {size(out) / 1e6:.1f} MB")
    for what, why in left_out.items():
        print(f"left out: {what} ({why})")
    return manifest


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    """SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"git {args[0]} in {root}: {done.stderr.strip()}; pack in a git checkout")
    return done.stdout


def source(root: Path, folder: Path, without: Sequence[str]) -> dict[str, str]:
    """The committed tree, as far as a run reads it; what was left out of it."""
    del without
    kept = [".", *(f":!{name}" for name in NOT_READ)]
    done = subprocess.run(["git", "-C", str(root), "archive", "HEAD", "--", *kept], capture_output=True)
    if done.returncode:
        raise ValueError(f"git archive in {root}: {done.stderr.decode().strip()}; pack in a git checkout")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as file:
        file.extractall(folder / "ganjax", filter="data")
    changed = _git(root, "status", "--porcelain").splitlines()
    left_out = {", ".join(NOT_READ): "no part of a run reads them"}
    return left_out | ({"changes that are not committed": f"{len(changed)} files"} if changed else {})


def locked(text: str) -> dict[str, str]:
    """Name and version of each package of a lock file."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE))


def requirements(text: str, without: Sequence[str]) -> str:
    """The lock file but for these packages."""
    kept = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)
    return "".join(part for part in kept if not part.startswith(tuple(f"{name}==" for name in without)))


def site(root: Path, folder: Path, without: Sequence[str]) -> None:
    """Download the locked wheels for the other machine, check their hashes, and keep what pip makes of them.

    Unpacked and together, without the tests that packages bring, they take 44 MB where the wheels take 67.
    """
    del root
    with tempfile.TemporaryDirectory() as name:
        lock, wheels, made = Path(name, "wheels.lock"), Path(name, "wheels"), Path(name, "site")
        lock.write_text(requirements(LOCK.read_text(), without))
        target = ["--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp"]
        target += [f"--platform={platform}" for platform in PLATFORMS]
        pip = [sys.executable, "-m", "pip", "--quiet"]
        for step in (
            [*pip, "download", "--require-hashes", *target, "-d", str(wheels), "-r", str(lock)],
            [*pip, "install", "--no-index", "--no-compile", *target, "--target", str(made), f"--find-links={wheels}",
             "--require-hashes", "-r", str(lock)],
        ):  # fmt: skip
            if subprocess.run(step).returncode:
                raise ValueError(f"pip {step[4]} failed: see above; `make lock` resolves {LOCK.name} anew")
        with (
            lzma.open(folder / "site.tar.xz", "wb", filters=XZ) as packed,
            tarfile.open(fileobj=packed, mode="w") as file,
        ):
            file.add(made, "site", filter=_plain)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """The same bytes whoever packs."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return None if info.name.endswith(("/__pycache__", "/bin", "/tests")) else info


def check(path: Path) -> None:
    """Raise `ValueError` unless the file holds images and labels to train and to test on."""
    with zipfile.ZipFile(path) as file:
        held = [name.removesuffix(".npy") for name in file.namelist()]
    if missing := [name for name in ARRAYS if name not in held]:
        raise ValueError(f"{path}: {', '.join(missing)} missing; it holds {', '.join(held)}")


def cut(path: Path, packed: Path, room: int) -> dict[str, str]:
    """As many of the first images as fit into so many bytes, a sixth as many to test; what was left out."""
    import numpy as np

    with np.load(path) as file:
        arrays = {name: file[name] for name in ARRAYS}
    trial = min(1000, len(arrays["x_train"]))
    each = len(lzma.compress(arrays["x_train"][:trial].tobytes())) / trial
    count = min(len(arrays["x_train"]), int(room / each / (1 + 1 / 6)))
    while count >= 100:
        counts = {"train": count, "test": min(len(arrays["x_test"]), -(-count // 6))}
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:  # np.load reads it as any .npz
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.ascontiguousarray(array[: counts[name[2:]]]))
        if packed.stat().st_size <= room:
            break
        count = int(0.95 * count * min(1, room / packed.stat().st_size))
        packed.unlink()
    if not packed.exists():
        return {path.name: "no room for 100 images"}
    kept = {name: (counts[name], len(arrays[f"x_{name}"])) for name in counts}
    cut_off = ", ".join(f"{few} of {all_} to {name} are kept" for name, (few, all_) in kept.items() if few < all_)
    return {f"images of {path.name}": cut_off} if cut_off else {}


def unpack(root: Path, data: Path | None = None) -> tuple[Mapping[str, str], Path | None]:
    """The environment of parts, and the folder of data: those of the pack that the source lies in, if it is one.

    Raises:
        ValueError: a file of the pack is not the one that was packed.
    """
    folder = root.parent
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    manifest = folder / MANIFEST
    if manifest.is_file() and (found := json.loads(manifest.read_text())).get("pack of") == "ganjax":
        for name, said in found["files"].items():
            if not name.startswith("ganjax/") and (
                not (folder / name).is_file() or digest(folder / name) != said["sha256"]
            ):
                raise ValueError(f"{folder / name} is not the file that was packed; copy the folder again")
        made, ready = folder / "site", folder / "site.ready"
        if not ready.exists() and (folder / "site.tar.xz").exists():
            shutil.rmtree(made, ignore_errors=True)
            with tarfile.open(folder / "site.tar.xz") as file:
                file.extractall(folder, filter="data")
            ready.touch()
        paths.insert(0, str(made))
        data = data or folder / "data"
    return {"PYTHONPATH": os.pathsep.join(paths)}, data.resolve() if data else None
