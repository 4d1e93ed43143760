"""The plug is pulled, again and again, while phones come and go: nothing is corrupt, and who was in is in.

The first time the disk was in the middle of writing the superblock, which nothing can mount then.
"""

from __future__ import annotations

import random
import threading
import time

import pytest

from tests.conftest import Figures
from tests.image.conftest import NewPlace
from tests.image.machine import PATIENCE
from tests.image.place import POWER_CUTS
from tests.village.http import HttpError
from tests.village.phone import Phone

PHONES = 6
ONLINE_WITHIN_S = 15.0


class Coming(threading.Thread):
    """A phone that logs in and out until it is told to stop. ``inside``: what it was last told; None: nothing sure."""

    def __init__(self, phone: Phone, portal: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.phone, self.portal = phone, portal
        self.inside: bool | None = None
        self.taps = 0
        self._random = random.Random(seed)
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                if self.phone.is_online(timeout_s=5):
                    self.inside = None
                    self.inside = self.phone.logout(f"{self.portal}status").status != 303
                else:
                    self.inside = None
                    self.phone.login()
                    self.inside = True
                self.taps += 1
            except (OSError, HttpError, LookupError, RuntimeError):
                continue  # the box is being switched off; what it was told before holds
            # Most of them are in at any time.
            self._over.wait(self._random.uniform(0.2, 6.0) if self.inside else 0.2)

    def stop(self) -> None:
        self._over.set()


@pytest.mark.timeout(200 * (POWER_CUTS + 3) * PATIENCE)
@pytest.mark.long
def test_power_cuts_under_load_lose_nothing(new_place: NewPlace, figures: Figures) -> None:
    place = new_place(phones=PHONES)
    place.boot()
    place.dhcp_all()
    chance = random.Random(20261130)
    taps, checked, within_boot = 0, 0, 0
    for cut in range(1, POWER_CUTS + 1):
        if cut % 4 == 0:  # the first thing a box does with power that has come back is to lose it again
            within_boot += 1
            place.power_off()
            place.machine.power_on()
            time.sleep(chance.uniform(5, 45))
            place.power_off()
            continue
        place.be_on()
        load = [Coming(phone, place.gateway.url, cut * 100 + phone.number) for phone in place.phones]
        for phone in load:
            phone.start()
        time.sleep(chance.uniform(4, 15))
        place.power_off()
        if cut == 1:
            place.disk.tear_superblock()
        # What a phone is in the middle of may have come to an end or not.
        inside = [thread.phone for thread in load if thread.inside]
        for thread in load:
            thread.stop()
        place.boot()
        if cut == 1:
            assert "its checksum is made anew" in place.machine.run("journalctl -b -t mend-superblock -o cat")
        for thread in load:
            thread.join()
        taps += sum(thread.taps for thread in load)
        place.assert_whole(f"after cut {cut}")
        for phone in inside:
            phone.wait_online(timeout_s=ONLINE_WITHIN_S)
            checked += 1
    place.be_on()
    place.assert_whole("at the end")
    assert checked > 0 and taps > POWER_CUTS
    figures["power cuts"] = (
        f"{POWER_CUTS} ({within_boot} while booting), {taps} logins and logouts, {checked} of {checked} online again"
    )
