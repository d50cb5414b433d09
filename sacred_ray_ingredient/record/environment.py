"""What a run was made with: Python, the installed packages, the machine; without its secrets.

Runs of one environment or on one node share a document, which is stored once under an id that
is made of its content.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import sacred_ray_ingredient
from sacred_ray_ingredient.record.documents import storable

_ID_LENGTH = 24
_OWN_TO_RAY = "thirdparty_files"
# What Sacred finds out about a machine; a run's own document has the rest, which can change.
_OF_THE_NODE = ("hostname", "os", "python_version", "cpu", "gpus")
_IN_SHORT = ("hostname", "os", "python_version")
_SECRET_NAME = re.compile(
    r"PASSW|PASSPHRASE|_PASS$|_PWD$|SECRET|TOKEN(?!IZ)|KEY(?!BOARD)|CREDENTIAL|COOKIE"
    r"|MONGO_UR[IL]|DATABASE_URL|CONNECTION_STRING|_DSN$|AUTH",
    re.IGNORECASE,
)
_LEFT_OUT = "(left out, it may be a secret)"
# The second one: passwords with characters that would have to be percent-encoded.
_LOGIN = re.compile(r"(?<=://)[^\s/?#]+(?=@)|(?<=://)[^\s/:@]*:[^\s]*(?=@)")
_SECRET_OPTION = re.compile(
    r"([?&;][\w.-]*(?:passw|passphrase|secret|token|key|credential|signature|auth)[\w.-]*=)[^&;\s]+",
    re.IGNORECASE,
)


def environment_document() -> tuple[str, dict[str, Any]]:
    """Describe Python and what is installed for it in this process.

    Returns
    -------
    tuple
        Id, made of the content, and the document without it.
    """
    found = deepcopy(_environment())
    return _id_of(found), found


def environment_id() -> str:
    """Return the id of `environment_document`, without making that."""
    return _id_of_environment(id(_environment()))


def host_document(host_info: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Describe the machine, as far as it is the same for all runs on it.

    Parameters
    ----------
    host_info
        What Sacred gives to an observer.

    Returns
    -------
    tuple
        Id, made of the content, and the document without it.
    """
    node = {name: host_info[name] for name in _OF_THE_NODE if host_info.get(name) is not None}
    found = {"kind": "node", **_remembered(node)}
    return _id_in_memory(found), found


def short_host(host_info: Mapping[str, Any], node_id: str) -> dict[str, Any]:
    """Describe the machine within a run's own document.

    Parameters
    ----------
    host_info
        What Sacred gives to an observer.
    node_id
        Id of the rest, from `host_document`.

    Returns
    -------
    dict
        Name, system, Python and node; and what can be another in each run: captured variables of
        the environment, what the experiment itself finds out about its host.
    """
    found = {name: host_info.get(name) for name in _IN_SHORT}
    own = {
        str(name): value
        for name, value in host_info.items()
        if name not in _OF_THE_NODE and value not in (None, {})
    }
    return {**_remembered(found), **_public(storable(own)), "node": node_id}


@functools.cache
def _environment() -> dict[str, Any]:
    # Ray's workers see what Ray brings along for itself as well, which nobody has installed.
    read = [
        distribution.metadata
        for distribution in importlib.metadata.distributions()
        if _OWN_TO_RAY not in str(distribution.locate_file(""))
    ]
    # Remains of a removed package can be without a name.
    installed = {
        f"{about['Name']}=={about['Version']}" for about in read if about and about["Name"]
    }
    return {
        "kind": "environment",
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "versions": {
            "ray": _version("ray"),
            "sacred": _version("sacred"),
            "sacred_ray_ingredient": sacred_ray_ingredient.__version__,
        },
        "distributions": sorted(installed, key=lambda name: (name.lower(), name)),
    }


@functools.lru_cache(maxsize=8)
def _id_of_environment(identity: int) -> str:
    """Make the id once; the argument is that of the object, which is kept as long."""
    return _id_of(_environment())


# What was made of descriptions of nodes, of which a process sees one.
_made: dict[str, Any] = {}
_MOST_MADE = 64


def _remember(key: str, make: Callable[[], Any]) -> Any:
    if key not in _made:
        if len(_made) >= _MOST_MADE:
            _made.clear()
        _made[key] = make()
    return _made[key]


def _remembered(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return storable data without secrets, made once for what is written the same way."""
    made: dict[str, Any] = _remember(f"public {found!r}", lambda: _public(storable(found)))
    return made


def _id_in_memory(document: Mapping[str, Any]) -> str:
    return str(_remember(f"id {document!r}", lambda: _id_of(document)))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _id_of(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_ID_LENGTH]


def is_secret_name(name: str) -> bool:
    """Tell whether a variable or entry of this name may be a secret."""
    return _SECRET_NAME.search(name) is not None


def mask(text: str) -> str:
    """Replace logins and secret options in the addresses within a text."""
    return _SECRET_OPTION.sub(r"\1***", _LOGIN.sub("***", text))


def _public(value: Any) -> Any:
    """Return storable data without what may be secret in it."""
    if isinstance(value, dict):
        return {
            mask(name): _LEFT_OUT if is_secret_name(name) else _public(below)
            for name, below in value.items()
        }
    if isinstance(value, list):
        return [_public(below) for below in value]
    return mask(value) if isinstance(value, str) else value
