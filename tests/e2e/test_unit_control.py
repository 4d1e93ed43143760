"""Trials of a configuration beside units: the real control process and its real children, and a systemctl that records.

In a box of its own, with interfaces and without netctl: what asks is on the control socket, what is asked of systemd in
a file.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from portal import control
from tests.village import links
from tests.village.box import Box, Process, signal_process, wait_gone
from tests.village.netns import Namespace

RUN, SITE, ORDERS = Path("/run/gerbang"), Path("/run/data/site/site.toml"), "/run/gerbang/orders.json"
PLAN = '[[plan]]\nid = "warga"\nname = "Warga"\ndown_kbit = {}\n'
TEXT = '[site]\ncode = "64.03.01.2001"\n'
PREPARE = """
from pathlib import Path
from portal import prepare
from portal.paths import Paths
prepare.ready(Path("/run/data/site/site.toml"), Paths(Path("/run/gerbang"), Path("/run/data/gerbang")), "gerbang", True)
"""
# What it was asked goes into one file, what `show` says comes from another.
SYSTEMCTL = """#!/bin/sh
shift 2
case $1 in show) cat /run/fake/shown ;; *) echo "$*" >>/run/fake/asked ;; esac
"""
FAILED = "Id=gerbang-guest.service\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\n"
FAILED += "ExecMainCode=1\nExecMainStatus=69\n"
NETCTL = """
import os, socket, sys
found = socket.socket(socket.AF_UNIX)
found.bind("/run/gerbang/netctl.sock")
found.listen(64)
while True: found.accept()[0].close()
"""


class Control:
    """The control process in its box."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.client = control.Control(box.root / "run/gerbang/control.sock")
        self._process: subprocess.Popen[Any]

    def start(self) -> None:
        path = "/run/fake/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        command = ["env", f"PATH={path}", sys.executable, "-P", "-m", "portal.unit_control", ORDERS]
        self._process = self.box.popen(command, stderr=subprocess.PIPE)
        self.until(self.answers)

    def answers(self) -> bool:
        with suppress(control.ControlError):
            self.client.state()
            return True
        return False

    def process(self) -> Process:
        return next(found for found in self.box.processes() if "portal.unit_control" in found.command)

    def end(self, by: signal.Signals) -> None:
        process = self.process()
        signal_process(process, by)
        wait_gone(process)
        self._process.communicate(timeout=10)

    def asked(self) -> list[str]:
        with suppress(FileNotFoundError):
            return self.box.read("/run/fake/asked").splitlines()
        return []

    def forget(self) -> None:
        self.box.write("/run/fake/asked", "")

    def until(self, seen: Callable[[], object], within_s: float = 20) -> None:
        end_s = time.monotonic() + within_s
        while not seen():
            assert time.monotonic() < end_s, self.asked()
            time.sleep(0.05)


@pytest.fixture
def gateway() -> Iterator[Control]:
    ns = Namespace("units")
    links.cable(ns, "lan0", ns, "lan1")
    links.cable(ns, "wan0", ns, "wan1")
    links.up(ns, "lan0", "lan1", "wan0", "wan1")
    with closing(Box(ns, dns="192.0.2.53")) as box:
        box.write(SITE, TEXT)
        box.write("/run/fake/bin/systemctl", SYSTEMCTL)
        (box.root / "run/fake/bin/systemctl").chmod(0o755)
        box.write("/run/fake/shown", "")
        (box.root / "run/systemd/system").mkdir(parents=True)
        (box.root / "run/data/gerbang").mkdir()
        done = box.run([sys.executable, "-P", "-c", PREPARE])
        assert done.returncode == 0, done.stderr
        box.popen([sys.executable, "-c", NETCTL])
        found = Control(box)
        found.start()
        yield found


RENEWED = [f"restart --no-block gerbang-{name}.service" for name in ("meter", "guest", "staff")]


def test_a_confirmed_change_is_the_sites_own_file(gateway: Control) -> None:
    text = TEXT + PLAN.format(9000)
    assert gateway.client.apply(text, "tono").pending is not None
    gateway.until(lambda: len(gateway.asked()) == len(RENEWED))
    assert gateway.asked() == RENEWED, "netctl and dnsmasq read nothing that changed"
    assert gateway.box.read(RUN / "site.toml") == text
    assert gateway.box.read(SITE) == TEXT, "not confirmed yet"
    gateway.client.confirm("tono")
    assert gateway.box.read(SITE) == text
    assert gateway.box.read(f"{SITE}.previous") == TEXT
    gateway.end(signal.SIGTERM)
    gateway.start()
    assert gateway.asked() == RENEWED, "what is confirmed is not undone"


