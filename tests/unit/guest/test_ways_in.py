"""Codes, accounts, the queue, an operator's word, and what a return code did to this phone: what each form does."""

from __future__ import annotations

import json

import msgspec
import pytest
from flask import Flask

from portal.config import Block, Plan, SiteConfig
from portal.domain.model import BudgetLeft, Opening, Place, Refusal
from portal.gatekeeper import GateError, Refused
from portal.guest.app import create_app
from tests.unit.guest.conftest import GATEWAY, MAC, PHONE, Phone
from tests.unit.guest.fake_gate import MIDNIGHT, NOW, RETURN_CODE, VOUCHER, FakeGate


@pytest.fixture
def gate() -> FakeGate:
    gate = FakeGate({PHONE: MAC}, ("terms", "voucher", "account"))
    gate.codes[VOUCHER] = 1
    gate.accounts["kantor"] = "nasi kuning pagi"
    return gate


@pytest.fixture
def config(config: SiteConfig) -> SiteConfig:
    access = msgspec.structs.replace(config.access, methods=("terms", "voucher", "account"))
    block = Block(names=("judi.example",), reason='<b>"Ditutup"</b>')
    return msgspec.structs.replace(config, access=access, block=block)


class TestCodes:
    @pytest.mark.parametrize("typed", [VOUCHER, "abcd-efgj", " ABCD EFGJ ", "abcdefgj"])
    def test_a_code_opens_however_it_is_typed(self, phone: Phone, gate: FakeGate, typed: str) -> None:
        response = phone.post("/code?lang=en", data={"code": typed})
        assert (response.status_code, response.headers["Location"]) == (303, "/status?lang=en")
        assert gate.logins == [(MAC, PHONE, "voucher", VOUCHER)]

    @pytest.mark.parametrize(
        "typed", ["", "ABCDEFGH", "ABCDEFG", "x" * 10_000, '"><script>', "\x00", "９９９９９９９９"]
    )
    def test_a_wrong_one_says_what_to_check_and_not_whether_it_was_near(
        self, phone: Phone, gate: FakeGate, typed: str
    ) -> None:
        response = phone.post("/code", data={"code": typed})
        assert response.status_code == 403
        assert "Kode ini tidak benar" in response.text
        assert "<script" not in response.text
        assert gate.logins == []

    def test_unknown_and_mistyped_codes_get_the_same_page(self, phone: Phone, gate: FakeGate) -> None:
        pages = set()
        for typed in ("2222222Z", "ABCDEFGH"):  # well formed and never printed; with a slip in it
            pages.add(phone.post("/code", data={"code": typed}).text.replace(typed, "CODE"))
        assert len(pages) == 1

    def test_opening_what_a_qr_says_uses_nothing_up(self, phone: Phone, gate: FakeGate) -> None:
        for path in ("/v/ABCDEFGJ", "/v/abcd-efgj"):
            html = phone.get(path).text
            assert html.count("<form") == 1
            assert 'action="/code"' in html
            assert f'name="code" value="{VOUCHER}"' in html
        assert gate.logins == []
        assert gate.codes == {VOUCHER: 1}

    def test_a_qr_opened_while_online_offers_the_status_page(self, phone: Phone) -> None:
        phone.post("/login")
        html = phone.get("/v/ABCDEFGJ").text
        assert "HP ini sudah masuk ke internet" in html
        assert 'href="/status"' in html

    @pytest.mark.parametrize("code", ["ABCDEFGH", "x", "%3Cscript%3E", "A" * 3000, "%00"])
    def test_a_qr_that_is_no_code(self, phone: Phone, gate: FakeGate, code: str) -> None:
        response = phone.get(f"/v/{code}")
        assert response.status_code == 403
        assert "Kode ini tidak benar" in response.text
        assert "<script" not in response.text
        assert gate.logins == []

    def test_a_form_too_large_to_be_one(self, app: Flask) -> None:
        """What portal.connection does not take is refused where it is read."""
        from werkzeug.exceptions import RequestEntityTooLarge
        from werkzeug.test import Client

        from portal.connection import Untaken

        overrides = {
            "REMOTE_ADDR": PHONE,
            "HTTP_HOST": GATEWAY,
            "wsgi.input": Untaken(RequestEntityTooLarge),
            "wsgi.input_terminated": True,
            "CONTENT_LENGTH": "99999",
        }
        response = Client(app).post(
            "/code", content_type="application/x-www-form-urlencoded", environ_overrides=overrides
        )
        assert response.status_code == 413


