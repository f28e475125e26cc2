"""`fmlab pretrain`: a backbone of one's own from unlabelled images, waited for, with what the probe finds on the way.

In: a method, datasets and the options of a `Pretraining`. Out: a run done and a backbone in the catalogue; its numbers as
text or JSON.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from fmlab.commands.output import HomeOption, JsonOption, actor, home_of, progress_line, say, show, show_json
from fmlab.files import read_json
from fmlab.pretrain.configs import (
    METHOD_TITLES,
    Fit,
    Flips,
    Network,
    PolicyName,
    Pretraining,
    RecipeName,
    pretraining,
)
from fmlab.pretrain.health import HEALTH, PROBES
from fmlab.pretrain.journal import read_lines
from fmlab.pretrain.spelling import read_sources, title_of
from fmlab.runs.launcher import execute_runs
from fmlab.runs.pretraining_request import pretrain_request
from fmlab.runs.records import Group, Run
from fmlab.runs.requests import request_run
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home

PROCESSES = "WORLD_SIZE"  # in the environment, by torchrun: how many processes pretrain together
CLEARED = "\r\x1b[K"  # what empties a terminal's line
SAID_SECONDS = 30.0  # between two lines of progress in a log that nobody watches


def _one_of(what: str, names: tuple[str, ...]) -> str:
    return f"{what}: {', '.join(names)}."


Text, Whole, Number = str | None, int | None, float | None
MethodArgument = Annotated[str, typer.Argument(help=_one_of("How to learn", tuple(METHOD_TITLES)))]
DatasetOption = Annotated[list[str], typer.Option(help="NAME, or NAME:train,val for splits; repeat it for several.")]
KeyOption = Annotated[str, typer.Option(help="The name of the backbone that comes out.")]
RecipeOption = Annotated[Text, typer.Option(help=_one_of("Where numbers come from", get_args(RecipeName)))]
NetworkOption = Annotated[Text, typer.Option(help=_one_of("The architecture", get_args(Network)))]
PatchOption = Annotated[Whole, typer.Option(help="Side of a patch: 8, 14 or 16 pixels.")]
ChannelsOption = Annotated[Whole, typer.Option(help="1 for grey, 3 for colour.")]
RegistersOption = Annotated[Whole, typer.Option(help="Register tokens, 0 to 16.")]
InitOption = Annotated[Text, typer.Option(help="A backbone whose weights are the start; random ones by default.")]
SizeOption = Annotated[Whole, typer.Option(help="Side of the large crops, pixels.")]
LocalSizeOption = Annotated[Whole, typer.Option(help="dinov2: side of the small crops, pixels.")]
LocalCropsOption = Annotated[Whole, typer.Option(help="dinov2: how many small crops of an image.")]
PolicyOption = Annotated[Text, typer.Option(help=_one_of("How crops are varied", get_args(PolicyName)))]
FlipsOption = Annotated[Text, typer.Option(help=_one_of("Instead of the policy's", get_args(Flips)))]
FitOption = Annotated[Text, typer.Option(help=_one_of("How a frame becomes a square", get_args(Fit)))]
SectorOption = Annotated[bool, typer.Option("--mask-sector", help="Black out everything outside the sector.")]
EpochsOption = Annotated[Whole, typer.Option(help="How long: so many times each image.")]
StepsOption = Annotated[Whole, typer.Option(help="How long: so many batches.")]
MinutesOption = Annotated[Number, typer.Option(help="How long: as many batches as fit on this machine.", max=1e6)]
BatchOption = Annotated[Whole, typer.Option(help="Images in a step.")]
RateOption = Annotated[Number, typer.Option(help="The peak of the learning rate.", max=1e6)]
PrototypesOption = Annotated[Whole, typer.Option(help="dinov2: of its heads.")]
CentringOption = Annotated[Text, typer.Option(help="dinov2: ema, sinkhorn or none.")]
KoleoOption = Annotated[Number, typer.Option(help="dinov2: weight of what spreads the features.", max=1e6)]
PrecisionOption = Annotated[Text, typer.Option(help="auto, fp32 or bf16.")]
SeedOption = Annotated[Whole, typer.Option(help="Of everything that is drawn; 0 by default.")]
StrideOption = Annotated[
    list[int] | None, typer.Option(help="Every how many frames of a clip; for all, or once per dataset.")
]
ShareOption = Annotated[list[float] | None, typer.Option(help="Of the patients, 0 to 1; for all, or once per dataset.")]
ThinOption = Annotated[Whole, typer.Option(help="Leave out frames that differ in at most so many bits from the last.")]
LabelledOption = Annotated[Text, typer.Option(help="The dataset whose labels the features are tried on.")]
AllowOption = Annotated[
    bool, typer.Option("--allow-test-patients", help="Learn from test patients; it then stands on the backbone.")
]
LicenceOption = Annotated[Text, typer.Option(help="Of the weights, in your own words.")]


def pretrain_command(
    context: typer.Context,
    method: MethodArgument,
    dataset: DatasetOption,
    key: KeyOption,
    recipe: RecipeOption = None,
    network: NetworkOption = None,
    patch: PatchOption = None,
    channels: ChannelsOption = None,
    registers: RegistersOption = None,
    init: InitOption = None,
    size: SizeOption = None,
    local_size: LocalSizeOption = None,
    local_crops: LocalCropsOption = None,
    policy: PolicyOption = None,
    flips: FlipsOption = None,
    fit: FitOption = None,
    mask_sector: SectorOption = False,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    max_minutes: MinutesOption = None,
    batch: BatchOption = None,
    learning_rate: RateOption = None,
    prototypes: PrototypesOption = None,
    centring: CentringOption = None,
    koleo: KoleoOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    stride: StrideOption = None,
    share: ShareOption = None,
    thin: ThinOption = None,
    labelled: LabelledOption = None,
    allow_test_patients: AllowOption = False,
    licence: LicenceOption = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Pretrain a backbone on images without labels, and wait for it; asked for again, it goes on where it was."""
    place, asked = home_of(home), asked_in(context.params)
    if int(os.environ.get(PROCESSES, "1")) > 1:
        _execute_with_others(place, asked, as_json)
    else:
        show_result(place, _executed(place, asked), as_json)


