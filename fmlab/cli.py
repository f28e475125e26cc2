"""The command line: `fmlab`, or `python -m fmlab`. It does everything that the app does, with the same functions.

In: arguments. Out: results on standard output, progress and logs on standard error; status 0 done, 2 wrong use or bad
input (one sentence), 1 anything else, 130 interrupted.
"""

import importlib
import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from fmlab.commands.output import HomeOption, actor, home_of, progress_line, say
from fmlab.errors import FMLabError

SECTIONS = ("data", "backbones", "study", "runs", "review")
INTERRUPTED = 130
PORT = 8501

PortOption = Annotated[int, typer.Option(help="The port on 127.0.0.1.")]


def command_line(first: str = "") -> typer.Typer:
    """Every command; where the `first` word names a section, only that section is imported, so that it answers at once."""
    app = typer.Typer(
        help="Find out on your own medical images which vision foundation model to use.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for section in (first,) if first in SECTIONS else SECTIONS:
        app.add_typer(importlib.import_module(f"fmlab.commands.{section}").app, name=section)
    if first not in SECTIONS:
        from fmlab.commands import pretrain, pretrain_compare, results

        app.command("results")(results.results_command)
        app.command("compare")(results.compare_command)
        app.command("pretrain")(pretrain.pretrain_command)
        app.command("pretrain-compare")(pretrain_compare.pretrain_compare)
        app.command("demo")(demo)
        app.command("app")(open_app)
    return app


def demo(
    with_app: Annotated[bool, typer.Option("--app/--no-app", help="--no-app: compute everything and stop.")] = True,
    port: PortOption = PORT,
    home: HomeOption = None,
) -> None:
    """Draw the phantom dataset, launch the demo study and open the app. No network, no GPU, no images needed."""
    from fmlab.commands import results, study
    from fmlab.data.manifest import dataset_names
    from fmlab.phantom.build import build_phantom
    from fmlab.phantom.cases import PhantomConfig
    from fmlab.runs.store import open_store
    from fmlab.studies.demo import DATASET, STUDY, launch_demo_study

    place = home_of(home)
    if DATASET not in dataset_names(place):
        say("Drawing the phantom dataset (about half a minute)…")
        advance = progress_line("drawing")
        build_phantom(place, DATASET, PhantomConfig(), on_progress=lambda n, of: advance(n, of, "sequences"))
    store = open_store(place)
    launch_demo_study(place, store, actor())
    if with_app:
        _serve(place, port)
    else:
        study.wait_for(place, STUDY)
        results.show_results(place, store, STUDY)


def open_app(port: PortOption = PORT, home: HomeOption = None) -> None:
    """Open the app in a browser, on 127.0.0.1 alone."""
    _serve(home_of(home), port)


def _serve(home: object, port: int) -> None:
    from fmlab.ui.server import serve  # streamlit: only the app needs it

    serve(home, port)


def main() -> None:
    """Run the command line; a mistake of the person's is one sentence, never a traceback."""
    try:
        status = command_line(sys.argv[1] if len(sys.argv) > 1 else "")(standalone_mode=False)
    except FMLabError as error:
        say(str(error))
        sys.exit(error.exit_status)
    except BrokenPipeError:  # whoever read the output has had enough, as in `fmlab runs list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        say("Interrupted.")
        sys.exit(INTERRUPTED)
    except TyperException as error:  # wrong use: an unknown option, a value of the wrong type
        say(f"{error.format_message()} See `fmlab --help`.")
        sys.exit(2)
    if status:  # typer returns the status of a command that ended by `typer.Exit`
        sys.exit(status)
