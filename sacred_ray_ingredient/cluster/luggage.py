"""What goes along to a cluster with a sweep, and what its workers must know of it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.cluster.process_setup import setup_files, with_hook
from sacred_ray_ingredient.cluster.reach import CLIENT
from sacred_ray_ingredient.cluster.runtime_env import runtime_env_of
from sacred_ray_ingredient.cluster.working_tree import checked_tree, packed, root_of
from sacred_ray_ingredient.errors import SacredRayError
from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.mongo.folder import create_project_folder, project_folder
from sacred_ray_ingredient.settings import SweepSettings
from sacred_ray_ingredient.shared_folder import FolderMark, leave_mark
from sacred_ray_ingredient.trial_folder import (
    TravellingTree,
    identity_of,
    is_within,
    unpacked_tree,
)

# What Ray accepts no working_dir beside.
_WHOLE_IMAGES = ("container", "image_uri")


@dataclass(frozen=True)
class Luggage:
    """What goes along.

    Parameters
    ----------
    tree
        What workers must know; None on a local Ray of our own, to which nothing need go.
    runtime_env
        Ray's runtime environment of the whole sweep, with the project's files in it.
    package
        Archive of these files, if it is ours.
    """

    tree: TravellingTree | None = None
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    package: Path | None = None

    def unpack(self) -> None:
        """Delete the archive, which Ray has by now."""
        if self.package is not None:
            self.package.unlink(missing_ok=True)


def is_local(settings: SweepSettings) -> bool:
    """Tell whether a sweep runs on a Ray of its own, on this machine.

    Parameters
    ----------
    settings
        ``address`` is used.
    """
    import ray

    return settings.address in (None, "local") and not ray.is_initialized()


@contextlib.contextmanager
def luggage(
    settings: SweepSettings, folder: str, code: FrozenCode | None, say: Callable[[str], None]
) -> Iterator[Luggage]:
    """Pack what goes along, and clean up afterwards.

    Parameters
    ----------
    settings
        ``address``, ``runtime_env``, ``init_kwargs`` and ``storage_path`` are used.
    folder
        Current folder of the driver.
    code
        The project's modules.
    say
        Is told what the user should know.

    Raises
    ------
    ConfigMistakes
        If the working tree is too large, or the runtime environment is wrong.
    """
    import ray

    env = runtime_env_of(settings)
    if is_local(settings):
        yield Luggage(None, env)
        return
    if ray.is_initialized() and env:
        say("Note: ray.runtime_env is not used, as this process is connected to Ray already.")
    root, is_packed = _root(folder, code, env, ray.is_initialized())
    package = None
    with contextlib.ExitStack() as stack:
        mark = _leave_mark(folder, root)
        if mark is not None:
            stack.callback(mark.remove)
        tree = TravellingTree(folder, root, identity_of(folder), mark)
        if is_packed and root is not None:
            path = settings.storage_path
            apart = [] if path is None or "://" in path else [path]
            files = checked_tree(root, env, apart, say)
            package = stack.enter_context(packed(files, setup_files(tree, code)))
            env = {**env, "working_dir": str(package)}
            if "py_modules" not in env:
                env.pop("excludes", None)
            if not str(settings.address).startswith(CLIENT):  # to which no function can be given
                env = with_hook(env, package.name)
        elif is_packed:
            say(_nothing_goes(folder))
        yield Luggage(tree, env, package)


def _root(
    folder: str, code: FrozenCode | None, env: Mapping[str, Any], is_connected: bool
) -> tuple[str | None, bool]:
    """Return the folder whose content the nodes get, and whether it is we who see to that."""
    if is_connected or _submitted_env().get("working_dir") is not None:
        # Of a job that Ray started: it runs within what came along.
        return unpacked_tree(), False
    given = env.get("working_dir")
    if given is not None:
        return (os.path.abspath(given) if os.path.isdir(given) else None), False
    if any(env.get(name) for name in _WHOLE_IMAGES):
        return None, False
    paths = [] if code is None else [module.path for module in code.modules]
    return root_of(folder, paths), True


def _submitted_env() -> Mapping[str, Any]:
    """Return the runtime environment that ``ray job submit`` has given to this process."""
    text = os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR")
    found = json.loads(text).get("runtime_env") if text else None
    return found or {}


def _nothing_goes(folder: str) -> str:
    return (
        f"Note: {folder} holds more than a project, or none, so that only Python modules go along "
        "to other nodes; start the sweep in the project's folder (one with a .git, pyproject.toml "
        "or .rayignore in it) if its trials read files."
    )


def _leave_mark(folder: str, root: str | None) -> FolderMark | None:
    """Mark the driver's folder, where there is a place for that which nobody looks at."""
    ours = project_folder()
    if not is_within(str(ours), root or folder):
        return None
    try:
        return leave_mark(create_project_folder(ours))
    except (OSError, SacredRayError):  # a folder that cannot be written is told by other means
        return None
