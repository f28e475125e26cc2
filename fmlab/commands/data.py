"""`fmlab data`: import images, attach test sets, look at datasets, make a phantom.

In: a source on disk and what it cannot say itself. Out: a dataset; its counts as text or JSON.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from fmlab.audit.report import Audit
from fmlab.commands.output import (
    HomeOption,
    JsonOption,
    actor,
    home_of,
    progress_line,
    say,
    show,
    show_json,
    show_table,
)
from fmlab.data.manifest import Card, dataset_names, open_dataset, remove_dataset
from fmlab.errors import WorkFailed
from fmlab.phantom.cases import PhantomConfig
from fmlab.readers.attach import attach
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import ReaderOptions, reader_options
from fmlab.runs.store import open_store
from fmlab.studies.audits import audit_of, pictures_known, request_audit

app = typer.Typer(help="Import and inspect datasets.", no_args_is_help=True)

Column = Annotated[str | None, typer.Option(help="Table reader: the name of this column.")]
Reader = Annotated[str, typer.Option(help="auto, folder, table, dicom, video, npz or fetal-planes.")]
Labels = Annotated[
    Path | None, typer.Option(help="CSV of two columns: path and label (import), theirs and ours (attach).")
]
Stride = Annotated[int | None, typer.Option(help="Video: keep every n-th frame.")]
Frames = Annotated[int | None, typer.Option(help="Video: keep this many frames, evenly spaced.")]
Fixes = Annotated[Path | None, typer.Option(help="CSV of corrected labels, as `fmlab review fixes` writes it.")]
Pattern = Annotated[str | None, typer.Option(help="A regular expression whose group is the patient in a path.")]


@app.command("import")
def import_source(
    source: Annotated[Path, typer.Argument(help="A folder, table, archive or file.")],
    name: Annotated[str, typer.Option(help="The dataset's name.")],
    reader: Reader = "auto",
    labels: Labels = None,
    path_column: Column = None,
    label_column: Column = None,
    patient_column: Column = None,
    sequence_column: Column = None,
    frame_column: Column = None,
    site_column: Column = None,
    split_column: Column = None,
    mask_column: Column = None,
    spacing_column: Column = None,
    patient_pattern: Pattern = None,
    stride: Stride = None,
    frames: Frames = None,
    folds: Annotated[int | None, typer.Option(help="Deal patients into this many folds.")] = None,
    split_seed: Annotated[int, typer.Option(help="Seed of a split drawn by patient.")] = 0,
    fixes: Fixes = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Import images as a new dataset. Nothing is kept of an import that fails."""
    options = _options(
        path_column=path_column,
        label_column=label_column,
        patient_column=patient_column,
        sequence_column=sequence_column,
        frame_column=frame_column,
        site_column=site_column,
        split_column=split_column,
        mask_column=mask_column,
        spacing_column=spacing_column,
        patient_pattern=patient_pattern,
        stride=stride,
        frames=frames,
        labels=labels,
    )
    dataset = import_dataset(
        home_of(home), source, name, reader=reader, options=options, folds=folds, split_seed=split_seed,
        fixes=fixes, on_progress=progress_line(f"importing {name}"),
    )  # fmt: skip
    _show_card(dataset.card, as_json)


def _options(**given: Any) -> ReaderOptions:
    return reader_options(**{key: value for key, value in given.items() if value is not None})


