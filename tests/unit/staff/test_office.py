"""What an operator does all day, on the real database, by forms alone: each act is in force and on record."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from werkzeug.test import TestResponse

from portal.domain import codes
from portal.staff.shared import Shared
from portal.store import audit, closures, notices, people, pseudonyms, sessions, vouchers
from portal.store.figures import online
from tests.unit.portal.fakes import Clock, Netctl
from tests.unit.staff.conftest import Browser

MACS = ("5c:e9:1e:00:00:01", "5c:e9:1e:00:00:02")
ANY_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}", re.IGNORECASE)


@pytest.fixture
def people_online(shared: Shared) -> list[int]:
    """Two devices are in; their sessions' ids."""
    ids = []
    with shared.database.write() as db:
        now = shared.read_clock()
        sessions.note_time(db, now)
        for number, mac in enumerate(MACS):
            person = people.create(db, method="terms", plan="warga", now=now)
            session = sessions.begin(
                db,
                mac=mac,
                ipv4=f"10.77.0.{20 + number}",
                plan="warga",
                method="terms",
                terms_version="1",
                limit_s=28_800,
                now=now,
                device=pseudonyms.of(db, mac, "2026-11"),
                person_id=person.id,
            )
            day = people.moment(db, now, shared.zone).day
            people.add_bytes(db, session.id, day, 1_000_000, 4_000_000 * (number + 1))
            ids.append(session.id)
    return ids


def last_act(shared: Shared) -> tuple[str, str, str, Any]:
    with shared.database.read() as db:
        entry = audit.latest(db, 1)[0]
    return entry.actor, entry.role, entry.action, entry.after and json.loads(entry.after)


def text_of(response: TestResponse) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.text)).split())


# --- today ----------------------------------------------------------------------------------------------------------


def test_today_in_one_screen_without_macs(operator: Browser, shared: Shared, people_online: list[int]) -> None:
    response = operator.get("/today")
    text = text_of(response)
    assert "Perangkat online 2" in text
    assert "Pemakaian data hari ini 14\N{NO-BREAK SPACE}MB".replace("\N{NO-BREAK SPACE}", " ") in text
    assert "Jam tersibuk" in text
    assert "Belum diketahui" in text  # the way to the Internet, without a meter
    for mac in MACS:
        assert shared.device_name(mac) in text
    assert not ANY_MAC.search(response.text)
    assert "10.77.0.2" not in response.text


def test_the_script_gets_the_same_figures(operator: Browser, people_online: list[int], shared: Shared) -> None:
    page = operator.get("/today").text
    told = operator.get("/today/live").json
    assert told is not None
    assert sorted(told["devices"]) == people_online
    assert told["texts"]["figure-online"] == "2"
    for name in re.findall(r'data-live-text="([^"]+)"', page):
        assert name in told["texts"], name
    assert not ANY_MAC.search(json.dumps(told))


def test_rates_come_with_the_second_look(
    operator: Browser, people_online: list[int], netctl: Netctl, clock: Clock
) -> None:
    netctl.send(people_online[0], up=0, down=0)
    operator.get("/today")
    netctl.send(people_online[0], up=250_000, down=1_000_000)
    clock.forward(10)
    told = operator.get("/today/live").json
    assert told is not None
    assert told["texts"][f"rate-{people_online[0]}"] == "1\N{NO-BREAK SPACE}Mbps"
    assert told["texts"][f"rate-{people_online[1]}"] == ""


def test_pseudonyms_are_others_next_month(shared: Shared, clock: Clock) -> None:
    this_month = [shared.device_name(mac) for mac in MACS]
    assert this_month == [shared.device_name(mac) for mac in MACS]
    clock.forward(32 * 86_400)
    assert set(this_month).isdisjoint(shared.device_name(mac) for mac in MACS)


def test_without_a_clock_the_page_says_so(operator: Browser, clock: Clock) -> None:
    clock.set_wall(0.0)
    assert "Jam gateway belum benar" in operator.get("/today").text


