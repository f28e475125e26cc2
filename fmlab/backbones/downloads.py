"""Getting weights: from the Hugging Face hub into its own cache, because a person asked for them.

In: a card, a home, whether the person accepts the licence. Out: the path of the weights, whole and checked.

What has arrived of a file lies beside the cache's own under the name `<content>.fmlab-part`, where nothing takes it for
weights; a later call goes on where an earlier one was cut off or cancelled. It becomes part of the cache only when its
checksum is right: the card's, where known, else the one that the hub itself names.

Source: the layout and the protocol of the cache (huggingface.co/docs/huggingface_hub/guides/manage-cache).
"""

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import by_hand, check_digest, find_file, on_disk, require_weights, weights_file
from fmlab.errors import BadInput, BadWeights, StorageFull
from fmlab.settings import Home

# (bytes there, bytes in all, bytes a second, None at first). Raise `Cancelled` from it to stop; what is there stays.
Progress = Callable[[int, int, float | None], None]

CHUNK_BYTES = 1 << 20
RETRIES = 5  # in a row without a byte
RETRY_SECONDS = 1.0
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
LOCK_SECONDS = 1.0  # how long to wait for another process that fetches the same file


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository as the hub describes it."""

    repository: str
    name: str
    revision: str  # as the card names it
    commit: str
    etag: str  # of a large file its SHA-256, of a small one its git digest
    size: int


def download(
    card: BackboneCard, home: Home, accepted: bool, on_progress: Progress = lambda done, total, rate: None
) -> Path:
    """Fetch what is lacking of a backbone, its weights and the files of its tokenizer; return the path of the weights.

    `BadInput` when the licence has to be accepted first, or the hub cannot be reached or hands nothing out: it says
    which file to put where instead. `BadWeights` for wrong content, which is deleted. `StorageFull` for a full disk.
    """
    lacking = missing_files(card, home)
    if not lacking:
        return require_weights(card, home)
    if card.remote is None or card.remote.repository is None:
        raise BadInput(f"The weights of {card.key} cannot be fetched by FMLab; {by_hand(card, home)}.")
    if card.to_accept and not accepted:
        raise BadInput(
            f"The weights of {card.key} stand under {licence_text(card)} Read it at {card.remote.page} and accept it: "
            "tick the box on the page, or give --accept-licence."
        )
    _send_no_telemetry()
    with _in_one_sentence(card, home):
        found = [_describe(card.remote.repository, names, card.remote.revision) for names in lacking]
        for file in found:
            if file.name in card.digests and _is_sha256(file.etag):
                _expect(card, file, file.etag)
        progress = _Overall([file.size for file in found], [_held(file) for file in found], on_progress)
        _check_space(found)
        for number, file in enumerate(found):
            _fetch(card, file, lambda size, number=number: progress.advance(number, size))
    return require_weights(card, home)


def _send_no_telemetry() -> None:
    """Keep the library from asking the hub which programs to report, and from reporting what is installed."""
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # its environment variable is read once, when it is imported


def missing_files(card: BackboneCard, home: Home) -> list[tuple[str, ...]]:
    """What is not on this disk yet: for each file that is needed, the names under which it may be had."""
    if weights_file(card, home) is not None:
        require_weights(card, home)  # a file of the wrong size has to be removed by whoever put it there
    needed = [] if on_disk(card, home) else [card.files]
    tokenizer = card.text.files if card.text is not None else ()
    return needed + [(name,) for name in tokenizer if find_file(card, name, home) is None]


def licence_text(card: BackboneCard) -> str:
    """The licence of the weights and what is to be said of it, to the end of a sentence that has begun."""
    named = f"the licence {card.licence_weights}" if card.licence_weights else "a licence that is not known to FMLab"
    return f"{named}. {card.licence_note}".rstrip(" .") + "."


# ------------------------------------------------------------------------------------------------------- one file


def _describe(repository: str, names: Sequence[str], revision: str) -> RemoteFile:
    """The first of the names that the repository has."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    for name in names:
        try:
            facts = get_hf_file_metadata(hf_hub_url(repository, name, revision=revision))
        except RemoteEntryNotFoundError:
            continue
        if facts.commit_hash is None or facts.etag is None or facts.size is None:
            raise BadInput(f"What answers in place of the hub is not one: it gives no digest or size of {name}.")
        return RemoteFile(repository, name, revision, facts.commit_hash, facts.etag, facts.size)
    raise BadInput(f"{repository} has no file {' or '.join(names)} at revision {revision}.")


def _fetch(card: BackboneCard, file: RemoteFile, on_size: Callable[[int], None]) -> None:
    """Bring one file into the cache, from where an earlier call left off."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import WeakFileLock

    blob, part = _blob(file), _part(file)
    if not blob.exists():
        lock = blob.parent.parent.parent / ".locks" / blob.parent.parent.name / f"{file.etag}.lock"
        for folder in (blob.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with WeakFileLock(lock, timeout=LOCK_SECONDS):
                _receive(file, part, on_size)
                _check_content(card, file, part)
                os.replace(part, blob)
        except TimeoutError as error:
            raise BadInput(f"Another process is fetching {file.name}; wait until it has.") from error
        except OSError as error:
            if error.errno in DISK_FULL:
                part.unlink()  # what is there could be taken up later, but a full disk hurts everything else
            raise
    on_size(file.size)
    # The content is there: this gives it its name in the cache.
    hf_hub_download(file.repository, file.name, revision=file.revision)


def _receive(file: RemoteFile, part: Path, on_size: Callable[[int], None]) -> None:
    """Append to the part until it is as large as the file; a cut connection is taken up again."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if _size(part) > file.size:
        part.unlink()
    lost = 0
    while (before := _size(part)) < file.size:
        failure: Exception = BadInput(f"The hub sends nothing of {file.name}.")
        try:
            _append(file, part, on_size)
        except HfHubHTTPError:
            raise
        except HTTPError as error:  # the connection could not be made, was cut or fell silent
            failure = error
        lost = 0 if _size(part) > before else lost + 1
        if lost > RETRIES:
            raise failure
        if lost:
            time.sleep(RETRY_SECONDS)


