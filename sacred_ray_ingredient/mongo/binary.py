"""Finding a ``mongod`` to start: an installed one, or the one of a PyPI wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from sacred_ray_ingredient.errors import DatabaseError
from sacred_ray_ingredient.mongo.folder import create_project_folder, project_folder


def find_mongod(folder: Path | None = None) -> Path:
    """Find MongoDB's server program.

    Parameters
    ----------
    folder
        The project folder, into which the wheel's program is copied where it lies read-only
        without its run bit; found by `project_folder` by default.

    Raises
    ------
    DatabaseError
        If there is none.
    """
    installed = shutil.which("mongod")
    if installed is not None:
        return Path(installed).absolute()
    packaged = _packaged_mongod()
    if packaged is None:
        raise DatabaseError(
            "There is no mongod on the PATH and none from PyPI, so no MongoDB can be started "
            "for this project: install MongoDB's mongod, or "
            '`pip install "sacred_ray_ingredient[mongod]"` on Linux x86-64, or give a server '
            "with -m HOST:PORT:DB or SACRED_MONGO_URL, or record to files with -F DIR."
        )
    return _runnable(packaged, folder)


def _packaged_mongod() -> Path | None:
    # Looking up the top-level name runs no code of the package.
    spec = importlib.util.find_spec("fiftyone")
    for location in (spec.submodule_search_locations if spec else None) or ():
        path = Path(location) / "db" / "bin" / "mongod"
        if path.is_file():
            return path
    return None


def _runnable(program: Path, folder: Path | None) -> Path:
    if os.access(program, os.X_OK):
        return program
    try:
        program.chmod(program.stat().st_mode | 0o111)
        return program
    except OSError:
        # Installed by somebody else, or read-only: a copy of our own can be run.
        return _copy(program, folder or project_folder())


def _copy(program: Path, folder: Path) -> Path:
    copy = create_project_folder(folder) / "bin" / "mongod"
    if os.access(copy, os.X_OK) and copy.stat().st_size == program.stat().st_size:
        return copy
    # Moved into place when it is whole: another command may be looking at the same moment.
    partial = copy.with_name(f"mongod.{os.getpid()}")
    try:
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(program, partial)
        partial.chmod(0o700)
        partial.replace(copy)
    except OSError as error:
        raise DatabaseError(
            f"{program} has no run bit and cannot be copied to {copy} ({error.strerror}); install "
            "MongoDB's mongod, or give a server with -m HOST:PORT:DB or SACRED_MONGO_URL."
        ) from error
    return copy
