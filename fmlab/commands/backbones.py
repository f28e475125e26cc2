"""`fmlab backbones`: the catalogue, what is on this disk, one's own checkpoints, latency.

In: keys and paths. Out: tables or JSON.
"""

from pathlib import Path
from typing import Annotated

import typer

from fmlab.backbones.catalogue import catalogue, describe, find_backbone
from fmlab.commands.output import HomeOption, JsonOption, actor, home_of, say, show, show_json, show_table
from fmlab.commands.study import wait_for
from fmlab.runs.records import measured_latency
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store

app = typer.Typer(help="The encoders to choose from.", no_args_is_help=True)


@app.command("list")
def list_backbones(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List the catalogue."""
    place = home_of(home)
    rows = [describe(card, place) for card in catalogue(place).values()]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, ["key", "width", "parameters", "input_size", "domain", "licence", "on_disk"], "No backbones.")


@app.command("show")
def show_backbone(key: str, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show everything the catalogue knows of a backbone."""
    place = home_of(home)
    card = find_backbone(place, key)
    facts = describe(card, place)
    if as_json:
        show_json(facts)
    else:
        for name, value in facts.items():
            show(f"{name}: {value}")


@app.command("add")
def add_backbone(
    path: Annotated[Path, typer.Argument(help="A .safetensors, .pth, .pt or .bin file of plain tensors.")],
    key: Annotated[str, typer.Option(help="The name to give it.")],
    architecture: Annotated[str, typer.Option(help="The timm architecture it belongs to.")],
    licence: Annotated[str | None, typer.Option(help="The licence of the weights.")] = None,
    home: HomeOption = None,
) -> None:
    """Add a checkpoint of one's own. Nothing is loaded by half, and no code in the file is ever run."""
    from fmlab.backbones.added import add_backbone as add  # torch: no other command needs it

    card = add(home_of(home), path, key, architecture=architecture, licence=licence)
    say(f"Backbone {card.key!r} was added: {card.parameters:,} parameters, {card.width} features.")


@app.command("latency")
def measure(keys: list[str], as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Measure latency and throughput on this machine's device."""
    place = home_of(home)
    store = open_store(place)
    cards = [find_backbone(place, key) for key in keys]
    runs = [request_run(store, "latency", {"backbone": card.key}, f"latency of {card.key}", actor()) for card in cards]
    wait_for(place, None)
    done = [store.run(run.key) for run in runs]
    disturbed = {run.config["backbone"] for run in done if run.state == "done" and measured_latency(run).disturbed}
    rows = [
        {"key": run.config["backbone"], "state": run.state}
        | (run.result or {"reason": run.reason})
        | {"disturbed": run.config["backbone"] in disturbed}
        for run in done
    ]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, list(rows[0]), "Nothing was measured.")
    if disturbed:
        say(f"Measured while the machine was busy, and so too slow: {', '.join(sorted(disturbed))}. Measure again.")
    if any(run.state != "done" for run in done):
        raise typer.Exit(1)
