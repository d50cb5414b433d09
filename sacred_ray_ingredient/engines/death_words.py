"""What Ray says of a worker that died, in plain words."""

from __future__ import annotations

import re

_DIED = "the worker process died"
_OF_AN_ACTOR = "The actor "
# Ray names memory as a possible cause of every death; this is said where it was the cause.
_OUT_OF_MEMORY = "running low on memory"
_MEMORY = re.compile(r"was ([\d.]+) ?GB used / ([\d.]+) ?GB")
_NODE_LOST = re.compile(r"\b(its|the actor's) node (has )?died|node was terminated", re.IGNORECASE)

# Ray finds out whether a node is lost when it has been silent for a while; Tune does not wait.
_OUT_OF_REACH = "is temporarily unavailable"


def death_of_actor(cause: object) -> str:
    """Say that an actor died, as Ray begins to say it."""
    return f"{_OF_AN_ACTOR}died: {cause}"


def in_plain_words(error: str) -> str:
    """Say in a few words what Ray says in many.

    Parameters
    ----------
    error
        Ray's text; empty where it is not known.
    """
    if not error:
        return _DIED
    if _OUT_OF_MEMORY in error:
        used = _MEMORY.search(error)
        amounts = f" ({used[1]} GB of the {used[2]} GB of its node were in use)" if used else ""
        return f"{_DIED}: out of memory{amounts}"
    if _NODE_LOST.search(error):
        return f"{_DIED}: its node was lost"
    if _OUT_OF_REACH in error:
        return f"{_DIED}, or its node was lost"
    if error.startswith(_OF_AN_ACTOR):
        return _DIED
    return error.rpartition("\n")[2]