def asked_in(options: Mapping[str, Any]) -> Pretraining:
    """The pretraining that the command's options describe, by their names; None: not given."""
    given = {name: options[name] for name in Pretraining.model_fields if options.get(name) is not None}
    sources = read_sources(options["dataset"], options["stride"] or (), options["share"] or ())
    return pretraining(given | {"sources": sources})


def _executed(home: Home, asked: Pretraining) -> Run:
    """The run of a pretraining, over: by this process, or by another that executes the runs of this home."""
    _check_start(home, asked)
    store = open_store(home)
    run = request_run(store, "pretrain", asked.plain, title_of(asked), actor())
    return _wait_for(home, run)


def _execute_with_others(home: Home, asked: Pretraining, as_json: bool) -> None:
    """Pretrain in this process, one of those that torchrun started; the first of them says what came out."""
    from fmlab.runs.pretraining import run_here  # torch, which the queue's worker imports otherwise

    line, last = progress_line(title_of(asked)), [-SAID_SECONDS]

    def tell(done: int, total: int, message: str, rate: float | None = None, seconds_left: float | None = None) -> None:
        line(done, total, message)
        if not sys.stderr.isatty() and time.monotonic() - last[0] > SAID_SECONDS:
            say(f"{message}, {done:,} of {total:,}")
            last[0] = time.monotonic()

    result = run_here(home, asked, tell, say)
    if result:
        _tell(result, as_json)


def _check_start(home: Home, asked: Pretraining) -> None:
    """Refuse a start that no method goes on from, which only its network tells, before anything is queued."""
    if asked.init is not None:
        pretrain_request(home, asked.plain)  # what can be refused at once is
        from fmlab.backbones.catalogue import find_backbone
        from fmlab.pretrain.networks import start_of  # torch: nothing else of the command needs it

        start_of(find_backbone(home, asked.init), digest="")


def _wait_for(home: Home, run: Run) -> Run:
    """The run once it is over; meanwhile how far it is. Interrupted, it stays in the queue."""
    watch = _Watch(home, run)
    try:
        execute_runs(home, [run.key], watch.tell)
        store = open_store(home)
        watch.tell(store, True)
        return store.run(run.key)
    except KeyboardInterrupt:
        watch.say(
            f"The same command, or the app, goes on from the last checkpoint; `fmlab runs cancel {run.key[:12]}` ends it."
        )
        raise
    finally:
        watch.clear()


