"""Files that a journal keeps until the database has them, under the digest of their content."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DIGEST = re.compile("[0-9a-f]{64}")
_BLOCK = 2**20


class KeptFiles:
    """The folder beside a journal, and the memory where the disk is full.

    Parameters
    ----------
    journal
        Path of the journal.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._in_memory: dict[str, bytes] = {}

    @functools.cached_property
    def _folder(self) -> Path:
        return folder_of(self._journal)

    @property
    def were_used(self) -> bool:
        """Whether something was kept or looked for, so that there may be a folder."""
        return "_folder" in self.__dict__

    def keep_bytes(self, content: bytes) -> str:
        """Keep content; return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        if not self._has(digest):
            try:
                with self._new_file(digest) as part:
                    part.write(content)
            except OSError:
                self._in_memory[digest] = content
        return digest

    def keep_file(self, source: str | os.PathLike[str]) -> str:
        """Copy a file, which may be gone or changed before the database has it.

        Parameters
        ----------
        source
            The file.

        Returns
        -------
        str
            SHA-256 of the content, under which it is found again.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        with open(source, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(_BLOCK):
                digest.update(block)
            found = digest.hexdigest()
            if not self._has(found):
                file.seek(0)
                try:
                    with self._new_file(found) as part:
                        shutil.copyfileobj(file, part, _BLOCK)
                except OSError:
                    file.seek(0)
                    self._in_memory[found] = file.read()
        return found

    def content(self, digest: str) -> bytes | None:
        """Return what was kept; None where it is not there, or is something else by now."""
        if digest in self._in_memory:
            return self._in_memory[digest]
        # A journal of others names no file outside its folder.
        if not is_digest(digest):
            return None
        try:
            content = (self._folder / digest).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == digest else None

    def _has(self, digest: str) -> bool:
        return digest in self._in_memory or (self._folder / digest).exists()

    @contextlib.contextmanager
    def _new_file(self, digest: str) -> Iterator[Any]:
        """Write under another name, so that a file is there whole or not at all."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._folder / f"{digest}.part{os.getpid()}"
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._folder / digest)
        finally:
            part.unlink(missing_ok=True)


def is_digest(name: Any) -> bool:
    """Tell whether a file may have this name in the folder of a journal."""
    return _DIGEST.fullmatch(str(name)) is not None


def folder_of(journal: Path) -> Path:
    """Return the folder for the files that a journal keeps."""
    return journal.with_suffix(".files")