class TestAccounts:
    def test_name_and_password_open(self, phone: Phone, gate: FakeGate) -> None:
        response = phone.post("/account", data={"name": " kantor ", "password": "nasi kuning pagi"})
        assert response.headers["Location"] == "/status"
        assert gate.logins == [(MAC, PHONE, "account", "kantor")]

    @pytest.mark.parametrize(("name", "password"), [("kantor", "x"), ("nobody", "x"), ("", ""), ("kantor", "")])
    def test_a_wrong_one_says_no_more_than_that(self, phone: Phone, name: str, password: str) -> None:
        response = phone.post("/account", data={"name": name, "password": password})
        assert response.status_code == 403
        assert "Nama akun atau kata sandi salah" in response.text
        assert 'type="password" required' in response.text
        assert "value=" not in response.text.split('id="password"')[1].split(">")[0]

    def test_its_form_stands_only_where_there_are_accounts(self, phone: Phone, config: SiteConfig) -> None:
        assert 'action="/account"' in phone.get("/").text
        access = msgspec.structs.replace(config.access, methods=("terms",))
        other = Phone(create_app(msgspec.structs.replace(config, access=access), FakeGate({PHONE: MAC})))
        assert 'action="/account"' not in other.get("/").text


class TestQueue:
    def test_who_taps_when_it_is_full_waits_at_once(self, phone: Phone, gate: FakeGate) -> None:
        gate.full = True
        assert 'action="/wait"' in phone.get("/").text
        for path in ("/login", "/wait"):
            gate.places.clear()
            response = phone.post(path)
            assert (response.status_code, response.headers["Location"]) == (303, "/")
            assert gate.places[MAC] == Place(0, False)
        assert "Anda sedang antre" in phone.get("/").text

    def test_opening_the_page_joins_no_queue(self, phone: Phone, gate: FakeGate) -> None:
        """Whatever fetches pages by itself would hold a place that a person needs."""
        gate.full = True
        phone.get("/")
        phone.get("/generate_204", "connectivitycheck.gstatic.com")
        assert gate.waited == []

    def test_looking_at_the_page_keeps_the_place(self, phone: Phone, gate: FakeGate) -> None:
        gate.full, gate.places[MAC] = True, Place(2, False)
        phone.get("/")
        phone.get("/status")
        assert gate.waited == [MAC]

    def test_who_is_called_comes_in_by_the_same_button(self, phone: Phone, gate: FakeGate) -> None:
        gate.full, gate.places[MAC] = True, Place(0, True, NOW.boot_s + 60)
        assert 'action="/login"' in phone.get("/").text
        assert phone.post("/login").headers["Location"] == "/status"
        assert gate.places == {}

    def test_a_plan_of_high_priority_knows_no_queue(self, config: SiteConfig, gate: FakeGate) -> None:
        plan = msgspec.structs.replace(config.plan[0], priority="high")
        app = create_app(msgspec.structs.replace(config, plan=(plan,)), gate, lambda: NOW)
        gate.full = True
        assert 'action="/login"' in Phone(app).get("/").text

    def test_a_blocked_phone_does_not_wait(self, phone: Phone, gate: FakeGate) -> None:
        gate.full, gate.rules[MAC] = True, "block"
        assert phone.post("/wait").headers["Location"] == "/"
        assert gate.places == {}
        assert "HP ini tidak bisa masuk" in phone.get("/").text


