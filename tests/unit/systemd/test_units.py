"""The gateway's units as who tries a configuration sees them: what systemctl is asked, and what its answers mean."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from portal import units
from portal.loop import Loop
from portal.processes import Program
from portal.units import UnitError, Units, dropins, failures, write_dropins

NETCTL, DNSMASQ, METER = (Program(name, (), 5) for name in ("netctl", "dnsmasq", "meter"))
GUEST, STAFF = Program("guest", (), 5, 8080), Program("staff", (), 5, 8444)
FILES = (("certificate", "/data/site/portal.pem"), ("key", "/data/site/portal.key"))
TLS = Program("guest-tls", (), 5, 8443, credentials=FILES)
ALL = [NETCTL, DNSMASQ, METER, GUEST, STAFF]


class Systemctl:
    """Records what it was asked; answers as it was told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.shown = ""
        self.refuses = ""

    def __call__(self, arguments: Sequence[str]) -> str:
        self.asked.append(" ".join(arguments))
        if self.refuses and arguments[0] == self.refuses:
            raise UnitError(f"`systemctl {self.refuses}` failed: no.")
        return self.shown if arguments[0] == "show" else ""

    @property
    def commands(self) -> list[str]:
        return [line for line in self.asked if not line.startswith("show")]


@pytest.fixture
def systemctl() -> Systemctl:
    return Systemctl()


@pytest.fixture
def found(systemctl: Systemctl, tmp_path: Path) -> Iterator[Units]:
    made = Units(ALL, systemctl, tmp_path / "system")
    assert isinstance(made, Loop)
    yield made
    signal.set_wakeup_fd(-1)
    for end in (made._wake, made._wake_writer):
        assert isinstance(end, socket.socket)
        end.close()


def turn(found: Units, seconds: float) -> None:
    found.run_until(lambda: False, seconds)


# --- renewing -------------------------------------------------------------------------------------------------------


def test_a_process_is_renewed_by_a_restart_that_nobody_waits_for(found: Units, systemctl: Systemctl) -> None:
    found.renew("guest", "the configuration changed")
    assert systemctl.asked == ["restart --no-block gerbang-guest.service"]


def test_what_is_to_be_done_between_is_done_when_the_old_one_has_ended(found: Units, systemctl: Systemctl) -> None:
    found.renew("netctl", "it moved", lambda: systemctl.asked.append("swept"))
    assert systemctl.asked == ["stop gerbang-netctl.service", "swept", "start --no-block gerbang-netctl.service"]


def test_a_process_that_does_not_run_is_not_renewed(found: Units, systemctl: Systemctl) -> None:
    found.renew("guest-tls", "the certificate changed")
    assert systemctl.asked == []


# --- other programs -------------------------------------------------------------------------------------------------


def test_the_same_programs_ask_nothing(found: Units, systemctl: Systemctl) -> None:
    assert found.reprogram(ALL) == set()
    assert systemctl.asked == []


def test_a_certificate_brings_a_process_and_its_end_takes_it_away(found: Units, systemctl: Systemctl) -> None:
    assert found.reprogram([*ALL, TLS]) == {"guest-tls"}
    start = "start --no-block gerbang-guest-tls.socket gerbang-guest-tls.service"
    assert systemctl.commands == ["daemon-reload", start], "systemd reads the drop-in before it starts the unit"
    systemctl.asked.clear()
    found.renew("guest-tls", "the certificate changed")
    assert systemctl.commands == ["restart --no-block gerbang-guest-tls.service"]
    systemctl.asked.clear()
    assert found.reprogram(ALL) == set()
    assert systemctl.commands == ["stop gerbang-guest-tls.socket gerbang-guest-tls.service", "daemon-reload"]


def test_another_port_is_another_socket(found: Units, systemctl: Systemctl, tmp_path: Path) -> None:
    moved = Program("guest", (), 5, 9080)
    assert found.reprogram([NETCTL, DNSMASQ, METER, moved, STAFF]) == {"guest"}
    both = "gerbang-guest.socket gerbang-guest.service"
    assert systemctl.commands == [f"stop {both}", "daemon-reload", f"start --no-block {both}"]
    assert "ListenStream=9080" in (tmp_path / "system/gerbang-guest.socket.d/gerbang.conf").read_text()
    systemctl.asked.clear()
    assert found.reprogram(ALL) == {"guest"}
    assert systemctl.commands == [f"stop {both}", "daemon-reload", f"start --no-block {both}"]
    assert list((tmp_path / "system").iterdir()) == []