@app.command("attach")
def attach_source(
    name: Annotated[str, typer.Argument(help="The dataset that gets another test set.")],
    source: Annotated[Path, typer.Argument(help="Where its images are.")],
    as_set: Annotated[str, typer.Option("--as", help="The test set's name.")] = "T2",
    labels: Labels = None,
    reader: Reader = "auto",
    path_column: Column = None,
    label_column: Column = None,
    patient_column: Column = None,
    sequence_column: Column = None,
    frame_column: Column = None,
    site_column: Column = None,
    patient_pattern: Pattern = None,
    stride: Stride = None,
    frames: Frames = None,
    same_patients: Annotated[bool, typer.Option(help="Patient names mean the same people in both sources.")] = False,
    fixes: Fixes = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Attach another source as a further test set: classes mapped, patients checked."""
    options = _options(
        path_column=path_column,
        label_column=label_column,
        patient_column=patient_column,
        sequence_column=sequence_column,
        frame_column=frame_column,
        site_column=site_column,
        patient_pattern=patient_pattern,
        stride=stride,
        frames=frames,
    )
    dataset = attach(
        home_of(home), name, source, as_set=as_set, labels=labels, reader=reader, options=options,
        same_patients=same_patients, fixes=fixes, on_progress=progress_line(f"attaching {as_set}"),
    )  # fmt: skip
    _show_card(dataset.card, as_json)


@app.command("phantom")
def make_phantom(
    name: Annotated[str, typer.Option(help="The dataset's name.")] = "phantom",
    sequences_per_class: Annotated[int, typer.Option(help="The least of each class to train on.")] = (
        PhantomConfig.sequences_per_class
    ),
    frames_per_sequence: Annotated[
        int, typer.Option(help="Frames of one heart beat.")
    ] = PhantomConfig.frames_per_sequence,
    seed: Annotated[int, typer.Option(help="Another seed, other patients.")] = 0,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Draw the synthetic echocardiography dataset."""
    from fmlab.phantom.build import (
        build_phantom,
    )  # SciPy's image functions: nothing else on the command line needs them

    config = PhantomConfig(sequences_per_class=sequences_per_class, frames_per_sequence=frames_per_sequence, seed=seed)
    advance = progress_line(f"drawing {name}")
    dataset = build_phantom(home_of(home), name, config, on_progress=lambda n, of: advance(n, of, "sequences"))
    _show_card(dataset.card, as_json)


@app.command("list")
def list_datasets(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List the datasets."""
    place = home_of(home)
    cards = [open_dataset(place, name).card for name in dataset_names(place)]
    rows = [{"name": c.name, "images": c.images, "classes": len(c.classes), "patients": c.patients,
             "sequences": c.sequences, "licence": c.licence} for c in cards]  # fmt: skip
    if as_json:
        show_json(rows)
    else:
        show_table(rows, list(rows[0]) if rows else [], "No dataset yet: `fmlab data import SOURCE --name NAME`.")


@app.command("show")
def show_dataset(name: str, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show a dataset's card."""
    _show_card(open_dataset(home_of(home), name).card, as_json)


def _show_card(card: Card, as_json: bool) -> None:
    facts = card.model_dump(mode="json")
    facts["classes"], facts["class_order"] = facts.pop("class_counts"), facts.pop("classes")
    if as_json:
        show_json(facts)
        return
    for key in ("name", "title", "source", "licence", "images", "unreadable", "unlabelled", "patients", "sequences",
                "classes", "splits", "split_origin", "sites"):  # fmt: skip
        show(f"{key}: {facts[key]}")
    for note in facts["notes"]:
        say(note)


@app.command("check")
def check_dataset(
    name: str,
    pixels: Annotated[
        bool, typer.Option("--pixels/--no-pixels", help="Look at every picture, unless that was done already.")
    ] = True,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Say what is wrong with a dataset: leaks, duplicates, absent classes, doubtful labels, shortcuts. Status 1 if it leaks."""
    place = home_of(home)
    dataset, store = open_dataset(place, name), open_store(place)
    audit = audit_of(place, store, dataset)
    if pixels and not pictures_known(audit):
        from fmlab.commands.study import wait_for  # which imports more than the other commands here need

        run = request_audit(store, dataset, actor())
        wait_for(place, None)
        if store.run(run.key).state != "done":
            raise WorkFailed(f"The pictures could not be looked at: {store.run(run.key).reason}")
        audit = audit_of(place, store, dataset)
    problems = audit.of_level("leak", "warning", "note")
    if as_json:
        told = {"problems": [check.sentence for check in problems], "leaking": list(dataset.card.leaking)}
        show_json({"dataset": name, "leaks": bool(audit.leaks)} | told | audit.plain())
    else:
        _show_audit(name, audit)
    if audit.leaks:
        raise typer.Exit(1)


def _show_audit(name: str, audit: Audit) -> None:
    for check in audit.of_level("leak", "warning", "note"):
        show(f"{check.level}: {check.sentence}")
    for check in audit.check("unreadable").rows:
        show(f"  {check['image']}: {check['reason']}")
    if not audit.of_level("leak", "warning"):
        show(f"Nothing is wrong with {name!r} that could be seen.")
    for check in audit.of_level("skipped"):
        say(f"{check.title}: {check.sentence}")


@app.command("remove")
def remove(name: str, home: HomeOption = None) -> None:
    """Remove a dataset from this disk. Its embeddings and predictions stay."""
    remove_dataset(home_of(home), name)
    say(f"Dataset {name!r} was removed.")
