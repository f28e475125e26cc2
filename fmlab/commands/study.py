"""`fmlab study`: price a study, launch it and wait for it.

In: a study file, a preset, or everything spelt out. Out: runs done; tables or JSON.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from fmlab.adapt.configs import ADAPTATIONS
from fmlab.commands.output import HomeOption, JsonOption, actor, home_of, say, show, show_json, show_table
from fmlab.commands.results import show_results
from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.runs.launcher import execute
from fmlab.runs.records import RunState
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home
from fmlab.studies.configs import StudyConfig, read_study_file, study_config
from fmlab.studies.launch import launch
from fmlab.studies.planner import Plan, plan
from fmlab.studies.presets import PRESETS, free_name, preset_config, study_name
from fmlab.studies.spelling import listed, read_adaptations, read_baselines, read_sizes, with_recipe

app = typer.Typer(help="Launch studies and read their results.", no_args_is_help=True)


@app.command("run")
def run_study(
    file: Annotated[Path | None, typer.Argument(help="A study in YAML.", show_default=False)] = None,
    preset: Annotated[str | None, typer.Option(help=f"A named study: {', '.join(PRESETS)}.")] = None,
    name: Annotated[str | None, typer.Option(help="The study's name; by default made from preset and dataset.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The dataset to run on.")] = None,
    backbones: Annotated[str | None, typer.Option(help="Keys, separated by commas.")] = None,
    adaptations: Annotated[
        str | None, typer.Option(help=f"{', '.join(ADAPTATIONS)}; with settings as finetune:learning_rate=1e-4.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="limited-data, paper-epochs or quick, for the adaptations that train.")
    ] = None,
    baselines: Annotated[str | None, typer.Option(help="As random-resnet50:scratch, or none.")] = None,
    scheme: Annotated[str | None, typer.Option(help="images or sequences.")] = None,
    sizes: Annotated[str | None, typer.Option(help="Subset sizes, separated by commas; all: everything.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Subsets drawn per size.")] = None,
    copies: Annotated[int | None, typer.Option(help="Augmented copies of every training image, 0 to 4.")] = None,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validate by patient in so many folds; 0: use the test sets.")
    ] = None,
    style: Annotated[str | None, typer.Option(help="native, paper or squash preprocessing.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16, of frozen features.")] = None,
    mask_sector: Annotated[bool | None, typer.Option(help="Black out everything outside the sector.")] = None,
    allow_leaking: Annotated[
        str | None,
        typer.Option(
            help="The dataset's name, to accept a leaking split or a backbone that was pretrained on its tests."
        ),
    ] = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="Print the price and stop.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Run a study and wait for it. What is computed already is not computed again."""
    place = home_of(home)
    given = {
        "dataset": dataset,
        "backbones": None if backbones is None else listed(backbones),
        "adaptations": None if adaptations is None else read_adaptations(adaptations),
        "baselines": None if baselines is None else read_baselines(baselines),
        "scheme": scheme,
        "sizes": None if sizes is None else read_sizes(sizes),
        "seeds": seeds,
        "copies": copies,
        "folds": folds,
        "style": style,
        "precision": precision,
        "mask_sector": mask_sector,
        "allow_leaking": allow_leaking,
    }
    config = _config(place, file, preset, name, {key: value for key, value in given.items() if value is not None})
    if recipe is not None:
        config = study_config(config.plain() | {"adaptations": with_recipe(config.adaptations, recipe)})
    store = open_store(place)
    price = plan(place, store, config)
    if plan_only:
        _show_plan(price, as_json)
    if price.refusals:
        raise BadInput(" ".join(price.refusals))
    if not plan_only:
        _run(place, store, config, price, as_json)


def _run(home: Home, store: Store, config: StudyConfig, price: Plan, as_json: bool) -> None:
    record = launch(home, store, config, actor())
    for sentence in _sentences(price):
        say(sentence)
    counts = wait_for(home, config.name)
    if as_json:
        show_json({"study": config.name, "runs": counts, "notes": list(record.notes)})
    else:
        show_results(home, store, config.name)
    if counts.get("failed"):
        failed = store.study_runs(config.name, "failed")
        say(f"{len(failed)} runs failed; the first: {failed[0].reason}")
        raise typer.Exit(1)


def _config(home: Home, file: Path | None, preset: str | None, name: str | None, given: dict[str, Any]) -> StudyConfig:
    if "folds" in given:
        given["folds"] = given["folds"] or None
    if file is not None and preset is not None:
        raise BadInput("A study file and --preset were both given. Use one of them.")
    if file is not None:
        content = read_study_file(file).plain() | given | ({"name": name} if name else {})
        return study_config(content)
    if "dataset" not in given:
        raise BadInput("No dataset was named. Add --dataset NAME; `fmlab data list` shows those there are.")
    dataset = given.pop("dataset")
    wanted = study_name(dataset, preset or given.get("scheme", "study"))
    chosen = name or free_name(wanted, [study.name for study in open_store(home).studies()])
    if preset is not None:
        return preset_config(home, preset, open_dataset(home, dataset), chosen, **given)
    return study_config({"name": chosen, "dataset": dataset} | given)


def _sentences(price: Plan) -> tuple[str, ...]:
    return (*price.dropped, *price.differences, *price.warnings)


def _show_plan(price: Plan, as_json: bool) -> None:
    rows = [
        {name: value for name, value in vars(part).items() if name != "cost"} | vars(part.cost)
        for part in price.backbones
    ]
    if as_json:
        facts = {name: value for name, value in vars(price).items() if name != "backbones"}
        show_json(facts | {"to_compute": price.to_compute, "seconds": price.seconds, "backbones": rows})
        return
    for sentence in _sentences(price):
        say(sentence)
    columns = ["key", "work", "cells", "cells_cached", "images", "images_cached", "images_per_second", "measured"]
    show_table(rows, [*columns, "seconds"], "Nothing can be planned.")
    gpu = f", {price.gpu_bytes / 1e9:.1f} GB on the GPU" if price.gpu_bytes else ""
    show(
        f"{price.cells} cells, {price.cached} cached; about {price.seconds:.0f} s, "
        f"{price.disk_bytes / 1e6:.0f} MB on disk, {price.memory_bytes / 1e9:.1f} GB of memory{gpu}."
    )


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
