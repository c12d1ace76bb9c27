"""Where a page is served, checked before anything slow happens; nothing here imports torch."""

from __future__ import annotations

import errno
import os
import socket
from importlib.util import find_spec
from typing import Any

from dfast._numbers import shown, whole
from dfast.errors import ConfigError

HOST, PORT = "127.0.0.1", 8080
"""The default: this machine alone can see the page."""
EVERYWHERE = ("0.0.0.0", "::")
"""Hosts that stand for all addresses of this machine."""


def check_address(host: str, port: int) -> tuple[str, int]:
    """Return host and port of a page that can be served.

    Args:
        host: an address or a name of this machine.
        port: 1 to 65535, or 0 for any that is free.

    Raises:
        ConfigError: the package viser is missing, or the page cannot be served there.
    """
    if find_spec("viser") is None:
        raise ConfigError('view: expected the package viser: pip install "dfast[view]"')
    number = whole(port)
    if number is None or not 0 <= number <= 65535:
        raise ConfigError(f"port: expected a whole number from 0 to 65535, got {shown(port)}")
    try:
        places = socket.getaddrinfo(host or None, number, type=socket.SOCK_STREAM)
        if not isinstance(host, str) or not host:
            raise ValueError
    except (OSError, ValueError, TypeError):
        raise ConfigError(f"host: expected an address of this machine, got {shown(host)}") from None
    for family, kind, protocol, _, address in places:
        with socket.socket(family, kind, protocol) as probe:
            _bind(probe, address, host, number)
    return host, number


def _bind(probe: socket.socket, address: Any, host: str, port: int) -> None:
    """Bind a socket as a server would; raise ConfigError where that cannot be done."""
    if os.name == "posix":  # as asyncio does, or a page that was just closed is in the way
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if probe.family == socket.AF_INET6:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port: {port} is in use on {host}; choose another one, or 0 for any that is free"
            ) from None
        if error.errno == errno.EACCES:
            raise ConfigError(f"port: expected one that this user may open, got {port}") from None
        reason = error.strerror or error
        raise ConfigError(
            f"host: expected an address of this machine, got {shown(host)} ({reason})"
        ) from None


def url(host: str, port: int) -> str:
    """Return the address of a page as a browser on this machine takes it.

    Args:
        host: where it is served.
        port: its port.
    """
    if host in EVERYWHERE:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
