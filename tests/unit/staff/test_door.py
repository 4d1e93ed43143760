"""Nobody sees a page that is not theirs, and no form is taken from elsewhere: login, cookie, roles, limits."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from portal import passwords
from portal.domain.staff import Role
from portal.staff.auth import COOKIE
from portal.staff.shared import Shared
from portal.staffkey import StaffKey
from tests.unit.portal.fakes import Clock
from tests.unit.staff.conftest import GATEWAY, PASSWORD, USERS, Browser

NewBrowser = Callable[..., Browser]


def pages(app: Flask) -> list[tuple[str, str, frozenset[Role] | None]]:
    """(method, path, roles) of every rule, with made-up arguments."""
    found = []
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        view = app.view_functions[rule.endpoint]
        for method in sorted((rule.methods or set()) & {"GET", "POST"}):
            found.append((method, path, getattr(view, "roles", frozenset())))
    return found


def test_every_page_names_its_roles(app: Flask) -> None:
    nameless = [path for _, path, roles in pages(app) if roles is not None and not roles]
    assert nameless == []
    public = {path for _, path, roles in pages(app) if roles is None}
    assert public == {"/login", "/static/1", "/favicon.ico"}


def test_without_login_every_path_leads_to_the_login(app: Flask, browser: Browser) -> None:
    browser.get("/login")
    for method, path, roles in [*pages(app), ("GET", "/no/such/page", frozenset({Role.OPERATOR}))]:
        if roles is None:
            continue
        response = browser.post(path) if method == "POST" else browser.get(path)
        if response.status_code == 401:  # a script's question
            assert response.text == ""
            continue
        assert response.status_code == 303, path
        assert response.location.startswith("/login"), path


@pytest.mark.parametrize("name", USERS)
def test_a_wrong_role_is_told_so(app: Flask, browser: Browser, name: str) -> None:
    browser.log_in(name)
    refused = 0
    for method, path, roles in pages(app):
        if roles is None or USERS[name] in roles:
            continue
        response = browser.post(path) if method == "POST" else browser.get(path)
        assert response.status_code == 403, path
        assert "bukan untuk peran Anda" in response.text
        refused += 1
    assert refused


# --- login ----------------------------------------------------------------------------------------------------------


def cookie_of(browser: Browser) -> str:
    cookie = browser.client.get_cookie(COOKIE, domain=GATEWAY)
    assert cookie is not None
    return cookie.value


def is_in(browser: Browser) -> bool:
    return browser.get("/password").status_code == 200


def test_the_cookie_is_for_this_host_alone_and_its_token_is_not_kept(browser: Browser, shared: Shared) -> None:
    browser.get("/login")
    before = cookie_of(browser)
    response = browser.log_in("ani")
    assert response.status_code == 303
    assert response.location == "/"
    (header,) = [header for header in response.headers.getlist("Set-Cookie") if header.startswith(COOKIE)]
    assert COOKIE.startswith("__Host-")
    assert {part.strip() for part in header.split(";")[1:]} == {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"}
    token = cookie_of(browser)
    assert token != before, "a token from before the login must not be one after it"
    secret = token.partition(".")[2].encode()
    assert len(secret) >= 43  # 256 bits
    with shared.database.read() as db:
        ((kept,),) = db.execute("SELECT token_hash FROM staff_session").fetchall()
    assert len(kept) == 32
    assert secret not in shared.paths.database.read_bytes()


@pytest.mark.parametrize(("name", "password"), [("ani", "kelinci"), ("siapa", PASSWORD), ("", ""), ("ani", "x" * 5000)])
def test_what_was_wrong_is_not_said_and_costs_the_same(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    asked: list[str | None] = []
    verify = passwords.verify
    monkeypatch.setattr(passwords, "verify", lambda *given: asked.append(given[0]) or verify(*given))
    response = browser.log_in(name, password)
    assert response.status_code == 403
    assert "Nama pengguna atau kata sandi salah" in response.text
    assert password == "" or password not in response.text
    assert len(asked) == 1, "a hash is computed for nobody, too"


def test_five_wrong_attempts_make_an_address_wait(new_browser: NewBrowser, clock: Clock) -> None:
    browser, other = new_browser(), new_browser(ip="10.77.0.10")
    for _ in range(5):
        assert browser.log_in("ani", "salah").status_code == 403
    response = browser.log_in("ani")
    assert response.status_code == 429
    assert "Tunggu 10 menit" in response.text
    assert 0 < int(response.headers["Retry-After"]) <= 600
    assert other.log_in("ani").status_code == 303
    clock.forward(601)
    assert browser.log_in("ani").status_code == 303


def test_an_office_of_addresses_waits_too(new_browser: NewBrowser) -> None:
    for number in range(60):
        new_browser(ip=f"10.77.1.{number}").log_in("ani", "salah")
    assert new_browser(ip="10.77.2.1").log_in("ani").status_code == 429


def test_a_login_ends_when_nobody_clicks(operator: Browser, clock: Clock) -> None:
    for _ in range(3):
        clock.forward(29 * 60)
        assert is_in(operator)
    clock.forward(31 * 60)
    response = operator.get("/today")
    assert response.location == "/login?why=ended"
    assert "lama tidak dipakai" in operator.get(response.location).text


def test_an_open_page_s_script_is_no_click(operator: Browser, clock: Clock) -> None:
    for _ in range(31):
        clock.forward(60)
        status = operator.get("/today/live").status_code
    assert status == 401
    assert not is_in(operator)


def test_a_login_ends_after_twelve_hours_of_clicks(operator: Browser, clock: Clock) -> None:
    for _ in range(12 * 4 - 1):
        clock.forward(15 * 60)
        assert is_in(operator)
    clock.forward(15 * 60)
    assert not is_in(operator)


def test_a_login_ends_with_the_boot_and_not_with_the_wall_clock(operator: Browser, clock: Clock) -> None:
    clock.set_wall(0.0)
    assert is_in(operator)
    clock.reboot(boot_s=clock.now.boot_s)
    assert not is_in(operator)


def test_logging_out_ends_it_here_and_not_only_in_the_browser(app: Flask, operator: Browser) -> None:
    thief = Browser(app)
    thief.client.set_cookie(COOKIE, cookie_of(operator), domain=GATEWAY, secure=True)
    assert is_in(thief)
    assert operator.post("/logout").location == "/login?told=logged-out"
    assert not is_in(thief)


@pytest.mark.parametrize("token", ["1." + "A" * 43, "999." + "A" * 43, "x" * 60, "1" * 60, "-1." + "A" * 43, "é" * 50])
def test_a_made_up_token_opens_nothing(browser: Browser, token: str) -> None:
    browser.client.set_cookie(COOKIE, token, domain=GATEWAY, secure=True)
    assert browser.get("/today").status_code == 303


# --- passwords ------------------------------------------------------------------------------------------------------


def test_a_new_password_logs_out_everywhere(new_browser: NewBrowser) -> None:
    here, there = new_browser(), new_browser()
    here.log_in("ani")
    there.log_in("ani")
    changed = here.post("/password", old=PASSWORD, new="empat kata yang baru", again="empat kata yang baru")
    assert changed.location == "/login?told=password-changed"
    assert not is_in(here)
    assert not is_in(there)
    assert here.log_in("ani").status_code == 403
    assert here.log_in("ani", "empat kata yang baru").status_code == 303


@pytest.mark.parametrize(
    ("old", "new", "again", "words"),
    [
        ("salah", "empat kata yang baru", "empat kata yang baru", "sekarang salah"),
        (PASSWORD, "empat kata yang baru", "empat kata yang lain", "tidak sama"),
        (PASSWORD, PASSWORD, PASSWORD, "harus lain"),
        (PASSWORD, "pendek", "pendek", "8 sampai 128"),
        (PASSWORD, "x" * 129, "x" * 129, "8 sampai 128"),
        (PASSWORD, "aaaaaaaaaa", "aaaaaaaaaa", "mudah ditebak"),
        (PASSWORD, "rahasia-ani", "rahasia-ani", "mudah ditebak"),
    ],
)
def test_a_new_password_that_will_not_do(operator: Browser, old: str, new: str, again: str, words: str) -> None:
    response = operator.post("/password", old=old, new=new, again=again)
    assert response.status_code == 422
    assert words in response.text
    assert operator.log_in("ani").status_code == 303


def test_guessing_the_present_password_at_an_open_page_is_limited(operator: Browser) -> None:
    for _ in range(5):
        operator.post("/password", old="salah", new="empat kata yang baru", again="empat kata yang baru")
    response = operator.post("/password", old=PASSWORD, new="empat kata yang baru", again="empat kata yang baru")
    assert response.status_code == 429


def test_the_first_password_opens_one_page(app: Flask, browser: Browser, shared: Shared) -> None:
    shared.paths.staff_passwords.write_text("ani ...")
    with shared.database.write() as db:
        db.execute("UPDATE staff_user SET must_change = (name = 'ani')")
    browser.log_in("ani")
    for method, path, roles in pages(app):
        if not roles or Role.OPERATOR not in roles or path in ("/password", "/logout"):
            continue
        response = browser.post(path) if method == "POST" else browser.get(path)
        assert response.status_code == 303, path
        assert response.location == "/password", path
    page = browser.get("/password").text
    assert "buatan gateway" in page
    assert "<nav" not in page
    browser.post("/password", old=PASSWORD, new="empat kata yang baru", again="empat kata yang baru")
    browser.log_in("ani", "empat kata yang baru")
    assert browser.get("/today").status_code == 200
    assert not shared.paths.staff_passwords.exists(), "the last first password is gone, and so is the file"


# --- who may write the database is not who may log in ---------------------------------------------------------------


def test_who_writes_the_database_makes_no_technician(new_browser: NewBrowser, shared: Shared, key: StaffKey) -> None:
    """The guest pages' user can write any row, but does not have the key."""
    operator = new_browser()
    operator.log_in("ani")
    for forgery in (
        "UPDATE staff_user SET role = 'technician' WHERE name = 'ani'",
        "UPDATE staff_session SET user_id = (SELECT id FROM staff_user WHERE name = 'tono')",
        "UPDATE staff_user SET password_hash = (SELECT password_hash FROM staff_user WHERE name = 'ani')",
    ):
        with shared.database.write() as db:
            before = db.execute("SELECT id, role, password_hash FROM staff_user").fetchall()
            sessions = db.execute("SELECT token_hash, user_id FROM staff_session").fetchall()
            db.execute(forgery)
        assert operator.get("/audit").status_code in (303, 403), forgery
        for name in ("ani", "tono"):
            other = new_browser(ip="10.77.3.1")
            other.log_in(name)
            assert other.get("/audit").status_code != 200 or "password" not in forgery, forgery
            if name == "ani":
                assert other.get("/audit").status_code != 200, forgery
        with shared.database.write() as db:
            db.executemany("UPDATE staff_user SET role = ?2, password_hash = ?3 WHERE id = ?1", before)
            db.executemany("UPDATE staff_session SET user_id = ?2 WHERE token_hash = ?1", sessions)
    argon2 = passwords.hash_new(PASSWORD)  # what they can make without the key
    with shared.database.write() as db:
        db.execute("UPDATE staff_user SET password_hash = ? WHERE name = 'tono'", (argon2,))
    assert new_browser(ip="10.77.3.2").log_in("tono").status_code == 403


