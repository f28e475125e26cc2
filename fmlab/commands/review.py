"""`fmlab review`: what to look at, what reviewers said of it, how far they agree, and the labels that this corrects.

In: a study, whose runs fill queues and whose dataset has verdicts. Out: tables, JSON or CSV; a published label version.
"""

from dataclasses import asdict
from typing import Annotated

import pandas as pd
import typer

from fmlab.commands.output import HomeOption, JsonOption, actor, home_of, rows_of, say, show, show_json
from fmlab.commands.results import write_table
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.errors import BadInput, WorkFailed
from fmlab.review.agreement import Agreement, agreement, pairs, patients_of
from fmlab.review.contents import queue_config
from fmlab.review.decisions import UNDECIDED, decisions, label_changes, next_version_name
from fmlab.review.exports import label_fixes_csv, verdicts_csv
from fmlab.review.queue import misclassified
from fmlab.review.queues import Queue, open_queue
from fmlab.review.verdicts import verdicts_of, verdicts_on
from fmlab.runs.records import Run
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home
from fmlab.studies.label_versions import find_label_version
from fmlab.studies.label_versions import publish as publish_labels
from fmlab.studies.scoring import item_table

app = typer.Typer(help="Queues, verdicts and corrected labels.", no_args_is_help=True)

NO_VERDICTS = "Nobody has given a verdict yet: `fmlab app`, page Review."
FOLDS = 5  # of the models that judge a label without having seen its patient
TOLD = ["time", "reviewer", "level", "item", "kind", "label", "note"]  # of a verdict, in a table for a person

Form = Annotated[str, typer.Option("--format", help="table, json or csv.")]
QueueKey = Annotated[str | None, typer.Option("--queue", help="The key of one queue; by default all of the dataset.")]


def _opened(home: Home, study: str) -> tuple[Store, Dataset]:
    """The store, and the dataset of a study."""
    store = open_store(home)
    return store, open_dataset(home, store.study(study).config["dataset"])


# --------------------------------------------------------------------------------------------------------------- queues


@app.command("queue")
def queue(
    study: str,
    kind: Annotated[
        str,
        typer.Option(help="misclassified, near_ties, disagreement, label_errors, random or adjudication."),
    ] = "misclassified",
    run: Annotated[str | None, typer.Option(help="One run; by default the last of the study that is done.")] = None,
    test_set: Annotated[str | None, typer.Option(help="One test set, T1 or T1@v2; by default all.")] = None,
    level: Annotated[str, typer.Option(help="image or sequence.")] = "image",
    only: Annotated[str | None, typer.Option(help="disagreement: the backbone that alone is right.")] = None,
    most: Annotated[int | None, typer.Option(help="At most so many; of label_errors instead of all found.")] = None,
    form: Form = "table",
    home: HomeOption = None,
) -> None:
    """List what to look at first: the most confident mistakes of a run, or another kind of queue, kept for reviewers."""
    place = home_of(home)
    store, dataset = _opened(place, study)
    if kind == "adjudication":
        runs = []
    else:
        done = store.study_runs(study, "done")
        if not done:
            raise BadInput(f"No run of study {study!r} has finished yet. Look with `fmlab runs list --study {study}`.")
        runs = [store.run(run) if run else done[-1]]
    if kind == "misclassified" and only is None and most is None:
        write_table(misclassified(item_table(place, store, runs[0].key, test_set), level), form)
        return
    if kind == "disagreement":
        runs = _alike(runs[0], done)
    elif kind == "label_errors":
        runs = [_suspects(place, store, dataset, runs[0])]
    content = {"kind": kind, "dataset": dataset.name, "runs": [each.key for each in runs], "level": level}
    content |= {"test_set": test_set or "", "only": only, "most": most}
    found = open_queue(place, store, queue_config(content), actor())
    say(f"{found.title}: queue {found.key}.")
    write_table(_items(found), form, "Nothing is in this queue.")


def _alike(run: Run, done: list[Run]) -> list[Run]:
    """The finished runs of every backbone with a run's adaptation and subset, that run first."""
    same = [each for each in done if each.config["adaptation"] == run.config["adaptation"]]
    same = [each for each in same if each.config["subset"] == run.config["subset"]]
    return sorted(same, key=lambda each: each.key != run.key)


def _suspects(home: Home, store: Store, dataset: Dataset, run: Run) -> Run:
    """The finished search for label errors with the embeddings of a run; carried out now if nobody did before."""
    from fmlab.commands.study import wait_for
    from fmlab.runs.requests import request_run

    names = ("backbone", "style", "mask_sector")
    config = {"dataset": dataset.name, "folds": FOLDS} | {name: run.config[name] for name in names}
    asked = request_run(
        store, "suspects", config, f"label errors of {dataset.name} · {run.config['backbone']}", actor()
    )
    wait_for(home, None)
    found = store.run(asked.key)
    if found.state != "done":
        raise WorkFailed(f"The label errors could not be looked for: {found.reason}")
    return found


