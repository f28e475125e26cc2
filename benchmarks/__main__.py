"""`python -m benchmarks [NAME…] [--quick] [--json] [--keep]`: run the benchmarks and print their ratios.

In: names of benchmarks (all by default). Out: a line per measurement, or one JSON list on standard output; with
`--keep` the rows of each benchmark besides as `benchmarks/<name>-<device>.json`.
Each benchmark measures FMLab and its rival in turn, in one process, on this machine; single runs vary, ratios less so.
"""

import argparse
import importlib
import json
import os
import platform
import re
import sys
from pathlib import Path

from fmlab.files import write_json
from fmlab.runs.engine import ALLOCATOR

NAMES = (
    "extract",
    "latency",
    "probe",
    "finetune",
    "phantom",
    "manifest",
    "study",
    "pages",
    "pages_map",
    "pages_embeddings",
    "pages_review",
    "pages_runs",
    "listing",
    "label_errors",
    "augmentation",
    "pretrain_step",
)


def main() -> None:
    if not ALLOCATOR.items() <= os.environ.items():
        # A worker runs with these settings; FMLab and its rivals are measured under the same ones.
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], os.environ | ALLOCATOR)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed and memory.")
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help=f"which of {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller fixtures: a look, not a measurement")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument("--keep", action="store_true", help="write the rows into the folder of the benchmarks too")
    chosen = parser.parse_args()
    rows = []
    for name in chosen.names or NAMES:
        sys.stderr.write(f"{name} on {platform.machine()} …\n")
        own = []
        for row in importlib.import_module(f"benchmarks.{name}").run(quick=chosen.quick):
            own.append(row)
            if not chosen.json:
                ratio = "" if row.get("ratio") is None else f"×{row['ratio']:.2f} against {row['against']}"
                print(f"{row['name']:<10} {row['what']:<60} {ratio}", flush=True)
        if chosen.keep:
            keep(name, own)
        rows += own
    if chosen.json:
        print(json.dumps(rows, indent=2))


def keep(name: str, rows: list[dict]) -> None:
    """Write the rows of a benchmark beside it, one file for each device; the last row tells which."""
    device = re.sub(r"[^a-z0-9]+", "-", str(rows[-1].get("device", platform.machine())).lower()).strip("-")
    write_json(Path(__file__).with_name(f"{name}-{device}.json"), rows)


if __name__ == "__main__":
    main()
