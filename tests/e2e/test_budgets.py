"""The day's budget on the real gateway, with real traffic: how far over it people get, what follows, and midnight."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo

from tests.e2e.conftest import phones_of
from tests.e2e.test_office_cli import office
from tests.village import measure
from tests.village.gateway import GerbangGateway
from tests.village.http import Response, first_form
from tests.village.phone import Phone
from tests.village.village import Village
from tests.village.wallclock import WallClock

ZONE = ZoneInfo("Asia/Makassar")
DOWN_KBIT, UP_KBIT, SLOW_DOWN_KBIT, SLOW_UP_KBIT = 4000, 1000, 256, 128
BUDGET_BYTES = 6_000_000
SECOND_BYTES = DOWN_KBIT * 125  # a second of the plan's rate
RATES = {"down_kbit": DOWN_KBIT, "up_kbit": UP_KBIT, "slow_down_kbit": SLOW_DOWN_KBIT, "slow_up_kbit": SLOW_UP_KBIT}
PLANS = [
    {"id": "pelan", "name": "Pelan", "daily_megabytes": 6, "after_budget": "slow", **RATES},
    {"id": "habis", "name": "Habis", "daily_megabytes": 6, "after_budget": "stop", **RATES},
    {"id": "menit", "name": "Menit", "daily_minutes": 1, "after_budget": "stop", **RATES},
]


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()


def new_code(gateway: GerbangGateway, plan: str) -> str:
    """Of a voucher for one device."""
    (made,) = office(gateway, "voucher", "create", "--count", "1", "--plan", plan)["vouchers"]
    return str(made["code"]).replace("-", "")


def enter(gateway: GerbangGateway, phone: Phone, code: str) -> Response:
    form = first_form(phone.http(f"{gateway.url}v/{code}"), "/code")
    return phone.http(form.action, method="POST", body=form.body)


@contextmanager
def downloading(phone: Phone, host: str, seconds: float) -> Iterator[None]:
    """At full speed, in the background, for so long or until the gate closes."""

    def run() -> None:
        try:
            measure.tcp_down(phone, host, seconds)
        except OSError:
            return  # cut off

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def used_bytes(gateway: GerbangGateway, phone: Phone) -> int:
    (row,) = gateway.sql(
        "SELECT sum(person_day.up_bytes + person_day.down_bytes) AS used FROM person_day "
        "JOIN device USING (person_id) WHERE mac = ?",
        phone.mac,
    )
    return int(row["used"] or 0)


def wait_for_end(gateway: GerbangGateway, phone: Phone, timeout_s: float) -> str:
    """The reason of the phone's last session, once it has ended and all that it used is counted."""
    end_s = time.monotonic() + timeout_s
    while True:
        (row,) = gateway.sql("SELECT end_reason FROM session WHERE mac = ? ORDER BY id DESC LIMIT 1", phone.mac)
        if row["end_reason"] is not None:
            return str(row["end_reason"])
        assert time.monotonic() < end_s, "the session goes on"
        time.sleep(0.1)


def test_budgets_of_data_and_of_time() -> None:
    with Village(
        phones=0, ipv6=False, site={"plan": PLANS, "access": {"methods": ["voucher"]}}, start=False
    ) as village:
        gateway = village.gateway
        assert isinstance(gateway, GerbangGateway)
        clock = WallClock(gateway, at("2027-03-01T12:00"))
        gateway.start()
        codes = {str(plan["id"]): new_code(gateway, str(plan["id"])) for plan in PLANS}
        with phones_of(village) as new:
            slow, stopped, timed = new(), new(), new()
            for phone, code in zip((slow, stopped, timed), codes.values(), strict=True):
                assert enter(gateway, phone, code).status == 303
            entered_s = time.monotonic()
            _use_up(village, gateway, slow, stopped)
            _say_so(gateway, slow, stopped, codes["habis"])

            assert wait_for_end(gateway, timed, entered_s + 70 - time.monotonic()) == "budget"
            assert not timed.is_online(timeout_s=1)
            (row,) = gateway.sql(
                "SELECT seconds FROM person_day JOIN device USING (person_id) WHERE mac = ?", timed.mac
            )
            assert 60 <= row["seconds"] <= 62

            clock.turn(at("2027-03-02T00:00:01"))
            for phone, code in ((stopped, codes["habis"]), (timed, codes["menit"])):
                assert enter(gateway, phone, code).status == 303, "a new day"
            rate = measure.tcp_down(slow, village.internet.host, 6.0).mbit_s
            assert rate > 4 * SLOW_DOWN_KBIT / 1000, "a new day ends the slow lane, without a login"


def _use_up(village: Village, gateway: GerbangGateway, slow: Phone, stopped: Phone) -> None:
    """Both download until well after their budget: by 2 s of the plan's rate they may exceed it."""
    host = village.internet.host
    counted: list[tuple[float, int]] = []
    with downloading(slow, host, 24), downloading(stopped, host, 24):
        while not counted or time.monotonic() < counted[0][0] + 23:
            counted.append((time.monotonic(), sum(gateway.usage(slow.mac))))
            time.sleep(0.1)
    assert wait_for_end(gateway, stopped, 5) == "budget"
    over = used_bytes(gateway, stopped) - BUDGET_BYTES
    assert 0 <= over <= 2 * SECOND_BYTES, f"{over} bytes more than the budget"

    crossed_s = next(moment for moment, used in counted if used >= BUDGET_BYTES)
    last_s, last = counted[-1]
    slow_bytes_s = (SLOW_DOWN_KBIT + SLOW_UP_KBIT) * 125
    over = last - BUDGET_BYTES - slow_bytes_s * (last_s - crossed_s)
    assert over <= 2 * SECOND_BYTES, f"{over} bytes more than the budget and the slow lane after it"
    before_s, before = next((moment, used) for moment, used in counted if moment >= last_s - 4)
    in_lane = (last - before) / (last_s - before_s)
    assert 0 < in_lane <= 1.1 * slow_bytes_s, f"{in_lane * 8 / 1000:.0f} kbit/s in the slow lane"


def _say_so(gateway: GerbangGateway, slow: Phone, stopped: Phone, code: str) -> None:
    assert slow.is_online()
    assert "Internet tetap jalan, tetapi pelan" in slow.http(f"{gateway.url}status").text
    assert not stopped.is_online(timeout_s=1)
    refused = enter(gateway, stopped, code)
    assert refused.status != 303
    assert "Jatah Anda hari ini sudah habis" in refused.text
    assert "Anda bisa masuk lagi mulai tengah malam nanti" in refused.text
