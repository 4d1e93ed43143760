"""Setup and teardown on a real kernel: what stands then, as the kernel's own tools print it, and what is left alone."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netctl.api.errors import KERNEL, UNSUPPORTED, NetctlError
from netctl.kernel import links, linux, probe, shaping, wire, xtables
from netctl.kernel import rules as iptables
from netctl.kernel.child import Child
from netctl.kernel.linux import LinuxKernel
from netctl.kernel.ruleset import BUILT_IN, TABLES, ruleset
from netctl.ops import Direction, SetMember
from tests.kernel.scene import LAN6, Inside, Phone, Scene, admit, config, need

GOLDEN = Path(__file__).parent / "golden"
FOREIGN = (
    ("iptables-legacy", "-N", "THEIRS"),
    (
        "iptables-legacy",
        "-A",
        "THEIRS",
        "-p",
        "tcp",
        "--dport",
        "2222",
        "-m",
        "limit",
        "--limit",
        "5/min",
        "-j",
        "ACCEPT",
    ),
    ("iptables-legacy", "-A", "INPUT", "-j", "THEIRS"),
    ("iptables-legacy", "-A", "FORWARD", "-s", "192.0.2.0/24", "-j", "DROP"),
    ("iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-o", "wg0", "-j", "MASQUERADE"),
    ("ip6tables-legacy", "-t", "mangle", "-A", "OUTPUT", "-j", "MARK", "--set-xmark", "0x1/0xffffffff"),
    ("ipset", "create", "theirs", "hash:ip"),
    ("ipset", "add", "theirs", "192.0.2.1"),
    ("ip", "neigh", "add", "10.77.9.9", "lladdr", "02:00:00:00:09:09", "dev", "lan0", "nud", "permanent"),
)


def rules(scene: Scene, family: int) -> list[str]:
    """Every appended rule of the three tables, as iptables prints them."""
    program = "iptables-legacy" if family == 4 else "ip6tables-legacy"
    lines = []
    for table in TABLES:
        lines += [f"{table} {line}" for line in scene.out(program, "-t", table, "-S").splitlines()]
    return lines


def picture(scene: Scene) -> dict[str, str]:
    """All kernel state that Gerbang could touch, with counters and times taken out."""
    drop = re.compile(r"\[\d+:\d+\]|^#.*$|valid_lft .*|used \S+|timeout \d+|refcnt \d+", re.MULTILINE)
    commands = {
        "rules4": ("iptables-legacy-save",),
        "rules6": ("ip6tables-legacy-save",),
        "sets": ("ipset", "save"),
        "qdiscs": ("tc", "qdisc", "show"),
        "neighbours": ("ip", "neigh", "show", "nud", "permanent"),
        "addresses": ("ip", "-o", "address", "show", "scope", "global"),
    }
    found = {name: drop.sub("", scene.out(*command)) for name, command in commands.items()}
    # Looking at a table creates it, empty; their order is the order of looking.
    for name in ("rules4", "rules6"):
        kept = [line for line in found[name].splitlines() if line.startswith("-")]
        found[name] = "\n".join(sorted(kept))
    for path, _ in links.switches(scene.config):
        sysctl = links.SYSCTL / path
        found[path] = scene.gateway.call(lambda sysctl=sysctl: sysctl.read_text() if sysctl.exists() else "")
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_the_kernel_holds_the_golden_rules(gateway: Scene, family: int) -> None:
    need(gateway.kernel, probe.NAT6)
    keyed = family == 4 or any(f.name == probe.IP_MAC_HASH and f.present for f in gateway.kernel.probe())
    golden = (GOLDEN / f"rules{family}.txt").read_text().splitlines()
    if not keyed:  # the golden text is that of a kernel with hash:ip,mac
        golden = [line.replace("gerbang_up6 src,src", "gerbang_up6 src") for line in golden]
    held = [line for line in rules(gateway, family) if line.split()[1] == "-A"]
    by_chain = lambda line: (line.split()[0], line.split()[2] in BUILT_IN, line.split()[2])  # noqa: E731
    assert sorted(held, key=by_chain) == sorted(golden, key=by_chain)


def test_the_kernel_holds_the_sets(gateway: Scene) -> None:
    saved = gateway.out("ipset", "save").splitlines()
    held = dict(line.split(" ", 2)[1:] for line in saved)
    gardens = {name: held.pop(name) for name in ("gerbang_garden4", "gerbang_garden6")}
    for name, family in (("gerbang_garden4", "inet"), ("gerbang_garden6", "inet6")):
        assert gardens[name].startswith(f"hash:net family {family} hashsize 1024 maxelem 65536 timeout 7200")
    assert set(held) == {"gerbang_up4", "gerbang_dn4", "gerbang_up6", "gerbang_dn6"}
    for line in held.values():
        assert " timeout 0 counters skbinfo" in line, line
    assert re.match(r"hash:ip family inet hashsize 1024 maxelem 65536 ", held["gerbang_dn4"])
    assert re.match(r"hash:ip family inet6 hashsize 1024 maxelem 131072 ", held["gerbang_dn6"])
    if held["gerbang_up4"].startswith("bitmap"):
        assert held["gerbang_up4"].startswith("bitmap:ip,mac range 10.77.0.0-10.77.15.255 ")
    else:
        assert held["gerbang_up4"].startswith("hash:ip,mac family inet ")
        assert held["gerbang_up6"].startswith("hash:ip,mac family inet6 ")


def test_the_kernel_holds_the_classes(gateway: Scene) -> None:
    gateway.kernel.apply(admit("02:00:00:00:00:05", "10.77.1.5", minor=0xAB, kbit=5000))
    lan = gateway.out("tc", "class", "show", "dev", "lan0").splitlines()
    wan = gateway.out("tc", "class", "show", "dev", "wan0").splitlines()
    assert {line.split()[2] for line in lan if " htb " in line} == {"1:1", "1:2", "1:3", "1:ab"}
    assert {line.split()[2] for line in wan if " htb " in line} == {"2:1", "2:2", "2:3", "2:ab"}
    user = next(line for line in lan if " 1:ab " in line)
    # 64 and 5000 kbit/s of payload, 1514 bytes of frame for 1448
    assert "parent 1:1 leaf ab:" in user and "rate 66920bit ceil 5227Kbit" in user, user
    assert any(line.startswith("class htb 1:1 root rate 50Mbit ceil 50Mbit") for line in lan), lan
    assert any(line.startswith("class htb 2:1 root rate 20Mbit ceil 20Mbit") for line in wan), wan
    assert any("htb 1:3 parent 1:1 leaf e: prio 7 rate 5Mbit ceil 5Mbit" in line for line in lan), lan
    assert any("htb 2:3 parent 2:1 leaf e: prio 7 rate 2Mbit ceil 2Mbit" in line for line in wan), wan
    assert "default 0x2" in gateway.out("tc", "qdisc", "show", "dev", "lan0", "root")


def test_a_shaped_link_has_its_rates_and_what_depends_on_them(gateway: Scene) -> None:
    rates = re.compile(r"htb (\S+) .*rate (\S+) ceil (\S+)")

    def held(device: str) -> dict[str, tuple[str, str]]:
        found = map(rates.search, gateway.out("tc", "class", "show", "dev", device).splitlines())
        return {match[1]: (match[2], match[3]) for match in found if match}

    gateway.kernel.shape_link(8_000, 3_000)
    assert held("lan0")["1:1"] == ("8Mbit", "8Mbit")
    assert held("wan0")["2:1"] == ("3Mbit", "3Mbit") and held("wan0")["2:2"] == ("300Kbit", "3Mbit")
    gateway.out("tc", "class", "change", "dev", "lan0", "classid", "1:1", "htb", "rate", "50mbit")
    assert not gateway.kernel.observe().intact
    gateway.kernel.setup()
    assert held("lan0")["1:1"] == ("8Mbit", "8Mbit")
    again = Inside(gateway.gateway, gateway.gateway.call(lambda: LinuxKernel(gateway.config)))
    again.setup()  # another process knows the configured rates alone
    again.close()
    assert held("lan0")["1:1"] == ("50Mbit", "50Mbit") and held("wan0")["2:1"] == ("20Mbit", "20Mbit")


def test_setup_again_changes_nothing_and_members_survive(gateway: Scene) -> None:
    gateway.kernel.apply(admit("02:00:00:00:00:05", "10.77.1.5", f"{LAN6[:-3]}5"))
    member = SetMember("10.77.1.5", "02:00:00:00:00:05", 0x10, 7, None, (1, 2, 3, 4))
    gateway.kernel.apply([member])
    before, observed = picture(gateway), gateway.kernel.observe()
    assert observed.intact
    gateway.kernel.setup()
    # Another process, as after a kill -9: it finds everything standing.
    other = Inside(gateway.gateway, gateway.gateway.call(lambda: LinuxKernel(gateway.config)))
    other.setup()
    assert picture(gateway) == before
    assert other.observe().members["10.77.1.5"].up_bytes == 1
    other.close()


def test_teardown_restores_what_was_and_touches_nobody_elses(scene: Scene) -> None:
    scene.kernel.probe()
    scene.out("ip", "address", "add", scene.config.lan_address, "dev", "lan0")  # with it the neighbours would go, too
    for command in FOREIGN:
        scene.out(*command)
    before = picture(scene)
    scene.kernel.setup()
    during = picture(scene)
    for line in (*before["rules4"].splitlines(), *before["rules6"].splitlines()):
        assert line in during["rules4"] + during["rules6"]
    assert "10.77.9.9 dev lan0" in during["neighbours"] and "theirs" in during["sets"]
    assert "10.77.9.9" not in scene.kernel.observe().pinned  # not ours, so the engine never sees it as ours
    scene.kernel.apply(admit("02:00:00:00:00:05", "10.77.1.5", f"{LAN6[:-3]}5"))
    scene.kernel.teardown()
    assert picture(scene) == before
    scene.kernel.teardown()
    assert picture(scene) == before
    assert list(Path(scene.config.state_path).parent.iterdir()) == []


def test_addresses_that_were_there_before_stay_after_teardown(scene: Scene) -> None:
    scene.out("ip", "address", "add", scene.config.lan_address, "dev", "lan0")
    scene.kernel.setup()
    scene.kernel.teardown()
    assert "10.77.0.1/20" in scene.out("ip", "-o", "-4", "address", "show", "lan0")


@pytest.mark.parametrize("scene", [{"garden_networks": ("203.0.113.0/24",)}], indirect=True)
@pytest.mark.parametrize(
    "damage",
    [
        ("iptables-legacy", "-F", "FORWARD"),
        ("iptables-legacy", "-F", "GERBANG_UP"),
        ("iptables-legacy", "-t", "nat", "-F"),
        ("iptables-legacy", "-I", "FORWARD", "-j", "ACCEPT"),
        ("ip6tables-legacy", "-D", "INPUT", "1"),
        ("ip6tables-legacy", "-t", "mangle", "-D", "GERBANG_DOWN", "1"),
        ("tc", "qdisc", "del", "dev", "lan0", "root"),
        ("tc", "class", "change", "dev", "wan0", "classid", "2:1", "htb", "rate", "1mbit"),
        ("tc", "class", "del", "dev", "lan0", "classid", "1:3"),
        ("ipset", "flush", "gerbang_garden4"),
        ("ipset", "add", "gerbang_garden6", "2001:db8:99::/48", "timeout", "0"),
        ("ip", "address", "del", "10.77.0.1/20", "dev", "lan0"),
        ("sysctl", "-qw", "net.ipv4.ip_forward=0"),
    ],
    ids=lambda command: " ".join(command[:4]),
)
def test_damage_is_seen_and_mended_and_members_stay(gateway: Scene, damage: tuple[str, ...]) -> None:
    gateway.kernel.apply(admit("02:00:00:00:00:05", "10.77.1.5"))
    before = picture(gateway)
    gateway.out(*damage)
    assert not gateway.kernel.observe().intact
    gateway.kernel.setup()
    observed = gateway.kernel.observe()
    assert observed.intact
    assert observed.members["10.77.1.5"].complete
    after = picture(gateway)
    theirs = "-A FORWARD -j ACCEPT"
    after["rules4"] = "\n".join(line for line in after["rules4"].splitlines() if line != theirs)
    for name in before:
        if name not in ("qdiscs", "neighbours"):  # those of users are the engine's to mend
            assert after[name] == before[name], name
    if damage[1] == "-I":  # somebody else's rule stays, but behind ours
        forward = [line for line in rules(gateway, 4) if line.startswith("filter -A FORWARD")]
        assert forward[-1].endswith(theirs) and "GERBANG_UP" in forward[0]


@pytest.mark.parametrize("scene", [{"garden_networks": ("203.0.113.7", "2001:db8:7::/48")}], indirect=True)
def test_the_garden_keeps_what_names_brought_and_follows_the_configuration(gateway: Scene) -> None:
    def held(name: str) -> dict[str, int]:
        entries = re.findall(r"^(\S+) timeout (\d+)", gateway.out("ipset", "list", name), re.MULTILINE)
        return {network: int(left) for network, left in entries}

    assert (held("gerbang_garden4"), held("gerbang_garden6")) == ({"203.0.113.7": 0}, {"2001:db8:7::/48": 0})
    for entry in ("198.51.100.9", "203.0.113.7"):  # as dnsmasq adds: without a word about time
        gateway.out("ipset", "-exist", "add", "gerbang_garden4", entry)
    assert gateway.kernel.observe().intact  # a name's address that is configured, too, has got a timeout
    assert {7000 < left <= 7200 for left in held("gerbang_garden4").values()} == {True}
    assert "garden 198.51.100.9/32" in gateway.kernel.dump()
    moved = msgspec.structs.replace(gateway.config, garden_networks=("192.0.2.128/25",))
    other = Inside(gateway.gateway, gateway.gateway.call(lambda: LinuxKernel(moved)))
    assert not other.observe().intact
    other.setup()
    assert other.observe().intact
    other.close()
    assert set(held("gerbang_garden4")) == {"192.0.2.128/25", "198.51.100.9", "203.0.113.7"}
    assert held("gerbang_garden6") == {}
    gateway.kernel.teardown()
    assert gateway.out("ipset", "list", "-n") == ""


@pytest.mark.parametrize("lacking", ["hash:net", "CLASSIFY"])
def test_a_kernel_without_a_part_of_the_garden_has_none_and_all_else(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "hash:net":
        monkeypatch.setattr(probe.garden, "try_create", lambda *_: wire.Refusal(0, 4097, ""))
    else:
        real = probe.xtables.has_extension
        monkeypatch.setattr(
            probe.xtables, "has_extension", lambda f, kind, name: name != lacking and real(f, kind, name)
        )
    scene.kernel.setup()
    assert scene.kernel.observe().intact
    missing = [f for f in scene.kernel.probe() if lacking in f.name]
    assert missing and not any(f.present or f.required for f in missing)
    assert all("no walled garden" in f.detail for f in missing)
    assert not any("garden" in line.lower() for line in (*rules(scene, 4), *rules(scene, 6)))
    assert "garden" not in scene.out("ipset", "list", "-n")
    scene.kernel.teardown()


@pytest.mark.parametrize(
    ("become", "said"),
    [
        (lambda *_: "IPv4: refused", "IPv4: refused"),
        (lambda *_: os.kill(os.getpid(), signal.SIGSEGV), "IPv4: what writes its rules ended with -11."),
        (lambda *_: sys.exit(3), f"IPv4: what writes its rules ended with {os.EX_SOFTWARE}."),
    ],
)
def test_a_family_s_process_that_fails_is_told(
    become: Callable[..., Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """python-iptables ends its process where it meets what it does not expect."""
    monkeypatch.setattr(iptables, "_stand", become)
    assert iptables._ended(*iptables._begun(None, iptables.Part(4, ()))) == said


def test_what_is_asked_instead_counts_where_the_kernel_refuses(scene: Scene) -> None:
    index = scene.gateway.call(lambda: socket.if_nametoindex("lan0"))
    here, nowhere = (shaping.Egress(index, direction, None, 1500, "") for direction in Direction)

    def rate(egress: shaping.Egress, minor: int, instead: wire.Message | None = None) -> wire.Message:
        wanted = shaping._Class(minor, egress.root, 10_000, 10_000, 0, None)
        return dataclasses.replace(shaping._messages(egress, wanted)[0], instead=instead)

    route = Inside(scene.gateway, scene.gateway.call(lambda: wire.Netlink(wire.NETLINK_ROUTE)))
    batch = [
        shaping.root_message(here),
        rate(nowhere, 0x10, rate(here, 0x11)),
        rate(nowhere, 0x12),
        rate(nowhere, 0x13, rate(nowhere, 0x14)),
        rate(here, 0x15, rate(here, 0x16)),
    ]
    assert sorted(refusal.index for refusal in route.transact(batch)) == [2, 3]
    route.close()
    stand = {line.split()[2] for line in scene.out("tc", "class", "show", "dev", "lan0").splitlines()}
    assert stand == {"1:11", "1:15"}


def test_other_programs_rules_do_not_look_like_damage(gateway: Scene) -> None:
    for command in FOREIGN:
        gateway.out(*command)
    assert gateway.kernel.observe().intact


def test_a_set_made_otherwise_is_replaced_while_everybody_is_refused(scene: Scene) -> None:
    scene.out("ipset", "create", "gerbang_dn4", "hash:ip", "maxelem", "10")
    scene.kernel.setup()
    assert scene.kernel.observe().intact
    # The same under standing rules: the LAN was given another network.
    moved = msgspec.structs.replace(scene.config, lan_address="10.78.0.1/22")
    other = Inside(scene.gateway, scene.gateway.call(lambda: LinuxKernel(moved)))
    assert not other.observe().intact
    other.setup()
    assert other.observe().intact
    assert other.lan_prefixes()[0] == "10.78.0.0/22"
    other.apply([SetMember("10.78.3.9", "02:00:00:00:00:05", 0x10, 7, None)])
    other.close()


def test_the_rules_stand_before_there_is_an_interface(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = config(tmp_path, lan_interface="lan9", uplink_interface="wan9")
    kernel = Inside(scene.gateway, scene.gateway.call(lambda: LinuxKernel(later)))
    kernel.put_rules()
    by_setup = [line.replace("lan9", "lan0").replace("wan9", "wan0") for line in rules(scene, 4)]
    assert scene.gateway.call((links.SYSCTL / "ipv4/ip_forward").read_text) == "0\n"
    assert scene.out("tc", "qdisc", "show", "dev", "lan0").startswith("qdisc noqueue")
    for old, new in (("lan0", "lan9"), ("wan0", "wan9")):
        scene.out("ip", "link", "set", old, "down", "name", new)
    started: list[str] = []
    monkeypatch.setattr(linux, "Child", lambda module: (started.append(module), Child(module))[1])
    kernel.setup()
    assert kernel.observe().intact
    assert started == ["netctl.kernel.links"], "rules that stand are not written again"
    kernel.teardown()
    kernel.close()
    for old, new in (("lan9", "lan0"), ("wan9", "wan0")):
        scene.out("ip", "link", "set", old, "down", "name", new)
    scene.kernel.setup()
    assert rules(scene, 4) == by_setup


def test_a_missing_interface_is_one_sentence(scene: Scene, tmp_path: Path) -> None:
    absent = config(tmp_path, uplink_interface="wan9")
    kernel = Inside(scene.gateway, scene.gateway.call(lambda: LinuxKernel(absent)))
    with pytest.raises(NetctlError) as caught:
        kernel.setup()
    assert caught.value.code == KERNEL and "wan9" in caught.value.message and caught.value.hint
    kernel.close()


def test_a_kernel_without_a_needed_feature_is_one_sentence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = probe.xtables.has_extension
    monkeypatch.setattr(probe.xtables, "has_extension", lambda f, kind, name: name != "SET" and real(f, kind, name))
    before = picture(scene)
    with pytest.raises(NetctlError) as caught:
        scene.kernel.setup()
    assert caught.value.code == UNSUPPORTED
    assert "iptables target SET" in caught.value.message and "doctor" in caught.value.hint
    assert picture(scene) == before


def test_a_delegated_prefix_is_used_as_it_is_beside_the_ula(scene: Scene) -> None:
    scene.out("ip", "address", "add", "2400:1234:5:6::1/64", "dev", "lan0", "nodad")
    scene.kernel.setup()
    assert scene.kernel.lan_prefixes() == ("10.77.0.0/20", "2400:1234:5:6::/64", LAN6)
    phone = scene.phone(5)
    phone.namespace.run(["ip", "address", "add", "2400:1234:5:6::5/64", "dev", "wlan0", "nodad"])
    scene.out("ip", "-6", "route", "add", "default", "via", "2001:db8:18::1")
    scene.internet.run(["ip", "-6", "route", "add", "2400:1234:5:6::/64", "via", "2001:db8:18::2"])
    scene.kernel.apply(admit(phone.mac, "2400:1234:5:6::5"))
    assert _address_seen(scene, phone) == "2400:1234:5:6::5"  # not masqueraded


def _address_seen(scene: Scene, phone: Phone) -> str:
    script = (
        "import socket; s = socket.create_server(('2001:db8:18::1', 80), family=socket.AF_INET6); print(flush=True); "
    )
    server = scene.internet.popen(
        ["python3", "-c", script + "print(s.accept()[1][0])"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    server.stdout.readline()
    sock = phone.namespace.socket(10)
    sock.settimeout(3)
    with sock:
        sock.bind(("2400:1234:5:6::5", 0))
        phone.namespace.run(["ip", "-6", "route", "replace", "default", "via", "2400:1234:5:6::1", "dev", "wlan0"])
        sock.connect(("2001:db8:18::1", 80))
        return server.stdout.readline().strip()


def test_the_probe_leaves_no_trace(scene: Scene) -> None:
    scene.kernel.probe()  # tables that are looked at come into being, empty
    before, interfaces = picture(scene), scene.gateway.call(socket.if_nameindex)
    other = Inside(scene.gateway, scene.gateway.call(lambda: LinuxKernel(scene.config)))
    features = other.probe()
    other.close()
    assert picture(scene) == before and scene.gateway.call(socket.if_nameindex) == interfaces
    names = [feature.name for feature in features]
    assert len(names) == len(set(names)) and all(feature.detail for feature in features)
    assert {f.name for f in features if f.required and not f.present} == set()


def test_offloads_are_off_and_neighbours_have_room_or_it_is_said(gateway: Scene) -> None:
    notes = {feature.name: feature for feature in gateway.kernel.probe()}
    assert notes["offloads off"].present, notes["offloads off"].detail
    assert not notes["room for neighbours"].required
    assert notes["room for neighbours"].present or "namespace" in notes["room for neighbours"].detail


def test_dump_names_everything_and_is_stable(gateway: Scene) -> None:
    gateway.kernel.apply(admit("02:00:00:00:00:05", "10.77.1.5", minor=0x10, grant=7))
    lines = gateway.kernel.dump()
    assert list(lines) == sorted(lines) and gateway.kernel.dump() == lines
    for expected in (
        "member 10.77.1.5 02:00:00:00:00:05 class 0x10 grant 7",
        "class down 0x10 rate 64 ceil 5000 kbit prio 1",
        "class up 0x10 rate 64 ceil 5000 kbit prio 1",
        "neighbour 10.77.1.5 02:00:00:00:00:05",
        "4 filter -A FORWARD -i lan0 -j GERBANG_UP",
    ):
        assert expected in lines
    gateway.kernel.teardown()
    assert gateway.kernel.dump() == ("not intact: setup has something to mend",)


@pytest.mark.parametrize("scene", [{"socket_group": 4242}], indirect=True)
def test_the_portals_group_may_ping_without_privileges(gateway: Scene) -> None:
    script = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); s.settimeout(2); "
        "s.connect(('198.18.0.1', 0)); s.send(bytes((8, 0, 0, 0, 0, 0, 0, 1)) + b'gerbang'); print(s.recv(100)[0])"
    )

    def ping(group: int) -> subprocess.CompletedProcess[str]:
        who = ["setpriv", "--reuid", "65534", "--regid", str(group), "--clear-groups", "--inh-caps=-all"]
        return gateway.gateway.run([*who, "/usr/bin/python3", "-c", script], check=False)

    answered = ping(4242)
    assert answered.stdout.strip() == "0", answered.stderr  # an echo reply
    assert "PermissionError" in ping(4243).stderr
    gateway.kernel.teardown()
    assert "PermissionError" in ping(4242).stderr


def test_a_class_whose_queue_was_replaced_is_set_again(gateway: Scene) -> None:
    gateway.kernel.apply(admit("02:00:00:00:00:05", "10.77.1.5", minor=0x10))
    gateway.out("tc", "qdisc", "replace", "dev", "lan0", "parent", "1:10", "handle", "999:", "pfifo", "limit", "1000")
    assert (Direction.DOWN, 0x10) not in gateway.kernel.observe().classes
    gateway.kernel.apply(admit("02:00:00:00:00:05", "10.77.1.5", minor=0x10))
    assert (Direction.DOWN, 0x10) in gateway.kernel.observe().classes


def test_teardown_believes_its_file_only_about_what_setup_changes(gateway: Scene) -> None:
    file = Path(gateway.config.state_path + ".before")
    memory = msgspec.json.decode(file.read_bytes())
    memory["switches"]["core/somaxconn"] = "7"
    memory["addresses"].append("192.0.2.1/24")
    file.write_bytes(msgspec.json.encode(memory))
    gateway.out("ip", "address", "add", "192.0.2.1/24", "dev", "lan0")
    gateway.kernel.teardown()
    assert gateway.out("sysctl", "-n", "net.core.somaxconn").strip() != "7"
    assert "192.0.2.1/24" in gateway.out("ip", "-o", "address", "show", "lan0")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"switches": 3}'])
def test_a_spoilt_file_of_what_was_before_hinders_neither_setup_nor_teardown(gateway: Scene, content: str) -> None:
    Path(gateway.config.state_path + ".before").write_text(content)
    assert not gateway.kernel.observe().intact
    gateway.kernel.setup()
    assert gateway.kernel.observe().intact
    gateway.kernel.teardown()
    assert "GERBANG" not in gateway.out("iptables-legacy-save")


def stopped_fork(gateway: Scene, order: iptables.Order) -> tuple[subprocess.Popen[bytes], int] | None:
    """A process that carries out the order, and a pidfd of its first fork, stopped; None where it was too fast."""
    process = gateway.gateway.popen([sys.executable, "-P", "-m", iptables.__name__], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin as told:
        told.write(msgspec.json.encode(order))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (forks := children.read_text().split()):
        if process.poll() is not None:
            return None
    fork = os.pidfd_open(int(forks[0]))
    signal.pidfd_send_signal(fork, signal.SIGSTOP)
    return process, fork


def test_the_fork_of_a_rules_process_that_was_killed_changes_nothing_any_more(gateway: Scene) -> None:
    standing = gateway.gateway.call(lambda: xtables.fingerprint(4))
    order = iptables.Order((iptables.Part(4, ruleset(gateway.config, 4, True)[:-1]),))
    for _ in range(10):
        if caught := stopped_fork(gateway, order):
            process, fork = caught
            in_time = gateway.gateway.call(lambda: xtables.fingerprint(4)) == standing
            process.kill()
            process.wait()
            with contextlib.suppress(ProcessLookupError):  # it ended with its parent
                signal.pidfd_send_signal(fork, signal.SIGCONT)
            ended, _, _ = select.select([fork], [], [], 5.0)
            os.close(fork)
            assert ended, "it lives on, and holds the lock"
            if in_time:
                assert gateway.gateway.call(lambda: xtables.fingerprint(4)) == standing
                return
        gateway.kernel.setup()
    pytest.fail("no fork was stopped before it was through")
