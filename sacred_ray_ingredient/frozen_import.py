"""Lets a worker process import the project's code as it was when the sweep started.

The modules keep their names and, where their files are there too, their paths, so that data beside
them is found; only their source comes from memory. Python's own finders go on to find what is not
frozen: installed packages, compiled extensions, folders of data.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import linecache
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from sacred_ray_ingredient.frozen_code import FrozenCode, FrozenModule

_lock = threading.RLock()


@dataclass(frozen=True)
class Moved:
    """Where a project is on a node that does not have the driver's folder.

    Parameters
    ----------
    before
        Its root on the driver.
    now
        Its root here.
    """

    before: str
    now: str

    def new_path(self, path: str) -> str | None:
        """Return where a path of the driver is here; None if it is not within the root."""
        before = self.before.rstrip(os.sep)
        if path != before and not path.startswith(before + os.sep):
            return None
        return os.path.normpath(self.now + os.sep + path[len(before) :])


class FrozenLoader(SourceFileLoader):
    """Loads one module from frozen source; everything else about it is as if from its file.

    Parameters
    ----------
    fullname
        Name of the module.
    path
        Path of its file, which need not exist.
    source
        What the file had in it.
    """

    def __init__(self, fullname: str, path: str, source: bytes) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_data(self, path: str) -> bytes:
        """Return the frozen source, or the content of another file."""
        if path == self.path:
            return self._source
        frozen = frozen_source(path)
        return super().get_data(path) if frozen is None else frozen

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """Refuse: where a file has no time, no compiled code is read or written for it."""
        raise OSError(f"{path} is frozen")

    def exec_module(self, module: ModuleType) -> None:
        """Run the module; its lines are in `linecache` before that.

        Sacred reads the body of a config scope through it as soon as that is decorated.
        """
        _keep_lines(self.path, self._source)
        super().exec_module(module)


def _keep_lines(path: str, source: bytes) -> None:
    """Let tracebacks and `inspect` show frozen lines for a file."""
    try:
        lines = importlib.util.decode_source(source).split("\n")
    except (SyntaxError, UnicodeDecodeError):  # importing it will tell
        return
    # Without a time it is never compared to the file.
    linecache.cache[path] = (len(source), None, [f"{line}\n" for line in lines], path)


class FrozenFinder:
    """Finds the modules of frozen code, for ``sys.meta_path``.

    Parameters
    ----------
    code
        The frozen code.
    moved
        Where its files are here, if not where they were frozen.
    """

    def __init__(self, code: FrozenCode, moved: Moved | None = None) -> None:
        self.code = code
        self.moved = moved
        self.modules = {module.name: module for module in code.modules}
        self.namespaces = {
            name: [self._new_path(folder) or folder for folder in folders]
            for name, folders in _namespaces(code).items()
        }
        self._places: dict[str, FrozenModule] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module by its name; part of Python's import protocol."""
        module = self.modules.get(fullname)
        if module is not None:
            place = self._new_path(module.path) or _place(module, path)
            self._places[os.path.realpath(place)] = module
            loader = FrozenLoader(fullname, place, self.code.source(module))
            return importlib.util.spec_from_file_location(
                fullname,
                place,
                loader=loader,
                submodule_search_locations=[os.path.dirname(place)] if module.is_package else None,
            )
        folders = self.namespaces.get(fullname)
        return None if folders is None else _namespace_spec(fullname, folders, path)

    def serves(self, code: FrozenCode, moved: Moved | None) -> bool:
        """Tell whether this is the finder of some code in some place."""
        return self.moved == moved and (self.code is code or self.code == code)

    def invalidate_caches(self) -> None:
        """Do nothing; part of Python's import protocol."""

    def _new_path(self, path: str) -> str | None:
        return None if self.moved is None else self.moved.new_path(path)

    @functools.cached_property
    def _by_path(self) -> dict[str, FrozenModule]:
        return {os.path.realpath(module.path): module for module in self.code.modules}

    def source_at(self, path: str) -> bytes | None:
        """Return the frozen source of the file at a path, or None if it is none of the code."""
        real = os.path.realpath(path)
        module = self._places.get(real) or self._by_path.get(real)
        return None if module is None else self.code.source(module)


def install(code: FrozenCode, moved: Moved | None = None) -> None:
    """Let this process import the modules of the project from frozen code.

    Parameters
    ----------
    code
        From the driver. Given again it changes nothing; other code takes its place, and modules
        that were imported from other source are forgotten, to be imported again.
    moved
        Where the project's files are here, if not where they are on the driver.
    """
    with _lock:
        installed = _installed()
        if installed is not None and installed.serves(code, moved):
            return
        uninstall()
        finder = FrozenFinder(code, moved)
        loaded = _loaded(finder.modules)
        # All or none: one that stays could go on with functions of one that goes.
        if all(_is_same(sys.modules[name], finder.modules[name]) for name in loaded):
            for name in loaded:
                _keep_lines(str(sys.modules[name].__file__), code.source(finder.modules[name]))
        else:
            _forget(loaded)
        sys.meta_path.insert(0, finder)
        _teach_sacred()


