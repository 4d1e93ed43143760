"""The whole way of vouchers and accounts: made by the command, read from paper or typed, online; withdrawn, cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from portal.domain import codes
from tests.e2e.conftest import NewPhone, phones_of
from tests.unit.vouchers.sheets import qrs_of
from tests.village import story
from tests.village.gateway import DATA, RUN, GerbangGateway
from tests.village.http import Response, first_form
from tests.village.phone import Phone
from tests.village.village import Village


@pytest.fixture(scope="module")
def paper_village() -> Iterator[Village]:
    """Whose people come in by vouchers and accounts, and by no tap alone."""
    with Village(phones=0, ipv6=False, site={"plan": [story.PLAN], "access": {"methods": ["voucher", "account"]}}) as v:
        yield v


@pytest.fixture
def paper_gateway(paper_village: Village) -> GerbangGateway:
    assert isinstance(paper_village.gateway, GerbangGateway)
    return paper_village.gateway


@pytest.fixture
def new_paper_phone(paper_village: Village) -> Iterator[NewPhone]:
    with phones_of(paper_village) as new:
        yield new


def office(gateway: GerbangGateway, group: str, verb: str, *arguments: str, typed: str = "") -> Any:
    places = ["--run-dir", str(RUN), "--data-dir", str(DATA), "--json"]
    command = gateway.command(group, verb, *places, *arguments)
    done = gateway.box.run(["sh", "-c", 'printf "%s\\n" "$0" | "$@"', typed, *command])
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def scan(phone: Phone, url: str) -> Response:
    """Open what the QR says, tap the one button; the answer to the tap."""
    form = first_form(phone.http(url), "/code")
    return phone.http(form.action, method="POST", body=form.body)


def test_from_the_printed_sheet_to_the_internet_and_out_again(
    paper_gateway: GerbangGateway, new_paper_phone: NewPhone
) -> None:
    made = office(
        paper_gateway, "voucher", "create", "--count", "3", "--plan", "warga", "--devices", "2", "--out", "/run/v.pdf"
    )
    (urls,) = qrs_of((paper_gateway.box.root / "run/v.pdf").read_bytes())
    assert {codes.parse(url[-8:]) for url in urls} == {codes.parse(one["code"]) for one in made["vouchers"]}
    code = urls[0][-8:]

    first, second, third = new_paper_phone(), new_paper_phone(), new_paper_phone()
    answers = [scan(phone, urls[0]) for phone in (first, second, third)]
    assert [answer.status == 303 for answer in answers] == [True, True, False]
    assert [phone.is_online(timeout_s=1) for phone in (first, second, third)] == [True, True, False]
    shown = office(paper_gateway, "voucher", "show", code)
    assert (shown["state"], set(shown["macs"])) == ("used", {first.mac, second.mac})
    assert office(paper_gateway, "voucher", "list")[0]["used"] == 1

    assert office(paper_gateway, "voucher", "void", code)["warning"] is None
    assert [phone.is_online(timeout_s=1) for phone in (first, second)] == [False, False]
    assert scan(first, urls[0]).status != 303, "a withdrawn code lets nobody in"
    assert scan(third, urls[1]).status == 303, "the others of the sheet still do"


def test_ten_phones_on_one_voucher_at_the_same_moment(paper_gateway: GerbangGateway, new_paper_phone: NewPhone) -> None:
    made = office(paper_gateway, "voucher", "create", "--count", "1", "--plan", "warga", "--devices", "3")
    url = f"{paper_gateway.url}v/{made['vouchers'][0]['code'].replace('-', '')}"
    phones = [new_paper_phone() for _ in range(10)]
    with ThreadPoolExecutor(len(phones)) as pool:
        statuses = [answer.status for answer in pool.map(lambda phone: scan(phone, url), phones)]
    assert statuses.count(303) == 3
    assert sum(phone.is_online(timeout_s=1) for phone in phones) == 3


def sign_in(phone: Phone, gateway: GerbangGateway, name: str, password: str) -> int:
    form = first_form(phone.http(gateway.url), "/account")
    given = urlencode({**form.fields, "name": name, "password": password}).encode()
    return phone.http(form.action, method="POST", body=given).status


def test_a_new_password_of_an_office_puts_out_who_knew_the_old_one(
    paper_gateway: GerbangGateway, new_paper_phone: NewPhone
) -> None:
    office(paper_gateway, "account", "add", "Kantor", "--plan", "warga", "--stdin", typed="kucing hujan 5")
    phone = new_paper_phone()
    assert sign_in(phone, paper_gateway, "kantor", "kucing hujan 6") == 403
    assert sign_in(phone, paper_gateway, "kantor", "kucing hujan 5") == 303
    assert phone.is_online()
    ((code,),) = (row.values() for row in paper_gateway.sql("SELECT code FROM person WHERE account_id IS NOT NULL"))
    assert office(paper_gateway, "account", "list")[0]["online"] == 1

    office(paper_gateway, "account", "password", "kantor", "--stdin", typed="anggrek hitam 9")
    assert not phone.is_online(timeout_s=1)
    assert sign_in(phone, paper_gateway, "kantor", "kucing hujan 5") == 403
    assert scan(phone, f"{paper_gateway.url}v/{code}").status != 303, "nor by the return code of before"
    assert sign_in(phone, paper_gateway, "kantor", "anggrek hitam 9") == 303
    office(paper_gateway, "account", "disable", "kantor")
    assert not phone.is_online(timeout_s=1)
    assert sign_in(phone, paper_gateway, "kantor", "anggrek hitam 9") == 403
