"""Words after a command of an outer experiment, which Sacred's command line does not know."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sacred import Experiment
from sacred.utils import ensure_wellformed_argv

# Commands that take one word.
WITH_ONE_WORD = frozenset({"rerun"})


@dataclass(frozen=True)
class Positional:
    """What was taken out of a command line.

    Attributes
    ----------
    word : str or None
        The word after the command; None if there was none.
    is_own_process : bool
        Whether the command line is that of this process, which may be started anew then.
    """

    word: str | None = None
    is_own_process: bool = False


def options_with_value(outer: Experiment) -> list[str]:
    """Return the flags of an experiment's command line that are followed by a value."""
    return [flag for option in outer.all_cli_options if option.arg for flag in option.get_flags()]


def positional(
    argv: str | Sequence[str] | None,
    options: Collection[str] = (),
    commands: Collection[str] = WITH_ONE_WORD,
) -> tuple[list[str], Positional]:
    """Take the word after a command out of a command line: ``rerun 12 -d`` becomes ``rerun -d``.

    Parameters
    ----------
    argv
        As for Sacred's ``Experiment.run_commandline``.
    options
        Flags that are followed by a value.
    commands
        Those that take a word.

    Returns
    -------
    argv : list of str
        What Sacred understands.
    positional : Positional
        What was taken out.
    """
    words = [str(word) for word in ensure_wellformed_argv(argv)]
    is_own = argv is None or words == sys.argv
    end = words.index("with") if "with" in words else len(words)
    places = [
        place
        for place in range(1, end)
        if not words[place].startswith("-") and words[place - 1] not in options
    ]
    if len(places) < 2 or words[places[0]] not in commands:
        return words, Positional(None, is_own)
    taken = places[1]
    return words[:taken] + words[taken + 1 :], Positional(words[taken], is_own)
