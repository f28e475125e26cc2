"""Adding a checkpoint of one's own from the page.

In: a path on this machine, a key, timm's name of the architecture. Out: a new row of the catalogue, or one sentence why
not. The command line does the work in a process of its own, so that torch never enters the server.
"""

import subprocess
import sys
from pathlib import Path

import streamlit as st

from fmlab.data.manifest import check_name
from fmlab.errors import BadInput
from fmlab.settings import Home
from fmlab.ui.format import escaped

SECONDS = 300.0  # the largest checkpoints take about a minute to read, check and copy


def backbone_form(home: Home) -> None:
    """Inputs and a button; the page is drawn anew with the backbone in its catalogue."""
    st.caption(
        "A .safetensors file, or a state dict saved by torch. It has to fit the architecture tensor by tensor; "
        "no code inside a file is ever run."
    )
    left, middle, right = st.columns([3, 2, 2])
    path = left.text_input("Path of the weights", key="weights_path", placeholder="/models/vit_echo.safetensors")
    key = middle.text_input("Key", key="weights_key", placeholder="vit-echo", max_chars=64)
    architecture = right.text_input(
        "Architecture, as timm calls it", key="weights_architecture", placeholder="vit_small_patch14_dinov2"
    )
    licence = left.text_input("Licence of the weights, if you know it", key="weights_licence")
    if st.button("Add the backbone", icon=":material/add:", disabled=not (path and key and architecture)):
        with st.spinner("Checking the file against the architecture …", show_time=True):
            add(home, Path(path.strip()).expanduser(), key, architecture.strip(), licence.strip())
        st.toast(f"{escaped(key)} was added.", icon=":material/check:")
        st.rerun()


def add(home: Home, path: Path, key: str, architecture: str, licence: str = "") -> None:
    """Add the checkpoint; `BadInput` with the command line's own sentence when it refuses."""
    check_name(key, "backbone")
    if not path.is_absolute() or not path.is_file():
        raise BadInput(f"There is no weights file at {str(path)!r}. Give the full path of a file on this machine.")
    words = [sys.executable, "-m", "fmlab", "backbones", "add", f"--key={key}", f"--architecture={architecture}"]
    words += [f"--licence={licence}"] if licence else []
    words += [f"--home={home.path}", "--", str(path)]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BadInput(f"Reading {path.name!r} took longer than {SECONDS:.0f} seconds; it was given up.") from error
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"the command ended with status {ended.returncode}"]
        raise BadInput(said[-1])
