"""The project folder ``.sacred_ray``: found from anywhere in a project, private to its user."""

from __future__ import annotations

import os
from pathlib import Path

from sacred_ray_ingredient.errors import DatabaseError

HOME_VARIABLE = "SACRED_RAY_HOME"
FOLDER_NAME = ".sacred_ray"

_PROJECT_MARKS = (".git", "setup.cfg", "setup.py", "pyproject.toml")


def project_folder(start: Path | None = None) -> Path:
    """Find the folder in which this package keeps the things of a project.

    It is ``.sacred_ray`` in, first match wins: the folder that the environment variable
    ``SACRED_RAY_HOME`` names; the nearest folder from `start` upwards that has one of ours;
    the nearest that looks like the root of a project; `start`. It may not exist yet, see
    `create_project_folder`.

    Parameters
    ----------
    start
        Where to look from; the current folder by default.
    """
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser().absolute() / FOLDER_NAME
    here = (start or Path.cwd()).absolute()
    upwards = (here, *here.parents)
    for folder in upwards:
        # In a shared parent such as /tmp somebody else's would be a trap.
        if (folder / FOLDER_NAME).is_dir() and _is_ours(folder / FOLDER_NAME):
            return folder / FOLDER_NAME
    for folder in upwards:
        if any((folder / mark).exists() for mark in _PROJECT_MARKS):
            return folder / FOLDER_NAME
    return here / FOLDER_NAME


def create_project_folder(folder: Path) -> Path:
    """Create the project folder, for its user only and invisible to git.

    Parameters
    ----------
    folder
        What `project_folder` returned; nothing is changed where it exists.

    Raises
    ------
    DatabaseError
        If it cannot be created, or belongs to another user.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(folder):
            raise DatabaseError(
                f"The project folder {folder} belongs to another user, who could read the record; "
                f"set {HOME_VARIABLE} to a folder of yours."
            )
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise DatabaseError(
            f"The project folder {folder} cannot be written ({error.strerror}); set "
            f"{HOME_VARIABLE} to a folder of yours."
        ) from error
    return folder


def _is_ours(folder: Path) -> bool:
    # Root in a container works on the folders that it is given, whoever they belong to.
    return os.geteuid() in (0, folder.stat().st_uid)
