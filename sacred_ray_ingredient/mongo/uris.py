"""MongoDB URIs taken apart and put together, with an eye on what in them is secret.

pymongo's own parser resolves names, reads certificates and puts parts of a wrong URI into its
messages, a password included; this one only looks at the text and never repeats it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

DEFAULT_PORT = 27017

_URI = re.compile(
    r"(?P<scheme>mongodb(?:\+srv)?)://"
    r"(?:(?P<user>[^/?#@:]*)(?::(?P<password>[^/?#@]*))?@)?"
    r"(?P<hosts>[^/?#@]+)"
    r"(?:/(?P<database>[^/?#@]*))?"
    r"(?:\?(?P<options>[^#]*))?"
)
_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?|%2[Ff][\w.%-]+", re.ASCII
)
_SECRET_OPTIONS = {"tlscertificatekeyfilepassword", "ssl_pem_passphrase", "proxypassword"}


@dataclass(frozen=True)
class Uri:
    """The parts of a MongoDB URI, as they stand in it (percent-encoded).

    Attributes
    ----------
    scheme : str
        ``mongodb`` or ``mongodb+srv``.
    user, password : str or None
        Who logs in; the password is left out of the object's repr.
    hosts : tuple of str
        ``name`` or ``name:port`` each.
    database : str or None
        The part behind the slash.
    options : tuple of pairs
        What stands behind the question mark; left out of the repr, as some are secret.
    """

    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    hosts: tuple[str, ...]
    database: str | None
    options: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def has_secret(self) -> bool:
        """Whether the password or an option has to be kept from logs and documents."""
        return self.password is not None or any(map(_is_secret, self.options))

    def public(self) -> Uri:
        """Return the same address without its secrets."""
        options = tuple(option for option in self.options if not _is_secret(option))
        return replace(self, password=None, options=options)

    def option(self, name: str) -> str | None:
        """Return the value of an option, whatever its capitals, or None."""
        for key, value in self.options:
            if key.lower() == name.lower():
                return value
        return None

    def hosts_with_ports(self) -> tuple[str, ...]:
        """Return the hosts with the port that a client takes where none is given."""
        if self.scheme == "mongodb+srv":
            return self.hosts
        return tuple(_with_port(host) for host in self.hosts)

    def __str__(self) -> str:
        login = ""
        if self.user is not None:
            login = self.user if self.password is None else f"{self.user}:{self.password}"
            login += "@"
        text = f"{self.scheme}://{login}{','.join(self.hosts)}/{self.database or ''}"
        if self.options:
            text += "?" + "&".join(f"{key}={value}" for key, value in self.options)
        return text


def with_scheme(text: str) -> str:
    """Put ``mongodb://`` before an address that comes without a scheme, as ``host:port`` does."""
    return text if "://" in text else f"mongodb://{text}"


def parse_uri(text: str) -> Uri:
    """Take a MongoDB URI apart.

    Parameters
    ----------
    text
        The URI; ``mongodb://`` may be missing.

    Raises
    ------
    ValueError
        If it is none. The message is the end of a sentence ("is not …") and repeats nothing
        of the text, which may have a password in it.
    """
    match = _URI.fullmatch(with_scheme(text.strip()))
    if match is None:
        raise ValueError(
            "is not a MongoDB URI such as mongodb://USER@HOST:PORT/DATABASE?authSource=admin "
            "(special characters in a user name or password have to be percent-encoded)"
        )
    hosts = tuple(match["hosts"].split(","))
    for host in hosts:
        parts = _HOST.fullmatch(host)
        if parts is None or int(parts["port"] or 1) not in range(1, 65536):
            raise ValueError(
                "is not a MongoDB URI: between the user name and the next / there has to be "
                "HOST or HOST:PORT with a port from 1 to 65535, or several with commas"
            )
    pairs = [option.partition("=") for option in (match["options"] or "").split("&") if option]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("is not a MongoDB URI: behind the ? there have to be NAME=VALUE options")
    return Uri(
        scheme=match["scheme"],
        user=match["user"] or None,
        password=match["password"],
        hosts=hosts,
        database=match["database"] or None,
        options=tuple((key, value) for key, _, value in pairs),
    )


def _is_secret(option: tuple[str, str]) -> bool:
    key, value = option[0].lower(), option[1].lower()
    if key in _SECRET_OPTIONS:
        return True
    return key == "authmechanismproperties" and "aws_session_token" in value


def _with_port(host: str) -> str:
    match = _HOST.fullmatch(host)
    if match is None or match["name"] is None or match["port"] is not None:
        return host
    return f"{host}:{DEFAULT_PORT}"
