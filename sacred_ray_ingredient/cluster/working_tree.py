"""The project's working tree, as it goes along to the nodes of a cluster.

It is packed here, and not by Ray, which reads files that never end, fails with what it may not read
and follows links in circles; and which keeps a package of its own on the cluster for a while.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.cluster.ignored_files import IgnoreRules
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.trial_folder import is_within

# Files and folders that are looked at.
MOST_ENTRIES = 300_000
# From here on the user is told how much goes along.
LARGE_BYTES = 50 * 2**20
_PROJECT_MARKS = (".rayignore", "pyproject.toml", "setup.cfg", "setup.py")
# What the archive has of each file beside its content and twice its name, and some for the end.
_BYTES_PER_FILE = 128
_SPARE_BYTES = 2**20
_SHOWN = 5
_GIT_S = 20

_log = logging.getLogger(__name__)


def root_of(folder: str, code_paths: Sequence[str]) -> str | None:
    """Find the folder that goes along: the whole project, never all that a user has.

    Parameters
    ----------
    folder
        Current folder of the driver.
    code_paths
        Files of the project's modules.

    Returns
    -------
    str or None
        The top of the git repository that the folder is in, else the folder itself where it is
        one of a project; None for the home folder, a folder for everyone's temporary files, and
        what these lie in.
    """
    too_wide = _too_wide()
    here = Path(folder)
    for candidate in (here, *here.parents):
        if (candidate / ".git").exists():
            if str(candidate) not in too_wide:
                return str(candidate)
            break
    has_code = any(is_within(path, folder) for path in code_paths)
    has_mark = any((here / mark).exists() for mark in _PROJECT_MARKS)
    return folder if folder not in too_wide and (has_code or has_mark) else None


def _too_wide() -> set[str]:
    """Return folders that hold more than one project."""
    shared = [os.path.expanduser("~"), tempfile.gettempdir(), "/tmp", "/var/tmp"]  # noqa: S108
    paths = {form(path) for path in shared for form in (os.path.abspath, os.path.realpath)}
    return paths | {str(parent) for path in paths for parent in Path(path).parents}


@dataclass
class WorkingTree:
    """What goes along.

    Parameters
    ----------
    root
        The folder.
    sizes
        Bytes of each file, by its path relative to the root, with ``/``.
    unreadable
        What may not be read, and stays.
    """

    root: str
    sizes: dict[str, int] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())

    @property
    def packed(self) -> int:
        """Bytes of the archive, or some more."""
        names = sum(2 * len(os.fsencode(name)) + _BYTES_PER_FILE for name in self.sizes)
        return self.total + names + _SPARE_BYTES

    def largest(self, count: int = _SHOWN) -> list[tuple[str, int]]:
        """Return the files and folders that make it large, the largest first.

        Parameters
        ----------
        count
            How many at most.

        Returns
        -------
        list of (str, int)
            Path, with ``/`` at the end of a folder, and bytes. A folder most of which is in a
            single place of it is not listed, but that place is.
        """
        folders: dict[str, dict[str, int]] = {}
        for name, size in self.sizes.items():
            parts = name.split("/")
            for depth in range(len(parts)):
                above = "".join(f"{part}/" for part in parts[:depth])
                entry = above + parts[depth] + ("/" if depth + 1 < len(parts) else "")
                inside = folders.setdefault(above, {})
                inside[entry] = inside.get(entry, 0) + size
        found = dict(folders.get("", {}))
        while True:
            listed = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))[:count]
            split = next((e for e, size in listed if _has_one_cause(folders.get(e), size)), None)
            if split is None:
                return listed
            del found[split]
            found |= folders[split]

    def described(self) -> str:
        """Return its size and what makes it large, as part of a sentence."""
        listed = ", ".join(f"{name} ({size_text(size)})" for name, size in self.largest())
        count = f"{len(self.sizes):,} file" + ("" if len(self.sizes) == 1 else "s")
        return f"{size_text(self.total)} in {count}; the largest: {listed}"

    def pack(self, besides: Mapping[str, bytes] | None = None) -> Path:
        """Write it into an archive, in a file of its own that no other archive is equal to.

        Ray counts who needs an archive by its content, and deletes it with the last of them.

        Parameters
        ----------
        besides
            Further files, by their names at the top of the tree.
        """
        handle, path = tempfile.mkstemp(prefix="sacred-ray-", suffix=".zip")
        with (
            os.fdopen(handle, "wb") as file,
            zipfile.ZipFile(file, "w", strict_timestamps=False) as archive,
        ):
            archive.comment = secrets.token_hex(16).encode()
            for name, content in (besides or {}).items():
                archive.writestr(name, content)
            for name in sorted(self.sizes):
                try:
                    archive.write(os.path.join(self.root, name), name)
                except (OSError, ValueError):  # gone by now, or a name that is no text
                    self.unreadable.append(name)
        return Path(path)


def _has_one_cause(inside: Mapping[str, int] | None, size: int) -> bool:
    return bool(inside) and max(inside.values()) > 0.7 * size > 0 if inside else False


def size_text(count: int) -> str:
    """Write a number of bytes for a reader."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


