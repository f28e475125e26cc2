"""`fmlab backbones`: the catalogue, what is on this disk, downloads, checks, one's own checkpoints, latency.

In: keys and paths. Out: tables or JSON.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import (
    catalogue,
    describe,
    find_backbone,
    how_to_get,
    licence_kind,
    printed_table,
)
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
from fmlab.errors import BadInput
from fmlab.runs.records import Run, measured_latency
from fmlab.settings import Home

app = typer.Typer(help="The encoders to choose from.", no_args_is_help=True)

COLUMNS = ["key", "type", "domain", "width", "parameters", "input_size", "licence", "gated", "on_disk"]
DOMAINS = ("natural", "medical", "ultrasound", "none")
LICENCES = ("permissive", "restricted", "unknown", "none needed")
MEGABYTE = 1_000_000


@app.command("list")
def list_backbones(
    table1: Annotated[bool, typer.Option("--table1", help="Table 1 of the limited-data study instead.")] = False,
    domain: Annotated[str | None, typer.Option(help=f"Only of this domain: {', '.join(DOMAINS)}.")] = None,
    licence: Annotated[str | None, typer.Option(help=f"Only with such weights: {', '.join(LICENCES)}.")] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List the catalogue."""
    place = home_of(home)
    for name, given, options in (("--domain", domain, DOMAINS), ("--licence", licence, LICENCES)):
        if given is not None and given not in options:
            raise BadInput(f"{name} is {given!r}; choose {', '.join(options)}.")
    cards = [
        card
        for card in catalogue(place).values()
        if domain in (None, card.domain) and licence in (None, licence_kind(card))
    ]
    rows = printed_table(cards) if table1 else [describe(card, place) for card in cards]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, list(rows[0]) if table1 and rows else COLUMNS, "No such backbones.")


