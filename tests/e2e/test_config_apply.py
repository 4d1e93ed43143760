"""A changed site.toml on a running gateway: in force at once, nobody cut off, undone unless confirmed."""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portal import changes
from portal.control import Control, ControlError
from tests.village import links, measure, story
from tests.village.gateway import RUN, SITE_FILE, GerbangGateway, name_of, to_toml
from tests.village.internet import WEB
from tests.village.village import Village

CANDIDATE = Path("/run/candidate.toml")
FAST = {**story.PLAN, "down_kbit": 9000}


@pytest.fixture(scope="module")
def village() -> Iterator[Village]:
    with Village(phones=1, site={"plan": [story.PLAN]}) as found:
        found.phones[0].dhcp()
        found.phones[0].login()
        yield found


@pytest.fixture
def gateway(village: Village) -> Iterator[GerbangGateway]:
    assert isinstance(village.gateway, GerbangGateway)
    yield village.gateway
    config(village.gateway, "revert")
    wait(lambda: village.gateway.answers(8080))


def config(gateway: GerbangGateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    return gateway.box.run(gateway.command("config", *arguments, "--run-dir", str(RUN)))


def state(gateway: GerbangGateway) -> dict[str, Any]:
    found = json.loads(config(gateway, "state", "--json").stdout)
    assert isinstance(found, dict)
    return found


def apply(gateway: GerbangGateway, **tables: Any) -> subprocess.CompletedProcess[str]:
    gateway.box.write(CANDIDATE, to_toml(gateway.site | tables))
    return config(gateway, "apply", str(CANDIDATE))


def wait(seen: Callable[[], object], within_s: float = 15) -> None:
    end_s = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < end_s, f"not seen within {within_s} s"
        time.sleep(0.1)


def ceils(gateway: GerbangGateway) -> set[str]:
    """What the kernel's user classes let through towards the LAN at most, kbit/s."""
    lines = [line.split() for line in gateway.netctl().dump() if line.startswith("class down")]
    return {line[line.index("ceil") + 1] for line in lines}


def pids(gateway: GerbangGateway) -> dict[str, int]:
    return {name: gateway.process(name).pid for name in ("netctl", "dnsmasq", "meter", "guest", "staff")}


def test_a_plans_change_reaches_a_running_download(village: Village, gateway: GerbangGateway) -> None:
    phone, before = village.phones[0], pids(gateway)
    assert ceils(gateway) == {"5000"}
    rates: list[measure.Rate] = []
    download = threading.Thread(target=lambda: rates.append(measure.tcp_down(phone, WEB, 14)))
    download.start()
    time.sleep(2)
    done = apply(gateway, plan=[FAST])
    assert done.returncode == 0, done.stderr
    assert "gerbang config confirm" in done.stdout
    began_s = time.monotonic()
    wait(lambda: ceils(gateway) == {"9000"})
    assert time.monotonic() - began_s < 8, "a tick, and the start of a process"
    download.join()
    assert rates[0].mbit_s > 5.5, "the one connection went on, and faster"
    after = pids(gateway)
    same = {name for name in before if before[name] == after[name]}
    assert same == {"netctl", "dnsmasq"}, "only who reads plans started again"
    assert state(gateway)["pending"]["renewed"] == ["meter", "guest", "guest-tls", "staff"]
    assert phone.is_online()
    assert "9000" not in gateway.box.read(SITE_FILE), "not confirmed yet"
    assert config(gateway, "revert").returncode == 0
    wait(lambda: ceils(gateway) == {"5000"})
    assert phone.is_online()
    assert gateway.netctl().status().drift_total == 0


def test_confirmed_it_is_the_sites_own_file(village: Village, gateway: GerbangGateway) -> None:
    old = gateway.box.read(SITE_FILE)
    gateway.box.write(CANDIDATE, to_toml(gateway.site | {"plan": [FAST]}))
    asking = Control(gateway.box.root / str(RUN / "control.sock").lstrip("/"))  # sooner than a command could
    asking.apply(gateway.box.read(CANDIDATE), "tester")
    with pytest.raises(ControlError, match="only now being put into force"):
        asking.confirm("tester")  # nobody can have seen that it works
    wait(lambda: ceils(gateway) == {"9000"})
    done = config(gateway, "confirm")
    assert done.returncode == 0, done.stderr
    assert gateway.box.read(SITE_FILE) == gateway.box.read(CANDIDATE)
    assert gateway.box.read(f"{SITE_FILE}.previous") == old
    found = state(gateway)
    assert (found["pending"], found["last"]["outcome"]) == (None, "confirmed")
    assert config(gateway, "confirm").returncode == os.EX_UNAVAILABLE, "there is nothing more to confirm"
    assert apply(gateway, plan=[story.PLAN]).returncode == 0
    wait(lambda: ceils(gateway) == {"5000"})
    assert config(gateway, "confirm").returncode == 0
    assert village.phones[0].is_online()


def test_mistakes_are_all_said_and_nothing_changes(gateway: GerbangGateway) -> None:
    before = pids(gateway)
    wrong = {"lan": {"interface": "lan7", "address": "10.77.0.0/20"}, "plan": [{**FAST, "down_kbit": "fast"}]}
    done = apply(gateway, **wrong)
    assert done.returncode == os.EX_CONFIG
    for sentence in ("no interface lan7", "network's own", "plan[1].down_kbit"):
        assert sentence in done.stderr, done.stderr
    assert "3 mistakes" in done.stderr
    assert state(gateway)["pending"] is None
    assert pids(gateway) == before
    assert "lan7" not in gateway.box.read(RUN / "site.toml")


def test_the_same_configuration_is_not_applied(gateway: GerbangGateway) -> None:
    done = config(gateway, "apply", str(RUN / "site.toml"))
    assert done.returncode == os.EX_UNAVAILABLE and "runs already" in done.stderr


def test_unconfirmed_it_goes_back_by_itself(village: Village, gateway: GerbangGateway) -> None:
    assert apply(gateway, plan=[FAST]).returncode == 0
    wait(lambda: ceils(gateway) == {"9000"})
    left_s = state(gateway)["pending"]["left_s"]
    assert 0 < left_s <= changes.CONFIRM_WITHIN_S
    wait(lambda: ceils(gateway) == {"5000"}, within_s=left_s + 15)
    last = state(gateway)["last"]
    assert last["outcome"] == "reverted" and "nobody confirmed it in time" in last["message"]
    assert village.phones[0].is_online()
    assert "9000" not in gateway.box.read(RUN / "site.toml")


def test_a_process_that_does_not_come_up_reverts_at_once(village: Village, gateway: GerbangGateway) -> None:
    """Something else holds the port that the pages would get; no check of the file can see that."""
    with gateway.ns.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 8181))
        taken.listen()
        assert apply(gateway, portal={"port": 8181}).returncode == 0
        wait(lambda: state(gateway)["last"]["outcome"] == "reverted" and state(gateway)["pending"] is None, 30)
    assert "guest ended with status" in state(gateway)["last"]["message"]
    wait(lambda: gateway.answers(8080))
    assert village.phones[0].is_online()


