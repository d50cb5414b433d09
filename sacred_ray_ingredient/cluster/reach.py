"""What answers at the address of a Ray, found out before Ray itself would wait for it.

Ray tries again for half a minute where a token is wrong, writes its own log to the terminal
meanwhile, and ends the process where it looks for a token in vain.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

_TIMEOUT_S = 5
CLIENT = "ray://"
# How a connection of HTTP/2 begins, and the number of what a server says first.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS_FRAME = 4
_MODE = "RAY_AUTH_MODE"
_TOKEN_PLACES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_FILE = "~/.ray/auth_token"
_WHERE_TOKENS_ARE = f"{', '.join(_TOKEN_PLACES)} or the file {_FILE}"


def address_mistake(address: str | None) -> str | None:
    """Find out why no Ray can be joined at an address, and let Ray use the token that is there.

    Parameters
    ----------
    address
        ``ray.address``; None or ``local`` for a Ray of our own.

    Returns
    -------
    str or None
        A sentence; None if Ray may be asked, which can have other reasons.
    """
    if address in (None, "local"):
        return None
    shown = f"ray.address is {address!r}"
    found, mistake = _resolved(str(address), shown)
    if mistake is not None:
        return mistake
    is_client = found.startswith(CLIENT)
    if is_client and importlib.util.find_spec("grpc") is None:
        return (
            f"{shown}, for which this Python lacks the package grpcio; install ray[client], or run "
            "the sweep on a node of the cluster with ray.address=auto."
        )
    host, _, port = found.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit():
        return None  # an address of a kind that only Ray knows
    mistake = _answer_mistake(host.strip("[]"), int(port), shown) or _token_mistake(shown)
    if mistake is not None:
        return mistake
    with _without_rays_log():
        ask = _client_mistake if is_client else _cluster_mistake
        return ask(found.removeprefix(CLIENT), shown)


def _resolved(address: str, shown: str) -> tuple[str, str | None]:
    """Find what ``auto`` stands for."""
    if address != "auto":
        return address, None
    from ray._private import services

    given = os.environ.get("RAY_ADDRESS")
    if given and given != "auto":
        return given, None
    try:
        return str(services.canonicalize_bootstrap_address("auto") or ""), None
    except ConnectionError:
        return "", (
            f"{shown}, but no Ray runs on this machine; start one with `ray start --head`, give "
            "the address of one elsewhere as HOST:PORT, or none for a local one."
        )


def _answer_mistake(host: str, port: int, shown: str) -> str | None:
    try:
        connection = socket.create_connection((host, port), timeout=_TIMEOUT_S)
    except OSError as error:
        return (
            f"{shown}, where nothing answers ({error}); give the address of a running Ray, 'auto', "
            "or none for a local one."
        )
    with connection:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true") or _is_grpc(connection):
            return None
    return (
        f"{shown}, where something answers that is no Ray; the port is that of `ray start --head "
        "--port`, 6379 by default (8265 is that of the dashboard, which is another one)."
    )


def _is_grpc(connection: socket.socket) -> bool:
    try:
        connection.sendall(_PREFACE)
        head = b""
        while len(head) <= 3:
            received = connection.recv(64)
            if not received:
                return False
            head += received
    except OSError:
        return False
    return head[3] == _SETTINGS_FRAME


def _token_mistake(shown: str) -> str | None:
    """Let Ray use a token with any address, as it does with ``auto``, if there is one."""
    import ray
    from ray._private.authentication import authentication_token_setup as setup

    mode = os.environ.get(_MODE)
    if mode is not None and mode.lower() != "token":
        return None
    try:
        is_there = setup.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    except ray.exceptions.AuthenticationError as error:
        reason = str(error).partition(" Note:")[0].partition(". Ensure")[0].rstrip(".")
        return f"{shown}, and Ray's token cannot be read: {reason}."
    if mode is not None and not is_there:
        return f"{shown} and {_MODE} is 'token', but there is none: {_WHERE_TOKENS_ARE} has to be."
    if is_there and setup.get_authentication_mode() != setup.AuthenticationMode.TOKEN:
        setup._enable_token_auth()
    return None


def _refused(shown: str) -> str:
    mode = os.environ.get(_MODE)
    ask = f"{shown}, a Ray that asks for a token, "
    if mode is None:
        return (
            f"{ask}and none was found; put that of the cluster (`ray get-auth-token` shows it on "
            f"its head node) into {_WHERE_TOKENS_ARE}."
        )
    if mode.lower() != "token":
        return f"{ask}but {_MODE} is {mode!r}; leave it out, or set it to 'token'."
    source = next((name for name in _TOKEN_PLACES if os.environ.get(name)), _FILE)
    return f"{ask}and refuses that of {source}; `ray get-auth-token` shows it on its head node."


def _cluster_mistake(address: str, shown: str) -> str | None:
    import ray

    try:
        ray._raylet.GcsClient(address=address)
    except ray.exceptions.AuthenticationError:
        return _refused(shown)
    except ray.exceptions.RpcError as error:
        if "Method not found" in str(error):
            return (
                f"{shown}, which is another port of Ray; write ray://HOST:PORT if it is that of "
                "Ray Client, else give that of `ray start --head --port`, 6379 by default."
            )
        return f"{shown}, where Ray does not answer as it should: {_first_line(error)}"
    return None


def _client_mistake(address: str, shown: str) -> str | None:
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    request = ray_client_pb2.ClusterInfoRequest(type=ray_client_pb2.ClusterInfoType.PING)
    channel = init_grpc_channel(address)
    try:
        ray_client_pb2_grpc.RayletDriverStub(channel).ClusterInfo(request, timeout=2 * _TIMEOUT_S)
    except grpc.RpcError as error:
        code: Any = error.code()
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return _refused(shown)
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return (
                f"{shown}, where no Ray Client is served; its port is that of `ray start --head "
                "--ray-client-server-port`, 10001 by default; without ray:// give that of --port."
            )
        return f"{shown}, where Ray Client does not answer as it should: {_first_line(error)}"
    finally:
        channel.close()
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@contextlib.contextmanager
def _without_rays_log() -> Iterator[None]:
    """Keep from the terminal what Ray's compiled part writes while it is asked.

    It writes to the file itself; what goes wrong is in the exception too.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
