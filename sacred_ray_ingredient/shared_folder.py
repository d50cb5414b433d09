"""Finding out whether another node sees the same folder: on a shared disk, or on this machine."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

_NAME = ".seen-from-"


@dataclass(frozen=True)
class FolderMark:
    """An empty file in a folder, with a name that no other folder has.

    The same path means another folder on another machine, which may well exist there too.

    Parameters
    ----------
    path
        Absolute path of the file.
    """

    path: str

    @property
    def folder(self) -> Path:
        """The folder that is marked."""
        return Path(self.path).parent

    def is_here(self) -> bool:
        """Tell whether this process sees the folder that was marked."""
        return Path(self.path).is_file()

    def remove(self) -> None:
        """Delete the file."""
        Path(self.path).unlink(missing_ok=True)


def leave_mark(folder: Path) -> FolderMark:
    """Mark a folder.

    Parameters
    ----------
    folder
        Is made if it is not there.

    Returns
    -------
    FolderMark
        Plain data, to be sent to other processes; to be removed once it is no longer needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.absolute() / f"{_NAME}{secrets.token_hex(8)}"
    path.touch(mode=0o600, exist_ok=False)
    return FolderMark(str(path))
