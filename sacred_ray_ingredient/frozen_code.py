"""The project's code as it is when a sweep starts: what its trials run, whatever is edited later.

It is plain data: names, paths and source text. It travels to the workers with the sweep, where
`frozen_import` serves it, and into the database as an archive.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import json
import os
import sys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sacred_ray_ingredient.code_archive import is_label, read_archive, write_archive
from sacred_ray_ingredient.project_files import (
    MOST_BYTES,
    ModuleFile,
    Search,
    TooMuch,
    is_project_file,
    loaded_modules,
    module_file,
    script_file,
    sources_of,
)

if TYPE_CHECKING:
    from sacred_ray_ingredient.inner import InnerReference

_SCRIPT_MODULE = "__sacred_ray_script__"
# Finding the differences of longer files would take minutes.
_MOST_LINES = 20_000
_MINUS = "\N{MINUS SIGN}"


def script_module_name(script: str) -> str:
    """Return the name under which a script is imported.

    Other than ``__main__``, so that the script's own command line does not start.

    Parameters
    ----------
    script
        Its absolute path.
    """
    return f"{_SCRIPT_MODULE}_{hashlib.sha256(script.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class FrozenModule:
    """One module of the project.

    Parameters
    ----------
    name
        What it is imported as.
    path
        Absolute path of its file where it was frozen.
    label
        Path relative to the folder that it is imported from, with ``/``.
    is_package
        Whether it is the ``__init__.py`` of a package.
    digest
        SHA-256 of its source, in hexadecimal digits.
    """

    name: str
    path: str
    label: str
    is_package: bool
    digest: str


@dataclass(frozen=True)
class FrozenCode:
    """All modules of a project with their source.

    Parameters
    ----------
    modules
        Sorted by name; two of them can be of the same file.
    contents
        Source by digest, compressed with zlib.
    """

    modules: tuple[FrozenModule, ...]
    contents: Mapping[str, bytes] = field(repr=False, compare=False)

    @functools.cached_property
    def digest(self) -> str:
        """What tells this code from other code, wherever its files are: 64 hexadecimal digits."""
        listed = json.dumps(sorted(self.files().items()), separators=(",", ":"))
        return hashlib.sha256(listed.encode()).hexdigest()

    def source(self, module: FrozenModule) -> bytes:
        """Return the source of one of the modules, as its file had it."""
        return zlib.decompress(self.contents[module.digest])

    def files(self) -> dict[str, str]:
        """Return the digest of each file by its label."""
        return {module.label: module.digest for module in self.modules}

    def to_archive(self) -> bytes:
        """Write a zip file with the files under their labels and a list of the modules.

        Returns
        -------
        bytes
            The same for the same code in the same place.
        """
        files = {module.label: self.source(module) for module in self.modules}
        return write_archive([asdict(module) for module in self.modules], files)

    @classmethod
    def from_archive(cls, archive: bytes) -> FrozenCode:
        """Read what `to_archive` wrote; nothing of it is unpacked to the disk or imported.

        Parameters
        ----------
        archive
            From a database or a file.

        Raises
        ------
        FrozenCodeError
            If it is broken, too large, or something else.
        """
        listed, files = read_archive(archive)
        modules = tuple(FrozenModule(**fields) for fields in listed)
        return cls(modules, _contents({m.digest: files[m.label] for m in modules}))


def freeze(inner: InnerReference) -> FrozenCode:
    """Keep the code of the project as it is now.

    That is the modules of it which this process has imported, and what they may import later:
    the rest of their packages, the modules beside them, what their import statements name.

    Parameters
    ----------
    inner
        The inner experiment, which this process has loaded.

    Returns
    -------
    FrozenCode
        Of a project of unusual size only the loaded modules.
    """
    loaded = loaded_modules()
    started = [*_run_directly(), *([_script(inner.script)] if inner.script is not None else [])]
    loaded.update({file.name: file for file in started})
    try:
        sources = _with_neighbours(loaded)
    except TooMuch:
        sources = sources_of(loaded.values(), most_bytes=None)
    return _packed(sources)


def _run_directly() -> list[ModuleFile]:
    """Return what Python was started with, where it is of the project."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if not isinstance(path, str) or not is_project_file(path):
        return []
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return [module_file(spec.name, path)]
    # Under the path that a reference to an experiment in it has.
    return [_script(str(Path(path).resolve()))]


def _script(path: str) -> ModuleFile:
    return script_file(script_module_name(path), path)


