"""The gateway as systemd runs it, with this machine's systemd as PID 1 of a box: order, rights, changes, failures.

What people notice is tested with `gerbang run` and, on the image, in tests/image; here it is who starts what, and when.
"""

from __future__ import annotations

import json
import pwd
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.booted import Booted
from tests.village import links
from tests.village.netns import Namespace

SITE_FILE, CANDIDATE = "data/site/site.toml", "data/candidate.toml"
SITE = '[site]\ncode = "64.03.01.2001"\n[uplink]\ndns = ["192.0.2.1"]\n'
ROLES = ("meter", "guest", "staff")
LASTING = ("netctl", "dnsmasq", *ROLES, "control")
SOCKETS = ("guest", "guest-tls", "staff")
WANTED = [f"gerbang-{name}.service" for name in ("prepare", "rules", "netctl-wait", *LASTING, "guest-tls", "hostapd")]
WANTED += [*(f"gerbang-{name}.socket" for name in SOCKETS), "gerbang-housekeeping.timer"]
ASK = """
import ssl, sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Host": "gerbang.lan"})
print(urllib.request.urlopen(request, timeout=30, context=ssl._create_unverified_context()).status)
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Booted]:
    ns = Namespace("systemd")
    links.bridge(ns, "lan0")
    links.cable(ns, "lan1", ns, "phone0")
    links.plug(ns, "lan0", "lan1", isolated=True)
    links.cable(ns, "wan0", ns, "inet0")
    links.up(ns, "lo", "lan0", "lan1", "phone0", "wan0", "inet0")
    links.add_address(ns, "wan0", "192.0.2.2/24")
    with tempfile.TemporaryDirectory(prefix="gerbang-systemd-") as at:
        try:
            found = Booted(ns, Path(at), SITE, WANTED)
        except RuntimeError as error:
            pytest.skip(str(error))
        with closing(found):
            found.wait(lambda: found.is_active("gerbang.target") and running(found))
            yield found


def running(box: Booted) -> bool:
    return all(box.is_active(f"gerbang-{name}.service") for name in LASTING)


def pids(box: Booted) -> dict[str, int]:
    return {name: box.main_pid(f"gerbang-{name}.service") for name in LASTING}


def status_of(box: Booted, url: str) -> str:
    done = box.run("/usr/lib/gerbang/bin/python", "-c", ASK, url)
    return done.stdout.strip() or done.stderr


def config(box: Booted, *arguments: str) -> str:
    done = box.run("/usr/lib/gerbang/bin/gerbang", "config", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def state(box: Booted) -> dict[str, Any]:
    found = json.loads(config(box, "state", "--json"))
    assert isinstance(found, dict)
    return found


def apply(box: Booted, more: str) -> None:
    (box.root / CANDIDATE).write_text(SITE + more)
    config(box, "apply", f"/{CANDIDATE}")


# --- the start ------------------------------------------------------------------------------------------------------


def entered(box: Booted, unit: str, key: str) -> int:
    return int(box.show(unit, f"{key}TimestampMonotonic")[f"{key}TimestampMonotonic"])


def test_nothing_listens_before_the_rules_stand_and_no_device_comes_before_netctl_is_ready(box: Booted) -> None:
    ruled, ready = (entered(box, f"gerbang-{name}.service", "ActiveEnter") for name in ("rules", "netctl"))
    assert 0 < ruled < ready
    for unit in (*(f"gerbang-{name}.service" for name in ROLES), "gerbang-guest.socket", "gerbang-staff.socket"):
        assert entered(box, unit, "InactiveExit") > ruled, unit
    for name in ("dnsmasq", "meter", "control"):
        assert entered(box, f"gerbang-{name}.service", "InactiveExit") > ready, name


def test_pages_answer_on_the_sockets_of_systemd(box: Booted) -> None:
    assert status_of(box, "http://10.77.0.1:8080/") == "200"
    assert status_of(box, "https://10.77.0.1:8444/") == "200"
    assert box.is_active("gerbang-guest.socket")
    assert not box.is_active("gerbang-guest-tls.service"), "there is no certificate"
    assert not box.is_active("gerbang-hostapd.service"), "there is no radio"


def test_each_process_is_who_it_should_be_and_holds_nothing(box: Booted) -> None:
    bind, admin, raw = 1 << 10, 1 << 12, 1 << 13
    wanted = {
        "netctl": ("root", admin | raw),
        "dnsmasq": ("dnsmasq", bind | admin | raw),
        "meter": ("gerbang", 0),
        "guest": ("gerbang", 0),
        "staff": ("gerbang-staff", 0),
    }
    for name, (user, capabilities) in wanted.items():
        found = box.status(f"gerbang-{name}.service")
        assert set(found["Uid"].split()) == {str(pwd.getpwnam(user).pw_uid)}, name
        assert int(found["CapBnd"], 16) == int(found["CapEff"], 16) == capabilities, name
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2"), name
    network = {name: box.run("readlink", f"/proc/{pid}/ns/net").stdout for name, pid in pids(box).items()}
    assert network["guest"] != network["netctl"] == network["meter"], "the guest pages have no network of their own"


def test_housekeeping_is_done_as_the_staff_pages_user(box: Booted) -> None:
    done = box.run("systemctl", "start", "gerbang-housekeeping.service")
    assert done.returncode == 0, box.journal("gerbang-housekeeping.service")
    assert "rollups" in box.journal("gerbang-housekeeping.service")


# --- failures -------------------------------------------------------------------------------------------------------


def test_netctl_that_dies_stops_nobody_else(box: Booted) -> None:
    before = pids(box)
    box.run("kill", f"-{signal.SIGKILL.value}", str(before["netctl"]))
    box.wait(lambda: pids(box)["netctl"] not in (0, before["netctl"]) and box.is_active("gerbang-netctl.service"))
    after = pids(box)
    assert {name for name in before if before[name] != after[name]} == {"netctl"}


def test_who_waits_while_the_pages_start_again_is_answered(box: Booted) -> None:
    before = box.main_pid("gerbang-guest.service")
    box.run("kill", f"-{signal.SIGKILL.value}", str(before))
    assert status_of(box, "http://10.77.0.1:8080/") == "200"
    assert box.main_pid("gerbang-guest.service") not in (0, before)


def test_the_lan_stays_shut_as_long_as_netctl_cannot_begin_and_opens_by_itself(box: Booted) -> None:
    broken = box.drop_in("gerbang-netctl.service", "[Service]\nExecStart=\nExecStart=/bin/false\n")
    box.run("systemctl", "stop", "gerbang.target")
    box.wait(lambda: not any(pids(box).values()))
    done = box.run("/usr/lib/gerbang/bin/netctl", "cleanup")  # as after a power cut
    assert done.returncode == 0, done.stderr
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "start", "--no-block", "gerbang.target")
    box.wait(lambda: int(box.show("gerbang-netctl.service", "NRestarts")["NRestarts"]) >= 2)
    for name in ("dnsmasq", "meter", "control"):
        assert not box.is_active(f"gerbang-{name}.service"), name
    assert "-N GERBANG_UP" in box.ns.run(["iptables-legacy", "-S"]).stdout, "the rules stand already"
    assert links.addresses(box.ns, "lan0", 4) == []
    broken.unlink()
    box.run("systemctl", "daemon-reload")
    box.wait(lambda: running(box) and box.is_active("gerbang.target"))
    assert status_of(box, "http://10.77.0.1:8080/") == "200"


def test_a_boot_without_the_uplink_s_card_is_over_and_told_and_the_gateway_opens_when_the_card_comes(
    box: Booted,
) -> None:
    drop_ins = [
        box.drop_in("gerbang.target", "[Unit]\nJobTimeoutSec=5s\n"),
        box.drop_in("gerbang-good.service", "[Service]\nEnvironment=WITHIN_S=3\n"),
    ]
    box.run("systemctl", "stop", "gerbang.target")
    box.wait(lambda: not any(pids(box).values()))
    links.rename(box.ns, "wan0", "gone0")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "start", "--no-block", "gerbang.target", "gerbang-good.service")
    console = box.root / "dev/console"  # a file here, which holds the last line
    box.wait(lambda: "There is no uplink wan0" in console.read_text())
    assert not box.is_active("gerbang-netctl-wait.service")
    links.rename(box.ns, "gone0", "wan0")
    links.up(box.ns, "wan0")
    box.wait(lambda: running(box))
    assert status_of(box, "http://10.77.0.1:8080/") == "200"
    for drop_in in drop_ins:
        drop_in.unlink()
    before = pids(box)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", "gerbang.target")
    box.wait(lambda: running(box) and box.is_active("gerbang.target"))
    assert not set(before.values()) & set(pids(box).values())


# --- changes --------------------------------------------------------------------------------------------------------


def test_another_port_is_tried_and_undone(box: Booted) -> None:
    before = pids(box)
    apply(box, "[portal]\nport = 9080\n")
    box.wait(lambda: status_of(box, "http://10.77.0.1:9080/") == "200")
    config(box, "revert")
    box.wait(lambda: status_of(box, "http://10.77.0.1:8080/") == "200")
    box.wait(lambda: running(box))
    assert "refused" in status_of(box, "http://10.77.0.1:9080/")
    assert state(box)["last"]["outcome"] == "reverted"
    assert pids(box)["dnsmasq"] == before["dnsmasq"], "it reads nothing that changed"


def test_a_port_that_cannot_be_had_undoes_it(box: Booted) -> None:
    with box.ns.socket() as taken:
        taken.bind(("0.0.0.0", 8181))
        taken.listen()
        apply(box, "[portal]\nport = 8181\n")
        box.wait(lambda: state(box)["pending"] is None and state(box)["last"]["outcome"] == "reverted")
    assert "guest.socket failed" in state(box)["last"]["message"]
    box.wait(lambda: status_of(box, "http://10.77.0.1:8080/") == "200")


def test_a_key_that_only_root_reads_serves_https(box: Booted) -> None:
    from portal import selfsigned

    folder = box.root / "data/tls"
    folder.mkdir(mode=0o700)
    selfsigned.ensure(folder / "both.pem", ["gerbang.lan"], 0, 0)
    files = 'certificate = "/data/tls/both.pem"\nkey = "/data/tls/both.pem"\n'
    apply(box, f'[portal]\nname = "gerbang.lan"\n{files}')
    box.wait(lambda: box.is_active("gerbang-guest-tls.service"))
    box.wait(lambda: status_of(box, "https://10.77.0.1:8443/") == "200")
    config(box, "revert")
    box.wait(lambda: not box.is_active("gerbang-guest-tls.socket") and running(box))


def test_a_control_that_is_killed_leaves_no_trial_behind(box: Booted) -> None:
    apply(box, '[[plan]]\nid = "kantor"\nname = "Kantor"\n')
    box.wait(lambda: "kantor" in (box.root / "run/gerbang/site.toml").read_text())
    before = box.main_pid("gerbang-control.service")
    box.run("kill", f"-{signal.SIGKILL.value}", str(before))
    box.wait(lambda: box.main_pid("gerbang-control.service") not in (0, before))
    box.wait(lambda: (box.root / "run/gerbang/site.toml").read_text() == (box.root / SITE_FILE).read_text())
    box.wait(lambda: running(box))
    assert state(box)["last"]["outcome"] == "reverted"


# --- the end --------------------------------------------------------------------------------------------------------


def test_without_a_site_nothing_starts(box: Booted) -> None:
    box.run("systemctl", "stop", "gerbang.target")
    box.wait(lambda: not any(pids(box).values()))
    (box.root / SITE_FILE).rename(box.root / CANDIDATE)
    box.run("systemctl", "start", "gerbang.target")
    assert not any(box.is_active(unit) for unit in (*WANTED, "gerbang.target"))
