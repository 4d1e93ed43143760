"""RFC 8908 over https under a CA that the test makes, and option 114 (RFC 8910) only while it may be trusted."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.village import story
from tests.village.gateway import GerbangGateway
from tests.village.http import Response, exchange, request_bytes
from tests.village.phone import Phone
from tests.village.village import Village

NAME = "gerbang.lan"
API = f"https://{NAME}/api/captive"
# RFC 8908 section 5, and the keys of its examples
KEYS = {"captive", "user-portal-url", "venue-info-url", "can-extend-session", "seconds-remaining", "bytes-remaining"}


def _openssl(*words: str, cwd: Path) -> None:
    done = subprocess.run(["openssl", *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a CA: ca.crt, ca.key."""
    home = tmp_path_factory.mktemp("ca")
    ca = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=Test CA", "-days", "30"]
    ca += ["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-addext", "basicConstraints=critical,CA:TRUE"]
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *ca, cwd=home)
    return home


def _certificate(authority: Path, days: int) -> tuple[Path, Path]:
    name = f"site{days}"
    _openssl(
        *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={NAME}"),
        cwd=authority,
    )
    (authority / f"{name}.ext").write_text(f"subjectAltName=DNS:{NAME}\n")
    _openssl(
        *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
        *("-days", str(days), "-extfile", f"{name}.ext", "-out", f"{name}.crt"),
        cwd=authority,
    )
    return authority / f"{name}.crt", authority / f"{name}.key"


@contextmanager
def _tls_village(authority: Path, *, days: int, clock_trusted: bool) -> Iterator[Village]:
    certificate, key = _certificate(authority, days)
    portal = {"name": NAME, "certificate": str(certificate), "key": str(key)}
    with Village(phones=1, ipv6=False, site={"portal": portal, "plan": [story.PLAN]}, start=False) as village:
        if clock_trusted:  # as systemd-timesyncd says it; /run is the box's own
            village.gateway.box.write("/run/systemd/timesync/synchronized", "")
        village.gateway.start()
        yield village


def _get(phone: Phone, authority: Path, url: str = API) -> Response:
    """What a phone does with option 114: https, the name checked, the CA known."""
    started_s = time.monotonic()
    context = ssl.create_default_context(cafile=str(authority / "ca.crt"))
    address = phone.resolve(NAME)
    assert address == "10.77.0.1"
    sock = phone.connect(address, 443, timeout_s=5)
    tls = context.wrap_socket(sock, server_hostname=NAME)
    path = url.removeprefix(f"https://{NAME}")
    return exchange(tls, url, request_bytes("GET", NAME, path, {"Accept": "application/captive+json"}, b""), started_s)


def _wait_port_443(village: Village) -> None:
    end_s = time.monotonic() + 15
    while not village.gateway.answers(8443):
        assert time.monotonic() < end_s, village.gateway.log()[-2000:]
        time.sleep(0.05)


def test_the_api_over_https_and_option_114(authority: Path) -> None:
    with _tls_village(authority, days=20, clock_trusted=True) as village:
        _wait_port_443(village)
        gateway = village.gateway
        assert isinstance(gateway, GerbangGateway)
        (phone,) = village.phones
        assert phone.dhcp().captive_portal == API
        answer = _get(phone, authority)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("application/captive+json")
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.wire_bytes < 1024
        state = json.loads(answer.body)
        assert set(state) <= KEYS
        assert state["captive"] is True
        assert state["user-portal-url"].startswith("https://" + NAME)
        page = _get(phone, authority, state["user-portal-url"])
        assert page.status == 200

        phone.login()
        answer = _get(phone, authority)
        state = json.loads(answer.body)
        assert state["captive"] is False
        assert 0 < state["seconds-remaining"] <= 480 * 60
        assert state["venue-info-url"].startswith("https://" + NAME)
        assert isinstance(state["can-extend-session"], bool)
        assert answer.wire_bytes < 1024


@pytest.mark.parametrize(
    ("days", "clock_trusted", "why"),
    [(5, True, "it ends in less than 7 days"), (20, False, "the clock is not known to be right")],
)
def test_option_114_stays_away_when(authority: Path, days: int, clock_trusted: bool, why: str) -> None:
    with _tls_village(authority, days=days, clock_trusted=clock_trusted) as village:
        (phone,) = village.phones
        if not clock_trusted and _kernel_clock_is_synchronized():
            pytest.skip("this machine's clock is synchronized, so it is trusted in the village too")
        assert phone.dhcp().captive_portal is None, why
        assert phone.login().status.status == 200, "plain http does the login"


def _kernel_clock_is_synchronized() -> bool:
    from portal.clock import _kernel_is_synchronized

    return _kernel_is_synchronized()