def look_through(root: str, excludes: Sequence[str] = (), apart: Sequence[str] = ()) -> WorkingTree:
    """Find out what goes along.

    Parameters
    ----------
    root
        The folder.
    excludes
        Patterns in the syntax of ``.gitignore``, from ``ray.runtime_env.excludes``.
    apart
        Folders that stay, absolute.

    Raises
    ------
    ConfigMistakes
        If there are more files than a project has, or an ignore file cannot be read.
    """
    walk = _Walk(root, apart)
    walk.enter("", IgnoreRules(root, excludes, _tracked_though_ignored(root)), ())
    return walk.tree


class _Walk:
    def __init__(self, root: str, apart: Sequence[str]) -> None:
        self.tree = WorkingTree(root)
        self._apart = {os.path.realpath(path) for path in apart}
        self._entries = 0

    def enter(self, place: str, rules: IgnoreRules, above: tuple[str, ...]) -> None:
        """Look through a folder; `place` ends with ``/``, but for the root."""
        path = os.path.join(self.tree.root, place)
        real = os.path.realpath(path)
        # A link back to a folder that it lies in would never come to an end.
        if real in above or real in self._apart:
            return
        try:
            rules = rules.within(place)
            with os.scandir(path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            self.tree.unreadable.append(place or ".")
            return
        self._entries += len(listed)
        if self._entries > MOST_ENTRIES:
            raise ConfigMistakes([_too_many(self.tree.root)])
        for entry in listed:
            self._take(entry, place + entry.name, rules, (*above, real))

    def _take(
        self, entry: os.DirEntry[str], name: str, rules: IgnoreRules, above: tuple[str, ...]
    ) -> None:
        try:
            found = entry.stat()
        except OSError:  # a link that leads nowhere
            return
        if stat.S_ISDIR(found.st_mode):
            if not rules.leave_out(f"{name}/") and not _is_environment(entry.path):
                self.enter(f"{name}/", rules, above)
        elif stat.S_ISREG(found.st_mode) and not rules.leave_out(name):
            if os.access(entry.path, os.R_OK):
                self.tree.sizes[name] = found.st_size
            else:
                self.tree.unreadable.append(name)


def _is_environment(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "pyvenv.cfg"))


def _too_many(root: str) -> str:
    return (
        f"The working tree {root} has more than {MOST_ENTRIES:,} files and folders, which are too "
        f"many to go along to the nodes of a cluster. {HOW_TO_LEAVE_OUT}"
    )


HOW_TO_LEAVE_OUT = (
    "Leave out what trials do not need: in a file .rayignore there, which has the syntax of "
    ".gitignore, in .gitignore itself, or with ray.runtime_env.excludes=['/data/']. Large data "
    "belongs on a disk or in a store that the nodes reach by themselves."
)


def _tracked_though_ignored(root: str) -> list[str]:
    """List files that git keeps although a pattern would leave them out; git ignores them not."""
    command = ["git", "-C", root, "ls-files", "-z", "-c", "-i", "--exclude-standard"]
    try:
        listed = subprocess.run(  # noqa: S603
            command, capture_output=True, timeout=_GIT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):  # no git, or no repository
        return []
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def checked_tree(
    root: str, runtime_env: Mapping[str, Any], apart: Sequence[str], say: Callable[[str], None]
) -> WorkingTree:
    """Find out what goes along and whether Ray takes it.

    Parameters
    ----------
    root
        The folder.
    runtime_env
        Its ``excludes`` stay.
    apart
        Folders that stay.
    say
        Is told of a large tree and of what cannot be read.

    Raises
    ------
    ConfigMistakes
        If it is too large.
    """
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE as most

    tree = look_through(root, runtime_env.get("excludes") or (), apart)
    if tree.packed > most:
        raise ConfigMistakes(
            [
                f"The working tree {root} is too large to go along to the nodes of a cluster: Ray "
                f"takes {size_text(most)}, and this is {tree.described()}. {HOW_TO_LEAVE_OUT}"
            ]
        )
    if tree.total > LARGE_BYTES:
        say(f"Note: the working tree {root} goes along to the nodes: {tree.described()}.")
    if tree.unreadable:
        listed = ", ".join(tree.unreadable[:_SHOWN])
        more = (
            "" if len(tree.unreadable) <= _SHOWN else f" and {len(tree.unreadable) - _SHOWN} more"
        )
        say(f"Note: the nodes do not get what cannot be read in {root}: {listed}{more}.")
    return tree


@contextlib.contextmanager
def packed(tree: WorkingTree, besides: Mapping[str, bytes] | None = None) -> Iterator[Path]:
    """Give the archive of a tree, and delete it afterwards.

    Parameters
    ----------
    tree, besides
        As for `WorkingTree.pack`.
    """
    path = tree.pack(besides)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
