"""`fmlab results` and `fmlab compare`: a study's numbers as tables, JSON or CSV.

In: the name of a study with finished runs. Out: tables on standard output, or a folder of CSV files; what has to be said
beside every number on standard error.
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from fmlab.commands.output import HomeOption, home_of, rows_of, say, show, show_json, show_table
from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home
from fmlab.studies.comparison import differences
from fmlab.studies.export import export
from fmlab.studies.label_versions import ORIGINAL
from fmlab.studies.relabelled import relabelled
from fmlab.studies.remarks import remarks_of
from fmlab.studies.results import CURVE_KEYS, MEASURES, absent_sentence, results
from fmlab.studies.summary import summary

NOTHING_YET = "No run of this study has finished yet."


def results_command(
    study: str,
    by: Annotated[
        str,
        typer.Option(
            help="size, class, site, sequence, maximum, generalisation, ranking, savings, crossings, calibration, "
            "targets or cost; or labels: what --labels changes."
        ),
    ] = "size",
    measure: Annotated[str, typer.Option(help="What ranking, savings, crossings, targets and labels are about.")] = (
        "image_accuracy"
    ),
    labels: Annotated[str, typer.Option(help="A label version of the dataset, as v2.")] = ORIGINAL,
    form: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    folder: Annotated[
        Path | None, typer.Option("--export", help="Write every table and every figure's data here as CSV.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Print a study's results: per size as a table, or every run and test set as JSON or CSV; or export all of it."""
    place = home_of(home)
    store = open_store(place)
    record = store.study(study)
    for remark in remarks_of(record, open_dataset(place, record.config["dataset"])):
        say(f"{study}: {remark}.")
    if folder is not None:
        if labels != ORIGINAL:
            raise BadInput("--export writes a file for every label version; leave --labels out.")
        _export(place, store, study, folder)
        return
    if by == "labels":
        write_table(relabelled(place, store, study, labels, measure), form)
        return
    whole = by == "size" and form != "table"
    table = results(place, store, study, labels) if whole else summary(place, store, study, by, measure, labels)
    crossless = by == "crossings" and "leads_below" in table
    empty = "No two curves cross at the sizes measured." if crossless else NOTHING_YET
    if by == "size" and len(table) and (sentence := absent_sentence(results(place, store, study, labels))):
        say(sentence)
    write_table(readable(table) if form == "table" and by == "size" else table, form, empty)


def _export(home: Home, store: Store, study: str, folder: Path) -> None:
    written, refused = export(home, store, study, folder)
    for path in written:
        show(str(path))
    for name, reason in refused.items():
        say(f"No {name}.csv: {reason}")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A summary per size for the eye: each measure and its interval in one column, in percent."""
    columns: dict[str, Any] = {name: table[name] for name in CURVE_KEYS if name != "scheme"}
    for measure in MEASURES if len(table) else ():
        parts = zip(*(100 * table[name] for name in (measure, f"{measure}_low", f"{measure}_high")), strict=True)
        columns[f"{measure} %"] = [f"{mean:.1f} ({low:.1f}–{high:.1f})" for mean, low, high in parts]
    if len(table):
        columns |= {"majority %": (100 * table["majority_rate"]).map("{:.1f}".format), "seeds": table["seeds"]}
        columns["unconverged"] = table["unconverged"]
    return pd.DataFrame(columns)


def write_table(table: pd.DataFrame, form: str, empty: str = NOTHING_YET) -> None:
    """A table in one of the three forms; `empty` stands for one without rows."""
    if form == "json":
        show_json(rows_of(table))
    elif form == "csv":
        show(table.to_csv(index=False).rstrip())
    elif form == "table":
        show_table(rows_of(table), list(table.columns), empty)
    else:
        raise BadInput(f"--format is {form!r}; choose table, json or csv.")


def compare_command(
    study: str,
    first: Annotated[str, typer.Argument(help="A backbone.")],
    second: Annotated[str, typer.Argument(help="Another, or the same under another adaptation.")],
    adaptation: Annotated[str, typer.Option(help="The adaptation, as the results name it.")] = "linear_svm",
    against: Annotated[str | None, typer.Option(help="The adaptation of the second. Default: the same.")] = None,
    test_set: Annotated[str, typer.Option(help="The test set.")] = "T1",
    measure: Annotated[str, typer.Option(help=f"One of {', '.join(MEASURES)}.")] = "balanced_accuracy",
    form: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    home: HomeOption = None,
) -> None:
    """Compare two at every size: first minus second with its paired 95 % interval; tied if that holds zero."""
    place = home_of(home)
    store = open_store(place)
    table = results(place, store, study)
    sides = (first, adaptation), (second, against or adaptation)
    write_table(differences(place, store, table, *sides, test_set, measure), form)


def show_results(home: Home, store: Store, study: str) -> None:
    """A study's table per size."""
    write_table(readable(summary(home, store, study, "size")), "table")
