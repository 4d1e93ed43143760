"""The installed machine is what docs/image.md says: users, rights of processes, ports, rules, mounts, start order."""

from __future__ import annotations

import errno
import json
import re
import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Figures
from tests.e2e.conftest import NewPhone
from tests.image.conftest import NewPlace
from tests.image.machine import LAN_MAC, PATIENCE
from tests.image.place import PYTHON, READY_WITHIN_S, Place, Ready
from tests.village import internet
from tests.village.netns import Namespace

GOLDEN = Path(__file__).parents[1] / "kernel" / "golden"
GOLDEN_PREFIX = "fd12:3456:789a:1::/64"

CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 6, 1 << 7
NET_BIND_SERVICE, NET_ADMIN, NET_RAW = 1 << 10, 1 << 12, 1 << 13


@dataclass(frozen=True, slots=True)
class Rights:
    """Of every process of a unit: its user, what it can do now, and what it can ever get (capabilities(7))."""

    user: str
    effective: int
    bounding: int


OF_NETCTL = NET_ADMIN | NET_RAW
OF_DNSMASQ = NET_ADMIN | NET_RAW | NET_BIND_SERVICE
OF_CONTROL = NET_ADMIN | NET_RAW | CHOWN | DAC_OVERRIDE | FOWNER | FSETID | SETUID | SETGID
RIGHTS = {
    "gerbang-netctl": Rights("root", OF_NETCTL, OF_NETCTL),
    "gerbang-guest": Rights("gerbang", 0, 0),
    "gerbang-staff": Rights("gerbang-staff", 0, 0),
    "gerbang-meter": Rights("gerbang", 0, 0),
    "gerbang-dnsmasq": Rights("dnsmasq", OF_DNSMASQ, OF_DNSMASQ),
    "gerbang-control": Rights("root", OF_CONTROL, OF_CONTROL),
}
# Reads /proc/PID/status of every process in each unit's control group.
_STATUS = """
import json, pathlib, pwd, sys
found = {}
for unit in sys.argv[1:]:
    group = pathlib.Path(f"/sys/fs/cgroup/system.slice/{unit}.service")
    for pid in (group / "cgroup.procs").read_text().split():
        lines = open(f"/proc/{pid}/status").read().splitlines()
        fields = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
        found.setdefault(unit, []).append(
            [pwd.getpwuid(int(fields["Uid"].split()[1])).pw_name, int(fields["CapEff"], 16), int(fields["CapBnd"], 16),
             int(fields["NoNewPrivs"]), int(fields["Seccomp"]), fields["Name"]])
json.dump(found, sys.stdout)
"""

# From systemd-analyze(1): 0 is locked up, 10 is a plain root service.
EXPOSURE_AT_MOST = {"gerbang-control.service": 3.0}
EXPOSURE = 2.5


def test_nothing_has_failed(place: Place) -> None:
    assert place.machine.run("systemctl --failed --no-legend --plain").strip() == ""
    assert place.machine.run(["systemctl", "is-system-running"]).strip() == "running"


def test_commands_find_the_site_s_own_file(place: Place) -> None:
    assert "no mistakes" in place.machine.run("gerbang check --here")


def test_the_meter_sees_that_ntp_has_set_the_clock(place: Place) -> None:
    """What the filters of system calls leave of adjtimex(2); the time server is the village's."""
    place.wait_clock()


def test_every_process_has_the_rights_that_it_needs_and_no_more(place: Place) -> None:
    found = json.loads(place.machine.run([PYTHON, "-P", "-c", _STATUS, *RIGHTS]))
    assert found.keys() == RIGHTS.keys()
    for unit, rights in RIGHTS.items():
        for user, effective, bounding, no_new_privileges, seccomp, name in found[unit]:
            assert Rights(user, effective, bounding) == rights, f"{unit}: {name}"
            assert (no_new_privileges, seccomp) == (1, 2), f"{unit}: {name}"