def test_a_disabled_user_is_out_at_once(operator: Browser, shared: Shared) -> None:
    with shared.database.write() as db:
        db.execute("UPDATE staff_user SET disabled = 1 WHERE name = 'ani'")
    assert not is_in(operator)
    assert operator.log_in("ani").status_code == 403


# --- forms and headers ----------------------------------------------------------------------------------------------


def test_a_form_without_the_page_s_token_changes_nothing(new_browser: NewBrowser, operator: Browser) -> None:
    other = new_browser()
    other.log_in("ani")
    for token in ("", "x", other.token):
        response = operator.post("/today/close", csrf_token=token, reason="iseng")
        assert response.status_code == 403
        assert "Tidak ada yang diubah" in response.text
    assert "Tutup." not in operator.get("/today").text


def test_a_form_from_another_site_changes_nothing(operator: Browser) -> None:
    response = operator.client.post(
        "/today/close",
        base_url=f"https://{operator.host}",
        data={"csrf_token": operator.token, "reason": "iseng"},
        headers={"Referer": "https://elsewhere.example/"},
    )
    assert response.status_code == 403


@pytest.mark.parametrize("host", ["elsewhere.example", "elsewhere.example:8444", "10.77.0.2:8444", "[fd00::1]:8444"])
def test_another_name_gets_nothing(new_browser: NewBrowser, host: str) -> None:
    response = new_browser(host=host).get("/login")
    assert response.status_code == 421
    assert "<form" not in response.text


