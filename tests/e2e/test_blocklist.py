"""A school's block list: the reason on http, a clean refusal on https, for members too, and a list of 100000 names."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import dnsmasq
from portal.blocklist import Blocklist
from portal.config import Block, Site, SiteConfig
from tests.village import dns, story
from tests.village.gateway import GerbangGateway
from tests.village.internet import HOST, SERVICE_HOST
from tests.village.netns import Namespace
from tests.village.phone import Phone
from tests.village.village import Village

REASON = "Ditutup untuk ujian."
LIST = Path("/run/block.txt")
HTTPS = 65  # RFC 9460
BLOCKED = (SERVICE_HOST, f"a.b.{SERVICE_HOST}", "www.judi.example", "bola.example")


@pytest.fixture(scope="module")
def school() -> Iterator[Village]:
    block = {"names": [SERVICE_HOST, "judi.example"], "file": str(LIST), "reason": REASON}
    with Village(phones=2, site={"plan": [story.PLAN], "block": block}, start=False) as v:
        v.gateway.box.write(LIST, "# theirs\nBola.Example.\n")
        assert isinstance(v.gateway, GerbangGateway)
        v.gateway.start()
        v.dhcp_all()
        v.phones[0].login()
        yield v


@pytest.fixture(params=["member", "stranger"])
def phone(school: Village, request: pytest.FixtureRequest) -> Phone:
    return school.phones[0 if request.param == "member" else 1]


@pytest.mark.parametrize("name", BLOCKED)
def test_http_shows_the_reason(phone: Phone, name: str) -> None:
    answer = phone.http(f"http://{name}/index.html")
    if answer.status in (302, 303):
        answer = phone.http(answer.location)
    assert REASON in answer.text
    assert name in answer.text


@pytest.mark.parametrize("name", BLOCKED)
def test_everything_else_is_refused_at_once(phone: Phone, name: str) -> None:
    address = phone.resolve(name)
    for port in (443, 8443, 22):
        with pytest.raises(ConnectionRefusedError):
            phone.connect(address, port)


def test_no_other_record_leads_around_it(phone: Phone) -> None:
    for name in BLOCKED:
        assert phone.dns(name) == (dns.NOERROR, ["192.0.2.1"])
        for kind in (dns.AAAA, dns.TXT, HTTPS):
            assert phone.dns(name, kind) == (dns.NOERROR, [])


def test_other_names_are_as_they_were(school: Village) -> None:
    member = school.phones[0]
    assert member.dns(HOST)[1] and member.dns(HOST, dns.AAAA)[1]
    assert member.dns("village.example")[1] == [], "a name above a blocked one is not blocked"
    assert member.http(f"http://{HOST}/").text == "online"
    assert member.is_online()


def test_browsers_that_ask_are_told_to_use_this_resolver(school: Village) -> None:
    for canary in dnsmasq.CANARIES:
        code, found = school.phones[1].dns(canary)
        assert (code, found) == (dns.NXDOMAIN, [])


def test_a_hundred_thousand_names_are_loaded_by_the_real_dnsmasq(tmp_path: Path) -> None:
    listed = tmp_path / "block.txt"
    listed.write_text("\n".join(f"host{number}.site{number % 97}.example" for number in range(100_000)))
    block = Block(file=str(listed))
    (tmp_path / "block.conf").write_text(dnsmasq.render_block(block))
    ns = Namespace("resolver")
    try:
        options = ["no-resolv", "no-hosts", "pid-file=", "user=root", "port=53", "listen-address=127.0.0.1"]
        lines = "\n".join([*options, "local=/#/", "host-record=free.example,198.18.5.80"])
        (tmp_path / "main.conf").write_text(f"{lines}\nconf-file={tmp_path}/block.conf\n")
        command = ["dnsmasq", "--keep-in-foreground", f"--conf-file={tmp_path}/main.conf", "--log-facility=-"]
        program = ns.popen(command, stderr=subprocess.PIPE, text=True)
        assert program.stderr is not None
        assert any("started" in line for line in program.stderr)

        def ask(name: str, kind: int) -> tuple[int, list[str]]:
            with ns.socket(kind=2) as sock:
                sock.settimeout(5)
                sock.connect(("127.0.0.1", 53))
                sock.send(dns.query(name, kind, 7))
                return dns.answer(sock.recv(4096), kind)[1:]

        held = Blocklist.load(SiteConfig(site=Site(code="64.03.01.2001"), block=block))
        assert len(held) == 100_000
        for number in range(0, 100_000, 9_973):
            name = f"www.host{number}.site{number % 97}.example"
            assert ask(name, dns.A) == (dns.NOERROR, ["192.0.2.1"])
            assert ask(name, dns.AAAA) == (dns.NOERROR, [])
            assert held.covers(name)
        assert ask("free.example", dns.A) == (dns.NOERROR, ["198.18.5.80"])
        assert not held.covers("free.example")
    finally:
        ns.close()
