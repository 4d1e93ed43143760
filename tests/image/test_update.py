"""A to B and back: by each way, by itself, after a panic, a hang and power cuts in mid-install. The real RAUC and GRUB.

All on one box, which has a watchdog and the bundle on its disk. Each test begins on slot A, and all but the last one
leave the box there; those before it that install something leave that to be started.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from image import disk
from portal.staff.incoming import PIECE_BYTES
from tests.image import updates
from tests.image.disk import make_stick
from tests.image.machine import NotReached
from tests.image.place import POWER_CUTS, READY_WITHIN_S, Place, Ready
from tests.village.internet import WEB
from tests.village.staffbrowser import StaffBrowser

PORT = 8099
PAGE = "/technician/update"
BUNDLE = f"/data/gerbang-x86-{updates.VERSION}.raucb"
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="session")
def update(image: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    starts = any(item.get_closest_marker("long") for item in request.session.items)  # no other test comes so far
    return updates.make(image, tmp_path_factory.mktemp("update"), starts=starts)


@pytest.fixture(scope="module")
def updated(image: Path, shared: Place, update: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A box with the bundle on its disk; the shared one is off from now on."""
    shared.be_off()
    with Place(image, tmp_path_factory.mktemp("updated"), phones=2, watchdog=True, usb=True) as place:
        yield place


@pytest.fixture(scope="module")
def first(updated: Place, update: Path) -> Ready:
    """How its first boot went."""
    ready = updated.boot()
    fetch(updated, update)
    return ready


@pytest.fixture
def place(updated: Place, first: Ready) -> Place:
    """The box, running."""
    updated.be_on()
    return updated


@contextmanager
def served(place: Place, directory: Path) -> Iterator[str]:
    """A directory, from the village's Internet."""
    command = ["busybox", "httpd", "-f", "-p", f"{WEB}:{PORT}", "-h", str(directory)]
    child = place.internet.ns.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield f"http://{WEB}:{PORT}"
    finally:
        child.kill()
        child.wait()
        place.internet.ns.reap(child)


def fetch(place: Place, update: Path) -> None:
    """The bundle onto the box's data disk, where a power cut leaves it."""
    with served(place, update.parent) as url:
        place.machine.run(["busybox", "wget", "-q", "-O", BUNDLE, f"{url}/{update.name}"], timeout_s=300)
    place.machine.run(["sync"], timeout_s=300)


