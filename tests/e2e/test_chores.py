"""A program that is run again and again beside the gateway's processes: never two, none that hangs for good."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = """
import sys
from portal import chores
from portal.supervisor import Supervisor
chores.FIRST_S, chores.EVERY_S, chores.LONGEST_S = 0.1, 0.2, 1.0
supervisor = Supervisor([])
found = chores.Chores(supervisor, "sweep", lambda: sys.argv[1:])
found.begin()
supervisor.run_until(lambda: supervisor.signals > 0)
found.end()
print("over", file=sys.stderr)
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def start(log: Path) -> Start:
    def run(*command: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen([sys.executable, "-c", SCRIPT, *command], stderr=out, start_new_session=True)

    return run


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def finish(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_it_runs_again_and_again_and_says_what_it_said(start: Start, log: Path) -> None:
    process = start("sh", "-c", "echo swept >&2")
    until(lambda: log.read_text().count("swept") >= 3)
    finish(process)
    assert "sweep     swept" in log.read_text()


def test_that_it_failed_is_said_and_it_runs_again(start: Start, log: Path) -> None:
    process = start("sh", "-c", "exit 69")
    until(lambda: log.read_text().count("ended with status 69") >= 2)
    finish(process)


def test_one_that_hangs_is_killed_and_never_are_there_two(start: Start, log: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    process = start("sh", "-c", f'trap "" TERM; echo >> {begun}; sleep 60')
    until(lambda: log.read_text().count("killing it") >= 1)
    assert begun.read_text().count("\n") == 1
    until(lambda: begun.read_text().count("\n") >= 2)
    finish(process)


def test_it_ends_with_the_gateway(start: Start, log: Path, tmp_path: Path) -> None:
    number = tmp_path / "pid"
    process = start("sh", "-c", f"echo $$ > {number}; exec sleep 60")
    until(lambda: number.exists() and number.read_text() != "")
    finish(process)
    assert not Path(f"/proc/{int(number.read_text())}").exists()
    assert "over" in log.read_text()


def test_a_program_that_is_not_there_is_said(start: Start, log: Path) -> None:
    process = start("/nonexistent/sweep")
    until(lambda: log.read_text().count("cannot be started") >= 2)
    finish(process)
