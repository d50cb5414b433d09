"""A private MongoDB server for a project: one per project folder, shared by all its commands.

It listens on the loopback interface only, wants a password that only its user can read, and
stays up until it is stopped.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sacred_ray_ingredient.errors import DatabaseError
from sacred_ray_ingredient.mongo.address import APP_NAME, MongoAddress
from sacred_ray_ingredient.mongo.binary import find_mongod
from sacred_ray_ingredient.mongo.folder import create_project_folder
from sacred_ray_ingredient.mongo.process import (
    LOOPBACK,
    PortTaken,
    ServerFiles,
    ServerProcess,
    find_process,
    launch,
    listens,
    pick_port,
    still_runs,
)
from sacred_ray_ingredient.mongo.secret_files import ensure_secret, read_secret

USER = "sacred"

# Reading and writing every database, and being stopped by the same user.
_ROLES = ["readWriteAnyDatabase", "hostManager"]
_USER_EXISTS = 51003
_PORTS_TRIED = 5
_FAST_TIMEOUT_S = 2.0
_PATIENT_TIMEOUT_S = 20.0
_LOCK_TIMEOUT_S = 660.0
_STOP_TIMEOUT_S = 60.0
_PORT_TIMEOUT_S = 2.0
_POLL_S = 0.02
# The unit of st_blocks, whatever the file system's own.
_BLOCK_BYTES = 512


@dataclass(frozen=True)
class ServerStatus:
    """How a project's server is.

    Attributes
    ----------
    running : bool
        Whether its process is there.
    pid : int or None
        Its process id, if it runs.
    port : int or None
        Its port; where it does not run, the one that it will try to have again.
    data_folder : pathlib.Path
        Where its data are.
    size_bytes : int
        How large they are on disk.
    """

    running: bool
    pid: int | None
    port: int | None
    data_folder: Path
    size_bytes: int


class EmbeddedServer:
    """The private MongoDB server of a project.

    Parameters
    ----------
    folder
        The project folder, see `project_folder`.
    """

    def __init__(self, folder: Path) -> None:
        # The process is recognised by its data folder, which has to have one name only.
        self.folder = folder.expanduser().resolve()
        self.files = ServerFiles(self.folder / "mongo")

    @property
    def exists(self) -> bool:
        """Whether the server was ever started, and so has data."""
        return self.files.data.is_dir()

    def start(self) -> MongoAddress:
        """Start the server if it does not run.

        Any number of processes may do it at once; all get the same server.

        Returns
        -------
        MongoAddress
            Its address, without the password.

        Raises
        ------
        DatabaseError
            If there is no mongod, it does not start, or it refuses us.
        """
        port = self._answering_port(_FAST_TIMEOUT_S)
        if port is None:
            create_project_folder(self.folder)
            with self._locked():
                port = self._answering_port(_FAST_TIMEOUT_S) or self._start()
        return self._address(port)

    def stop(self) -> bool:
        """Stop the server; its data stay.

        Returns
        -------
        bool
            False if it did not run.

        Raises
        ------
        DatabaseError
            If it does not end.
        """
        if find_process(self.files) is None:
            return False
        with self._locked():
            process = find_process(self.files)
            if process is None:
                return False
            if not self._shut_down(process):
                _terminate(process)
            self._wait_until_gone(process)
        return True

    def status(self) -> ServerStatus:
        """Return how the server is; nothing is started or changed."""
        process = find_process(self.files)
        return ServerStatus(
            running=process is not None,
            pid=process.pid if process else None,
            port=process.port if process else self._remembered_port(),
            data_folder=self.files.data,
            size_bytes=_size(self.files.data),
        )

    def address(self) -> MongoAddress:
        """Return the address of the running server.

        Raises
        ------
        DatabaseError
            If it does not run.
        """
        port = self._answering_port(_PATIENT_TIMEOUT_S)
        if port is None:
            raise DatabaseError(
                f"The MongoDB of the project in {self.folder} does not run; start it with "
                "`sacred-ray mongo start`."
            )
        return self._address(port)

    def uri_with_password(self) -> str:
        """Return the complete URI of the running server, password included, for other tools.

        Raises
        ------
        DatabaseError
            If it does not run.
        """
        address = self.address()
        password = quote(read_secret(self.files.password) or "", safe="")
        host = address.uri.partition("@")[2].partition("/")[0]
        return f"mongodb://{USER}:{password}@{host}/{address.db_name}?authSource=admin"

    def _address(self, port: int) -> MongoAddress:
        return MongoAddress(
            uri=f"mongodb://{USER}@{LOOPBACK}:{port}/?authSource=admin",
            password_file=str(self.files.password),
            embedded=True,
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            self.files.root.mkdir(mode=0o700, exist_ok=True)
            lock = FileLock(str(self.files.lock), timeout=_LOCK_TIMEOUT_S)
            lock.acquire()
        except Timeout:
            raise DatabaseError(
                f"Another command has been starting or stopping the MongoDB of {self.folder} for "
                f"{_LOCK_TIMEOUT_S:.0f} s; see {self.files.log}, and end that command."
            ) from None
        except OSError as error:
            raise DatabaseError(
                f"The folder {self.files.root} of the project's MongoDB cannot be written "
                f"({error.strerror}); make it yours, or set SACRED_RAY_HOME to another folder."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _start(self) -> int:
        """Start the server, or finish a start that was interrupted; the lock is held."""
        try:
            ensure_secret(self.files.password, secrets.token_urlsafe(32))
            # The server wants the letters of base64 in its key.
            ensure_secret(self.files.key, secrets.token_hex(32))
            self.files.data.mkdir(mode=0o700, exist_ok=True)
            process = find_process(self.files)
            port = process.port if process else self._launch()
            self.files.state.write_text(json.dumps({"port": port}) + "\n", encoding="utf-8")
        except OSError as error:
            raise DatabaseError(
                f"The MongoDB of the project cannot write {error.filename or self.files.root} "
                f"({error.strerror}); make room or give the right to it, or set SACRED_RAY_HOME "
                "to another folder."
            ) from error
        if not self._answers(port, _FAST_TIMEOUT_S):
            self._make_user(port)
        return port

    def _launch(self) -> int:
        program = find_mongod(self.folder)
        preferred = self._remembered_port()
        for _ in range(_PORTS_TRIED):
            port = pick_port(preferred)
            try:
                launch(program, self.files, port)
            except PortTaken:
                # Somebody was faster between our look and the server's.
                preferred = None
                continue
            return port
        raise DatabaseError(
            f"The MongoDB of the project found {_PORTS_TRIED} ports taken by others on "
            f"{LOOPBACK}, one after the other; try again, or give a server with -m HOST:PORT:DB."
        )

    def _make_user(self, port: int) -> None:
        """Give our user the password of the file, logged in with the server's own key."""
        from pymongo.errors import OperationFailure, PyMongoError

        password = read_secret(self.files.password)
        try:
            with _client(port, "__system", self.files.key, "local", _PATIENT_TIMEOUT_S) as client:
                try:
                    client.admin.command("createUser", USER, pwd=password, roles=_ROLES)
                except OperationFailure as error:
                    if error.code != _USER_EXISTS:
                        raise
                    # The password's file was lost and made anew.
                    client.admin.command("updateUser", USER, pwd=password, roles=_ROLES)
        except OperationFailure as error:
            raise DatabaseError(
                f"The MongoDB of the project runs on port {port} but accepts neither the password "
                f"in {self.files.password} nor the key in {self.files.key} "
                f"({(error.details or {}).get('errmsg', 'no reason given')}): restore these "
                "files, or `sacred-ray mongo stop` it and start it again."
            ) from error
        except PyMongoError as error:
            raise DatabaseError(
                f"The MongoDB of the project runs on port {port} but does not answer; see "
                f"{self.files.log}, or `sacred-ray mongo stop` it and start it again."
            ) from error

    def _answering_port(self, timeout_s: float) -> int | None:
        port = self._remembered_port()
        if port is None:
            process = find_process(self.files)
            port = process.port if process else None
        return port if port is not None and self._answers(port, timeout_s) else None

    def _remembered_port(self) -> int | None:
        try:
            port = json.loads(self.files.state.read_text(encoding="utf-8"))["port"]
        except (OSError, ValueError, KeyError, TypeError):
            # Missing or half written: a running server's port is on its command line as well,
            # and a new one can have any.
            return None
        return port if isinstance(port, int) else None

    def _answers(self, port: int, timeout_s: float) -> bool:
        """Tell whether our server is at a port: whoever knows our password is."""
        from pymongo.errors import PyMongoError

        if not read_secret(self.files.password) or not listens(port, timeout_s):
            return False
        try:
            with _client(port, USER, self.files.password, "admin", timeout_s) as client:
                client.admin.command("ping")
        except PyMongoError:
            # Another program's port, or a start that has not come to the user yet; the caller
            # finds out which.
            return False
        return True

    def _shut_down(self, process: ServerProcess) -> bool:
        """Ask the server to end; False if it did not take the request."""
        from pymongo.errors import AutoReconnect, NetworkTimeout, PyMongoError

        if not self._answers(process.port, _FAST_TIMEOUT_S):
            return False
        try:
            with _client(
                process.port, USER, self.files.password, "admin", _PATIENT_TIMEOUT_S
            ) as client:
                client.admin.command("shutdown")
        except NetworkTimeout:
            return False
        except AutoReconnect:
            # The answer of a server that ends is a closed connection.
            return True
        except PyMongoError:
            return False
        return True

    def _wait_until_gone(self, process: ServerProcess) -> None:
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while still_runs(process, self.files):
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"The MongoDB of the project (process {process.pid}) did not end within "
                    f"{_STOP_TIMEOUT_S:.0f} s; see {self.files.log}."
                )
            time.sleep(_POLL_S)
        # An ending process loses its command line before its port: whoever started the server
        # again at once would find the dying one there, and wait for its answer.
        deadline = time.monotonic() + _PORT_TIMEOUT_S
        while listens(process.port, _PORT_TIMEOUT_S) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


@contextmanager
def _client(port: int, user: str, secret: Path, source: str, timeout_s: float) -> Iterator[Any]:
    """Give a client that is closed again and never takes longer than the time given."""
    import pymongo

    milliseconds = int(timeout_s * 1000)
    client: pymongo.MongoClient = pymongo.MongoClient(
        LOOPBACK,
        port,
        username=user,
        password=read_secret(secret),
        authSource=source,
        appname=APP_NAME,
        directConnection=True,
        serverSelectionTimeoutMS=milliseconds,
        connectTimeoutMS=milliseconds,
        socketTimeoutMS=milliseconds,
    )
    try:
        yield client
    finally:
        client.close()


def _terminate(process: ServerProcess) -> None:
    try:
        os.kill(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        # It ended by itself since it was looked for.
        return
    except PermissionError:
        raise DatabaseError(
            f"The MongoDB of the project (process {process.pid}) belongs to another user, who has "
            "to stop it."
        ) from None


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            # What it takes of the disk, which differs from the length of a sparse file.
            total += path.stat().st_blocks * _BLOCK_BYTES
        except FileNotFoundError:
            # The server removes files while we look.
            continue
    return total
