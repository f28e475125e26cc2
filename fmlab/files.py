"""Atomic writes and content hashes: a file that exists is whole, and a name says what is inside.

In: bytes, paths, plain data. Out: files that appear at once or not at all; hex digests.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fmlab.errors import BadInput, StorageFull

DIGEST_BYTES = 16  # 128 bits: no collision to be expected below 10^18 items
READ_BYTES = 1 << 20

# Every key starts from this word, so that a later change of form is a new key rather than a silent mixture.
KEY_FORM = "fmlab-1"


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn a full disk or an exceeded quota inside the block into `StorageFull`, naming `what` was being written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"The disk is full: {what} could not be written. Nothing half-written was kept; free some space and repeat."
            ) from error
        raise


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success flush it to disk and rename it over `path`, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with storage_errors(path.name):
            yield aside
            with aside.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file at once."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write plain data as indented JSON at once."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; a damaged one raises `BadInput` naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(
            f"{path.name} is not readable JSON ({error}). Restore it from a backup, or import again."
        ) from error


def digest_bytes(*parts: bytes) -> str:
    """Hex digest of the parts, each preceded by its length so that moving a boundary changes the digest."""
    state = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def digest_file(path: Path) -> str:
    """Hex digest of a file's content, read in blocks of 1 MiB."""
    state = blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            state.update(block)
    return state.hexdigest()


def digest_config(kind: str, content: Any) -> str:
    """Hex digest of plain data in canonical JSON (sorted keys, no spaces); `kind` keeps unlike things apart."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return digest_bytes(KEY_FORM.encode(), kind.encode(), canonical.encode())
