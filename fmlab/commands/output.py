"""How every command speaks: results on standard output, everything else on standard error.

In: tables and plain data. Out: text for a person, or with `--json` one machine-readable document and nothing beside it.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmlab.runs.records import Actor
from fmlab.settings import Home, find_home

if TYPE_CHECKING:
    import pandas as pd  # takes longer to import than some commands to run

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="FMLab's folder. Default: $FMLAB_HOME, else the platform's data folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def home_of(given: Path | None) -> Home:
    """The home a command works on."""
    return find_home(given)


def actor() -> Actor:
    """Who uses the command line: the account's name."""
    return Actor(Path.home().name or "somebody", "command line")


def show(text: str) -> None:
    """A result for a person."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """Anything that is not the result."""
    sys.stderr.write(text + "\n")


def show_json(content: Any) -> None:
    """The one JSON document of a command; not-a-number becomes null."""
    sys.stdout.write(json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if hasattr(content, "item"):
        content = content.item()
    missing = type(content).__name__ in ("NAType", "NaTType")  # of pandas, which need not be imported for this
    return None if missing or content != content else content


def rows_of(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """A table as a list of rows."""
    return table.astype(object).where(table.notna(), None).to_dict(orient="records")


def show_table(rows: Sequence[dict[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Rows in aligned columns, or what to do when there are none."""
    if not rows:
        show(empty)
        return
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(columns)]
    for line in [list(columns), *cells]:
        show("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def progress_line(what: str) -> Callable[[int, int, str], None]:
    """A progress callback (done, total, message) that rewrites one line on standard error, if a person watches it."""
    if not sys.stderr.isatty():
        return lambda done, total, message: None

    def advance(done: int, total: int, message: str) -> None:
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\r\x1b[K{what}: {done:,} of {total:,} {message}{end}")
        sys.stderr.flush()

    return advance
