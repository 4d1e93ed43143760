"""When certificate and clock are looked at, and what a certificate that changed leads to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from portal.renewals import Renewals


class Processes:
    """Keeps the one timer, and what was renewed."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.renewed: list[str] = []
        self._call: Callable[[], object] = lambda: None

    def after(self, _name: str, seconds: float, call: Callable[[], object]) -> None:
        self.waits.append(seconds)
        self._call = call

    def renew(self, name: str, _why: str) -> None:
        self.renewed.append(name)

    def turn(self) -> None:
        self._call()


def renewals(processes: Processes, certificate: Path | None, every_s: float) -> Renewals:
    orders: Any = SimpleNamespace(refresh=None, certificate=str(certificate) if certificate else None, run="")
    return Renewals(cast(Any, processes), lambda: orders, every_s)


def test_a_box_that_has_just_started_is_looked_at_soon_and_later_seldom() -> None:
    processes = Processes()
    renewals(processes, None, 600).begin()
    for _ in range(8):
        processes.turn()
    assert processes.waits == [15, 30, 60, 120, 240, 480, 600, 600, 600]


def test_a_certificate_that_changed_is_told_once(tmp_path: Path) -> None:
    processes, certificate = Processes(), tmp_path / "portal.pem"
    certificate.write_text("old")
    renewals(processes, certificate, 5).begin()
    processes.turn()
    assert processes.renewed == [] and processes.waits == [5, 5]
    certificate.unlink()
    certificate.write_text("another")
    processes.turn()
    processes.turn()
    assert processes.renewed == ["guest-tls"]
