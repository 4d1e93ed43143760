"""What systemd hands to a process and is told by it: sockets, readiness, the watchdog, credentials."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import listener, notify, privileges


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """systemd's end of NOTIFY_SOCKET."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(path))
        ear.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield ear


def words(ear: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(ear.recv(100).decode())
        except BlockingIOError:
            return found


# --- notification ---------------------------------------------------------------------------------------------------


def test_ready_with_the_first_turn_and_alive_twice_in_the_time_allowed(
    heard: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(notify.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    pulse = notify.Pulse()
    assert words(heard) == [], "nothing before the loop turns"
    for _ in range(10):
        pulse.turn()
        now[0] += 1
    assert words(heard) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    pulse.stopping()
    assert words(heard) == ["STOPPING=1"]


def test_without_a_watchdog_it_is_ready_once(heard: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    pulse = notify.Pulse()
    pulse.turn()
    pulse.turn()
    assert words(heard) == ["READY=1"]


def test_nobody_is_told_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify.notify("READY=1")


# --- sockets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket as systemd passes it, at a number of its own: 3 may be pytest's."""
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "port"))
        number = os.dup(found.fileno())
        os.set_inheritable(number, True)
        monkeypatch.setattr(listener, "FIRST_OF_SYSTEMD", number)
        yield found


def pass_it(monkeypatch: pytest.MonkeyPatch, count: str, pid: int) -> None:
    monkeypatch.delenv(listener.VARIABLE, raising=False)
    for name, value in (("LISTEN_FDS", count), ("LISTEN_PID", str(pid)), ("LISTEN_FDNAMES", "guest")):
        monkeypatch.setenv(name, value)


def test_systemds_socket_is_taken_once_and_kept_from_children(
    passed: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_it(monkeypatch, "1", os.getpid())
    found = listener.inherited()
    assert found is not None
    assert found.getsockname() == passed.getsockname()
    assert not os.get_inheritable(found.fileno())
    assert not [name for name in os.environ if name.startswith("LISTEN_")]
    assert listener.inherited() is None
    found.close()


def test_a_socket_for_another_process_is_left_alone(passed: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    pass_it(monkeypatch, "1", os.getpid() + 1)
    assert listener.inherited() is None
    os.close(listener.FIRST_OF_SYSTEMD)  # it is open still


def test_several_sockets_are_refused(passed: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    pass_it(monkeypatch, "2", os.getpid())
    with pytest.raises(OSError, match="passed 2 sockets"):
        listener.inherited()
    os.close(listener.FIRST_OF_SYSTEMD)


def test_the_supervisors_socket_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(tmp_path / "port"))
        monkeypatch.setenv(listener.VARIABLE, str(os.dup(theirs.fileno())))
        found = listener.inherited()
        assert found is not None and found.getsockname() == theirs.getsockname()
        found.close()


# --- credentials ----------------------------------------------------------------------------------------------------


def test_a_key_is_read_where_systemd_has_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert privileges.credential("key", "/data/site/portal.key") == str(tmp_path / "key")
    assert privileges.credential("certificate", "/data/site/portal.pem") == "/data/site/portal.pem", "not given"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert privileges.credential("key", "/data/site/portal.key") == "/data/site/portal.key"
