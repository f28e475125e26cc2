"""`fmlab backbones list`: how long a person waits for the catalogue, in a fresh process.

In: nothing. Out: one row: seconds from the call to the end of the process, median and worst, against importing torch,
which a catalogue that describes its models by building them would do first.
"""

import subprocess
import sys
import tempfile
import time

REPEATS, QUICK_REPEATS = 9, 3
TARGET_SECONDS = 0.5


def run(quick: bool = False) -> list[dict]:
    """The rows of this benchmark."""
    repeats = QUICK_REPEATS if quick else REPEATS
    with tempfile.TemporaryDirectory() as home:
        ours, theirs = [], []
        for _ in range(repeats):
            ours.append(seconds(["-m", "fmlab", "backbones", "list", "--home", home]))
            theirs.append(seconds(["-c", "import torch"]))
    median = sorted(ours)[repeats // 2]
    return [
        {
            "name": "listing",
            "what": f"`fmlab backbones list`: {median:.2f} s (worst {max(ours):.2f} s, target {TARGET_SECONDS} s)",
            "ratio": sorted(theirs)[repeats // 2] / median,
            "against": "importing torch first",
            "device": "cpu",
            "seconds": median,
            "seconds_worst": max(ours),
            "target_seconds": TARGET_SECONDS,
            "met": median <= TARGET_SECONDS,
        }
    ]


def seconds(words: list[str]) -> float:
    """How long a Python process takes from its start to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
