"""What the connected Ray cluster has, and whether it starts nodes when they are needed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.cluster.resources import (
    Resources,
    TrialResources,
    holds,
    mistakes_in,
    read_resources,
    room_for,
)
from sacred_ray_ingredient.errors import ConfigMistakes

# How Ray calls a node that its autoscaler only looks at.
_LOOKED_AT = "node_"
_HEAD = "node:__internal_head__"
_ANSWER_S = 20.0
# A head that looks after its nodes at all says so within some seconds of its start.
_REPORTS_WITHIN_S = 10.0
_PAUSE_S = 0.2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Autoscaler:
    """What starts nodes for a cluster.

    Parameters
    ----------
    could_be
        What each node would have that it could start; None where that cannot be known.
    """

    could_be: tuple[Resources, ...] | None = None


def nodes_there(left_out: Collection[str] = ()) -> list[dict[str, float]]:
    """Return what each node of the connected cluster has in all.

    Parameters
    ----------
    left_out
        Ids of nodes that do not count.
    """
    import ray

    return [
        dict(node["Resources"])
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in left_out
    ]


def check_resources(
    entry: Mapping[str, Any], may_grow: bool
) -> tuple[Autoscaler | None, str | None]:
    """Find out whether the connected cluster can give a trial what it asks for.

    Parameters
    ----------
    entry
        ``ray.resources_per_trial``.
    may_grow
        Whether it can have an autoscaler; a local Ray has none.

    Returns
    -------
    autoscaler : Autoscaler or None
        Of the cluster, if it has one.
    note : str or None
        A sentence for the user, where the first trial has to wait for a node.

    Raises
    ------
    ConfigMistakes
        If a trial asks for more than the cluster can ever have.
    """
    resources = read_resources(entry)
    nodes = nodes_there()
    mistakes = mistakes_in(resources, nodes)
    autoscaler = find_autoscaler(_REPORTS_WITHIN_S if mistakes else 0.0) if may_grow else None
    if not mistakes:
        return autoscaler, None
    if autoscaler is not None and autoscaler.could_be is not None:
        mistakes = mistakes_in(resources, nodes, autoscaler.could_be)
    if autoscaler is None or (autoscaler.could_be is not None and mistakes):
        raise ConfigMistakes(mistakes)
    missing = [bundle for bundle in resources.group if not any(holds(bundle, n) for n in nodes)]
    asked = "; ".join(
        ", ".join(f"{name}={amount:g}" for name, amount in bundle.items()) for bundle in missing
    )
    return autoscaler, (
        f"No node has room for a trial yet ({asked or 'all of its bundles'}): "
        "the cluster's autoscaler is asked for one, and trials wait for it."
    )


def most_at_once(resources: TrialResources, autoscaler: Autoscaler | None) -> int:
    """Count how many trials the connected cluster can hold, nodes included that it can start.

    Parameters
    ----------
    resources
        What each trial takes.
    autoscaler
        Of the cluster, if it has one.
    """
    nodes = nodes_there()
    there = room_for(resources, nodes)
    if autoscaler is None or autoscaler.could_be is None:
        return there
    # Those that run already are among those that can be started, all but the head.
    heads = [node for node in nodes if _HEAD in node]
    return max(there, room_for(resources, [*heads, *autoscaler.could_be]))


def find_autoscaler(patience_s: float = 0.0) -> Autoscaler | None:
    """Find out whether the connected cluster has an autoscaler.

    Parameters
    ----------
    patience_s
        How long a head that has just been started may take to report, in seconds.
    """
    import ray
    from ray._private import ray_constants
    from ray.experimental.internal_kv import _internal_kv_get

    # The second generation, as with KubeRay, keeps its status elsewhere.
    raylet: Any = ray._raylet
    key, place = raylet.GCS_AUTOSCALER_V2_ENABLED_KEY, raylet.GCS_AUTOSCALER_STATE_NAMESPACE
    if _internal_kv_get(key, namespace=place) == b"1":
        return Autoscaler()
    deadline = time.monotonic() + patience_s
    known: dict[str, Any] = {}
    while not known:
        status = _internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS)
        known = (json.loads(status).get("autoscaler_report") or {}) if status else {}
        if time.monotonic() >= deadline:
            break
        time.sleep(_PAUSE_S)
    types = (known.get("node_type_mapping") or {}).values()
    if not [name for name in types if not name.startswith(_LOOKED_AT)]:
        return None
    return Autoscaler(_startable())


def _startable() -> tuple[Resources, ...] | None:
    """Ask the head node, whose autoscaler alone knows what it can start."""
    import ray

    at_head = ray.remote(num_cpus=0, max_retries=0, resources={_HEAD: 0.001})(read_node_types)
    try:
        found = ray.get(at_head.remote(), timeout=_ANSWER_S)
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
        _log.debug("cannot ask the head node for the autoscaler's configuration: %s", error)
        return None
    return None if found is None else tuple(found)


def read_node_types() -> list[dict[str, float]] | None:
    """Read on the head node what each node would have that the autoscaler can start.

    Returns
    -------
    list of dict or None
        One for each node that is allowed, those that run included, at most a thousand; None where
        this is not the head node of a cluster of ``ray up``.
    """
    import pathlib

    from sacred.optional import yaml

    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        paths = [
            word.partition("=")[2] for word in words if word.startswith("--autoscaling-config=")
        ]
        if paths and any(word.endswith("monitor.py") for word in words):
            content = pathlib.Path(paths[0]).expanduser().read_text(encoding="utf-8")
            return _startable_in(yaml.safe_load(content))
    return None


def _startable_in(config: Mapping[str, Any]) -> list[dict[str, float]] | None:
    types = config.get("available_node_types") or {}
    most = int(config.get("max_workers") or 0)
    nodes: list[dict[str, float]] = []
    for name, about in types.items():
        resources = about.get("resources")
        if name == config.get("head_node_type"):
            continue
        if not resources:  # filled in by the provider when it starts one
            return None
        nodes += [dict(resources)] * min(int(about.get("max_workers", most)), most, 1000)
    return nodes[:1000]
