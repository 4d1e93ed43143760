"""Killed at each fsync, and refused each write: nobody who was let in is put out, nothing that was answered is lost."""

from __future__ import annotations

import itertools
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.store import migrations, setup
from tests.powercut.faults import Struck, traced
from tests.powercut.replay import Promised, wrong_with_data
from tests.powercut.scripted import MACS, Script

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
    pytest.mark.timeout(900),  # hundreds of runs under strace, with the whole database checked after each
]
WRITES = "pwrite64,ftruncate,fallocate"
SYNCS = "fsync,fdatasync"
CALLS = 6  # refused in a row


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In memory: only system calls matter here."""
    path = tmp_path_factory.mktemp("pristine") / "gerbang.db"
    setup.in_child(lambda: setup.create_or_migrate(path, migrations.migrate))
    return path.parent


def after_each(pristine: Path, folder: Path, inject: str, step: int = 1) -> Iterator[Struck]:
    """Run the script again and again, with a later call struck each time, until there is none that is so late."""
    for turn in itertools.count(1, step):
        data = folder / str(turn)
        shutil.copytree(pristine, data)
        struck = traced(
            lambda out, data=data: Script(data, out).run(), inject.format(first=turn, last=turn + CALLS - 1)
        )
        promised = Promised(ready=True)
        for line in struck.lines:
            promised.hear(line)
        assert promised.failed == [], (turn, promised.failed)
        wrong = setup.in_child(lambda data=data, promised=promised: list(wrong_with_data(data, promised)))
        assert wrong == [], f"call {turn}, exit code {struck.code}, {struck.lines[-1:]}"
        shutil.rmtree(data)
        yield struck
        if struck.code == 0 and not struck.calls:
            return


def test_a_kill_at_any_fsync_loses_nothing_that_was_answered(pristine: Path, tmp_path: Path) -> None:
    codes = Counter(struck.code for struck in after_each(pristine, tmp_path, SYNCS + ":signal=KILL:when={first}"))
    assert codes.keys() == {-signal.SIGKILL, 0} and codes[0] == 1
    assert codes[-signal.SIGKILL] > 15, "each commit, and the log's writing back"


@pytest.mark.parametrize(("error", "step"), [("ENOSPC", 1), ("EIO", 7), ("EROFS", 7)])
def test_a_write_that_is_refused_puts_nobody_out_and_is_made_good(
    pristine: Path, tmp_path: Path, error: str, step: int
) -> None:
    """The disk is full (or fails, or is read-only) from any one write on, and a few writes later it is well again."""
    refused: Counter[str] = Counter()
    calls = 0
    for struck in after_each(pristine, tmp_path, WRITES + f":error={error}:when={{first}}..{{last}}", step):
        assert struck.code == 0
        assert {line.split()[1] for line in struck.lines if line.startswith("in ")} == set(MACS), "all was done at last"
        refused.update(line.split()[1] for line in struck.lines if line.startswith("refused"))
        calls += struck.calls
    assert calls > 100
    assert refused.keys() <= {"database", "database-full"}, refused
    assert refused["database-full" if error == "ENOSPC" else "database"] > refused.total() / 2, refused
