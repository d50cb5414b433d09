"""Words of the command line that are not of Sacred's syntax: ``resume SWEEP_ID``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sacred_ray_ingredient.errors import ConfigMistakes

_ID = re.compile(r"sweep-\w+|last")


def verb_of(argv: Sequence[str], options_with_value: Sequence[str]) -> tuple[list[str], str | None]:
    """Take ``resume SWEEP_ID`` out of a command line.

    Parameters
    ----------
    argv
        The words, the first one is the program.
    options_with_value
        Sacred's options that are followed by a value.

    Returns
    -------
    tuple
        The words for Sacred, and the id of the sweep; None without the verb.

    Raises
    ------
    ConfigMistakes
        If there is no id, or there are more words.
    """
    end = argv.index("with") if "with" in argv else len(argv)
    before, after = list(argv[1:end]), list(argv[end:])
    places = []
    skip = False
    for place, word in enumerate(before):
        if skip or word.startswith("-"):
            skip = not skip and word in options_with_value
            continue
        places.append(place)
    if not places or before[places[0]] != "resume":
        return list(argv), None
    given = [before[place] for place in places[1:]]
    if len(given) != 1 or not _ID.fullmatch(given[0]):
        shown = " ".join(given) or "nothing"
        raise ConfigMistakes(
            [
                f"resume is followed by {shown}; it must be the id of a sweep, such as "
                "sweep-94889e7c9c, or last, and then 'with ...' for further changes."
            ]
        )
    kept = [word for place, word in enumerate(before) if place not in places]
    return [argv[0], *kept, *after], given[0]
