"""Dataset folders: who may change one, and how a new generation takes the place of the old.

In: a home and a dataset name. Out: a lock held while a dataset is written; complete folders swapped by rename.

Beside `datasets/<name>/` there may stand, hidden: `.<name>.lock` (held by the process that changes the dataset),
`.<name>.unfinished` (being written, removed by the next writer of that name), `.<name>.previous` (the old generation
in the instant of a swap: if a kill falls into it, `recover` puts it back).
"""

import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from fmlab.errors import BadInput
from fmlab.settings import Home

PROOF = "card.json"  # written last: a folder without it is no dataset


class FolderLock:
    """An exclusive lock on a dataset's name, given back by `release` or by the end of the process."""

    def __init__(self, home: Home, name: str, wait: bool = False) -> None:
        home.datasets.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] | None = (home.datasets / f".{name}.lock").open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            self.release()
            raise BadInput(
                f"Dataset {name!r} is being written by another import. Wait for its end, or choose another name."
            ) from error

    def release(self) -> None:
        """Let others write; harmless when done twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


def unfinished_folder(home: Home, name: str) -> Path:
    """Where the next generation of a dataset is written."""
    return home.datasets / f".{name}.unfinished"


def previous_folder(home: Home, name: str) -> Path:
    """Where the old generation stands during a swap."""
    return home.datasets / f".{name}.previous"


def install(home: Home, name: str) -> Path:
    """Give the unfinished folder, now complete, the dataset's name. The caller holds the lock. Returns the folder."""
    target, previous = home.datasets / name, previous_folder(home, name)
    if (target / PROOF).is_file():
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    else:
        shutil.rmtree(target, ignore_errors=True)  # a folder without a card is nobody's dataset
    unfinished_folder(home, name).rename(target)
    shutil.rmtree(previous, ignore_errors=True)
    return target


def recover(home: Home, name: str) -> None:
    """If a kill fell between the two renames of a swap, put the old generation back. Cheap when there is nothing to do."""
    if (home.datasets / name).exists() or not (previous_folder(home, name) / PROOF).is_file():
        return
    lock = FolderLock(home, name, wait=True)  # a swap that is under way holds it for two renames
    try:
        if not (home.datasets / name).exists() and previous_folder(home, name).exists():
            previous_folder(home, name).rename(home.datasets / name)
    finally:
        lock.release()


def swapped_names(home: Home) -> list[str]:
    """Names of which an old generation stands aside."""
    return [path.name[1 : -len(".previous")] for path in home.datasets.glob(".*.previous")]


def remove_folder(home: Home, name: str) -> None:
    """Remove a dataset's folder: gone in one rename, its files afterwards."""
    lock = FolderLock(home, name)
    try:
        doomed = unfinished_folder(home, name)
        shutil.rmtree(doomed, ignore_errors=True)
        shutil.rmtree(previous_folder(home, name), ignore_errors=True)
        (home.datasets / name).rename(doomed)
        shutil.rmtree(doomed)
    finally:
        lock.release()


def link_tree(source: Path, target: Path, without: Sequence[str] = ()) -> None:
    """A copy of a folder that shares its files, those named apart: hard links, or copies where the disk has none."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name in without:
            continue
        if path.is_dir():
            link_tree(path, target / path.name)
            continue
        try:
            os.link(path, target / path.name)
        except OSError:  # FAT and some network drives know no hard links
            shutil.copyfile(path, target / path.name)