# --- failures -------------------------------------------------------------------------------------------------------

WELL = (
    "Id=gerbang-meter.service\nActiveState=active\nSubState=running\nResult=success\nExecMainCode=0\nExecMainStatus=0"
)
STOPPING = "Id=gerbang-guest.service\nActiveState=deactivating\nSubState=stop-sigterm\nResult=success\nExecMainCode=0"


def unit(name: str, sub: str, result: str, code: int, status: int, active: str = "activating") -> str:
    return (
        f"Id=gerbang-{name}\nActiveState={active}\nSubState={sub}\nResult={result}\n"
        f"ExecMainCode={code}\nExecMainStatus={status}"
    )


WELL = unit("meter.service", "running", "success", 0, 0, "active")
STOPPING = unit("guest.service", "stop-sigterm", "success", 0, 0, "deactivating")


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        (unit("guest.service", "auto-restart", "exit-code", 1, 69), "guest ended with status 69"),
        (unit("netctl.service", "auto-restart-queued", "signal", 2, 9), "netctl ended by SIGKILL"),
        (unit("meter.service", "auto-restart", "success", 1, 0), "meter ended with status 0"),
        (unit("meter.service", "auto-restart", "watchdog", 3, 6), "meter failed (watchdog)"),
        (unit("staff.service", "auto-restart", "timeout", 2, 15), "staff failed (timeout)"),
        (unit("guest.socket", "failed", "resources", 0, 0, "failed"), "guest.socket failed (resources)"),
    ],
)
def test_what_failed_is_a_sentence(block: str, sentence: str) -> None:
    assert list(failures("\n\n".join([WELL, block, STOPPING]) + "\n")) == [sentence]


def test_nothing_has_failed_where_all_run_or_are_asked_to_end() -> None:
    inactive = unit("guest-tls.service", "dead", "success", 0, 0, "inactive")
    assert list(failures("\n\n".join([WELL, STOPPING, inactive]))) == []
    assert list(failures("")) == []


def test_after_a_renewal_a_unit_that_ends_is_noticed(
    found: Units, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(units, "LOOK_FOR_S", 0.2)
    said: list[str] = []
    found.on_failure = said.append
    turn(found, 0.05)
    assert systemctl.asked == [], "nobody looks as long as nothing changes"
    found.renew("guest", "the configuration changed")
    turn(found, 0.05)
    assert said == []
    systemctl.shown = unit("guest.service", "auto-restart", "exit-code", 1, 69)
    turn(found, 0.3)
    assert said and set(said) == {"guest ended with status 69"}
    asked = len(systemctl.asked)
    turn(found, 0.1)
    assert len(systemctl.asked) == asked, "for as long as a trial lasts"
    assert systemctl.asked[-1].split()[0] == "show"
    assert {"gerbang-guest.socket", "gerbang-guest.service", "gerbang-netctl.service"} <= set(
        systemctl.asked[-1].split()
    )


def test_what_systemd_refuses_is_said_and_is_a_failure(
    found: Units, systemctl: Systemctl, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    found.on_failure = said.append
    systemctl.refuses = "restart"
    found.renew("meter", "a backup was restored")
    assert said == ["`systemctl restart` failed: no."]
    assert said[0] in capfd.readouterr().err


# --- drop-ins -------------------------------------------------------------------------------------------------------


def test_units_as_they_are_installed_need_no_drop_in(tmp_path: Path) -> None:
    assert dropins(ALL) == {}
    assert not write_dropins(ALL, tmp_path)


def test_what_root_reads_for_a_role_is_a_credential() -> None:
    odd = Program("staff", (), 5, 8444, credentials=(("certificate", "/data/100%.pem"), ("key", "/data/k")))
    assert dropins([TLS, odd]) == {
        "gerbang-guest-tls.service.d/gerbang.conf": (
            "[Service]\nLoadCredential=certificate:/data/site/portal.pem\nLoadCredential=key:/data/site/portal.key\n"
        ),
        "gerbang-staff.service.d/gerbang.conf": (
            "[Service]\nLoadCredential=certificate:/data/100%%.pem\nLoadCredential=key:/data/k\n"
        ),
    }


def test_systemd_reads_drop_ins_again_only_where_they_changed(tmp_path: Path) -> None:
    assert write_dropins([TLS], tmp_path)
    assert not write_dropins([TLS], tmp_path)
    assert write_dropins(ALL, tmp_path)
    assert list(tmp_path.iterdir()) == []