def _append(file: RemoteFile, part: Path, on_size: Callable[[int], None]) -> None:
    """One request for what is lacking of a file."""
    from huggingface_hub import constants, get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    there = _size(part)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if there:
        headers["Range"] = f"bytes={there}-"
    url = hf_hub_url(file.repository, file.name, revision=file.commit)
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        with part.open("ab" if response.status_code == 206 else "wb", buffering=0) as file_part:
            for chunk in response.iter_bytes(CHUNK_BYTES):
                file_part.write(chunk)
                on_size(file_part.tell())


def _check_content(card: BackboneCard, file: RemoteFile, part: Path) -> None:
    """Delete what arrived and raise `BadWeights` when it is not what the card, or else the hub, says it is."""
    try:
        if _size(part) != file.size:
            raise BadWeights(f"{file.name} arrived with {_size(part):,} bytes, expected {file.size:,}.")
        sha256, git = _digests(part)
        _expect(card, file, sha256)
        if file.etag not in (sha256, git):
            raise BadWeights(
                f"{file.name} arrived damaged: its digest is {sha256 if _is_sha256(file.etag) else git}, expected "
                f"{file.etag}; it was deleted. Download it again."
            )
    except BadWeights:
        part.unlink()
        raise


def _expect(card: BackboneCard, file: RemoteFile, sha256: str) -> None:
    check_digest(card, file.name, Path(file.repository, file.name), sha256)


def _digests(path: Path) -> tuple[str, str]:
    """The SHA-256 of a file, and the SHA-1 under which git keeps it."""
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {_size(path)}\0".encode(), usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(CHUNK_BYTES):
            sha256.update(block)
            git.update(block)
    return sha256.hexdigest(), git.hexdigest()


def _is_sha256(etag: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", etag) is not None


def _blob(file: RemoteFile) -> Path:
    """Where the cache keeps the content of a file."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{file.repository.replace('/', '--')}", "blobs", file.etag)


def _part(file: RemoteFile) -> Path:
    return _blob(file).with_name(f"{file.etag}.fmlab-part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _held(file: RemoteFile) -> int:
    """Bytes of the file that are there already."""
    return file.size if _blob(file).exists() else _size(_part(file))


# ------------------------------------------------------------------------------------------------------- all files


class _Overall:
    """Adds up the progress of several files."""

    def __init__(self, sizes: Sequence[int], held: Sequence[int], on_progress: Progress) -> None:
        self._total, self._held, self._first = sum(sizes), list(held), sum(held)
        self._on_progress = on_progress
        self._begun = time.monotonic()
        on_progress(self._first, self._total, None)

    def advance(self, number: int, size: int) -> None:
        """Say that file `number` now has `size` bytes."""
        self._held[number] = size
        done, seconds = sum(self._held), time.monotonic() - self._begun
        rate = (done - self._first) / seconds if seconds > 0 and done > self._first else None
        self._on_progress(done, self._total, rate)


def _check_space(files: Sequence[RemoteFile]) -> None:
    folder = _blob(files[0]).parent
    needed = sum(file.size - _held(file) for file in files)
    free = shutil.disk_usage(next(each for each in folder.parents if each.exists())).free
    if needed > free:
        raise StorageFull(
            f"The disk of {folder.parents[1]} is too full: {needed / 1e9:.2f} GB are to be fetched and "
            f"{free / 1e9:.2f} GB are free. Free some space, or set HF_HOME to a folder on another disk."
        )


@contextmanager
def _in_one_sentence(card: BackboneCard, home: Home) -> Iterator[None]:
    """Turn what goes wrong with the hub, a network or a disk into one sentence that says what to do instead."""
    from huggingface_hub import errors

    reasons: tuple[tuple[type[Exception], str], ...] = (
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE is set, so that no network is asked: unset it"),
        (errors.GatedRepoError, f"they are handed out on request: ask at {_page(card)}, sign in with `hf auth login`"),
        (
            errors.RepositoryNotFoundError,
            f"the hub shows no such repository to you ({_page(card)}): sign in if you may",
        ),
        (errors.RevisionNotFoundError, f"{_page(card)} has no such revision any more"),
        (errors.HfHubHTTPError, "the hub refused"),
        (errors.HTTPError, "the hub cannot be reached"),
    )
    try:
        yield
    except BadWeights:
        raise
    except BadInput as error:
        raise BadInput(f"The weights of {card.key} were not fetched: {error} Or {by_hand(card, home)}.") from error
    except (OSError, errors.HTTPError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise StorageFull(
                f"The disk is full: the weights of {card.key} could not be written. Free some space and download again, "
                "or set HF_HOME to a folder on another disk."
            ) from error
        reason = next((words for kind, words in reasons if isinstance(error, kind)), None)
        if reason is None:
            raise
        status = f" (status {error.response.status_code})" if isinstance(error, errors.HfHubHTTPError) else ""
        said = f" ({str(error).splitlines()[0]})" if reason.endswith("reached") and str(error) else status
        raise BadInput(
            f"The weights of {card.key} were not fetched: {reason}{said}; or {by_hand(card, home)}."
        ) from error


def _page(card: BackboneCard) -> str:
    return card.remote.page if card.remote else ""
