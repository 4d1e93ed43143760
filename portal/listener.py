"""Opens the socket that a server answers on, or takes over one that was opened for it. It must not know who answers.

The supervisor, or systemd, opens it and hands it down, so that phones wait in its queue while a server that died starts
again; none is refused. It imports the standard library alone.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

BACKLOG: Final = 1024
DEFER_ACCEPT_S: Final = 5
VARIABLE: Final = "GERBANG_LISTENER"
"""In the environment of a process that is given its socket by the supervisor: the descriptor's number."""
FIRST_OF_SYSTEMD: Final = 3  # SD_LISTEN_FDS_START


def listen(host: str, port: int) -> socket.socket:
    """A listening dual-stack socket (IPv4 alone where the kernel has no IPv6).

    TCP_DEFER_ACCEPT (tcp(7)) leaves clients that connect and say nothing to the kernel.

    :raises OSError: the port cannot be had
    """
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        host = "0.0.0.0" if host == "::" else host  # noqa: S104, the LAN is who it is for; the rules keep others out
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_S)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def inherited() -> socket.socket | None:
    """The socket that this process was started with, once; None without one.

    :raises OSError: systemd has passed several, and nobody can say which is meant
    """
    number = os.environ.pop(VARIABLE, None)
    return _of_systemd() if number is None else socket.socket(fileno=int(number))


def _of_systemd() -> socket.socket | None:
    """sd_listen_fds(3): so many from descriptor 3 on, for the process of this number, and for none that it starts."""
    number, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "0")
    os.environ.pop("LISTEN_FDNAMES", None)
    if number != str(os.getpid()) or count == "0":
        return None
    if count != "1":
        raise OSError(errno.EINVAL, f"systemd passed {count} sockets instead of one")
    os.set_inheritable(FIRST_OF_SYSTEMD, False)
    return socket.socket(fileno=FIRST_OF_SYSTEMD)
