"""How far people who download get beyond the data budget of their day. It must not know when the meter looks.

What the kernel counted for each person is read ten times a second, so that the figure is what passed, not what the
database says of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench import visits
from bench.downloads import downloading
from bench.guest_pages import ask
from bench.office import Office, office
from bench.result import Reach, Result
from portal.domain.budget import BYTES_PER_MEGABYTE, BYTES_S_PER_KBIT

REACH_S = 2.0
SPENT_AFTER_S = 16
"""At the plan's rate. A hundredth of it is less than two seconds, so those are the reach."""
RATES_MBIT = (2, 10)
UP_KBIT = 1000
SLOW_DOWN_KBIT, SLOW_UP_KBIT = 256, 128
AFTERWARDS = {"stop": 0.0, "slow": (SLOW_DOWN_KBIT + SLOW_UP_KBIT) * BYTES_S_PER_KBIT}
PHONES = 3  # of each plan
APART_S = 0.43
LOOK_EVERY_S = 0.1
WATCH_S = SPENT_AFTER_S * 1.6 + 10

Samples = Sequence[tuple[float, int]]


def budget_overshoot() -> Iterator[Result]:
    """budget_overshoot_*mbit_s: the worst of all who have a plan of this rate."""
    plans = {_id(mbit, after): _plan(mbit, after) for mbit in RATES_MBIT for after in AFTERWARDS}
    people = [plan for plan in plans for _ in range(PHONES)]
    with office(len(people), {"access": {"methods": ["voucher"]}, "plan": list(plans.values())}) as at:
        for number, plan in enumerate(people):
            _enter(at, number, plan)
        with downloading(at.phones, apart_s=APART_S):
            counted = _watch(at)
    for mbit in RATES_MBIT:
        seconds = {
            after: [
                over_bytes(counted[phone.mac], _budget_bytes(mbit), lane) / (mbit * 1000 * BYTES_S_PER_KBIT)
                for phone, plan in zip(at.phones, people, strict=True)
                if plan == _id(mbit, after)
            ]
            for after, lane in AFTERWARDS.items()
        }
        yield Result(
            f"budget_overshoot_{mbit}mbit_s",
            max(max(each) for each in seconds.values()),
            "s",
            Reach(at_most=REACH_S),
            samples=[one for each in seconds.values() for one in each],
            note=f"of the plan's rate, the worst; budget {_budget_bytes(mbit) / BYTES_PER_MEGABYTE:g} MB; "
            + "; ".join(f"{after}: " + ", ".join(f"{one:.2f}" for one in each) for after, each in seconds.items()),
        )


def over_bytes(counted: Samples, budget_bytes: int, lane_bytes_s: float) -> float:
    """The most that was counted beyond the budget, less what the slow lane gives since it was spent.

    ``counted``: (time, bytes so far). ValueError where the budget was not spent at all.
    """
    spent_s = next((at_s for at_s, used in counted if used >= budget_bytes), None)
    if spent_s is None:
        raise ValueError(f"only {max(used for _, used in counted)} of {budget_bytes} bytes were used")
    return max(used - budget_bytes - lane_bytes_s * (at_s - spent_s) for at_s, used in counted if at_s >= spent_s)


def _id(mbit: int, after: str) -> str:
    return f"{after}-{mbit}"


def _budget_bytes(mbit: int) -> int:
    return int(mbit * 1000 * BYTES_S_PER_KBIT * SPENT_AFTER_S)


def _plan(mbit: int, after: str) -> Mapping[str, Any]:
    return {
        "id": _id(mbit, after),
        "name": _id(mbit, after),
        "down_kbit": mbit * 1000,
        "up_kbit": UP_KBIT,
        "daily_megabytes": _budget_bytes(mbit) // BYTES_PER_MEGABYTE,
        "after_budget": after,
        "slow_down_kbit": SLOW_DOWN_KBIT,
        "slow_up_kbit": SLOW_UP_KBIT,
    }


def _enter(at: Office, number: int, plan: str) -> None:
    (code,) = at.new_codes(plan, 1)
    answer, _ = ask(at.phones[number], visits.post(at.gateway.url + "code", {"code": code}))
    if answer.status != 303:
        raise RuntimeError(f"the voucher got {answer.status}")


def _watch(at: Office) -> dict[str, list[tuple[float, int]]]:
    """(time, bytes both ways) by MAC, as the kernel counts them; netctl tells those of ended sessions too."""
    macs = {row["id"]: row["mac"] for row in at.gateway.sql("SELECT id, mac FROM session")}
    counted: dict[str, list[tuple[float, int]]] = {mac: [] for mac in macs.values()}
    end_s = time.monotonic() + WATCH_S
    while (now := time.monotonic()) < end_s:
        used = dict.fromkeys(macs.values(), 0)
        for counter in at.gateway.netctl().usage().counters:
            if counter.grant in macs:
                used[macs[counter.grant]] += counter.up_bytes + counter.down_bytes
        for mac, octets in used.items():
            counted[mac].append((now, octets))
        time.sleep(LOOK_EVERY_S)
    return counted