def test_a_word_of_an_operator_between_two_questions_is_no_mistake(
    phone: Phone, gate: FakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocked(_: str) -> Place:
        raise Refused(Refusal.BLOCKED)

    gate.full, gate.places[MAC] = True, Place(2, False)
    monkeypatch.setattr(gate, "wait", blocked)
    assert phone.get("/").headers["Location"] == "/"


class TestMoved:
    def test_it_is_told_until_its_owner_says_so(self, phone: Phone, gate: FakeGate) -> None:
        gate.moved[MAC] = NOW.wall_s
        for path in ("/", "/", "/v/ABCDEFGJ"):
            assert "Kode Anda dipakai di HP lain pukul 09.12" in phone.get(path).text
        assert gate.told == []
        assert phone.post("/told").headers["Location"] == "/"
        assert "Kode Anda dipakai" not in phone.get("/").text

    def test_coming_in_again_ends_it_too(self, phone: Phone, gate: FakeGate) -> None:
        gate.moved[MAC] = NOW.wall_s
        phone.post("/login")
        phone.get("/status")
        assert gate.told == [MAC]


class TestOperatorsWord:
    @pytest.mark.parametrize(
        ("path", "host", "location"),
        [
            ("/", None, "/status"),
            ("/generate_204", "connectivitycheck.gstatic.com", "http://connectivitycheck.gstatic.com/generate_204"),
        ],
    )
    def test_an_allowed_device_is_in_with_whatever_it_asks_first(
        self, phone: Phone, gate: FakeGate, path: str, host: str | None, location: str
    ) -> None:
        gate.rules[MAC] = "allow"
        assert phone.get(path, host).headers["Location"] == location
        assert gate.logins == [(MAC, PHONE, "rule", "")]
        assert phone.get("/status").status_code == 200

    def test_the_captive_portal_api_lets_it_in_too(self, phone: Phone, gate: FakeGate) -> None:
        gate.rules[MAC] = "allow"
        assert json.loads(phone.get("/api/captive").data)["captive"] is False

    def test_when_it_is_closed_it_is_told_so(self, phone: Phone, gate: FakeGate) -> None:
        gate.rules[MAC], gate.opening = "allow", Opening(False, None)
        assert "Sedang tutup" in phone.get("/").text
        assert phone.get("/x", "news.example.com").headers["Location"] == f"http://{GATEWAY}/"

    def test_it_has_no_code_and_nothing_to_log_out_of(self, phone: Phone, gate: FakeGate) -> None:
        gate.rules[MAC] = "allow"
        phone.get("/")
        html = phone.get("/status").text
        assert "Kode kembali" not in html
        assert "/logout" not in html

    def test_a_blocked_one_gets_in_by_nothing(self, phone: Phone, gate: FakeGate) -> None:
        gate.rules[MAC] = "block"
        for path in ("/login", "/code", "/account"):
            response = phone.post(path, data={"code": VOUCHER, "name": "kantor", "password": "nasi kuning pagi"})
            assert response.status_code == 403
            assert "HP ini tidak bisa masuk" in response.text
            assert "<form" not in response.text
        assert gate.sessions == {}


class TestBlockedNames:
    @pytest.mark.parametrize("host", ["judi.example", "www.judi.example", "WWW.Judi.Example:80", "judi.example."])
    def test_whoever_asks_for_one_is_told_why(self, phone: Phone, gate: FakeGate, host: str) -> None:
        for _ in range(2):  # before login and after
            response = phone.get("/a?b=c", host)
            assert response.status_code == 302
            location = response.headers["Location"]
            assert location.startswith(f"http://{GATEWAY}/blocked?name=")
            html = phone.get(location.removeprefix(f"http://{GATEWAY}")).text
            assert "judi.example" in html
            assert "&lt;b&gt;&#34;Ditutup&#34;&lt;/b&gt;" in html
            phone.post("/login")

    @pytest.mark.parametrize(
        "name", ["", "kaltimprov.go.id", "<script>alert(1)</script>", "judi.example<b>", "a" * 3000]
    )
    def test_a_made_up_link_names_nothing(self, phone: Phone, name: str) -> None:
        from urllib.parse import urlencode

        html = phone.get(f"/blocked?{urlencode({'name': name})}").text
        assert "Situs ini ditutup" in html
        assert "<script" not in html
        assert "kaltimprov" not in html
        assert "aaaa" not in html

    def test_others_go_to_the_portal(self, phone: Phone) -> None:
        assert phone.get("/", "xjudi.example").headers["Location"] == f"http://{GATEWAY}/"


class TestWhatIsLeft:
    """The same figures on the status page and in the RFC 8908 API."""

    def state(self, config: SiteConfig, gate: FakeGate, after_budget: str) -> dict[str, object]:
        plan = Plan(
            id="warga",
            name="Warga",
            daily_minutes=60,
            daily_megabytes=100,
            after_budget=after_budget,  # type: ignore[arg-type]
        )
        phone = Phone(create_app(msgspec.structs.replace(config, plan=(plan,)), gate, lambda: NOW))
        if MAC not in gate.sessions:
            phone.post("/login")
        gate.left = BudgetLeft(1200.0, 50_000_000, False, MIDNIGHT)
        gate.used = (1_000_000, 2_000_000)
        return json.loads(phone.get("/api/captive").data)  # type: ignore[no-any-return]

    def test_a_budget_that_stops_ends_it(self, config: SiteConfig, gate: FakeGate) -> None:
        state = self.state(config, gate, "stop")
        assert state["seconds-remaining"] == 1200
        assert state["bytes-remaining"] == 50_000_000

    def test_a_budget_that_slows_does_not(self, config: SiteConfig, gate: FakeGate) -> None:
        state = self.state(config, gate, "slow")
        assert state["seconds-remaining"] == 3600
        assert "bytes-remaining" not in state

    def test_closing_time_ends_it(self, config: SiteConfig, gate: FakeGate) -> None:
        gate.opening = Opening(True, NOW.wall_s + 600)
        assert self.state(config, gate, "stop")["seconds-remaining"] == 600

    @pytest.mark.parametrize("left_bytes", [0, 1_000_000])
    def test_nothing_is_negative(self, config: SiteConfig, gate: FakeGate, left_bytes: int) -> None:
        self.state(config, gate, "stop")
        gate.left = BudgetLeft(0.0, left_bytes, True, MIDNIGHT)
        gate.opening = Opening(True, NOW.wall_s - 5)
        plan = Plan(id="warga", name="Warga", daily_minutes=60, daily_megabytes=100, after_budget="stop")
        phone = Phone(create_app(msgspec.structs.replace(config, plan=(plan,)), gate, lambda: NOW))
        state = json.loads(phone.get("/api/captive").data)
        assert (state["seconds-remaining"], state["bytes-remaining"]) == (0, left_bytes)

    @pytest.mark.parametrize("what", ["closed", "full", "block"])
    def test_who_may_not_come_in_is_captive(self, phone: Phone, gate: FakeGate, what: str) -> None:
        if what == "closed":
            gate.opening = Opening(False, None)
        elif what == "full":
            gate.full = True
        else:
            gate.rules[MAC] = what
        assert json.loads(phone.get("/api/captive").data)["captive"] is True


class TestInfo:
    def test_it_reads_whatever_is_broken(self, phone: Phone, gate: FakeGate) -> None:
        gate.broken = GateError("database", "gone")
        response = phone.get("/info")
        assert response.status_code == 200
        assert "Pengumuman sedang tidak bisa dibaca" in response.text
        assert "Jam buka" in response.text

    def test_markup_of_a_notice_is_text(self, phone: Phone, gate: FakeGate) -> None:
        from portal.domain.model import Notice

        body = (
            "<script>alert(1)</script> ![x](http://evil.example/x.png) [a](javascript:alert(1)) [b](https://b.example)"
        )
        gate.news = [Notice(1, "<i>Judul</i>", body, None, None, NOW.wall_s)]
        html = phone.get("/info").text
        assert "<script" not in html
        assert "<img" not in html
        assert "<i>" not in html
        assert 'href="javascript' not in html
        assert 'href="https://b.example" rel="noopener noreferrer nofollow"' in html

    def test_many_long_notices_stay_one_small_page_with_links_to_the_older(self, phone: Phone, gate: FakeGate) -> None:
        import random

        from portal.domain.model import Notice

        words = [f"kata{random.Random(1).getrandbits(40):x}" for _ in range(4000)]
        gate.news = [
            Notice(n, f"Pengumuman {n}", " ".join(random.Random(n).sample(words, 110))[:2000], None, None, NOW.wall_s)
            for n in range(1, 21)
        ]
        response = phone.get("/info", Accept_Encoding="gzip")
        assert len(response.data) <= 8 * 1024
        html = phone.get("/info").text
        for n in range(1, 21):
            assert f"Pengumuman {n}" in html
        assert 'href="/info/20"' in html
        assert gate.news[19].body in phone.get("/info/20").text
        assert phone.get("/info/99").headers["Location"] == "/info"

    def test_a_changed_notice_is_shown_at_once(self, phone: Phone, gate: FakeGate) -> None:
        from dataclasses import replace

        from portal.domain.model import Notice

        gate.news = [Notice(1, "Judul", "pagi", None, None, NOW.wall_s)]
        assert "pagi" in phone.get("/info").text
        gate.news = [replace(gate.news[0], body="sore")]
        assert "sore" in phone.get("/info").text


def test_refusals_that_nobody_thought_of_are_said_too(phone: Phone, gate: FakeGate) -> None:
    for refusal in Refusal:
        gate.refuses = Refused(refusal)
        response = phone.post("/code", data={"code": VOUCHER})
        assert response.status_code in (303, 403, 429), refusal
        assert "Ada kesalahan" not in response.text, refusal


def test_kept_pages_are_bounded(app: Flask, phone: Phone, gate: FakeGate) -> None:
    from portal.guest import pages

    for minute in range(300):
        gate.opening = Opening(False, NOW.wall_s + 60 * minute)
        assert phone.get("/").status_code == 200
    views = app.view_functions["landing"].__self__  # type: ignore[attr-defined]
    assert len(views._pages._kept) <= pages._MAX_KEPT


def test_the_return_code_is_on_the_status_page_and_its_qr_a_link_away(phone: Phone, gate: FakeGate) -> None:
    assert phone.get("/return").headers["Location"] == "/"
    phone.post("/login")
    html = phone.get("/status").text
    assert f"{RETURN_CODE[:4]}-{RETURN_CODE[4:]}" in html
    assert 'href="/return"' in html
    assert '<svg class="qr"' in phone.get("/return").text
