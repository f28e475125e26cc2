"""`fmlab study` and `fmlab results`: launch a study, wait for it, read its numbers.

In: a study file, a preset, or everything spelt out. Out: runs done; tables, JSON or CSV.
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from fmlab.commands.output import HomeOption, JsonOption, actor, home_of, rows_of, say, show, show_json, show_table
from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.runs.launcher import execute
from fmlab.runs.records import RunState
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home
from fmlab.studies.comparison import differences
from fmlab.studies.configs import StudyConfig, read_study_file, study_config
from fmlab.studies.launch import launch
from fmlab.studies.planner import Plan, plan
from fmlab.studies.presets import preset_config
from fmlab.studies.results import CURVE_KEYS, MEASURES, results
from fmlab.studies.summary import summary

app = typer.Typer(help="Launch studies and read their results.", no_args_is_help=True)


@app.command("run")
def run_study(
    file: Annotated[Path | None, typer.Argument(help="A study in YAML.", show_default=False)] = None,
    preset: Annotated[str | None, typer.Option(help="A named study: demo, probe-sequences, probe-images.")] = None,
    name: Annotated[str | None, typer.Option(help="The study's name; by default made from preset and dataset.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The dataset to run on.")] = None,
    backbones: Annotated[str | None, typer.Option(help="Keys, separated by commas.")] = None,
    adaptations: Annotated[str | None, typer.Option(help="linear_svm, logistic, knn, separated by commas.")] = None,
    scheme: Annotated[str | None, typer.Option(help="images or sequences.")] = None,
    sizes: Annotated[str | None, typer.Option(help="Subset sizes, separated by commas.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Subsets drawn per size.")] = None,
    style: Annotated[str | None, typer.Option(help="native or paper preprocessing.")] = None,
    mask_sector: Annotated[bool | None, typer.Option(help="Black out everything outside the sector.")] = None,
    allow_leaking: Annotated[str | None, typer.Option(help="The dataset's name, to accept a leaking split.")] = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="Print the price and stop.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Run a study and wait for it. What is computed already is not computed again."""
    place = home_of(home)
    given = {
        "dataset": dataset,
        "backbones": _listed(backbones),
        "adaptations": _listed(adaptations),
        "scheme": scheme,
        "sizes": _sizes(sizes),
        "seeds": seeds,
        "style": style,
        "mask_sector": mask_sector,
        "allow_leaking": allow_leaking,
    }
    config = _config(place, file, preset, name, {key: value for key, value in given.items() if value is not None})
    store = open_store(place)
    if plan_only:
        _show_plan(plan(place, store, config), as_json)
        return
    record = launch(place, store, config, actor())
    for note in record.notes:
        say(note)
    counts = wait_for(place, config.name)
    if as_json:
        show_json({"study": config.name, "runs": counts, "notes": list(record.notes)})
    else:
        show_results(place, store, config.name)
    if counts.get("failed"):
        failed = store.study_runs(config.name, "failed")
        say(f"{len(failed)} runs failed; the first: {failed[0].reason}")
        raise typer.Exit(1)


def _config(home: Home, file: Path | None, preset: str | None, name: str | None, given: dict[str, Any]) -> StudyConfig:
    if file is not None and preset is not None:
        raise BadInput("A study file and --preset were both given. Use one of them.")
    if file is not None:
        content = read_study_file(file).plain() | given | ({"name": name} if name else {})
        return study_config(content)
    if "dataset" not in given:
        raise BadInput("No dataset was named. Add --dataset NAME; `fmlab data list` shows those there are.")
    dataset = given.pop("dataset")
    default = f"{dataset}-{preset or given.get('scheme', 'study')}"
    chosen = name or _free_name(open_store(home), default)
    if preset is not None:
        return preset_config(preset, open_dataset(home, dataset), chosen, **given)
    return study_config({"name": chosen, "dataset": dataset} | given)


def _free_name(store: Store, wanted: str) -> str:
    """The wanted name, or with a number after it when it is taken."""
    taken = {study.name for study in store.studies()}
    numbered = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (wanted, *numbered) if name not in taken)


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _sizes(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in _listed(text) or []]
    except ValueError as error:
        raise BadInput(f"--sizes takes whole numbers separated by commas, as 1,2,4; got {text!r}.") from error


