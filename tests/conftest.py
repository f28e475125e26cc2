"""What every test gets: a home of its own, and no network.

In: pytest. Out: `home`, an empty FMLab home that also stands in $FMLAB_HOME, so that no test can touch real data;
`fmlab`, the command line on it.
"""

import os
from pathlib import Path

import pytest

from fmlab import cli
from fmlab.settings import HOME_VARIABLE, Home

os.environ["HF_HUB_OFFLINE"] = "1"  # a hidden call to a model hub fails instead of hanging
os.environ["OMP_NUM_THREADS"] = "1"  # tests share the cores; threads that wait for each other there only spin

SHARED_DATA = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return Home(tmp_path / "home")


@pytest.fixture
def shared_data():
    """Real ultrasound images, where a developer has them; they never travel with the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real images are not here: {SHARED_DATA.relative_to(SHARED_DATA.parent.parent)} is absent")
    return SHARED_DATA


@pytest.fixture
def fmlab(home, monkeypatch, capsys):
    """Runs a command in this process: status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["fmlab", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as ending:
            status = ending.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
