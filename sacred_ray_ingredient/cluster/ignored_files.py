"""What of a folder stays: what git ignores, ``.rayignore`` names, or is never a project's."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sacred_ray_ingredient.errors import ConfigMistakes

# Environments, caches and records, wherever they lie.
ALWAYS = (".git", ".venv", "venv", "__pycache__", "node_modules", ".sacred_ray")
_FILES = (".gitignore", ".rayignore")
# How the regular expressions of patterns end that fit a file or folder and all that is in it.
_AND_BELOW = "(?:/.*)?$"


class IgnoreRules:
    """The patterns that are in force within a folder.

    Parameters
    ----------
    root
        Absolute path of the folder that all is relative to.
    excludes
        Patterns of the user for the whole of it.
    kept
        Files that no ``.gitignore`` leaves out, relative to the root.
    """

    def __init__(self, root: str, excludes: Sequence[str] = (), kept: Sequence[str] = ()) -> None:
        self._root = root
        self._excludes = _patterns(excludes, "ray.runtime_env.excludes")
        # Each with the folder that it is about; the nearest folder's come last.
        self._by_git: list[tuple[str, list[_Pattern]]] = []
        self._by_ray: list[tuple[str, list[_Pattern]]] = []
        self._kept = set(kept)
        for name in kept:
            while "/" in name:
                name = name.rpartition("/")[0]
                self._kept.add(f"{name}/")
        self._read(self._by_git, "", ".git/info/exclude")

    def within(self, place: str) -> IgnoreRules:
        """Return the rules that hold in a folder below, with those of the files in it.

        Parameters
        ----------
        place
            Relative to the root, with ``/`` at its end; empty for the root.

        Raises
        ------
        ConfigMistakes
            If such a file cannot be read.
        """
        rules = object.__new__(IgnoreRules)
        rules.__dict__.update(self.__dict__)
        rules._by_git, rules._by_ray = list(self._by_git), list(self._by_ray)
        rules._read(rules._by_git, place, _FILES[0])
        rules._read(rules._by_ray, place, _FILES[1])
        return rules

    def leave_out(self, name: str) -> bool:
        """Tell whether a file stays; of a folder, with ``/`` at its end, all that is in it.

        Parameters
        ----------
        name
            Relative to the root.
        """
        if name.rstrip("/").rpartition("/")[2] in ALWAYS:
            return True
        if _verdict([("", self._excludes)], name) or _verdict(self._by_ray, name):
            return True
        return name not in self._kept and _verdict(self._by_git, name)

    def _read(self, known: list[tuple[str, list[_Pattern]]], place: str, file: str) -> None:
        path = os.path.join(self._root, place, file)
        if not os.path.isfile(path):
            return
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as lines:
                known.append((place, _patterns(lines.read().splitlines(), path)))
        except OSError as error:
            raise ConfigMistakes(
                [f"{path}, which says what stays here, cannot be read: {error}."]
            ) from error


def _verdict(rules: Sequence[tuple[str, list[_Pattern]]], name: str) -> bool:
    """Return what the last pattern says that fits, as git does."""
    is_ignored = False
    for place, patterns in rules:
        inside = name.removeprefix(place)
        for pattern in patterns:
            if pattern.regex.match(inside):
                is_ignored = pattern.ignores
    return is_ignored


@dataclass(frozen=True)
class _Pattern:
    """A line of an ignore file: what it fits, and whether that stays or goes along after all."""

    regex: re.Pattern[str]
    ignores: bool


def _patterns(lines: Sequence[str], source: str) -> list[_Pattern]:
    from ray._private.thirdparty.pathspec.patterns.gitwildmatch import GitWildMatchPattern

    found = []
    for line in lines:
        try:
            made = GitWildMatchPattern(line)
        except (ValueError, IndexError) as error:
            raise ConfigMistakes(
                [f"{source} has a pattern that cannot be read: {line!r}."]
            ) from error
        if made.include is not None:
            found.append(_Pattern(_of_itself(made.regex.pattern, line), made.include))
    return found


def _of_itself(regex: str, line: str) -> re.Pattern[str]:
    """Let a pattern fit a path only for what it is, and not for a folder that it lies in.

    Folders that stay are not entered. In others a pattern that fits one of them says nothing of
    what is in it, as with ``/*`` and then ``!/src``.
    """
    if regex.endswith(_AND_BELOW):
        return re.compile(regex.removesuffix(_AND_BELOW) + "/?$")
    if regex.endswith("/.*$"):
        is_folder = line.rstrip().endswith("/")
        return re.compile(regex.removesuffix("/.*$") + ("/$" if is_folder else "/.+$"))
    return re.compile(regex.removesuffix("$") + "/?$")
