"""Everything that an accelerator is wanted for, in one command, for the day on which one is at hand for minutes.

On an ordinary machine, in a checkout: collect one folder of at most 60 MB, and carry it there.

    python scripts/accelerator.py pack --out FOLDER --data DATA      # DATA: mnist.npz and cifar10.npz, if at hand
    python scripts/accelerator.py run --dry --out runs/dry           # rehearse all of it on this CPU, 10 minutes

On the machine with the accelerator, which has Python 3.12, jax 0.11 and PyTorch and needs no network:

    python FOLDER/ganjax/scripts/accelerator.py run --minutes 14 --out RESULTS

This works through its parts in order of worth, each in a process of its own with a limit of its own: numerics against
values of a CPU, speed against PyTorch, convolutions, training at published settings, profiles. RESULTS/results.json is
whole after every part, RESULTS/<part>/ holds what a part has so far (numbers.json, pictures, log.txt). The same command
again skips what is done, and takes up what failed or was cut off after what was never tried. Back in the checkout:

    python scripts/accelerator.py merge RESULTS                        # into benchmarks/results/
"""

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "accelerator"))

import merging  # noqa: E402
import packing  # noqa: E402
import parts  # noqa: E402
import runner  # noqa: E402

ROOT = HERE.parent


def main(args: list[str] | None = None) -> int:
    """The exit code: 0 done, 1 some part was not, 2 a wrong argument."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    pack = commands.add_parser("pack", help="collect what the machine needs in one folder (needs git, pip, network)")
    pack.add_argument("--out", type=Path, required=True, help="the folder to make; it must not be there")
    pack.add_argument("--data", type=Path, help="a folder with mnist.npz and cifar10.npz; as many images as fit")
    pack.add_argument("--megabytes", type=float, default=60, help="largest size of the folder (default 60)")
    pack.add_argument(
        "--without", nargs="+", default=[], metavar="PACKAGE", help="packages that the machine has; room for data"
    )
    run = commands.add_parser("run", help="work through the parts")
    run.add_argument("--minutes", type=float, help="time for all parts together (default 14; of --dry 30)")
    run.add_argument(
        "--out", type=Path, required=True, help="folder of the results; parts that are done there are kept"
    )
    run.add_argument("--parts", nargs="+", metavar="PART", help=f"some of: {', '.join(parts.NAMES)}")
    run.add_argument("--data", type=Path, help="a folder with mnist.npz and cifar10.npz (default: that of the pack)")
    run.add_argument("--archive", type=Path, help="keep all results in this .zip too, made anew after every part")
    run.add_argument("--dry", action="store_true", help="everything in miniature on the CPU, to see that it works")
    reference = commands.add_parser("reference", help="write the costs of every recipe on this CPU, which run compares")
    reference.add_argument("--out", type=Path, default=parts.REFERENCE, help="default: %(default)s")
    merge = commands.add_parser("merge", help="put results into benchmarks/results, say what docstrings should")
    merge.add_argument("folder", type=Path, help="the --out of run")
    merge.add_argument("--into", type=Path, default=ROOT / "benchmarks" / "results", help="default: %(default)s")
    found = parser.parse_args(args)
    try:
        if found.command == "pack":
            packing.pack(ROOT, found.out, found.data, found.megabytes, found.without)
        elif found.command == "run":
            end = time.monotonic() + 60 * (found.minutes or (30 if found.dry else 14))
            environment, data = packing.unpack(ROOT, found.data)
            chosen = parts.chosen(data, found.parts, dry=found.dry)
            return runner.run(
                chosen, found.out, end - time.monotonic(), environment, dry=found.dry, archive=found.archive
            )
        elif found.command == "reference":
            return runner.call([str(parts.CHILDREN / "numerics.py"), "reference", "--out", str(found.out)])
        else:
            print(merging.merge(found.folder, found.into))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
