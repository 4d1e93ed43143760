"""What the guest tests share: a site, a gatekeeper in memory, and phones that talk to the pages."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from jinja2 import Environment, FileSystemBytecodeCache
from werkzeug.test import Client, TestResponse

from portal.config import Lan, Plan, Portal, Site, SiteConfig
from portal.guest import pages
from portal.guest.app import create_app
from tests.unit.guest.fake_gate import NOW, FakeGate

GATEWAY = "10.77.0.1"
PHONE = "10.77.0.5"
MAC = "02:00:00:00:00:05"


@dataclass
class Phone:
    """Sends requests as one address on the LAN. Redirects are not followed."""

    app: Flask
    ip: str = PHONE
    host: str | None = GATEWAY
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, method: str, path: str, host: str | None = None, data: dict[str, str] | None = None, **headers: str
    ) -> TestResponse:
        environ: dict[str, Any] = {"REMOTE_ADDR": self.ip, "SERVER_NAME": f"::ffff:{GATEWAY}", "SERVER_PORT": "8080"}
        named = {name.replace("_", "-"): value for name, value in headers.items()} | self.headers
        host = self.host if host is None else host
        client = Client(self.app, use_cookies=True)
        environ["HTTP_HOST"] = host or ""
        return client.open(path, method=method, headers=named, data=data, environ_overrides=environ)

    def get(self, path: str, host: str | None = None, **headers: str) -> TestResponse:
        return self("GET", path, host, **headers)

    def post(
        self, path: str, host: str | None = None, data: dict[str, str] | None = None, **headers: str
    ) -> TestResponse:
        return self("POST", path, host, data, **headers)


@pytest.fixture(scope="session", autouse=True)
def loaded_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each test has an application of its own; to load for each what never differs took longer than all else."""
    kept = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "Environment", functools.partial(Environment, bytecode_cache=kept))
        patch.setattr(pages, "load_languages", functools.cache(pages.load_languages))
        yield


@pytest.fixture
def config() -> SiteConfig:
    return SiteConfig(
        site=Site(code="64.03.01.2001", name="Desa Muara Kaman Ulu"),
        lan=Lan(address=f"{GATEWAY}/20"),
        portal=Portal(name="gerbang.lan", terms_version="3"),
        plan=(
            Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=1500, session_minutes=480),
            Plan(id="bebas", name="Bebas", down_kbit=None, up_kbit=None, session_minutes=None),
        ),
    )


@pytest.fixture
def gate() -> FakeGate:
    return FakeGate({PHONE: MAC})


@pytest.fixture
def app(config: SiteConfig, gate: FakeGate) -> Flask:
    return create_app(config, gate, lambda: NOW)


@pytest.fixture
def phone(app: Flask) -> Phone:
    return Phone(app)