def _items(queue: Queue) -> pd.DataFrame:
    columns = ("item", "test_set", "label", "answer", "suggested", "reason")
    rows = [[getattr(item, name) for name in columns] for item in queue.items]
    table = pd.DataFrame(rows, columns=list(columns), dtype=object)
    table.insert(0, "rank", range(1, len(table) + 1))
    return table


# ------------------------------------------------------------------------------------------------------------- verdicts


@app.command("verdicts")
def verdicts(
    study: str,
    queue_key: QueueKey = None,
    reviewer: Annotated[str | None, typer.Option(help="One reviewer; by default all.")] = None,
    form: Form = "table",
    home: HomeOption = None,
) -> None:
    """List every verdict on a study's dataset, the oldest first, those that were changed or taken back included."""
    store, dataset = _opened(home_of(home), study)
    table = verdicts_of(store, dataset.name, queue_key, reviewer)
    if form == "csv":
        show(verdicts_csv(table).rstrip("\n"))
    else:
        write_table(table if form == "json" else table[TOLD], form, NO_VERDICTS)


@app.command("agreement")
def agreement_command(
    study: str,
    queue_key: QueueKey = None,
    form: Form = "table",
    home: HomeOption = None,
) -> None:
    """Say how far reviewers agree beyond chance: kappa of all of them, and of every two, with 95 % intervals."""
    store, dataset = _opened(home_of(home), study)
    table = verdicts_on(store, dataset)
    table = table if queue_key is None else table[table["queue"] == queue_key]
    patients = patients_of(dataset, set(table["item"]))
    found = agreement(table, dataset.card.classes, patients)
    both = pairs(table, dataset.card.classes, patients)
    if form == "json":
        show_json({"overall": asdict(found), "pairs": rows_of(both)})
        return
    names = both["first"] + " and " + both["second"]
    apart = both.drop(columns=["first", "second"]).assign(reviewers=names, kind="Cohen")
    whole = pd.DataFrame([_row(found)])
    write_table(whole if len(found.reviewers) < 3 else pd.concat([whole, apart[whole.columns]]), form)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found.prevalence.items())
    if shares:
        say(f"Answers: {shares}.")


def _row(found: Agreement) -> dict[str, object]:
    facts = {name: getattr(found, name) for name in ("kind", "n", "observed", "kappa", "low", "high", "refused")}
    return {"reviewers": ", ".join(found.reviewers) or "nobody"} | facts


# --------------------------------------------------------------------------------------------------------------- labels


@app.command("publish")
def publish(
    study: str,
    labels: Annotated[str | None, typer.Option(help="The version's name; by default v2, then v3 …")] = None,
    exclude_unusable: Annotated[
        bool, typer.Option("--exclude-unusable", help="Take out what is ambiguous or of poor quality.")
    ] = False,
    note: Annotated[str, typer.Option(help="A word on why.")] = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Publish what the verdicts decided as corrected labels of the study's dataset. A version never changes again."""
    store, dataset = _opened(home_of(home), study)
    changes = label_changes(store, dataset, exclude_unusable)
    version = publish_labels(store, dataset, labels or next_version_name(store, dataset), changes, note, actor())
    removed = sum(label is None for label in changes.values())
    undecided = int((decisions(store, dataset)["decision"] == UNDECIDED).sum())
    if as_json:
        facts = {"images": len(changes) - removed, "taken_out": removed, "undecided": undecided}
        show_json({"dataset": dataset.name, "labels": version.name} | facts)
        return
    show(f"Labels {version.name} of {dataset.name}: {len(changes) - removed} images corrected, {removed} taken out.")
    if undecided:
        say(f"{undecided} items are undecided and keep their labels: `fmlab review queue {study} --kind adjudication`.")


@app.command("fixes")
def fixes(
    study: str,
    labels: Annotated[
        str | None, typer.Option(help="A label version; by default what publishing now would change.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Print corrected labels as CSV that `fmlab data import --fixes` and `fmlab data attach --fixes` read."""
    store, dataset = _opened(home_of(home), study)
    version = None if labels is None else find_label_version(store, dataset, labels)
    if labels is not None and version is None:
        raise BadInput(f"{labels!r} are the labels as imported; they correct nothing. Name a published version.")
    show(label_fixes_csv(store, dataset, version).rstrip("\n"))
