"""Frozen code as a zip file: written the same for the same code, read as data of a stranger."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from sacred_ray_ingredient.errors import FrozenCodeError

_MANIFEST = "code.json"
_FILES = "files/"
_VERSION = 1
# Far more than what is frozen, far less than what fills a memory.
_MOST_BYTES = 256 * 2**20
_MOST_FILES = 50_000
_LONGEST_TEXT = 4096
_TEXTS = ("name", "path", "label", "digest")
# Older than this no time in a zip file can be.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def write_archive(modules: Sequence[Mapping[str, Any]], files: Mapping[str, bytes]) -> bytes:
    """Write the files under their labels and a list of the modules.

    Parameters
    ----------
    modules
        The fields of each module.
    files
        Source by label.
    """
    listed = {"version": _VERSION, "modules": list(modules)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _write(archive, _MANIFEST, json.dumps(listed, indent=1).encode())
        for label in sorted(files):
            _write(archive, _FILES + label, files[label])
    return buffer.getvalue()


def read_archive(content: bytes) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Read an archive; nothing of it is unpacked to the disk or imported.

    Parameters
    ----------
    content
        From a database or a file.

    Returns
    -------
    tuple
        The fields of each module and the source of each label, as `write_archive` got them.

    Raises
    ------
    FrozenCodeError
        If it is broken, too large, or something else.
    """
    try:
        return _read(content)
    # Bytes that are no archive make zipfile raise any of these. RecursionError is a RuntimeError.
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError) as error:
        raise _broken(f"{type(error).__name__}: {error}") from error
    except (KeyError, TypeError, RuntimeError) as error:
        raise _broken(f"{type(error).__name__}: {error}") from error


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _NO_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    archive.writestr(entry, content)


def _broken(why: str) -> FrozenCodeError:
    return FrozenCodeError(f"The recorded code of the sweep cannot be read: {why}.")


def _read(content: bytes) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if len(entries) > _MOST_FILES or total > _MOST_BYTES:
            raise _broken(f"it is too large, {len(entries):,} files with {total:,} bytes")
        manifest = json.loads(_entry(archive, _MANIFEST))
        if not isinstance(manifest, dict) or manifest.get("version") != _VERSION:
            raise _broken("its list of modules is of a version that is not known")
        modules = [_checked(module) for module in manifest["modules"]]
        digests = {module["label"]: module["digest"] for module in modules}
        if len(digests) > _MOST_FILES or len({m["name"] for m in modules}) < len(modules):
            raise _broken("its list of modules has one twice")
        files = {label: _entry(archive, _FILES + label) for label in digests}
    for label, source in files.items():
        if hashlib.sha256(source).hexdigest() != digests[label]:
            raise _broken(f"{label} is not what its digest says")
    return modules, files


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        # No more than the size that the entry claims is unpacked.
        return archive.read(name)
    except KeyError:
        raise _broken(f"{name} is not in it") from None


def _checked(module: Any) -> dict[str, Any]:
    if not isinstance(module, dict) or set(module) != {*_TEXTS, "is_package"}:
        raise _broken("its list of modules has an entry that is none")
    texts = [module[name] for name in _TEXTS]
    if not all(isinstance(text, str) and 0 < len(text) <= _LONGEST_TEXT for text in texts):
        raise _broken("its list of modules has an entry that is none")
    if not isinstance(module["is_package"], bool):
        raise _broken("its list of modules has an entry that is none")
    if not is_label(module["label"]):
        raise _broken(f"{module['label']!r} is not a path below a folder")
    return module


def is_label(text: str) -> bool:
    """Tell whether a text is a relative path that stays below its folder and can be shown."""
    path = PurePosixPath(text)
    inside = not path.is_absolute() and ".." not in path.parts and bool(path.parts)
    # "a//b" and "./a" have another spelling.
    return inside and str(path) == text and text.isprintable() and "\\" not in text
