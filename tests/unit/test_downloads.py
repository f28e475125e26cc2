"""Downloads against a hub of a few lines on 127.0.0.1: whole, cut, cancelled, refused.

Run: pytest tests/unit/test_downloads.py
"""

import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from huggingface_hub import constants

from fmlab.backbones import downloads
from fmlab.backbones.cards import BackboneCard, Remote
from fmlab.backbones.catalogue import (
    CARD_FILE,
    find_backbone,
    on_disk,
    require_weights,
    weights_digest,
    weights_file,
    wrong_size,
)
from fmlab.backbones.downloads import download
from fmlab.backbones.input_specs import HALF, crop
from fmlab.errors import BadInput, BadWeights, Cancelled, StorageFull
from fmlab.files import write_bytes
from fmlab.runs.launcher import execute, launcher_for
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store

WEIGHTS = os.urandom(5 * downloads.CHUNK_BYTES + 17)
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
TOKENS = b'{"hello": 1}'
COMMIT = "c" * 40
NAME = "model.safetensors"
ANNA = Actor("anna", "test")


@dataclass
class Hub:
    """What the server holds, how it misbehaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=lambda: {NAME: WEIGHTS, "vocab.json": TOKENS})
    digests: dict[str, str] = field(default_factory=dict)  # said instead of the right ones
    sizes: dict[str, int] = field(default_factory=dict)  # likewise
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None  # bytes of the next answer, then the connection is gone
    always_cut: bool = False  # every answer, not only the next
    slow: float = 0.0  # seconds between two pieces
    ranges: list[str | None] = field(default_factory=list)  # of each GET
    asked: list[tuple[str, str]] = field(default_factory=list)  # address and user agent of every request


def handler(hub):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            hub.asked.append((self.path, self.headers["User-Agent"]))
            repository, _, rest = self.path.lstrip("/").partition("/resolve/")
            name = rest.partition("/")[2]
            if hub.status != 200 or repository != "lab/echo":
                return self.refuse(
                    hub.status if hub.status != 200 else 404, {"X-Error-Code": "RepoNotFound"} | hub.headers
                )
            if name not in hub.files:
                return self.refuse(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            content = hub.files[name]
            start = 0
            if body:
                wanted = self.headers.get("Range")
                hub.ranges.append(wanted)
                start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
            self.send_response(206 if start else 200)
            git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            large = hashlib.sha256(content).hexdigest() if name == NAME else None
            etag = hub.digests.get(name) or large or git
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{git}"')
            if large:
                self.send_header("X-Linked-Etag", f'"{etag}"')
                self.send_header("X-Linked-Size", str(hub.sizes.get(name, len(content))))
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if body:
                self.pour(content[start:])

        def pour(self, content):
            cut, hub.cut_after = hub.cut_after, hub.cut_after if hub.always_cut else None
            piece = downloads.CHUNK_BYTES
            for offset in range(0, len(content), piece):
                block = content[offset : offset + piece]
                if cut is not None and offset + len(block) > cut:
                    self.wfile.write(block[: cut - offset])
                    self.wfile.flush()
                    self.connection.close()
                    self.close_connection = True
                    return
                try:
                    self.wfile.write(block)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                    return
                time.sleep(hub.slow)

        def refuse(self, status, headers):
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


@contextmanager
def serving(hub):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "hub"


@pytest.fixture
def point(monkeypatch, cache):
    """Makes the library ask an address, as its own environment variables would have done when it was imported."""

    def to(address, offline=False):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
        monkeypatch.setattr(downloads, "RETRY_SECONDS", 0.01)
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(variable, raising=False)

    return to


@pytest.fixture
def hub(point):
    made = Hub()
    with serving(made) as address:
        point(address)
        yield made


def echo_card(**changes):
    facts = dict(
        key="echo",
        title="Echo",
        source="a test",
        architecture="resnet18",
        layout="timm",
        remote=Remote(repository="lab/echo", page="https://hub.test/lab/echo"),
        files=(NAME,),
        licence_weights="MIT",
        spec=crop(32, 32, HALF, HALF),
        features=("pooled",),
        widths=(512,),
        parameters=11_176_512,
    )
    return BackboneCard(**(facts | changes))


def parts(cache):
    return list(cache.rglob("*.fmlab-part"))


def test_weights_arrive_whole_and_stand_where_the_hub_library_looks(home, hub, cache):
    seen = []
    assert weights_file(echo_card(), home) is None
    path = download(echo_card(), home, False, lambda *facts: seen.append(facts))
    assert path.read_bytes() == WEIGHTS
    assert path == weights_file(echo_card(), home)
    assert path.is_relative_to(cache / "models--lab--echo" / "snapshots" / COMMIT)
    assert not parts(cache)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert (seen[0][0], seen[-1][0]) == (0, len(WEIGHTS))
    assert {total for _, total, _ in seen} == {len(WEIGHTS)}
    assert seen[-1][2] > 0


def test_what_is_there_is_not_asked_for_again(home, hub):
    download(echo_card(), home, False)
    hub.status = 500
    asked = len(hub.ranges)
    assert download(echo_card(), home, False).read_bytes() == WEIGHTS
    assert len(hub.ranges) == asked


def test_only_the_file_is_asked_for_and_nothing_is_reported(home, hub):
    """The library would ask which coding agents it may be run by, and name them and the version of torch."""
    download(echo_card(), home, False)
    assert {path for path, _ in hub.asked} == {f"/lab/echo/resolve/{revision}/{NAME}" for revision in ("main", COMMIT)}
    assert not any("torch" in agent or "agent/" in agent for _, agent in hub.asked)


def test_a_cut_connection_is_taken_up_where_it_was_cut(home, hub):
    hub.cut_after = 2 * downloads.CHUNK_BYTES + 1000
    path = download(echo_card(), home, False)
    assert path.read_bytes() == WEIGHTS
    assert hub.ranges[0] is None
    assert len(hub.ranges) == 2
    assert 0 < int(hub.ranges[1].removeprefix("bytes=").removesuffix("-")) <= 2 * downloads.CHUNK_BYTES + 1000


def test_a_cancelled_download_is_no_weights_and_the_next_one_goes_on_there(home, hub, cache):
    def stop(done, total, rate):
        if done > 2 * downloads.CHUNK_BYTES:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        download(echo_card(), home, False, stop)
    assert weights_file(echo_card(), home) is None
    held = parts(cache)[0].stat().st_size
    assert held == 3 * downloads.CHUNK_BYTES
    seen = []
    assert download(echo_card(), home, False, lambda *facts: seen.append(facts)).read_bytes() == WEIGHTS
    assert seen[0][:2] == (held, len(WEIGHTS))
    assert hub.ranges[-1] == f"bytes={held}-"


def test_content_that_the_hub_itself_names_otherwise_is_deleted(home, hub, cache):
    hub.digests[NAME] = "a" * 64
    with pytest.raises(BadWeights, match=f"{SHA256}, expected {'a' * 64}; it was deleted"):
        download(echo_card(), home, False)
    assert weights_file(echo_card(), home) is None
    assert not parts(cache)


def test_another_file_than_the_row_was_written_for_is_not_even_fetched(home, hub):
    with pytest.raises(BadWeights, match=f"SHA-256 is {SHA256}, expected {'b' * 64}"):
        download(echo_card(digests={NAME: "b" * 64}), home, False)
    assert not hub.ranges
    assert download(echo_card(digests={NAME: SHA256}), home, False).read_bytes() == WEIGHTS


def test_a_hub_that_hides_its_digest_is_held_to_the_row(home, hub, cache):
    """With an etag that says nothing, the content itself has to be right."""
    hub.digests[NAME] = "not-a-digest"
    with pytest.raises(BadWeights, match=f"SHA-256 is {SHA256}, expected {'b' * 64}"):
        download(echo_card(digests={NAME: "b" * 64}), home, False)
    assert not parts(cache)
    assert hub.ranges


def test_the_licence_is_accepted_before_anything_is_asked(home, hub):
    card = echo_card(licence_weights="CC-BY-NC-4.0", licence_note="No clinic may use them.")
    with pytest.raises(BadInput, match=r"CC-BY-NC-4\.0\. No clinic may use them\. Read it at.*accept"):
        download(card, home, False)
    assert not hub.ranges
    assert download(card, home, True).read_bytes() == WEIGHTS


def test_any_of_the_names_of_the_weights_will_do(home, hub):
    path = download(echo_card(files=("absent.safetensors", NAME)), home, False)
    assert (path.name, path.read_bytes()) == (NAME, WEIGHTS)
    with pytest.raises(
        BadInput, match=r"no file gone\.safetensors or gone\.bin.*put gone\.safetensors or gone\.bin into"
    ):
        download(echo_card(key="other", files=("gone.safetensors", "gone.bin")), home, False)


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (404, {"X-Error-Code": "RepoNotFound"}, "shows no such repository"),
        (401, {"X-Error-Code": "GatedRepo"}, "handed out on request: ask at https://hub.test/lab/echo"),
        (403, {"X-Error-Code": "GatedRepo"}, "handed out on request"),
        (403, {}, r"the hub refused \(status 403\)"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "no such revision"),
    ],
)
def test_a_refusal_says_what_to_put_where(home, hub, cache, status, headers, said):
    hub.status, hub.headers = status, {"X-Error-Code": ""} | headers
    with pytest.raises(BadInput, match=f"{said}.*put {NAME} into {home.backbones / 'echo'}"):
        download(echo_card(), home, False)
    assert not parts(cache)


def test_without_a_network_or_offline_it_says_what_to_put_where(home, point):
    with serving(Hub()) as address:
        pass  # gone again: nothing listens there
    for offline, said in ((False, "cannot be reached"), (True, "HF_HUB_OFFLINE is set")):
        point(address, offline)
        with pytest.raises(BadInput, match=f"{said}.*put {NAME} into {home.backbones / 'echo'}"):
            download(echo_card(), home, False)


def test_a_hub_that_never_sends_a_byte_is_given_up(home, hub, cache):
    hub.cut_after, hub.always_cut = 0, True
    with pytest.raises(BadInput, match="cannot be reached"):
        download(echo_card(), home, False)
    assert len(hub.ranges) == downloads.RETRIES + 1
    assert weights_file(echo_card(), home) is None


def test_empty_answers_are_given_up(home, hub):
    """As a page that asks to sign in to a network answers: no error, and no weights either."""
    hub.sizes[NAME] = len(WEIGHTS)
    hub.digests[NAME] = SHA256
    hub.files[NAME] = b""
    with pytest.raises(BadInput, match=f"sends nothing of {NAME}.*put {NAME} into"):
        download(echo_card(), home, False)
    assert len(hub.ranges) == downloads.RETRIES + 1


def test_a_disk_that_is_too_small_is_seen_before(home, hub):
    hub.sizes[NAME] = 10**18
    with pytest.raises(StorageFull, match=r"1000000000\.00 GB are to be fetched"):
        download(echo_card(), home, False)
    assert not hub.ranges


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_disk_that_fills_up_on_the_way_leaves_nothing(home, hub, cache):
    part = cache / "models--lab--echo" / "blobs" / f"{SHA256}.fmlab-part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(StorageFull, match="disk is full: the weights of echo"):
        download(echo_card(), home, False)
    assert not parts(cache)
    assert weights_file(echo_card(), home) is None


def test_the_files_of_a_tokenizer_come_with_the_weights(home, hub, cache):
    text = {"architecture": "clip", "width": 8, "layers": 1, "heads": 1, "context": 8, "vocabulary": 9}
    card = echo_card(type="image+text", text=text | {"files": ("vocab.json",)})
    download(card, home, False)
    assert (cache / "models--lab--echo" / "snapshots" / COMMIT / "vocab.json").read_bytes() == TOKENS


def test_weights_put_there_by_hand_count_and_wrong_ones_are_refused(home, point, cache):
    """No hub is asked: it is not there."""
    point("http://127.0.0.1:9", offline=False)
    card = echo_card(sizes={NAME: len(WEIGHTS)}, digests={NAME: SHA256})
    place = home.backbones / "echo" / NAME
    write_bytes(place, WEIGHTS)
    assert download(card, home, False) == place
    assert weights_digest(card, home)
    write_bytes(place, WEIGHTS[:-1])
    assert not on_disk(card, home)
    expected = f"has {len(WEIGHTS) - 1:,} bytes, expected {len(WEIGHTS):,}; remove it"
    assert expected in wrong_size(card, home)
    for use in (require_weights, weights_digest, lambda card, home: download(card, home, False)):
        with pytest.raises(BadWeights, match=expected):
            use(card, home)
    write_bytes(place, WEIGHTS[:-1] + b"x")
    with pytest.raises(BadWeights, match=f"not the file that echo needs.*expected {SHA256}"):
        weights_digest(card, home)


# --------------------------------------------------------------------------------------- in the worker, by the launcher


@pytest.fixture
def worker_hub(home, cache, monkeypatch):
    """A slow hub that workers and commands see in their environment, and a home whose catalogue has the backbone."""
    made = Hub(slow=0.3)
    with serving(made) as address:
        for name, value in (("HF_ENDPOINT", address), ("HF_HUB_CACHE", str(cache)), ("HF_HUB_OFFLINE", "0")):
            monkeypatch.setenv(name, value)
        write_bytes(home.backbones / "echo" / CARD_FILE, echo_card(licence_weights="own").model_dump_json().encode())
        yield made


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_a_download_is_a_run_that_tells_its_progress_and_stops_when_asked(home, worker_hub, cache):
    store = open_store(home)
    launcher = launcher_for(home)
    try:
        run = request_run(store, "download", {"backbone": "echo", "accepted": True}, "Download Echo", ANNA)
        wait_until(lambda: any(group.done >= 2 for group in store.groups()))
        group = store.groups()[0]
        assert (group.total, group.device) == (6, "downloads")
        assert group.rate > 0
        assert group.seconds_left is not None
        began = time.monotonic()
        store.cancel([run.key], ANNA)
        wait_until(lambda: store.run(run.key).state == "cancelled")
        assert time.monotonic() - began < 2
        held = parts(cache)[0].stat().st_size
        store.retry([run.key], ANNA)
        wait_until(lambda: store.run(run.key).state == "done")
        assert worker_hub.ranges[-1] == f"bytes={held}-"
        assert Path(store.run(run.key).result["path"]).read_bytes() == WEIGHTS
    finally:
        launcher.stop()


def test_a_killed_download_goes_on_where_it_was(home, worker_hub, cache):
    """The worker dies without a word; the launcher runs it again and not a byte before is asked for twice."""
    store = open_store(home)
    launcher = launcher_for(home)
    try:
        run = request_run(store, "download", {"backbone": "echo", "accepted": True}, "Download Echo", ANNA)
        wait_until(lambda: any(group.done >= 2 for group in store.groups()))
        os.kill(launcher.worker_pids()["downloads"], 9)
        wait_until(lambda: store.run(run.key).state == "done")
        assert [wanted is None for wanted in worker_hub.ranges] == [True, False]
        assert Path(store.run(run.key).result["path"]).read_bytes() == WEIGHTS
    finally:
        launcher.stop()


def test_a_licence_that_was_not_accepted_fails_the_run_in_words(home, worker_hub):
    store = open_store(home)
    run = request_run(store, "download", {"backbone": "echo", "accepted": False}, "Download Echo", ANNA)
    assert execute(home) == {"failed": 1}
    assert "accept it" in store.run(run.key).reason


def command(*words, home):
    words = [sys.executable, "-m", "fmlab", "backbones", *words, "--home", str(home.path)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def test_the_command_shows_the_licence_and_wants_it_accepted(home, worker_hub):
    worker_hub.slow = 0
    refused = command("download", "echo", home=home)
    assert refused.returncode == 2
    assert "own" in refused.stderr
    assert "--accept-licence" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = command("download", "echo", "--accept-licence", home=home)
    assert done.returncode == 0, done.stderr
    assert done.stderr.index("own") < done.stderr.index("fetched")
    assert weights_file_in(done.stdout) == WEIGHTS
    assert find_backbone(home, "echo").to_accept


def weights_file_in(text):
    return Path(text.strip().split("  ")[-1]).read_bytes()
