"""The setup page as a technician goes through it, with the helper and the line played."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from portal.box.setup import page
from portal.box.setup.line import Row
from portal.box.setup.words import _WORDS, words
from portal.config import Uplink
from portal.staff.start import first_passwords

BASE = "http://10.77.0.1/"
GOOD = [Row("cable", True), Row("address", True, "192.0.2.7"), Row("router", None), Row("dns", True), Row("web", True)]
BAD = [Row("cable", True), Row("address", False)]


class Box:
    """What the helper was asked, and what it answers."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, dict[str, Any]] = {
            "state": {"radio": True, "ports": ["lan1"], "device": "3b1c"},
            "line": {},
            "save": {"passwords": first_passwords("https://10.77.0.1:8444", {"operator": "batuki-sorame-lipanu"})},
            "restart": {},
        }
        self.rows = GOOD
        self.looked: list[Uplink] = []

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        self.asked.append({"do": do, **more})
        return self.answers[do]

    def look(self, uplink: Uplink) -> list[Row]:
        self.looked.append(uplink)
        return self.rows


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def app(box: Box) -> flask.Flask:
    return page.create_app(box.ask, box.look)


@pytest.fixture
def phone(app: flask.Flask) -> FlaskClient:
    return app.test_client()


def get(phone: FlaskClient, path: str = "/", **more: Any) -> Any:
    return phone.get(path, base_url=BASE, **more)


def post(phone: FlaskClient, path: str, **form: str) -> Any:
    token = re.search(r'name="token" value="([^"]+)"', get(phone, "/").text)
    return phone.post(path, base_url=BASE, data={**form, "token": token[1] if token else ""})


def walk(phone: FlaskClient, **wifi: str) -> Any:
    post(phone, "/", **{"site.code": "6403012001", "site.name": "Désa <b>"})
    post(phone, "/line", **{"uplink.kind": "dhcp", "uplink.down_kbit": "18.000"})
    post(phone, "/wifi", **{"wifi.ssid": "Wi-Fi Muara"} | wifi)
    return post(phone, "/finish")


def test_a_box_is_set_up_in_four_steps(phone: FlaskClient, box: Box) -> None:
    assert "Desa mana ini?" in get(phone).text
    answer = post(phone, "/", **{"site.code": "6403012001", "site.name": "Désa <b>"})
    assert (answer.status_code, answer.location) == (303, "/line")
    tested = post(phone, "/line", **{"uplink.kind": "dhcp", "uplink.down_kbit": "18.000"})
    assert tested.status_code == 200
    assert "LULUS" in tested.text
    assert "192.0.2.7" in tested.text
    assert "tidak diketahui" in tested.text
    assert box.asked[-1] == {"do": "line", "uplink": {"kind": "dhcp", "down_kbit": 18000}}
    assert box.looked[-1].down_kbit == 18000
    assert "Radio di dalam alat" in get(phone, "/wifi").text
    assert post(phone, "/wifi", **{"wifi.ssid": "Wi-Fi Muara"}).location == "/finish"
    assert "Wi-Fi Muara" in get(phone, "/finish").text
    assert post(phone, "/finish").location == "/saved"
    saved = [asked for asked in box.asked if asked["do"] == "save"]
    assert tomllib.loads(saved[0]["text"]) == {
        "site": {"code": "64.03.01.2001", "name": "Désa <b>"},
        "uplink": {"kind": "dhcp", "down_kbit": 18000},
        "wifi": {"ssid": "Wi-Fi Muara"},
    }
    card = get(phone, "/saved").text
    assert "batuki-sorame-lipanu" in card and "STAFF-PASSWORDS.txt" in card
    assert ">3b1c</dd>" in card
    assert "https://10.77.0.1:8444" in card
    assert "Désa &lt;b&gt;" in card
    assert 'src="data:image/svg+xml' in card
    assert "LULUS" in card and "BELUM LULUS" not in card
    assert "Wi-Fi Muara" in restart(phone, card)
    assert box.asked[-1] == {"do": "restart"}


def test_mistakes_are_said_where_they_were_made_and_what_was_typed_stays(phone: FlaskClient) -> None:
    answer = post(phone, "/", **{"site.code": "64.03", "site.name": "A"})
    assert answer.status_code == 422
    assert "Isi kunci ini tidak cocok." in answer.text
    assert 'value="64.03"' in answer.text
    answer = post(phone, "/line", **{"uplink.kind": "pppoe", "uplink.user": "u"})
    assert answer.status_code == 422
    assert "Kata sandi PPPoE" in answer.text
    assert "<details open>" in answer.text
    answer = post(phone, "/line", **{"uplink.kind": "dhcp", "uplink.down_kbit": "fast"})
    assert answer.status_code == 422


