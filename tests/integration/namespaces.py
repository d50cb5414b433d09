"""Network namespaces as machines of their own: each has an address, and can be cut off."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

_BITS = 24
# A hardware address that nothing has.
_NOBODY = "02:00:00:00:00:01"


@dataclass
class Namespace:
    """A machine in the network; what is to run there has ``prefix`` before its command."""

    name: str
    address: str
    _link: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return "ip", "netns", "exec", self.name

    def cut(self) -> None:
        """Cut it off, as when its cable is pulled."""
        _ip("link", "set", self._link, "down")

    def mend(self) -> None:
        """Connect it again."""
        _ip("link", "set", self._link, "up")

    def block(self, address: str) -> None:
        """Lose without an answer what goes from here to one address, as firewalls do."""
        words = ("neigh", "replace", address, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")
        _ip("-n", self.name, *words)

    def unblock(self, address: str) -> None:
        """Let it go there again."""
        _ip("-n", self.name, "neigh", "del", address, "dev", "eth0")


@dataclass
class Network:
    """A bridge with an address of this machine; namespaces that are added are behind it."""

    bridge: str
    _subnet: str
    _mark: str
    _namespaces: list[Namespace] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Address of this machine, as the namespaces see it."""
        return f"{self._subnet}.1"

    def add(self) -> Namespace:
        """Add a namespace with an address of its own."""
        number = len(self._namespaces) + 2
        name, link = f"sri-{self._mark}-{number}", f"sri{self._mark}{number}"
        added = Namespace(name, f"{self._subnet}.{number}", link)
        _ip("netns", "add", name)
        self._namespaces.append(added)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", link, "master", self.bridge)
        _ip("-n", name, "addr", "add", f"{added.address}/{_BITS}", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        # Ray asks for the way to the internet to find out a machine's own address.
        _ip("-n", name, "route", "add", "default", "via", self.address)
        added.mend()
        return added

    def close(self) -> None:
        """Take everything away; what runs in a namespace has to be ended before."""
        for namespace in self._namespaces:
            with contextlib.suppress(subprocess.CalledProcessError):  # never got so far
                _ip("link", "del", namespace._link)
            _ip("netns", "del", namespace.name)
        _ip("link", "del", self.bridge)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Give a network without namespaces; what is added to it is taken away afterwards."""
    mark = secrets.token_hex(3)
    made = Network(f"srib{mark}", f"10.{secrets.randbelow(200) + 50}.{int(mark[:2], 16)}", mark)
    _ip("link", "add", "name", made.bridge, "type", "bridge")
    try:
        _ip("addr", "add", f"{made.address}/{_BITS}", "dev", made.bridge)
        _ip("link", "set", made.bridge, "up")
        yield made
    finally:
        made.close()


def why_no_namespaces() -> str | None:
    """Return a sentence where no namespace can be made; None where one can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    if shutil.which("ip") is None:
        return "network namespaces need the command `ip`: apt-get install iproute2"
    try:
        with network() as tried:
            tried.add()
    except subprocess.CalledProcessError as error:
        return f"no network namespace can be made here: {error.stderr.strip()}"
    return None


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
