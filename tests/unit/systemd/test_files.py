"""The files in systemd/ against each other, the program and docs/image.md: names, modules, ports, order, rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from portal import units
from portal.config import Portal, Staff
from portal.programs import Orders, programs

ROOT = Path(__file__).parents[3]
SYSTEMD = ROOT / "systemd"
KINDS = (".service", ".socket", ".timer", ".target", ".path")
FILES = sorted(path for path in SYSTEMD.iterdir() if path.suffix in KINDS)
PYTHON = "/usr/lib/gerbang/bin/python -P -m "
IMAGE = (ROOT / "docs/image.md").read_text()
OPEN = ("dnsmasq", "hostapd", "meter", "control")
"""What lets devices come, or works with what netctl answers."""
PAGES = ("guest", "guest-tls", "staff")
"""What the LAN or the uplink could reach as soon as it listens."""
OURS = ("prepare", "rules", "netctl", "netctl-wait", *OPEN, *PAGES)
SITE = "/data/site/site.toml"

Unit = dict[str, list[str]]


def read(name: str) -> Unit:
    """Every value of each key, in order; sections are left out, for no key is in two of them here."""
    found: Unit = {}
    for line in (SYSTEMD / name).read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def words(unit: Unit, key: str) -> list[str]:
    return [word for value in unit.get(key, []) for word in value.split()]


def services() -> list[str]:
    return [path.name for path in FILES if path.suffix == ".service"]


# --- names ----------------------------------------------------------------------------------------------------------


def test_the_preset_enables_every_unit_that_says_where_it_hangs_and_no_other() -> None:
    enabled = [line.split()[1] for line in (SYSTEMD / "90-gerbang.preset").read_text().splitlines() if line[0] != "#"]
    assert enabled == sorted(path.name for path in FILES if "[Install]" in path.read_text())


def test_the_documented_order_names_units_that_are_there() -> None:
    """docs/image.md, "Start order": gerbang-guest(.socket) stands for a service and its socket."""
    block = re.findall(r"## Start order\n\n```\n(.*?)```", IMAGE, re.DOTALL)[0]
    named = re.findall(r"(?<![\w/.-])gerbang(?:-[a-z-]+)?(?:\.target|\(\.socket\))?(?![\w/-])", block)
    wanted = set()
    for name in named:
        wanted |= {name.partition("(")[0] + ".service"} if not name.endswith(".target") else {name}
        wanted |= {name.partition("(")[0] + ".socket"} if "(" in name else set()
    there = {path.name for path in FILES}
    assert wanted <= there, "docs/image.md names what is not in systemd/"
    assert {f"gerbang-{name}.service" for name in OURS} <= wanted, "docs/image.md leaves units out"


def test_users_and_directories_are_those_of_the_image() -> None:
    sysusers = re.findall(r"^u ([\w-]+) ", (SYSTEMD / "gerbang.sysusers.conf").read_text(), re.MULTILINE)
    assert sysusers == re.findall(r"`([\w-]+)`", IMAGE.partition("Users ")[2].partition(" by sysusers")[0])
    made = {name for unit in services() for name in words(read(unit), "RuntimeDirectory") if "gerbang" in name}
    assert made == {"gerbang", "gerbang-box", "gerbang-update"}
    assert all(f"`/run/{name}`" in IMAGE for name in made)
    by_tmpfiles = re.findall(r"^d \S+", (SYSTEMD / "gerbang.tmpfiles.conf").read_text(), re.MULTILINE)
    assert by_tmpfiles == [], "each directory has one maker"
    users = {user for name in services() for user in words(read(name), "User")} - {"root"}
    assert users <= set(sysusers)


def test_the_units_are_the_processes_that_the_supervisor_runs() -> None:
    paths = {"run": "/run/gerbang", "data": "/var/lib/gerbang", "site": "", "source": ""}
    users = {"user": "gerbang", "staff_user": "gerbang-staff", "group": 1, "writers": ()}
    dnsmasq = {"dnsmasq": "/usr/sbin/dnsmasq", "dnsmasq_user": "1", "dnsmasq_group": "1", "setpriv": "setpriv"}
    ports = {"port": 8080, "tls_port": 8443, "staff_port": 8444}
    orders = Orders(**paths, **users, **dnsmasq, **ports, timezone="", keep=True, lock=-1)  # type: ignore[arg-type]
    for program in programs(orders, 1):
        unit = read(units.service(program.name))
        (command,) = unit["ExecStart"]
        if program.name == "dnsmasq":
            assert command.split() == list(program.argv[-3:])
        elif program.name == "netctl":
            # Only here does it start before there are interfaces.
            assert command.removeprefix(PYTHON).removesuffix(" --patient").split() == list(program.argv[-5:])
        else:
            assert command == f"{PYTHON}portal.serve {program.name} /run/gerbang/orders.json"
            assert unit["User"] == ["gerbang-staff" if program.name == "staff" else "gerbang"]
        if program.port is not None:
            assert read(units.socket_of(program.name))["ListenStream"] == [str(program.port)]
            assert units.PORTS[program.name] == program.port
    assert (Portal().port, Portal().tls_port, Staff().port) == (8080, 8443, 8444), "what site.toml says by default"


# --- what is started ------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, str]]:
    for name in services():
        for key, values in read(name).items():
            if re.fullmatch("Exec(Start|Stop|Condition|Reload)(Pre|Post)?", key):
                yield from ((name, value) for value in values)


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_is_a_program_of_the_image_or_a_module_that_is_there(name: str, command: str) -> None:
    program = command.lstrip("-+!@:")
    if not program.startswith(PYTHON):
        assert program.split()[0] in ("/usr/sbin/dnsmasq", "/usr/sbin/hostapd", "/usr/sbin/pppd", "/usr/bin/udevadm")
        return
    module = program.removeprefix(PYTHON).split()[0]
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None, f"{name} starts {module}, which is not there"
    if spec.submodule_search_locations:  # a package: python -m runs its __main__
        spec = find_spec(f"{module}.__main__")
        assert spec is not None and spec.origin is not None
    assert '__name__ == "__main__"' in Path(str(spec.origin)).read_text() or module == "netctl"


# --- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_without_a_site_nothing_starts(name: str) -> None:
    for unit in (path for path in FILES if path.stem == f"gerbang-{name}"):
        assert SITE in words(read(unit.name), "ConditionPathExists"), unit.name
    assert SITE in words(read("gerbang.target"), "ConditionPathExists")


def test_rauc_ends_after_the_installation_that_waits_for_it() -> None:
    """What starts later is stopped first."""
    assert "rauc.service" in words(read("gerbang-update.service"), "After")


@pytest.mark.parametrize("path", [path for path in FILES if path.stem.removeprefix("gerbang-") in PAGES], ids=str)
def test_what_listens_waits_for_the_rules_and_for_nothing_else_of_netctl(path: Path) -> None:
    unit = read(path.name)
    for needed in ("gerbang-prepare.service", "gerbang-rules.service"):
        assert needed in words(unit, "Requires"), path.name
        assert needed in words(unit, "After"), path.name
    assert path.name not in words(read("gerbang-netctl.service"), "Before"), "it would load after netctl, not beside it"
    assert not [name for key in ("Requires", "After") for name in words(unit, key) if "netctl" in name], path.name


@pytest.mark.parametrize("name", OPEN)
def test_what_lets_devices_come_waits_for_netctl(name: str) -> None:
    unit = read(f"gerbang-{name}.service")
    for needed in ("gerbang-prepare.service", "gerbang-netctl-wait.service"):
        assert needed in words(unit, "Requires")
        assert needed in words(unit, "After")
    before = words(read("gerbang-netctl.service"), "Before")
    assert f"gerbang-{name}.service" in before, "netctl would end before its last user"
    assert "gerbang-netctl.service" not in words(unit, "Requires"), "netctl's restart would be this one's"


@pytest.mark.parametrize("name", ["prepare", "network"])
def test_what_all_others_wait_for_waits_for_its_files_alone(name: str) -> None:
    unit = read(f"gerbang-{name}.service")
    assert unit["DefaultDependencies"] == ["no"], "it would begin after all that sysinit.target waits for"
    assert "PrivateTmp" not in unit, "systemd.exec(5): it waits for the system's own directories"
    assert {"/tmp:mode=1777", "/var/tmp:mode=1777"} == set(words(unit, "TemporaryFileSystem"))
    assert "shutdown.target" in words(unit, "Before") and "shutdown.target" in words(unit, "Conflicts")


def test_the_rules_need_neither_interfaces_nor_netctl() -> None:
    unit = read("gerbang-rules.service")
    assert unit["Type"] == ["oneshot"] and unit["RemainAfterExit"] == ["yes"]
    assert words(unit, "Requires") == ["gerbang-prepare.service"]
    assert not [name for name in words(unit, "After") if "network" in name or "netctl" in name]
    assert "gerbang-rules.service" in words(read("gerbang-netctl.service"), "After")
    assert unit["TimeoutStartSec"] == ["infinity"], "who requires it would never start"


def test_who_waits_for_netctl_outlives_it() -> None:
    wait = read("gerbang-netctl-wait.service")
    assert words(wait, "Wants") == ["gerbang-netctl.service"]
    assert "gerbang-netctl.service" not in words(wait, "Requires")
    assert "gerbang-netctl.service" not in words(wait, "After"), "its start would come after netctl's, and is as long"
    assert wait["TimeoutStartSec"] == ["infinity"]


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".socket"], ids=str)
def test_a_socket_that_waits_for_services_is_none_of_sockets_target(path: Path) -> None:
    """Else each of them would wait for the other."""
    unit = read(path.name)
    waits = [word for word in words(unit, "After") if word.endswith(".service")]
    if waits:
        assert unit["DefaultDependencies"] == ["no"]
        assert "shutdown.target" in words(unit, "Conflicts")


@pytest.mark.parametrize("name", ["guest", "guest-tls", "staff"])
def test_sockets_are_opened_as_the_listener_opens_them(name: str) -> None:
    from portal import listener

    unit = read(f"gerbang-{name}.socket")
    assert unit["Backlog"] == [str(listener.BACKLOG)]
    assert unit["DeferAcceptSec"] == [str(listener.DEFER_ACCEPT_S)]
    assert unit["BindIPv6Only"] == ["both"]
    assert unit["NoDelay"] == ["yes"]
    assert unit["TriggerLimitIntervalSec"] == ["0"], "a socket that gave up would be closed for good"


def test_https_needs_the_drop_in_that_hands_the_certificate_down() -> None:
    path = f"{units.RUNTIME}/{units.service('guest-tls')}.d/{units.DROPIN}"
    for kind in ("service", "socket"):
        assert path in words(read(f"gerbang-guest-tls.{kind}"), "ConditionPathExists")


# --- life -----------------------------------------------------------------------------------------------------------

LASTING = [name for name in OURS if name not in ("prepare", "rules", "netctl-wait")]


@pytest.mark.parametrize("name", LASTING)
def test_what_ends_starts_again_however_often(name: str) -> None:
    unit = read(f"gerbang-{name}.service")
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"], "nobody is there to start it by hand"
    assert float(unit["RestartSec"][0]) > units.LOOK_EVERY_S, "a trial would not see that it failed"
    assert words(unit, "PartOf") == ["gerbang.target"]
    assert unit["MemoryMax"]


@pytest.mark.parametrize("name", ["netctl", "meter", "guest", "guest-tls", "staff", "control"])
def test_our_own_say_that_they_are_ready_and_alive(name: str) -> None:
    from portal import unit_control, wsgi
    from portal.meter import TICK_S

    unit = read(f"gerbang-{name}.service")
    assert unit["Type"] == ["notify"]
    within_s = int(unit["WatchdogSec"][0])
    slowest_s = {"meter": TICK_S, "control": unit_control.BEAT_S, "netctl": 5.0}.get(name, float(wsgi.HANG_S))
    assert within_s >= 2 * slowest_s, "it is told at most twice in that time, and at each turn of the loop"


@pytest.mark.parametrize("name", ["meter", "guest", "guest-tls", "staff"])
def test_the_portal_holds_nothing(name: str) -> None:
    unit = read(f"gerbang-{name}.service")
    assert unit["CapabilityBoundingSet"] == [""]
    assert "AmbientCapabilities" not in unit
    assert words(unit, "ReadWritePaths") == ["/var/lib/gerbang"]


def test_the_guest_pages_have_no_network_of_their_own() -> None:
    for name in ("guest", "guest-tls"):
        unit = read(f"gerbang-{name}.service")
        assert unit["PrivateNetwork"] == ["yes"]
        assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]


@pytest.mark.parametrize("name", ["prepare", "meter", "staff", "control", "housekeeping"])
def test_who_asks_whether_the_clock_is_set_may(name: str) -> None:
    """adjtimex(2) is of @clock, which @system-service leaves out, ProtectClock= refuses, and @privileged has in it: of
    the lines of a filter each takes from, or adds to, what those above it have made (systemd.exec(5))."""
    unit = read(f"gerbang-{name}.service")
    assert "ProtectClock" not in unit
    allowed = False
    for line in unit["SystemCallFilter"]:
        if line.startswith("~"):
            allowed = allowed and "@privileged" not in line
        else:
            allowed = allowed or {"adjtimex", "clock_adjtime"} <= set(line.split())
    assert allowed