def test_users_have_no_shell_and_nobody_has_a_password(place: Place) -> None:
    users = {}
    for line in place.machine.read("/etc/passwd").splitlines():
        name, _, uid, _, _, _, shell = line.split(":")
        users[name] = (int(uid), shell)
    for name in ("gerbang", "gerbang-staff", "dnsmasq"):
        assert users[name][0] < 1000 and users[name][1].endswith("nologin"), users[name]
    assert [name for name, (uid, _) in users.items() if 1000 <= uid < 65534] == [], "no person has an account"
    assert [name for name, (uid, _) in users.items() if uid == 0] == ["root"]
    for line in place.machine.read("/etc/shadow").splitlines():
        name, password, *_ = line.split(":")
        assert password[:1] in ("*", "!"), f"{name} can log in with a password"


def test_the_image_has_no_keys_of_its_own(place: Place) -> None:
    """What lies below the overlay is the same in each box."""
    lower = "/media/root-ro"
    assert place.machine.run(f"ls {lower}/etc/ssh").split().count("ssh_host_ed25519_key") == 0
    assert (
        place.machine.run(f"find {lower}/etc/ssh {lower}/root {lower}/home -name '*host*key*' -o -name authorized_keys")
        == ""
    )
    assert place.machine.run(f"cat {lower}/etc/machine-id").strip() in ("", "uninitialized")
    assert "PRIVATE KEY" not in place.machine.run(
        f"grep -rlI 'PRIVATE KEY-----$' {lower}/etc {lower}/usr/lib/gerbang --include=*.pem --include=*.key || true"
    )


def test_the_root_is_read_only_below_and_in_memory_above(place: Place) -> None:
    mounts = {}
    for line in place.machine.read("/proc/mounts").splitlines():
        source, target, kind, options, *_ = line.split()
        mounts[target] = (source, kind, options.split(","))
    assert mounts["/"][1] == "overlay"
    source, kind, options = mounts["/media/root-ro"]
    assert (kind, "ro" in options) == ("squashfs", True)
    assert mounts["/media/root-rw"][1] == "tmpfs"
    assert "ro" in mounts["/boot/firmware"][2], "the FAT partition is writable only for the moment of a write"
    assert mounts["/data"][1] == "ext4" and "noatime" in mounts["/data"][2]
    assert mounts["/var/lib/gerbang"][0] == mounts["/data"][0]


def without_options(golden: list[str]) -> list[str]:
    """The golden text is of a site with a certificate and a block list; this one has neither."""
    only_theirs = ("-d 192.0.2.1/32 -p tcp", "--to-ports 8443")
    kept = [line for line in golden if not any(text in line for text in only_theirs)]
    return [line.replace("! -d 192.0.2.1/32 ", "").replace("8080,8443,8444", "8080,8444") for line in kept]


@pytest.mark.parametrize("family", [4, 6])
def test_the_kernel_holds_the_golden_rules_and_no_others(place: Place, family: int) -> None:
    golden = without_options((GOLDEN / f"rules{family}.txt").read_text().splitlines())
    prefix = json.loads(place.machine.read("/run/gerbang/netctl.json"))["ula_prefix"]
    golden = [line.replace(GOLDEN_PREFIX, prefix) for line in golden]
    program = "iptables-legacy" if family == 4 else "ip6tables-legacy"
    held = []
    for table in ("filter", "nat", "mangle"):
        lines = place.machine.run([program, "-t", table, "-S"]).splitlines()
        held += [f"{table} {line}" for line in lines if line.startswith("-A")]
    assert sorted(held) == sorted(golden)
    # Nobody else has rules: nf_tables has none, and no other table stands.
    tables = place.machine.read(f"/proc/net/ip{'' if family == 4 else '6'}_tables_names").split()
    assert sorted(tables) == ["filter", "mangle", "nat"]