def _show_plan(price: Plan, as_json: bool) -> None:
    if as_json:
        backbones = [vars(backbone) for backbone in price.backbones]
        facts = {"cells": price.cells, "cached": price.cached, "to_compute": price.to_compute, "seconds": price.seconds}
        show_json(
            facts
            | {"disk_bytes": price.disk_bytes, "memory_bytes": price.memory_bytes, "backbones": backbones}
            | {"dropped": price.dropped, "warnings": price.warnings, "refusals": price.refusals}
        )
    else:
        for sentence in (*price.dropped, *price.warnings):
            say(sentence)
        show_table(
            [vars(each) for each in price.backbones],
            ["key", "cells", "cells_cached", "images", "images_cached", "images_per_second", "measured", "seconds"],
            "Nothing can be planned.",
        )
        show(
            f"{price.cells} cells, {price.cached} cached; about {price.seconds:.0f} s, "
            f"{price.disk_bytes / 1e6:.0f} MB on disk, {price.memory_bytes / 1e9:.1f} GB of memory."
        )
    if price.refusals:
        raise BadInput(" ".join(price.refusals))


def wait_for(home: Home, study: str | None) -> dict[RunState, int]:
    """Wait until no run of the study (or of anybody) is unfinished, saying how far they are."""
    said: list[str] = []

    def tell(store: Store, holding: bool) -> None:
        line = _status(store, store.counts(study), holding)
        if said[-1:] != [line]:
            say(line)
            said.append(line)

    return execute(home, study, tell)


def _status(store: Store, counts: dict[RunState, int], holding: bool) -> str:
    states = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
    working = [group for group in store.groups(active_only=True) if group.state == "running"]
    doing = "; ".join(f"{g.title}: {g.message} {g.done}/{g.total}" if g.total else g.title for g in working)
    return f"{states}{' — ' + doing if doing else ''}{'' if holding else ' (executed by another process)'}"


@app.command("list")
def list_studies(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List the studies, the newest first."""
    store = open_store(home_of(home))
    rows = [
        {
            "study": study.name,
            "dataset": study.config["dataset"],
            "backbones": ", ".join(study.config["backbones"]),
            "scheme": study.config["scheme"],
            "created": study.created,
            "runs": store.counts(study.name),
        }
        for study in store.studies()
    ]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, ["study", "dataset", "backbones", "scheme", "runs"], "No study yet: `fmlab study run --help`.")


@app.command("show")
def show_study(study: str, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show a study's config, notes and the state of its runs."""
    store = open_store(home_of(home))
    record = store.study(study)
    facts = {
        "study": record.name,
        "created": record.created,
        "by": record.by,
        "notes": list(record.notes),
        "runs": store.counts(study),
        "config": record.config,
    }
    if as_json:
        show_json(facts)
    else:
        for key, value in facts.items():
            show(f"{key}: {value}")


def results_command(
    study: str,
    by: Annotated[str, typer.Option(help="size, class, site or sequence.")] = "size",
    form: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    home: HomeOption = None,
) -> None:
    """Print a study's results: per size as a table, or every run and test set as JSON or CSV."""
    place = home_of(home)
    store = open_store(place)
    table = summary(place, store, study, by) if form == "table" or by != "size" else results(place, store, study)
    write_table(readable(table) if form == "table" and by == "size" else table, form)


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


def write_table(table: pd.DataFrame, form: str) -> None:
    """A table in one of the three forms."""
    if form == "json":
        show_json(rows_of(table))
    elif form == "csv":
        show(table.to_csv(index=False).rstrip())
    elif form == "table":
        show_table(rows_of(table), list(table.columns), "No run of this study has finished yet.")
    else:
        raise BadInput(f"--format is {form!r}; choose table, json or csv.")


def compare_command(
    study: str,
    first: Annotated[str, typer.Argument(help="A backbone.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    adaptation: Annotated[str, typer.Option(help="The adaptation of both.")] = "linear_svm",
    test_set: Annotated[str, typer.Option(help="The test set.")] = "T1",
    measure: Annotated[str, typer.Option(help="image_accuracy, sequence_accuracy, balanced_accuracy or macro_f1.")] = (
        "balanced_accuracy"
    ),
    form: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    home: HomeOption = None,
) -> None:
    """Compare two backbones at every size: first minus second with its paired 95 % interval; tied if that holds zero."""
    place = home_of(home)
    store = open_store(place)
    table = results(place, store, study)
    write_table(differences(place, store, table, (first, adaptation), (second, adaptation), test_set, measure), form)


def show_results(home: Home, store: Store, study: str) -> None:
    """A study's table per size."""
    write_table(readable(summary(home, store, study, "size")), "table")
