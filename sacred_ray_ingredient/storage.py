"""Where checkpoints and logs of trials are kept: in a folder, or where a URL says.

A folder need not be seen by every node of a cluster; from those that do not see it, files are
carried by Ray, see `sacred_ray_ingredient.cluster.carried_storage`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.storage_url import is_url, open_url
from sacred_ray_ingredient.tasks import TrialTask

if TYPE_CHECKING:
    from sacred_ray_ingredient.cluster.carried_storage import Carrier

PARTIAL = ".partial"
# Lies in a checkpoint that is kept where nothing can be renamed, once all else of it is there.
WHOLE = ".whole"
# Bytes that are in memory at once while a file is copied.
PIECE = 4 * 2**20

_CHECKPOINT = re.compile(r"checkpoint_(\d{6,})")


@dataclass(frozen=True)
class Storage:
    """A place for the files of a job's trials; plain data, which travels to the workers.

    Parameters
    ----------
    root
        Absolute path of a folder, or a URL.
    job
        Name of the folder in it that is the job's own.
    log_names
        Names of the files for what trials print: none, one for all, or two, for standard output
        and error.
    carrier
        Brings files to the folder from where it is not seen; None where every process sees it.
    """

    root: str
    job: str = ""
    log_names: tuple[str, ...] = ()
    carrier: Carrier | None = None

    @classmethod
    def at(cls, path: str | os.PathLike[str], log_to_file: Any = None) -> Storage:
        """Read ``ray.storage_path`` and ``ray.log_to_file``, in which there is no mistake.

        Parameters
        ----------
        path
            A folder, or a URL.
        log_to_file
            Whether trials have files for what they print; or the name of one for all, or two.
        """
        text = os.fspath(path)
        if text.lower().startswith("file://"):
            text = unquote(urlsplit(text).path)
        if not is_url(text):
            text = str(Path(text).expanduser().absolute())
        names: Sequence[str] = ("stdout", "stderr") if log_to_file is True else log_to_file or ()
        if isinstance(names, str):
            names = [names]
        return cls(text, log_names=tuple(names))

    @property
    def is_url(self) -> bool:
        """Whether files are kept where a URL says."""
        return is_url(self.root)

    @property
    def is_plain(self) -> bool:
        """Whether this process sees the folder, and needs nobody to write there."""
        return not self.is_url and (self.carrier is None or self.carrier.is_here)

    def of_job(self, name: str) -> Storage:
        """Return the part for a job."""
        return replace(self, job=name)

    def of_trial(self, trial: TrialTask) -> StoredTrial:
        """Return the part for an attempt of a trial."""
        return StoredTrial(self, f"trial-{trial.index:05d}-{trial.attempt}")

    def under(self, *names: str) -> str:
        """Return the path, or the URL, of something in the job's own folder."""
        start, mark, query = self.root.partition("?") if self.is_url else (self.root, "", "")
        words = [start.rstrip("/"), *(name for name in (self.job, *names) if name)]
        return "/".join(words) + mark + query

    def locate(self, place: str) -> tuple[Any, str]:
        """Return the file system of pyarrow that has a path or URL, and the path within it.

        Parameters
        ----------
        place
            A path or URL, which need not be one of this storage.
        """
        if is_url(place):
            own, found = self.root.partition("?")[0].rstrip("/"), place.partition("?")[0]
            if not found.startswith(own + "/"):
                return open_url(place)
            filesystem, path = open_url(self.root)
            return filesystem, path.rstrip("/") + found[len(own) :]
        if self.carrier is not None:
            return self.carrier.filesystem(), place
        from pyarrow import fs

        return fs.LocalFileSystem(), place

    @contextlib.contextmanager
    def opened(self, place: str | None) -> Iterator[Path | None]:
        """Give a checkpoint as a folder of this machine, for the time of the block.

        Parameters
        ----------
        place
            Path or URL of it.

        Yields
        ------
        pathlib.Path or None
            None where there is no such checkpoint.
        """
        if place is None:
            yield None
            return
        here = None if is_url(place) or not Path(place).is_dir() else Path(place)
        if not is_url(place) and (self.carrier is None or self.carrier.is_here):
            yield here
            return
        with self.opened_within(*self.locate(place)) as folder:
            yield folder or here

    @contextlib.contextmanager
    def opened_within(self, filesystem: Any, path: str) -> Iterator[Path | None]:
        """Give a checkpoint as a folder of this machine, for the time of the block.

        Parameters
        ----------
        filesystem, path
            What `locate` returns for it.

        Yields
        ------
        pathlib.Path or None
            None where there is no such checkpoint.
        """
        from pyarrow import fs

        if self.is_plain and Path(path).is_dir():
            yield Path(path)
            return
        if filesystem.get_file_info(path).type != fs.FileType.Directory:
            yield None
            return
        folder = Path(tempfile.mkdtemp(prefix="sacred-ray-"))
        try:
            _copy(path, str(folder), source_filesystem=filesystem)
            (folder / WHOLE).unlink(missing_ok=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def mistake_here(self) -> str | None:
        """Try to write, where a URL is given.

        Returns
        -------
        str or None
            A sentence if this process cannot write there.
        """
        if not self.is_url:
            return None
        try:
            whole = replace(self, job="")
            filesystem, path = self.locate(whole.under(f".sacred-ray-{os.urandom(8).hex()}"))
            with filesystem.open_output_stream(path):
                pass
            filesystem.delete_file(path)
        except (OSError, ValueError, ImportError) as error:
            first_line = str(error).strip().partition("\n")[0]
            return (
                f"ray.storage_path is {self.root!r}, where nothing can be written ({first_line}); "
                "look at the name, whether it exists, and whether the environment of this process "
                "has the keys for it."
            )
        return None

    def check(self) -> None:
        """Make sure that the driver can write where a URL says.

        Raises
        ------
        ConfigMistakes
            If it cannot.
        """
        sentence = self.mistake_here()
        if sentence is not None:
            raise ConfigMistakes([sentence])


class StoredTrial:
    """The files of an attempt of a trial.

    Parameters
    ----------
    storage
        Of the job.
    name
        Of the folder of the attempt.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage = storage
        self._name = name
        self._next: int | None = None
        self._kept_last: str | None = None

    def place(self, name: str = "") -> str:
        """Return the path or URL of something in the folder, or of the folder."""
        return self.storage.under(self._name, name)

    def keep(self, checkpoint: Path) -> str:
        """Copy a checkpoint to where it stays.

        While it is only partly there, it does not look like a whole one: it has another name, or,
        where nothing can be renamed, it lacks a mark.

        Parameters
        ----------
        checkpoint
            A folder of this machine.

        Returns
        -------
        str
            Its path, or its URL.
        """
        if self._next is None:
            self._next = max((number for number, _ in self._kept()), default=-1) + 1
        name = f"checkpoint_{self._next:06d}"
        if self.storage.is_plain:
            self._keep_plain(checkpoint, name)
        else:
            self._keep_elsewhere(checkpoint, name)
        self._next += 1
        self._kept_last = self.place(name)
        return self._kept_last

    def take_kept(self) -> str | None:
        """Return where the last checkpoint has been put, if there is a new one since last asked."""
        kept, self._kept_last = self._kept_last, None
        return kept

    def _keep_plain(self, checkpoint: Path, name: str) -> None:
        folder = Path(self.place(name))
        partial = folder.with_name(name + PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(checkpoint, partial)
        os.replace(partial, folder)

    def _keep_elsewhere(self, checkpoint: Path, name: str) -> None:
        filesystem, folder = self.storage.locate(self.place(name))
        target = folder if self.storage.is_url else folder + PARTIAL
        filesystem.create_dir(target, recursive=True)
        _copy(str(checkpoint), target, destination_filesystem=filesystem)
        if self.storage.is_url:
            with filesystem.open_output_stream(f"{target}/{WHOLE}"):
                pass
        else:
            filesystem.move(target, folder)

    def last_checkpoint(self) -> str | None:
        """Return the path or URL of the last whole checkpoint, if there is one."""
        for number, name in sorted(self._kept(), reverse=True):
            if not name.endswith(PARTIAL) and self._is_whole(name):
                return self.place(f"checkpoint_{number:06d}")
        return None

    def _is_whole(self, name: str) -> bool:
        if not self.storage.is_url:
            return True
        filesystem, folder = self.storage.locate(self.place(name))
        return bool(filesystem.get_file_info(f"{folder}/{WHOLE}").is_file)

    def _kept(self) -> list[tuple[int, str]]:
        """Return number and name of what is there of checkpoints, partial ones included."""
        matches = ((_CHECKPOINT.match(name), name) for name in self._names())
        return [(int(match[1]), name) for match, name in matches if match is not None]

    def _names(self) -> list[str]:
        if self.storage.is_plain:
            with contextlib.suppress(FileNotFoundError):
                return os.listdir(self.place())
            return []
        from pyarrow import fs

        filesystem, folder = self.storage.locate(self.place())
        found = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        return [each.base_name for each in found]


def _copy(source: str, target: str, **filesystems: Any) -> None:
    from pyarrow import fs

    fs.copy_files(source, target, chunk_size=PIECE, use_threads=False, **filesystems)