def test_another_address_of_the_lan_moves_all_and_comes_back(village: Village, gateway: GerbangGateway) -> None:
    phone = village.phones[0]
    assert apply(gateway, lan={**gateway.site["lan"], "address": "10.78.0.1/20"}).returncode == 0
    assert "netctl" in state(gateway)["pending"]["renewed"]
    wait(lambda: gateway.answers(8080, "10.78.0.1") and gateway.answers(53, "10.78.0.1"), 30)
    assert "10.77.0.1" not in {address for address, _, _ in links.addresses(gateway.ns, "lan0", 4)}
    assert config(gateway, "revert").returncode == 0
    wait(lambda: gateway.answers(8080) and gateway.answers(53), 30)
    assert {address for address, _, _ in links.addresses(gateway.ns, "lan0", 4)} == {"10.77.0.1"}
    wait(phone.is_online, 20)


def test_a_certificate_brings_a_process_and_its_end_takes_it_away(gateway: GerbangGateway) -> None:
    from portal import selfsigned

    selfsigned.ensure(gateway.box.root / "run/tls.pem", ["gerbang.lan"], 0, 0)
    tls = {"name": "gerbang.lan", "certificate": "/run/tls.pem", "key": "/run/tls.pem"}
    assert apply(gateway, portal=tls).returncode == 0
    wait(lambda: gateway.answers(8443), 30)
    assert gateway.process("guest-tls").pid
    assert config(gateway, "revert").returncode == 0
    wait(lambda: not gateway.answers(8443))
    wait(lambda: "guest-tls" not in {name_of(process) for process in gateway.processes()})
    wait(lambda: gateway.answers(8080) and gateway.answers(8444))
    assert state(gateway)["last"]["outcome"] == "reverted"


def test_while_one_is_tried_no_other_may_be(gateway: GerbangGateway) -> None:
    assert apply(gateway, plan=[FAST]).returncode == 0
    second = apply(gateway, plan=[{**FAST, "down_kbit": 8000}])
    assert second.returncode == os.EX_TEMPFAIL and "waits to be confirmed" in second.stderr


def test_a_power_cut_while_it_is_tried_leaves_the_old_one(village: Village, gateway: GerbangGateway) -> None:
    assert apply(gateway, plan=[FAST]).returncode == 0
    wait(lambda: ceils(gateway) == {"9000"})
    gateway.crash()
    written = gateway.box.read(SITE_FILE)
    gateway.start()
    assert gateway.box.read(SITE_FILE) == written
    wait(lambda: ceils(gateway) == {"5000"})


def test_only_root_and_the_staff_pages_are_obeyed(gateway: GerbangGateway) -> None:
    """Who takes over the guest pages is of the socket's group, and still changes nothing."""
    ask = f"""
import os, sys; from pathlib import Path; from portal.control import Control, ControlError
user, gid, uid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.initgroups(user, gid); os.setgid(gid); os.setuid(uid)  # only now: these users may be unable to read the tree
try: print(Control(Path("{RUN}/control.sock")).state().source)
except ControlError as error: print(error.code)
"""
    python = gateway.command("x")[0].replace("bin/gerbang", "bin/python")
    group = grp.getgrnam("gerbang").gr_gid
    for user, gid, answer in (
        ("gerbang-staff", group, str(SITE_FILE)),
        ("gerbang", group, "denied"),
        ("nobody", pwd.getpwnam("nobody").pw_gid, "denied"),
    ):
        done = gateway.box.run([python, "-c", ask, user, str(gid), str(pwd.getpwnam(user).pw_uid)])
        assert done.stdout.strip() == answer, (user, done.stdout, done.stderr)


@pytest.mark.parametrize("said", [b"", b"no json\n", b'{"verb": "fly"}\n', b"[1]\n", b'{"verb"', b"x" * 3_000_000])
def test_whatever_is_said_to_the_socket_the_gateway_goes_on(gateway: GerbangGateway, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(gateway.run_dir / "control.sock"))
        try:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    assert answer == b"" or "error" in json.loads(answer)
    assert state(gateway)["pending"] is None
