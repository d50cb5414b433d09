"""The ``mongod`` process of a project: starting it, recognising it, asking why it did not start.

What is known about a running server comes from the server's own lock file and from the
process itself, never from notes of ours that a crash or a reboot makes wrong.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.errors import DatabaseError

LOOPBACK = "127.0.0.1"

_EXIT_PORT_TAKEN = 48
# Long enough for a server that repairs a large data folder after a crash.
_START_TIMEOUT_S = 600.0
_PS_TIMEOUT_S = 10.0
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class PortTaken(Exception):
    """Somebody else listens on the port; another one has to be tried."""


@dataclass(frozen=True)
class ServerFiles:
    """Where the files of a project's server are.

    Attributes
    ----------
    root : pathlib.Path
        The folder of all of them, mode 0700.
    """

    root: Path

    @property
    def data(self) -> Path:
        """The database's own folder."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.root / "mongod.log"

    @property
    def output(self) -> Path:
        """What the last start printed; the log does not exist yet when a library is missing."""
        return self.root / "start.log"

    @property
    def password(self) -> Path:
        """The password of our user."""
        return self.root / "password"

    @property
    def key(self) -> Path:
        """The server's key file, which lets the folder's owner make that user."""
        return self.root / "key"

    @property
    def state(self) -> Path:
        """The remembered port."""
        return self.root / "server.json"

    @property
    def lock(self) -> Path:
        """What a command holds while it starts or stops the server."""
        return self.root / "lock"


@dataclass(frozen=True)
class ServerProcess:
    """A running server of ours.

    Attributes
    ----------
    pid : int
        Its process id.
    port : int
        Its port.
    """

    pid: int
    port: int


def find_process(files: ServerFiles) -> ServerProcess | None:
    """Return the running server of a data folder, or None.

    The id is the one in the server's lock file, and counts only if that process really is a
    mongod on this data folder: after a crash or reboot it may be anybody's.
    """
    try:
        pid = int((files.data / "mongod.lock").read_text(encoding="ascii"))
    except (OSError, ValueError):
        # No server was ever started, or it was stopped cleanly, which empties the file.
        return None
    return _server_at(pid, files)


def still_runs(process: ServerProcess, files: ServerFiles) -> bool:
    """Tell whether a server is still there; it empties its lock file before it ends."""
    return _server_at(process.pid, files) is not None


def _server_at(pid: int, files: ServerFiles) -> ServerProcess | None:
    arguments = _arguments(pid)
    options = dict(pairwise(arguments))
    if options.get("--dbpath") != str(files.data) or not options.get("--port", "").isdigit():
        return None
    return ServerProcess(pid, int(options["--port"]))


def _arguments(pid: int) -> list[str]:
    if Path("/proc/self/cmdline").exists():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return []
        return [os.fsdecode(argument) for argument in line.split(b"\0")]
    # A path with spaces is not found again here, and the server then counts as not running.
    listed = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-p", str(pid), "-o", "args="],
        capture_output=True,
        text=True,
        timeout=_PS_TIMEOUT_S,
        check=False,
    )
    return listed.stdout.split()


def pick_port(preferred: int | None) -> int:
    """Return the preferred port if nobody listens on it, else a free one."""
    for port in (preferred or 0, 0):
        with socket.socket() as probe:
            # As the server does: connections that linger after its last run do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DatabaseError(
        f"No port is free on {LOOPBACK} for the MongoDB of the project; close programs that hold "
        "many connections, or give a server with -m HOST:PORT:DB."
    )


def listens(port: int, timeout_s: float) -> bool:
    """Tell whether anybody listens on a port of the loopback interface."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def launch(program: Path, files: ServerFiles, port: int) -> None:
    """Start a server and return when it takes connections.

    It is no child of ours and in a session of its own, so that it outlives this command and
    does not see the terminal's Ctrl-C.

    Parameters
    ----------
    program
        The mongod.
    files
        Where its files go; the folders, the key and the password exist.
    port
        The port.

    Raises
    ------
    PortTaken
        If somebody else listens on the port.
    DatabaseError
        If the server does not start for another reason.
    """
    log_start = files.log.stat().st_size if files.log.exists() else 0
    try:
        with files.output.open("wb") as output:
            code = subprocess.run(  # noqa: S603
                [str(program), *_options(files, port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=files.root,
                env=_environment(),
                start_new_session=True,
                timeout=_START_TIMEOUT_S,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired:
        raise DatabaseError(
            f"The MongoDB of the project was not ready {_START_TIMEOUT_S:.0f} s after its start; "
            f"it may still be repairing its data, see {files.log}, then try again."
        ) from None
    except OSError as error:
        raise DatabaseError(
            f"{program} cannot be run ({error.strerror}); install a mongod for this system, or "
            "give a server with -m HOST:PORT:DB or SACRED_MONGO_URL."
        ) from error
    if code == _EXIT_PORT_TAKEN:
        raise PortTaken
    if code != 0:
        raise DatabaseError(
            f"The MongoDB of the project in {files.root} did not start (exit code {code}): "
            f"{_reason(files, log_start)}. The log is {files.log}."
        )


def _options(files: ServerFiles, port: int) -> list[str]:
    return [
        *("--dbpath", str(files.data)),
        *("--logpath", str(files.log), "--logappend", "--quiet"),
        *("--bind_ip", LOOPBACK, "--port", str(port), "--nounixsocket"),
        # With the key, and without the exception for local clients, there is no moment at which
        # another user of this machine could make the first account.
        *("--auth", "--keyFile", str(files.key)),
        *("--setParameter", "enableLocalhostAuthBypass=false"),
        *("--wiredTigerCacheSizeGB", "0.5"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        "--fork",
    ]


def _environment() -> dict[str, str]:
    # Secrets of the caller's environment are none of the server's business, and it refuses to
    # start in a locale that is not installed.
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def _reason(files: ServerFiles, log_start: int) -> str:
    """Return the last meaningful line of a start that failed."""
    log = ""
    if files.log.exists():
        with files.log.open("rb") as stream:
            stream.seek(log_start)
            log = stream.read().decode(errors="replace")
    errors = [text for text in map(_error_in, log.splitlines()) if text]
    if errors:
        return errors[-1]
    printed = [
        line.strip()
        for line in files.output.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip() and not line.startswith(("To see additional", "about to fork", "forked"))
    ]
    return printed[-1] if printed else "it printed nothing"


def _error_in(line: str) -> str | None:
    """Return the message of a log line if it is an error's."""
    try:
        entry = json.loads(line)
    except ValueError:
        # Servers before 4.4 log plain text, which is of no use without knowing its kind.
        return None
    if not isinstance(entry, Mapping) or entry.get("s") not in ("E", "F"):
        return None
    attributes: Any = entry.get("attr")
    detail = attributes.get("error") if isinstance(attributes, Mapping) else None
    if isinstance(detail, Mapping):
        detail = detail.get("errmsg")
    return f"{entry.get('msg')}: {detail}".rstrip(".") if detail else str(entry.get("msg"))