def test_what_waits_for_the_next_start_is_named_until_it_is_undone(gateway: Control) -> None:
    text = TEXT + '[uplink]\nkind = "pppoe"\nuser = "a"\npassword = "b"\n'
    keys = ("uplink.kind", "uplink.password", "uplink.user")
    assert gateway.client.state().at_start == ()
    assert gateway.client.apply(text, "tono").at_start == keys
    gateway.until(lambda: len(gateway.asked()) >= len(RENEWED))
    assert gateway.client.confirm("tono").at_start == keys
    assert gateway.client.apply(text + PLAN.format(9000), "tono").at_start == keys, "an earlier change waits too"
    gateway.client.revert("tono")
    gateway.until(lambda: gateway.client.state().pending is None)
    assert gateway.client.apply(TEXT, "tono").at_start == ()


def test_a_unit_that_fails_undoes_it(gateway: Control) -> None:
    gateway.client.apply(TEXT + PLAN.format(9000), "tono")
    gateway.until(lambda: len(gateway.asked()) == len(RENEWED))
    gateway.box.write("/run/fake/shown", FAILED)
    gateway.until(lambda: gateway.client.state().last is not None)
    last = gateway.client.state().last
    assert last is not None and (last.outcome, last.message) == ("reverted", "guest ended with status 69.")
    gateway.until(lambda: gateway.asked() == RENEWED * 2)
    assert gateway.box.read(RUN / "site.toml") == TEXT


def test_a_control_that_is_killed_leaves_no_trial_behind(gateway: Control) -> None:
    gateway.client.apply(TEXT + PLAN.format(9000), "tono")
    gateway.until(lambda: len(gateway.asked()) == len(RENEWED))
    gateway.forget()
    gateway.end(signal.SIGKILL)
    gateway.start()
    gateway.until(lambda: set(RENEWED) <= set(gateway.asked()))
    assert gateway.box.read(RUN / "site.toml") == TEXT
    state = gateway.client.state()
    assert state.pending is None
    assert state.last is not None and (state.last.outcome, state.last.by) == ("reverted", "tono")
    gateway.client.apply(TEXT + PLAN.format(8000), "tono")


def test_another_port_and_another_place_of_the_lan(gateway: Control) -> None:
    changed = '[portal]\nport = 9080\n[lan]\naddress = "10.78.0.1/20"\n'
    gateway.client.apply(TEXT + changed, "tono")
    gateway.until(lambda: len(gateway.asked()) >= 8)
    both = "gerbang-guest.socket gerbang-guest.service"
    assert gateway.asked() == [
        f"stop {both}",
        "daemon-reload",
        f"start --no-block {both}",
        "stop gerbang-netctl.service",  # the old place is swept before the next one begins
        "start --no-block gerbang-netctl.service",
        "restart --no-block gerbang-dnsmasq.service",
        "restart --no-block gerbang-meter.service",
        "restart --no-block gerbang-staff.service",
    ]
    drop_in = "/run/systemd/system/gerbang-guest.socket.d/gerbang.conf"
    assert gateway.box.read(drop_in) == "[Socket]\nListenStream=\nListenStream=9080\n"
    assert json.loads(gateway.box.read(ORDERS))["port"] == 9080
    gateway.forget()
    gateway.client.revert("tono")
    gateway.until(lambda: len(gateway.asked()) >= 8)
    assert gateway.asked()[:3] == [f"stop {both}", "daemon-reload", f"start --no-block {both}"]
    assert not (gateway.box.root / drop_in.lstrip("/")).exists()
    assert json.loads(gateway.box.read(ORDERS))["port"] == 8080


def test_one_gateway_holds_the_run_directory(gateway: Control) -> None:
    with pytest.raises(control.ControlError, match="mistake"):
        gateway.client.apply("[site]\n", "tono")
    second = gateway.box.run([sys.executable, "-P", "-m", "portal.unit_control", ORDERS])
    assert second.returncode == 75
    assert "Another gateway is running" in second.stderr
    assert gateway.asked() == []