def test_close_and_open_again(operator: Browser, shared: Shared, people_online: list[int], netctl: Netctl) -> None:
    assert "Buka." in operator.get("/today").text
    response = operator.post("/today/close", reason="Rapat desa")
    assert response.location == "/today?told=closed"
    page = operator.get(response.location).text
    assert "Wi-Fi untuk warga sekarang tutup." in page
    assert "Alasan: Rapat desa" in page
    assert netctl.online() == [], "nobody may pass any more"
    assert last_act(shared)[:3] == ("ani", "operator", "hours.close")
    assert operator.post("/today/open", reason="", until="").status_code == 303
    assert "Buka." in operator.get("/today").text
    assert sorted(netctl.online()) == sorted(MACS)


def test_closing_needs_a_reason(operator: Browser, shared: Shared) -> None:
    response = operator.post("/today/close", reason=" ")
    assert response.status_code == 422
    assert "Alasan belum diisi" in response.text
    with shared.database.read() as db:
        assert closures.pending(db, 0.0) == []


def test_close_until_a_time(operator: Browser, shared: Shared, clock: Clock) -> None:
    local = dt.datetime.fromtimestamp(clock.now.wall_s, shared.zone)
    until = (local + dt.timedelta(hours=2)).replace(second=0, microsecond=0)
    operator.post("/today/close", reason="Rapat", until=f"{until:%H:%M}")
    with shared.database.read() as db:
        (made,) = closures.pending(db, 0.0)
    assert made.until_wall_s == until.timestamp()
    assert f"Tutup sampai {until:%H.%M}" in operator.get("/today").text or until.date() != local.date()


def test_disconnect(operator: Browser, shared: Shared, people_online: list[int], netctl: Netctl) -> None:
    response = operator.post(f"/today/{people_online[0]}/disconnect")
    assert response.location == "/today?told=disconnected"
    assert netctl.online() == [MACS[1]]
    again = operator.post(f"/today/{people_online[0]}/disconnect")
    assert again.status_code == 422
    assert "sudah tidak online" in again.text


def test_block_and_let_in_again(
    operator: Browser, technician: Browser, reviewer: Browser, shared: Shared, people_online: list[int], netctl: Netctl
) -> None:
    response = operator.post(f"/today/{people_online[0]}/block", note="mengunduh terus")
    assert response.location == "/devices?told=blocked"
    page = operator.get("/devices").text
    assert shared.device_name(MACS[0]) in page
    assert "mengunduh terus" in page
    assert not ANY_MAC.search(page)
    assert netctl.online() == [MACS[1]]
    with shared.database.read() as db:
        assert [one.mac for one in online(db)] == [MACS[1]]
    assert MACS[0] in technician.get("/audit").text
    trail = reviewer.get("/audit").text
    assert not ANY_MAC.search(trail)
    assert shared.device_name(MACS[0]) in trail
    (path,) = re.findall(r'action="(/devices/[0-9a-f]+/unblock)"', page)
    assert operator.post(path).location == "/devices?told=unblocked"
    assert "Tidak ada perangkat yang diblokir" in operator.get("/devices").text
    assert operator.post(path).status_code == 303, "twice is no mistake"


def test_a_netctl_that_is_away_is_told(operator: Browser, people_online: list[int], netctl: Netctl) -> None:
    from portal import sync
    from tests.unit.portal.fakes import unreachable

    netctl.failing = unreachable()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync, "RETRY_AFTER_S", 0.0)
        response = operator.post(f"/today/{people_online[0]}/disconnect")
    assert "belum berlaku" in operator.get(response.location).text
    assert operator.get("/today/live").status_code == 200


# --- planned hours --------------------------------------------------------------------------------------------------


