"""The staff pages in Debian's chromium, on a phone and at a desk, with scripts and without; and their own process."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from portal.processes import python
from portal.staff.incoming import PIECE_BYTES
from tests.e2e.axe import needs_axe, serious_findings
from tests.e2e.browser import CHROMEDRIVER, CHROMIUM, Screen, browser, complaints, is_gone, layout, shoot
from tests.e2e.staff_server import NAME, PASSWORD, USERS, staff_server
from tests.village.phone import Phone

in_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM.exists() and CHROMEDRIVER.exists()), reason="needs Debian's chromium and chromium-driver"
    ),
]
SCREENS = [Screen(360, 740, "light"), Screen(360, 740, "dark"), Screen(1280, 800, "light"), Screen(1280, 800, "dark")]
PAGES = {
    "ani": [
        *("/today", "/hours", "/vouchers", "/vouchers/1", "/notices", "/notices/new", "/notices/1", "/devices"),
        *("/password", "/audit", "/no/such/page"),
    ],
    "rina": ["/review", "/audit", "/today"],
    "tono": [
        *("/audit", "/technician", "/technician/device", "/technician/device?device=5c:e9:1e:00:00:01"),
        *("/technician/rates", "/technician/speed", "/technician/config", "/technician/backup"),
        *("/technician/outbox", "/technician/update"),
    ],
}
REPORTS = [
    *("/review/month/2026-01", "/review/day/2026-01-14", "/review/definitions", "/review/hours/2026-01?weekday=2"),
    *("/review/sessions?first=2026-01-01&last=2026-01-31", "/review/sessions?first=kemarin&method=pintu"),
    "/review/compare?a=2026-02&b=2026-01",
]
REPORT_SCREENS = [Screen(width, 800, scheme) for width in (320, 1280) for scheme in ("light", "dark")]
CUT_CAPTIONS = """
return [...document.querySelectorAll(".scroll caption")].filter(one =>
  one.getBoundingClientRect().right > one.closest(".scroll").getBoundingClientRect().right).map(one => one.textContent)
"""  # of tables that scroll sideways: what is said above one must be readable without that
LEAST_TAP_PX = 24  # WCAG 2.2, 2.5.8, level AA; links within sentences are excepted
STATUS_LINES = ("403", "404", "422", "429")  # chromium notes answers that say no; the pages say it in words


@dataclass
class Desk:
    """A browser on the staff pages at 127.0.0.1, under the gateway's own name."""

    driver: webdriver.Chrome
    base: str
    screen: Screen

    def open(self, path: str) -> None:
        self.driver.get(self.base + path)

    def press(self, element: object) -> None:
        """Press what leads to the next page, and wait for it."""
        element.click()  # type: ignore[attr-defined]
        WebDriverWait(self.driver, 20).until(lambda _: is_gone(element))  # type: ignore[arg-type]

    def find(self, selector: str):  # type: ignore[no-untyped-def]
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def type(self, name: str, text: str) -> None:
        field = self.find(f"main [name={name}]")
        field.clear()
        field.send_keys(text)

    def log_in(self, name: str) -> None:
        self.driver.delete_all_cookies()
        self.open("/login")
        self.type("name", name)
        self.type("password", PASSWORD)
        self.press(self.find("main button"))

    @property
    def text(self) -> str:
        return str(self.find("main").text)

    def unfold(self, summary: str) -> None:
        (found,) = [one for one in self.driver.find_elements(By.TAG_NAME, "summary") if one.text == summary][:1]
        found.click()

    def button(self, text: str):  # type: ignore[no-untyped-def]
        return next(one for one in self.driver.find_elements(By.TAG_NAME, "button") if one.text == text)

    def assert_sound(self, name: str) -> None:
        """Nothing that the browser itself complains about, no sideways scrolling, nothing too small."""
        shoot(self.driver, f"staff-{self.screen.name}-{name}")
        complained = [line for line in complaints(self.driver) if not any(code in line for code in STATUS_LINES)]
        assert complained == [], name
        found = layout(self.driver)
        assert found["scroll_width"] <= self.screen.width, name
        for tap in found["taps"]:
            if tap["height"] and tap["text"]:
                assert tap["height"] >= LEAST_TAP_PX or tap["within"], (name, tap)


