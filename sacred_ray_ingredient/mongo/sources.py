"""The places where a user gives the address of a MongoDB: ``-m``, the environment, the config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.errors import DatabaseError, did_you_mean
from sacred_ray_ingredient.mongo.address import MongoAddress
from sacred_ray_ingredient.mongo.uris import Uri, parse_uri

URL_VARIABLE = "SACRED_MONGO_URL"

_DEFAULT_DATABASE = "sacred"
_CONFIG_KEYS = ("url", "db_name", "password_file", "password_env")
# What the server refuses on every system; names are shorter than 64 bytes.
_REFUSED_IN_NAMES = re.compile(r'[/\\. "$\0]')
_LONGEST_NAME = 63


def from_option(text: str) -> MongoAddress:
    """Read an address in the syntax of Sacred's ``-m``.

    Parameters
    ----------
    text
        ``[HOST:PORT:]DB[.COLLECTION][!PRIORITY]`` or ``HOST:PORT``. The priority orders
        Sacred's observers and does not matter here.

    Raises
    ------
    DatabaseError
        If the text has another form, or asks to overwrite a run.
    """
    from sacred.observers.mongo import MongoObserver, parse_mongo_db_arg

    try:
        given = parse_mongo_db_arg(text)
    except AttributeError:  # Sacred 0.8.7 asks the missing match for its groups
        # A URI is not repeated, it may have a password in it.
        shown = "a URI" if "://" in text or "@" in text else repr(text)
        raise DatabaseError(
            f"-m was given {shown}, right would be HOST:PORT:DB, HOST:PORT, DB or "
            f"HOST:PORT:DB.COLLECTION; a mongodb:// URI goes into {URL_VARIABLE} or "
            "ray.mongo.url."
        ) from None
    if "overwrite" in given:
        raise DatabaseError(
            f"-m was given {text!r}, which asks to overwrite run {given['overwrite']}; a sweep "
            f"never overwrites runs: leave out :{given['overwrite']}."
        )
    collection = given.get("collection", "runs")
    if collection == "metrics" or collection in MongoObserver.COLLECTION_NAME_BLACKLIST:
        raise DatabaseError(
            f"-m was given {text!r}, but the collection {collection!r} holds other things than "
            "runs; give another name, or none for 'runs'."
        )
    try:
        uri = str(parse_uri(given.get("url", "localhost:27017")))
    except ValueError:
        raise DatabaseError(
            f"-m was given {text!r}, whose port is not a number from 1 to 65535."
        ) from None
    return MongoAddress(
        uri=uri, db_name=given.get("db_name", _DEFAULT_DATABASE), collection=collection
    )


def from_environment(environ: Mapping[str, str]) -> MongoAddress | None:
    """Read the address in the environment variable ``SACRED_MONGO_URL``, if there is one.

    Parameters
    ----------
    environ
        Usually ``os.environ``.

    Returns
    -------
    MongoAddress or None
        Without the password; where the variable has one, every client reads it again from
        the variable, also on the workers.

    Raises
    ------
    DatabaseError
        If the variable holds no MongoDB URI.
    """
    url = environ.get(URL_VARIABLE, "").strip()
    if not url:
        return None
    try:
        parts = parse_uri(url)
    except ValueError as error:
        raise DatabaseError(
            f"The value of the environment variable {URL_VARIABLE} {error}."
        ) from None
    return MongoAddress(
        uri=str(parts.public()),
        db_name=parts.database or _DEFAULT_DATABASE,
        uri_env=URL_VARIABLE if parts.has_secret else None,
    )


def from_config(mongo: Mapping[str, Any]) -> MongoAddress | None:
    """Read the address in the config entry ``ray.mongo``, if there is one.

    Parameters
    ----------
    mongo
        ``url``, ``db_name`` (None: the database of the URL, else ``sacred``),
        ``password_file`` and ``password_env``.

    Raises
    ------
    DatabaseError
        If `config_mistakes` finds something in it.
    """
    mistakes = config_mistakes(mongo)
    if mistakes:
        raise DatabaseError(" ".join(mistakes))
    if mongo.get("url") is None:
        return None
    parts = parse_uri(mongo["url"])
    password_file = mongo.get("password_file")
    if password_file is not None:
        # Workers have another current folder.
        password_file = str(Path(password_file).expanduser().absolute())
    return MongoAddress(
        uri=str(parts),
        db_name=mongo.get("db_name") or parts.database or _DEFAULT_DATABASE,
        password_file=password_file,
        password_env=mongo.get("password_env"),
    )


def config_mistakes(mongo: Mapping[str, Any]) -> list[str]:
    """Return what is wrong in the config entry ``ray.mongo``, a sentence each.

    Parameters
    ----------
    mongo
        The entry; no sentence repeats a password that stands in it.
    """
    mistakes = [
        f"ray.mongo.{key} is not a known entry{did_you_mean(str(key), _CONFIG_KEYS)}; known are "
        f"{', '.join(_CONFIG_KEYS)}."
        for key in mongo
        if key not in _CONFIG_KEYS
    ]
    wrong = [key for key in _CONFIG_KEYS if not _is_text_or_none(mongo.get(key))]
    mistakes += [
        f"ray.mongo.{key} is {_shown(key, mongo[key])}, it has to be a text that is not empty, "
        "or None."
        for key in wrong
    ]
    given = {key: mongo.get(key) for key in _CONFIG_KEYS if key not in wrong}
    return mistakes + _name_mistakes(given.get("db_name")) + _login_mistakes(given)


def _password_in(parts: Uri) -> str:
    return (
        f"ray.mongo.url, the address of {','.join(parts.hosts)}, has a password in it, which "
        "would be stored with the run: put the password into a file with mode 0600 and give "
        "ray.mongo.password_file, or into an environment variable and give "
        f"ray.mongo.password_env, or put the whole URL into {URL_VARIABLE}."
    )


def _is_text_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value != "")


def _shown(key: str, value: Any) -> str:
    # A number given for a password's place may be the password itself.
    return repr(value) if key == "db_name" or value == "" else f"of type {type(value).__name__}"


def _name_mistakes(db_name: str | None) -> list[str]:
    if db_name is None:
        return []
    if _REFUSED_IN_NAMES.search(db_name):
        return [
            f"ray.mongo.db_name is {db_name!r}, but MongoDB refuses a name with a space or one "
            'of / \\ . " $ in it; letters, digits, - and _ are right.'
        ]
    if len(db_name.encode()) > _LONGEST_NAME:
        return [
            f"ray.mongo.db_name is {db_name!r}, but MongoDB refuses names of more than "
            f"{_LONGEST_NAME} bytes."
        ]
    return []


def _login_mistakes(given: Mapping[str, str | None]) -> list[str]:
    mistakes = []
    sources = [key for key in ("password_file", "password_env") if given.get(key) is not None]
    if len(sources) > 1:
        mistakes.append(
            "ray.mongo.password_file and ray.mongo.password_env are both given; one of them "
            "has to say where the password is."
        )
    url = given.get("url")
    if url is None:
        # A url of a wrong type is missing here and was named already.
        if sources and "url" in given:
            mistakes.append(
                f"ray.mongo.{sources[0]} is given, but ray.mongo.url is not; give the address "
                "that the password is for, such as mongodb://USER@HOST:PORT/?authSource=admin."
            )
        return mistakes
    try:
        parts = parse_uri(url)
    except ValueError as error:
        return [*mistakes, f"The value of ray.mongo.url {error}."]
    if parts.has_secret:
        mistakes.append(_password_in(parts))
    elif sources and parts.user is None:
        mistakes.append(
            f"ray.mongo.{sources[0]} is given, but the URL of {','.join(parts.hosts)} in "
            "ray.mongo.url has no user name; it has to be mongodb://USER@HOST:PORT/…"
        )
    return mistakes
