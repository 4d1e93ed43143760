"""`gerbang why` and `gerbang doctor` on the whole gateway: what they say is what a phone then finds."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.e2e.conftest import NewPhone
from tests.village.box import DATA
from tests.village.gateway import RUN, GerbangGateway

PLACES = ("--run-dir", str(RUN), "--data-dir", str(DATA))


def why(gateway: GerbangGateway, device: str) -> dict[str, Any]:
    done = gateway.box.run(gateway.command("why", device, "--json", *PLACES))
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) == found["well"], done.stderr
    return found


def test_from_the_first_packet_to_the_block(gateway: GerbangGateway, new_phone: NewPhone) -> None:
    phone = new_phone()
    assert not phone.is_online()
    assert why(gateway, phone.address)["code"] == "tap"
    phone.login()
    online = why(gateway, phone.mac.upper().replace(":", "-"))
    assert online["code"] == "online" and online["ip"] == phone.address
    assert {"lease", "neighbour", "person", "session", "member"} <= {step["code"] for step in online["steps"]}
    (member,) = [step for step in online["steps"] if step["code"] == "member" and phone.address in step["message"]]
    assert "ceil 5000" in member["message"]
    blocked = gateway.box.run(gateway.command("device", "block", phone.mac, "--note", "uji", *PLACES))
    assert blocked.returncode == 0, blocked.stderr
    assert why(gateway, phone.mac)["code"] == "blocked"
    assert not phone.is_online()
    cleared = gateway.box.run(gateway.command("device", "clear", phone.mac, *PLACES))
    assert cleared.returncode == 0, cleared.stderr
    last = why(gateway, phone.mac)
    assert last["code"] == "tap"
    assert {"session-over", "past", "act"} <= {step["code"] for step in last["steps"]}


def test_a_phone_that_nobody_ever_saw(gateway: GerbangGateway) -> None:
    assert why(gateway, "02:aa:bb:cc:dd:ee")["code"] == "never"
    done = gateway.box.run(gateway.command("why", "nobody", *PLACES))
    assert done.returncode == os.EX_DATAERR and "is no MAC" in done.stderr


def test_text_ends_with_one_sentence_and_what_to_do(gateway: GerbangGateway, new_phone: NewPhone) -> None:
    phone = new_phone()
    phone.login()
    lines = gateway.box.run(gateway.command("why", phone.mac, *PLACES)).stdout.splitlines()
    assert lines[-2].startswith("It is online") and lines[-1].startswith("    ")


def test_the_doctor_examines_everything_that_a_technician_must_know(gateway: GerbangGateway) -> None:
    done = gateway.box.run(gateway.command("doctor", "--json", *PLACES))
    found = {line["name"]: line for line in json.loads(done.stdout)}
    names = {"site", "dns", "ap", "dhcp", "clock", "disk", "memory", "database", "staff-certificate", "daemon", "drift"}
    assert names | {"versions"} <= set(found), set(found)
    assert [name for name in names if found[name]["level"] == "fail"] == []
    assert "uplink-gateway" in found or "uplink" in found
    assert "dari" not in found["dhcp"]["message"], "the command line speaks English"
