"""Capturing what a trial prints, at a cost that short trials can bear.

Sacred starts two ``tee`` processes for each run. In a worker, whose own output nobody watches, a
file does: everything that the process and its children print goes there, and what is new is
passed on whenever Sacred reads it. Where the trial has a log for all that it prints, that is the
file.
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sacred import stdout_capturing

_STDOUT, _STDERR = 1, 2
_BLOCK = 2**20

# Log of the trial that runs, and whether what it prints is just led there.
_log: Path | None = None
_is_log_captured = False


def set_log(path: Path | None) -> None:
    """Choose the file that all output of the next run goes to.

    Parameters
    ----------
    path
        Log of the trial; None for a file that is gone afterwards.
    """
    global _log
    _log = path


def is_log_captured() -> bool:
    """Tell whether all that is printed is led to the log already."""
    return _is_log_captured


class CapturedFile:
    """What was printed so far; has the interface of Sacred's own captured output.

    Parameters
    ----------
    file
        Descriptor of the file that standard output and error are written to.
    passed_on
        Descriptor to which everything is copied.

    Attributes
    ----------
    final : str or None
        The rest at the end, until it is taken.
    closed : bool
        Whether there is nothing more to read.
    """

    def __init__(self, file: int, passed_on: int) -> None:
        self._file = file
        self._passed_on = passed_on
        # A log may hold what was printed before the run began.
        self._position = os.fstat(file).st_size
        # A character may be cut in two where another process is just writing it.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.final: str | None = None
        self.closed = False

    def flush(self) -> None:
        """Do nothing: it is written by others."""

    def get(self) -> str:
        """Return what is new since the last call."""
        if self.final is not None:
            final, self.final = self.final, None
            return final
        return self._read()

    def finalize(self) -> None:
        """Keep the rest; the file is closed afterwards."""
        self.final = self._read() + self._decoder.decode(b"", final=True)
        self.closed = True

    def _read(self) -> str:
        # At a position of its own: the writers' is that of the open file, which all share.
        text = []
        if os.fstat(self._file).st_size < self._position:
            self._position = 0  # a program has opened its standard output anew, which empties it
        while block := os.pread(self._file, _BLOCK, self._position):
            self._position += len(block)
            write_all(self._passed_on, block)
            text.append(self._decoder.decode(block))
        return "".join(text)


@contextlib.contextmanager
def capture_in_file() -> Iterator[CapturedFile]:
    """Let standard output and error go to a file, also those of child processes.

    Stands in for ``tee_output_fd`` of Sacred, in the processes that `use_file` was called in.
    """
    global _is_log_captured
    saved = [os.dup(_STDOUT), os.dup(_STDERR)]
    with _file() as file:
        # Whoever writes, and with which position: it is added at the end.
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
        stdout_capturing.flush()
        os.dup2(file.fileno(), _STDOUT)
        os.dup2(file.fileno(), _STDERR)
        out = CapturedFile(file.fileno(), saved[0])
        _is_log_captured = _log is not None
        try:
            yield out
        finally:
            stdout_capturing.flush()
            _is_log_captured = False
            os.dup2(saved[0], _STDOUT)
            os.dup2(saved[1], _STDERR)
            out.finalize()
            for descriptor in saved:
                os.close(descriptor)


def _file() -> Any:
    return tempfile.TemporaryFile(buffering=0) if _log is None else _log.open("a+b", buffering=0)


def use_file() -> None:
    """Let Sacred's capture mode ``fd`` use a file from now on in this process."""
    sacred: Any = stdout_capturing
    sacred.tee_output_fd = capture_in_file


def write_all(descriptor: int, block: bytes) -> None:
    """Write a block as a whole, unless nobody is there who could read it.

    Parameters
    ----------
    descriptor
        Of a file or pipe.
    block
        What is written.
    """
    with contextlib.suppress(OSError):
        while block:
            block = block[os.write(descriptor, block) :]
