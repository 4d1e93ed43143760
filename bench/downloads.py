"""Downloads of several phones that go on in the background, and how long nothing came. It must not know any limit."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.village.internet import WEB
from tests.village.phone import Phone

PIECE = 262_144
BETWEEN_S = 0.005  # not each packet at once: this process shares the processor with the gateway
LONGEST_S = 600


@dataclass(slots=True)
class Download:
    """Of one phone. ``longest_silence_s``: in which nothing came, the one that is not over included."""

    sock: socket.socket
    ended: bool = False
    _last_s: float = field(default_factory=time.monotonic)
    _longest_s: float = 0.0

    @property
    def longest_silence_s(self) -> float:
        return max(self._longest_s, time.monotonic() - self._last_s)

    def hear(self, over: threading.Event) -> None:
        """Until it ends or ``over`` is set."""
        self.sock.settimeout(0.1)
        while not self.ended and not over.wait(BETWEEN_S):
            try:
                self.ended = not self.sock.recv(PIECE)
            except TimeoutError:
                continue
            except OSError:
                self.ended = True
            now = time.monotonic()
            self._longest_s, self._last_s = max(self._longest_s, now - self._last_s), now


@contextlib.contextmanager
def downloading(phones: Sequence[Phone], *, apart_s: float = 0.0) -> Iterator[list[Download]]:
    """Each phone downloads as fast as it may, as long as this lasts; one begins ``apart_s`` after the other."""
    downloads: list[Download] = []
    listeners = []
    over = threading.Event()
    try:
        for phone in phones:
            sock = phone.connect(WEB, 80)
            downloads.append(Download(sock))
            sock.sendall(f"GET /bytes?seconds={LONGEST_S} HTTP/1.1\r\nHost: village\r\n\r\n".encode())
            listeners.append(threading.Thread(target=downloads[-1].hear, args=(over,)))
            listeners[-1].start()
            time.sleep(apart_s)
        yield downloads
    finally:
        over.set()
        for listener in listeners:
            listener.join()
        for download in downloads:
            download.sock.close()
