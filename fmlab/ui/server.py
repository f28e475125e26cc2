"""Serving the app from this process, so that queued runs start with the server and not with the first page.

In: a home and a port. Out: a server on 127.0.0.1 until interrupted.
"""

import os
import socket
import sys
from pathlib import Path

from streamlit.web import bootstrap

import fmlab
from fmlab.errors import BadInput
from fmlab.runs.launcher import launcher_for
from fmlab.runs.records import Actor
from fmlab.settings import HOME_VARIABLE, Home
from fmlab.studies.demo import resume_demo

ADDRESS = "127.0.0.1"


def serve(home: Home, port: int) -> None:
    """Serve the app on this machine alone. Returns when it is interrupted; unfinished runs stay in the queue."""
    script = Path(fmlab.__file__).parent.parent / "app.py"
    if not script.is_file():
        raise BadInput("app.py is not beside the package. Run the app from a checkout, after `make setup`.")
    refuse_taken_port(port)
    os.environ[HOME_VARIABLE] = str(home.path)
    os.chdir(script.parent)  # .streamlit/config.toml is read from here
    launcher = launcher_for(home)
    resume_demo(home, launcher.store, Actor("server", "app"))
    sys.stderr.write(f"FMLab is at http://{ADDRESS}:{port} (home {home.path})\n")
    options = {"server.port": port, "server.address": ADDRESS, "server.headless": True}
    try:
        bootstrap.load_config_options(flag_options=options)
        bootstrap.run(str(script), False, [], options)
    finally:
        launcher.stop()


def refuse_taken_port(port: int) -> None:
    """Raise `BadInput` when another program, another FMLab perhaps, listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise BadInput(
                f"Port {port} on {ADDRESS} is taken. Close what listens there, or choose another with --port."
            ) from error