@app.command("show")
def show_backbone(key: str, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show everything the catalogue knows of a backbone."""
    place = home_of(home)
    card = find_backbone(place, key)
    facts = describe(card, place)
    if as_json:
        show_json(facts)
        return
    for name, value in facts.items():
        show(f"{name}: {value}")
    if not facts["on_disk"]:
        show(f"to have its weights: {how_to_get(card, place)}")


@app.command("download")
def download_weights(
    keys: list[str],
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="Accept the licences shown.")] = False,
    home: HomeOption = None,
) -> None:
    """Fetch weights from the Hugging Face hub into its own cache; a download that was cut off goes on where it was."""
    place = home_of(home)
    for card in [find_backbone(place, key) for key in keys]:
        show(f"{card.key}  {_downloaded(card, place, accept_licence)}")


def _downloaded(card: BackboneCard, place: Home, accepted: bool) -> Path:
    from fmlab.backbones.downloads import download, licence_text, missing_files

    if not missing_files(card, place):
        say(f"{card.key} is on this disk already.")
        return download(card, place, accepted)
    say(f"{card.title}: the weights stand under {licence_text(card)}")
    if card.to_accept and not accepted and sys.stdin.isatty():
        accepted = typer.confirm("Do you accept this licence?", err=True)
    line = progress_line(card.key)

    def advance(done: int, total: int, rate: float | None) -> None:
        line(done // MEGABYTE, total // MEGABYTE, "MB" if rate is None else f"MB, {rate / MEGABYTE:.1f} a second")

    path = download(card, place, accepted, advance)
    say(f"{card.key} was fetched.")
    return path


@app.command("verify")
def verify_backbones(keys: list[str], as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Check that backbones are on this disk what the catalogue says; exit status 1 when one is not."""
    runs = _measured(home_of(home), "verify", keys)
    if as_json:
        show_json([_outcome(run) for run in runs])
    else:
        for run in runs:
            _show_verified(run)
    if not all(run.state == "done" and run.result["passed"] for run in runs):
        raise typer.Exit(1)


def _show_verified(run: Run) -> None:
    key = run.config["backbone"]
    if run.state != "done" or run.result is None:
        show(f"{key}: {run.state}. {run.reason or ''}\n")
        return
    show(f"{key}: {'all checks passed' if run.result['passed'] else 'NOT what the catalogue says'}")
    checks = [check | {"passed": "yes" if check["passed"] else "NO"} for check in run.result["checks"]]
    show_table(checks, ["name", "passed", "got", "expected"], "Nothing was checked.")
    show(run.result["card_text"])
    if run.result["picture"]:
        show(f"What the model sees: {run.result['picture']}")
    show("")


@app.command("add")
def add_backbone(
    path: Annotated[Path, typer.Argument(help="A .safetensors, .pth, .pt or .bin file of plain tensors.")],
    key: Annotated[str, typer.Option(help="The name to give it.")],
    architecture: Annotated[str | None, typer.Option(help="timm's name, where the file does not tell it.")] = None,
    like: Annotated[str | None, typer.Option(help="A backbone of which it is another training.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the input, pixels.")] = None,
    resize: Annotated[str | None, typer.Option(help="crop, squash or pad.")] = None,
    resize_to: Annotated[int | None, typer.Option(help="Shorter side before the crop, pixels.")] = None,
    interpolation: Annotated[str | None, typer.Option(help="nearest, bilinear or bicubic.")] = None,
    mean: Annotated[str | None, typer.Option(help="Of the three channels, as 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, typer.Option(help="Of the three channels, as 0.229,0.224,0.225.")] = None,
    title: Annotated[str, typer.Option(help="What figures call it.")] = "",
    licence: Annotated[str | None, typer.Option(help="The licence of the weights.")] = None,
    citation: Annotated[str, typer.Option(help="Whom to cite.")] = "",
    domain: Annotated[str, typer.Option(help=f"What it was trained on: {', '.join(DOMAINS)}.")] = "none",
    pretraining: Annotated[str, typer.Option(help="The data set it was trained on.")] = "",
    pretraining_images: Annotated[int | None, typer.Option(help="How many images that has.")] = None,
    home: HomeOption = None,
) -> None:
    """Add a checkpoint of one's own. Nothing is loaded by half, and no code in the file is ever run."""
    from fmlab.backbones import added  # torch: no other command needs it

    if domain not in DOMAINS:
        raise BadInput(f"--domain is {domain!r}; choose {', '.join(DOMAINS)}.")
    given = {"size": size, "resize": resize, "resize_to": resize_to, "interpolation": interpolation}
    given |= {"mean": _three("--mean", mean), "std": _three("--std", std)}
    try:
        overrides = added.SpecOverrides(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise BadInput(f"{option} is {first['input']!r}: {first['msg']}. See `fmlab backbones add --help`.") from error
    card = added.add_backbone(
        home_of(home),
        path,
        key,
        architecture=architecture,
        like=like,
        overrides=overrides,
        title=title,
        licence=licence,
        citation=citation,
        domain=domain,
        pretraining=pretraining,
        pretraining_images=pretraining_images,
    )
    _say_added(card)


@app.command("add-timm")
def add_timm(
    name: Annotated[str, typer.Argument(help="As timm writes it: vit_base_patch16_224.augreg_in21k.")],
    key: Annotated[str | None, typer.Option(help="The name to give it; timm's by default.")] = None,
    home: HomeOption = None,
) -> None:
    """Add any model of timm; its weights are fetched by `fmlab backbones download`."""
    from fmlab.backbones import added  # torch: no other command needs it

    _say_added(added.add_timm(home_of(home), name, key))


@app.command("export")
def export_weights(
    key: str,
    layout: Annotated[str, typer.Option(help="timm, or dinov2: how the tensors are named.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    half: Annotated[bool, typer.Option("--half", help="As float16: half the size, nearly the same features.")] = False,
    home: HomeOption = None,
) -> None:
    """Write a backbone's weights for other people's code, in timm's key layout or in DINOv2's."""
    from fmlab.backbones import export  # torch: no other command needs it

    card = export.export_backbone(home_of(home), key, layout, out, half)
    spec, means = card.spec, ",".join(f"{value:g}" for value in card.spec.mean)
    say(
        f"{key} was written; its licence: {card.licence_weights or 'unknown'}. It takes images of {spec.size} pixels "
        f"({spec.resize}, {spec.interpolation}), mean {means}, std {','.join(f'{value:g}' for value in spec.std)}."
    )
    show(str(out))


def _three(option: str, given: str | None) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        values = tuple(float(part) for part in given.split(","))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise BadInput(f"{option} takes three numbers, as 0.485,0.456,0.406; got {given!r}.")
    return values


def _say_added(card: BackboneCard) -> None:
    say(f"Backbone {card.key!r} was added: {card.parameters:,} parameters, {card.width} features. {card.note}".rstrip())


@app.command("latency")
def measure(keys: list[str], as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Measure latency and throughput on this machine's device."""
    runs = _measured(home_of(home), "latency", keys)
    done = [run for run in runs if run.state == "done"]
    disturbed = {run.config["backbone"] for run in done if measured_latency(run).disturbed}
    rows = [_outcome(run) | {"disturbed": run.config["backbone"] in disturbed} for run in runs]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, list(dict.fromkeys(name for row in rows for name in row)), "Nothing was measured.")
    if disturbed:
        say(f"Measured while the machine was busy, and so too slow: {', '.join(sorted(disturbed))}. Measure again.")
    if len(done) < len(runs):
        raise typer.Exit(1)


def _measured(home: Home, kind: str, keys: list[str]) -> list[Run]:
    """Request a run of that kind for each backbone and wait for them."""
    # What the store needs takes longer to import than the catalogue to be listed.
    from fmlab.commands.study import wait_for
    from fmlab.runs.requests import request_run
    from fmlab.runs.store import open_store

    store = open_store(home)
    cards = [find_backbone(home, key) for key in keys]
    runs = [request_run(store, kind, {"backbone": card.key}, f"{kind} of {card.key}", actor()) for card in cards]
    wait_for(home, None)
    return [store.run(run.key) for run in runs]


def _outcome(run: Run) -> dict[str, Any]:
    return {"key": run.config["backbone"], "state": run.state} | (run.result or {"reason": run.reason})
