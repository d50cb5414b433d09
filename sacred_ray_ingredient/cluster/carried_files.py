"""A file system of pyarrow whose files are in a folder of another node.

It uses the folder itself where that is seen, and asks the keeper of it elsewhere. At most a few
pieces of a file are on their way at once, so that a large one needs no more memory than a small
one.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow
from pyarrow import fs

from sacred_ray_ingredient.storage import PIECE

if TYPE_CHECKING:
    from sacred_ray_ingredient.cluster.carried_storage import Carrier

# Pieces of a file that are on their way at once.
_ON_THE_WAY = 2


def _info(path: str, kind: int, size: int | None, changed: int | None) -> Any:
    return fs.FileInfo(path, fs.FileType(kind), size=-1 if size is None else size, mtime_ns=changed)


class CarriedFiles(fs.FileSystemHandler):
    """What pyarrow asks of a file system, answered by the keeper or by the folder itself.

    Parameters
    ----------
    carrier
        Knows the keeper.
    """

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._local = fs.LocalFileSystem() if carrier.is_here else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Be made anew in another process, which may see the folder or not."""
        return CarriedFiles, (self._carrier,)

    def __eq__(self, other: object) -> bool:
        """Two are the same if they lead to the same folder."""
        return isinstance(other, CarriedFiles) and other._carrier == self._carrier

    def __hash__(self) -> int:
        """Go together with `__eq__`."""
        return hash(self._carrier)

    def get_type_name(self) -> str:
        """Name the kind of file system."""
        return "carried"

    def normalize_path(self, path: str) -> str:
        """Return a path as it is."""
        return path

    def get_file_info(self, paths: list[str]) -> list[Any]:
        """Return what is at some paths."""
        if self._local is not None:
            return list(self._local.get_file_info(paths))
        return [_info(*each) for each in self._get("about", list(paths))]

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        """Return what is in a folder."""
        if self._local is not None:
            return list(self._local.get_file_info(selector))
        asked = selector.base_dir, selector.allow_not_found, selector.recursive
        return [_info(*each) for each in self._get("within", *asked)]

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder."""
        self._change("create_dir", path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        """Delete a folder and what is in it."""
        self._change("delete_dir", path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Delete what is in a folder."""
        self._change("delete_dir_contents", path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        """Refuse to delete all there is."""
        raise PermissionError("The root of a file system is not emptied.")

    def delete_file(self, path: str) -> None:
        """Delete a file."""
        self._change("delete_file", path)

    def copy_file(self, source: str, target: str) -> None:
        """Copy a file."""
        self._change("copy_file", source, target)

    def move(self, source: str, target: str) -> None:
        """Rename a file or a folder."""
        if self._local is not None:
            self._local.move(source, target)
        else:
            self._get("move", source, target)

    def open_input_stream(self, path: str) -> Any:
        """Open a file for reading from its beginning."""
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> Any:
        """Open a file for reading."""
        if self._local is not None:
            return self._local.open_input_file(path)
        return pyarrow.PythonFile(_Incoming(self._carrier, path, self._size(path)), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        """Open a file for writing, empty."""
        if self._local is not None:
            return self._local.open_output_stream(path)
        self._get("create", path)
        return pyarrow.PythonFile(_Outgoing(self._carrier, path, 0), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        """Open a file for writing at its end."""
        if self._local is not None:
            return self._local.open_append_stream(path)
        return pyarrow.PythonFile(_Outgoing(self._carrier, path, self._size(path)), mode="w")

    def _size(self, path: str) -> int:
        (found,) = self.get_file_info([path])
        if not found.is_file:
            raise FileNotFoundError(f"{path} is no file on the node that keeps the folder")
        return int(found.size)

    def _change(self, how: str, *paths: str, **options: Any) -> None:
        if self._local is not None:
            change: Callable[..., Any] = getattr(self._local, how)
            change(*paths, **options)
        else:
            self._get("change", how, *paths, **options)

    def _get(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._carrier.answer(self._carrier.ask(method, *arguments, **options))


class _Outgoing(io.RawIOBase):
    """A file that is written elsewhere, piece by piece."""

    def __init__(self, carrier: Carrier, path: str, position: int) -> None:
        super().__init__()
        self._carrier = carrier
        self._path = path
        self._position = position
        self._rest = bytearray()
        self._sent: deque[Any] = deque()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position + len(self._rest)

    def write(self, data: Any) -> int:
        with memoryview(data).cast("B") as view:
            for start in range(0, len(view), PIECE):
                self._rest += view[start : start + PIECE]
                while len(self._rest) >= PIECE:
                    self._send(PIECE)
            return len(view)

    def flush(self) -> None:
        if self.closed:
            return
        if self._rest:
            self._send(len(self._rest))
        self._wait(0)

    def close(self) -> None:
        if not self.closed:
            try:
                self.flush()
            finally:
                super().close()

    def _send(self, count: int) -> None:
        self._wait(_ON_THE_WAY - 1)
        piece = bytes(self._rest[:count])
        del self._rest[:count]
        self._sent.append(self._carrier.ask("write", self._path, self._position, piece))
        self._position += len(piece)

    def _wait(self, most: int) -> None:
        while len(self._sent) > most:
            self._carrier.answer(self._sent.popleft())


class _Incoming(io.RawIOBase):
    """A file that is read from elsewhere; while a piece is used, the next is on its way."""

    def __init__(self, carrier: Carrier, path: str, size: int) -> None:
        super().__init__()
        self._carrier = carrier
        self._path = path
        self._size = size
        self._position = 0
        self._start = 0
        self._piece = b""
        self._coming: deque[tuple[int, Any]] = deque()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def size(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        at = self._position - self._start
        if not 0 <= at < len(self._piece):
            self._take_piece()
            at = 0
        found = self._piece[at : at + len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def read(self, size: int = -1) -> bytes:
        wanted = self._size - self._position if size is None or size < 0 else size
        found = bytearray()
        while wanted > 0 and (block := super().read(min(wanted, PIECE))):
            found += block
            wanted -= len(block)
        return bytes(found)

    def _take_piece(self) -> None:
        if not self._coming or self._coming[0][0] != self._position:
            self._coming.clear()
        begin = self._coming[-1][0] + PIECE if self._coming else self._position
        while len(self._coming) < _ON_THE_WAY and (begin < self._size or not self._coming):
            self._coming.append((begin, self._carrier.ask("read", self._path, begin, PIECE)))
            begin += PIECE
        self._start, answer = self._coming.popleft()
        self._piece = self._carrier.answer(answer)