def _with_neighbours(loaded: Mapping[str, ModuleFile]) -> dict[ModuleFile, bytes]:
    search = Search(loaded)
    search.run()
    sources: dict[ModuleFile, bytes] = {}
    new = list(search.found.values())
    while new:
        read = sources_of(new, MOST_BYTES - sum(map(len, sources.values())))
        sources.update(read)
        new = [found for source in read.values() for found in search.follow_imports(source)]
    return sources


def _packed(sources: Mapping[ModuleFile, bytes]) -> FrozenCode:
    modules = []
    paths: dict[str, str] = {}
    by_digest = {}
    for file in sorted(sources, key=lambda file: file.name):
        digest = hashlib.sha256(sources[file]).hexdigest()
        label = _unique_label(file, paths)
        paths[label] = file.path
        by_digest[digest] = sources[file]
        modules.append(FrozenModule(file.name, file.path, label, file.is_package, digest))
    return FrozenCode(tuple(modules), _contents(by_digest))


def _contents(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    return {digest: zlib.compress(source) for digest, source in sources.items()}


def _unique_label(file: ModuleFile, paths: Mapping[str, str]) -> str:
    """Return the label of a file, with folders before it where another file has the same."""
    label = file.label
    if not is_label(label):
        label = f"{hashlib.sha256(os.fsencode(file.path)).hexdigest()[:12]}.py"
    folder = os.path.dirname(file.path)
    while paths.get(label, file.path) != file.path:
        folder, name = os.path.split(folder)
        label = f"{name if is_label(name) else '_'}/{label}"
    return label


def differences(recorded: FrozenCode, current: FrozenCode, with_diff: bool = False) -> list[str]:
    """Say in which files the code of now is other than that of a sweep.

    Parameters
    ----------
    recorded
        What the sweep ran.
    current
        What would run now.
    with_diff
        Put a unified diff below the sentence of a changed file.

    Returns
    -------
    list of str
        One sentence per file; empty where both are the same.
    """
    old = {module.label: module for module in recorded.modules}
    new = {module.label: module for module in current.modules}
    roots = sorted({module.path.removesuffix(module.label) for module in current.modules})
    sentences = []
    for label in sorted({*old, *new}):
        if label not in old:
            if _was_looked_for(label, old):
                sentences.append(f"{label} is new")
            continue
        # What this process has no use for is not in the current code, and still may be there.
        places = [os.path.join(root, label) for root in roots] + [old[label].path]
        now = current.source(new[label]) if label in new else _first_file(places)
        if now is None:
            sentences.append(f"{label} is gone")
        elif hashlib.sha256(now).hexdigest() != old[label].digest:
            sentences.append(_changed(label, recorded.source(old[label]), now, with_diff))
    return sentences


def _was_looked_for(label: str, recorded: Iterable[str]) -> bool:
    """Tell whether a file would have been recorded, had it been there.

    A package or folder of which nothing was recorded was none that the sweep could have used.
    """
    top, *below = label.split("/")
    if below:
        return any(other.startswith(f"{top}/") for other in recorded)
    return any("/" not in other for other in recorded)


def _first_file(paths: Iterable[str]) -> bytes | None:
    for path in paths:
        # Regular files only: a path of a record can be anything.
        if path.endswith(".py") and os.path.isfile(path) and os.path.getsize(path) <= MOST_BYTES:
            return Path(path).read_bytes()
    return None


def _changed(label: str, before: bytes, now: bytes, with_diff: bool) -> str:
    old, new = _lines(before), _lines(now)
    if max(len(old), len(new)) > _MOST_LINES:
        return f"{label} has changed"
    names = (f"{label} (of the sweep)", f"{label} (now)")
    diff = list(difflib.unified_diff(old, new, *names, lineterm=""))
    added = sum(line.startswith("+") for line in diff[2:])
    removed = sum(line.startswith("-") for line in diff[2:])
    sentence = f"{label} has changed (+{added} {_MINUS}{removed} lines)"
    return "\n".join([sentence, *map(_shown, diff)]) if with_diff else sentence


def _lines(source: bytes) -> list[str]:
    try:
        return importlib.util.decode_source(source).split("\n")
    except (SyntaxError, UnicodeDecodeError):
        return source.decode("utf-8", "replace").split("\n")


def _shown(line: str) -> str:
    """Return a line without characters that a terminal takes for commands."""
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in line)
