"""The bundle for whoever helps from afar: nothing in it names a person, a device or a secret."""

from __future__ import annotations

import io
import re
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netctl.api.client import Client
from netctl.api.errors import UNREACHABLE, NetctlError
from portal import control, report
from portal.domain import codes
from portal.paths import Paths
from portal.technician import bundle
from portal.technician.anonymous import Anonymous
from portal.technician.findings import Finding
from tests.unit.technician.conftest import Query

MAC, IP, IP6 = "5c:e9:1e:00:00:01", "10.77.3.21", "fd12:3456::5ee9:1eff:fe00:1"
CODE = codes.new_code()
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"
SITE = f"""[site]
code = "64.03.01.2001"
name = "Desa Rahasia"
[lan]
address = "10.77.0.1/20"
[wifi]
ssid = "Wi-Fi Rahasia"
[[closed]]
first = 2026-12-25
reason = "Pernikahan Budi"
[portal]
certificate = "/etc/gerbang/portal.pem"
key = "/etc/gerbang/rahasia.key"
# {MAC} is Budi's phone
"""
SECRETS = (MAC, MAC.upper(), MAC.replace(":", "-"), IP, IP6, CODE, codes.shown(CODE), HASH, "c2FsdA", "rahasia", "budi")


@pytest.fixture
def planted(paths: Paths, query: Query, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A gateway in whose every corner stands something personal."""
    paths.site.write_text(SITE)
    query("INSERT INTO person (code, method, plan, created_wall_s) VALUES (?, 'terms', 'warga', 1)", CODE)
    query("INSERT INTO device (mac, person_id, note) VALUES (?, 1, 'Budi')", MAC)
    query("INSERT INTO account (name, password_hash, plan, note, created_wall_s, changed_wall_s) "
          "VALUES ('Budi', ?, 'warga', 'Budi', 1, 1)", HASH)  # fmt: skip
    said = f"{MAC} {MAC.upper()} has {IP} and {IP6}, code {codes.shown(CODE)} {CODE.lower()} {HASH} of Budi"
    monkeypatch.setattr(report, "doctor", lambda *_: [Finding("fail", "database", said, said)])
    monkeypatch.setattr(Client, "dump", lambda _: (f"member {IP} {MAC} class 0x10 grant 7", f"neighbour {IP6} {MAC}"))
    monkeypatch.setattr(bundle, "_status", lambda _: {"problem": said})
    monkeypatch.setattr(control.Control, "log", lambda _: [f"09:12:41 guest {said}", "09:12:42 guest version 1.2.3.4"])
    return paths


def made(paths: Paths) -> dict[str, str]:
    out = io.BytesIO()
    names = bundle.make(out, paths, paths.site)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        found = {entry.name: archive.extractfile(entry).read().decode() for entry in archive}  # type: ignore[union-attr]
    assert list(found) == names
    return found


def test_nothing_that_was_planted_is_in_it(planted: Paths) -> None:
    found = made(planted)
    for name, text in found.items():
        for secret in SECRETS:
            assert secret.lower() not in text.lower(), f"{secret} stands in {name}: {text[:600]}"


def test_first_passwords_are_left_out_of_the_log() -> None:
    from portal.staff.start import first_passwords
    from portal.staffing import FIRST_USERS

    given = {name: f"sandi-{number}-rahasia" for number, name in enumerate(FIRST_USERS)}
    lines = [f"09:12:03 staff     {line}" for line in first_passwords("https://10.77.0.1:8444", given).splitlines()]
    kept = bundle.harmless([*lines, "09:12:04 staff     answering https"])
    assert "rahasia" not in "\n".join(kept)
    assert kept[-1].endswith("answering https")


def test_the_same_device_has_the_same_number_everywhere(planted: Paths) -> None:
    found = made(planted)
    member = re.match(r"member (<ip \d>) (<mac 1>) class 0x10 grant 7", found["netctl-dump.txt"])
    assert member is not None, found["netctl-dump.txt"]
    assert f"<mac 1> <mac 1> has {member[1]} and <ip" in found["log.txt"]


def test_what_helps_is_still_there(planted: Paths) -> None:
    found = made(planted)
    assert "64.03.01.2001" in found["site.json"] and "10.77.0.1/20" in found["site.json"]
    assert '"person": 1' in found["tables.json"]
    assert "09:12:41" in found["log.txt"], "times are no addresses"
    assert '"kernel"' in found["versions.json"]


def test_a_part_that_cannot_be_had_says_why(planted: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Client) -> Any:
        raise NetctlError(UNREACHABLE, f"No netctl, {MAC}.", "")

    monkeypatch.setattr(Client, "dump", away)
    planted.site.write_text("no toml at all [")
    found = made(planted)
    assert "could not be had: No netctl, <mac" in found["netctl-dump.txt"]
    assert "could not be had" in found["site.json"]


@given(st.binary(min_size=6, max_size=6), st.sampled_from([":", "-"]), st.text(max_size=20), st.text(max_size=20))
def test_no_mac_survives_whatever_is_around_it(octets: bytes, sign: str, before: str, after: str) -> None:
    mac = octets.hex(sign)
    assert mac not in Anonymous().text(f"{before} {mac} {after}")


@given(st.ip_addresses(), st.sampled_from([" ", ",", "/20 ", "]", ")", ": ", "\n", '"']))
def test_no_address_survives(address: Any, after: str) -> None:
    text = Anonymous().text(f"at {address}{after}x")
    if str(address) not in ("0.0.0.0", "255.255.255.255", "127.0.0.1", "::", "::1"):
        assert str(address) not in text


@given(st.integers(), st.booleans())
def test_no_code_survives(_: int, dash: bool) -> None:
    code = codes.new_code()
    assert code not in Anonymous().text(f"code {codes.shown(code) if dash else code}.").replace("-", "")
