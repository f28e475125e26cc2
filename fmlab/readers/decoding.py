"""Decoding in parallel: files in, images out, in the order of the files and whatever happens to a process.

In: source files and how to open them. Out: lists of `DecodedImage`s, in source order.

A thread per process hands out lists of files and collects the answers in short queues, so neither a fast process nor a
long clip can fill the memory. When a process dies, its files are tried again one by one in fresh processes, and the
one that kills its process becomes a row that says so.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from queue import Empty, Full, Queue
from threading import Event, Thread

from fmlab.errors import Cancelled
from fmlab.readers.sources import DecodedImage, Decoding, SourceFile
from fmlab.readers.worker import decode_files

MOST_PROCESSES = 8
FILES_AT_ONCE = 32  # in one list: a quarter of a second of still images
AHEAD = 2  # answers of a list that may wait to be written
PATIENCE = 0.2  # seconds between two looks at whether to stop

Images = list[DecodedImage]


def decode_all(
    files: Sequence[SourceFile], decoding: Decoding, processes: int | None, cancelled: Callable[[], bool] | None
) -> Iterator[tuple[int, Images]]:
    """Pairs (files done so far, images), images in source order. With 0 processes everything happens in this one."""
    lists = list(grouped(files))
    if processes == 0:
        done = 0
        for some in lists:
            for images in decode_files(some, decoding):
                _check(cancelled)
                yield done, images
            done += len(some)
            yield done, []
        return
    wanted = processes or min(os.cpu_count() or 1, MOST_PROCESSES)
    pool = _Pool(lists, decoding, min(wanted, len(lists)))
    try:
        yield from pool.results(cancelled)
    finally:
        pool.close()


def grouped(files: Sequence[SourceFile]) -> Iterator[list[SourceFile]]:
    """Lists of about `FILES_AT_ONCE` files that do not cut a sequence of neighbouring files in two."""
    some: list[SourceFile] = []
    for file in files:
        same = some and file.row.sequence_id is not None and some[-1].row.sequence_id == file.row.sequence_id
        if len(some) >= FILES_AT_ONCE and (not same or len(some) >= 8 * FILES_AT_ONCE):
            yield some
            some = []
        some.append(file)
    if some:
        yield some


def _check(cancelled: Callable[[], bool] | None) -> None:
    if cancelled is not None and cancelled():
        raise Cancelled("The import was cancelled. Nothing was kept.")


class _Pool:
    def __init__(self, lists: list[list[SourceFile]], decoding: Decoding, processes: int) -> None:
        self._lists, self._decoding = lists, decoding
        self._answers: list[Queue[Images | BaseException | None]] = [Queue(AHEAD) for _ in lists]
        self._waiting: Queue[int] = Queue()
        for position in range(len(lists)):
            self._waiting.put(position)
        self._stopped = Event()
        self._processes = [_Process(decoding) for _ in range(processes)]
        self._threads = [Thread(target=self._serve, args=(process,), daemon=True) for process in self._processes]
        for thread in self._threads:
            thread.start()

    def results(self, cancelled: Callable[[], bool] | None) -> Iterator[tuple[int, Images]]:
        done = 0
        for position, files in enumerate(self._lists):
            while (images := self._answer(position, cancelled)) is not None:
                yield done, images
            done += len(files)
            yield done, []

    def _answer(self, position: int, cancelled: Callable[[], bool] | None) -> Images | None:
        while True:
            _check(cancelled)
            try:
                answer = self._answers[position].get(timeout=PATIENCE)
            except Empty:
                continue
            if isinstance(answer, BaseException):
                raise answer
            return answer

    def close(self) -> None:
        self._stopped.set()
        for process in self._processes:
            process.kill()  # it may be in the middle of a long clip
        for thread in self._threads:
            thread.join()

    def _serve(self, process: "_Process") -> None:
        """One thread: keeps one process busy until no list is waiting."""
        try:
            while not self._stopped.is_set():
                try:
                    position = self._waiting.get_nowait()
                except Empty:
                    return
                try:
                    self._decode(position, process)
                    self._put(position, None)
                except BaseException as error:  # handed to the importing thread, which raises it
                    self._put(position, error)
                    return
        finally:
            process.stop()

    def _put(self, position: int, answer: Images | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._answers[position].put(answer, timeout=PATIENCE)
                return
            except Full:
                continue

    def _decode(self, position: int, process: "_Process") -> None:
        files, given = self._lists[position], 0
        crashed = False
        for images in process.answers(files):
            if images is None:
                crashed = True
                break
            given += len(images)
            self._put(position, images)
            if self._stopped.is_set():
                return
        if crashed and not self._stopped.is_set():
            self._decode_singly(position, process, given)

    def _decode_singly(self, position: int, process: "_Process", given: int) -> None:
        """After a crash: file by file, leaving out the images that have been handed over already."""
        for file in self._lists[position]:
            if self._stopped.is_set():
                return
            row = file.row
            for images in process.answers([file]):
                if images is None:
                    crash = DecodedImage(row, problem="The decoder crashed on this file.")
                    images = [crash]
                elif images:
                    row = replace(images[-1].row, frame=images[-1].row.frame + 1)
                new = images[given:]
                given = max(0, given - len(images))
                self._put(position, new)


class _Process:
    """One decoding process, started when it is first needed and again after it died."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._process: subprocess.Popen[bytes] | None = None

    def answers(self, files: list[SourceFile]) -> Iterator[Images | None]:
        """Lists of images; None, and no more, if the process died over these files."""
        try:
            process = self._running()
            self._send(process, files)
            while (images := pickle.load(process.stdout)) is not None:  # type: ignore[arg-type]
                if isinstance(images, BaseException):
                    raise images
                yield images
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            self.stop()
            yield None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [sys.executable, "-m", "fmlab.readers.worker"]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
            self._send(self._process, self._decoding)
        return self._process

    @staticmethod
    def _send(process: subprocess.Popen[bytes], content: object) -> None:
        pickle.dump(content, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)  # type: ignore[arg-type]
        process.stdin.flush()  # type: ignore[union-attr]

    def kill(self) -> None:
        """End it from another thread; whoever waits for its answers sees them end."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End it and forget it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        continue  # what it had not read was lost with it
            self._process = None
