"""Onto the stick and off it: cut at any step, pulled, full, read-only; and nothing is lost or left half."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portal import acknowledge, batchfiles, sealing
from portal.batchfiles import StickError
from portal.domain import batch, batchcheck
from tests.unit.outbox.making import OFFICE, Maker

FILES = Maker().fill(4).files
STEPS = ("open", "fsync", "rename")


class Cut(BaseException):
    """The power went."""


def failing(monkeypatch: pytest.MonkeyPatch, at: int, error: Callable[[], BaseException]) -> list[str]:
    """Let the ``at``-th step of writing fail; the list of steps."""
    done: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **more: Any) -> Any:
            done.append(name)
            if len(done) == at:
                raise error()
            return real(*given, **more)

        return step

    real_open = os.open
    monkeypatch.setattr(batchfiles.os, "open", wrap("open", real_open))
    monkeypatch.setattr(batchfiles.os, "fsync", wrap("fsync", os.fsync))
    monkeypatch.setattr(Path, "rename", wrap("rename", Path.rename))
    return done


def whole(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*.gbatch")}


def test_a_stick_gets_what_is_not_there_yet(tmp_path: Path) -> None:
    done = batchfiles.export(tmp_path, list(FILES.values())[:2])
    assert (done.written, done.there) == (2, 0)
    done = batchfiles.export(tmp_path, FILES.values())
    assert (done.written, done.there) == (2, 2)
    assert whole(tmp_path) == FILES


@pytest.mark.parametrize("at", range(1, 15))
def test_a_power_cut_at_any_step_leaves_whole_files_and_the_next_export_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    with monkeypatch.context() as patch:
        done = failing(patch, at, Cut)
        with pytest.raises(Cut):
            batchfiles.export(tmp_path, FILES.values())
    assert len(done) == at
    assert whole(tmp_path).items() <= FILES.items()
    assert batchcheck.check(batchfiles.read(tmp_path)).good
    batchfiles.export(tmp_path, FILES.values())
    assert whole(tmp_path) == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_a_file_is_on_the_stick_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = failing(monkeypatch, 0, Cut)
    batchfiles.export(tmp_path, FILES.values())
    assert done == [*("open", "fsync", "rename") * 4, "open", "fsync"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "full"),
        (errno.EIO, "pulled out"),
        (errno.ENODEV, "pulled out"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "may not"),
    ],
)
@pytest.mark.parametrize("at", [1, 5, 9])
def test_what_is_wrong_with_a_stick_is_said_and_nothing_half_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str, at: int
) -> None:
    failing(monkeypatch, at, lambda: OSError(code, "x"))
    with pytest.raises(StickError) as told:
        batchfiles.export(tmp_path, FILES.values())
    assert said in told.value.message
    assert told.value.hint.endswith(".")
    assert told.value.written == (at - 1) // 3
    assert whole(tmp_path).items() <= FILES.items()
    assert not list(tmp_path.glob(f"*{batchfiles.PARTIAL}"))


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StickError, match="no such directory"):
        batchfiles.export(tmp_path / "usb", FILES.values())


def test_a_damaged_file_on_the_stick_is_written_again(tmp_path: Path) -> None:
    batchfiles.export(tmp_path, FILES.values())
    name = sorted(FILES)[1]
    (tmp_path / name).write_bytes(FILES[name][:-5])
    done = batchfiles.export(tmp_path, FILES.values())
    assert (done.written, done.there) == (1, 3)
    assert whole(tmp_path) == FILES


def test_what_the_gateway_dropped_meanwhile_stays_whole_on_the_stick(tmp_path: Path) -> None:
    maker = Maker().fill(3)
    batchfiles.export(tmp_path, maker.files.values())
    before = whole(tmp_path)
    maker.drop(2)
    assert batchfiles.export(tmp_path, maker.files.values()).there == 3
    assert whole(tmp_path) == before
    (tmp_path / sorted(maker.files)[1]).unlink()
    assert batchfiles.export(tmp_path, maker.files.values()).written == 1
    assert batchcheck.check(batchfiles.read(tmp_path)).good


def test_a_link_on_the_stick_leads_nowhere(tmp_path: Path) -> None:
    stick, elsewhere = tmp_path / "stick", tmp_path / "elsewhere"
    stick.mkdir()
    elsewhere.write_text("mine")
    (stick / sorted(FILES)[0]).symlink_to(elsewhere)
    batchfiles.export(stick, FILES.values())
    assert elsewhere.read_text() == "mine"
    assert whole(stick) == FILES
    assert not (stick / sorted(FILES)[0]).is_symlink()


# --- acknowledgements -----------------------------------------------------------------------------------------------


def test_an_acknowledgement_names_ranges() -> None:
    report = batchcheck.check(batchfiles.parsed(name, content) for name, content in FILES.items() if "3.g" not in name)
    ack = acknowledge.parse(acknowledge.make(report.chains, OFFICE, 0), OFFICE.key)
    assert [(one.first, one.last) for one in ack.received] == [(1, 2), (4, 4)]
    last = batch.from_file(FILES[sorted(FILES)[3]])
    assert ack.received[1].sha256 == batch.sha256(last.head)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\n\xff\n", b'{"format":"gerbang-ack/2"}\n00\n', b"[1]\n00"])
def test_another_file_is_no_acknowledgement(content: bytes) -> None:
    with pytest.raises(acknowledge.AckError):
        acknowledge.parse(content, OFFICE.key)


def test_only_the_office_can_acknowledge() -> None:
    report = batchcheck.check(batchfiles.parsed(name, content) for name, content in FILES.items())
    content = acknowledge.make(report.chains, sealing.new_office_secret(), 0)
    with pytest.raises(acknowledge.AckError, match="not signed by the office"):
        acknowledge.parse(content, OFFICE.key)
    content = acknowledge.make(report.chains, OFFICE, 0)
    with pytest.raises(acknowledge.AckError):
        acknowledge.parse(content.replace(b'"first":1', b'"first":2'), OFFICE.key)
