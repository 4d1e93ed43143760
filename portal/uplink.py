"""Checks in a thread of its own whether the way to the Internet works. It must not know SQL or netctl.

A name that does not resolve can hold a caller for longer than any timeout of the socket (getaddrinfo(3) has none):
hence the thread, and a resolver that asks once and not twice for 5 s (resolv.conf(5)).
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import urllib.parse
from collections.abc import Callable

from portal import clock
from portal.domain.model import Now
from portal.domain.uplink import UplinkView

TIMEOUT_S = 3.0
RESOLVER_OPTIONS = "timeout:2 attempts:1"
MAX_HEAD_BYTES = 4096
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")


def is_reached(url: str) -> bool:
    """GET ``url`` (http only); True for 204 and 200. A redirect is the provider's own portal or block page: False."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"The uplink is checked over plain http, not {url!r}.")
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: gerbang\r\nConnection: close\r\n\r\n"
    head = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((parts.hostname, parts.port or 80), timeout=TIMEOUT_S) as connection,
    ):
        connection.sendall(request.encode("ascii", "replace"))
        while b"\n" not in head and len(head) < MAX_HEAD_BYTES:
            chunk = connection.recv(MAX_HEAD_BYTES)
            if not chunk:
                break
            head += chunk
    status = _STATUS_LINE.match(head)
    return status is not None and status[1] in (b"204", b"200")


class UplinkWatch:
    """Checks until told to stop; ``view`` is what it holds now (read it from any thread)."""

    def __init__(
        self,
        url: str,
        check: Callable[[str], bool] = is_reached,
        read_clock: Callable[[], Now] = clock.now,
    ) -> None:
        self._url = url
        self._check = check
        self._read_clock = read_clock
        self.view = UplinkView()

    def run(self, stop: threading.Event) -> None:
        while True:
            begun_boot_s = self._read_clock().boot_s
            self.view = self.view.after(self._check(self._url), begun_boot_s)
            took_s = self._read_clock().boot_s - begun_boot_s
            if stop.wait(max(0.5, self.view.next_check_after_s - took_s)):
                return

    def start(self, stop: threading.Event) -> threading.Thread:
        os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)  # glibc reads it at this process's first look-up
        thread = threading.Thread(target=self.run, args=(stop,), name="uplink", daemon=True)
        thread.start()
        return thread
