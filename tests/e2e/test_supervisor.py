"""The supervisor with stand-ins for the gateway's programs: order, restarts, stops, log. No network is used.

It runs in a network namespace of its own all the same, since its last resort is `netctl cleanup`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from portal import run
told = json.loads(sys.argv[1])
run.REFRESH_S = 0.5
ports = told["ports"]
programs = [run.Program(name, tuple(argv), grace_s, ports.get(name)) for name, argv, grace_s in told["programs"]]
refresh = tuple(told["refresh"]) if told["refresh"] else None
orders = run.Orders(run=told["run"], data="", site="", source="", user="", staff_user="", group=0, writers=(),
                    timezone="Asia/Makassar", dnsmasq="", dnsmasq_user="", dnsmasq_group="", setpriv="", port=0,
                    tls_port=None, staff_port=0,
                    keep=told["keep"], lock=0, refresh=refresh, certificate=told["certificate"])
sys.exit(run.supervise(orders, programs))
"""
NETCTL = """
import os, signal, socket, sys, time
print("netctl: starting", flush=True)
time.sleep(float(sys.argv[2]))
s = socket.socket(socket.AF_UNIX)
try: os.unlink(sys.argv[1])
except FileNotFoundError: pass
s.bind(sys.argv[1]); s.listen()
signal.signal(signal.SIGTERM, lambda *_: (print("closing", flush=True), sys.exit(0)))
print("listening", flush=True)
while True: signal.pause()
"""
CHILD = 'trap "echo closing; exit 0" TERM; echo working; while :; do sleep 0.05; done'
STUBBORN = 'trap "" TERM; echo working; while :; do sleep 0.05; done'