def _open_ports(ns: Namespace, address: str, ports: Iterable[int]) -> set[int]:
    """Ports of ``address`` that accept TCP from ``ns``, each asked once; what does not answer in 3 s is closed."""
    waiting, found = list(ports), set()
    while waiting:
        batch, waiting = waiting[:256], waiting[256:]
        poll = select.poll()
        asked: dict[int, tuple[socket.socket, int]] = {}
        for port in batch:
            sock = ns.socket()
            sock.setblocking(False)
            if sock.connect_ex((address, port)) in (0, errno.EINPROGRESS):
                poll.register(sock, select.POLLOUT)
                asked[sock.fileno()] = (sock, port)
            else:
                sock.close()
        end_s = time.monotonic() + 3
        while asked and (left_s := end_s - time.monotonic()) > 0:
            for fd, _ in poll.poll(left_s * 1000):
                sock, port = asked.pop(fd)
                poll.unregister(fd)
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    found.add(port)
                sock.close()
        for sock, _ in asked.values():
            sock.close()
    return found


def test_ports_that_are_open_to_the_users_and_to_the_provider(place: Place, new_phone: NewPhone) -> None:
    """All 65535 of TCP, from where an attacker would ask."""
    phone = new_phone()
    from_lan = _open_ports(phone.ns, "10.77.0.1", range(1, 65536))
    assert from_lan == {53, 80, 8080, 8444}, "DNS, the portal (80 leads to 8080) and the staff pages"
    from_wan = _open_ports(place.internet.ns, internet.GATEWAY, range(1, 65536))
    assert from_wan == {22}, "ssh, which lets in whom site.toml names"
    with pytest.raises(OSError), place.internet.ns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.connect((internet.GATEWAY, 53))
        sock.send(b"\0" * 12)
        sock.recv(512)


def test_who_listens_inside(place: Place) -> None:
    """Every socket that is bound to more than the box itself, by program."""
    found = set()
    for line in place.machine.run("ss -Hlntup").splitlines():
        kind, _, _, _, local, _, *users = line.split()
        address, _, port = local.rpartition(":")
        if address.startswith("127.") or address in ("[::1]", "127.0.0.1%lo"):
            continue
        names = set(re.findall(r'\("([^"]+)"', " ".join(users)))
        found.add((kind, int(port), "|".join(sorted(names - {"systemd"})) or "systemd"))
    assert {(kind, port) for kind, port, _ in found if kind == "tcp"} == {
        ("tcp", 22),
        ("tcp", 53),
        ("tcp", 8080),
        ("tcp", 8444),
    }
    assert {(port, name) for kind, port, name in found if kind == "udp"} <= {
        (53, "dnsmasq"),
        (67, "dnsmasq"),
        (547, "dnsmasq"),
        (68, "systemd-network"),
        (546, "systemd-network"),
        (123, "chronyd"),
    } | {(port, "chronyd") for _, port, _ in found} | {(port, "dnsmasq") for _, port, _ in found if port > 1023}


def test_units_are_locked_up(place: Place, figures: Figures) -> None:
    said = json.loads(place.machine.run("systemd-analyze security --json=short --no-pager", timeout_s=120))
    exposure = {row["unit"]: float(row["exposure"]) for row in said if row["unit"].startswith("gerbang-")}
    assert {f"{unit}.service" for unit in RIGHTS} <= exposure.keys()
    for unit in RIGHTS:
        name = f"{unit}.service"
        assert exposure[name] <= EXPOSURE_AT_MOST.get(name, EXPOSURE), f"{name}: {exposure[name]}"
    figures["exposure"] = ", ".join(f"{unit.removeprefix('gerbang-')} {exposure[f'{unit}.service']}" for unit in RIGHTS)


def _active_s(place: Place, unit: str) -> float:
    """Seconds of uptime at which a unit came up."""
    said = place.machine.run(["systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", unit])
    return int(said) / 1e6


