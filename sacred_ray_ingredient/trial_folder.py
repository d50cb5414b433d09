"""Which folder a trial runs in, on whichever node it is, and where its code seems to lie.

Where a node has the driver's own folder, relative paths mean there what they mean when the
experiment is run alone. Elsewhere the working tree of the project has come along with the sweep,
and they mean the same place within that.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.frozen_import import Moved, install
from sacred_ray_ingredient.shared_folder import FolderMark

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
# Ray's name of the folder in which it unpacks working trees.
_UNPACKED = "working_dir_files"
# What lies in it besides the project: the fields of a `TravellingTree`, and the modules.
SETUP_TREE, SETUP_CODE = ".sacred_ray_tree.json", ".sacred_ray_code.zip"


@dataclass(frozen=True)
class TravellingTree:
    """What a worker must know of the driver's folder, and of what has come along; plain data.

    Parameters
    ----------
    folder
        Current folder of the driver.
    root
        Folder of the driver whose content is unpacked on the other nodes; None where that is not
        known, or nothing came along.
    identity
        What tells the driver's folder on its machine from all others, see `identity_of`.
    mark
        Lies in the driver's folder, if there is a place for one.
    """

    folder: str
    root: str | None = None
    identity: str | None = None
    mark: FolderMark | None = None

    @property
    def place(self) -> str:
        """Where the driver's folder is within the root; ``.`` where it is not."""
        if self.root is None or not is_within(self.folder, self.root):
            return "."
        return os.path.relpath(self.folder, self.root)


@dataclass(frozen=True)
class TrialFolder:
    """What a worker has decided.

    Parameters
    ----------
    path
        Where trials run; None: where the worker is.
    moved
        From where to where the project has moved; None where the driver's folder is here.
    """

    path: str | None
    moved: Moved | None = None


def is_within(path: str, folder: str) -> bool:
    """Tell whether a path is a folder or lies below it, by their names alone."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def identity_of(folder: str) -> str | None:
    """Return what tells a folder from all others on all machines, as long as this one runs.

    Parameters
    ----------
    folder
        Absolute path.

    Returns
    -------
    str or None
        None if there is no such folder, or it cannot be told.
    """
    try:
        machine = Path(_BOOT_ID).read_text(encoding="ascii").strip()
        found = os.stat(folder)
    except OSError:
        return None
    return f"{machine}:{found.st_dev}:{found.st_ino}"


def unpacked_tree() -> str | None:
    """Return where Ray has unpacked a working tree for this process, if it has."""
    for path in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if os.path.basename(os.path.dirname(path)) == _UNPACKED and os.path.isdir(path):
            return path
    return None


def has_drivers_folder(tree: TravellingTree, code: FrozenCode | None) -> bool:
    """Tell whether this node has the folder of the driver: the same one, or an identical copy.

    Parameters
    ----------
    tree
        The driver's.
    code
        The project's modules. Those that lie in the driver's folder, or anywhere in the root,
        have to be there as the driver had them; the same path can be something else here.
    """
    if not os.path.isdir(tree.folder) or not os.access(tree.folder, os.R_OK | os.X_OK):
        return False
    if tree.mark is not None and tree.mark.is_here():
        return True
    if tree.identity is not None and identity_of(tree.folder) == tree.identity:
        return True
    around = tree.root or tree.folder
    modules = [] if code is None else [m for m in code.modules if is_within(m.path, around)]
    return bool(modules) and all(_digest(module.path) == module.digest for module in modules)


def _digest(path: str) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def choose_folder(tree: TravellingTree, code: FrozenCode | None) -> TrialFolder:
    """Decide where trials run in this process.

    Parameters
    ----------
    tree, code
        As for `has_drivers_folder`.
    """
    if has_drivers_folder(tree, code):
        return TrialFolder(tree.folder)
    unpacked = unpacked_tree()
    if unpacked is None:
        return TrialFolder(None)
    path = os.path.normpath(os.path.join(unpacked, tree.place))
    moved = None if tree.root is None else Moved(tree.root, unpacked)
    # A folder without files has not come along.
    return TrialFolder(path if os.path.isdir(path) else unpacked, moved)


# Once for all trials of a process: what is edited meanwhile moves nothing.
_chosen = functools.lru_cache(maxsize=4)(choose_folder)


def move_in(folder: str, code: FrozenCode | None, tree: TravellingTree | None) -> str | None:
    """Let this process import the project's code, and tell where its trials run.

    Parameters
    ----------
    folder
        Current folder of the driver.
    code
        The project's modules; None: as they are on the disk.
    tree
        What came along; None on the driver's own machine.

    Returns
    -------
    str or None
        None: where the process is.
    """
    if tree is None:
        chosen = TrialFolder(folder if os.path.isdir(folder) else None)
    else:
        chosen = _chosen(tree, code)
    if code is not None:
        install(code, chosen.moved)
        if tree is not None:
            _add_roots(code, chosen.moved)
    return chosen.path


def set_up_process() -> None:
    """Let a process of the cluster import the project's code, and begin in the folder of trials.

    With what has come along; called as the process starts.
    """
    unpacked = unpacked_tree()
    if unpacked is None:
        return
    about = json.loads(Path(unpacked, SETUP_TREE).read_text(encoding="utf-8"))
    mark = about["mark"] and FolderMark(**about["mark"])
    tree = TravellingTree(**{**about, "mark": mark})
    code = FrozenCode.from_archive(Path(unpacked, SETUP_CODE).read_bytes())
    path = move_in(tree.folder, code, tree)
    if path is not None:
        os.chdir(path)


@functools.lru_cache(maxsize=4)
def _add_roots(code: FrozenCode, moved: Moved | None) -> None:
    """Let what is not frozen be found too: packages without Python source, compiled modules."""
    roots = {m.path.removesuffix(m.label) for m in code.modules if m.path.endswith(m.label)}
    for root in sorted(root.rstrip(os.sep) or os.sep for root in roots):
        there = (None if moved is None else moved.new_path(root)) or root
        if os.path.isdir(there) and there not in sys.path:
            sys.path.append(there)


@contextlib.contextmanager
def in_folder(folder: str | None) -> Iterator[None]:
    """Run a trial in a folder, and leave the process as it was found.

    The next trial of the worker starts fresh.

    Parameters
    ----------
    folder
        None: where the process is.
    """
    before = os.getcwd()
    environment = dict(os.environ)
    if folder is not None:
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