@contextmanager
def desk(port: int, screen: Screen, *, scripts: bool) -> Iterator[Desk]:
    flags = ("--ignore-certificate-errors", f"--host-resolver-rules=MAP {NAME}:{port} 127.0.0.1:{port}")
    with browser(screen, scripts, flags) as driver:
        yield Desk(driver, f"https://{NAME}:{port}", screen)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """For tests that change nothing."""
    with staff_server(hours=True, log=40, box=True) as port:
        yield port


class TestPages:
    pytestmark = in_browser

    @needs_axe
    @pytest.mark.timeout(300)  # twenty pages, some looked at twice
    @pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
    def test_every_page_of_every_role(self, port: int, screen: Screen) -> None:
        with desk(port, screen, scripts=True) as at:
            at.open("/login")
            at.assert_sound("login")
            assert serious_findings(at.driver) == []
            for user, paths in PAGES.items():
                at.log_in(user)
                for path in paths:
                    at.open(path)
                    at.assert_sound(f"{user}{path.replace('/', '_')}")
                    assert serious_findings(at.driver) == [], path
                    folded = at.driver.find_elements(By.CSS_SELECTOR, "main summary")[:3]
                    if folded:
                        for summary in folded:
                            summary.click()
                        assert serious_findings(at.driver) == [], f"{path}, unfolded"
                        at.assert_sound(f"{user}{path.replace('/', '_')}-unfolded")

    @needs_axe
    def test_in_english_and_empty(self) -> None:
        with staff_server(empty=True) as port, desk(port, SCREENS[0], scripts=True) as at:
            at.log_in("tono")
            at.open("/today?lang=en")
            for path in ("/today", "/hours", "/vouchers", "/notices", "/devices", "/audit"):
                at.open(path)
                at.assert_sound(f"empty{path.replace('/', '_')}")
                assert serious_findings(at.driver) == [], path
                assert not re.search(r"\b(Belum|perangkat|Wi-Fi untuk)\b", at.text), path

    @needs_axe
    @pytest.mark.parametrize("screen", REPORT_SCREENS, ids=lambda screen: screen.name)
    def test_every_report(self, port: int, screen: Screen) -> None:
        """Charts come as pictures of their own, in a size for the screen, and none is left out."""
        with desk(port, screen, scripts=True) as at:
            at.log_in("rina")
            for path in REPORTS:
                at.open(path)
                drawn = at.driver.execute_script("return [...document.images].map(one => [one.alt, one.naturalWidth])")
                wanted = 330 if screen.width == 320 else 920
                assert all(alt and width == wanted for alt, width in drawn), (path, drawn)
                assert at.driver.execute_script(CUT_CAPTIONS) == [], path
                at.assert_sound(f"rina{path.replace('/', '_')}")
                assert serious_findings(at.driver) == [], path

    def test_from_a_month_to_a_session_and_a_definition(self, port: int) -> None:
        """By links alone, without scripts: what a reviewer does with a figure that looks odd."""
        with desk(port, SCREENS[2], scripts=False) as at:
            at.log_in("rina")
            at.find("option[value='2026-01']").click()
            at.press(at.button("Tampilkan"))
            assert "Pemakaian Januari 2026" in at.text
            assert at.driver.find_elements(By.CSS_SELECTOR, "img.chart")
            at.press(at.find("a[href$='#figure-availability']"))
            assert "Ketersediaan internet" in at.find(":target").text
            at.open("/review/month/2026-01")
            at.press(at.find(".strips tbody a"))
            assert "Kamis, 1 Januari 2026" in at.text
            at.press(at.find("#sessions ~ table tbody a, #sessions ~ p a"))
            assert "Daftar sesi" in at.text

    def test_figures_are_renewed_without_a_click(self, port: int) -> None:
        with desk(port, SCREENS[0], scripts=True) as at:
            at.log_in("ani")
            WebDriverWait(at.driver, 20).until(lambda _: "bps" in at.text)
            shoot(at.driver, "staff-live")
            assert complaints(at.driver) == []

    def test_a_sheet_of_vouchers(self, port: int) -> None:
        with desk(port, SCREENS[2], scripts=False) as at:
            at.log_in("ani")
            for paper in ("a4", "receipt"):
                at.open(f"/vouchers/1/print?paper={paper}")
                shoot(at.driver, f"staff-print-{paper}")
                assert complaints(at.driver) == []
                codes = re.findall(r"\b[A-HJ-NP-Z2-9]{4}-[A-HJ-NP-Z2-9]{4}\b", at.find("body").text)
                assert len(set(codes)) == 60


