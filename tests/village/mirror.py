"""Lets this machine's own browser see the portal as one phone: a reverse proxy on 127.0.0.1 that dials from the phone.

It must not know what the pages say. The browser's Host would be foreign to the portal, which would send it to an
address that this machine cannot reach; so Host and Origin are the portal's towards the portal, and Location is ours
towards the browser.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.village.http import HttpError
from tests.village.phone import Phone

_FORWARDED = ("accept", "accept-language", "content-type", "user-agent", "sec-fetch-site")
_HOP_BY_HOP = {"connection", "content-length", "content-encoding", "transfer-encoding", "location", "date", "server"}
_BODY_LIMIT = 64 * 1024


class Mirror:
    """``with Mirror(phone, "http://10.77.0.1/") as mirror``: ``mirror.url`` is what to open."""

    def __init__(self, phone: Phone, portal: str) -> None:
        portal_host = urlsplit(portal).netloc

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._forward("GET")

            def do_POST(self) -> None:
                self._forward("POST")

            def _forward(self, method: str) -> None:
                length = min(int(self.headers.get("Content-Length") or 0), _BODY_LIMIT)
                headers = {name: self.headers[name] for name in _FORWARDED if name in self.headers}
                if "origin" in self.headers:
                    ours = f"http://{self.headers['host']}"
                    headers["origin"] = self.headers["origin"].replace(ours, f"http://{portal_host}")
                try:
                    answer = phone.http(
                        f"http://{portal_host}{self.path}", method=method, body=self.rfile.read(length), headers=headers
                    )
                except (OSError, HttpError) as error:
                    self.send_error(502, "The gateway does not answer", str(error))
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name not in _HOP_BY_HOP:
                        self.send_header(name, value)
                if answer.location:
                    to = urlsplit(answer.location)
                    here = to._replace(scheme="", netloc="").geturl()
                    self.send_header("Location", here if to.netloc == portal_host else answer.location)
                self.send_header("Content-Length", str(len(answer.body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                return  # the terminal belongs to the story

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
