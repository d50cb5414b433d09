"""A choice by name with arguments: ``asha``, ``asha(max_t=20)`` or ``{name: asha, max_t: 20}``."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.values import plain, show


@dataclass(frozen=True)
class Choice:
    """A searcher or scheduler as the user named it.

    Parameters
    ----------
    name
        One of the names of this package.
    arguments
        Those that the user gave, by name.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """Write the choice as text that is read back to an equal one."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({given})" if given else self.name


def read_choice(
    raw: Any, source: str, known: Collection[str], aliases: Mapping[str, str]
) -> Choice:
    """Read a choice as text or as a mapping.

    Parameters
    ----------
    raw
        ``"asha"``, ``"asha(max_t=20)"`` or ``{"name": "asha", "max_t": 20}``.
    source
        Config path that it comes from, for the sentences.
    known
        The names that can be chosen.
    aliases
        Other names of these.

    Returns
    -------
    Choice
        With the arguments as given; what they may be is for the caller to check.

    Raises
    ------
    ConfigMistakes
        If it cannot be read or names nothing that is known.
    """
    if isinstance(raw, Mapping):
        arguments = {str(name): plain(value) for name, value in raw.items()}
        name = arguments.pop("name", None)
        if not isinstance(name, str):
            raise _wrong(raw, source, "which does not say what to use under 'name'", known)
    elif isinstance(raw, str):
        name, arguments = _read_call(raw, source, known)
    else:
        raise _wrong(raw, source, "which is neither a name nor a mapping", known)
    plain_name = name.strip().lower().replace("-", "_")
    chosen = aliases.get(plain_name, plain_name)
    if chosen not in known:
        hint = did_you_mean(plain_name, {*known, *aliases})
        raise _wrong(raw, source, f"but {name!r} is none that is known{hint}", known)
    return Choice(chosen, arguments)


def _read_call(text: str, source: str, known: Collection[str]) -> tuple[str, dict[str, Any]]:
    name, parenthesis, _ = text.partition("(")
    if not parenthesis:
        return text, {}
    problem = "which cannot be read as name(argument=value, ...)"
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise _wrong(text, source, problem, known) from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise _wrong(text, source, problem, known)
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise _wrong(text, source, "whose arguments need their names", known)
    try:
        arguments = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise _wrong(text, source, "whose arguments are not all literals", known) from error
    return name, arguments


def _wrong(raw: Any, source: str, problem: str, known: Collection[str]) -> ConfigMistakes:
    names = ", ".join(sorted(known))
    return ConfigMistakes([f"{source} is {show(raw)}, {problem}; there are: {names}."])
