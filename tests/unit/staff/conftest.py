"""What the staff tests share: a site with a database, a netctl in memory, and browsers that talk to the pages."""

from __future__ import annotations

import functools
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from werkzeug.test import Client, TestResponse

from portal import passwords
from portal.config import Lan, Plan, Portal, Site, SiteConfig
from portal.domain.staff import Role
from portal.paths import Paths
from portal.staff import app as app_module
from portal.staff import frame
from portal.staff.app import create_app
from portal.staff.shared import Shared
from portal.staffkey import StaffKey
from portal.store import migrations, setup, staff
from portal.store.db import Database
from portal.update import asking
from tests.unit.portal.fakes import Clock, Netctl

GATEWAY = "10.77.0.1"
DESK = "10.77.0.9"
PASSWORD = "tiga kata biasa"
USERS = {"ani": Role.OPERATOR, "tono": Role.TECHNICIAN, "rina": Role.REVIEWER}
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


@pytest.fixture(autouse=True)
def no_box(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this machine is, its update service is not asked."""
    monkeypatch.setattr(asking, "SOCKET", tmp_path / "gerbang-update.sock")


@dataclass
class Browser:
    """Keeps cookies, follows no redirect, and fills in the forms' token from the page that it saw last."""

    app: Flask
    host: str = f"{GATEWAY}:8444"
    ip: str = DESK

    def __post_init__(self) -> None:
        self.client = Client(self.app, use_cookies=True)
        self.token = ""

    def __call__(self, method: str, path: str, **data: Any) -> TestResponse:
        environ = {"REMOTE_ADDR": self.ip, "SERVER_NAME": f"::ffff:{GATEWAY}"}
        response = self.client.open(
            path,
            base_url=f"https://{self.host}",
            method=method,
            data=data or None,
            headers={"Referer": f"https://{self.host}/"},
            environ_overrides=environ,
        )
        if response.mimetype == "text/html" and (found := TOKEN.search(response.text)):
            self.token = found[1]
        return response

    def get(self, path: str) -> TestResponse:
        return self("GET", path)

    def post(self, path: str, **data: Any) -> TestResponse:
        return self("POST", path, **{"csrf_token": self.token, **data})

    def log_in(self, name: str, password: str = PASSWORD) -> TestResponse:
        self.get("/login")
        response = self.post("/login", name=name, password=password)
        if response.status_code == 303:
            self.get("/password")  # a page with the new token
        return response


def make_passwords_cheap(patch: pytest.MonkeyPatch) -> None:
    """The real Argon2id at its least cost: what it costs in earnest is the password module's own test."""
    from argon2 import PasswordHasher

    patch.setattr(passwords, "_hasher", lambda: PasswordHasher(1, 8, 1))


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    make_passwords_cheap(monkeypatch)


@pytest.fixture(autouse=True)
def no_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor asks the machine; what it finds is its own tests' subject."""
    monkeypatch.setattr("portal.report.doctor", lambda *_: [])


@pytest.fixture(scope="session", autouse=True)
def loaded_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each test has an application of its own; to load for each what never differs took longer than all else."""
    kept = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flask, "jinja_options", {"bytecode_cache": kept})
        patch.setattr(app_module, "warm", functools.cache(app_module.warm))
        patch.setattr(frame, "load_languages", functools.cache(frame.load_languages))
        yield


@pytest.fixture(scope="session")
def key() -> StaffKey:
    return StaffKey(bytes(range(32)))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, key: StaffKey) -> Path:
    """A data directory with a database and one user of each role; copied for each test."""
    path = tmp_path_factory.mktemp("pristine-staff") / "gerbang.db"
    setup.create_or_migrate(path, migrations.migrate)
    connection = sqlite3.connect(path)
    for name, role in USERS.items():
        with pytest.MonkeyPatch.context() as patch:
            make_passwords_cheap(patch)
            password_hash = passwords.hash_new(key.password(name, role, PASSWORD))
        staff.add(connection, name, role, password_hash, Clock().now)
    connection.execute("UPDATE staff_user SET must_change = 0")
    connection.commit()
    connection.close()
    return path.parent


@pytest.fixture
def config() -> SiteConfig:
    return SiteConfig(
        site=Site(code="64.03.01.2001", name="Desa Muara Kaman Ulu"),
        lan=Lan(address=f"{GATEWAY}/20"),
        portal=Portal(name="gerbang.lan"),
        plan=(
            Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=1500, session_minutes=480),
            Plan(id="kantor", name="Kantor", session_minutes=None),
        ),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def netctl(clock: Clock) -> Netctl:
    return Netctl(clock)


@pytest.fixture
def shared(config: SiteConfig, paths: Paths, key: StaffKey, netctl: Netctl, clock: Clock) -> Iterator[Shared]:
    made = Shared(config, paths, key, Database(paths.database), netctl, clock)
    yield made
    made.close()


@pytest.fixture
def app(shared: Shared) -> Flask:
    return create_app(shared)


@pytest.fixture
def new_browser(app: Flask) -> Callable[..., Browser]:
    return lambda **what: Browser(app, **what)


@pytest.fixture
def browser(new_browser: Callable[..., Browser]) -> Browser:
    return new_browser()


@pytest.fixture
def operator(browser: Browser) -> Browser:
    browser.log_in("ani")
    return browser


@pytest.fixture
def technician(new_browser: Callable[..., Browser]) -> Browser:
    browser = new_browser()
    browser.log_in("tono")
    return browser


@pytest.fixture
def reviewer(new_browser: Callable[..., Browser]) -> Browser:
    browser = new_browser()
    browser.log_in("rina")
    return browser