def install(place: Place, what: str = BUNDLE, *more: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(
        place.machine.run(["gerbang", "update", "install", what, "--json", *more], timeout_s=900)
    )
    return said


def standing(place: Place) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(place.machine.run(["gerbang", "update", "status", "--json"]))
    return said


def restart(place: Place, within_s: float = 2 * READY_WITHIN_S) -> Ready:
    """Until some slot is ready again, whichever and after however many starts."""
    since = place.machine.mark()
    place.gateway.hang_up()
    place.machine.try_run(["systemctl", "--no-block", "reboot"])
    place.machine.hang_up()
    return place.wait_ready(within_s, since=since)


def test_a_bundle_of_somebody_else_and_one_that_was_cut_off(place: Place) -> None:
    place.machine.run(f"head -c 100000000 {BUNDLE} >/data/gerbang-cut.raucb")
    done = place.machine.try_run(["gerbang", "update", "install", "/data/gerbang-cut.raucb", "--json"], timeout_s=300)
    assert done.returncode == 65 and json.loads(done.stdout)["error"]["code"] == "bundle"
    with pytest.raises(NotReached):
        place.machine.run(["gerbang", "update", "install", "/etc/hostname"])
    assert standing(place)["trial"] is None
    place.machine.run(["rm", "/data/gerbang-cut.raucb"])


def test_a_block_of_grub_s_variables_that_was_lost_is_made_anew(place: Place) -> None:
    """As a power cut at the wrong moment leaves it once the file system was checked."""
    block = "/boot/firmware/grubenv"
    place.machine.run(f"mount -o remount,rw /boot/firmware && : >{block} && sync && mount -o remount,ro /boot/firmware")
    assert restart(place).slot == "A"
    end_s = time.monotonic() + READY_WITHIN_S
    while "A_OK=1" not in (said := place.machine.try_run(["grub-editenv", block, "list"]).stdout):
        assert time.monotonic() < end_s, said
        time.sleep(2)
    assert "A_TRY=0" in said and place.machine.run(["stat", "--format=%s", block]).strip() == "1024"


@pytest.mark.long
def test_a_slot_without_a_kernel_is_passed_over_in_the_same_start(place: Place) -> None:
    block, since = "/boot/firmware/grubenv", place.machine.mark()
    place.machine.run("dd if=/dev/zero of=/dev/vda3 bs=1M count=1 conv=fsync status=none")
    place.machine.run("mount -o remount,rw /boot/firmware")
    place.machine.run(["grub-editenv", block, "set", "ORDER=B A", "B_OK=1", "B_TRY=0"])
    place.machine.run("mount -o remount,ro /boot/firmware")
    assert restart(place).slot == "A"
    starts = re.findall(r"Gerbang: (starting slot [AB]|slot [AB] does not start)", place.machine.console(since=since))
    assert starts == ["starting slot B", "slot B does not start", "starting slot A"]


def test_power_cuts_in_mid_install_change_nothing(place: Place, first: Ready) -> None:
    chance = random.Random(5)
    for cut in range(POWER_CUTS // 2):
        # A slot takes half a minute then, on whatever machine this runs: the cut comes while it is written, not after.
        place.machine.slow_disk(10)
        percent = chance.choice([0, 20, 40, 60, 80, 80, 80, 80])
        child = place.machine.popen(
            ["gerbang", "update", "install", BUNDLE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while (told := standing(place)["progress"]) is None or told["ended"] or told["percent"] < percent:
            assert child.poll() is None, f"cut {cut}: it was installed before the cut"
        time.sleep(chance.uniform(0, 4))
        assert child.poll() is None, f"cut {cut}: it was installed before the cut"
        place.power_off()
        child.kill()
        child.wait()
        place.machine.reap(child)
        ready = place.boot()
        assert (ready.slot, ready.version) == ("A", first.version), f"cut {cut} at {percent} %"
        assert standing(place)["trial"] is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("mistake", "code"),
    [
        ("bad", "portal-silent"),
        ("panic", "not-ready"),
        ("hang", "hang"),
        ("freeze", "not-ready"),
    ],
)
def test_a_version_with_a_mistake_comes_back_by_itself(place: Place, first: Ready, mistake: str, code: str) -> None:
    before = codes(place)
    place.machine.run(f"echo {mistake} >/data/misbehave && sync")
    install(place)
    back = restart(place, 3 * READY_WITHIN_S)
    assert (back.slot, back.version) == ("A", first.version)
    found = standing(place)
    assert found["proven"] == "A" and found["trial"] is None
    assert (found["last"]["outcome"], found["last"]["code"]) == ("back", code)
    assert codes(place) == [*before, code], "each is told once"
    # The very same bundle stays without a mistake: see below.
    place.machine.run("rm /data/misbehave")


def codes(place: Place) -> list[str]:
    """What the history of updates says, the oldest first."""
    history = json.loads(place.machine.run(["gerbang", "update", "history", "--json"]))
    return [one["code"] for one in history]


def test_a_second_disk_of_gerbangs_is_told_and_harms_nothing(place: Place, image: Path, tmp_path: Path) -> None:
    place.phones[0].dhcp()
    place.phones[0].login()
    with twin(place, image, tmp_path):
        done = place.machine.try_run(["gerbang", "doctor", "--json"])
        assert "two disks of Gerbang's" in done.stdout
        for number in range(1, 5):
            own = place.machine.run(f"readlink -f /dev/disk/by-partuuid/{disk.DISK_ID}-0{number}")
            assert own.strip() == f"/dev/vda{number}", "what is written by this name goes to the box's own disk"
        done = place.machine.try_run(["gerbang", "update", "install", BUNDLE, "--json"])
        assert done.returncode == 75 and json.loads(done.stdout)["error"]["code"] == "twin"
    assert "two disks" not in place.machine.try_run(["gerbang", "doctor", "--json"]).stdout
    assert place.phones[0].is_online()
    place.assert_whole("after the other disk was taken out")
    assert "/dev/vda4 /data ext4 rw" in place.machine.read("/proc/mounts")


@contextmanager
def twin(place: Place, image: Path, tmp_path: Path) -> Iterator[None]:
    """A stick with the image on it, while the box runs from its own disk."""
    stick = tmp_path / "twin"
    subprocess.run(["cp", "--sparse=always", image, stick], check=True)
    place.machine.plug_stick(stick)
    place.machine.run("until test -e /dev/sda4; do sleep 0.5; done; udevadm settle", timeout_s=60)
    yield
    place.machine.pull_stick()
    place.machine.run("while test -e /dev/sda4; do sleep 0.5; done; udevadm settle", timeout_s=60)


@pytest.mark.long
def test_it_comes_by_upload_and_on_a_stick(place: Place, image: Path, update: Path, tmp_path: Path) -> None:
    place.phones[0].dhcp()
    desk = place.technician()
    upload(desk, update)
    with twin(place, image, tmp_path):
        assert press(place, desk, update.name, "incoming")["error"]["code"] == "twin"
        assert "Ada dua disk Gerbang" in desk.get(PAGE)
    press_install(place, desk, update.name, "incoming")

    assert "Tidak ada berkas pembaruan di flashdisk." in look_for_sticks(desk)
    make_stick(tmp_path / "stick", update)
    place.machine.plug_stick(tmp_path / "stick")
    end_s = time.monotonic() + 60
    while update.name not in (page := look_for_sticks(desk)):
        assert time.monotonic() < end_s, page[page.find("<main") :][:2000]
        time.sleep(1)
    press_install(place, desk, update.name, "stick")
    assert "/dev/sd" not in place.machine.read("/proc/mounts"), "it is let go of"
    place.machine.pull_stick()
    acts = place.gateway.sql("SELECT action FROM audit WHERE actor = 'teknisi' AND action LIKE 'update.%' ORDER BY id")
    assert [row["action"] for row in acts] == ["update.upload", "update.install", "update.install"]


def upload(desk: StaffBrowser, bundle: Path) -> None:
    """In pieces, as the page's script does."""
    size, told = bundle.stat().st_size, b""
    desk.get(PAGE)
    where = f"{PAGE}/piece?name={bundle.name}&size={size}"
    with bundle.open("rb") as file:
        for at in range(0, size, PIECE_BYTES):
            content, headers = file.read(PIECE_BYTES), {"X-CSRFToken": desk.token}
            status, told = desk.ask("POST", f"{where}&at={at}", content, "application/octet-stream", headers)
            assert status == 200, told
    assert json.loads(told) == {"at": size}
    assert f'value="{bundle.name}"' in desk.get(PAGE)


def look_for_sticks(desk: StaffBrowser) -> str:
    desk.get(PAGE)
    status, page = desk.post(f"{PAGE}/sticks")
    assert status == 200, page
    return page.decode()


def waited(place: Place, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The progress of an installation, once it is as far as that."""
    end_s = time.monotonic() + 900
    while (told := standing(place)["progress"]) is None or not enough(told):
        assert time.monotonic() < end_s, told
        time.sleep(1)
    return dict(told)


def press(place: Place, desk: StaffBrowser, name: str, where: str) -> dict[str, Any]:
    """The button beside a file on the page; what has come of it in the end."""
    status, page = desk.post(f"{PAGE}/install", **{"from": where, "name": name})
    assert status == 303, page
    return waited(place, lambda told: bool(told["ended"]))


def press_install(place: Place, desk: StaffBrowser, name: str, where: str) -> None:
    """The button beside a file on the page, until the page offers to restart."""
    assert press(place, desk, name, where)["error"] is None
    assert f"Versi {updates.VERSION} sudah terpasang" in desk.get(PAGE)
    trial = standing(place)["trial"]
    assert (trial["phase"], trial["version"], trial["by"]) == ("installed", updates.VERSION, "teknisi")


@pytest.mark.long
def test_it_comes_from_an_address_over_a_line_that_breaks(place: Place, update: Path) -> None:
    """The server is gone for a while in the middle of it: what has come by then does not come again."""
    with served(place, update.parent) as url:
        place.machine.run(["systemd-run", "--unit=fetch", "gerbang", "update", "install", f"{url}/{update.name}"])
        waited(place, lambda told: told["step"] == "fetch" and told["percent"] >= 5)
    time.sleep(3)
    (before,) = place.machine.run("stat -c %s /data/update/coming-*").split()
    assert standing(place)["progress"]["ended"] is False
    with served(place, update.parent):
        told = waited(place, lambda told: bool(told["ended"]))
    assert (told["error"], told["to"], told["what"]) == (None, updates.VERSION, update.name)
    assert 0 < int(before) < update.stat().st_size
    assert standing(place)["trial"]["phase"] == "installed"
    assert "coming-" not in place.machine.run(["ls", "/data/update"])


@pytest.mark.long
def test_up_by_a_delta_and_back_with_people_online(place: Place, first: Ready, update: Path) -> None:
    delta = updates.make_delta(update)
    assert delta.stat().st_size < update.stat().st_size / 10
    phone, late = place.phones
    phone.dhcp()
    phone.login()
    with served(place, update.parent) as url:
        done = install(place, f"{url}/{delta.name}")
    assert done == {"slot": "B", "from": first.version, "to": updates.VERSION, "reboot": False}
    waiting = standing(place)
    assert waiting["slot"] == "A" and waiting["trial"]["phase"] == "installed"
    assert waiting["trial"]["before"] == {"serving": True, "line_up": True}

    ready = restart(place)
    assert (ready.slot, ready.version) == ("B", updates.VERSION)
    found = standing(place)
    assert found["proven"] == "B" and found["trial"] is None and found["last"]["outcome"] == "done"
    assert place.gateway.sql("PRAGMA user_version")[0]["user_version"] == 4
    phone.wait_online(timeout_s=30)
    late.dhcp()
    late.login()
    (sessions,) = place.gateway.sql("SELECT max(id) AS id FROM session")

    # The slot breaks for good: GRUB finds no kernel there, and the old one serves with the data of then.
    place.shut_down()
    place.disk.overwrite(3, bytes(4 << 20))
    back = place.boot(3 * READY_WITHIN_S)
    assert (back.slot, back.version) == ("A", first.version)
    assert place.gateway.sql("PRAGMA user_version")[0]["user_version"] == 3
    found = standing(place)
    assert found["last"]["outcome"] == "fallback" and found["went_back"]["lost"]["sessions"] >= 1
    phone.wait_online(timeout_s=30)
    assert not late.is_online(), "it came in after the copy was made"
    late.login()
    assert place.gateway.sql("SELECT max(id) AS id FROM session")[0]["id"] > sessions["id"]
    assert place.machine.run(["gerbang", "journal", "verify"])
    acts = [row["action"] for row in place.gateway.sql("SELECT action FROM audit ORDER BY id")]
    assert acts[-1] == "database.back" and "update.install" in acts
