"""How long the phantom takes: 3,000 frames of 256×256 with all processors, as the demo makes it."""

import os
import tempfile
import time
from pathlib import Path

from fmlab.phantom.build import build_phantom
from fmlab.phantom.cases import PhantomConfig
from fmlab.settings import Home

FRAMES = 3000


def run(quick: bool = False) -> list[dict]:
    config = PhantomConfig(sequences_per_class=2, t1_sequences=20, t2_sequences=20) if quick else PhantomConfig()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        card = build_phantom(Home(Path(folder)), "phantom", config).card
        seconds = time.perf_counter() - began
    row = {
        "name": "phantom",
        "what": f"{card.images} frames drawn and stored in {seconds:.1f} s, {FRAMES * seconds / card.images:.1f} s for {FRAMES}",
        "ratio": None,
        "against": None,
        "device": f"cpu, {os.cpu_count()} cores",
        "seconds": seconds,
        "frames": card.images,
    }
    return [row]
