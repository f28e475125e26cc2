"""`fmlab pretrain-compare`: pretrain a grid of methods × data × compute, and compare what came out.

In: methods, datasets, shares of their patients, minutes; or nothing but a labelled dataset, to compare what is there.
Out: the grid's backbones; accuracy of both probes with intervals, paired differences, sentences, as tables or JSON.

Asked for again, a grid goes on: what it has pretrained already is left alone, what was cut short is taken up.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import pandas as pd
import typer

from fmlab.commands.output import HomeOption, JsonOption, actor, home_of, rows_of, say, show, show_json, show_table
from fmlab.commands.pretrain import (
    AllowOption,
    BatchOption,
    LabelledOption,
    LicenceOption,
    NetworkOption,
    PrecisionOption,
    RecipeOption,
    SeedOption,
    SizeOption,
    StrideOption,
    ThinOption,
)
from fmlab.errors import BadInput
from fmlab.plots.pretraining_wording import (
    PROBE_NAMES,
    device_time,
    floor_rows,
    method_name,
    told,
)
from fmlab.plots.wording import percent_interval
from fmlab.pretrain.configs import METHOD_TITLES, Method, Pretraining, pretraining
from fmlab.pretrain.spelling import read_sources, title_of
from fmlab.runs.launcher import execute_runs
from fmlab.runs.records import UNFINISHED
from fmlab.runs.requests import request_run
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home
from fmlab.studies.pretraining_comparison import (
    PROBES,
    comparison,
    comparison_requests,
    is_there,
    paired_differences,
    probed_datasets,
    without_backbone,
)
from fmlab.studies.spelling import listed

MethodsOption = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(METHOD_TITLES)}, separated by commas; without, what is there is compared."),
]
DatasetsOption = Annotated[
    list[str] | None, typer.Option(help="NAME, or NAME:train,val for splits; repeat it for several.")
]
SharesOption = Annotated[str, typer.Option(help="Of the patients of each dataset, as 0.25,0.5,1.")]
LengthsOption = Annotated[
    str | None, typer.Option(help="Of training, for each; as 10, or 5,20 for two lengths of each.")
]
EachStepsOption = Annotated[int | None, typer.Option(help="Batches of each, instead of minutes: equal images seen.")]
GrowingOption = Annotated[bool, typer.Option("--growing", help="Less time for smaller shares, in proportion.")]
PrefixOption = Annotated[str | None, typer.Option(help="What the keys of the backbones begin with.")]


def pretrain_compare(
    methods: MethodsOption = None,
    dataset: DatasetsOption = None,
    shares: SharesOption = "1",
    max_minutes: LengthsOption = None,
    steps: EachStepsOption = None,
    growing: GrowingOption = False,
    prefix: PrefixOption = None,
    labelled: LabelledOption = None,
    recipe: RecipeOption = None,
    network: NetworkOption = None,
    size: SizeOption = None,
    batch: BatchOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    stride: StrideOption = None,
    thin: ThinOption = None,
    licence: LicenceOption = None,
    allow_test_patients: AllowOption = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Pretrain every method on every share of the data for every length, and compare them by both probes."""
    place = home_of(home)
    if methods is None:
        _show(place, _dataset_to_show(place, labelled), as_json, prefix=prefix or "")
        return
    if not dataset or not prefix:
        raise BadInput(
            "A grid needs --dataset NAME to learn from and --prefix KEY, which its backbones' keys begin with."
        )
    if max_minutes is not None and steps is not None:
        raise BadInput("--max-minutes and --steps each say how long it takes; give one of them.")
    same = {
        "recipe": recipe,
        "network": network,
        "size": size,
        "batch": batch,
        "steps": steps,
        "precision": precision,
        "seed": seed,
        "thin": thin,
        "labelled": labelled,
        "licence": licence,
        "allow_test_patients": allow_test_patients,
    }
    named = listed(methods)
    base = {"method": named[0] if named else "", "sources": read_sources(dataset, stride or ()), "key": prefix}
    base |= {name: value for name, value in same.items() if value is not None}
    lengths = [] if max_minutes is None else _numbers("--max-minutes", max_minutes)
    chosen: list[Method] = named  # type: ignore[assignment]  # each is checked where its pretraining is made
    grid = comparison_requests(chosen, _numbers("--shares", shares), lengths, pretraining(base), growing)
    failed = _pretrained(place, grid)
    _show(place, labelled or _probed_on(place, grid), as_json, keys=[asked.key for asked in grid])
    if failed:
        say(f"{len(failed)} of {len(grid)} left no backbone; the first, {failed[0][0]}: {failed[0][1]}")
        raise typer.Exit(1)


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(number) for number in listed(text)]
    except ValueError as error:
        raise BadInput(f"{option} is {text!r}; give numbers separated by commas, as 0.5,1.") from error