def test_the_lan_opens_when_the_rules_stand_and_not_before(place: Place) -> None:
    rules, netctl = _active_s(place, "gerbang-rules.service"), _active_s(place, "gerbang-netctl.service")
    assert 0 < _active_s(place, "gerbang-provision.service") < _active_s(place, "gerbang-network.service") < netctl
    assert _active_s(place, "gerbang-prepare.service") < rules < netctl
    for unit in ("gerbang-guest.socket", "gerbang-staff.socket"):
        assert rules <= _active_s(place, unit), f"{unit} came before the rules"
    for unit in ("gerbang-dnsmasq.service", "gerbang-meter.service"):
        assert netctl <= _active_s(place, unit), f"{unit} came before the LAN was ready"
    # What networkd was told of the LAN has no address in it, and what the kernel starts with does not forward.
    told = place.machine.run("grep -l lan0 /run/systemd/network/*.network | xargs cat")
    assert "10.77." not in told
    assert place.machine.run("grep -h ^net.ipv4.ip_forward /etc/sysctl.d/*").split() == [
        "net.ipv4.ip_forward",
        "=",
        "0",
    ]


def test_figures_of_the_whole_system(place: Place, first_boot: Ready, figures: Figures, image: Path) -> None:
    """Nothing is asserted but that there is something to read: docs/measurements.md has what was seen."""
    said = place.machine.run(["systemd-analyze", "time"])
    kernel, userspace = (_seconds(said, what) for what in ("kernel", "userspace"))
    portal = _active_s(place, "gerbang-guest.service") - kernel
    used, memory = place.memory_mib()
    assert kernel > 0 and userspace > 0 and used > 0
    figures["boot"] = (
        f"kernel and initrd {kernel:.1f} s, userspace {userspace:.1f} s, portal {portal:.1f} s after its start"
    )
    figures["memory"] = f"{used} MiB used of {memory} (total less available)"
    for path in sorted(image.parent.glob(f"{image.stem}.*")):
        figures[path.name] = f"{path.stat().st_size / 1e6:.1f} MB"


def _seconds(said: str, what: str) -> float:
    found = re.search(rf"((?:\d+min )?[\d.]+m?s) \({what}\)", said)
    assert found, said
    minutes, seconds = re.fullmatch(r"(?:(\d+)min )?([\d.]+m?s)", found[1]).groups()  # type: ignore[union-attr]
    number = float(seconds.rstrip("ms")) / (1000 if seconds.endswith("ms") else 1)
    return 60 * int(minutes or 0) + number


# What the rules and netctl are made from is broken after gerbang-prepare has written it.
_BREAK = "[Service]\nExecStartPre=+/bin/sh -c 'echo {} > /run/gerbang/netctl.json'\n"


def test_rules_that_cannot_be_loaded_leave_the_lan_shut_and_ssh_open(new_place: NewPlace) -> None:
    broken = {f"systemd.unit-dropin.gerbang-{name}.service": _BREAK for name in ("rules", "netctl")}
    place = new_place(phones=1, credentials=broken)
    box = place.machine
    box.power_on()
    box.wait_console("OpenBSD Secure Shell server", READY_WITHIN_S)
    end_s = time.monotonic() + READY_WITHIN_S * PATIENCE
    while int(box.run(["systemctl", "show", "-P", "NRestarts", "gerbang-netctl.service"])) < 2:
        assert time.monotonic() < end_s, "netctl was never tried a second time"
        time.sleep(2)
    (phone,) = place.phones
    with pytest.raises(RuntimeError, match="no DHCP lease"):
        phone.dhcp()
    # A neighbour who knows all addresses gets no further.
    phone.set_ipv4("10.77.1.9", 20, "10.77.0.1")
    phone.run(["ip", "neigh", "replace", "10.77.0.1", "lladdr", LAN_MAC, "dev", "wlan0"])
    for address, port in (("10.77.0.1", 8080), ("10.77.0.1", 22), (internet.WEB, 80)):
        with pytest.raises(OSError):
            phone.connect(address, port, timeout_s=2)
    assert box.read("/proc/sys/net/ipv4/ip_forward").strip() == "0", "and ssh is there to say so"
    assert box.read("/proc/sys/net/ipv6/conf/all/forwarding").strip() == "0"
    assert "inet 10.77" not in box.run("ip address show lan0")
    assert ":8080" not in box.run("ss -Hlnt")
