"""Files dropped into the browser, and archives: kept aside, unpacked with care, imported, removed.

In: names and open files (images, clips, DICOM, tables, .npz, .zip). Out: a file or folder that a reader can take.

An archive is a stranger's: entries that would be written elsewhere, links, encrypted entries and archives that unpack
to more than the limit are refused before anything is kept.
"""

import fcntl
import secrets
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from fmlab.errors import BadInput
from fmlab.files import storage_errors
from fmlab.readers.sources import list_files
from fmlab.settings import Home

SIZE_CAP = 32 << 30  # bytes that one upload may unpack to
MOST_RATIO = 200  # unpacked to packed, beyond the first 64 MiB: images hardly shrink, bombs do
HARMLESS = 64 << 20
COPY_BYTES = 1 << 20
DROPPED_SECONDS = 86400  # dropped files that nothing imports any more are removed after a day
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


def keep_dropped(home: Home, files: Sequence[tuple[str, IO[bytes]]]) -> Path:
    """Write dropped files (names and contents) aside; returns the file when there is one, else the folder of them."""
    if not files:
        raise BadInput("No file was dropped. Drop a .zip, images, clips, DICOM files or an .npz.")
    folder = home.uploads / secrets.token_hex(8)
    folder.mkdir(parents=True)
    try:
        for name, file in files:
            target = folder / _safe(PurePosixPath(name.replace("\\", "/")).name, name)
            if target.exists():
                raise BadInput(f"Two of the dropped files are called {name!r}. Drop a .zip of their folders instead.")
            with storage_errors(name), target.open("wb") as out:
                shutil.copyfileobj(file, out, COPY_BYTES)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return target if len(files) == 1 else folder


def forget_dropped(home: Home, source: Path) -> None:
    """Remove dropped files once their import has them; any other source stays as it is."""
    if home.uploads in source.parents:
        shutil.rmtree(home.uploads / source.relative_to(home.uploads).parts[0], ignore_errors=True)


def remove_stale_drops(home: Home) -> None:
    """Remove dropped files of more than a day ago. Call it while no import is at work."""
    for folder in home.uploads.glob("*"):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > DROPPED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def unpacked_archive(home: Home, archive: Path, size_cap: int = SIZE_CAP) -> Iterator[Path]:
    """The content of a .zip in a folder of its own, which is removed when the block ends."""
    remove_leftovers(home)
    folder = home.uploads / secrets.token_hex(8)
    folder.mkdir(parents=True)
    with (folder.with_suffix(".lock")).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with storage_errors("the upload"), archive.open("rb") as file:
                unpack(file, folder, archive.name, size_cap)
            yield _content(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".lock").unlink(missing_ok=True)


def remove_leftovers(home: Home) -> None:
    """Remove unpacked archives whose import was killed: nobody holds their lock."""
    for path in home.uploads.glob("*.lock"):
        with path.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # still being imported
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)


def unpack(file: IO[bytes], folder: Path, name: str, size_cap: int = SIZE_CAP) -> None:
    """Unpack an archive into a folder. Anything suspicious raises `BadInput`."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_entries(entries, name, size_cap)
            for entry in entries:
                _unpack_entry(archive, entry, folder, name)
    except ZIP_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's errors are not the archive's
        raise BadInput(f"The archive {name} is damaged or of an unknown kind ({error}). Pack it again.") from error


def _check_entries(entries: Sequence[zipfile.ZipInfo], name: str, size_cap: int) -> None:
    if not entries:
        raise BadInput(f"The archive {name} is empty.")
    unpacked, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    if unpacked > size_cap or unpacked > HARMLESS + MOST_RATIO * packed:
        raise BadInput(
            f"The archive {name} would unpack from {packed >> 20} MiB to {unpacked >> 20} MiB; "
            f"at most {size_cap >> 20} MiB and {MOST_RATIO} times its size are taken. Import the unpacked folder by its path."
        )
    for entry in entries:
        if entry.flag_bits & 1:
            raise BadInput(f"The archive {name} is encrypted. Pack it again without a password.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BadInput(f"The archive {name} holds a link, {entry.filename!r}. Pack the files themselves.")


def _safe(entry: str, name: str) -> PurePosixPath:
    """The entry's path, inside the folder; one that leads elsewhere raises `BadInput`."""
    path = PurePosixPath(entry.replace("\\", "/"))
    drive = path.parts[0].endswith(":") if path.parts else True
    if path.is_absolute() or ".." in path.parts or drive or "\x00" in entry:
        raise BadInput(f"The file {entry!r} in {name} would be written outside the upload. Nothing of it was kept.")
    return path


def _unpack_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, name: str) -> None:
    target = folder / _safe(entry.filename, name)
    if target.exists():
        raise BadInput(f"The archive {name} holds {entry.filename!r} twice. Pack it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with archive.open(entry) as source, target.open("wb") as out:
        while block := source.read(COPY_BYTES):
            left -= len(block)
            if left < 0:
                raise BadInput(f"{entry.filename!r} in {name} is larger than the archive says. Nothing of it was kept.")
            out.write(block)


def _content(folder: Path) -> Path:
    """The upload's own content: a single file, or what lies below folders that hold nothing but one folder of folders."""
    while True:
        inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__MACOSX"))]
        if len(inside) != 1:
            return folder
        only = inside[0]
        if only.is_file():
            return only
        listing = list_files(only)
        has_folders = any(path.is_dir() for path in only.iterdir())
        if not has_folders and not listing.tables:
            return folder  # one class folder, or a flat folder of images: its name may matter
        folder = only
