"""``ray.storage_path`` as a URL: what is wrong with it, and what in it must not be recorded."""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sacred_ray_ingredient.errors import did_you_mean

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
# For these, what is before the @ is no name of a user, or no secret one.
_NAMES_BEFORE_AT = {"abfs", "abfss", "hdfs", "viewfs"}
_SECRET_OPTION = re.compile(r"key|secret|token|passw|credential|^sig$|^sas", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Tell whether a text is a URL and not a path."""
    return _URL.match(text) is not None


def secret_in_url(text: Any) -> str | None:
    """Look for a key or a password in ``ray.storage_path``, which would be recorded with it.

    Parameters
    ----------
    text
        The entry, whatever it is.

    Returns
    -------
    str or None
        A sentence, which repeats nothing of the text.
    """
    if not isinstance(text, str) or not is_url(text):
        return None
    try:
        parts = urlsplit(text)
        user, password = parts.username or "", parts.password
    except ValueError:
        return None  # no address can be read in it
    is_name = parts.scheme in _NAMES_BEFORE_AT or user in ("", "anonymous")
    options = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if password is None and is_name and not any(map(_SECRET_OPTION.search, options)):
        return None
    return (
        "ray.storage_path is a URL with a key or a password in it, which would be recorded with "
        "the configuration. Give it without, as s3://bucket/path, and the key to each node by "
        "its environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), a profile, or the role "
        "of the machine."
    )


def storage_mistakes(path: str | None) -> list[str]:
    """Find out what is wrong with ``ray.storage_path``, as far as the text tells it.

    Parameters
    ----------
    path
        The entry.
    """
    secret = secret_in_url(path)
    if secret is not None:
        return [secret]
    if path is None or not is_url(path):
        return []
    right = "a folder, or a URL such as s3://bucket/path or file:///folder"
    try:
        parts = urlsplit(path)
    except ValueError as error:
        return [f"ray.storage_path is {path!r}, which is no URL ({error}); it must be {right}."]
    if parts.scheme not in _SCHEMES:
        hint = did_you_mean(parts.scheme, _SCHEMES)
        known = ", ".join(_SCHEMES)
        return [
            f"ray.storage_path is {path!r}, of whose kind no files can be kept{hint}; "
            f"it must be {right} (known kinds: {known})."
        ]
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            return [
                f"ray.storage_path is {path!r}, which names a machine, {parts.netloc!r}; a folder "
                f"is written with three slashes: file:///{parts.netloc}{parts.path}."
            ]
    elif not parts.netloc:
        return [f"ray.storage_path is {path!r}, which names no bucket; it must be {right}."]
    return []


@functools.lru_cache(maxsize=4)
def open_url(url: str) -> tuple[Any, str]:
    """Open the file system of pyarrow that a URL names.

    Once in a process: to find the region of a bucket, it asks the network.

    Parameters
    ----------
    url
        The URL.

    Returns
    -------
    tuple
        The file system, and the path within it.
    """
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(url)
    return filesystem, path
