"""`python -m netctl` as a process on the real kernel: its verbs, kill -9, stops, and what it says where it cannot."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netctl.api.client import Client
from netctl.api.errors import NetctlError
from netctl.api.types import DesiredState, GatewayConfig, Grant
from tests.village import links
from tests.village.netns import Namespace

EPOCH = "epoch-of-tests"


def grant(number: int, **changes: Any) -> Grant:
    values: dict[str, Any] = {
        "id": number,
        "mac": f"02:00:00:00:01:{number:02x}",
        "ipv4": f"10.77.1.{number}",
        "down_kbit": 5000,
        "up_kbit": 2000,
        "deadline_boot_s": time.clock_gettime(time.CLOCK_BOOTTIME) + 600,
    }
    return Grant(**{**values, **changes})


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)


class Box:
    """Two namespaces, lan0 and wan0 of the gateway with their other ends in the second; and the daemon, if started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.gateway, self.outside = Namespace("gateway"), Namespace("outside")
        links.cable(self.gateway, "lan0", self.outside, "phone", other_mac="02:00:00:00:01:01")
        links.cable(self.gateway, "wan0", self.outside, "isp")
        links.up(self.gateway, "lan0", "wan0")
        links.up(self.outside, "phone", "isp")
        self.config = GatewayConfig(
            lan_interface="lan0",
            uplink_interface="wan0",
            lan_address="10.77.0.1/20",
            ula_prefix="fd12:3456:789a:1::/64",
            link_down_kbit=20_000,
            link_up_kbit=10_000,
            portal_port=8080,
            portal_tls_port=None,
            socket_path=str(directory / "netctl.sock"),
            state_path=str(directory / "state.json"),
            tick_s=0.5,
        )
        self.client = Client(self.config.socket_path)
        self.daemon: subprocess.Popen[Any] | None = None
        self.write(self.config)

    @property
    def config_file(self) -> Path:
        return self.directory / "netctl.json"

    def write(self, config: GatewayConfig) -> None:
        self.config_file.write_bytes(msgspec.json.encode(config))

    def netctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.gateway.run([sys.executable, "-m", "netctl", *arguments], check=False, timeout_s=60)

    def start(self, *arguments: str) -> None:
        self.spawn(*arguments)
        until(self.answers)

    def spawn(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "netctl", "daemon", "--config", str(self.config_file), *arguments]
        with (self.directory / "log").open("ab") as log:
            self.daemon = self.gateway.popen(command, stderr=log)

    def answers(self) -> bool:
        assert self.daemon is not None
        assert self.daemon.poll() is None, self.log()
        try:
            return bool(self.client.status())
        except NetctlError:
            return False

    def end(self, number: int) -> int:
        assert self.daemon is not None
        self.daemon.send_signal(number)
        code = self.daemon.wait(30)
        self.gateway.reap(self.daemon)
        return code

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def kernel_text(self) -> str:
        """What other programs see: rules, sets, classes; without the time that members have left."""
        said = []
        for command in (
            ["iptables-legacy-save"], ["ip6tables-legacy-save"], ["ipset", "save"],
            ["tc", "qdisc", "show"], ["tc", "class", "show", "dev", "lan0"], ["tc", "class", "show", "dev", "wan0"],
            ["ip", "neigh", "show", "nud", "permanent"], ["ip", "-br", "address"],
        ):  # fmt: skip
            lines = self.gateway.run(command).stdout.splitlines()
            lines = [line for line in lines if not line.startswith(("#", "*", ":", "COMMIT"))]
            # Classes come in the order of their hash buckets, in which a class that was set again stands first.
            lines = sorted(lines) if command[:2] == ["tc", "class"] else lines
            said += [re.sub(r" timeout \d+", "", line) if line.startswith("add ") else line for line in lines]
        return "\n".join(said)

    def close(self) -> None:
        self.gateway.close()
        self.outside.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with closing(Box(tmp_path)) as made:
        yield made


def state(*grants: Grant, generation: int = 1) -> DesiredState:
    return DesiredState(epoch=EPOCH, generation=generation, grants=grants)


