"""The real `gerbang run` as a program: privileges, files, log, refusals, status and doctor, dnsmasq as configured.

What people notice of kills and stops is in test_restart; the https API and option 114 in test_captive_api.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import NewPhone
from tests.village import dns, links, story
from tests.village.box import DATA, Process, signal_process
from tests.village.gateway import RUN, SITE_FILE, GerbangGateway
from tests.village.phone import INTERFACE, Phone
from tests.village.village import Village

ROOT = Path(__file__).parents[2]
PLACES = ("--run-dir", str(RUN), "--data-dir", str(DATA))
CHILDREN = ("netctl", "dnsmasq", "meter", "guest")


@pytest.fixture
def village_of_its_own() -> Iterator[Village]:
    with Village(phones=1, site={"plan": [story.PLAN]}, start=False) as village:
        yield village


def gateway_of(village: Village) -> GerbangGateway:
    assert isinstance(village.gateway, GerbangGateway)
    return village.gateway


def field(process: Process, name: str) -> str:
    return re.findall(rf"^{name}:\s+(.*)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)[0]


# --- processes and files --------------------------------------------------------------------------------------------


def test_only_netctl_and_the_supervisor_are_root(gateway: GerbangGateway) -> None:
    capabilities = {"netctl": None, "dnsmasq": 1 << 10 | 1 << 12 | 1 << 13, "meter": 0, "guest": 0}  # bind, admin, raw
    for name, allowed in capabilities.items():
        for process in [found for found in gateway.processes() if found.command == gateway.process(name).command]:
            uids, groups = set(field(process, "Uid").split()), field(process, "Groups").split()
            if allowed is None:
                assert uids == {"0"}
                continue
            assert "0" not in uids | set(field(process, "Gid").split()) | set(groups), name
            assert field(process, "NoNewPrivs") == "1", name
            assert int(field(process, "CapPrm"), 16) == int(field(process, "CapEff"), 16) == allowed, name
            if name == "dnsmasq":
                assert int(field(process, "CapBnd"), 16) == allowed
            else:
                assert int(field(process, "Umask"), 8) == 0o027, name


def test_the_portal_can_change_nothing_that_root_reads(gateway: GerbangGateway) -> None:
    """Else whoever breaks the pages would choose dnsmasq's and netctl's configuration."""
    portal = int(field(gateway.process("guest"), "Uid").split()[0])
    run = gateway.run_dir
    for path in (run, run / "netctl.json", run / "dnsmasq.conf", run / "site.toml"):
        found = path.stat()
        assert found.st_uid == 0, path
        assert not found.st_mode & 0o022, path
    assert gateway.data.stat().st_uid == portal
    assert gateway.data.stat().st_mode & 0o7777 == 0o2771  # the portal's group shares the database
    for path in (gateway.data / name for name in ("gerbang.db", "gerbang.db-wal", "gerbang.db-shm")):
        assert (path.stat().st_uid, path.stat().st_mode & 0o007) == (portal, 0), path


def test_the_supervisor_stays_small(gateway: GerbangGateway) -> None:
    assert int(field(gateway.main(), "VmRSS").split()[0]) < 18 * 1024


def test_each_line_of_the_log_has_time_and_name(gateway: GerbangGateway) -> None:
    lines = gateway.log().splitlines()
    form = r"\d\d:\d\d:\d\d (gerbang|netctl|dnsmasq|meter|guest|staff|housekeeping) +\S"
    assert all(re.match(form, line) for line in lines), lines
    local = (
        time.strftime("%H", time.gmtime(time.time() + 8 * 3600)),
        time.strftime("%H", time.gmtime(time.time() + 7.5 * 3600)),
    )
    assert lines[-1][:2] in local, "times are those of Asia/Makassar"


def test_a_killed_supervisor_takes_its_children_along_and_users_stay(village_of_its_own: Village) -> None:
    gateway, phone = gateway_of(village_of_its_own), village_of_its_own.phones[0]
    gateway.start()
    phone.dhcp()
    phone.login()
    signal_process(gateway.main(), signal.SIGKILL)
    end_s = time.monotonic() + 5
    while gateway.processes() and time.monotonic() < end_s:
        time.sleep(0.05)
    assert gateway.processes() == []
    assert phone.is_online()
    gateway.start()
    assert phone.is_online()
    assert gateway.netctl().status().drift_total == 0
    assert gateway.stop() == 0


def test_a_tree_that_only_root_can_read_is_enough(village_of_its_own: Village) -> None:
    """A clone below a directory with mode 0700: after giving up root nothing of it can be read any more."""
    gateway, phone = gateway_of(village_of_its_own), village_of_its_own.phones[0]
    parent = ROOT.parent
    assert str(parent) != "/", "this test hides the directory above the tree"
    moved = "/run/tree"
    hide = f"""set -e
        mkdir {moved} && mount --bind {ROOT} {moved}
        mount -t tmpfs -o mode=700 tmpfs {parent}
        mkdir {ROOT} && mount --move {moved} {ROOT}"""
    done = gateway.box.run(["sh", "-c", hide])
    assert done.returncode == 0, done.stderr
    user = gateway.box.run(["setpriv", "--reuid", "nobody", "--clear-groups", "ls", str(ROOT)])
    assert "Permission denied" in user.stderr, "the tree can still be read"
    gateway.site = {**gateway.site, "access": {"methods": ["terms", "voucher", "account"]}}
    gateway.start()
    phone.dhcp()
    for fields, path in ((b"code=ABCD-EFGH", "code"), (b"name=kantor&password=kucing+hujan", "account")):
        assert phone.http(f"{gateway.url}{path}", method="POST", body=fields).status == 403, path
    login = phone.login()
    assert login.status.status == 200
    for path in ("", "status", "return", "info", "v/ABCDEFGH", "blocked", "?lang=en", "nothing/here"):
        assert phone.http(f"{gateway.url}{path}").status < 500, path
    assert phone.logout(f"{gateway.url}status").status == 303
    phone.login()
    time.sleep(6)  # a round of the meter
    for name in ("guest", "meter"):
        gateway.wait_restarted(name, gateway.kill(name))
    gateway.wait_ready()
    assert phone.http(f"{gateway.url}status").status == 200
    log = gateway.log()
    assert "Traceback" not in log and "Permission denied" not in log, log[-3000:]
    assert gateway.stop() == 0


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_second_gateway_is_refused(gateway: GerbangGateway) -> None:
    done = gateway.box.run(gateway.command("run", "--site", str(SITE_FILE), *PLACES))
    assert done.returncode == os.EX_TEMPFAIL
    assert f"Another gateway is running in {RUN}." in done.stderr
    assert gateway.processes(), "and the first one goes on"


def test_mistakes_of_this_place_are_said_before_anything_is_touched(village_of_its_own: Village) -> None:
    gateway = gateway_of(village_of_its_own)
    elsewhere = {"interface": "lan7", "address": "10.64.0.1/16"}
    gateway.site = {**gateway.site, "lan": elsewhere}
    links.up(gateway.ns, "lan0")
    links.add_address(gateway.ns, "lan0", "10.64.3.1/24")
    gateway.write_site()
    before = gateway.ns.run(["iptables-legacy-save"]).stdout
    done = gateway.box.run(gateway.command("run", "--site", str(SITE_FILE), *PLACES))
    assert done.returncode == os.EX_CONFIG
    assert "lan.interface: This machine has no interface lan7." in done.stderr
    assert gateway.ns.run(["iptables-legacy-save"]).stdout == before
    gateway.site |= {"lan": {**elsewhere, "interface": "wan0"}, "uplink": {"interface": "lan0"}}
    gateway.write_site()
    done = gateway.box.run(gateway.command("check", "--here", "--json", str(SITE_FILE)))
    assert done.returncode == os.EX_CONFIG
    (mistake,) = json.loads(done.stdout)["mistakes"]
    assert mistake["key"] == "lan.address"
    assert "overlaps 10.64.3.0/24, which is at the uplink" in mistake["message"]


def test_a_user_that_is_missing_is_named_with_the_command_that_makes_it(village_of_its_own: Village) -> None:
    gateway = gateway_of(village_of_its_own)
    gateway.write_site()
    done = gateway.box.run(gateway.command("run", "--site", str(SITE_FILE), *PLACES, "--user", "no-such-user"))
    assert done.returncode == os.EX_NOPERM
    assert "useradd --system" in done.stderr
    assert not gateway.run_dir.exists()


@pytest.mark.parametrize("missing", ["libip4tc.so.2", "libxtables.so.12", "xtables"])
def test_missing_firewall_libraries_are_said_once_and_end_it(village_of_its_own: Village, missing: str) -> None:
    gateway = gateway_of(village_of_its_own)
    (found,) = Path("/usr/lib").glob(f"*/{missing}")
    hide = ["-t", "tmpfs", "tmpfs"] if found.is_dir() else ["--bind", "/dev/null"]
    assert gateway.box.run(["mount", *hide, str(found.resolve())]).returncode == 0
    gateway.write_site()
    done = gateway.box.run(gateway.command("run", "--site", str(SITE_FILE), *PLACES))
    assert done.returncode == os.EX_UNAVAILABLE, done.stderr
    assert done.stderr.count("apt install iptables") == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_database_does_not_keep_the_gateway_down(village_of_its_own: Village) -> None:
    gateway, phone = gateway_of(village_of_its_own), village_of_its_own.phones[0]
    gateway.start()
    assert gateway.stop() == 0
    for path in gateway.data.glob("gerbang.db-*"):
        path.unlink()
    database = gateway.data / "gerbang.db"
    database.write_bytes(b"no database" * 1000)
    gateway.start()
    assert database.read_bytes().startswith(b"no database"), "it is kept"
    phone.dhcp()
    assert phone.http(gateway.url).status in (200, 503)
    doctor = gateway.box.run(gateway.command("doctor", "--json", *PLACES))
    assert doctor.returncode == os.EX_UNAVAILABLE
    (line,) = [line for line in json.loads(doctor.stdout) if line["name"] == "database"]
    assert line["level"] == "fail" and "not an SQLite database" in line["message"] and line["fix"]
    status = gateway.box.run(gateway.command("status", "--json", *PLACES))
    told = json.loads(status.stdout)
    assert (status.returncode, told["online"], told["admitted"]) == (os.EX_UNAVAILABLE, None, 0)
    recovered = gateway.box.run(gateway.command("recover", "--data-dir", str(DATA)))
    assert recovered.returncode == 0, recovered.stderr
    assert "0 sessions were carried over" in recovered.stdout
    (kept,) = gateway.data.glob("broken-*.gerbang.db")
    assert kept.read_bytes().startswith(b"no database")
    assert phone.login().status.status == 200, "without a restart"
    again = gateway.box.run(gateway.command("recover", "--json", "--data-dir", str(DATA)))
    assert json.loads(again.stdout) == {"recovered": None}


# --- status and doctor ----------------------------------------------------------------------------------------------


def test_status_counts_who_is_online(gateway: GerbangGateway, new_phone: NewPhone) -> None:
    def told() -> dict[str, object]:
        done = gateway.box.run(gateway.command("status", "--json", *PLACES))
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    before = told()
    new_phone().login()
    after = told()
    assert after["online"] == int(str(before["online"])) + 1
    assert after["admitted"] == int(str(before["admitted"])) + 1
    assert (after["drift"], after["problems"], after["well"]) == (0, [], True)
    text = gateway.box.run(gateway.command("status", *PLACES)).stdout
    assert re.search(rf"^online +{after['online']} devices$", text, re.MULTILINE)


def test_the_doctor_finds_nothing_in_a_gateway_that_works(gateway: GerbangGateway) -> None:
    done = gateway.box.run(gateway.command("doctor", "--json", *PLACES))
    findings = json.loads(done.stdout)
    assert done.returncode == 0, findings
    assert {"site", "database", "disk", "clock", "daemon", "rules"} <= {line["name"] for line in findings}
    assert [line for line in findings if line["level"] == "fail"] == []
    assert all(line["fix"] for line in findings if line["level"] == "warn")


def test_the_doctor_sees_a_disk_that_is_full_and_one_that_is_read_only(village_of_its_own: Village) -> None:
    gateway = gateway_of(village_of_its_own)
    gateway.start()
    assert gateway.stop() == 0
    for state, words in (("size=8m", "MB are left"), ("ro", "read-only")):
        assert gateway.box.run(["mount", "-o", f"remount,{state}", str(DATA)]).returncode == 0
        findings = json.loads(gateway.box.run(gateway.command("doctor", "--json", *PLACES)).stdout)
        (disk,) = [line for line in findings if line["name"] == "disk"]
        assert disk["level"] == "fail" and words in disk["message"] and disk["fix"]


# --- dnsmasq --------------------------------------------------------------------------------------------------------


def test_dnsmasq_takes_every_configuration_that_is_written(village_of_its_own: Village, tmp_path: Path) -> None:
    from portal import dnsmasq
    from portal.config import Lan, Portal, Site, SiteConfig, Uplink
    from portal.paths import Paths

    site, certified = Site(code="64.03.01.2001"), Portal(name="p.example", certificate="/c", key="/k")
    for number, config in enumerate(
        [
            SiteConfig(site=site),
            SiteConfig(site=site, portal=certified, uplink=Uplink(dns=("203.0.113.1", "2001:db8::1"))),
            SiteConfig(site=site, lan=Lan(address="192.168.1.14/28", lease_minutes=2), portal=certified),
            SiteConfig(site=site, lan=Lan(address="172.16.0.1/16", ipv6=False, lease_minutes=10_080)),
        ]
    ):
        path = tmp_path / f"{number}.conf"
        path.write_text(dnsmasq.render(config, Paths(tmp_path, tmp_path), announce_api=config.portal is certified))
        done = village_of_its_own.gateway.ns.run(["dnsmasq", "--test", f"--conf-file={path}"], check=False)
        assert (done.returncode, done.stderr) == (0, "dnsmasq: syntax check OK.\n")


def test_the_portals_name_is_the_gateway_and_other_names_are_the_providers(
    gateway: GerbangGateway, phone: Phone
) -> None:
    phone.wait_ipv6()
    assert phone.dns("gerbang.lan") == (0, ["10.77.0.1"])
    code, (address,) = phone.dns("gerbang.lan", dns.AAAA)
    assert (code, address) == (0, next(a for a, _, _ in links.addresses(gateway.ns, "lan0", 6) if a.startswith("fd")))
    assert phone.dns("x.gerbang.lan") == (3, [])
    assert phone.dns("phone-1") == (3, []), "names that devices give themselves are not published"
    assert phone.dns("no-such-host.example")[1] == []


def test_an_address_outlives_dnsmasq_and_the_gateway(village_of_its_own: Village) -> None:
    gateway, phone = gateway_of(village_of_its_own), village_of_its_own.phones[0]
    gateway.start()
    first = phone.dhcp()
    assert first.elapsed_s < 2.5, "a new device waits for no ping (3 s)"
    assert first.captive_portal is None
    gateway.wait_restarted("dnsmasq", gateway.kill("dnsmasq"))
    gateway.wait_ready()
    assert phone.dhcp().address == first.address
    assert gateway.stop() == 0
    assert phone.mac in (gateway.data / "dnsmasq/leases").read_text()
    assert (gateway.data / "dnsmasq").stat().st_mode & 0o777 == 0o750
    gateway.start()
    assert phone.dhcp().address == first.address


def test_advertisements_name_router_prefix_and_resolver(gateway: GerbangGateway, phone: Phone) -> None:
    """RFC 4861, RFC 8106. Not the captive-portal option (RFC 8910): dnsmasq cannot; the O flag makes devices ask."""
    phone.wait_ipv6()
    with phone.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        number = phone.ns.call(lambda: socket.if_nametoindex(INTERFACE))
        sock.settimeout(5)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.sendto(struct.pack("!BBHI", 133, 0, 0, 0), ("ff02::2", 0, 0, number))
        while (advertisement := sock.recv(1500))[0] != 134:
            pass
    assert advertisement[5] & 0xC0 == 0x40, "addresses by SLAAC, the rest by DHCPv6"
    assert int.from_bytes(advertisement[6:8], "big") > 0, "a default router"
    options, rest = {}, advertisement[16:]
    while rest:
        options[rest[0]] = rest[: rest[1] * 8]
        rest = rest[rest[1] * 8 :]
    assert socket.inet_ntop(socket.AF_INET6, options[3][16:32]).startswith("fd")
    resolver = socket.inet_ntop(socket.AF_INET6, options[25][8:24])
    assert resolver.startswith("fe80:")
    with phone.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.sendto(dns.query("gerbang.lan", dns.A, 7), (resolver, 53, 0, number))
        assert dns.answer(sock.recv(4096), dns.A) == (7, 0, ["10.77.0.1"])


def test_known_names_still_resolve_when_the_uplink_is_gone(village_of_its_own: Village) -> None:
    """Without that nobody could open the page that says so; unknown names get their answer too, not silence."""
    gateway, phone = gateway_of(village_of_its_own), village_of_its_own.phones[0]
    gateway.start()
    phone.dhcp()
    known = phone.dns("connectivitycheck.gstatic.com")
    assert known[1]
    assert gateway.ns.run(["ip", "link", "set", "wan0", "down"]).returncode == 0
    assert phone.dns("connectivitycheck.gstatic.com", timeout_s=1) == known
    assert phone.http("http://connectivitycheck.gstatic.com/generate_204").status == 302
