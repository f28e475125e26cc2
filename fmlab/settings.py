"""Where things live: the folder that holds everything FMLab keeps.

In: an explicit path, else the environment variable FMLAB_HOME, else the platform's data folder.
Out: a `Home`, whose properties name every place below it (nothing is created until it is written).
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

HOME_VARIABLE = "FMLAB_HOME"


@dataclass(frozen=True)
class Home:
    """One FMLab home folder. Two homes share nothing."""

    path: Path

    @property
    def database(self) -> Path:
        """The store: one SQLite file, the truth about datasets, backbones, studies and runs."""
        return self.path / "fmlab.db"

    @property
    def datasets(self) -> Path:
        """One folder per dataset."""
        return self.path / "datasets"

    @property
    def embeddings(self) -> Path:
        """One folder per embeddings key."""
        return self.path / "embeddings"

    @property
    def predictions(self) -> Path:
        """One parquet file per executed group of runs."""
        return self.path / "predictions"

    @property
    def runs(self) -> Path:
        """One folder per executed group of runs: its config and its log."""
        return self.path / "runs"

    @property
    def backbones(self) -> Path:
        """One folder per backbone that a person added."""
        return self.path / "backbones"

    @property
    def uploads(self) -> Path:
        """Where files dropped into the browser wait for their import."""
        return self.path / "uploads"

    def pseudonym_key(self) -> bytes:
        """The 32 secret bytes with which identifiers are hashed on import; made on first use, readable by its owner only.

        The same patient gets the same pseudonym in every import into this home, and another one in any other home.
        """
        path = self.path / "pseudonym.key"
        if not path.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(f".{os.getpid()}")
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
            try:
                os.link(aside, path)  # fails if another process was first, and then its key stands
            except FileExistsError:
                pass
            finally:
                aside.unlink()
        return path.read_bytes()


def find_home(explicit: Path | str | None = None) -> Home:
    """The home to use: `explicit` if given, else $FMLAB_HOME, else the platform's data folder for `fmlab`."""
    chosen = explicit or os.environ.get(HOME_VARIABLE) or user_data_path("fmlab", appauthor=False)
    return Home(Path(chosen).expanduser().absolute())
