"""Telling the loss of a node from the death of a worker: it is not the trial's failure."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

from sacred_ray_ingredient.engines.death_words import is_out_of_reach, says_node_was_lost

# So often a trial may lose its node and be tried again all the same. It may be what takes its
# nodes away, by their memory for example, so that each further time counts as its failure.
FREE_LOSSES = 2
# A node of which no answer comes for so long is out of reach; others answer at once.
_ANSWERS_WITHIN_S = 3.0
# A node tells Ray of a process that died within a second.
_IS_TOLD_WITHIN_S = 5.0

_log = logging.getLogger(__name__)


def node_was_lost(error: str, actor_id: str | None) -> bool:
    """Tell whether a worker was lost because its node was, or the connection to it.

    Ray itself declares a node dead when it has been silent for a quarter of a minute or longer;
    the worker's death is noticed at once. So the node is asked.

    Parameters
    ----------
    error
        Ray's text about the worker.
    actor_id
        Ray's id of the worker, in hexadecimal digits; None where it is not known.
    """
    if says_node_was_lost(error):
        return True
    if actor_id is None or not is_out_of_reach(error):
        return False
    try:
        node = _node_of(actor_id)
        if node is None:
            return False
        # Where both live, it was the connection between them and the driver that was lost.
        return not (node["Alive"] and _answers(node)) or not _is_dead(actor_id)
    except Exception as failure:  # Ray's own, of many kinds: the trial may not know its node's end
        _log.warning("cannot find out whether a worker's node was lost: %s", failure)
        return False


def _node_of(actor_id: str) -> dict[str, Any] | None:
    """Return what Ray knows of the node of a worker; None where it never had one."""
    import ray
    from ray._private import state

    node_id = (state.actors(actor_id).get("Address") or {}).get("NodeID")
    nodes: list[dict[str, Any]] = ray.nodes()
    return next((node for node in nodes if node["NodeID"] == node_id), None)


def _is_dead(actor_id: str) -> bool:
    """Tell whether Ray knows that a process is dead, of which its node tells it soon."""
    from ray._private import state

    deadline = time.monotonic() + _IS_TOLD_WITHIN_S
    while not (is_dead := state.actors(actor_id).get("State") == "DEAD"):
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return bool(is_dead)


def _answers(node: dict[str, Any]) -> bool:
    address = node["NodeManagerAddress"], node["NodeManagerPort"]
    try:
        socket.create_connection(address, timeout=_ANSWERS_WITHIN_S).close()
    except OSError:
        return False
    return True
