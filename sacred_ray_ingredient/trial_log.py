"""Files with what a trial prints, beside the record: ``ray.log_to_file``.

With two names, what Python prints goes to them. With one, so does what child processes print,
where Sacred captures that too: then the file takes it first, and Sacred reads it from there.
Where the folder of the trial is not seen, a thread brings home what is new.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sacred_ray_ingredient import capture
from sacred_ray_ingredient.storage import PIECE, StoredTrial

# Seconds between two times that new lines are brought home.
_SEND_S = 2.0
# Where a file can only be written whole; and times as long as the last time took.
_SEND_WHOLE_S, _REST = 15.0, 20

_log = logging.getLogger(__name__)

# Descriptors of the files of the trial that runs, by name of the stream.
_open_files: dict[str, int] = {}


class _Tee:
    """A text stream that also writes to the file of the trial that runs."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> Any:
        written = self._stream.write(text)
        file = _open_files.get(self._name)
        if file is not None:
            if capture.is_log_captured():
                self._stream.flush()  # it leads to the file
            else:
                capture.write_all(file, text.encode("utf-8", "replace"))
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def use_log_files() -> None:
    """Let standard output and error of Python lead to the files of trials from now on too."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _Tee):
            setattr(sys, name, _Tee(stream, name))


@contextlib.contextmanager
def logged(stored: StoredTrial, segment: int) -> Iterator[list[str]]:
    """Write what a trial prints to its files, for the time of the block.

    Parameters
    ----------
    stored
        The place for the files of the attempt.
    segment
        Number of the part of the attempt; each has files of its own.

    Yields
    ------
    list of str
        Paths or URLs of the files.
    """
    storage = stored.storage
    if not storage.log_names:
        yield []
        return
    use_log_files()
    names = [_with_segment(name, segment) for name in storage.log_names]
    places = [stored.place(name) for name in names]
    if storage.is_plain:
        Path(stored.place()).mkdir(parents=True, exist_ok=True)
        with _written([Path(place) for place in places]):
            yield places
        return
    folder = Path(tempfile.mkdtemp(prefix="sacred-ray-"))
    try:
        paths = [folder / name for name in names]
        with _Sender(stored, paths, places), _written(paths):
            yield places
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_segment(name: str, segment: int) -> str:
    if not segment:
        return name
    path = Path(name)
    return f"{path.stem}-{segment}{path.suffix}"


@contextlib.contextmanager
def _written(paths: Sequence[Path]) -> Iterator[None]:
    """Let the streams lead to one file or two."""
    files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666) for path in paths]
    _open_files.update(stdout=files[0], stderr=files[-1])
    capture.set_log(paths[0] if len(paths) == 1 else None)
    try:
        yield
    finally:
        capture.set_log(None)
        _open_files.clear()
        for file in files:
            os.close(file)


class _Sender:
    """Brings files home while they grow, and once more at the end."""

    def __init__(self, stored: StoredTrial, paths: Sequence[Path], places: Sequence[str]) -> None:
        self._stored = stored
        self._files = [
            (path, *stored.storage.locate(place)) for path, place in zip(paths, places, strict=True)
        ]
        self._sent = dict.fromkeys(paths, 0)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._send_again, name="trial-log", daemon=True)

    def __enter__(self) -> _Sender:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._try_to_send(logging.WARNING)

    def _send_again(self) -> None:
        is_whole = self._stored.storage.is_url
        pause = _SEND_WHOLE_S if is_whole else _SEND_S
        while not self._is_over.wait(pause):
            began = time.monotonic()
            self._try_to_send(logging.DEBUG)
            if is_whole:
                pause = max(_SEND_WHOLE_S, _REST * (time.monotonic() - began))

    def _try_to_send(self, level: int) -> None:
        for path, filesystem, target in self._files:
            try:
                self._send(path, filesystem, target)
            except Exception as error:  # the trial goes on, and so does its record
                _log.log(level, "the log %s cannot be brought home: %s", target, error)

    def _send(self, path: Path, filesystem: Any, target: str) -> None:
        size = path.stat().st_size if path.exists() else 0
        sent = self._sent[path]
        if size == sent and (sent or not self._is_over.is_set()):
            return
        begin = 0 if self._stored.storage.is_url or size < sent else sent
        if begin:
            stream = filesystem.open_append_stream(target)
        else:
            filesystem.create_dir(target.rpartition("/")[0], recursive=True)
            stream = filesystem.open_output_stream(target)
        with stream, path.open("rb") as file:
            file.seek(begin)
            left = size - begin
            while left and (block := file.read(min(PIECE, left))):
                stream.write(block)
                left -= len(block)
        self._sent[path] = size
