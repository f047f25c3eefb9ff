"""Who may ask: the address that is listened on, and the token."""

from __future__ import annotations

import errno
import hmac
import ipaddress
import os
import re
import socket
import stat
from pathlib import Path

from trm_deploy.errors import InputError, TrmDeployError

# Characters of a token, as RFC 6750 has them; a short one can be guessed.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
SHORTEST_TOKEN = 16
LARGEST_TOKEN_FILE = 4096


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        InputError: it cannot be read, others can read it as well, or it holds no token.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LARGEST_TOKEN_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: the token file cannot be read ({error.strerror})") from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise InputError(
            f"{path}: others than its owner may read or write the token file (its mode is {stat.S_IMODE(mode):o})",
            hint=f"type: chmod 600 {path}",
        )
    token = content.decode("utf-8", "replace").strip()
    if not TOKEN.fullmatch(token) or len(token) < SHORTEST_TOKEN:
        raise InputError(
            f"{path}: holds no token, expected one line of {SHORTEST_TOKEN} or more letters, digits and . _ ~ + / -",
            hint=f"type: (umask 077; openssl rand -hex 32 > {path})",
        )
    return token


def is_allowed(authorization: str, token: str) -> bool:
    """Whether the header of a request has the token; takes as long whatever it has instead."""
    scheme, _, given = authorization.partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
    return same and scheme.lower() == "bearer"


def bind(host: str, port: int, *, has_token: bool) -> socket.socket:
    """A socket at an address; it does not listen yet.

    Args:
        host: name or address.
        port: 0: a free one.
        has_token: without a token, nothing but this machine itself may be served.

    Raises:
        InputError: there is no such address here, others could reach it and there is no token, or it is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {host}: is no address of this machine ({error})") from error
    if not has_token and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise InputError(
            f"--host {host}: other machines could reach it and there is no token, so everyone could use the engine",
            hint="add --token-file FILE, or leave out --host",
        )
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"--port {port}: another program listens on {host} port {port}", hint="name another with --port"
            ) from error
        if error.errno in (errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM):
            raise InputError(f"--host {host} --port {port}: cannot be listened on ({error.strerror})") from error
        raise TrmDeployError(f"--host {host} --port {port}: {error.strerror}") from error
    return bound
