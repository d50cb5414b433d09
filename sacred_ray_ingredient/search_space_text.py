"""Entries of a search space under conditions, as text and as data: ``SAMPLER if CONDITION``."""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes, ResolverError
from sacred_ray_ingredient.expressions import Expression
from sacred_ray_ingredient.sampler_arguments import is_plain
from sacred_ray_ingredient.samplers import Sampler, bind, read_sampler, read_sampler_text
from sacred_ray_ingredient.values import plain, show

_WORDS = re.compile(r"\b(if|else)\b")
_KEYS = frozenset({"if", "then", "else"})


@dataclass(frozen=True)
class Case:
    """What an entry is under a condition.

    Attributes
    ----------
    sampler : Sampler or None
        What the values are from; None for a constant.
    constant : Any
        The value where there is no sampler.
    condition : Expression or None
        When the case applies; None for always.
    """

    sampler: Sampler | None
    constant: Any = None
    condition: Expression | None = None

    def text(self) -> str:
        """Write the case as text, its condition included."""
        value = self.sampler.text() if self.sampler else _literal_text(self.constant)
        return value if self.condition is None else f"{value} if {self.condition.text}"


def _literal_text(value: Any) -> str:
    # Python has no literal for infinity, but one that is too large means it.
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    return repr(value)


def is_condition_data(value: Any) -> bool:
    """Tell whether a value is a mapping with ``if``, as ``then`` and ``else`` belong to it."""
    return isinstance(value, Mapping) and "if" in value


def read_condition_text(text: str, where: str) -> tuple[Case, ...] | None:
    """Read ``A if C1 else B if C2 else C``.

    Parameters
    ----------
    text
        Any text.
    where
        Config path that it comes from, for the sentences.

    Returns
    -------
    tuple of Case or None
        None where the text does not look like it: its first part must be a sampler, a list or a
        literal.

    Raises
    ------
    ConfigMistakes
        Where it looks like it and is wrong.
    """
    parts, words = _split(text)
    if not words or _read_part(parts[0], where) is None:
        return None
    if any(word != ("if", "else")[index % 2] for index, word in enumerate(words)):
        raise _wrong_form(where, text)
    cases = []
    for index in range(0, len(parts), 2):
        case = _read_part(parts[index], where)
        if case is None:
            raise ConfigMistakes([_wrong_part(parts[index], text, where)])
        if index + 1 < len(parts):
            case = Case(case.sampler, case.constant, read_condition(parts[index + 1], where))
        cases.append(case)
    return tuple(cases)


def _wrong_form(where: str, value: Any) -> ConfigMistakes:
    return ConfigMistakes(
        [
            f"{where} is {show(value)}, which is no sampler with a condition; write "
            "'SAMPLER if CONDITION' or 'SAMPLER if CONDITION else SAMPLER'."
        ]
    )


def _wrong_part(part: str, text: str, where: str) -> str:
    if not part:
        return _wrong_form(where, text).mistakes[0]
    quoted = f"; text is written in quotes: {part!r}" if part.isidentifier() else ""
    return (
        f"{where} is {show(text)}, where {show(part)} is neither a sampler nor a list nor a "
        f"literal value{quoted}."
    )


def _split(text: str) -> tuple[list[str], list[str]]:
    """Split a text at ``if`` and ``else`` outside of brackets and quotes."""
    if _WORDS.search(text) is None:
        return [text], []
    text = text.strip()
    starts = [0]
    # The lines of the tokenizer: text.splitlines() knows more characters that end one.
    for line in io.StringIO(text, newline=""):
        starts.append(starts[-1] + len(line))
    parts, words, depth, end = [], [], 0, 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
            if token.type == tokenize.OP:
                depth += (token.string in "([{") - (token.string in ")]}")
            elif token.type == tokenize.NAME and token.string in ("if", "else") and depth == 0:
                begin = starts[token.start[0] - 1] + token.start[1]
                parts.append(text[end:begin].strip())
                words.append(token.string)
                end = begin + len(token.string)
    except (tokenize.TokenError, SyntaxError):
        # Open brackets or quotes: it is read as one, and the sentence tells what is wrong.
        return [text], []
    return [*parts, text[end:].strip()], words


def _read_part(part: str, where: str) -> Case | None:
    sampler = read_sampler_text(part, where)
    if sampler is not None:
        return Case(sampler)
    try:
        value = ast.literal_eval(part)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, (list, tuple)):
        return Case(bind("grid_search", [value], {}, f"{where} is {show(part)}"))
    return Case(None, checked_constant(value, where))


def checked_constant(value: Any, where: str) -> Any:
    """Return a constant of a case if it can be one.

    Parameters
    ----------
    value
        The constant.
    where
        Config path that it comes from, for the sentences.

    Raises
    ------
    ConfigMistakes
        Where it is no plain data.
    """
    infinite = isinstance(value, float) and math.isinf(value)
    texts_as_keys = not isinstance(value, dict) or all(isinstance(key, str) for key in value)
    if not (infinite or (is_plain(value) and texts_as_keys)):
        raise ConfigMistakes(
            [
                f"{where} has {show(value)} under a condition, which is no plain data; write a "
                "sampler, a list, a number or text."
            ]
        )
    return value


def read_condition(text: Any, where: str) -> Expression:
    """Read a condition.

    Parameters
    ----------
    text
        What the user wrote.
    where
        Config path of the entry, for the sentences.

    Raises
    ------
    ConfigMistakes
        Where it is no expression.
    """
    source = f"the condition of {where}"
    if not isinstance(text, str) or not text.strip():
        raise ConfigMistakes(
            [f"{source} is {show(text)}; write an expression such as \"optimizer == 'sgd'\"."]
        )
    try:
        expression = Expression.parse(text.strip(), source)
        # What could not stand between "if" and "else" of one line is written so that it can.
        if "\n" in expression.text or "#" in expression.text or _split(expression.text)[1]:
            written = ast.unparse(expression.tree)
            is_choice = isinstance(expression.tree, ast.IfExp)
            expression = Expression.parse(f"({written})" if is_choice else written, source)
    except ResolverError as error:
        raise ConfigMistakes([str(error)]) from error
    return expression


def read_condition_data(value: Mapping[str, Any], where: str) -> tuple[Case, ...]:
    """Read ``{"if": CONDITION, "then": A, "else": B}``.

    Parameters
    ----------
    value
        The mapping; what is under ``else`` may be conditional itself.
    where
        Config path that it comes from, for the sentences.

    Raises
    ------
    ConfigMistakes
        Where something of it is wrong.
    """
    if not {"if", "then"} <= set(value) <= _KEYS:
        raise ConfigMistakes(
            [
                f"{where} is {show(value)}; a condition is written as 'if' and 'then', and 'else' "
                "where there is another case."
            ]
        )
    condition = read_condition(value["if"], where)
    then = _read_branch(value["then"], where)
    if len(then) != 1 or then[0].condition is not None:
        raise ConfigMistakes(
            [
                f"{where} has a condition under 'then'; write one condition with 'and', or put "
                "the further one under 'else'."
            ]
        )
    first = Case(then[0].sampler, then[0].constant, condition)
    return (first, *(_read_branch(value["else"], where) if "else" in value else ()))


def _read_branch(value: Any, where: str) -> tuple[Case, ...]:
    value = plain(value)
    if is_condition_data(value):
        return read_condition_data(value, where)
    if isinstance(value, str):
        cases = read_condition_text(value, where)
        if cases is not None:
            return cases
    sampler = read_sampler(value, where)
    return (Case(None, checked_constant(value, where)) if sampler is None else Case(sampler),)
