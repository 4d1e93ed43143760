"""Keeps unit tests off the machine: processes, sockets, signals and iptc raise. It also has an empty database for them.

The guard is an audit hook (PEP 578), so it also sees what goes past Python's own modules, whatever name a test or a
library imported it under. It is armed while an item of tests/unit runs (fixtures included) and cannot be disarmed by
the item. Unix sockets bound or reached below pytest's own temporary directory are let through.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from portal.paths import Paths

PROCESS_EVENTS = frozenset(
    {"subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "pty.spawn"}
)
KERNEL_IMPORTS = frozenset({"iptc"})
ELSEWHERE = "A unit test must not touch the machine: move it to tests/kernel or tests/e2e, or hand the subject a fake."

HERE = Path(__file__).parent
_armed_for: Path | None = None  # the directory where Unix sockets are allowed; None: no unit test is running


class TouchedMachine(BaseException):
    """A unit test did what only a test in namespaces may do. No Exception, so that no `except Exception` hides it."""


def _refuse(what: str) -> None:
    raise TouchedMachine(f"{what}. {ELSEWHERE}")


def _check_address(event: str, sock: Any, address: Any, root: Path) -> None:
    if sock.family != socket.AF_UNIX:
        _refuse(f"{event} to {address!r}")
    path = os.fsdecode(address)
    if path.startswith("\0") or not Path(path).resolve().is_relative_to(root):
        _refuse(f"{event} to the Unix socket {path!r}, which is not below tmp_path ({root})")


def _hook(event: str, args: tuple[Any, ...]) -> None:
    root = _armed_for
    if root is None:
        return
    if event in PROCESS_EVENTS:
        _refuse(f"{event} {args[:2]!r} starts a process")
    elif event == "socket.__new__":
        if args[1] not in (socket.AF_UNIX, -1):
            _refuse(f"socket.socket of family {args[1]!r}, type {args[2]!r}, opens the network or the kernel")
    elif event in ("socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg"):
        if args[1] is not None:
            _check_address(event, args[0], args[1], root)
    elif event in ("os.kill", "os.killpg"):
        if args[0] != os.getpid():
            _refuse(f"{event} {args!r} signals another process")
    elif event == "import" and args[0].partition(".")[0] in KERNEL_IMPORTS:
        _refuse(f"import of {args[0]}, which loads libxtables")


sys.addaudithook(_hook)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    global _armed_for  # noqa: PLW0603 - audit hooks take no state and cannot be removed
    if not item.path.is_relative_to(Path(__file__).parent):  # pytest calls this hook for every item of the session
        return (yield)
    factory: pytest.TempPathFactory = item.config._tmp_path_factory  # type: ignore[attr-defined]
    for name in [name for name in sys.modules if name.partition(".")[0] in KERNEL_IMPORTS]:
        del sys.modules[name]  # loaded by a test elsewhere: an import would pass unseen
    _armed_for = factory.getbasetemp().resolve()
    try:
        return (yield)
    finally:
        _armed_for = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """After the last unit test, fixtures of the whole session end too, and may do what is theirs to do."""
    global _armed_for  # noqa: PLW0603 - as above
    if nextitem is None or not nextitem.path.is_relative_to(HERE):
        _armed_for = None
    return (yield)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as setup leaves it; copied for each test, since fsyncs take time."""
    from portal.store import migrations, setup

    path = tmp_path_factory.mktemp("pristine") / "gerbang.db"
    setup.create_or_migrate(path, migrations.migrate)
    return path.parent


@pytest.fixture
def paths(tmp_path: Path, pristine: Path) -> Paths:
    for file in pristine.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return Paths(run=tmp_path, data=tmp_path)
