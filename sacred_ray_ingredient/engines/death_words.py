"""What Ray says of a worker that died, in plain words."""

from __future__ import annotations

import re

_DIED = "the worker process died"
_OF_AN_ACTOR = "The actor "
# Ray names memory as a possible cause of every death; this is said where it was the cause.
_OUT_OF_MEMORY = "running low on memory"
_MEMORY = re.compile(r"was ([\d.]+) ?GB used / ([\d.]+) ?GB")
_NODE_LOST = re.compile(
    r"\b(its|the actor's) node (has )?died|node was (terminated|preempted)", re.IGNORECASE
)
NODE_LOST = "its node was lost"

# Ray finds out whether a node is lost when it has been silent for a while; Tune does not wait.
_OUT_OF_REACH = "is temporarily unavailable"


def death_of_actor(cause: object) -> str:
    """Say that an actor died, as Ray begins to say it."""
    return f"{_OF_AN_ACTOR}died: {cause}"


def says_node_was_lost(error: str) -> bool:
    """Tell whether Ray says of a worker's death that its node was lost."""
    return _NODE_LOST.search(error) is not None


def is_out_of_reach(error: str) -> bool:
    """Tell whether Ray does not know yet what became of a worker."""
    return _OUT_OF_REACH in error


def in_plain_words(error: str, node_lost: bool | None = None) -> str:
    """Say in a few words what Ray says in many.

    Parameters
    ----------
    error
        Ray's text; empty where it is not known.
    node_lost
        Whether it was the node that was lost; None where only the text can tell.
    """
    if node_lost or (node_lost is None and says_node_was_lost(error)):
        return NODE_LOST
    if not error:
        return _DIED
    if _OUT_OF_MEMORY in error:
        used = _MEMORY.search(error)
        amounts = f" ({used[1]} GB of the {used[2]} GB of its node were in use)" if used else ""
        return f"{_DIED}: out of memory{amounts}"
    if is_out_of_reach(error):
        return _DIED if node_lost is False else f"{_DIED}, or {NODE_LOST}"
    if error.startswith(_OF_AN_ACTOR):
        return _DIED
    return error.rpartition("\n")[2]
