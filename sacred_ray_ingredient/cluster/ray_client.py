"""What is missing where a driver is outside of the cluster, and talks to it through Ray Client."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator


def is_client() -> bool:
    """Tell whether this process is connected through Ray Client."""
    from ray.util.client import ray as client

    return bool(client.is_connected())


@contextlib.contextmanager
def staging_folder() -> Iterator[None]:
    """Give Ray Tune a folder for its own files, which it has in that of the driver's node.

    A driver outside of the cluster is on none. Workers look for theirs by themselves.
    """
    if not is_client():
        yield
        return
    from ray.train._internal import storage

    before = storage._get_ray_train_session_dir
    with tempfile.TemporaryDirectory(prefix="sacred-ray-") as folder:
        storage._get_ray_train_session_dir = lambda: folder
        try:
            yield
        finally:
            storage._get_ray_train_session_dir = before
