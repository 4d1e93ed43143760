"""The NAT log on the whole gateway: who had an outside address, as the world saw it and as the office reads it."""

from __future__ import annotations

import datetime as dt
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from portal.sealing import OfficeSecret
from tests.e2e.conftest import NewPhone, phones_of
from tests.e2e.test_config_apply import apply, config, wait
from tests.village import internet, story
from tests.village.box import Process, signal_process, wait_gone
from tests.village.gateway import DATA, RUN, GerbangGateway
from tests.village.phone import Phone
from tests.village.village import Village

OFFICE = OfficeSecret(bytes(range(32)), bytes(range(32, 64)))
PASSPHRASE = "lima kata yang panjang"
KEY = "/run/stick/office.key"
PORT = 6017


@pytest.fixture(scope="module")
def logged() -> Iterator[Village]:
    site = {"plan": [story.PLAN], "log": {"nat": True}, "office": {"key": OFFICE.key.line}}
    with Village(phones=0, site=site) as v:
        gateway_of(v).box.write(KEY, OFFICE.locked(PASSPHRASE).decode())
        yield v


@pytest.fixture
def new_phone(logged: Village) -> Iterator[NewPhone]:
    with phones_of(logged) as new:
        yield new


def gateway_of(village: Village) -> GerbangGateway:
    assert isinstance(village.gateway, GerbangGateway)
    return village.gateway


def natlog(gateway: GerbangGateway, *words: str, given: str = "") -> Any:
    """The JSON answer of a command inside the gateway's box."""
    command = gateway.command("natlog", *words, "--run-dir", str(RUN), "--data-dir", str(DATA), "--json")
    child = gateway.box.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = child.communicate(given + "\n", timeout=30)
    gateway.box.ns.reap(child)
    assert child.returncode == 0, (out, err)
    return json.loads(out)


def look_up(gateway: GerbangGateway, address: str, port: int, at: dt.datetime, out: str) -> list[dict[str, Any]]:
    act = ("--key", KEY, "--stdin", "--reason", "uji", "--by", "uji", "--out", out)
    question = ("--address", address, "--port", str(port), "--at", at.isoformat(), "--window", "2")
    found = natlog(gateway, "lookup", *question, *act, given=PASSPHRASE)["connections"]
    assert isinstance(found, list)
    return found


def seal(gateway: GerbangGateway) -> None:
    """What each stop of the meter does."""
    meter = gateway.process("meter")
    signal_process(meter, signal.SIGTERM)
    wait_gone(meter)
    gateway.wait_restarted("meter", meter)


def listeners(gateway: GerbangGateway) -> list[Process]:
    return [process for process in gateway.processes() if "netctl.kernel.flows" in process.command]


def speak(village: Village, phone: Phone, address: str) -> tuple[str, int, dt.datetime]:
    """A datagram from the phone to an address of the Internet: whom that saw, and when."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        there = stack.enter_context(closing(village.internet.ns.socket(family, socket.SOCK_DGRAM)))
        there.bind((address, PORT))
        there.settimeout(5)
        here = stack.enter_context(closing(phone.socket(family, socket.SOCK_DGRAM)))
        here.sendto(b"x", (address, PORT))
        at = dt.datetime.now(dt.UTC)
        seen = there.recvfrom(1)[1]
        return seen[0], seen[1], at


def test_whom_the_world_saw_is_whom_the_office_finds_and_nothing_of_it_is_on_the_disk_or_in_the_log(
    logged: Village, new_phone: NewPhone
) -> None:
    gateway = gateway_of(logged)
    ani, budi, stranger = new_phone(), new_phone(), new_phone()
    for phone in (ani, budi):
        phone.login()
        phone.wait_online()
    ani.wait_ipv6()
    ani.wait_online(family=6)
    assert not stranger.is_online()
    seen = {
        "ani4": (ani, *speak(logged, ani, internet.WEB)),
        "ani6": (ani, *speak(logged, ani, internet.WEB6)),
        "budi4": (budi, *speak(logged, budi, internet.WEB)),
    }
    with pytest.raises(OSError, match=r"timed out|refused|prohibited|denied|unreachable"):
        speak(logged, stranger, internet.WEB)
    seal(gateway)
    for name, (phone, address, port, at) in seen.items():
        (found,) = look_up(gateway, address, port, at, f"/run/stick/{name}.json")
        assert (found["mac"], found["protocol"], found["to_port"]) == (phone.mac, "udp", PORT)
        assert found["open_then"] == "yes"
        assert found["inner"] in (phone.address, *phone.ipv6_addresses())
        assert dt.datetime.fromisoformat(found["from"]) - at < dt.timedelta(seconds=2)
    state = natlog(gateway)
    assert (state["on"], state["lost_at_least"]) == (True, 0)
    assert natlog(gateway, "verify")["faults"] == []
    acts = gateway.sql("SELECT action, count(*) AS n FROM audit WHERE action LIKE 'natlog.%' GROUP BY action")
    assert acts == [{"action": "natlog.answer", "n": 3}, {"action": "natlog.lookup", "n": 3}]
    secrets = [internet.WEB, internet.WEB6]
    content = b"".join(file.read_bytes() for file in gateway.data.glob("gerbang.db*"))
    assert not any(secret.encode() in content for secret in secrets)
    assert not any(secret in gateway.log() for secret in secrets)


def test_a_listener_that_dies_and_a_netctl_that_dies_are_replaced_and_nothing_is_left_behind(
    logged: Village, new_phone: NewPhone
) -> None:
    gateway = gateway_of(logged)
    phone = new_phone()
    phone.login()
    phone.wait_online()
    (first,) = listeners(gateway)
    signal_process(first, signal.SIGKILL)
    wait_gone(first)
    netctl = gateway.kill("netctl")
    gateway.wait_restarted("netctl", netctl)
    wait(lambda: len(listeners(gateway)) == 1)
    wait(lambda: natlog_hears(logged, phone))


def natlog_hears(village: Village, phone: Phone) -> bool:
    gateway = gateway_of(village)
    address, port, at = speak(village, phone, internet.WEB)
    seal(gateway)
    found = look_up(gateway, address, port, at, f"/run/stick/{port}-{at.timestamp()}.json")
    return [one["mac"] for one in found] == [phone.mac]


def test_without_the_switch_nothing_listens_and_no_cipher_is_loaded(logged: Village, village: Village) -> None:
    off, on = gateway_of(village), gateway_of(logged)
    assert (len(listeners(off)), len(listeners(on))) == (0, 1)
    maps = [Path(f"/proc/{gateway.process('meter').pid}/maps").read_text() for gateway in (off, on)]
    assert ["cryptography" in text for text in maps] == [False, True]


def test_the_switch_is_turned_while_people_are_online(own_village: Village) -> None:
    gateway = gateway_of(own_village)
    with phones_of(own_village) as new:
        phone = new()
        phone.login()
        phone.wait_online()
        done = apply(gateway, log={"nat": True}, office={"key": OFFICE.key.line})
        assert done.returncode == 0, done.stderr
        wait(lambda: len(listeners(gateway)) == 1)
        assert phone.is_online()
        assert config(gateway, "revert").returncode == 0
        wait(lambda: listeners(gateway) == [])
        assert phone.is_online()
    assert apply(gateway, log={"nat": True}).returncode == 78, "without the office's key"