def test_plan_a_closing_and_cancel_it(operator: Browser, shared: Shared, clock: Clock) -> None:
    day = dt.datetime.fromtimestamp(clock.now.wall_s, shared.zone).date() + dt.timedelta(days=3)
    response = operator.post(
        "/hours", **{"kind": "close", "from": f"{day}T08:00", "until": f"{day}T12:00", "reason": "Pilkades"}
    )
    assert response.location == "/hours?told=planned"
    with shared.database.read() as db:
        (made,) = closures.pending(db, 0.0)
    assert dt.datetime.fromtimestamp(made.from_wall_s, shared.zone).isoformat() == f"{day}T08:00:00+08:00"
    assert made.until_wall_s == made.from_wall_s + 4 * 3600
    page = operator.get("/hours").text
    assert "Akan ditutup" in page
    assert "Pilkades" in page
    assert operator.post(f"/hours/{made.id}/cancel").location == "/hours?told=cancelled"
    assert "Yang berlaku adalah jam biasa" in operator.get("/hours").text


@pytest.mark.parametrize(
    ("begin", "until", "reason", "words"),
    [
        ("2034-01-02T10:00", "2034-01-02T09:00", "Rapat", "sesudah waktu mulai"),
        ("", "2020-01-01T09:00", "Rapat", "sudah lewat"),
        ("besok", "", "Rapat", "bukan tanggal atau jam"),
        ("", "", "", "Alasan belum diisi"),
        ("", "", "x" * 81, "paling panjang 80"),
    ],
)
def test_a_plan_with_a_mistake_keeps_what_was_typed(
    operator: Browser, begin: str, until: str, reason: str, words: str
) -> None:
    response = operator.post("/hours", **{"kind": "close", "from": begin, "until": until, "reason": reason})
    assert response.status_code == 422
    assert words in response.text
    assert f'value="{reason}"' in response.text


# --- vouchers -------------------------------------------------------------------------------------------------------


def test_make_print_and_withdraw_vouchers(operator: Browser, shared: Shared) -> None:
    made = operator.post("/vouchers", count=60, plan="warga", devices=4, valid_until="2034-01-31", note="Karang Taruna")
    assert made.location == "/vouchers/1?told=vouchers-made"
    with shared.database.read() as db:
        all_of = vouchers.of_batch(db, 1)
    assert len(all_of) == 60
    until = all_of[0].batch.valid_until_wall_s
    assert until is not None
    assert dt.datetime.fromtimestamp(until, shared.zone).isoformat() == "2034-02-01T00:00:00+08:00"
    pages = operator.get("/vouchers/1").text + operator.get("/vouchers/1?page=2").text
    assert all(codes.shown(voucher.code) in pages for voucher in all_of)
    assert operator.post(f"/vouchers/1/{all_of[0].id}/void").status_code == 303
    for paper in ("a4", "receipt"):
        sheet = operator.get(f"/vouchers/1/print?paper={paper}")
        assert codes.shown(all_of[0].code) not in sheet.text, "a withdrawn code is not printed"
        assert sum(codes.shown(voucher.code) in sheet.text for voucher in all_of) == 59
        nonce = re.search(r"style-src 'nonce-([^']+)'", sheet.headers["Content-Security-Policy"])
        assert nonce is not None
        assert f'nonce="{nonce[1]}"' in sheet.text
    found = text_of(operator.get(f"/vouchers?code={codes.shown(all_of[0].code).lower()}"))
    assert f"{codes.shown(all_of[0].code)} : dibatalkan" in found
    assert operator.post("/vouchers/1/void").status_code == 303
    with shared.database.read() as db:
        assert all(voucher.voided_wall_s for voucher in vouchers.of_batch(db, 1))
        trail = "".join(f"{entry.before}{entry.after}{entry.object}" for entry in audit.latest(db, 50))
    assert not any(voucher.code in trail for voucher in all_of)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("count", "0", "Jumlah voucher harus angka dari 1 sampai 1000"),
        ("count", "1001", "Jumlah voucher harus angka dari 1 sampai 1000"),
        ("count", "sepuluh", "Jumlah voucher harus angka"),
        ("count", "٣", "Jumlah voucher harus angka"),
        ("devices", "-1", "Jumlah perangkat harus angka"),
        ("plan", "raja", "Paket raja tidak ada"),
        ("valid_until", "2020-01-01", "sudah lewat"),
        ("note", "x" * 201, "Keterangan paling panjang 200"),
    ],
)
def test_vouchers_with_a_mistake(operator: Browser, shared: Shared, field: str, value: str, words: str) -> None:
    given = {"count": "5", "plan": "warga", "devices": "1", "note": "Taruna"} | {field: value}
    response = operator.post("/vouchers", **given)
    assert response.status_code == 422
    assert words in text_of(response)
    with shared.database.read() as db:
        assert vouchers.batches(db, 0.0) == []