# Filling the grid -----------------------------------------------------------------------------------------------------


def _pretrained(home: Home, grid: list[Pretraining]) -> list[tuple[str, str]]:
    """Pretrain what is not there yet; returns those that left no backbone, with their reasons."""
    store = open_store(home)
    wanted = [asked for asked in grid if not is_there(home, asked)]
    if len(wanted) < len(grid):
        say(f"{len(grid) - len(wanted)} of {len(grid)} are there already.")
    runs = [request_run(store, "pretrain", asked.plain, title_of(asked), actor()) for asked in wanted]
    if runs:
        execute_runs(home, [run.key for run in runs], _telling([run.key for run in runs]))
    ended = [store.run(run.key) for run in runs]
    return [(run.config["backbone"], run.reason or run.state) for run in ended if run.state != "done"]


def _telling(keys: list[str]) -> Callable[[Store, bool], None]:
    """Says which of the runs is at work, and how many are over, whenever that changes."""
    said: list[str] = []

    def tell(store: Store, holding: bool) -> None:
        over = sum(store.run(key).state not in UNFINISHED for key in keys)
        working = [group.title for group in store.groups(active_only=True) if group.state == "running"]
        line = f"{over} of {len(keys)} over{'; now ' + ', '.join(working) if working else ''}"
        line += "" if holding else " (executed by another process)"
        if said[-1:] != [line]:
            say(line)
            said.append(line)

    return tell


def _probed_on(home: Home, grid: list[Pretraining]) -> str | None:
    """The dataset that the grid's backbones were probed on; None where there was none with labels."""
    keys = {asked.key for asked in grid}
    return next((name for name in probed_datasets(home) if keys & set(comparison(home, name)["key"])), None)


# Showing what came out ------------------------------------------------------------------------------------------------


def _dataset_to_show(home: Home, labelled: str | None) -> str:
    there = probed_datasets(home)
    if labelled is None and len(there) == 1:
        return next(iter(there))
    if labelled not in there:
        names = ", ".join(there) or "none yet"
        raise BadInput(
            f"Add --labelled NAME: pretrained backbones were probed on {names}; got {labelled or 'no name'}."
        )
    return labelled


def _show(home: Home, labelled: str | None, as_json: bool, keys: list[str] | None = None, prefix: str = "") -> None:
    """The comparison of the keys, or of all that begin with the prefix; without a labelled dataset there is none."""
    if labelled is None:
        say("No labelled dataset was among them, so there is nothing to compare by. Add --labelled NAME.")
        if as_json:
            show_json({"labelled": None, "comparison": [], "differences": {}, "sentences": {}, "failed": []})
        return

    def wanted(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["key"].isin(keys) if keys is not None else rows["key"].str.startswith(prefix)]

    table, lost = wanted(comparison(home, labelled)), wanted(without_backbone(open_store(home), labelled))
    tested = table.dropna(subset=["knn_low"])
    differences = {probe: paired_differences(home, labelled, tested["key"].tolist(), probe) for probe in PROBES}
    words = {probe: told(tested, differences[probe], probe) for probe in PROBES}
    if as_json:
        gaps = {probe: rows_of(rows) for probe, rows in differences.items()}
        sentences = {probe: asdict(each) if each else None for probe, each in words.items()}
        said = {"labelled": labelled, "comparison": rows_of(table), "differences": gaps, "sentences": sentences}
        show_json(said | {"failed": rows_of(lost)})
        return
    rows = readable(table)
    show_table(rows, list(rows[0]) if rows else [], f"No pretrained backbone of these was probed on {labelled}.")
    for probe, each in words.items():
        if each is not None:
            title = f"\n{PROBE_NAMES[probe].capitalize()}: {each.headline}"
            show("\n".join([title, each.compute, *each.backbones, *each.pairs]))
    for row in lost.itertuples():
        say(f"{row.key} ({method_name(str(row.method))}) left no backbone, {row.state}: {row.reason}")


def readable(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per backbone for the eye, then the floors; balanced accuracy in percent with its interval."""
    rows = [
        {
            "backbone": row["key"],
            "method": method_name(row["method"]),
            "network": row["network"],
            "images": f"{row['images']:,}",
            "seen": f"{row['images_seen']:,}",
            "time": f"{device_time(row['device_hours'])}, {row['device']}",
            **_accuracies(row),
            "health": row["health"] or None,
        }
        for row in table.to_dict("records")
    ]
    return [*rows, *({"backbone": row["name"]} | _accuracies(row) for row in floor_rows(table))]


def _accuracies(row: dict[str, Any]) -> dict[str, str]:
    return {
        f"{title} %": percent_interval(row[probe], row[f"{probe}_low"], row[f"{probe}_high"]).removesuffix(" %")
        for probe, title in PROBE_NAMES.items()
    }
