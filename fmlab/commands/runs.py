"""`fmlab runs`: list runs, look at one, cancel, retry.

In: run keys, or their first six characters. Out: tables or JSON.
"""

from typing import Annotated

import typer

from fmlab.commands.output import HomeOption, JsonOption, actor, home_of, rows_of, say, show, show_json, show_table
from fmlab.commands.study import wait_for
from fmlab.runs.store import open_store

app = typer.Typer(help="Look at single runs; cancel and retry them.", no_args_is_help=True)
COLUMNS = ["key", "kind", "state", "dataset", "backbone", "adaptation", "size", "seed", "seconds", "reason"]
LOG_LINES = 20


@app.command("list")
def list_runs(
    study: Annotated[str | None, typer.Option(help="Only this study's runs.")] = None,
    state: Annotated[str | None, typer.Option(help="Only runs in this state.")] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List runs in the order of the queue."""
    store = open_store(home_of(home))
    if study is not None:
        store.study(study)
    table = store.runs(study)
    rows = rows_of(table if state is None else table[table["state"] == state])
    if as_json:
        show_json(rows)
    else:
        show_table([row | {"key": row["key"][:12]} for row in rows], COLUMNS, "No runs: `fmlab study run --help`.")


@app.command("show")
def show_run(run: str, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show a run's config, result, reason and the end of its log."""
    place = home_of(home)
    found = open_store(place).run(run)
    if as_json:
        show_json(vars(found))
        return
    for key, value in vars(found).items():
        show(f"{key}: {value}")
    log = place.runs / found.group / "log.txt"
    if log.exists():
        show("log:")
        show("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]))


@app.command("cancel")
def cancel_run(run: str, home: HomeOption = None) -> None:
    """Cancel a queued or running run."""
    store = open_store(home_of(home))
    found = store.run(run)
    asked = store.cancel([found.key], actor())
    say(f"Run {found.key[:12]} is being cancelled." if asked else f"Run {found.key[:12]} is {found.state} already.")


@app.command("retry")
def retry_run(run: str, home: HomeOption = None) -> None:
    """Queue a failed, cancelled or interrupted run again, and wait for it."""
    place = home_of(home)
    store = open_store(place)
    found = store.run(run)
    if not store.retry([found.key], actor()):
        say(f"Run {found.key[:12]} is {found.state}; only failed, cancelled and interrupted runs can be retried.")
        return
    wait_for(place, None)
    say(f"Run {found.key[:12]} is {store.run(found.key).state}.")
