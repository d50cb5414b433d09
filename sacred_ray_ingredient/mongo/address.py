"""Where a record goes, without any secret: what is pickled to workers, logged and stored.

The password stays where the user put it, in a file or in an environment variable, and is
read at the moment of connecting.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacred_ray_ingredient.errors import DatabaseError
from sacred_ray_ingredient.mongo.uris import Uri, parse_uri, with_scheme

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure, PyMongoError

APP_NAME = "sacred_ray_ingredient"

_ELSEWHERE = (
    "give another address with -m HOST:PORT:DB, SACRED_MONGO_URL or ray.mongo.url, "
    "or record to files with -F DIR"
)
_AUTHENTICATION_FAILED = 18
_UNAUTHORIZED = 13


@dataclass(frozen=True)
class MongoAddress:
    """A database that a sweep is recorded in, and where its password is found.

    Parameters
    ----------
    uri
        ``mongodb://`` or ``mongodb+srv://`` URI without a password; it may have a user name
        and options.
    db_name
        The database.
    collection
        The collection of the runs.
    password_file
        File that holds the password of the URI's user.
    password_env
        Environment variable that holds that password.
    uri_env
        Environment variable that holds the complete URI, password included.
    embedded
        Whether this is the private server of the project.

    Raises
    ------
    DatabaseError
        If the URI is none, or has a password in it.
    """

    uri: str
    db_name: str = "sacred"
    collection: str = "runs"
    password_file: str | None = None
    password_env: str | None = None
    uri_env: str | None = None
    embedded: bool = False

    def __post_init__(self) -> None:
        if self._parts().has_secret:
            raise DatabaseError(
                "The URI of a MongoAddress has a password in it, which would be logged and "
                "stored; give the URI without it, and password_file or password_env."
            )

    def client(self, **options: Any) -> MongoClient:
        """Make a client; the secret is read now.

        A write counts as done when it is in the journal on the disk of the server, or of most of
        a replica set, unless the URI says otherwise (``w``, ``journal``): by default MongoDB
        confirms up to 100 ms before that, and a killed server has lost what it confirmed.

        Parameters
        ----------
        **options
            Further options of `pymongo.MongoClient`; they win over the URI's.

        Raises
        ------
        DatabaseError
            If the password's file or variable is missing, or pymongo refuses the URI.
        """
        import pymongo
        from pymongo.errors import ConfigurationError, InvalidURI

        settings: dict[str, Any] = {"tz_aware": False, "appname": APP_NAME}
        if self._parts().option("w") is None and self._parts().option("journal") is None:
            settings |= {"journal": True, "w": "majority"}
        settings.update(options)
        uri = self.uri
        if self.uri_env is not None:
            uri = with_scheme(self._variable(self.uri_env, "the URI of the MongoDB"))
        else:
            password = self._password()
            if password is not None:
                settings["password"] = password
        try:
            return pymongo.MongoClient(uri, **settings)
        except (ConfigurationError, InvalidURI, ValueError) as error:
            # pymongo may repeat a part of the URI: only one without secrets is passed on.
            reason = "" if self.uri_env is not None else f": {error}"
            raise DatabaseError(
                f"pymongo refuses the address of the MongoDB ({self._source()}){reason}. "
                "Right would be mongodb://USER@HOST:PORT/DATABASE with options that it knows."
            ) from None

    def check(self, timeout_s: float = 5.0) -> None:
        """Connect once and make sure that the runs can be read.

        Parameters
        ----------
        timeout_s
            After this time the server counts as unreachable.

        Raises
        ------
        DatabaseError
            If the server cannot be reached or refuses us.
        """
        import pymongo
        from pymongo.errors import OperationFailure, PyMongoError

        client = self.client(
            serverSelectionTimeoutMS=int(timeout_s * 1000),
            connectTimeoutMS=int(timeout_s * 1000),
        )
        try:
            with pymongo.timeout(timeout_s):
                client.admin.command("ping")
                client[self.db_name][self.collection].find_one({}, {"_id": 1})
        except OperationFailure as error:
            raise DatabaseError(self._refusal(error)) from error
        except PyMongoError as error:
            raise DatabaseError(self._unreachable(error)) from error
        finally:
            client.close()

    def describe(self) -> str:
        """Return hosts and database for the reader of a log."""
        return f"{','.join(self._parts().hosts_with_ports())}, database {self.db_name}"

    def omniboard_command(self) -> str:
        """Return the shell command that opens this database in Omniboard."""
        if self.embedded:
            return f'MONGO_URI="$({_our_command()} mongo uri)" omniboard'
        parts = self._parts()
        if self.uri_env is not None and parts.database == self.db_name:
            return f'MONGO_URI="${self.uri_env}" omniboard'
        hosts = parts.hosts_with_ports()
        plain = parts.scheme == "mongodb" and not parts.options and self.uri_env is None
        if plain and parts.user is None and len(hosts) == 1:
            return f"omniboard -m {hosts[0]}:{self.db_name}"
        return f"MONGO_URI={shlex.quote(str(self._with_placeholder(parts)))} omniboard"

    def _with_placeholder(self, parts: Uri) -> Uri:
        """Return a URI that opens the database itself, which Omniboard needs in the path."""
        options = parts.options
        password = None
        if parts.user is not None:
            password = "PASSWORD"  # noqa: S105  (a word for the user to replace)
            if parts.option("authSource") is None and parts.scheme == "mongodb":
                # The path said where to log in; it is about to say something else.
                options = (*options, ("authSource", parts.database or "admin"))
        return replace(parts, password=password, database=self.db_name, options=options)

    def _parts(self) -> Uri:
        try:
            return parse_uri(self.uri)
        except ValueError as error:
            raise DatabaseError(f"The URI of a MongoAddress {error}.") from None

    def _source(self) -> str:
        if self.uri_env is not None:
            return f"the URI in the environment variable {self.uri_env}"
        return self.describe()

    def _password(self) -> str | None:
        if self.password_file is not None:
            return self._password_from_file(Path(self.password_file))
        if self.password_env is not None:
            return self._variable(self.password_env, "the password of the MongoDB")
        return None

    def _password_from_file(self, path: Path) -> str:
        try:
            password = path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise DatabaseError(
                f"The password of the MongoDB at {self.describe()} cannot be read from the file "
                f"{path} ({reason}); it has to hold the password, on this machine too."
            ) from None
        if not password:
            raise DatabaseError(
                f"The file {path} with the password of the MongoDB at {self.describe()} is "
                "empty; it has to hold the password."
            )
        return password

    def _variable(self, name: str, content: str) -> str:
        value = os.environ.get(name)
        if not value:
            raise DatabaseError(
                f"The environment variable {name}, which has to hold {content} "
                f"({self.describe()}), is not set here; set it, for the workers too."
            )
        return value

    def _unreachable(self, error: PyMongoError) -> str:
        # pymongo lists its timeouts and its picture of the servers behind the reason.
        reason = str(error).split(" (configured timeouts")[0].split(", Timeout:")[0]
        start = "start it with `sacred-ray mongo start`" if self.embedded else "start it"
        return (
            f"The MongoDB at {self.describe()} cannot be reached ({reason}): {start}, {_ELSEWHERE}."
        )

    def _refusal(self, error: OperationFailure) -> str:
        if error.code == _AUTHENTICATION_FAILED:
            return (
                f"The MongoDB at {self.describe()} refuses the user name or password from "
                f"{self._login_source()}: correct them (and the URI's authSource, the database "
                f"that knows the user), or {_ELSEWHERE}."
            )
        reason = (error.details or {}).get("errmsg", "no reason given")
        if error.code == _UNAUTHORIZED:
            return (
                f"The MongoDB at {self.describe()} does not let the user from "
                f"{self._login_source()} read the collection {self.collection} ({reason}): give "
                f"a user with the role readWrite on {self.db_name}, or {_ELSEWHERE}."
            )
        return (
            f"The MongoDB at {self.describe()} refuses to read the collection "
            f"{self.collection} ({reason}): repair it, or {_ELSEWHERE}."
        )

    def _login_source(self) -> str:
        if self.uri_env is not None:
            return f"the environment variable {self.uri_env}"
        if self.password_file is not None:
            return f"the address and the file {self.password_file}"
        if self.password_env is not None:
            return f"the address and the environment variable {self.password_env}"
        return "the address, which has no password"


def _our_command() -> str:
    """Return the words that start our command line in the user's shell."""
    if shutil.which("sacred-ray"):
        return "sacred-ray"
    # A virtual environment that is not active has its commands not on the PATH.
    python = os.path.relpath(sys.executable)
    python = sys.executable if python.startswith("..") else python
    return f"{shlex.quote(python)} -m sacred_ray_ingredient"
