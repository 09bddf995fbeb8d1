"""A child process of test_setups.py: trains systems on the devices that there are.

python setups_worker.py FOLDER --data A --target B NAME...
"""

import contextlib
import io
import sys

from setups import EXPERIMENTS

from ganjax import launch

NO_PICTURES = ["--sample-every", "0"]  # what is compared is where they end

if __name__ == "__main__":
    folder, *options = sys.argv[1:6]
    for name in sys.argv[6:]:
        with contextlib.redirect_stdout(io.StringIO()):
            words = ["train", "--workdir", f"{folder}/{name}", "--quiet", *options, *NO_PICTURES]
            launch.main(EXPERIMENTS[name], words)
