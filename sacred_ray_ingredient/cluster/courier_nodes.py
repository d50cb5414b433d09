"""The couriers' side of Ray: which nodes there are, and the actor that runs on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sacred_ray_ingredient.record.carried import Have, NodeJournals, Parcel
from sacred_ray_ingredient.record.target import RecordTarget, own_folders

# For an answer that is there, and may have to come from another node.
_READY_S = 10.0


class Courier:
    """Gives the journals of its node to the driver; an actor."""

    def __init__(self) -> None:
        self._journals = NodeJournals([])

    def groups(self) -> list[str]:
        """Return the names of the sweeps that have journals here."""
        self._look()
        return self._journals.groups()

    def give(
        self,
        group: str,
        have: Mapping[str, Have],
        leave: Sequence[str] = (),
        done: Sequence[str] = (),
    ) -> Parcel:
        """Return what follows what the driver has; see `NodeJournals.give`."""
        self._look()
        return self._journals.give(group, have, leave, done)

    def clear(self, group: str) -> None:
        """Delete what is left of a sweep besides journals."""
        self._journals.clear(group)

    def _look(self) -> None:
        """Look for folders, which appear with the first journal in them."""
        folders = own_folders()
        if folders != self._journals.folders:
            self._journals = NodeJournals(folders)


class Nodes(Protocol):
    """The nodes of a cluster, as the couriers' thread needs them."""

    def alive(self) -> set[str]:
        """Return the ids of all nodes that live and may not share the driver's folder."""

    def ask_whether_home(self, node: str, target: RecordTarget) -> Any:
        """Ask whether a node shares the folder; return a reference to the answer."""

    def start(self, node: str) -> Any:
        """Start a courier."""

    def ask(self, courier: Any, method: str, *arguments: Any) -> Any:
        """Call a method of a courier; return a reference to the answer."""

    def answers(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Wait for some of these; return those that are there."""

    def get(self, reference: Any) -> Any:
        """Return an answer that is there, or raise what kept it from coming."""

    def end(self, courier: Any) -> None:
        """End a courier."""


class RayNodes:
    """The nodes of the connected Ray."""

    def __init__(self) -> None:
        import ray
        from ray.util.client import ray as client

        # With Ray Client, the driver is on none of them.
        is_far = client.is_connected()
        self._own = None if is_far else ray.get_runtime_context().get_node_id()

    def alive(self) -> set[str]:
        """Return the ids of all nodes that live, but for the driver's own."""
        import ray

        return {node["NodeID"] for node in ray.nodes() if node["Alive"]} - {self._own}

    def ask_whether_home(self, node: str, target: RecordTarget) -> Any:
        """Ask whether a node shares the folder; see `Nodes`."""
        import ray

        return (
            ray.remote(num_cpus=0, max_retries=0)(_is_at_home).options(**_on(node)).remote(target)
        )

    def start(self, node: str) -> Any:
        """Start a courier; see `Nodes`."""
        import ray

        return ray.remote(num_cpus=0, max_restarts=0)(Courier).options(**_on(node)).remote()

    def ask(self, courier: Any, method: str, *arguments: Any) -> Any:
        """Call a method of a courier; see `Nodes`."""
        return getattr(courier, method).remote(*arguments)

    def answers(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Wait for some of these; see `Nodes`."""
        import ray

        return list(ray.wait(list(references), num_returns=1, timeout=seconds)[0])

    def get(self, reference: Any) -> Any:
        """Return an answer; see `Nodes`."""
        import ray

        return ray.get(reference, timeout=_READY_S)

    def end(self, courier: Any) -> None:
        """End a courier; see `Nodes`."""
        import ray

        ray.kill(courier)


def _on(node: str) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def _is_at_home(target: RecordTarget) -> bool:
    return target.is_at_home()