class _Watch:
    """Says how far a run is: one line that is rewritten for a person, now and then a line for a log."""

    def __init__(self, home: Home, run: Run) -> None:
        self._folder, self._run = home.runs / run.group, run
        self._step, self._alarm = -1, ""  # of the last answer of the probe that was said; the last sentence of alarm
        self._message, self._moment = "", 0.0  # of the last line of progress

    def tell(self, store: Store, holding: bool) -> None:
        """Say what is new: answers of the probe, alarms, progress."""
        for line in read_lines(self._folder / PROBES):
            if line["step"] > self._step:
                self.say(probe_line(line))
                self._step = line["step"]
        sentence = alarm(self._folder)
        if sentence not in ("", self._alarm):
            self.say(sentence)
        self._alarm = sentence
        groups = store.groups(active_only=True)
        group = next((each for each in groups if each.key == self._run.group and each.state == "running"), None)
        if group is not None:
            self._progress(group, holding)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        say(text)

    def clear(self) -> None:
        """Take the line away that is rewritten."""
        if sys.stderr.isatty():
            sys.stderr.write(CLEARED)
            sys.stderr.flush()

    def _progress(self, group: Group, holding: bool) -> None:
        line = progress_text(group) + ("" if holding else " (executed by another process)")
        if sys.stderr.isatty():
            sys.stderr.write(f"{CLEARED}{line}")
            sys.stderr.flush()
        elif group.message.partition(":")[0] != self._message or time.monotonic() - self._moment > SAID_SECONDS:
            say(line)
            self._message, self._moment = group.message.partition(":")[0], time.monotonic()


def progress_text(group: Group) -> str:
    """`dinov2 · halves → ours: pretraining: loss 5.213, 120 of 900, 61 images a second, about 4 min left`."""
    parts = [f"{group.title}: {group.message}"]
    parts += [f"{group.done:,} of {group.total:,}"] if group.total > 1 else []
    parts += [f"{group.rate:,.0f} images a second"] if group.rate else []
    parts += [f"about {max(1, round(group.seconds_left / 60)):,} min left"] if group.seconds_left is not None else []
    return ", ".join(parts)


def probe_line(line: dict[str, Any]) -> str:
    """What the probe found at a checkpoint, in words."""
    interval = f" ({line['low']:.3f} to {line['high']:.3f})" if "low" in line else ""
    return (
        f"step {line['step']:,}, {line['images']:,} images seen: balanced accuracy by patient {line['knn']:.3f}{interval} "
        f"by nearest neighbours, {line['linear']:.3f} by a linear probe"
    )


def alarm(folder: Path) -> str:
    """The sentence of the newest look at a run's health where something is wrong; else empty."""
    health = health_of(folder)
    return "" if health["state"] in ("healthy", "too early") else str(health["sentence"])


def health_of(folder: Path) -> dict[str, Any]:
    """health.json of a run's folder; before the first look it is too early."""
    path = folder / HEALTH
    return read_json(path) if path.exists() else {"state": "too early"}


def show_result(home: Home, run: Run, as_json: bool) -> None:
    """The numbers of a run that is over; exit status 1 where it made no backbone."""
    facts = {"key": run.config["backbone"], "run": run.key, "state": run.state} | (run.result or {})
    if run.state != "done":
        facts |= {"reason": run.reason, "collapsed": health_of(home.runs / run.group)["state"] == "collapsed"}
        if as_json:
            show_json(facts)
        say(f"No backbone was made, the run is {run.state}. {run.reason or ''}".rstrip())
        raise typer.Exit(1)
    _tell(facts, as_json)


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(facts)
    else:
        show(result_text(facts))


def result_text(facts: dict[str, Any]) -> str:
    """The result of a finished run in a few lines."""
    lines = [
        f"Backbone {facts['key']} is in the catalogue: {facts['images']:,} images, {facts['steps']:,} steps, "
        f"{facts['images_seen']:,} images seen in {facts['seconds'] / 60:,.1f} minutes "
        f"({facts['images_per_second']:,.0f} a second)."
    ]
    if facts["labelled"]:
        found = {"nearest neighbours": "knn", "a linear probe": "linear"}
        said = [
            f"{facts[f'{name}_start']:.3f} → {facts[f'{name}_end']:.3f} by {words}" for words, name in found.items()
        ]
        lines.append(f"Balanced accuracy by patient on {facts['labelled']}: {', '.join(said)}.")
    return "\n".join([*lines, facts["sentence"]])
