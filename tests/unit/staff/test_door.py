"""Nobody sees a page that is not theirs, and no form is taken from elsewhere: login, cookie, roles, limits."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from portal.domain.staff import Role
from tests.unit.staff.conftest import USERS, Browser

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
