"""A time server (RFC 5905, as far as a client needs it) in somebody's namespace. It must not know who asks."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

from tests.village.netns import Namespace

PORT = 123
_SINCE_1900_S = 2_208_988_800
_HEADER = struct.Struct("!BBbbII4s")  # leap, version and mode; stratum; poll; precision; delay; dispersion; reference


class TimeServer:
    """Tells whoever asks at ``address`` this machine's time and ``ahead_s``, as a first-hand source."""

    def __init__(self, ns: Namespace, address: str) -> None:
        self.ahead_s = 0.0
        self._socket = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, PORT))
        self._thread = threading.Thread(target=self._serve, name="ntp", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                asked, peer = self._socket.recvfrom(512)
            except OSError:
                return
            if not asked:
                return
            received = _stamp(time.time() + self.ahead_s)
            if len(asked) < 48 or asked[0] & 7 != 3:  # mode 3: a client
                continue
            version = asked[0] >> 3 & 7
            head = _HEADER.pack(version << 3 | 4, 1, 6, -20, 0, 1, b"TEST")
            with suppress(OSError):
                self._socket.sendto(
                    head + received + asked[40:48] + received + _stamp(time.time() + self.ahead_s), peer
                )

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread; a datagram socket says it is not connected
        self._thread.join(timeout=2)
        self._socket.close()


def _stamp(wall_s: float) -> bytes:
    return struct.pack("!II", int(wall_s) + _SINCE_1900_S & 0xFFFFFFFF, int(wall_s % 1 * 2**32))
