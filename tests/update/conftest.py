"""Images to update from and to, and a server that gives them out. It must not know the project's formats."""

from __future__ import annotations

import http.server
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.update import fetching


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(old, new): of the second, one stretch is another, one is gone and one has come in. Neither can be compressed."""
    folder, chance = tmp_path_factory.mktemp("images"), random.Random(7)
    before = chance.randbytes(3_000_000)
    after = b"head" * 24 + before[:900_000] + chance.randbytes(40_000) + before[900_000:1_700_000] + before[1_800_000:]
    old, new = folder / "old.squashfs", folder / "new.raucb"
    old.write_bytes(before)
    new.write_bytes(after)
    return old, new


@pytest.fixture
def needs_zstd() -> None:
    if shutil.which("zstd") is None:
        pytest.skip("no zstd here")


class Server(http.server.ThreadingHTTPServer):
    """Gives out one file at ``url``. It breaks the first ``breaks`` connections after 7000 bytes; the line is dead once
    it has carried ``lasts`` bytes. It knows ``ranges`` and tells the file's ``length``, or not.
    """

    content = b""
    version = "1"
    breaks = 0
    lasts = 1 << 60
    ranges = True
    length = True
    sent = 0
    asked: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.path != "/file":
            self.send_error(404)
            return
        part = bool(wanted and self.server.ranges)
        first, size = int(wanted[6:-1]) if wanted and part else 0, len(self.server.content)
        if part and first >= size:
            self.send_error(416)
            return
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        if self.server.length:
            self.send_header("Content-Length", str(size - first))
        self.send_header("ETag", f'"{self.server.version}"')
        self.end_headers()
        self._send(self.server.content[first:])

    def _send(self, content: bytes) -> None:
        if self.server.breaks:
            self.server.breaks -= 1
            content = content[:7000]
        content = content[: max(0, self.server.lasts - self.server.sent)]
        self.server.sent += len(content)
        try:
            self.wfile.write(content)
        except OSError:  # who asked has seen enough
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetching, "PAUSE_S", 0.0)
    found = Server(("127.0.0.1", 0), Handler)
    found.asked = []
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()
