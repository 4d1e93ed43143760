"""The technician's pages on the whole gateway: a change is tried and kept by clicks, a backup goes both ways."""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from portal.staff import technician_files
from tests.village import story
from tests.village.gateway import SITE_FILE, GerbangGateway, to_toml
from tests.village.village import Village

ADDRESS, PORT = "10.77.0.1", 8444
NEW_PASSWORD = "empat kata yang panjang"


@dataclass
class Browser:
    """Asks from inside the gateway, keeps cookies and the forms' token, follows no redirect."""

    gateway: GerbangGateway
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, bytes]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(ADDRESS, PORT, timeout=20, context=context)
        raw = self.gateway.ns.socket()
        raw.settimeout(20)
        raw.connect((ADDRESS, PORT))
        connection.sock = context.wrap_socket(raw, server_hostname=ADDRESS)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        headers |= {"Referer": f"https://{ADDRESS}:{PORT}/", "Content-Type": kind or "text/plain"}
        connection.request(method, path, body or None, headers)
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
        end_s = time.monotonic() + within_s
        page = ""
        while words not in page:
            assert time.monotonic() < end_s, page[page.find("<main") :][:1500]
            time.sleep(0.3)
            try:
                page = self.get(path)
            except OSError:
                continue  # this process is starting again
        return page


@pytest.fixture(scope="module")
def village() -> Iterator[Village]:
    with Village(phones=1, site={"plan": [story.PLAN]}) as found:
        found.phones[0].dhcp()
        found.phones[0].login()
        yield found


@pytest.fixture(scope="module")
def gateway(village: Village) -> GerbangGateway:
    assert isinstance(village.gateway, GerbangGateway)
    return village.gateway


@pytest.fixture(scope="module")
def browser(gateway: GerbangGateway) -> Browser:
    """Logged in as the technician, by the paper of the first start."""
    found = Browser(gateway)
    paper = gateway.data / "STAFF-PASSWORDS.txt"
    end_s = time.monotonic() + 20  # the staff pages are the last to start
    while not paper.exists() and time.monotonic() < end_s:
        time.sleep(0.1)
    (first,) = re.findall(r"^\s*teknisi\s+(\S+(?: \S+)*?)\s{2,}", paper.read_text(), re.M)
    found.get("/login")
    assert found.post("/login", name="teknisi", password=first)[0] == 303
    found.get("/password")
    assert found.post("/password", old=first, new=NEW_PASSWORD, again=NEW_PASSWORD)[0] == 303
    found.get("/login")
    assert found.post("/login", name="teknisi", password=NEW_PASSWORD)[0] == 303
    return found


def test_a_change_is_seen_tried_and_kept_by_clicks(village: Village, gateway: GerbangGateway, browser: Browser) -> None:
    text = to_toml(gateway.site | {"plan": [{**story.PLAN, "down_kbit": 9000}]})
    assert "5000" in browser.get("/technician/config")
    status, page = browser.post("/technician/config", text=text, do="check")
    assert status == 200 and b"+down_kbit = 9000" in page
    status, page = browser.post("/technician/config", text=text, do="apply")
    assert status == 200 and b'http-equiv="refresh"' in page, page[:2000]
    time.sleep(technician_files.AGAIN_AFTER_S)  # as the page's refresh does
    browser.wait("/technician/config", "/technician/config/confirm")
    assert "9000" not in gateway.box.read(SITE_FILE)
    assert browser.post("/technician/config/confirm")[0] == 303
    assert "9000" in gateway.box.read(SITE_FILE)
    assert village.phones[0].is_online()
    entries = [row["action"] for row in gateway.sql("SELECT action FROM audit WHERE actor = 'teknisi' ORDER BY id")]
    assert entries[-2:] == ["config.apply", "config.confirm"]


def test_health_and_one_phone_are_told_by_the_unprivileged_pages(
    village: Village, gateway: GerbangGateway, browser: Browser
) -> None:
    page = browser.get("/technician")
    assert "Router penyedia" in page and "Basis data" in page and "netctl menjawab" in page
    phone = village.phones[0]
    page = browser.get(f"/technician/device?device={phone.address}")
    assert "Ia tersambung: di sini tidak ada yang menghalangi." in page, page[page.find("<main") :][:3000]
    assert "ceil 9000" in page


def test_a_backup_made_and_restored_by_clicks(village: Village, gateway: GerbangGateway, browser: Browser) -> None:
    browser.get("/technician/backup")
    status, content = browser.post("/technician/backup")
    assert status == 200 and content[:2] == b"\x1f\x8b", content[:300]
    browser.get("/technician/backup")
    status, page = browser.upload("/technician/restore", content[:-100], what="all")
    assert status == 422 and b"cannot be read" in page
    status, page = browser.upload("/technician/restore", content, what="all")
    assert status == 200 and b"1 sesi berlanjut" in page, page[page.find(b"<main") :][:2000]
    assert village.phones[0].is_online()
    assert "Kesehatan" in browser.get("/technician"), "still logged in"
    assert list(gateway.data.glob("replaced-*.gerbang.db"))
    browser.get("/technician")
    status, content = browser.post("/technician/bundle")
    assert status == 200 and content[:2] == b"\x1f\x8b"
