"""What villagers get from the image: the demo's story, held against the same figures, and IPv6. Read only."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.e2e.conftest import NewPhone
from tests.image.place import Place
from tests.village import measure, story
from tests.village.internet import DNS6, WEB6
from tests.village.phone import Phone

# The box hears of a new IPv6 address by its first packet; an emulated one takes longer to answer than a real one.
LEARNED_WITHIN_S = 5.0


def test_the_story_holds_on_the_image(place: Place) -> None:
    """Lease, refused, 302, page, tap, online, shaped both ways, counted to the byte, logged out, cut off."""
    (phone,) = place.add_phones(1)
    scene = story.Scene(place, phone, place.gateway, measure_s=10)
    for step in story.STEPS:
        print(f"{step.name:<9} {step.play(scene)}")
    phone.close()


def test_a_user_s_class_ends_in_fq_codel(place: Place, phone: Phone) -> None:
    phone.login()
    (session,) = place.gateway.sql("SELECT id FROM session WHERE mac = ? AND ended_wall_s IS NULL", phone.mac)
    for device in place.gateway.devices:
        leaves = place.machine.run(["tc", "qdisc", "show", "dev", device])
        classes = place.machine.run(["tc", "class", "show", "dev", device])
        users = [int(number, 16) for number in re.findall(r"class htb [12]:([0-9a-f]+) ", classes)]
        assert any(number >= 0x10 for number in users), f"no user's class on {device}: {classes}"
        for number in (number for number in users if number >= 0x10):
            assert re.search(rf"qdisc fq_codel \S+ parent [12]:{number:x} ", leaves), f"{device}: {leaves}"
    assert session["id"] > 0


def test_ipv6_is_refused_before_login_and_its_privacy_addresses_are_admitted_and_counted_after(
    place: Place, phone: Phone
) -> None:
    addresses = phone.wait_ipv6()
    assert len(addresses) >= 2, "a stable and a privacy address"
    assert story.refused(phone, WEB6, 443) < story.REFUSED_WITHIN_S
    assert measure.ping(phone, WEB6, count=1, timeout_s=0.5) == [None]
    with pytest.raises(OSError):
        phone.dns("www.village.example", server=DNS6, timeout_s=1)
    phone.login()
    for address in (*addresses, phone.new_privacy_address()):
        _until_online(phone, place, address)
        before = place.gateway.usage(phone.mac, address)
        with measure.Tap(phone) as tap:
            for _ in range(8):
                assert _get(phone, place, 4000, address) == 4000
            time.sleep(0.3)
        after = place.gateway.usage(phone.mac, address)
        assert (after[0] - before[0], after[1] - before[1]) == (tap.up_bytes, tap.down_bytes), address
    assert phone.logout(f"{place.gateway.url}status").status == 303
    for address in addresses:
        with pytest.raises(OSError):
            phone.connect(WEB6, 443, source=address, timeout_s=1)


def _get(phone: Phone, place: Place, size: int, source: str) -> int:
    """Bytes that the Internet gave; 0 if it was the portal that answered."""
    url = f"http://{place.internet.host}/bytes?n={size}"
    answer = phone.http(url, family=6, source=source, timeout_s=5)
    return len(answer.body) if answer.status == 200 else 0


def _until_online(phone: Phone, place: Place, source: str) -> None:
    end_s = time.monotonic() + LEARNED_WITHIN_S
    while time.monotonic() < end_s:
        try:
            if _get(phone, place, 1, source) == 1:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{source} was not admitted within {LEARNED_WITHIN_S} s")


def test_phones_do_not_reach_each_other_s_traffic_nor_the_box(place: Place, new_phone: NewPhone) -> None:
    """One that is in lets nobody else in, and ssh is not for the users' side."""
    one, two = new_phone(), new_phone()
    one.login()
    assert not two.is_online()
    for phone in (one, two):
        story.refused(phone, "10.77.0.1", 22)


def test_the_kernel_lacks_nothing(place: Place) -> None:
    """Both doctors are content; the kernel has every feature there is a test for, so none need be skipped here."""
    place.machine.run(["gerbang", "doctor"])
    findings = json.loads(place.machine.run(["netctl", "doctor", "--json"]))
    assert [finding for finding in findings if finding["level"] != "ok"] == []
    names = {finding["name"] for finding in findings}
    assert {"ipset hash:ip,mac", "qdisc fq_codel"} <= names, names