class Gateway:
    """The supervisor under test, its log, and what it may have left running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_file = folder / "log"
        self.process: subprocess.Popen[bytes]

    def netctl(self, ready_after_s: float = 0.0) -> list[str]:
        return [sys.executable, "-c", NETCTL, str(self.folder / "netctl.sock"), str(ready_after_s)]

    def start(
        self,
        programs: dict[str, Sequence[str]],
        grace_s: float = 2,
        refresh: object = None,
        ports: dict[str, int] | None = None,
    ) -> None:
        told = {"programs": [(name, argv, grace_s) for name, argv in programs.items()], "run": str(self.folder)}
        told |= {"ports": ports or {}}
        told |= {"keep": True, "refresh": refresh, "certificate": str(self.folder / "portal.pem")}
        command = ["unshare", "-n", "--", sys.executable, "-c", SCRIPT, json.dumps(told)]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def messages(self, name: str) -> list[str]:
        return [line[19:] for line in self.log().splitlines() if line[9:18].strip() == name]

    def wait(self, seen: Callable[[], object], within_s: float = 10) -> None:
        end_s = time.monotonic() + within_s
        while not seen():
            assert time.monotonic() < end_s, f"not seen within {within_s} s:\n{self.log()}"
            time.sleep(0.01)

    def children(self) -> list[int]:
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(by)
        return self.process.wait(10)


@contextmanager
def gateway_in(folder: Path) -> Iterator[Gateway]:
    found = Gateway(folder)
    try:
        yield found
    finally:
        left = found.children() if found.process.poll() is None else []
        found.process.kill()
        found.process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with gateway_in(tmp_path) as found:
        yield found


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


def test_nothing_starts_before_netctl_is_ready_and_all_stop_in_reverse(gateway: Gateway) -> None:
    programs = {"dnsmasq": shell(CHILD), "meter": shell(CHILD), "guest": shell(CHILD)}
    gateway.start({"netctl": gateway.netctl(ready_after_s=0.7), **programs})
    gateway.wait(lambda: "starting" in gateway.log())
    time.sleep(0.3)
    assert len(gateway.children()) == 1, gateway.log()
    gateway.wait(lambda: all(gateway.messages(name) == ["working"] for name in programs))
    order = gateway.log().splitlines()
    assert next(i for i, line in enumerate(order) if "listening" in line) < min(
        i for i, line in enumerate(order) if "working" in line
    )
    assert gateway.stop() == 0
    closing = [line[9:18].strip() for line in gateway.log().splitlines() if line.endswith("closing")]
    assert closing == ["guest", "meter", "dnsmasq", "netctl"]
    assert gateway.messages("gerbang")[-1] == "stopped; users stay online"


def test_a_killed_child_starts_again_and_leaves_no_worker_behind(gateway: Gateway) -> None:
    server = 'sh -c "exec sleep 600" & echo "worker $!"; while :; do sleep 0.05; done'
    gateway.start({"netctl": gateway.netctl(), "guest": shell(server)})
    gateway.wait(lambda: gateway.messages("guest"))
    worker = int(gateway.messages("guest")[0].split()[1])
    killed = gateway.children()[1]
    os.kill(killed, signal.SIGKILL)
    gateway.wait(lambda: len(gateway.messages("guest")) == 2, within_s=3)
    assert "guest ended by SIGKILL; starting it again in 0.2 s" in gateway.messages("gerbang")
    assert not Path(f"/proc/{worker}").exists() or " Z " in Path(f"/proc/{worker}/stat").read_text()
    assert gateway.stop() == 0


SERVER = """
import os, time
from portal import listener
found = listener.inherited()
print(found.getsockname()[1], os.fstat(found.fileno()).st_ino, flush=True)
while True: time.sleep(1)
"""


def test_a_server_that_died_finds_its_socket_with_those_who_wait_in_its_queue(gateway: Gateway) -> None:
    gateway.start({"netctl": gateway.netctl(), "guest": [sys.executable, "-c", SERVER]}, ports={"guest": 8080})
    gateway.wait(lambda: gateway.messages("guest"))
    assert gateway.messages("guest")[0].startswith("8080 ")
    os.kill(gateway.children()[1], signal.SIGKILL)
    gateway.wait(lambda: "guest ended by SIGKILL; starting it again in 0.2 s" in gateway.messages("gerbang"))
    assert "00000000000000000000000000000000:1F90" in Path(f"/proc/{gateway.process.pid}/net/tcp6").read_text()
    gateway.wait(lambda: len(gateway.messages("guest")) == 2)
    before, after = gateway.messages("guest")
    assert before == after, "the same socket"
    assert gateway.stop() == 0


def test_netctl_that_was_ready_is_started_again_whatever_it_says(gateway: Gateway) -> None:
    gateway.start({"netctl": gateway.netctl(), "guest": shell(CHILD)})
    gateway.wait(lambda: gateway.messages("guest"))
    os.kill(gateway.children()[0], signal.SIGKILL)
    gateway.wait(lambda: gateway.messages("netctl").count("listening") == 2, within_s=3)
    assert gateway.messages("guest") == ["working"], "the others do not stop for it"


def test_a_child_that_keeps_dying_is_started_ever_more_rarely(gateway: Gateway) -> None:
    gateway.start({"netctl": gateway.netctl(), "meter": shell("echo no; exit 3")})
    gateway.wait(lambda: len(gateway.messages("meter")) == 4)
    restarts = [line for line in gateway.messages("gerbang") if line.startswith("meter ended with status 3")]
    assert [line.split()[-2] for line in restarts[:3]] == ["0.2", "0.4", "0.8"]


def test_a_program_that_is_missing_is_said_and_tried_again(gateway: Gateway) -> None:
    gateway.start({"netctl": gateway.netctl(), "dnsmasq": ["/no/such/program"]})
    gateway.wait(lambda: "cannot be started: No such file or directory" in gateway.log())
    assert gateway.stop() == 0


@pytest.mark.parametrize("status", [os.EX_UNAVAILABLE, os.EX_CONFIG])
def test_netctl_that_cannot_work_here_ends_it_all_with_its_sentence(gateway: Gateway, status: int) -> None:
    gateway.start({"netctl": shell(f"echo The kernel lacks ip_set.; exit {status}"), "guest": shell(CHILD)})
    assert gateway.process.wait(5) == status
    assert gateway.messages("netctl") == ["The kernel lacks ip_set."]
    assert f"netctl ended with status {status}" in gateway.messages("gerbang")[-1]
    assert gateway.messages("guest") == []


def test_a_child_that_does_not_end_is_killed_after_its_time(gateway: Gateway) -> None:
    gateway.start({"netctl": gateway.netctl(), "guest": shell(STUBBORN)}, grace_s=0.5)
    gateway.wait(lambda: gateway.messages("guest"))
    assert gateway.stop() == 0
    assert any("guest did not end within" in line for line in gateway.messages("gerbang"))


def test_a_second_signal_kills_what_is_left(gateway: Gateway) -> None:
    gateway.start({"netctl": gateway.netctl(), "guest": shell(STUBBORN)}, grace_s=60)
    gateway.wait(lambda: gateway.messages("guest"))
    children = gateway.children()
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait(lambda: "SIGTERM: stopping" in gateway.log())
    assert gateway.stop(signal.SIGINT) == os.EX_TEMPFAIL
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert "netctl cleanup" in gateway.messages("gerbang")[-1]


def test_dnsmasq_starts_again_when_its_configuration_changed(gateway: Gateway) -> None:
    configuration = gateway.folder / "dnsmasq.conf"
    configuration.write_text("old")
    (gateway.folder / "next").write_text("old")
    refresh = ["cp", str(gateway.folder / "next"), str(configuration)]
    gateway.start({"netctl": gateway.netctl(), "dnsmasq": shell(CHILD)}, refresh=refresh)
    gateway.wait(lambda: gateway.messages("dnsmasq"))
    time.sleep(1.2)
    assert gateway.messages("dnsmasq") == ["working"], "nothing changed"
    (gateway.folder / "next").write_text("new")
    gateway.wait(lambda: gateway.messages("dnsmasq") == ["working", "closing", "working"])
    (gateway.folder / "next").unlink()
    gateway.wait(lambda: "could not be looked at again" in gateway.log())
    assert gateway.process.poll() is None


def test_https_starts_again_when_its_certificate_changed(gateway: Gateway) -> None:
    certificate = gateway.folder / "portal.pem"
    certificate.write_text("old")
    (gateway.folder / "dnsmasq.conf").write_text("")
    programs = {"dnsmasq": shell(CHILD), "guest": shell(CHILD), "guest-tls": shell(CHILD)}
    gateway.start({"netctl": gateway.netctl(), **programs}, refresh=["true"])
    gateway.wait(lambda: gateway.messages("guest-tls"))
    time.sleep(0.8)
    assert gateway.messages("guest-tls") == ["working"], "nothing changed"
    certificate.write_text("new")
    gateway.wait(lambda: gateway.messages("guest-tls") == ["working", "closing", "working"])
    assert gateway.messages("guest") == gateway.messages("dnsmasq") == ["working"]


def test_whatever_a_child_writes_becomes_lines(gateway: Gateway) -> None:
    noise = r"printf '\377\000bytes\n\nno end'; head -c 20000 /dev/zero | tr '\0' x; sleep 600"
    gateway.start({"netctl": gateway.netctl(), "guest": shell(noise)})
    gateway.wait(lambda: len("".join(gateway.messages("guest"))) > 10_000)
    assert "bytes" in gateway.messages("guest")[0]
    assert "" not in gateway.messages("guest")


def test_a_log_that_nobody_reads_any_more_stops_nothing(gateway: Gateway) -> None:
    programs = [("netctl", gateway.netctl(), 2), ("dnsmasq", shell(CHILD), 2)]
    told = {"programs": programs, "run": str(gateway.folder), "keep": True}
    told |= {"refresh": None, "certificate": None, "ports": {}}
    reading, writing = os.pipe()
    command = ["unshare", "-n", "--", sys.executable, "-c", SCRIPT, json.dumps(told)]
    gateway.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing)
    os.close(writing)
    with os.fdopen(reading) as log:
        assert any("working" in line for line in iter(log.readline, ""))
    os.kill(gateway.children()[0], signal.SIGKILL)
    time.sleep(0.8)
    assert gateway.process.poll() is None
    assert len(gateway.children()) == 2
