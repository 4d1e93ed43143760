"""Every page that a villager may meet: small, strict, complete in both languages, and it says what it must."""

from __future__ import annotations

import gzip
import re
from html.parser import HTMLParser

import pytest
from werkzeug.test import TestResponse

from portal.guest.app import create_app
from portal.vouchers.html import qr_path
from tests.unit.guest.conftest import GATEWAY, MAC, PHONE, Phone
from tests.unit.guest.fake_gate import NOW, RETURN_CODE
from tests.unit.guest.scenes import SCENES, Scene

MAX_GZIPPED_BYTES = 8 * 1024
VOID = {"meta", "link", "input", "path", "circle", "rect", "br", "hr"}


def show(scene: Scene, lang: str = "id") -> TestResponse:
    gate = scene.gate({PHONE: MAC}, MAC)
    phone = Phone(create_app(scene.config(), gate, lambda: NOW), headers={"Accept-Encoding": "gzip"})
    if scene.form is not None:
        action, fields = scene.form
        return phone.post(f"{action}?lang={lang}", data=fields)
    return phone.get(f"{scene.path}{'&' if '?' in scene.path else '?'}lang={lang}")


def html_of(response: TestResponse) -> str:
    return gzip.decompress(response.data).decode()


class Text(HTMLParser):
    """What a person reads, and whether every element is closed and every field has a label."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[str] = []
        self.ids: list[str] = []
        self.labels: set[str] = set()
        self.fields: set[str] = set()
        self.values: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"] or "")
        if tag == "label":
            self.labels.add(given["for"] or "")
        if tag == "input" and given.get("type") != "hidden":
            self.fields.add(given["id"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.said.append(data)


def read(html: str) -> Text:
    reader = Text()
    reader.feed(html)
    reader.close()
    return reader


@pytest.mark.parametrize("name", SCENES)
def test_it_says_what_it_must(name: str) -> None:
    said = " ".join(" ".join(read(html_of(show(SCENES[name]))).said).replace("\N{NO-BREAK SPACE}", " ").split())
    for text in SCENES[name].says:
        assert text in said, said


@pytest.mark.parametrize("lang", ["id", "en"])
@pytest.mark.parametrize("name", SCENES)
def test_it_is_one_small_strict_request(name: str, lang: str) -> None:
    response = show(SCENES[name], lang)
    assert response.status_code in (200, 403, 429)
    assert len(response.data) <= MAX_GZIPPED_BYTES
    html = html_of(response)
    assert not re.search(r"<script|<link(?![^>]*href=\"data:,\")|<img|<iframe|\son\w+=|url\(|@import", html)
    assert not re.search(r"(?:src|action)=\"(?:https?:)?//", html)
    assert not re.search(r"\sstyle=", html)
    assert "Set-Cookie" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "same-origin"
    reader = read(html)
    assert reader.open == []
    assert reader.fields <= reader.labels
    assert len(set(reader.ids)) == len(reader.ids)
    assert html.count("<h1") == 1
    # no name of a message, and no placeholder, got as far as the page
    said = " ".join(reader.said)
    assert not re.search(r"%\(|\b(?:refused|landing|queue|code|hours|budget|closed|return|when)\.[a-z]", said)


@pytest.mark.parametrize("name", SCENES)
def test_english_is_the_same_page_in_english(name: str) -> None:
    indonesian, english = html_of(show(SCENES[name])), html_of(show(SCENES[name], "en"))
    tags = [re.findall(r"<(\w+)", re.sub(r"<footer.*", "", html, flags=re.S)) for html in (indonesian, english)]
    assert tags[0] == tags[1]
    for action in re.findall(r'action="([^"]+)"', english):
        assert action.endswith("?lang=en")
    for link in re.findall(r'href="(/[^"]*)"', english.split("<footer>")[0]):
        assert link.endswith("?lang=en")


def test_the_status_of_an_answer_fits_it() -> None:
    statuses = {name: show(scene).status_code for name, scene in SCENES.items()}
    refused = {name for name, status in statuses.items() if status == 403}
    assert refused == {name for name, scene in SCENES.items() if scene.form} - {"attempts"} | {"qr-wrong"}
    assert show(SCENES["attempts"]).headers["Retry-After"] == "422"


@pytest.mark.parametrize(
    ("name", "seconds"), [("queue", 15), ("queue-first", 15), ("called", 102), ("clock", 60), ("terms", None)]
)
def test_only_who_waits_sees_the_page_refresh_itself(name: str, seconds: int | None) -> None:
    found = re.findall(r'<meta http-equiv="refresh" content="(\d+);url=/"', html_of(show(SCENES[name])))
    assert found == ([] if seconds is None else [str(seconds)])


def test_who_may_not_come_in_by_a_tap_gets_no_button_for_it() -> None:
    for name in ("closed", "holiday", "clock", "full", "queue", "budget-stop", "blocked", "voucher", "account"):
        assert 'action="/login' not in html_of(show(SCENES[name])), name
    assert "<form" not in html_of(show(SCENES["blocked"]))
    assert "<form" not in html_of(show(SCENES["holiday"])), "one tap alone is no way in on a holiday"


def test_what_was_typed_is_there_to_be_corrected() -> None:
    assert 'value="abcd efgh"' in html_of(show(SCENES["code-wrong"]))


def test_the_return_code_s_qr_leads_to_the_gateway_s_address() -> None:
    html = html_of(show(SCENES["return"]))
    side, path = qr_path(f"http://{GATEWAY}/v/{RETURN_CODE}")
    assert f'viewBox="0 0 {side} {side}"' in html
    assert f'd="{path}"' in html
    assert '<svg class="qr"' in html
    assert 'aria-label="Kode QR dari kode kembali Anda"' in html