def test_users_survive_kill_9_with_an_empty_difference_and_no_drift(box: Box) -> None:
    box.start()
    users = [grant(n) for n in range(1, 40)]
    assert box.client.apply(state(*users)).ops == 4 * 39
    box.gateway.run(["ipset", "add", "gerbang_garden4", "203.0.113.9"])  # as dnsmasq does for a name
    before, text = box.client.dump(), box.kernel_text()
    assert "garden 203.0.113.9/32" in before
    assert box.end(signal.SIGKILL) == -signal.SIGKILL
    assert box.kernel_text() == text, "nothing of it hangs on the process"
    box.start()
    status = box.client.status()
    assert (status.grants, status.members, status.generation) == (39, 39, 1)
    assert box.client.plan(state(*users)) == ()
    assert box.client.dump() == before
    time.sleep(1.2)
    status = box.client.status()
    assert (status.drift_total, status.problem) == (0, None)


def test_a_clean_stop_leaves_the_kernel_as_it_was(box: Box) -> None:
    before = box.kernel_text()
    box.start()
    box.client.apply(state(grant(1), grant(2)))
    assert box.kernel_text() != before
    assert box.end(signal.SIGTERM) == 0
    assert box.kernel_text() == before
    assert sorted(path.name for path in box.directory.iterdir()) == ["log", "netctl.json"]


def test_with_keep_users_stay_and_the_next_daemon_takes_over(box: Box) -> None:
    box.start("--keep")
    box.client.apply(state(grant(1)))
    text = box.kernel_text()
    assert box.end(signal.SIGTERM) == 0
    assert box.kernel_text() == text
    box.start()
    assert (box.client.status().members, box.client.status().drift_total) == (1, 0)


def test_cleanup_removes_what_a_killed_daemon_left_and_nothing_else(box: Box) -> None:
    for command in ("iptables-legacy -A FORWARD -s 192.0.2.1 -j DROP", "ipset create another hash:ip"):
        box.gateway.run(command.split())
    links.add_address(box.gateway, "lan0", "10.77.0.1/20")  # with its last address a link loses its neighbours
    box.gateway.run(["ip", "neigh", "add", "10.77.5.5", "lladdr", "02:00:00:00:05:05", "dev", "lan0"])
    before = box.kernel_text()
    box.start()
    refused = box.netctl("cleanup", "--config", str(box.config_file))
    assert (refused.returncode, "would put everything back" in refused.stderr) == (69, True)
    box.client.apply(state(grant(1)))
    box.end(signal.SIGKILL)
    for _ in range(2):
        done = box.netctl("cleanup", "--config", str(box.config_file))
        assert (done.returncode, done.stderr) == (0, "")
    assert box.kernel_text() == before


def test_what_others_change_is_mended_at_the_tick_and_counted(box: Box) -> None:
    box.start()
    box.client.apply(state(grant(1)))
    text = box.kernel_text()
    for command in (
        ["ipset", "del", "gerbang_dn4", "10.77.1.1"],
        ["iptables-legacy", "-F"],
        ["tc", "class", "del", "dev", "wan0", "classid", "2:10"],
    ):
        box.gateway.run(command)
        drift = box.client.status().drift_total
        until(lambda drift=drift: box.client.status().drift_total > drift)  # type: ignore[misc]
        until(lambda: box.client.status().drift == 0)
        assert box.kernel_text() == text, command
    assert box.client.status().problem is None


