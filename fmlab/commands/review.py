"""`fmlab review`: the misclassified images of a study, worst first.

In: a study. Out: a table, JSON or CSV.
"""

from typing import Annotated

import typer

from fmlab.commands.output import HomeOption, home_of
from fmlab.commands.results import write_table
from fmlab.errors import BadInput
from fmlab.review.queue import misclassified
from fmlab.runs.store import open_store
from fmlab.studies.scoring import item_table

app = typer.Typer(help="What was misclassified.", no_args_is_help=True)


@app.callback()
def review() -> None:
    """What was misclassified."""


@app.command("queue")
def queue(
    study: str,
    run: Annotated[str | None, typer.Option(help="One run; by default the last of the study that is done.")] = None,
    test_set: Annotated[str | None, typer.Option(help="One test set; by default all.")] = None,
    level: Annotated[str, typer.Option(help="image or sequence.")] = "image",
    form: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    home: HomeOption = None,
) -> None:
    """List the misclassified images (or sequences) of a run, the most confident mistakes first."""
    place = home_of(home)
    store = open_store(place)
    done = store.study_runs(study, "done") if store.study(study) else []
    if not done:
        raise BadInput(f"No run of study {study!r} has finished yet. Look with `fmlab runs list --study {study}`.")
    chosen = store.run(run).key if run else done[-1].key
    write_table(misclassified(item_table(place, store, chosen, test_set), level), form)