@pytest.fixture(scope="class")
def at() -> Iterator[Desk]:
    """An operator's phone, which runs no scripts."""
    with staff_server() as port, desk(port, SCREENS[0], scripts=False) as at:
        at.log_in("ani")
        yield at


class TestADayAtTheOffice:
    """By forms alone: what an operator does from morning to evening."""

    pytestmark = in_browser

    def test_close_and_open(self, at: Desk) -> None:
        at.open("/today")
        assert "Buka" in at.text
        at.unfold("Tutup sekarang")
        at.type("reason", "Rapat desa")
        at.press(at.button("Tutup sekarang"))
        assert "Wi-Fi untuk warga sekarang tutup." in at.text
        assert "Alasan: Rapat desa" in at.text
        at.assert_sound("day-closed")
        at.unfold("Buka sekarang")
        at.press(at.button("Buka sekarang"))
        assert "Wi-Fi untuk warga sekarang buka." in at.text

    def test_disconnect_and_block(self, at: Desk) -> None:
        at.open("/today")
        before = len(at.driver.find_elements(By.CSS_SELECTOR, "tbody tr"))
        at.unfold("Putus atau blokir")
        at.assert_sound("day-acts")
        at.press(at.button("Putus sekarang"))
        assert len(at.driver.find_elements(By.CSS_SELECTOR, "tbody tr")) == before - 1
        name = at.find("tbody td b").text
        at.unfold("Putus atau blokir")
        at.type("note", "mengunduh terus")
        at.press(at.button("Blokir perangkat"))
        assert "Perangkat sudah diblokir." in at.text
        assert name in at.text
        at.press(at.find(f"button[aria-label$='{name}']"))
        assert "Blokir sudah dicabut." in at.text

    def test_vouchers(self, at: Desk) -> None:
        at.open("/vouchers")
        at.type("count", "3")
        at.type("note", "Ibu PKK")
        at.press(at.button("Buat voucher"))
        assert "Voucher sudah dibuat" in at.text
        at.assert_sound("day-batch")
        assert len(at.driver.find_elements(By.CSS_SELECTOR, "tbody tr")) == 3
        at.unfold("Batalkan voucher")
        at.press(at.button("Batalkan voucher"))
        assert at.text.count("belum dipakai") == 2
        assert "dibatalkan" in at.text

    def test_a_notice_with_its_preview(self, at: Desk) -> None:
        at.open("/notices/new")
        at.type("title", "Gotong royong")
        at.type("body", "Minggu **pagi** di lapangan.")
        at.press(at.button("Lihat dulu"))
        assert at.find("section strong").text == "pagi"
        at.assert_sound("day-preview")
        at.press(at.button("Simpan"))
        assert "Pengumuman sudah disimpan." in at.text
        assert "Gotong royong" in at.text

    def test_log_out(self, at: Desk) -> None:
        at.open("/today")
        at.press(at.button("Keluar"))
        assert "Anda sudah keluar." in at.text
        at.open("/today")
        assert at.driver.current_url.endswith("/login")