@pytest.mark.parametrize("host", [f"{GATEWAY}:8444", "gerbang.lan:8444", "gerbang.lan", "GERBANG.LAN:8444"])
def test_the_gateway_s_own_names_do(new_browser: NewBrowser, host: str) -> None:
    assert new_browser(host=host).get("/login").status_code == 200


def test_no_page_runs_or_keeps_anything(app: Flask, technician: Browser, operator: Browser, reviewer: Browser) -> None:
    seen = 0
    for browser, role in ((operator, Role.OPERATOR), (technician, Role.TECHNICIAN), (reviewer, Role.REVIEWER)):
        for method, path, roles in pages(app):
            if method != "GET" or not (roles is None or role in roles):
                continue
            response = browser.get(path)
            assert response.headers["X-Frame-Options"] == "DENY"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            if path.startswith("/static/"):
                continue
            assert response.headers["Cache-Control"] == "no-store", path
            assert not re.search(
                r"<script(?! src=)|\son[a-z]+=|<style(?! nonce)|\sstyle=|javascript:", response.text
            ), path
            assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", response.text), path
            seen += 1
    assert seen > 20


def test_style_and_script_are_kept_by_their_hash_and_set_no_cookie(browser: Browser) -> None:
    page = browser.get("/login").text
    (path,) = re.findall(r'href="(/static/[^"]+)"', page)
    response = browser.get(path)
    assert response.mimetype == "text/css"
    assert "immutable" in response.headers["Cache-Control"]
    assert "Set-Cookie" not in response.headers
    assert browser.get("/static/../app.py").status_code != 200


def test_a_database_that_is_away_is_told_so(operator: Browser, shared: Shared) -> None:
    shared.database.close()
    shared.paths.database.unlink()
    for path in ("/today", "/password"):
        response = operator.get(path)
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert "Data gateway rusak" in response.text
        assert "database-corrupt" in response.text


def test_the_language_is_kept(operator: Browser) -> None:
    assert "Today" in operator.get("/today?lang=en").text
    assert "Today" in operator.get("/today").text
    assert "Hari ini" in operator.get("/today?lang=id").text
    assert "Hari ini" in operator.get("/today?lang=xx").text
