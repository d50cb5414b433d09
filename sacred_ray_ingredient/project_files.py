"""Which files are the code of the user's project: what is imported of it and what lies beside.

Code of Python itself and of installed packages is not; that of a package that is installed
editable, with its source elsewhere, is.
"""

from __future__ import annotations

import functools
import importlib.machinery
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

MOST_FILES = 2_000
MOST_BYTES = 20 * 2**20
# Files and folders of any kind that are looked at.
MOST_ENTRIES = 50_000
_INIT = "__init__.py"
_PACKAGE = __name__.partition(".")[0]
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+(?P<one>\w+)|import[ \t]+(?P<many>[\w.]+(?:[ \t]*,[ \t]*[\w. \t]+)*))",
    re.MULTILINE,
)


class TooMuch(Exception):
    """There is more than what belongs to a project, usually data or other projects."""


@dataclass(frozen=True)
class ModuleFile:
    """A module and its file.

    Parameters
    ----------
    name
        What it is imported as.
    path
        Absolute path.
    is_package
        Whether it is the ``__init__.py`` of a package.
    root
        Folder that it is imported from; None for one that was loaded under a name that has
        nothing to do with its place.
    """

    name: str
    path: str
    is_package: bool
    root: str | None

    @property
    def label(self) -> str:
        """Path relative to the root, with ``/``."""
        if self.root is None:
            return os.path.basename(self.path)
        return os.path.relpath(self.path, self.root).replace(os.sep, "/")