def test_a_privacy_address_is_admitted_when_the_kernel_hears_of_it(box: Box) -> None:
    box.start()
    box.client.apply(state(grant(1)))
    address = "fd12:3456:789a:1::abcd"
    links.add_address(box.outside, "phone", f"{address}/64", nodad=True)
    with closing(box.outside.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sender:
        sender.bind((address, 0))
        sender.sendto(b"anything", ("fd12:3456:789a:1::1", 9))
        until(lambda: any(address in line for line in box.client.dump()), 2)
    assert box.client.whois(address) == "02:00:00:00:01:01"
    time.sleep(1.2)  # two ticks: what is known now was read from the kernel
    assert box.client.status().drift_total == 0
    box.client.apply(state(generation=2))
    assert not any(address in line for line in box.client.dump())


def test_the_doctor_is_content_with_a_running_gateway_and_not_with_none(box: Box) -> None:
    box.start()
    box.client.apply(state(grant(1)))
    well = box.netctl("doctor", "--config", str(box.config_file), "--json")
    levels = {finding["name"]: finding["level"] for finding in json.loads(well.stdout)}
    assert well.returncode == 0, well.stdout
    assert {levels[name] for name in ("config", "daemon", "drift", "statefile", "rules")} == {"ok"}
    box.end(signal.SIGTERM)
    ill = box.netctl("doctor", "--config", str(box.config_file))
    assert ill.returncode == 69
    assert "fail  daemon" in ill.stdout
    assert "fail  rules" in ill.stdout


def test_a_shaped_link_is_held_by_the_ticks_told_by_the_doctor_and_forgotten_at_the_end(box: Box) -> None:
    box.start("--keep")
    box.client.apply(state(grant(1, down_kbit=None)))
    told = box.client.shape_link(8_000, 3_000)
    assert (told.down_kbit, told.up_kbit) == (8_000, 3_000)
    time.sleep(1.2)  # two ticks
    held = box.client.link()
    assert (held.down_kbit, held.up_kbit) == (8_000, 3_000)
    assert (
        "rate 8Mbit ceil 8Mbit" in box.kernel_text()
        and "class down 0x10 rate 64 ceil 8000 kbit prio 1" in box.client.dump()
    )
    assert (box.client.status().drift_total, box.client.status().problem) == (0, None)
    well = box.netctl("doctor", "--config", str(box.config_file))
    assert well.returncode == 0, well.stdout
    assert "link down: Held at 8000 kbit/s now; configured is 20000 kbit/s." in well.stdout
    box.end(signal.SIGKILL)
    box.start()
    assert box.client.link().down_kbit == 20_000
    assert "rate 20Mbit ceil 20Mbit" in box.kernel_text()
    assert box.client.status().drift_total == 0


def test_a_dry_run_without_a_daemon_reads_the_kernel_only(box: Box) -> None:
    box.start("--keep")
    users = state(grant(1, deadline_boot_s=None))
    box.client.apply(users)
    box.end(signal.SIGTERM)
    text = box.kernel_text()
    (box.directory / "same").write_bytes(msgspec.json.encode(users))
    (box.directory / "none").write_bytes(msgspec.json.encode(state()))
    same = box.netctl("plan", str(box.directory / "same"), "--config", str(box.config_file))
    assert (same.returncode, same.stdout) == (0, ""), same.stderr
    none = box.netctl("plan", str(box.directory / "none"), "--config", str(box.config_file))
    assert "del member 10.77.1.1 02:00:00:00:01:01\n" in none.stdout
    assert box.kernel_text() == text


def test_an_interface_that_is_not_there_is_said_in_one_sentence(box: Box) -> None:
    box.write(msgspec.structs.replace(box.config, lan_interface="nolan0"))
    result = box.netctl("daemon", "--config", str(box.config_file))
    assert result.returncode in (69, 71)
    last = result.stderr.strip().splitlines()
    assert len(last) == 1, result.stderr
    assert "nolan0" in last[0]
    assert not (box.directory / "netctl.sock").exists()


def test_one_that_is_patient_waits_for_its_interfaces_behind_rules_that_stand(box: Box) -> None:
    box.write(msgspec.structs.replace(box.config, lan_interface="late0"))
    ruled = box.netctl("rules", "--config", str(box.config_file))
    assert (ruled.returncode, ruled.stdout) == (0, ""), ruled.stderr
    standing = box.gateway.run(["iptables-legacy", "-S"]).stdout
    assert "-i late0" in standing
    box.spawn("--patient")
    time.sleep(1.5)
    assert not box.answers()
    assert box.gateway.run(["iptables-legacy", "-S"]).stdout == standing
    assert box.end(signal.SIGTERM) == -signal.SIGTERM
    box.spawn("--patient")
    links.cable(box.gateway, "late0", box.outside, "late")
    until(box.answers)
    assert box.client.status().drift == 0
    again = box.netctl("rules", "--config", str(box.config_file))
    assert (again.returncode, again.stdout) == (0, ""), "a daemon's rules stand"


def test_its_memory_and_its_time_for_a_login_with_500_online_are_small(box: Box) -> None:
    """Bounds far above the figures of docs/measurements.md: they catch a leak or quadratic work, not a slow machine."""
    box.start()
    users = [grant(n, mac=f"02:00:00:01:{n >> 8:02x}:{n & 255:02x}", ipv4=f"10.77.{2 + n // 250}.{1 + n % 250}")
             for n in range(500)]  # fmt: skip
    users = [msgspec.structs.replace(user, id=user.id + 1000) for user in users]
    box.client.apply(state(*users))
    assert box.daemon is not None
    started = cpu_s(box.daemon.pid)
    for number in range(1, 21):
        users.append(grant(number))
        box.client.apply(state(*users, generation=1 + number))
    assert (cpu_s(box.daemon.pid) - started) / 20 < 0.030
    assert resident_kib(box.daemon.pid) < 45_000


def cpu_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def resident_kib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
