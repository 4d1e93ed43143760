"""How soon a plan's new rates hold for 200 people online, and whether a download goes on meanwhile.

It must not know how the gateway does it: a changed site.toml goes to the supervisor's control socket, and the kernel's
classes are read with tc.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
from typing import Any

from bench.downloads import downloading
from bench.office import ONLINE, Office, check_grants, fill, furnish, office, wait_grants
from bench.result import Reach, Result
from portal.control import Control, ControlError
from tests.village.gateway import LAN, WAN, to_toml

REACH_S = 2.0
ROUNDS = 5
LOOK_EVERY_S = 0.05
GIVE_UP_S = 30.0
CUT_AFTER_S = 1.0
DOWNLOADS = 5
MBIT = (5, 2)  # down and up
OTHERS_MBIT = ((3, 1), (4, 2))  # in turn
BY = "bench"
KBIT = {"": 1e-3, "K": 1.0, "M": 1e3, "G": 1e6}


def _site(down_mbit: int, up_mbit: int) -> dict[str, Any]:
    rates = {"down_kbit": down_mbit * 1000, "up_kbit": up_mbit * 1000}
    return {"plan": [{"id": "warga", "name": "Warga", **rates}]}


def plan_change() -> Iterator[Result]:
    """plan_change_s: from the request to the last class; plan_change_cut: of the downloads meanwhile."""
    with office(DOWNLOADS, _site(*MBIT)) as at:
        fill(at, ONLINE - DOWNLOADS)
        furnish(at)
        at.enter(*at.phones)
        wait_grants(at.gateway, ONLINE)
        _wait_rates(at, *MBIT)
        control = Control(at.paths.control_socket)
        with downloading(at.phones) as downloads:
            times = [_change(at, control, *OTHERS_MBIT[number % 2]) for number in range(ROUNDS)]
            ended = [download.ended for download in downloads]
            silences_s = [download.longest_silence_s for download in downloads]
        check_grants(at.gateway, ONLINE)
    cut = [over or silence_s > CUT_AFTER_S for over, silence_s in zip(ended, silences_s, strict=True)]
    yield Result(
        "plan_change_s",
        statistics.median(times),
        "s",
        Reach(at_most=REACH_S),
        samples=times,
        note=f"from the request to the new rates of all {ONLINE} in the kernel, checking the file included; median, "
        f"the longest {max(times):.2f}",
    )
    yield Result(
        "plan_change_cut",
        sum(cut),
        "users",
        Reach(0, 0),
        samples=silences_s,
        note=f"of {DOWNLOADS} downloads: ended, or silent for {CUT_AFTER_S:g} s; the longest {max(silences_s):.2f} s",
    )


def _change(at: Office, control: Control, down_mbit: int, up_mbit: int) -> float:
    """Apply, as `gerbang config apply` does; the seconds until the kernel has it. Then confirm."""
    text = to_toml(at.gateway.site | _site(down_mbit, up_mbit))
    began_s = time.monotonic()
    control.apply(text, BY)
    _wait_rates(at, down_mbit, up_mbit)
    took_s = time.monotonic() - began_s
    _confirm(control)
    time.sleep(CUT_AFTER_S * 2)  # all processes are there again
    return took_s


def _confirm(control: Control) -> None:
    end_s = time.monotonic() + GIVE_UP_S
    while True:
        try:
            control.confirm(BY)
            return
        except ControlError:
            if time.monotonic() > end_s:
                raise
        time.sleep(0.1)


def _wait_rates(at: Office, down_mbit: int, up_mbit: int) -> None:
    """Until every one of the 200 has these rates, both ways."""
    end_s = time.monotonic() + GIVE_UP_S
    for interface, mbit in ((LAN, down_mbit), (WAN, up_mbit)):
        while (found := _with_rate(at, interface, mbit)) < ONLINE:
            if time.monotonic() > end_s:
                raise TimeoutError(f"{found} have {mbit} Mbit/s on {interface}:\n{at.gateway.log()[-2000:]}")
            time.sleep(LOOK_EVERY_S)


def _with_rate(at: Office, interface: str, mbit: int) -> int:
    """How many classes on this interface let through so much at most, or up to a tenth more: headers of layer 2."""
    told = at.gateway.ns.run(["tc", "class", "show", "dev", interface])
    ceils = (float(number) * KBIT[unit] for number, unit in re.findall(r" ceil ([0-9.]+)([KMG]?)bit ", told.stdout))
    return sum(1000 * mbit <= ceil <= 1100 * mbit for ceil in ceils)