def loaded_modules() -> dict[str, ModuleFile]:
    """List by name the modules of the project that this process has imported."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name == "__main__" or not issubclass(type(module), ModuleType):
            continue
        # Not getattr: it would make a lazily loaded module load.
        path = object.__getattribute__(module, "__dict__").get("__file__")
        if isinstance(path, str) and is_project_file(path):
            found[name] = module_file(name, path)
    return found


def script_file(name: str, path: str) -> ModuleFile:
    """Describe a script by the name that it is imported as and its file."""
    path = os.path.abspath(path)
    return ModuleFile(name, path, False, os.path.dirname(path))


def module_file(name: str, path: str) -> ModuleFile:
    """Describe a module by its name and file."""
    path = os.path.abspath(path)
    is_package = os.path.basename(path) == _INIT
    inside = [*name.split("."), _INIT] if is_package else [*name.split(".")[:-1], ""]
    if not is_package:
        inside[-1] = f"{name.rpartition('.')[2]}.py"
    below = os.sep + os.path.join(*inside)
    root = path.removesuffix(below) or os.sep if path.endswith(below) else None
    return ModuleFile(name, path, is_package, root)


def is_project_file(path: str) -> bool:
    """Tell whether a file is Python source outside Python itself and its installed packages."""
    here = os.path.abspath(path)
    # The links are followed last: most of what is loaded is not of the project at first sight.
    if not path.endswith(".py") or _is_installed(here) or not os.path.isfile(here):
        return False
    return not _is_installed(os.path.realpath(here))


def _is_installed(path: str) -> bool:
    if "site-packages" in path or "dist-packages" in path:
        parts = path.split(os.sep)
        if "site-packages" in parts or "dist-packages" in parts:
            return True
    return path.startswith(_not_project())


@functools.cache
def _not_project() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages(), str(Path(__file__).parent)]
    both = {form(folder) for folder in folders for form in (os.path.abspath, os.path.realpath)}
    return tuple(folder.rstrip(os.sep) + os.sep for folder in both)


class Search:
    """Looks for the code beside what is loaded, within bounds.

    Parameters
    ----------
    loaded
        Modules of the project by name.
    """

    def __init__(self, loaded: Mapping[str, ModuleFile]) -> None:
        self.found = dict(loaded)
        self._with_root = [file for file in loaded.values() if file.root is not None]
        self._roots = sorted({str(file.root) for file in self._with_root})
        self._asked = {name.partition(".")[0] for name in loaded}
        self._seen: set[str] = set()
        self._entries = 0

    def run(self) -> None:
        """Find whole packages of loaded modules and the single modules beside loaded ones.

        Raises
        ------
        TooMuch
            If there is more than a project has.
        """
        for file in self._with_root:
            first, *below = file.label.split("/")
            if below:
                self._take_package(first, os.path.join(str(file.root), first))
            else:
                self._take_single(str(file.root))

    def follow_imports(self, source: bytes) -> list[ModuleFile]:
        """Find what a source imports, at the top or within functions, of other packages.

        Parameters
        ----------
        source
            Of a module of the project.

        Returns
        -------
        list
            What was not found before.

        Raises
        ------
        TooMuch
            If there is more than a project has.
        """
        before = set(self.found)
        for name in imported_names(source) - self._asked:
            self._asked.add(name)
            for folder in (os.path.join(root, name) for root in self._roots):
                if not os.path.isdir(folder) or not _is_found_there(name, folder):
                    continue
                self._take_package(name, folder)
        return [file for name, file in self.found.items() if name not in before]

    def _take_single(self, root: str) -> None:
        for entry in self._scan(root):
            name = entry.name.removesuffix(".py")
            if name != entry.name and name not in self.found and _is_found_there(name, entry.path):
                self._take(name, entry.path)

    def _take_package(self, name: str, folder: str) -> None:
        for entry in self._scan(folder):
            if entry.name == _INIT:
                self._take(name, entry.path)
            elif entry.name.endswith(".py"):
                self._take(f"{name}.{entry.name.removesuffix('.py')}", entry.path)
            elif entry.name.isidentifier() and entry.is_dir() and not _is_apart(entry):
                self._take_package(f"{name}.{entry.name}", entry.path)

    def _scan(self, folder: str) -> list[os.DirEntry[str]]:
        """List a folder, each one once."""
        if folder in self._seen:
            return []
        self._seen.add(folder)
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return []
        self._entries += len(listed)
        if self._entries > MOST_ENTRIES:
            raise TooMuch
        return listed

    def _take(self, name: str, path: str) -> None:
        if name in self.found or not all(part.isidentifier() for part in name.split(".")):
            return
        self.found[name] = module_file(name, path)
        if len(self.found) > MOST_FILES:
            raise TooMuch


def imported_names(source: bytes) -> set[str]:
    """Return the top-level names that a source imports, as far as lines show them."""
    names = set()
    for match in _IMPORT.finditer(source):
        listed = match["one"] or match["many"]
        words = [part.split() for part in listed.decode("utf-8", "replace").split(",")]
        names |= {word[0].partition(".")[0] for word in words if word}
    return names


def _is_apart(folder: os.DirEntry[str]) -> bool:
    """Tell whether a folder is none of the project: a cache, a virtual environment, a link."""
    if folder.name in {"__pycache__", "node_modules"} or folder.is_symlink():
        return True
    return os.path.isfile(os.path.join(folder.path, "pyvenv.cfg"))


def _is_found_there(name: str, path: str) -> bool:
    """Tell whether Python would import a top-level name from this place, and no other before it."""
    if name in sys.builtin_module_names or name in {_PACKAGE, "__main__"}:
        return False
    if name in sys.modules:
        namespace = getattr(sys.modules[name], "__dict__", {})
        places = [namespace.get("__file__"), *(namespace.get("__path__") or ())]
    else:
        spec = importlib.machinery.PathFinder.find_spec(name)
        if spec is None:  # in a folder that Python is not told of yet, as beside a script
            return True
        places = [spec.origin, *(spec.submodule_search_locations or ())]
    here = os.path.realpath(path)
    return here in {os.path.realpath(place) for place in places if isinstance(place, str)}


def sources_of(files: Iterable[ModuleFile], most_bytes: int | None) -> dict[ModuleFile, bytes]:
    """Read files; what cannot be read is left out.

    Parameters
    ----------
    files
        Modules.
    most_bytes
        Bound for all of them, or None for none.

    Raises
    ------
    TooMuch
        If they are larger.
    """
    sources: dict[ModuleFile, bytes] = {}
    total = 0
    for file in files:
        try:
            if most_bytes is not None and os.path.getsize(file.path) + total > most_bytes:
                raise TooMuch
            sources[file] = Path(file.path).read_bytes()
        except OSError:
            continue
        total += len(sources[file])
    return sources
