"""Moments, hours and days read as people say them, in the site's own time, whatever day and language it is."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.config import Closed, Hours, Plan, Site, SiteConfig
from portal.domain.model import Refusal
from portal.gatekeeper import Refused
from portal.guest.words import Words
from portal.language import load_languages
from tests.unit.guest.fake_gate import NOW

LANGUAGES = load_languages("portal.guest")
INDONESIAN, ENGLISH = LANGUAGES["id"], LANGUAGES["en"]
MAKASSAR = ZoneInfo("Asia/Makassar")
CONFIG = SiteConfig(site=Site(code="64.03.01.2001"), plan=(Plan(id="warga", name="Warga"),))
HOUR_S, DAY_S = 3600.0, 86_400.0


def words(config: SiteConfig = CONFIG, **changes: object) -> Words:
    return Words(msgspec.structs.replace(config, **changes))


@pytest.mark.parametrize(
    ("after_s", "indonesian", "english"),
    [
        (0.0, "pukul 09.12", "9:12 AM"),
        (6 * HOUR_S, "pukul 15.12", "3:12 PM"),
        (14 * HOUR_S + 48 * 60, "tengah malam nanti", "midnight tonight"),
        (15 * HOUR_S, "besok pukul 00.12", "tomorrow 12:12 AM"),
        (DAY_S, "besok pukul 09.12", "tomorrow 9:12 AM"),
        (2 * DAY_S, "Minggu pukul 09.12", "Sunday 9:12 AM"),
        (6 * DAY_S, "Kamis pukul 09.12", "Thursday 9:12 AM"),
        (7 * DAY_S, "Jumat 5 Juni pukul 09.12", "Friday 5 June 9:12 AM"),
        (-DAY_S, "kemarin pukul 09.12", "yesterday 9:12 AM"),
        (-3 * DAY_S, "Selasa 26 Mei pukul 09.12", "Tuesday 26 May 9:12 AM"),
    ],
)
def test_a_moment(after_s: float, indonesian: str, english: str) -> None:
    moments = [words().when(language, NOW.wall_s + after_s, NOW.wall_s) for language in (INDONESIAN, ENGLISH)]
    assert [text.replace("\N{NARROW NO-BREAK SPACE}", " ") for text in moments] == [indonesian, english]


@given(st.integers(0, 3_000_000_000), st.integers(-400 * 86_400, 400 * 86_400))
def test_a_moment_names_its_own_minute(now: int, after: int) -> None:
    then = dt.datetime.fromtimestamp(now + after, MAKASSAR)
    text = words().when(INDONESIAN, now + after, now)
    assert text == "tengah malam nanti" or text.endswith(f"pukul {then:%H.%M}")
    if text == "tengah malam nanti":
        assert (then.hour, then.minute) == (0, 0)
        assert 0 < after <= DAY_S


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("always",), [("Setiap hari", "24 jam")]),
        (("mon-sun 00:00-24:00",), [("Setiap hari", "24 jam")]),
        (
            ("mon-fri 16:00-22:00", "sat 08:00-12:00 13:00-22:00"),
            [
                ("Senin–Jumat", "16.00 sampai 22.00"),
                ("Sabtu", "08.00 sampai 12.00, 13.00 sampai 22.00"),
                ("Minggu", "tutup"),
            ],
        ),
        (("fri 20:00-02:00",), [("Jumat", "20.00 sampai 02.00"), ("Senin–Kamis, Sabtu–Minggu", "tutup")]),
        (
            ("mon wed 16:00-24:00",),
            [("Senin, Rabu", "16.00 sampai 24.00"), ("Selasa, Kamis–Minggu", "tutup")],
        ),
    ],
)
def test_a_week(lines: tuple[str, ...], said: list[tuple[str, str]]) -> None:
    assert words(hours=Hours(open=lines)).weeks(INDONESIAN) == [(None, said)]


def test_plans_with_hours_of_their_own_are_named_and_the_site_s_left_out_where_nobody_has_them() -> None:
    plan = Plan(id="puskesmas", name="Puskesmas", hours=("always",))
    found = words(plan=(*CONFIG.plan, plan), hours=Hours(open=("mon 08:00-09:00",))).weeks(INDONESIAN)
    assert [whose for whose, _ in found] == [None, "Puskesmas"]
    assert [whose for whose, _ in words(plan=(plan,)).weeks(INDONESIAN)] == ["Puskesmas"]


def test_only_holidays_to_come_are_told_the_next_first() -> None:
    closed = [Closed(first=dt.date(2026, 5, day), reason=f"Mei {day}") for day in (31, 28, 29, 30)]
    closed.append(Closed(first=dt.date(2026, 5, 1), last=dt.date(2026, 5, 29), reason="bulan"))
    closed += [Closed(first=dt.date(2026, 6, day), reason=f"Juni {day}") for day in range(1, 9)]
    found = words(closed=tuple(closed)).holidays(INDONESIAN, NOW.wall_s)
    assert [reason for _, reason in found] == ["bulan", "Mei 29", "Mei 30", "Mei 31", "Juni 1"]
    assert found[0][0] == "Jumat 1 Mei 2026 – Jumat 29 Mei 2026"


@pytest.mark.parametrize(
    ("wait_s", "said"), [(0.5, "1 menit"), (60.0, "1 menit"), (60.1, "2 menit"), (600.0, "10 menit")]
)
def test_who_has_to_wait_is_never_told_too_short_a_time(wait_s: float, said: str) -> None:
    message = words().refused(INDONESIAN, Refused(Refusal.ATTEMPTS, wait_s=wait_s), NOW.wall_s)
    assert message.lines == (f"Tunggu {said}, lalu coba lagi.",)


def test_the_contact_is_the_site_s_or_the_village_office() -> None:
    assert words().ask(INDONESIAN) == "Kalau tetap tidak bisa, tanyakan ke kantor desa."
    named = words(site=Site(code="64.03.01.2001", contact="Ibu Siti 0812"))
    assert "Ibu Siti 0812" in named.ask(ENGLISH)
