"""A manifest of a million rows: what the Datasets page and the plan on the Launch page take, each in a fresh process.

In: nothing. Out: two rows: seconds to open the dataset, count from its card and fetch the first rows; and seconds to
price a study on it, at first and with every later click. Each with the peak of the process's memory, against reading
the whole table with pandas, which is what a page that keeps nothing would do.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from fmlab.data.manifest import COLUMNS
from fmlab.data.writer import CardFacts, make_card, write_manifest
from fmlab.files import write_json
from fmlab.settings import Home

ROWS, QUICK_ROWS = 1_000_000, 50_000
CLASSES = ("2CH", "4CH", "PLAX", "PSAX", "SUBCOSTAL")
FRAMES, SEQUENCES_PER_PATIENT = 20, 5

TARGET_SECONDS, TARGET_BYTES = 2.0, 1 << 30
TARGET_CLICK_SECONDS = 0.5  # of a page that answers a click

IMPORTS = """
import json, resource, sys, time
from pathlib import Path
from fmlab.data.manifest import open_dataset
from fmlab.settings import Home
"""

PEAK = """
status = Path("/proc/self/status")  # what the system's usage call says includes the process that started this one
if status.exists():
    peak = 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""

OPEN = f"""{IMPORTS}
started = time.perf_counter()
dataset = open_dataset(Home(Path(sys.argv[1])), "million")
counts = (dataset.card.images, dataset.card.class_counts, dataset.card.splits, dataset.card.sites)
opened = time.perf_counter()
rows = [dataset.first_rows(), *(dataset.first_rows(split) for split in dataset.card.splits)]
done = time.perf_counter()
{PEAK}
print(json.dumps({{"opened": opened - started, "seconds": done - started, "peak": peak}}))
"""

PLAN = f"""{IMPORTS}
from fmlab.runs.store import open_store
from fmlab.studies.planner import plan
from fmlab.studies.presets import preset_config
home = Home(Path(sys.argv[1]))
store, dataset = open_store(home), open_dataset(home, "million")
floors = ["pixels-24", "random-efficientnet-lite0", "random-resnet18"]
study = preset_config(home, "limited-data/probe-sequences", dataset, "priced", backbones=floors, copies=0, baselines=())
started = time.perf_counter()
price = plan(home, store, study)
first = time.perf_counter()
plan(home, store, study)
again = time.perf_counter()
{PEAK}
print(json.dumps({{"first": first - started, "seconds": again - first, "peak": peak, "cells": price.cells}}))
"""

READ_ALL = """
import json, sys, time
import pandas
started = time.perf_counter()
table = pandas.read_parquet(sys.argv[1] + "/datasets/million/manifest.parquet")
counts = (len(table), table["label"].value_counts(), table["split"].value_counts(), table["site"].value_counts())
rows = table.groupby("label").head(4)
print(json.dumps({"seconds": time.perf_counter() - started}))
"""


def run(quick: bool = False) -> list[dict[str, object]]:
    """Measure; `quick` with a twentieth of the rows."""
    count = QUICK_ROWS if quick else ROWS
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(Home(Path(folder)), count)
        opening, pricing, whole = (_measured(code, folder) for code in (OPEN, PLAN, READ_ALL))
    against = {"against": "pandas.read_parquet of the whole manifest, counted", "device": "cpu", "rows": count}
    return [
        {
            "name": "manifest",
            "what": f"open a manifest of {count:,} rows, counts and first rows",
            "ratio": whole["seconds"] / opening["seconds"],
            **against,
            "open_seconds": opening["opened"],
            "seconds": opening["seconds"],
            "target_seconds": TARGET_SECONDS,
            "peak_bytes": opening["peak"],
            "target_bytes": TARGET_BYTES,
            "reached": opening["seconds"] < TARGET_SECONDS and opening["peak"] < TARGET_BYTES,
        },
        {
            "name": "manifest",
            "what": f"price a study on {count:,} rows, with every click after the first",
            "ratio": whole["seconds"] / pricing["seconds"],
            **against,
            "cells": pricing["cells"],
            "first_seconds": pricing["first"],
            "target_first_seconds": TARGET_SECONDS,
            "seconds": pricing["seconds"],
            "target_seconds": TARGET_CLICK_SECONDS,
            "peak_bytes": pricing["peak"],
            "target_bytes": TARGET_BYTES,
            "reached": pricing["first"] < TARGET_SECONDS
            and pricing["seconds"] < TARGET_CLICK_SECONDS
            and pricing["peak"] < TARGET_BYTES,
        },
    ]


def _measured(code: str, folder: str) -> dict[str, float]:
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", code, folder]
    return json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout)


def write_synthetic(home: Home, count: int) -> None:
    """A dataset without pixels: sequences of 20 frames, five of a patient, sorted by class as folders are."""
    folder = home.datasets / "million"
    folder.mkdir(parents=True)
    row = np.arange(count)
    sequence = row // FRAMES
    patient = sequence // SEQUENCES_PER_PATIENT
    label = np.asarray(CLASSES)[row * len(CLASSES) // count]
    manifest = pd.DataFrame(
        {
            "image_id": _numbered("{:016x}", row * 2654435761),
            "path": "view/" + pd.Series(label) + "/" + _numbered("{:07d}.png", row),
            "frame": row % FRAMES,
            "label": label,
            "sequence_id": _numbered("sequence-{:06d}", sequence),
            "patient_id": _numbered("patient-{:05d}", patient),
            "site": _numbered("site-{}", patient % 7),
            "split": np.where(patient % 10 < 3, "T1", "train"),
            "scored": True,
            "mask_path": None,
            "spacing_mm": 0.3,
            "sector": None,
            "height": 480,
            "width": 640,
            "content_hash": _numbered("{0:016x}{0:016x}", row * 2654435761),
            "problem": None,
        }
    )[list(COLUMNS)]
    card = make_card("million", manifest, CardFacts(source="table"), CLASSES, "as in the source")
    write_manifest(folder, manifest)
    write_json(folder / "card.json", card.model_dump(mode="json"))


def _numbered(pattern: str, numbers: np.ndarray) -> pd.Series:
    return pd.Series([pattern.format(number) for number in numbers.tolist()])
