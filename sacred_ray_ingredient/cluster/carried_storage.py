"""Files carried by Ray, from nodes that do not see a folder to one that does.

An actor on that node, the `FolderKeeper`, reads and writes pieces of files; it is asked by
`sacred_ray_ingredient.cluster.carried_files`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyarrow import fs

from sacred_ray_ingredient.cluster.carried_files import CarriedFiles
from sacred_ray_ingredient.errors import SweepFailed
from sacred_ray_ingredient.shared_folder import FolderMark, leave_mark
from sacred_ray_ingredient.storage import Storage

# Calls that the actor works on at once; all others wait, where they come from.
_AT_ONCE = 4
_ANSWER_S = 60
_HEAD = "node:__internal_head__"
_CHANGES = ("create_dir", "delete_dir", "delete_dir_contents", "delete_file", "copy_file")


class FolderKeeper:
    """Reads and writes files on its node, for those that do not see them; an actor.

    Each call stands for itself and may come twice: where Ray starts the actor anew, it repeats
    what was not answered.
    """

    def __init__(self) -> None:
        self._files = fs.LocalFileSystem()

    def sees(self, mark: FolderMark) -> bool:
        """Tell whether it is on a node that sees a folder."""
        return mark.is_here()

    def mark(self, folder: str) -> FolderMark:
        """Make a folder here, and mark it."""
        return leave_mark(Path(folder))

    def remove(self, mark: FolderMark) -> None:
        """Remove a mark."""
        mark.remove()

    def change(self, how: str, *paths: str, **options: Any) -> None:
        """Call a method of pyarrow's local file system that returns nothing."""
        if how not in _CHANGES:
            raise ValueError(f"{how!r} is none of {', '.join(_CHANGES)}")
        getattr(self._files, how)(*paths, **options)

    def move(self, source: str, target: str) -> None:
        """Rename a file or a folder, unless that was done already."""
        if os.path.lexists(source) or not os.path.lexists(target):
            self._files.move(source, target)

    def about(self, paths: list[str]) -> list[tuple[Any, ...]]:
        """Return what is at some paths: path, type, size, time of the last change."""
        return [_plain(each) for each in self._files.get_file_info(paths)]

    def within(self, folder: str, allow_not_found: bool, recursive: bool) -> list[tuple[Any, ...]]:
        """Return what is in a folder."""
        selector = fs.FileSelector(folder, allow_not_found, recursive)
        return [_plain(each) for each in self._files.get_file_info(selector)]

    def create(self, path: str) -> None:
        """Make an empty file."""
        Path(path).write_bytes(b"")

    def write(self, path: str, position: int, piece: bytes) -> None:
        """Write into a file that is there."""
        with open(path, "r+b") as file:
            file.seek(position)
            file.write(piece)

    def read(self, path: str, position: int, count: int) -> bytes:
        """Read a part of a file."""
        with open(path, "rb") as file:
            file.seek(position)
            return file.read(count)


@dataclass(frozen=True)
class Carrier:
    """How the folder is reached from where it is not seen; plain data, which travels.

    Parameters
    ----------
    mark
        Lies in the folder.
    keeper
        Ray's name of the `FolderKeeper`.
    """

    mark: FolderMark
    keeper: str

    @property
    def is_here(self) -> bool:
        """Whether this process sees the folder."""
        return _is_here(self.mark)

    def filesystem(self) -> Any:
        """Return the file system of pyarrow; also one that is sent elsewhere works there."""
        return fs.PyFileSystem(CarriedFiles(self))

    def answer(self, reference: Any) -> Any:
        """Wait for an answer of the keeper; what goes wrong with its files is an ``OSError``."""
        return _answer(reference)

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Let the keeper do something; return Ray's reference to the answer."""
        return getattr(_actor(self.keeper), method).remote(*arguments, **options)


@functools.lru_cache(maxsize=8)
def _is_here(mark: FolderMark) -> bool:
    return mark.is_here()


@functools.lru_cache(maxsize=8)
def _actor(name: str) -> Any:
    import ray

    return ray.get_actor(name)


def _answer(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise OSError(f"the process that keeps files is not there: {first_line}") from error


def _plain(info: Any) -> tuple[Any, ...]:
    return info.path, info.type.value, info.size, info.mtime_ns


@contextlib.contextmanager
def carried(storage: Storage, say: Callable[[str], None]) -> Iterator[Storage]:
    """Let files come to a folder from all nodes of the connected Ray, for the time of a sweep.

    Parameters
    ----------
    storage
        In a folder that this process has.
    say
        Tells the user a sentence.

    Yields
    ------
    Storage
        To be sent to the workers.

    Raises
    ------
    SweepFailed
        If no node answers.
    """
    import ray

    mark = leave_mark(Path(storage.root))
    keeper = None
    try:
        nodes = _nodes()
        try:
            node = _node_that_sees(mark, nodes)
            keeper, name = _start_keeper((node or nodes[0])["NodeID"])
            there = mark
            if node is None:
                there = ray.get(keeper.mark.remote(storage.root), timeout=_ANSWER_S)
                say(
                    f"Note: no node of the cluster sees the folder {storage.root} of this machine; "
                    "checkpoints and logs are kept in the folder of this name on the node "
                    f"{nodes[0]['NodeManagerHostname']}."
                )
        except ray.exceptions.RayError as error:
            first_line = str(error).strip().partition("\n")[0]
            raise SweepFailed(
                f"The process that brings checkpoints and logs to {storage.root} cannot be "
                f"started: {first_line}"
            ) from error
        yield replace(storage, carrier=Carrier(there, name))
        if node is None:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(keeper.remove.remote(there), timeout=_ANSWER_S)
    finally:
        mark.remove()
        if keeper is not None:
            ray.kill(keeper)


def _nodes() -> list[Any]:
    """Return the nodes that are there, the one that is likeliest to see the folder first."""
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    from ray.util.client import ray as client

    is_client = client.is_connected()
    own = None if is_client else ray.get_runtime_context().get_node_id()

    def rank(node: Any) -> int:
        return 0 if node["NodeID"] == own else 1 if _HEAD in node["Resources"] else 2

    return sorted(nodes, key=rank)


def _node_that_sees(mark: FolderMark, nodes: list[Any]) -> Any:
    """Return the first of some nodes that sees a folder, None where none does."""
    import ray

    def asked(node: Any) -> Any:
        look = ray.remote(FolderMark.is_here).options(**_on(node["NodeID"]), max_retries=0)
        return look.remote(mark)

    if ray.get(asked(nodes[0]), timeout=_ANSWER_S):
        return nodes[0]
    answers = {asked(node): node for node in nodes[1:]}
    if not answers:
        return None
    answered, _ = ray.wait(list(answers), num_returns=len(answers), timeout=_ANSWER_S)
    for reference in answered:
        with contextlib.suppress(ray.exceptions.RayError):  # of a node that is just leaving
            if ray.get(reference):
                return answers[reference]
    return None


def _start_keeper(node_id: str) -> tuple[Any, str]:
    import ray

    name = f"sacred-ray-storage-{secrets.token_hex(8)}"
    made = ray.remote(FolderKeeper).options(
        **_on(node_id),
        name=name,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=_AT_ONCE,
    )
    return made.remote(), name


def _on(node_id: str) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False),
    }
