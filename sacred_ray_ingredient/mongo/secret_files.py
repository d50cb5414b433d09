"""Files that hold one secret each: for their user only, whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from sacred_ray_ingredient.errors import DatabaseError


def ensure_secret(path: Path, new: str) -> None:
    """Write a secret where there is none, at no moment readable by others.

    Parameters
    ----------
    path
        The file; a secret that it holds already stays.
    new
        The secret to write otherwise.

    Raises
    ------
    OSError
        If the file cannot be written.
    DatabaseError
        If a file is there that cannot be read.
    """
    if read_secret(path):
        path.chmod(0o600)
        return
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(new)
    # Whole or not at all, whenever this command is killed.
    partial.replace(path)


def read_secret(path: Path) -> str | None:
    """Return the secret in a file, or None where there is no file.

    Raises
    ------
    DatabaseError
        If the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseError(
            f"The file {path} of the project's MongoDB cannot be read; only the user who started "
            "the server can use it."
        ) from error