def uninstall() -> None:
    """Take the frozen code away again, with the modules that were imported from it."""
    with _lock:
        finder = _installed()
        if finder is None:
            return
        sys.meta_path.remove(finder)
        loaded = _loaded([*finder.modules, *finder.namespaces])
        if any(map(_is_ours, loaded)):
            _forget(loaded)


def frozen_source(path: str) -> bytes | None:
    """Return the source that this process imports in the place of a file.

    Parameters
    ----------
    path
        Absolute path of the file.

    Returns
    -------
    bytes or None
        None where no frozen code is installed or the file is none of it.
    """
    finder = _installed()
    return None if finder is None else finder.source_at(path)


def _installed() -> FrozenFinder | None:
    return next((finder for finder in sys.meta_path if isinstance(finder, FrozenFinder)), None)


def _loaded(names: Iterable[str]) -> list[str]:
    return [name for name in names if name != "__main__" and name in sys.modules]


def _is_ours(name: str) -> bool:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return False
    return isinstance(spec.loader, FrozenLoader) or spec.loader_state is _NAMESPACE


def _is_same(module: ModuleType, frozen: FrozenModule) -> bool:
    """Tell whether a loaded module has the source of a frozen one."""
    path = getattr(module, "__file__", None)
    try:
        loaded_from = Path(str(path)).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(loaded_from).hexdigest() == frozen.digest


def _forget(names: Sequence[str]) -> None:
    for name in names:
        module = sys.modules.pop(name, None)
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            linecache.cache.pop(path, None)
        parent, _, last = name.rpartition(".")
        with contextlib.suppress(AttributeError):
            if getattr(sys.modules.get(parent), last, None) is module:
                delattr(sys.modules[parent], last)


def _place(module: FrozenModule, path: Sequence[str] | None) -> str:
    """Return where the file is: on another node the project can be in another folder."""
    if os.path.exists(module.path):
        return module.path
    spec = PathFinder.find_spec(module.name, path)
    origin = None if spec is None else spec.origin
    if origin is not None and os.path.basename(origin) == os.path.basename(module.path):
        return origin
    return module.path


# Marks the specs of namespace packages that are ours.
_NAMESPACE = object()


def _namespaces(code: FrozenCode) -> dict[str, list[str]]:
    """Return the folders of packages that have no ``__init__.py``, by their name."""
    names = {module.name for module in code.modules}
    folders: dict[str, list[str]] = {}
    for module in code.modules:
        parts = module.name.split(".")
        folder = os.path.dirname(module.path)
        if module.is_package:
            folder = os.path.dirname(folder)
        for depth in range(len(parts) - 1, 0, -1):
            name = ".".join(parts[:depth])
            known = folders.setdefault(name, [])
            if name not in names and folder not in known:
                known.append(folder)
            folder = os.path.dirname(folder)
    return {name: found for name, found in folders.items() if found}


def _namespace_spec(name: str, folders: list[str], path: Sequence[str] | None) -> ModuleSpec:
    # Parts of it that are not of the project are imported as ever.
    found = PathFinder.find_spec(name, path)
    elsewhere = [] if found is None else list(found.submodule_search_locations or [])
    spec = ModuleSpec(name, None, loader_state=_NAMESPACE, is_package=True)
    spec.submodule_search_locations = list(dict.fromkeys([*elsewhere, *folders]))
    return spec


def _teach_sacred() -> None:
    """Let Sacred take the digests of sources from frozen code; files are edited, or missing."""
    from sacred import dependencies

    if getattr(dependencies.Source.create, "knows_frozen_code", False):
        return
    from_file = dependencies.Source.create

    def create(filename: str, save_git_info: bool | None = True) -> Any:
        source = frozen_source(os.path.abspath(filename)) if filename else None
        if source is None:
            return from_file(filename, save_git_info)
        if not os.path.isdir(os.path.dirname(os.path.abspath(filename))):
            save_git_info = False  # no folder, no repository
        git = dependencies.get_commit_if_possible(filename, save_git_info)
        md5 = hashlib.md5(source, usedforsecurity=False).hexdigest()
        return dependencies.Source(filename, md5, *git)

    create.knows_frozen_code = True  # type: ignore[attr-defined]
    dependencies.Source.create = staticmethod(create)