@pytest.mark.parametrize("path", ["/vouchers/7", "/vouchers/7/print", "/notices/7"])
def test_what_is_not_there_is_told(operator: Browser, path: str) -> None:
    response = operator.get(path)
    assert response.status_code == 422
    assert "tidak ada" in response.text


# --- notices --------------------------------------------------------------------------------------------------------


def test_write_look_change_and_delete_a_notice(operator: Browser, shared: Shared) -> None:
    form = {"title": "Posyandu", "body": "Sabtu **pagi**\n<script>alert(1)</script>", "from": "", "until": ""}
    preview = operator.post("/notices/new", do="preview", **form)
    assert preview.status_code == 200
    assert "<strong>pagi</strong>" in preview.text
    assert "<script>alert" not in preview.text
    with shared.database.read() as db:
        assert notices.every(db) == [], "a preview saves nothing"
    assert operator.post("/notices/new", do="save", **form).location == "/notices?told=notice-saved"
    with shared.database.read() as db:
        (made,) = notices.every(db)
    assert made.title == "Posyandu"
    assert f'href="/notices/{made.id}"' in operator.get("/notices").text
    operator.post(
        f"/notices/{made.id}", do="save", **(form | {"title": "Posyandu balita", "until": "2034-01-31T10:00"})
    )
    page = operator.get(f"/notices/{made.id}").text
    assert 'value="Posyandu balita"' in page
    assert 'value="2034-01-31T10:00"' in page
    assert last_act(shared)[2] == "notice.edit"
    assert operator.post(f"/notices/{made.id}/delete").status_code == 303
    assert "Belum ada pengumuman" in operator.get("/notices").text


def test_a_notice_without_text_keeps_its_title(operator: Browser) -> None:
    response = operator.post("/notices/new", do="save", title="Posyandu", body="", **{"from": "", "until": ""})
    assert response.status_code == 422
    assert "Isi belum diisi" in response.text
    assert 'value="Posyandu"' in response.text


def test_text_of_people_is_never_markup(operator: Browser, reviewer: Browser, people_online: list[int]) -> None:
    evil = '"><script>alert(1)</script>'
    operator.post("/today/close", reason=evil)
    operator.post("/vouchers", count=1, plan="warga", devices=1, note=evil)
    operator.post("/notices/new", do="save", title=evil, body=evil, **{"from": "", "until": ""})
    operator.post(f"/today/{people_online[0]}/block", note=evil)
    operator.post("/login", name=evil, password="x")
    for browser, path in [
        *((operator, path) for path in ("/today", "/hours", "/vouchers", "/vouchers/1", "/notices", "/devices")),
        (operator, f"/vouchers?code={evil}"),
        (operator, f"/today?told={evil}"),
        (reviewer, "/audit"),
    ]:
        assert "<script>alert" not in browser.get(path).text, path


# --- the record -----------------------------------------------------------------------------------------------------


def test_the_record_says_who_did_what(
    operator: Browser, reviewer: Browser, technician: Browser, new_browser: Callable[..., Browser]
) -> None:
    operator.post("/today/close", reason="Rapat desa")
    technician.post("/today/open", reason="")
    text = text_of(reviewer.get("/audit"))
    assert "ani (operator desa) Menutup" in text
    assert "alasan: Rapat desa" in text
    assert "tono (teknisi) Membuka" in text
    for number in range(60):
        operator.post("/today/close", reason=f"Rapat {number}")
    newest = reviewer.get("/audit").text
    assert "Rapat 59" in newest
    assert "Rapat 5<" not in newest
    (older,) = re.findall(r'href="(/audit\?before=\d+)"', newest)
    assert "Rapat 5<" in reviewer.get(older).text
