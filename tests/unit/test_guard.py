"""The guard of tests/unit bites at each thing that it forbids, and lets pure code and tmp_path sockets through."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def _iproute() -> None:
    from pyroute2 import IPRoute

    IPRoute()


def _ipset() -> None:
    from pyroute2 import IPSet

    IPSet()


FORBIDDEN: dict[str, Callable[[], object]] = {
    "subprocess": lambda: subprocess.run(["true"], check=False),
    "os.system": lambda: os.system("true"),
    "os.fork": os.fork,
    "os.posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "os.spawn": lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
    "tcp": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "ipv6": lambda: socket.socket(socket.AF_INET6),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "IPRoute": _iproute,
    "IPSet": _ipset,
    "iptc": lambda: importlib.import_module("iptc"),
    "kill": lambda: os.kill(os.getppid(), 0),
    "unix elsewhere": lambda: socket.socket(socket.AF_UNIX).connect("/run/gerbang/netctl.sock"),
    "unix abstract": lambda: socket.socket(socket.AF_UNIX).bind("\0gerbang-guard"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden(name: str) -> None:
    with pytest.raises(BaseException, match="must not touch the machine") as caught:
        FORBIDDEN[name]()
    assert type(caught.value).__name__ == "TouchedMachine"
    assert "iptc" not in sys.modules


def test_except_exception_does_not_hide_it() -> None:
    with pytest.raises(BaseException, match="starts a process"):
        try:
            subprocess.run(["true"], check=False)
        except Exception:
            pytest.fail("an `except Exception` of the subject swallowed the guard")


def test_unix_sockets_below_tmp_path_and_pairs_are_allowed(tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(tmp_path / "s"))
    peer, _ = server.accept()
    client.sendall(b"x")
    assert peer.recv(1) == b"x"
    left, right = socket.socketpair()
    for each in (server, client, peer, left, right):
        each.close()
    os.kill(os.getpid(), signal.SIGCONT)