def test_a_line_that_fails_says_at_what_and_does_not_stop_the_technician(phone: FlaskClient, box: Box) -> None:
    box.rows = BAD
    answer = post(phone, "/line", **{"uplink.kind": "usb", "uplink.vlan": "7"})
    assert "BELUM LULUS" in answer.text
    assert "Penyedia tidak memberi alamat." in answer.text and "tertukar" in answer.text
    assert "Lanjut walaupun gagal" in answer.text
    assert box.asked[-1]["uplink"] == {"kind": "usb"}


def test_a_card_without_a_tested_line_has_not_passed(phone: FlaskClient, box: Box) -> None:
    post(phone, "/", **{"site.code": "64.03.01.2001"})
    post(phone, "/wifi")
    post(phone, "/finish")
    assert "BELUM LULUS" in get(phone, "/saved").text


def test_what_another_kind_of_line_needs_is_forgotten(phone: FlaskClient, box: Box) -> None:
    post(phone, "/line", **{"uplink.kind": "pppoe", "uplink.user": "u", "uplink.password": "p"})
    post(phone, "/line", **{"uplink.kind": "dhcp", "uplink.user": "u", "uplink.password": "p"})
    assert box.asked[-1]["uplink"] == {"kind": "dhcp"}


def test_no_password_is_on_the_page_that_is_looked_at_again_nor_in_the_code(phone: FlaskClient, box: Box) -> None:
    post(phone, "/", **{"site.code": "64.03.01.2001"})
    post(phone, "/line", **{"uplink.kind": "pppoe", "uplink.user": "u", "uplink.password": "rahasia-123"})
    assert "rahasia-123" not in get(phone, "/finish").text
    post(phone, "/finish")
    assert "rahasia-123" not in get(phone, "/saved").text
    assert 'password = "rahasia-123"' in next(asked for asked in box.asked if asked["do"] == "save")["text"]


def test_a_kept_password_is_never_sent_back_and_an_empty_field_keeps_it(phone: FlaskClient, box: Box) -> None:
    """Whoever is on the same open Wi-Fi may look at the form, or hear it."""
    login = {"uplink.kind": "pppoe", "uplink.user": "u"}
    assert "Sudah tersimpan" not in get(phone, "/line").text
    post(phone, "/line", **login, **{"uplink.password": "rahasia-123"})
    form = get(phone, "/line").text
    assert "rahasia-123" not in form and "Sudah tersimpan" in form and 'value="u"' in form
    wrong = post(phone, "/line", **login, **{"uplink.vlan": "9999"})
    assert wrong.status_code == 422 and "rahasia-123" not in wrong.text
    post(phone, "/line", **login, **{"uplink.vlan": "9"})
    assert box.asked[-1]["uplink"] == {"kind": "pppoe", "user": "u", "password": "rahasia-123", "vlan": 9}
    post(phone, "/line", **login, **{"uplink.password": "lain"})
    assert box.asked[-1]["uplink"]["password"] == "lain"


def test_a_box_without_a_radio_asks_for_no_name_and_prints_none(phone: FlaskClient, box: Box) -> None:
    """The access point has the name that somebody gave it."""
    box.answers["state"]["radio"] = None
    form = get(phone, "/wifi").text
    assert "tidak punya radio" in form and "wifi." not in form
    walk(phone, **{"wifi.ssid": ""})
    card = get(phone, "/saved").text
    assert "nama yang disetel di access point" in card and "Wi-Fi Desa" not in card
    assert "BELUM LULUS" not in card
    assert "disetel di access point" in restart(phone, card)


@pytest.mark.parametrize("ports", [[], ["lan1"]])
def test_an_access_point_instead_of_the_boxs_radio_is_a_choice(phone: FlaskClient, box: Box, ports: list[str]) -> None:
    """Else there would be two networks. It is plugged in once the card is there: nobody else shall set the box up."""
    box.answers["state"]["ports"] = ports
    assert 'name="wifi.enabled"' in get(phone, "/wifi").text
    walk(phone, **{"wifi.enabled": "false"})
    said = tomllib.loads(next(asked for asked in box.asked if asked["do"] == "save")["text"])
    assert said["wifi"]["enabled"] is False
    card = get(phone, "/saved").text
    assert "nama yang disetel di access point" in card and "BELUM LULUS" not in card
    assert "Radio di dalam alat" not in card
    assert "disetel di access point" in restart(phone, card)
    assert "enabled" not in page.Answers().with_step("wifi", {"wifi.ssid": "A", "wifi.enabled": ""}).text()


