"""The village's gateway: a box with lan0 and wan0 that runs the real `gerbang run`, or plain NAT to compare with.

It must not know phones.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.village import internet, links
from tests.village.box import DATA, Box, Process, signal_process, wait_gone
from tests.village.netns import Namespace

if TYPE_CHECKING:
    from netctl.api.client import Client

LAN, WAN = "lan0", "wan0"
LAN_ADDRESS = "10.77.0.1/20"
SITE = {
    "site": {"code": "64.03.01.2001", "name": "Desa Uji"},
    "uplink": {"interface": WAN, "dns": [internet.DNS]},
    "lan": {"interface": LAN, "address": LAN_ADDRESS},
}
SITE_FILE = Path("/run/site.toml")
RUN = Path("/run/gerbang")
LOG = Path("/run/log")


class Gateway:
    """What both kinds share: the box, its uplink, its processes."""

    url = f"http://{LAN_ADDRESS.partition('/')[0]}/"

    def __init__(
        self, ns: Namespace, *, ipv6: bool, site: Mapping[str, Any], data_dir: Path | None, data_size: str | None
    ) -> None:
        self.ns, self.ipv6 = ns, ipv6
        self.site: dict[str, Any] = merged(SITE, {"lan": {"ipv6": ipv6}}, site)
        self.box = Box(ns, data_dir=data_dir, data_size=data_size, dns=internet.DNS)
        self._main: subprocess.Popen[Any] | None = None
        self.environment: dict[str, str] = {}  # of the gateway's programs, beside this process's
        # The box's own system brings the uplink up, as systemd-networkd does in the image.
        if ipv6:
            ns.sysctl(f"net.ipv6.conf.{WAN}.accept_ra", 2)
            for interface in (WAN, LAN):  # 2 s of asking who else has these addresses: nobody in a village
                ns.sysctl(f"net.ipv6.conf.{interface}.accept_dad", 0)
            ns.sysctl(f"net.ipv6.conf.{WAN}.router_solicitation_delay", 0)
        else:
            ns.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        links.up(ns, WAN)
        links.add_address(ns, WAN, f"{internet.GATEWAY}/24")
        links.default_route(ns, internet.ROUTER)

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> int:
        """End what ``start`` started, and its exit code; the box stays."""
        raise NotImplementedError

    def _wait_uplink(self, timeout_s: float = 10) -> None:
        end_s = time.monotonic() + timeout_s
        while self.ipv6 and not links.has_default_route6(self.ns):
            if time.monotonic() > end_s:
                raise TimeoutError("the gateway's uplink heard no router advertisement")
            time.sleep(0.05)

    def _spawn(self, command: list[str]) -> None:
        log = self.box.root / str(LOG).lstrip("/")
        with log.open("ab") as out:
            self._main = self.box.popen(command, stdout=out, stderr=out, env=os.environ | self.environment)

    def dropped_packets(self) -> int:
        """Packets that the shaper's queues dropped so far, both directions."""
        return links.dropped_packets(self.ns, LAN) + links.dropped_packets(self.ns, WAN)

    def log(self) -> str:
        """All that the gateway's programs have written so far."""
        try:
            return self.box.read(LOG)
        except FileNotFoundError:
            return ""

    def answers(self, port: int, address: str = LAN_ADDRESS.partition("/")[0]) -> bool:
        """Does TCP ``port`` accept, asked from inside the gateway?"""
        with self.ns.socket() as sock:
            sock.settimeout(1)
            return sock.connect_ex((address, port)) == 0

    def answers_http(self, port: int, address: str = LAN_ADDRESS.partition("/")[0]) -> bool:
        """Does somebody answer there? The supervisor's socket alone accepts before the server has started."""
        with self.ns.socket() as sock:
            sock.settimeout(1)
            try:
                sock.connect((address, port))
                sock.sendall(b"GET / HTTP/1.0\r\nHost: gateway\r\n\r\n")
                return bool(sock.recv(1))
            except OSError:
                return False

    def close(self) -> None:
        self.box.close()


