"""The pages' ways in, everything real: a voucher typed or scanned, a return code that moves, a queue at a full site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.e2e.conftest import NewPhone, phones_of
from tests.e2e.test_codes_and_accounts import office
from tests.village import story
from tests.village.gateway import GerbangGateway
from tests.village.http import Response, first_form
from tests.village.phone import Phone
from tests.village.village import Village

PORTAL = "http://10.77.0.1"


@pytest.fixture(scope="module")
def open_village() -> Iterator[Village]:
    """One tap and vouchers."""
    access = {"methods": ["terms", "voucher"]}
    with Village(phones=0, ipv6=False, site={"plan": [story.PLAN], "access": access}) as village:
        yield village


@pytest.fixture
def new_guest(open_village: Village) -> Iterator[NewPhone]:
    with phones_of(open_village) as new:
        yield new


def text_of(response: Response) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", response.text, flags=re.S).split())


def page(phone: Phone, path: str = "/") -> str:
    return text_of(phone.http(PORTAL + path))


def type_code(phone: Phone, text: str) -> Response:
    """Open the page and send the form that it has for codes."""
    form = first_form(phone.http(f"{PORTAL}/"), "/code")
    assert "code" in form.fields
    return phone.http(form.action, method="POST", body=urlencode(form.fields | {"code": text}).encode())


def return_code(phone: Phone) -> str:
    found = re.search(r"Kode kembali Anda ([A-Z2-9]{4}-[A-Z2-9]{4})", page(phone, "/status"))
    assert found
    return found[1]


def one_voucher(village: Village, *options: str) -> str:
    assert isinstance(village.gateway, GerbangGateway)
    made = office(village.gateway, "voucher", "create", "--count", "1", "--plan", "warga", *options)
    return str(made["vouchers"][0]["code"]).replace("-", "")


def test_a_voucher_as_people_type_it_and_as_a_camera_reads_it(open_village: Village, new_guest: NewPhone) -> None:
    code = one_voucher(open_village, "--devices", "2")
    first, second = new_guest(), new_guest()
    typed = type_code(first, f" {code[:4].lower()} {code[4:].lower()} ")
    assert (typed.status, typed.location) == (303, f"{PORTAL}/status")
    assert first.is_online()
    scanned = second.http(f"{PORTAL}/v/{code}")
    assert not second.is_online(timeout_s=1), "opening a link logs nobody in"
    form = first_form(scanned)
    assert second.http(form.action, method="POST", body=form.body).status == 303
    assert second.is_online()
    again = second.http(f"{PORTAL}/v/{code}")
    assert "HP ini sudah masuk" in text_of(again)
    form = first_form(again)
    assert second.http(form.action, method="POST", body=form.body).status == 303
    assert second.is_online()


def test_wrong_codes_are_limited_and_say_so_without_a_hint(open_village: Village, new_guest: NewPhone) -> None:
    code = one_voucher(open_village)
    phone = new_guest()
    wrong = ["ABCDEFGH", code[:-1] + ("A" if code[-1] != "A" else "B"), "2222222Z", "", "x" * 200]
    said = [text_of(type_code(phone, text)) for text in wrong]
    assert all("Kode ini tidak benar" in text for text in said)
    limited = type_code(phone, code)
    assert limited.status == 429
    assert "Tunggu 10 menit" in text_of(limited)
    assert not phone.is_online(timeout_s=1)
    assert phone.login().status.status == 200, "one tap is not limited by wrong codes"


def test_a_return_code_moves_to_another_phone_and_the_old_one_is_told(new_guest: NewPhone) -> None:
    old, new = new_guest(), new_guest()
    old.login()
    code = return_code(old)
    assert type_code(new, code.lower()).status == 303
    assert new.is_online()
    assert not old.is_online(timeout_s=1)
    assert return_code(new) == code, "it is the same person"

    told = page(old)
    assert "Kode Anda dipakai di HP lain pukul" in told
    assert "Kalau itu bukan Anda" in told
    assert "Kode Anda dipakai di HP lain" in page(old), "until its owner has read it"
    # It was not they: one tap takes the place back.
    form = first_form(old.http(f"{PORTAL}/"), "/login")
    assert old.http(form.action, method="POST", body=form.body).status == 303
    assert old.is_online()
    assert not new.is_online(timeout_s=1)
    told = new.http(f"{PORTAL}/")
    assert "Kode Anda dipakai di HP lain" in text_of(told)
    form = first_form(told, "/told")
    assert new.http(form.action, method="POST", body=form.body).status == 303
    assert "Kode Anda dipakai di HP lain" not in page(new)


def test_a_voucher_s_return_code_moves_its_place_too(open_village: Village, new_guest: NewPhone) -> None:
    code = one_voucher(open_village)
    old, new = new_guest(), new_guest()
    assert type_code(old, code).status == 303
    back = return_code(old)
    assert "sudah dipakai di HP lain" in text_of(type_code(new, code))
    assert type_code(new, back).status == 303
    assert (new.is_online(), old.is_online(timeout_s=1)) == (True, False)
    assert "ketik kode kembali Anda di bawah" in page(old)


def test_a_full_site_has_a_fair_queue() -> None:
    access = {"methods": ["terms"], "capacity": 1}
    with (
        Village(phones=0, ipv6=False, site={"plan": [story.PLAN], "access": access}) as village,
        phones_of(village) as new,
    ):
        inside, second, third = new(), new(), new()
        inside.login()
        assert "Sedang penuh" in page(second)
        for phone in (second, third):
            form = first_form(phone.http(f"{PORTAL}/"), "/wait")
            answer = phone.http(form.action, method="POST", body=form.body)
            assert (answer.status, answer.location) == (303, f"{PORTAL}/")
        assert "Anda yang paling depan" in page(second)
        assert "1 orang di depan Anda" in page(third)
        assert third.http(f"{PORTAL}/login", method="POST").location == f"{PORTAL}/", "a tap jumps no queue"
        assert not third.is_online(timeout_s=1)

        inside.logout(f"{PORTAL}/status")
        called = second.http(f"{PORTAL}/")
        assert "Giliran Anda!" in text_of(called)
        assert re.search(r"disimpan untuk Anda sampai pukul \d\d\.\d\d", text_of(called))
        assert "Anda yang paling depan" in page(third)
        assert third.http(f"{PORTAL}/login", method="POST").location == f"{PORTAL}/"
        assert "Sedang penuh" in page(inside), "who has left stands at the end"
        form = first_form(called, "/login")
        assert second.http(form.action, method="POST", body=form.body).location == f"{PORTAL}/status"
        assert second.is_online()
        assert not third.is_online(timeout_s=1)
