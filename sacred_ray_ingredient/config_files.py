"""Config files, read as data only, and the updates that they hold.

Sacred decodes JSON with jsonpickle and reads YAML with a loader that knows Python's own tags, so
that a file that somebody sent can run code. Each file is therefore read here first: what is
refused here never gets to Sacred.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from sacred.optional import yaml

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.values import show

_PICKLES = (".pickle", ".pkl")
_YAML = (".yaml", ".yml")
# With these jsonpickle begins the keys that it decodes; the second holds more JSON.
_CODE_KEYS = ("py/", "json://")
_PYTHON_TAG = re.compile(r"tag 'tag:yaml\.org,2002:(python/[^']*)'")
_PLAIN = "write plain values, lists and mappings"


def read_config_file(name: str) -> dict[str, Any]:
    """Read a config file without running what may stand in it.

    Parameters
    ----------
    name
        Path of a YAML or JSON file.

    Returns
    -------
    dict
        Its content, as Sacred would read it.

    Raises
    ------
    ConfigMistakes
        Where it cannot be read, holds no mapping, or holds what could run code.
    """
    if name.lower().endswith(_PICKLES):
        raise ConfigMistakes(
            [
                f"The config file {name!r} is a pickle, which can run code when it is read; write "
                "YAML or JSON."
            ]
        )
    try:
        content = _parsed(name)
    except Exception as error:  # whatever the parser of the format raises
        raise ConfigMistakes([_unreadable(name, error)]) from error
    key = _code_key(content)
    if key is not None:
        raise ConfigMistakes(
            [
                f"The config file {name!r} has the key {show(key)}, and such keys can run code "
                f"when the file is read; {_PLAIN}."
            ]
        )
    if not isinstance(content, dict):
        raise ConfigMistakes(
            [f"The config file {name!r} holds {content!r}; it must hold a mapping of entries."]
        )
    return content


def _parsed(name: str) -> Any:
    # By the letter, and in the encoding of the machine, as Sacred does.
    suffix = os.path.splitext(name)[1]
    if suffix not in (".json", *_YAML):
        raise ValueError(f"{suffix!r} is not an extension that is known; .json and .yaml are")
    with open(name) as file:
        if suffix == ".json":
            return json.load(file)
        return yaml.safe_load(file)


def _unreadable(name: str, error: Exception) -> str:
    tag = _PYTHON_TAG.search(str(error))
    if tag is not None:
        return (
            f"The config file {name!r} has the tag '!!{tag[1]}', and such tags can run code when "
            f"the file is read; {_PLAIN}."
        )
    reason = " ".join(str(error).split())
    return f"The config file {name!r} cannot be read: {type(error).__name__}: {reason}."


def _code_key(content: Any) -> str | None:
    waiting, seen = [content], set()
    while waiting:
        here = waiting.pop()
        # With YAML's aliases a level can be in several places, and even within itself.
        if not isinstance(here, (dict, list, tuple)) or id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, dict):
            for key in here:
                if isinstance(key, str) and key.startswith(_CODE_KEYS):
                    return key
        waiting += here.values() if isinstance(here, dict) else here
    return None