class TestUpload:
    """A bundle comes by the page's script, to the real pages: it goes on after a line that broke, and ends well."""

    pytestmark = in_browser
    NAME = "gerbang-0.3.0-1a2b3c4d-x86.raucb"
    REFUSED = "Salin lagi dari sumbernya."

    @pytest.fixture
    def box(self, tmp_path: Path) -> Iterator[Desk]:
        with staff_server(str(tmp_path), box=True, empty=True) as port, desk(port, SCREENS[0], scripts=True) as at:
            at.log_in("tono")
            at.open("/technician/update")
            yield at

    @pytest.fixture
    def bundle(self, tmp_path: Path) -> Path:
        path = tmp_path / self.NAME
        path.write_bytes(os.urandom(5 * PIECE_BYTES // 2))
        return path

    def choose(self, at: Desk, file: Path) -> None:
        at.find("input[type=file]").send_keys(str(file))
        self.button = at.button("Unggah")

    def test_it_arrives_whole_and_can_be_installed(self, box: Desk, bundle: Path, tmp_path: Path) -> None:
        self.choose(box, bundle)
        box.press(self.button)
        assert self.NAME in box.text
        assert (tmp_path / "update" / "incoming" / self.NAME).read_bytes() == bundle.read_bytes()
        box.assert_sound("update-arrived")

    def test_a_line_that_breaks_is_waited_for(self, box: Desk, bundle: Path, tmp_path: Path) -> None:
        self.choose(box, bundle)
        self.cut(box.driver, True)
        self.button.click()
        time.sleep(2)
        self.cut(box.driver, False)
        WebDriverWait(box.driver, 30).until(lambda _: is_gone(self.button))
        assert (tmp_path / "update" / "incoming" / self.NAME).read_bytes() == bundle.read_bytes()

    def test_after_a_refusal_the_next_upload_does_not_ask_again(self, box: Desk, bundle: Path) -> None:
        """The page is then the answer to a form; what is shown after the upload must not send that once more."""
        self.choose(box, bundle)
        box.press(self.button)
        box.driver.execute_script("document.querySelector('input[name=name]').value = 'gerbang-gone.raucb'")
        box.press(box.button("Pasang"))
        assert box.driver.current_url.endswith("/technician/update/install") and self.REFUSED in box.text
        self.choose(box, bundle)
        box.press(self.button)
        assert box.driver.current_url.endswith("/technician/update")
        assert self.NAME in box.text and self.REFUSED not in box.text

    def test_another_file_is_refused_in_words(self, box: Desk, bundle: Path) -> None:
        self.choose(box, bundle.rename(bundle.with_name("foto.raucb")))
        self.button.click()
        WebDriverWait(box.driver, 20).until(lambda _: "gerbang-" in box.find("form output").text)
        assert self.button.is_enabled()
        box.assert_sound("update-refused")

    @staticmethod
    def cut(driver: webdriver.Chrome, off: bool) -> None:
        conditions = {"offline": off, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


@contextmanager
def supervisor(run: Path, answer: Callable[[dict[str, Any], list[int]], dict[str, Any]]) -> Iterator[None]:
    """Its socket below ``run``, where each request, with the files beside it, is answered so."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(run / "control.sock"))
        listening.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        line, files, *_ = socket.recv_fds(connection, 65536, 1)
                        connection.sendall(json.dumps(answer(json.loads(line), files)).encode() + b"\n")

        threading.Thread(target=serve, daemon=True).start()
        yield
        listening.shutdown(socket.SHUT_RDWR)


class TestRestore:
    """A backup comes in pieces, then the rest of the form; without scripts the form has the file in it."""

    pytestmark = in_browser

    @pytest.fixture
    def backup(self, tmp_path: Path) -> Path:
        path = tmp_path / "cadangan (1).tar.gz"
        path.write_bytes(os.urandom(5 * PIECE_BYTES // 2))
        return path

    @pytest.fixture
    def asked(self, tmp_path: Path) -> Iterator[list[tuple[dict[str, Any], bytes]]]:
        """What the supervisor's socket was asked, with the file beside it; it refuses all."""
        told: list[tuple[dict[str, Any], bytes]] = []

        def refuse(request: dict[str, Any], files: list[int]) -> dict[str, Any]:
            for file in files:
                with os.fdopen(file, "rb") as given:
                    told.append((request, given.read()))
            return {"error": {"code": "failed", "message": "The backup is not ours.", "hint": ""}}

        with supervisor(tmp_path, refuse):
            yield told

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_one_larger_than_a_request_arrives_whole(
        self, tmp_path: Path, backup: Path, asked: list[tuple[dict[str, Any], bytes]], scheme: str
    ) -> None:
        with (
            staff_server(str(tmp_path), empty=True) as port,
            desk(port, Screen(320, 568, scheme), scripts=True) as at,
        ):
            at.log_in("tono")
            at.open("/technician/backup")
            at.find("input[type=file]").send_keys(str(backup))
            at.find("input[value=people]").click()
            at.press(at.button("Pulihkan"))
            ((request, content),) = asked
            assert content == backup.read_bytes() and request["keep_site"] is True
            assert "The backup is not ours." in at.text
            at.assert_sound("restore-refused")

    def test_a_small_one_needs_no_script(
        self, tmp_path: Path, backup: Path, asked: list[tuple[dict[str, Any], bytes]]
    ) -> None:
        backup.write_bytes(b"small")
        with staff_server(str(tmp_path), empty=True) as port, desk(port, Screen(320, 568), scripts=False) as at:
            at.log_in("tono")
            at.open("/technician/backup")
            at.assert_sound("restore-without-scripts")
            at.find("input[type=file]").send_keys(str(backup))
            at.press(at.button("Pulihkan"))
            ((request, content),) = asked
            assert content == b"small" and request["keep_site"] is False


class TestWaitingForAStart:
    """Keys that a box reads only as it starts, named on a small screen: tried, and kept."""

    pytestmark = in_browser
    KEYS = ("uplink.kind", "uplink.password", "uplink.user", "management.ssh_from", "wifi.max_stations")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_they_are_named_while_tried_and_a_restart_is_offered_when_kept(self, tmp_path: Path, scheme: str) -> None:
        pending: list[dict[str, Any] | None] = [{"by": "tono", "left_s": 41.0, "renewed": []}]
        last = {"outcome": "confirmed", "by": "tono", "message": "", "wall_s": 1.8e9}

        def answer(request: dict[str, Any], _: list[int]) -> dict[str, Any]:
            if request["verb"] == "confirm":
                pending[0] = None
            return {"source": "/x", "pending": pending[0], "last": last, "at_start": self.KEYS}

        with (
            supervisor(tmp_path, answer),
            staff_server(str(tmp_path), empty=True, box=True) as port,
            desk(port, Screen(320, 568, scheme), scripts=False) as at,
        ):
            at.log_in("tono")
            at.open("/technician/config")
            assert "60 detik percobaan tidak mengujinya" in at.text and "uplink.password" in at.text
            at.assert_sound("trying-at-start")
            at.press(at.button("Simpan"))
            assert "uplink.password" in at.text and at.button("Mulai ulang sekarang").is_displayed()
            at.assert_sound("kept-at-start")


# --- the process, as the supervisor starts it -----------------------------------------------------------------------


@dataclass
class Client:
    """Asks one server under the gateway's ``host``; its certificate is pinned."""

    port: int
    host: str
    certificate: Path
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **form: str) -> tuple[int, str, str]:
        """(status, Location, text) of one request ."""
        connection, answer = self.begin(method, path, **form)
        text = answer.read().decode(errors="replace")  # a file may be anything
        connection.close()
        return answer.status, answer.headers.get("Location", ""), text

    def begin(self, method: str, path: str, **form: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The same, with all that follows the head still to be read."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection = http.client.HTTPSConnection(self.host, self.port, context=context, timeout=20)
        connection.sock = context.wrap_socket(raw, server_hostname=self.host)
        headers = {
            "Referer": f"https://{self.host}:{self.port}/",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        connection.request(method, path, urllib.parse.urlencode(form) if form else None, headers)
        answer = connection.getresponse()
        for header in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value
        return connection, answer

    def send(self, path: str, page: str, **form: str) -> tuple[int, str, str]:
        """Fill in the form of ``page`` and send it."""
        return self.ask("POST", path, csrf_token=self.token(page), **form)

    def token(self, page: str) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.ask("GET", page)[2])
        assert found is not None, page
        return found[1]


@dataclass
class Process(Client):
    """`portal.serve` in the role staff, as its own user, on directories of its own."""

    process: subprocess.Popen[str] | None = None


@pytest.fixture
def home() -> Iterator[Path]:
    """Directories as `gerbang run` makes them."""
    home = Path(tempfile.mkdtemp(prefix="gerbang-staff-"))  # pytest's own is closed to other users
    portal = pwd.getpwnam("gerbang")
    home.chmod(0o755)
    for name in ("run", "data"):
        (home / name).mkdir()
    os.chown(home / "data", portal.pw_uid, portal.pw_gid)
    (home / "data").chmod(0o2771)
    yield home
    shutil.rmtree(home)


@contextmanager
def running(home: Path) -> Iterator[Process]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "site.toml").write_text(f'[site]\ncode = "64.03.01.2001"\n[staff]\nport = {port}\n')
    told = {"role": "staff", "site": str(home / "site.toml"), "run": str(home / "run"), "data": str(home / "data")}
    command = python("portal.serve", json.dumps({**told, "user": "gerbang-staff"}))
    with subprocess.Popen(command, cwd="/", stderr=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if "answering https" in line:
                    break
            else:
                raise AssertionError("".join(lines))
            (home / "log").write_text("".join(lines))
            yield Process(port, "10.77.0.1", home / "data/staff/certificate.pem", process=process)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_first_start_to_the_last_first_password(home: Path) -> None:
    """Passwords on the console once and in root's file; each is changed by its owner; then the file is gone."""
    paper = home / "data/STAFF-PASSWORDS.txt"
    with running(home) as process:
        assert paper.stat().st_uid == 0
        assert paper.stat().st_mode & 0o777 == 0o600
        passwords = dict(re.findall(r"^  (\w+) +([a-z-]+)", paper.read_text(), re.MULTILINE))
        assert set(passwords) == {"operator", "teknisi", "peninjau"}
        assert all(password in (home / "log").read_text() for password in passwords.values())
        for number, (name, password) in enumerate(passwords.items()):
            assert paper.exists()
            process.cookies.clear()
            assert process.send("/login", "/login", name=name, password=password)[:2] == (303, "/")
            assert process.ask("GET", "/today")[1] == "/password"
            new = f"kata baru nomor {number}"
            changed = process.send("/password", "/password", old=password, new=new, again=new)
            assert changed[1] == "/login?told=password-changed", changed[2]
        assert not paper.exists()
    with running(home) as process:
        assert "kata sandi" not in (home / "log").read_text().lower(), "they are shown once"
        assert process.send("/login", "/login", name="teknisi", password="kata baru nomor 1")[0] == 303
        status, _, text = process.ask("GET", "/audit")
        assert status == 200
        assert "Mengganti kata sandi" in text


def test_key_and_certificate_stay_and_are_for_the_staff_pages_alone(home: Path) -> None:
    kept = []
    for _ in range(2):
        with running(home) as process:
            assert process.ask("GET", "/login")[0] == 200
            user = pwd.getpwnam("gerbang-staff").pw_uid
            assert process.process is not None
            status = Path(f"/proc/{process.process.pid}/status").read_text()
            assert f"Uid:\t{user}\t{user}\t{user}\t{user}" in status
            assert "NoNewPrivs:\t1" in status
            kept.append({path.name: path.read_bytes() for path in (home / "data/staff").iterdir()})
    assert kept[0] == kept[1]
    assert set(kept[0]) == {"key", "certificate.pem"}
    for name in ("key", "certificate.pem"):
        peeked = subprocess.run(
            ["cat", home / "data/staff" / name],
            user="gerbang",
            group="gerbang",
            extra_groups=[],
            capture_output=True,
            check=False,
        )
        assert peeked.returncode != 0, "the guest pages' user can read it"
    assert (home / "data/gerbang.db").stat().st_mode & 0o777 == 0o660


def test_slow_and_silent_clients_keep_nobody_out(home: Path) -> None:
    with running(home) as process:
        silent = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(60)]
        begun = time.monotonic()
        assert process.ask("GET", "/login")[0] == 200
        assert time.monotonic() - begun < 8
        for one in silent:
            one.close()


def test_a_download_may_take_its_time_and_is_not_held_in_memory(tmp_path: Path) -> None:
    """A backup after a year or two, over Wi-Fi that is far away."""
    with staff_server(str(tmp_path), empty=True) as port:
        with sqlite3.connect(tmp_path / "gerbang.db") as database:
            database.executemany(
                "INSERT INTO audit (wall_s, boot_id, boot_s, actor, role, action, object, after) "
                "VALUES (1, 'b', 1, 'tono', 'technician', 'x', 'x', ?)",
                ((json.dumps(os.urandom(500_000).hex()),) for _ in range(48)),
            )
        client = Client(port, NAME, tmp_path / "staff/certificate.pem")
        assert client.send("/login", "/login", name="tono", password=PASSWORD)[0] == 303
        connection, answer = client.begin("POST", "/technician/backup", csrf_token=client.token("/technician/backup"))
        size = int(answer.headers["Content-Length"])
        assert answer.status == 200 and size > 20_000_000
        received, begun_s = bytearray(), time.monotonic()
        while data := answer.read(256 * 1024):
            received += data
            # 4 MB a second: it lasts longer than an answer that nobody takes is kept.
            time.sleep(max(0.0, begun_s + len(received) / 4_000_000 - time.monotonic()))
        connection.close()
        assert len(received) == size
        assert len(gzip.decompress(received)) > 48_000_000


def test_the_users_of_the_tests_are_those_of_the_pages() -> None:
    assert set(PAGES) == set(USERS)


def test_no_page_needs_the_source_once_privileges_are_dropped(tmp_path: Path) -> None:
    """Libraries load things at their first use; by then the clone may be in a directory that the user cannot enter."""
    with staff_server(at=str(tmp_path), forbid_source=True, vouchers=3, log=3) as port:
        client = Client(port, NAME, tmp_path / "staff/certificate.pem")
        for user, paths in PAGES.items():
            client.cookies.clear()
            assert client.send("/login", "/login", name=user, password=PASSWORD)[0] == 303
            for path in paths + (REPORTS if user == "rina" else []):
                assert client.ask("GET", path)[0] < 500, path
        client.cookies.clear()
        assert client.send("/login", "/login", name="rina", password=PASSWORD)[0] == 303
        for name in ("bytes", "devices", "latency", "funnel"):
            assert client.ask("GET", f"/review/chart/{name}/2026-01.svg")[0] == 200
        for form in ("html", "csv", "csv-id"):
            assert client.send(f"/review/export/2026-01.{form}", "/review/month/2026-01")[0] == 200
        client.cookies.clear()
        assert client.send("/login", "/login", name="tono", password=PASSWORD)[0] == 303
        assert client.send("/technician/outbox", "/technician/outbox")[0] == 200
        client.cookies.clear()
        assert client.send("/login", "/login", name="ani", password=PASSWORD)[0] == 303
        for paper in ("a4", "receipt"):
            assert client.ask("GET", f"/vouchers/1/print?paper={paper}")[0] == 200
        notice = {"title": "a", "body": "**b** [c](https://d.example) `e`\n\n- f", "from": "", "until": ""}
        assert client.send("/notices/new", "/notices/new", do="preview", **notice)[0] == 200
        assert client.send("/today/close", "/today", reason="Rapat", until="23:59")[0] == 303
        assert client.send("/vouchers", "/vouchers", count="2", devices="1", plan="warga", note="")[0] == 303
        assert client.send("/password", "/password", old="x", new="satu dua tiga", again="satu dua tiga")[0] == 422
        assert client.ask("GET", "/hours?lang=en")[0] == 200


def test_a_phone_that_has_not_logged_in_reaches_the_staff_pages(phone: Phone) -> None:
    """Whoever opens the Wi-Fi must not need it open. By https alone: a plain request gets no page."""
    assert phone.lease is not None
    gateway = phone.lease.router
    request = f"GET /login HTTP/1.1\r\nHost: {gateway}:8444\r\nConnection: close\r\n\r\n".encode()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a browser would ask its user
    first = _once_it_answers(phone, gateway)
    with context.wrap_socket(first, server_hostname=gateway) as connection:
        connection.sendall(request)
        page = b"".join(iter(lambda: connection.recv(65536), b""))
    assert page.startswith(b"HTTP/1.1 200 OK")
    assert b'name="password"' in page
    with phone.connect(gateway, 8444) as plain, suppress(ConnectionError):
        plain.sendall(request)
        assert b"password" not in plain.recv(65536)


def _once_it_answers(phone: Phone, gateway: str) -> socket.socket:
    """The staff pages start last, and a village is ready before."""
    end_s = time.monotonic() + 20
    while True:
        try:
            return phone.connect(gateway, 8444)
        except ConnectionRefusedError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.2)