def test_a_name_that_is_too_long_is_asked_for_again_with_the_choice(phone: FlaskClient) -> None:
    answer = post(phone, "/wifi", **{"wifi.ssid": "x" * 33, "wifi.enabled": "false"})
    assert answer.status_code == 422
    assert re.search(r'<option value="false" selected>', answer.text)


def restart(phone: FlaskClient, card: str) -> str:
    token = re.search(r'name="token" value="([^"]+)"', card)
    assert token is not None
    return str(phone.post("/restart", base_url=BASE, data={"token": token[1]}).text)


def test_what_is_wrong_with_the_cards_file_is_shown_first(phone: FlaskClient, box: Box) -> None:
    assert "site.toml di kartu" not in get(phone).text
    box.answers["state"]["site_error"] = "1. Baris 2, site.code: <x>"
    assert "Baris 2, site.code: &lt;x&gt;" in get(phone).text


def test_nothing_is_saved_with_a_mistake_in_it(phone: FlaskClient, box: Box) -> None:
    assert get(phone, "/finish").location == "/"
    assert not [asked for asked in box.asked if asked["do"] == "save"]


def test_what_the_helper_refuses_is_shown(phone: FlaskClient, box: Box) -> None:
    box.answers["save"] = {"error": "This box has been set up already."}
    answer = walk(phone)
    assert answer.status_code == 503
    assert "already" in answer.text
    box.answers["line"] = {"error": "networkctl ended."}
    assert post(phone, "/line", **{"uplink.kind": "dhcp"}).status_code == 503
    assert len(box.looked) == 1


def test_only_who_saved_is_shown_the_passwords(app: flask.Flask, phone: FlaskClient) -> None:
    walk(phone)
    other = get(app.test_client(), "/saved", environ_overrides={"REMOTE_ADDR": "10.77.0.99"})
    assert other.status_code == 403
    assert "batuki" not in other.text
    assert "Cabut listrik" in other.text and "STAFF-PASSWORDS.txt" in other.text, "what to do then"
    assert get(phone, "/").location == "/saved"


def test_other_names_lead_here_and_others_forms_do_nothing(phone: FlaskClient, box: Box) -> None:
    for url in ("http://connectivitycheck.gstatic.com/generate_204", "http://captive.apple.com/"):
        assert phone.get(url).location == BASE
    assert get(phone, "/generate_204").location == BASE
    assert phone.post("/", base_url=BASE, data={"site.code": "64.03.01.2001"}).location == "/"
    assert phone.post("/restart", base_url="http://evil.example/", data={}).location == BASE
    assert phone.post("/finish", base_url=BASE, data={"token": "guessed"}).location == "/"
    assert box.asked == []


def test_pages_load_nothing_and_run_nothing(phone: FlaskClient) -> None:
    for path in ("/", "/line", "/wifi"):
        answer = get(phone, path)
        assert "<script" not in answer.text
        assert not re.search(r'(src|href)="(?!data:|/|\?)', answer.text)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        nonce = re.search(r'<style nonce="([^"]+)"', answer.text)
        assert nonce is not None
        assert f"'nonce-{nonce[1]}'" in answer.headers["Content-Security-Policy"]
        assert len(answer.data) < 14_000


def test_english_is_a_link_away_and_stays(phone: FlaskClient) -> None:
    english = get(phone, "/?lang=en").text
    assert "Which desa is this?" in english
    assert 'action="/?lang=en"' in english
    assert 'lang="en"' in english


def test_every_sentence_that_a_page_uses_exists_in_both() -> None:
    for key, both in _WORDS.items():
        assert all(both), key
        assert both[0].count("{") == both[1].count("{"), key
    used = set()
    for template in (Path(page.__file__).parent / "templates").glob("*.html"):
        text = template.read_text()
        used |= set(re.findall(r"\bw\.([a-z]+)\b", text)) | set(re.findall(r'w\["([\w.-]+)"\]', text))
    assert used - set(words("id")) == set()
