"""What a browser sends to the staff pages and keeps of the answers. It must not know what the pages are for."""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.village.netns import Namespace

ADDRESS, PORT = "10.77.0.1", 8444


@dataclass
class StaffBrowser:
    """Asks from inside ``ns``, keeps cookies and the forms' token, follows no redirect."""

    ns: Namespace
    timeout_s: float = 20.0
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a browser would ask its user
        connection = http.client.HTTPSConnection(ADDRESS, PORT, timeout=self.timeout_s, context=context)
        raw = self.ns.socket()
        raw.settimeout(self.timeout_s)
        raw.connect((ADDRESS, PORT))
        connection.sock = context.wrap_socket(raw, server_hostname=ADDRESS)
        given = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        given |= {"Referer": f"https://{ADDRESS}:{PORT}/", "Content-Type": kind or "text/plain"}
        connection.request(method, path, body or None, given | dict(headers or {}))
        answer = connection.getresponse()
        content = answer.read()
        for line in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        if found := re.search(rb'name="csrf_token" value="([^"]+)"', content):
            self.token = found[1].decode()
        connection.close()
        return answer.status, content

    def get(self, path: str) -> str:
        status, content = self.ask("GET", path)
        assert status == 200, (path, status, content[:500])
        return content.decode()

    def post(self, path: str, **fields: str) -> tuple[int, bytes]:
        body = urllib.parse.urlencode({"csrf_token": self.token, **fields}).encode()
        return self.ask("POST", path, body, "application/x-www-form-urlencoded")

    def upload(self, path: str, content: bytes, **fields: str) -> tuple[int, bytes]:
        parts = [
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in {"csrf_token": self.token, **fields}.items()
        ]
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="b.tar.gz"\r\n\r\n'
        return self.ask(
            "POST", path, b"".join([*parts, head, content, b"\r\n--x--\r\n"]), "multipart/form-data; boundary=x"
        )

    def wait(self, path: str, words: str, within_s: float = 20) -> str:
        """The page once it has these words."""
        end_s = time.monotonic() + within_s
        page = ""
        while words not in page:
            assert time.monotonic() < end_s, page[page.find("<main") :][:1500]
            time.sleep(0.3)
            try:
                page = self.get(path)
            except OSError:
                continue  # this process is starting, or starting again
        return page

    def first_log_in(self, name: str, first: str, new: str) -> None:
        """With the password of the paper, which must be changed at once."""
        for path, fields in (
            ("/login", {"name": name, "password": first}),
            ("/password", {"old": first, "new": new, "again": new}),
            ("/login", {"name": name, "password": new}),
        ):
            self.get(path)
            status, page = self.post(path, **fields)
            assert status == 303, (path, status, page[page.find(b"<main") :][:1000])


def of_the_paper(name: str, text: str) -> str:
    """The first password of ``name``, as STAFF-PASSWORDS.txt has it."""
    (found,) = re.findall(rf"^\s*{name}\s+(\S+(?: \S+)*?)\s{{2,}}", text, re.M)
    return str(found)
