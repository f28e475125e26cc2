"""Bringing images in: from a path on this machine, or dropped into the browser; always a run, never on the page.

In: what a person typed or dropped. Out: a queued run of kind `import`; later, what became of it.

Dropped files are kept below the home's `uploads` until their import has succeeded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from fmlab.data.manifest import check_name, dataset_names
from fmlab.errors import BadInput, NameTaken
from fmlab.readers.sources import ReaderOptions, reader_options
from fmlab.readers.uploads import forget_dropped, keep_dropped, remove_stale_drops
from fmlab.runs.records import UNFINISHED
from fmlab.runs.requests import request_run
from fmlab.settings import Home
from fmlab.ui import session
from fmlab.ui.format import count, escaped

# Reader → what it reads, in a person's words, and the options that mean something to it.
READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "auto": ("Recognise it", ()),
    "folder": ("Folder, one per class", ("patient_pattern",)),
    "table": (
        "Table (CSV, TSV, Parquet)",
        (
            "path_column",
            "label_column",
            "patient_column",
            "sequence_column",
            "frame_column",
            "site_column",
            "split_column",
        ),
    ),
    "dicom": ("DICOM files", ("labels", "frames", "stride")),
    "video": ("Clips", ("patient_pattern", "frames", "stride")),
    "npz": ("MedMNIST .npz", ()),
    "fetal-planes": ("FETAL_PLANES_DB", ()),
}
HINTS = {
    "patient_pattern": r"Regular expression with one group, as ^(\d+)_ for 123_4.png",
    "frames": "At most so many frames of each clip, evenly spaced",
    "stride": "Every so-manieth frame of each clip",
    "labels": "A CSV of two columns: path of a file within the source, and its class. Without it, folders are classes",
}


def import_form(home: Home) -> None:
    """Where the images are, what to call the dataset, how to read it; a button that queues the import."""
    source_place, naming = st.columns([3, 2], gap="medium")
    with source_place:
        where = st.segmented_control(
            "Where are the images?", ["On this machine", "Drop files"], default="On this machine", key="import_from"
        )
        typed, dropped = "", []
        if where == "Drop files":
            dropped = st.file_uploader(
                "A zip, DICOM files, clips or images",
                accept_multiple_files=True,
                key="import_files",
                help="Files stay on this machine; DICOM identifiers are replaced on import. A zip may hold folders.",
            )
        else:
            typed = st.text_input(
                "Path of a folder, table or file", key="import_path", placeholder="/data/echo/labels.csv"
            )
    with naming:
        name = st.text_input("Name of the dataset", key="import_name", placeholder="echo-2024", max_chars=64)
        reader = st.selectbox("Layout", list(READERS), format_func=lambda key: READERS[key][0], key="import_reader")
    options = _options(READERS[reader][1], dropping=where == "Drop files")
    # Always enabled: typing a name and pressing the button sends both at once, so a button that waited for the name would
    # swallow that first press.
    if st.button("Import", type="primary", icon=":material/download:"):
        if not (typed or dropped):
            raise BadInput(
                "Say first where the images are: " + ("drop them above." if where == "Drop files" else "give a path.")
            )
        if not name:
            raise BadInput("Give the dataset a name first, as echo-2024.")
        key = request_import(home, typed, dropped, name, reader, options)
        st.session_state.setdefault("imports", []).append(key)
        st.rerun()


def _options(names: Sequence[str], dropping: bool) -> dict[str, Any]:
    """Inputs for the options of a reader; what was left empty is not among them. Tables come as the images do."""
    values: dict[str, Any] = {}
    if names:
        with st.container(horizontal=True, key="import_options"):
            for name in names:
                label, hint = name.replace("_", " ").capitalize(), HINTS.get(name)
                if name == "labels" and dropping:
                    table = st.file_uploader(
                        label, ["csv", "tsv", "txt"], help=hint, key="option_labels_file", width=320
                    )
                    values[name] = [table] if table else []
                elif name == "labels":
                    values[name] = st.text_input(
                        label, help=hint, key="option_labels", placeholder="/data/echo/classes.csv", width=320
                    ).strip()
                elif ReaderOptions.model_fields[name].annotation == int | None:
                    values[name] = st.number_input(
                        label, min_value=1, value=None, step=1, help=hint, key=f"option_{name}", width=160
                    )
                else:
                    values[name] = st.text_input(label, help=hint, key=f"option_{name}", width=160)
    return {name: value for name, value in values.items() if value}


def request_import(
    home: Home, typed: str, dropped: Sequence[Any], name: str, reader: str, options: dict[str, Any]
) -> str:
    """Check what can be checked at once and queue the import; returns the key of its run.

    `options` as `reader_options` takes them; `labels` is the full path of a table, or a list of one dropped file.
    """
    check_name(name)
    if name in dataset_names(home):
        raise NameTaken(f"A dataset {name!r} exists already. Choose another name, or remove that one first.")
    reader_options(**{key: value for key, value in options.items() if key != "labels"})
    if "labels" in options:
        options = options | {"labels": str(_kept(home, options["labels"], "table"))}
    source = _kept(home, dropped or typed, "folder, table or file")
    plain = reader_options(**options).model_dump(mode="json", exclude_none=True)
    config = {"source": str(source), "name": name, "reader": reader, "options": plain}
    return request_run(session.store(), "import", config, f"Import {name}", by=session.actor()).key


def _kept(home: Home, given: str | Sequence[Any], what: str) -> Path:
    """Where a typed path leads, or where dropped files are kept; a path that leads nowhere raises `BadInput`."""
    if not isinstance(given, str):
        return keep_dropped(home, [(file.name, file) for file in given])
    path = Path(given.strip()).expanduser()
    if not path.is_absolute() or not path.exists():
        raise BadInput(f"There is nothing at {str(path)!r}. Give the full path of a {what}.")
    return path


def import_outcomes() -> None:
    """What became of the imports asked for in this browser: shown once when done, until dismissed when not.

    Call it before the form and the choice of a dataset: a finished import empties the one and sets the other.
    """
    store = session.store()
    waiting = []
    for key in st.session_state.get("imports", []):
        run = store.run(key)
        name = escaped(str(run.config["name"]))
        if run.state in UNFINISHED:
            waiting.append(key)
        elif run.state == "done":
            result = run.result or {}
            st.toast(f"{name}: {count(result.get('images'), 'image')} imported.", icon=":material/check:")
            st.session_state.update({"dataset": run.config["name"], "import_name": "", "import_path": ""})
            for place in (run.config["source"], run.config.get("options", {}).get("labels")):
                if place is not None:
                    forget_dropped(store.home, Path(place))
        else:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.error(f"{name} was not imported: {escaped(run.reason or run.state)}", icon=":material/error:")
                if not st.button("Dismiss", key=f"dismiss_{key}", type="tertiary"):
                    waiting.append(key)
    st.session_state["imports"] = waiting
    if not store.groups(active_only=True):
        remove_stale_drops(store.home)