class GerbangGateway(Gateway):
    """Runs `gerbang run --site FILE` in the box, with its database on the box's data directory."""

    @property
    def data(self) -> Path:
        """The data directory as this process reaches it."""
        return self.box.root / str(DATA).lstrip("/")

    @property
    def run_dir(self) -> Path:
        return self.box.root / str(RUN).lstrip("/")

    def command(self, verb: str, *options: str) -> list[str]:
        """A `gerbang` command line for this site."""
        program = Path(sys.prefix) / "bin" / "gerbang"
        return [str(program), verb, *options]

    def write_site(self) -> None:
        self.box.write(SITE_FILE, to_toml(self.site))

    def start(self, *options: str, timeout_s: float = 20, wait: bool = True) -> None:
        """Start the supervisor; returns when netctl, DNS and portal answer. RuntimeError with its log if it ends."""
        self._wait_uplink()
        self.write_site()
        places = ["--site", str(SITE_FILE), "--run-dir", str(RUN), "--data-dir", str(DATA)]
        self._spawn(self.command("run", *places, *options))
        if wait:
            self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s: float = 20) -> None:
        end_s = time.monotonic() + timeout_s
        port = self.site.get("portal", {}).get("port", 8080)
        while True:
            assert self._main is not None
            if self._main.poll() is not None:
                raise RuntimeError(f"`gerbang run` ended with {self._main.returncode}:\n{self.log()[-3000:]}")
            if self._netctl_answers() and self.answers(53) and self.answers_http(port):
                return
            if time.monotonic() > end_s:
                raise TimeoutError(f"the gateway was not ready after {timeout_s} s:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def _netctl_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            return sock.connect_ex(str(self.run_dir / "netctl.sock")) == 0

    def main(self) -> Process:
        """The supervisor."""
        return self.process("run")

    def processes(self) -> list[Process]:
        """All processes of the gateway's programs."""
        return self.box.processes()

    def process(self, name: str) -> Process:
        """The oldest process called ``name``: run, netctl, guest, meter or dnsmasq. LookupError if none runs."""
        for process in self.processes():
            if name_of(process) == name:
                return process
        running = ", ".join(sorted({name_of(process) for process in self.processes()})) or "nothing"
        raise LookupError(f"no {name} runs in the gateway ({running} does)")

    def kill(self, name: str) -> Process:
        """kill -9 of one program, all its workers included; when all are gone, returns the oldest of them."""
        killed = [process for process in self.processes() if name_of(process) == name]
        if not killed:
            raise LookupError(f"no {name} runs in the gateway")
        for process in killed:
            signal_process(process, signal.SIGKILL)
        for process in killed:
            wait_gone(process)
        return killed[0]

    def crash(self) -> None:
        """kill -9 of the supervisor and of all that it started: nothing gets to clean up. Returns when all are gone."""
        while running := sorted(self.processes(), key=lambda process: name_of(process) != "run"):
            # The supervisor's death asks the others to stop in order, and some were so quick. It is not stopped itself:
            # nsenter, which waits for it, would stop with it (WUNTRACED) and never see its end.
            for process in running:
                if name_of(process) != "run":
                    signal_process(process, signal.SIGSTOP)
            for process in running:
                signal_process(process, signal.SIGKILL)
            for process in running:
                wait_gone(process)
        assert self._main is not None
        self._main.wait(timeout=5)
        self.ns.reap(self._main)
        self._main = None
        # A dying process has lost its command line, by which it is found, before it has closed its sockets.
        end_s = time.monotonic() + 5
        while self.answers(8080) and time.monotonic() < end_s:
            time.sleep(0.02)

    def wait_restarted(self, name: str, killed: Process, timeout_s: float = 20) -> Process:
        """Wait until ``name`` runs again as another process."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            for process in self.processes():
                if name_of(process) == name and process.pid > killed.pid:
                    return process
            time.sleep(0.02)
        raise TimeoutError(f"{name} was not restarted within {timeout_s} s:\n{self.log()[-3000:]}")

    def stop(self, timeout_s: float = 15) -> int:
        """SIGTERM to the supervisor; its exit code. What it leaves running is still seen by ``processes()``."""
        assert self._main is not None
        signal_process(self.main(), signal.SIGTERM)
        code = self._main.wait(timeout=timeout_s)
        self.ns.reap(self._main)
        self._main = None
        return code

    def netctl(self) -> Client:
        """A client of netctl's socket, as root."""
        from netctl.api.client import Client

        return Client(str(self.run_dir / "netctl.sock"))

    def usage(self, mac: str, ip: str | None = None) -> tuple[int, int]:
        """(up, down) bytes that the kernel counts now for the session of ``mac``; up of all its addresses or one."""
        rows = self.sql("SELECT id FROM session WHERE mac = ? AND ended_wall_s IS NULL", mac)
        ids = {row["id"] for row in rows}
        # All counters, not one grant's: those may be half a second old.
        counters = [c for c in self.netctl().usage().counters if c.grant in ids]
        return sum(c.up_bytes for c in counters if ip in (None, c.ip)), sum(c.down_bytes for c in counters)

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Read the database, read-only, as another process would."""

        def read() -> list[dict[str, Any]]:
            with closing(sqlite3.connect(f"file:{DATA}/gerbang.db?mode=ro", uri=True, timeout=5)) as database:
                database.row_factory = sqlite3.Row
                return [dict(row) for row in database.execute(statement, values)]

        return self.box.call(read)


def name_of(process: Process) -> str:
    """Which of the gateway's programs a process is: run, netctl, guest, guest-tls, meter, dnsmasq or another's name."""
    words = process.command
    if "netctl" in words and "daemon" in words:
        return "netctl"
    if "portal.run" in words:
        return "run"
    if "portal.serve" in words:
        return str(json.loads(words[-1])["role"])
    return Path(words[0]).name


class NatGateway(Gateway):
    """Plain masquerading and the same DHCP, nothing else: what a portal's cost is measured against."""

    def start(self) -> None:
        self._wait_uplink()
        self.ns.sysctl("net.ipv4.ip_forward", 1)
        links.up(self.ns, LAN)
        links.add_address(self.ns, LAN, LAN_ADDRESS)
        self.ns.run(["iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-o", WAN, "-j", "MASQUERADE"])
        lines = ["no-resolv", "no-hosts", "no-ping", "bind-interfaces", f"interface={LAN}", f"server={internet.DNS}"]
        lines += ["user=root", "pid-file=", "log-facility=-", "dhcp-authoritative", "dhcp-lease-max=4000"]
        lines += ["dhcp-leasefile=/run/leases", "dhcp-range=10.77.1.0,10.77.15.254,255.255.240.0,2h"]
        if self.ipv6:
            self.ns.sysctl("net.ipv6.conf.all.forwarding", 1)
            links.add_address(self.ns, LAN, "fd77::1/64", nodad=True)
            self.ns.run(["ip6tables-legacy", "-t", "nat", "-A", "POSTROUTING", "-o", WAN, "-j", "MASQUERADE"])
            lines += ["enable-ra", f"dhcp-range=::,constructor:{LAN},ra-only,64,1h"]
        self.box.write("/run/dnsmasq.conf", "\n".join(lines) + "\n")
        self._spawn(["dnsmasq", "--keep-in-foreground", "--conf-file=/run/dnsmasq.conf"])
        end_s = time.monotonic() + 10
        while not self.answers(53):
            if time.monotonic() > end_s:
                raise TimeoutError(f"dnsmasq does not answer:\n{self.log()}")
            time.sleep(0.05)

    def stop(self) -> int:
        for process in self.box.processes():
            signal_process(process, signal.SIGTERM)
        assert self._main is not None
        return self._main.wait(timeout=5)


def merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of tables laid over one another, the last on top; a None takes a key away."""
    result: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            below = result.get(key)
            result[key] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return {key: value for key, value in result.items() if value is not None}


def to_toml(tables: Mapping[str, Any]) -> str:
    """TOML of tables and lists of tables whose values JSON writes the same way (text, numbers, truth, flat lists)."""
    text = []
    for name, table in tables.items():
        for one, head in [(one, f"[[{name}]]") for one in table] if isinstance(table, list) else [(table, f"[{name}]")]:
            text.append(head)
            text += [f"{key} = {json.dumps(value)}" for key, value in one.items()]
    return "\n".join(text) + "\n"
