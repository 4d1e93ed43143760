"""An installation step by step with RAUC played: what is on the disk before, in between and after; and who may ask."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portal import listener
from portal.box import disks
from portal.paths import Paths
from portal.update import (
    asking,
    deltaapply,
    deltaformat,
    errors,
    facts,
    fetching,
    grub,
    installing,
    places,
    rauc,
    records,
    service,
    slot,
    state,
    stick,
    uploaded,
)
from portal.update.asking import Updates
from portal.update.errors import UpdateError
from portal.update.installing import Order
from portal.update.places import Places
from portal.update.rauc import Bundle
from portal.update.service import Service
from portal.update.state import Before, State

BEFORE = Before(serving=True, line_up=True)
SLOT_BYTES = 64 * 1024 * 1024
NAME = "gerbang-x86-0.3.0-1a2b3c4d.raucb"


class Rauc:
    """What RAUC says, and what it saw of the disk when it was asked to install."""

    def __init__(self) -> None:
        self.bundle = Bundle("gerbang-x86", "0.3.0")
        self.failure: UpdateError | None = None
        self.saw: list[State] = []

    def install(self, what: str, boot: Path, tell: Callable[[int, str], object], at: Places) -> None:
        self.saw.append(state.load(at.state))
        tell(40, "Checking bundle done.")
        if self.failure is not None:
            raise self.failure
        tell(100, "Installing done.")


@pytest.fixture
def at(tmp_path: Path) -> Places:
    found = Places(update=tmp_path / "update", boot=tmp_path, run=tmp_path / "run")
    found.incoming.mkdir(parents=True)
    state.save(found.state, State(proven="A"))
    return found


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, at: Places, paths: Paths) -> Rauc:
    found = Rauc()
    for name in ("a", "b"):
        with (at.boot / name).open("wb") as device:
            device.truncate(SLOT_BYTES)
    paths.site.write_text('[site]\ncode = "64.03.01.2001"\n')
    monkeypatch.setattr(places, "running_slot", lambda *_: "A")
    monkeypatch.setattr(places, "version", lambda *_: "0.2.0")
    monkeypatch.setattr(rauc, "system", lambda *_: rauc.System("gerbang-x86", {"A": at.boot / "a", "B": at.boot / "b"}))
    monkeypatch.setattr(rauc, "info", lambda _: found.bundle)
    monkeypatch.setattr(rauc, "install", lambda what, boot, tell: found.install(what, boot, tell, at))
    monkeypatch.setattr(facts, "before", lambda _: BEFORE)
    return found


def order(**changes: Any) -> Order:
    return Order(**{"what": f"/x/{NAME}", "by": "tono", "role": "technician", **changes})


def test_what_is_installed_is_on_trial_and_the_trial_was_known_first(at: Places, paths: Paths, played: Rauc) -> None:
    steps: list[tuple[int, str]] = []
    done = installing.install(at, paths, order(), lambda *step: steps.append(step))
    assert (done.slot, done.from_version, done.to_version) == ("B", "0.2.0", "0.3.0")
    (seen,) = played.saw
    assert seen.proven == "A" and seen.trial is not None and seen.trial.phase == "installing"
    known = state.load(at.state)
    assert known.proven == "A" and known.trial is not None
    assert (known.trial.slot, known.trial.phase, known.trial.by, known.trial.before) == (
        "B",
        "installed",
        "tono",
        BEFORE,
    )
    assert steps[-1] == (100, "Installing done.")
    told = installing.progress(at)
    assert told is not None and told["ended"] and told["error"] is None and told["to"] == "0.3.0"
    with sqlite3.connect(paths.database) as database:
        entry = database.execute("SELECT actor, role, action, after FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    assert entry[:3] == ("tono", "technician", "update.install")
    assert json.loads(entry[3]) == {"slot": "B", "from": "0.2.0", "to": "0.3.0", "force": False}


def test_a_terminal_that_goes_while_rauc_writes_leaves_it_writing(
    at: Places, paths: Paths, played: Rauc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def install(what: str, boot: Path, tell: Callable[[int, str], object]) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        tell(100, "Installing done.")

    monkeypatch.setattr(rauc, "install", install)
    assert installing.install(at, paths, order(), gone).slot == "B"
    trial = state.load(at.state).trial
    assert trial is not None and trial.phase == "installed"


def test_without_a_database_it_is_installed_too(at: Places, paths: Paths, played: Rauc) -> None:
    paths.database.unlink()
    assert installing.install(at, paths, order()).slot == "B" and played.saw


def test_what_rauc_refuses_leaves_no_trial_and_is_told(at: Places, paths: Paths, played: Rauc) -> None:
    played.failure = UpdateError(errors.INSTALL, "RAUC did not install it: no signature.", "")
    with pytest.raises(UpdateError):
        installing.install(at, paths, order())
    assert state.load(at.state) == State(proven="A")
    last = records.last(at)
    assert last is not None and (last.outcome, last.code, last.by) == ("failed", errors.INSTALL, "tono")
    told = installing.progress(at)
    assert told is not None and told["ended"] and told["error"]["code"] == errors.INSTALL


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p, at, _: setattr(p, "bundle", Bundle("gerbang-pi", "0.3.0")), errors.COMPATIBLE),
        (lambda p, at, _: setattr(p, "bundle", Bundle("gerbang-x86", "0.1.0")), errors.DOWNGRADE),
        (lambda p, at, _: setattr(p, "bundle", Bundle("gerbang-x86", "0.2.0")), errors.SAME),
        (lambda p, at, _: state.save(at.state, State(proven="B")), errors.TRIAL),
        (lambda p, at, patch: patch.setattr(places, "free_bytes", lambda _: 1000), errors.ROOM),
        (lambda p, at, patch: patch.setattr(places, "running_slot", lambda: None), errors.NO_BOX),
        (lambda p, at, patch: patch.setattr(disks, "has_twin", lambda: True), errors.TWIN),
    ],
)
def test_what_may_not_be_installed_is_refused_before_anything_is_written(
    at: Places, paths: Paths, played: Rauc, monkeypatch: pytest.MonkeyPatch, change: Any, code: str
) -> None:
    change(played, at, monkeypatch)
    before = state.load(at.state)
    with pytest.raises(UpdateError) as error:
        installing.install(at, paths, order())
    assert error.value.code == code and played.saw == [] and state.load(at.state) == before


def test_a_second_disk_that_came_in_while_the_bundle_was_fetched_is_seen(
    at: Places, paths: Paths, played: Rauc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours later RAUC could write to that one."""
    disks_in = iter([False, True])
    monkeypatch.setattr(disks, "has_twin", lambda: next(disks_in))
    before = state.load(at.state)
    with pytest.raises(UpdateError) as error:
        installing.install(at, paths, order())
    assert error.value.code == errors.TWIN and played.saw == [] and state.load(at.state) == before


URL = f"http://198.18.0.1/{NAME}?day=3"


@pytest.mark.parametrize(
    ("written", "half"),
    [("", None), ("[uplink]\ndown_kbit = 8000\nup_kbit = 2000\n", 4000), ("[uplink\n", None)],
)
def test_an_address_is_asked_what_it_has_before_that_is_fetched_and_again_after(
    at: Places, paths: Paths, played: Rauc, monkeypatch: pytest.MonkeyPatch, written: str, half: int | None
) -> None:
    paths.site.write_text(paths.site.read_text() + written)
    asked: list[str] = []
    steps: list[tuple[int, str]] = []

    def info(what: str) -> Bundle:
        asked.append(what)
        return played.bundle

    def whole(
        url: str, folder: Path, room: Callable[[int, int], object], tell: Callable[[int], object], kbit: int | None
    ) -> Path:
        assert asked == [url] and kbit == half
        room(SLOT_BYTES + SLOT_BYTES // 100, 0)  # with the hashes of what is in it
        with pytest.raises(UpdateError, match="slot") as error:
            room(SLOT_BYTES + SLOT_BYTES // 10, SLOT_BYTES)
        assert error.value.code == errors.BUNDLE
        with monkeypatch.context() as patch, pytest.raises(UpdateError, match="MB free"):
            patch.setattr(places, "free_bytes", lambda _: SLOT_BYTES)
            room(SLOT_BYTES, 0)
        tell(50)
        (folder / "coming-1").touch()
        return folder / "coming-1"

    monkeypatch.setattr(rauc, "info", info)
    monkeypatch.setattr(fetching, "whole", whole)
    assert installing.install(at, paths, order(what=URL), lambda *step: steps.append(step)).to_version == "0.3.0"
    assert asked == [URL, str(at.update / "coming-1")] and len(played.saw) == 1
    assert steps == [(0, "check"), (25, "fetch"), (70, "Checking bundle done."), (100, "Installing done.")]
    assert list(at.update.glob("coming-*")) == []
    told = installing.progress(at)
    assert told is not None and told["what"] == NAME


@pytest.mark.parametrize("version", ["0.2.0", "0.1.0"])
def test_what_an_address_should_not_give_is_not_fetched(
    at: Places, paths: Paths, played: Rauc, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    played.bundle = Bundle("gerbang-x86", version)
    monkeypatch.setattr(fetching, "whole", lambda *_: pytest.fail("it was fetched"))
    with pytest.raises(UpdateError) as error:
        installing.install(at, paths, order(what=URL))
    assert error.value.code in (errors.SAME, errors.DOWNGRADE) and played.saw == []


@pytest.mark.parametrize("there", [0, SLOT_BYTES])
def test_a_delta_of_more_than_a_slot_holds_is_not_begun(
    at: Places, paths: Paths, played: Rauc, monkeypatch: pytest.MonkeyPatch, there: int
) -> None:
    """Its head is not signed, and what it makes stays for the next try."""
    sums = {"old_sha256": "0" * 64, "new_sha256": "0" * 64}
    pieces = tuple(deltaformat.Piece(0, 0, 1, "0" * 64, "0" * 64) for _ in range(5))
    large = {"new_bytes": SLOT_BYTES + deltaformat.MAX_PIECE_BYTES, "piece_bytes": deltaformat.MAX_PIECE_BYTES}
    head = deltaformat.Head(old_bytes=0, pieces=pieces, **large, **sums)
    (at.boot / "gerbang-x.gdelta").write_bytes(deltaformat.pack(head))
    monkeypatch.setattr(deltaapply, "there", lambda _: there)
    monkeypatch.setattr(deltaapply, "rebuild", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(UpdateError, match="slot") as error:
        installing.install(at, paths, order(what=str(at.boot / "gerbang-x.gdelta")))
    assert error.value.code == errors.BUNDLE


def test_what_an_earlier_try_left_goes_with_the_next_installation(at: Places, paths: Paths, played: Rauc) -> None:
    for name in ("coming-1", "coming-rebuilt.raucb.part", "coming-upload-gerbang-x.raucb"):
        (at.update / name).touch()
    installing.install(at, paths, order(what=str(at.update / "coming-upload-gerbang-x.raucb")))
    assert [path.name for path in at.update.glob("coming-*")] == ["coming-upload-gerbang-x.raucb"]


def test_one_at_a_time(at: Places, paths: Paths, played: Rauc) -> None:
    with installing._locked(at), pytest.raises(UpdateError) as error:
        installing.install(at, paths, order())
    assert error.value.code == errors.BUSY and played.saw == [] and installing.progress(at) is None


def test_progress_of_a_process_that_is_gone_is_that_it_was_cut_off(at: Places) -> None:
    shown = installing.Progress(at, order())
    shown.tell(30, "Updating slots")
    told = installing.progress(at)
    assert told is not None and not told["ended"] and told["what"] == NAME
    at.progress.write_text(at.progress.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194305'))
    told = installing.progress(at)
    assert told is not None and told["ended"] and told["error"]["message"] == "It was cut off."


def test_history_is_kept_in_order_and_bounded(at: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "KEPT", 3)
    for number in range(5):
        told = state.Outcome(
            outcome="done", slot="B", from_version="0", to_version=str(number), by="tono", wall_s=float(number)
        )
        records.write(at, told)
        with at.history.open("a") as file:
            file.write('{"outcome": "to')  # a power cut
    assert [line["to_version"] for line in records.history(at)] == ["2", "3", "4"]
    last = records.last(at)
    assert last is not None and last.to_version == "4"


# --- the service ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(at: Places, paths: Paths, played: Rauc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Updates]:
    """The service on a socket of its own; it ends when nobody asks."""
    path = tmp_path / "update.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    thread = threading.Thread(target=Service(at, paths, frozenset({os.getuid()})).serve, args=(listening,))
    thread.start()
    yield Updates(path)
    listening.settimeout(0.05)  # from its next wait on
    Updates(path).state()
    thread.join(10)
    assert not thread.is_alive(), "it ends by itself"
    listening.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Children of the service, which are not started."""
    found: list[Any] = []

    class Child:
        over = False

        def __init__(self, command: Any, **_: Any) -> None:
            found.append((json.loads(command[-1]), self))

        def poll(self) -> int | None:
            return 0 if self.over else None

        def terminate(self) -> None:
            found.append("told")

        def wait(self) -> None:
            assert found[-1] == "told"
            self.over = True

    monkeypatch.setattr(subprocess, "Popen", Child)
    return found


@pytest.fixture
def terminated() -> Iterator[None]:
    """What happens on SIGTERM is as before afterwards, and ends no process of tests meanwhile."""
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("it would end at once"))
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("played", "terminated")
@pytest.mark.parametrize("working", [True, False])
def test_where_the_machine_goes_down_the_child_is_told_and_waited_for(
    at: Places, paths: Paths, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, working: bool
) -> None:
    at.run.mkdir()
    path, listening = tmp_path / "update.sock", socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def asked() -> None:
        if working:
            Updates(path).install("stick", NAME, "tono", "technician")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=asked)
    monkeypatch.setattr(listener, "inherited", lambda: listening)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.getpwuid(os.getuid()))
    monkeypatch.setattr(service, "Places", lambda: at)
    monkeypatch.setattr(service, "Paths", lambda: paths)
    serve = Service.serve

    def begun(self: Service, on: socket.socket) -> None:
        thread.start()
        serve(self, on)

    monkeypatch.setattr(Service, "serve", begun)
    with listening, pytest.raises(SystemExit) as end:
        service.main()
    thread.join(10)
    assert end.value.code == os.EX_OK
    assert started == ([started[0], "told"] if working else []) and (not working or started[0][1].over)


def test_state_is_told(ask: Updates) -> None:
    told = ask.state()
    assert (told["slot"], told["version"], told["proven"], told["trial"]) == ("A", "0.2.0", "A", None)


def test_an_upload_becomes_roots_own_before_a_child_reads_it(ask: Updates, at: Places, started: list[Any]) -> None:
    (at.incoming / NAME).write_bytes(b"bundle")
    ask.install("incoming", NAME, "tono", "technician", force=True)
    ((told, child),) = started
    assert told == {
        "from": "incoming",
        "name": NAME,
        "by": "tono",
        "role": "technician",
        "force": True,
    }
    own = at.update / f"coming-upload-{NAME}"
    assert own.read_bytes() == b"bundle" and own.stat().st_mode & 0o777 == 0o600 and list(at.incoming.iterdir()) == []
    for again in (lambda: ask.install("stick", NAME, "tono", "technician"), ask.sticks, lambda: ask.reboot("tono")):
        with pytest.raises(UpdateError) as error:
            again()
        assert error.value.code == errors.BUSY
    child.over = True
    ask.install("stick", NAME, "tono", "technician")
    assert started[1][0]["from"] == "stick" and started[1][0]["name"] == NAME
    started[1][1].over = True


@pytest.mark.parametrize("swap", ["directory", "link", "second name"])
def test_what_is_put_in_its_place_while_it_is_taken_is_not_taken(
    ask: Updates, at: Places, paths: Paths, started: list[Any], monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    """The directory is not root's: between any two calls there may be something else of that name."""
    (at.update / "secret").write_text("secret")
    (at.incoming / NAME).write_bytes(b"bundle")
    rename = os.rename

    def swapped(source: Any, target: Any, **named: Any) -> None:
        if source == NAME:
            (at.incoming / NAME).unlink()
            if swap == "directory":
                (at.incoming / NAME / "deeper").mkdir(parents=True)
                (at.incoming / NAME / "link").symlink_to(at.update)
            elif swap == "link":
                (at.incoming / NAME).symlink_to(at.update / "secret")
            else:
                (at.incoming / NAME).hardlink_to(at.update / "secret")
        rename(source, target, **named)

    with monkeypatch.context() as patch, pytest.raises(UpdateError) as error:
        patch.setattr(os, "rename", swapped)
        ask.install("incoming", NAME, "tono", "technician")
    assert error.value.code == errors.BUNDLE and started == []
    assert list(at.update.glob("coming-*")) == []
    secret = (at.update / "secret").stat()
    assert (secret.st_mode & 0o777, secret.st_uid, secret.st_nlink) == (0o644, os.getuid(), 1)
    assert installing.install(at, paths, order()).slot == "B", "it hinders no later one"


def test_what_a_cut_off_installation_took_is_on_the_page_again(ask: Updates, at: Places, started: list[Any]) -> None:
    """The power went, or the child was killed: nobody was left to give it back."""
    os.chown(at.incoming, 4711, 4712)
    (at.incoming / NAME).write_bytes(b"bundle")
    uploaded.take(at, NAME)
    (at.update / "coming-1").touch()  # it is gone on with
    (at.update / f"coming-upload-{NAME[:-6]}.gdelta" / "x").mkdir(parents=True)
    (at.update / "coming-upload-gerbang-y.raucb").symlink_to(at.state)
    ask.state()
    found = at.incoming / NAME
    assert found.read_bytes() == b"bundle" and (found.stat().st_uid, found.stat().st_gid) == (4711, 4712)
    assert list(at.incoming.iterdir()) == [found] and [path.name for path in at.update.glob("coming-*")] == ["coming-1"]

    ask.install("incoming", NAME, "tono", "technician")
    ask.state()
    assert not found.exists(), "an installation that goes on keeps it"
    started[0][1].over = True
    ask.state()
    assert found.exists()


def link(at: Places) -> None:
    (at.update / "secret").write_text("secret")
    (at.incoming / NAME).symlink_to(at.update / "secret")


def second_name(at: Places) -> None:
    (at.update / "secret").write_text("secret")
    (at.incoming / NAME).hardlink_to(at.update / "secret")


@pytest.mark.parametrize("trick", [link, second_name, lambda at: (at.incoming / NAME).mkdir(), lambda at: None])
def test_what_is_no_file_of_its_own_is_not_taken(
    ask: Updates, at: Places, started: list[Any], trick: Callable[[Places], None]
) -> None:
    trick(at)
    with pytest.raises(UpdateError) as error:
        ask.install("incoming", NAME, "tono", "technician")
    assert error.value.code == errors.BUNDLE and started == []
    with contextlib.suppress(FileNotFoundError):
        assert (at.update / "secret").stat().st_mode & 0o777 == 0o644


# --- the service's child --------------------------------------------------------------------------------------------


@pytest.fixture
def child(
    at: Places, paths: Paths, played: Rauc, terminated: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    monkeypatch.setattr(installing, "Places", lambda: at)
    monkeypatch.setattr(installing, "Paths", lambda: paths)

    def run(source: str, **changes: Any) -> int:
        told = {"from": source, "name": NAME, "by": "tono", "role": "technician", "force": False} | changes
        return installing.main(json.dumps(told))

    return run


@pytest.fixture
def handed(at: Places) -> Path:
    """An upload that was taken."""
    os.chown(at.incoming, 4711, 4712)
    (at.incoming / NAME).write_bytes(b"bundle")
    uploaded.take(at, NAME)
    assert list(at.incoming.iterdir()) == []
    return at.incoming / NAME


def test_an_upload_is_installed_under_its_own_name(at: Places, child: Callable[..., int], handed: Path) -> None:
    assert child("incoming") == 0
    told = installing.progress(at)
    assert told is not None and (told["what"], told["to"]) == (NAME, "0.3.0")
    assert not handed.exists() and list(at.update.glob("coming-*")) == []


def test_an_upload_that_needs_to_be_meant_is_there_again(
    at: Places, child: Callable[..., int], handed: Path, played: Rauc
) -> None:
    """Who is told to tick the box above the button finds both, and need not upload it again."""
    played.bundle = Bundle("gerbang-x86", "0.1.0")
    assert child("incoming") == os.EX_DATAERR
    told = installing.progress(at)
    assert told is not None and told["error"]["code"] == errors.DOWNGRADE
    found = handed.stat()
    assert (found.st_uid, found.st_gid) == (4711, 4712) and handed.read_bytes() == b"bundle"
    assert list(at.update.glob("coming-*")) == []
    uploaded.take(at, NAME)
    assert child("incoming", force=True) == 0


def test_an_upload_that_rauc_could_not_install_is_gone(
    at: Places, child: Callable[..., int], handed: Path, played: Rauc
) -> None:
    """It may be damaged behind its signature: kept, it would pass for the one that is uploaded again."""
    played.failure = UpdateError(errors.INSTALL, "RAUC did not install it: a block is damaged.", "")
    assert child("incoming") != 0
    assert not handed.exists() and list(at.update.glob("coming-*")) == []


def test_an_upload_that_a_full_disk_hindered_is_there_again(
    at: Places, child: Callable[..., int], handed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(state, "save", full)
    assert child("incoming") == os.EX_CANTCREAT
    told = installing.progress(at)
    assert told is not None and told["error"]["code"] == errors.ROOM
    assert handed.read_bytes() == b"bundle"


def test_where_the_machine_goes_down_the_child_ends_and_gives_the_upload_back(
    at: Places, child: Callable[..., int], handed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rauc, "info", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as end:
        child("incoming")
    assert end.value.code == os.EX_TEMPFAIL and state.load(at.state) == State(proven="A")
    assert handed.read_bytes() == b"bundle" and list(at.update.glob("coming-*")) == []


def test_where_the_machine_goes_down_what_rauc_has_begun_is_ended_and_written_down(
    at: Places, paths: Paths, child: Callable[..., int], handed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rauc, "install", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert child("incoming") == os.EX_OK
    trial = state.load(at.state).trial
    assert trial is not None and trial.phase == "installed" and not handed.exists()
    with sqlite3.connect(paths.database) as database:
        assert database.execute("SELECT action FROM audit ORDER BY id DESC LIMIT 1").fetchone() == ("update.install",)


def test_an_upload_that_is_no_good_is_gone(at: Places, child: Callable[..., int], handed: Path, played: Rauc) -> None:
    played.bundle = Bundle("gerbang-pi", "0.3.0")
    assert child("incoming") == os.EX_DATAERR
    assert not handed.exists() and list(at.update.glob("coming-*")) == []


def test_what_cannot_be_given_back_is_gone(at: Places, child: Callable[..., int], handed: Path, played: Rauc) -> None:
    played.failure = UpdateError(errors.RAUC, "no", "")
    at.incoming.rmdir()
    at.incoming.symlink_to(at.boot)
    assert child("incoming") != 0
    assert not (at.boot / NAME).exists() and list(at.update.glob("coming-*")) == []


def test_a_stick_that_was_pulled_is_told_on_the_page(
    at: Places, child: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when somebody looked; the installation never began."""

    @contextlib.contextmanager
    def mounted(where: Path, name: str) -> Iterator[Path]:
        raise UpdateError(errors.NO_STICK, f"No stick has {name}.", "")
        yield where

    monkeypatch.setattr(stick, "mounted", mounted)
    assert child("stick") == os.EX_NOINPUT
    told = installing.progress(at)
    assert told is not None and told["ended"] and told["error"]["code"] == errors.NO_STICK


def test_the_child_leaves_the_progress_of_another_installation_alone(
    at: Places, child: Callable[..., int], handed: Path
) -> None:
    other = installing.Progress(at, order(by="budi"))
    with installing._locked(at):
        assert child("incoming") == os.EX_TEMPFAIL
    told = installing.progress(at)
    assert told is not None and told["by"] == "budi" and not told["ended"] and handed.exists()
    other.end()


@pytest.mark.parametrize(("source", "name"), [("stick", "../x.raucb"), ("elsewhere", NAME), ("incoming", "x")])
def test_other_wishes_are_refused(ask: Updates, started: list[Any], source: str, name: str) -> None:
    with pytest.raises(UpdateError) as error:
        ask.install(source, name, "tono", "technician")
    assert error.value.code == errors.REQUEST and started == []


def test_sticks_are_looked_at_and_the_box_restarts_when_asked(ask: Updates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stick, "offered", lambda _: [stick.Found(NAME, 5, "/dev/sdb1")])
    restarts: list[bool] = []
    monkeypatch.setattr(service, "restart", lambda: restarts.append(True))
    assert ask.sticks() == [{"name": NAME, "bytes": 5, "device": "/dev/sdb1"}]
    ask.reboot("tono")
    assert restarts == [True]


def test_who_is_not_named_may_not_even_look(
    at: Places, paths: Paths, played: Rauc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:

        class Stranger:
            """The guest pages' user at the other end."""

            def __getattr__(self, name: str) -> Any:
                return getattr(ours, name)

            def getsockopt(self, *_: Any) -> bytes:
                return service.PEERCRED.pack(1, 4711, 4711)

        theirs.sendall(b'{"verb": "state"}\n')
        Service(at, paths, frozenset({33}))._answer(Stranger())  # type: ignore[arg-type]
        assert json.loads(theirs.recv(65536))["error"]["code"] == errors.DENIED


@pytest.mark.parametrize("text", [b"\n", b"[]\n", b"{\n", b'{"verb": 3}\n', b"[" * 50_000 + b"\n"])
def test_noise_is_answered_and_the_service_goes_on(ask: Updates, text: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(ask._path))
        raw.sendall(text)
        assert json.loads(raw.recv(65536))["error"]["code"] == errors.REQUEST
    assert ask.state()["slot"] == "A"


def test_where_nobody_listens_it_is_no_box(tmp_path: Path) -> None:
    with pytest.raises(UpdateError) as error:
        Updates(tmp_path / "none").state()
    assert error.value.code == errors.UNREACHABLE and asking.SOCKET.name == "gerbang-update.sock"


def test_what_is_told_of_an_update_again_with_more_in_it_is_one_line_of_the_history(at: Places) -> None:
    """An older slot knows only once it serves what its older database lacks."""
    back = state.Outcome(outcome="back", slot="B", from_version="2", to_version="3", by="", wall_s=7.25, code="hang")
    records.write(at, back)
    records.write(at, msgspec.structs.replace(back, lost={"sessions": 4}))
    assert [line["lost"] for line in records.history(at)] == [{"sessions": 4}]
    records.write(at, msgspec.structs.replace(back, wall_s=8.5))
    assert len(records.history(at)) == 2


# --- early in a boot, and the deadline ------------------------------------------------------------------------------


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch, at: Places) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(grub, "mark", lambda how, which, _: found.append((how, which)))
    monkeypatch.setattr(slot, "restart", lambda: found.append("restart"))
    monkeypatch.setattr(slot, "make_directories", lambda _: None)
    monkeypatch.setattr(slot, "say", found.append)
    return found


def test_a_proven_slot_is_marked_at_once_while_the_gateway_starts(at: Places, marks: list[Any]) -> None:
    slot.begin(at, "A", "0.2.0", lambda: marks.append("known"))
    assert marks == ["known", ("good", "A")] and state.load(at.state) == State(proven="A", unready=1)


def test_an_update_that_came_back_is_told_and_never_tried_again(at: Places, marks: list[Any]) -> None:
    trial = state.Trial(slot="B", version="0.3.0", before_version="0.2.0", by="", role="", wall_s=0, phase="installed")
    state.save(at.state, State(proven="A", trial=trial))
    slot.begin(at, "A", "0.2.0", lambda: marks.append("known"))
    assert marks[0].startswith("update back slot=A") and marks[1:] == ["known", ("bad", "B"), ("good", "A")]
    last = records.last(at)
    assert last is not None and last.code == "not-started"


def test_a_slot_that_only_stepped_in_goes_back(at: Places, marks: list[Any]) -> None:
    state.save(at.state, State(proven="B"))
    slot.begin(at, "A", "0.2.0", lambda: marks.append("known"))
    assert marks[1:] == [("active", "B"), "restart"]
    assert "known" not in marks, "the gateway would start with the wrong slot's program"


def test_what_cannot_be_marked_restarts_all_the_same_and_does_not_serve(
    at: Places, marks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that only stepped in must not serve: it would go back to an older database. Each start is counted."""

    def refuse(*_: object) -> None:
        raise UpdateError(errors.MARK, "The card cannot be written.", "")

    state.save(at.state, State(proven="B"))
    monkeypatch.setattr(grub, "mark", refuse)
    slot.begin(at, "A", "0.2.0", lambda: marks.append("known"))
    assert marks[-1] == "restart" and "known" not in marks
    assert state.load(at.state) == State(proven="B", unready=1)


def test_a_box_without_its_data_disk_tries_the_other_slot_once(at: Places, marks: list[Any], tmp_path: Path) -> None:
    gone = Places(update=tmp_path / "no-disk", boot=tmp_path)
    block = "# GRUB Environment Block\nORDER=A B\nA_OK=1\nA_TRY={}\nB_OK=1\nB_TRY={}\n####"
    (tmp_path / grub.NAME).write_text(block.format(1, 0))
    assert slot.deadline(gone, "A") == slot.GIVEN_UP
    (tmp_path / grub.NAME).write_text(block.format(1, 1))
    assert slot.deadline(gone, "B") == os.EX_OK
    (tmp_path / grub.NAME).unlink()
    assert slot.deadline(gone, "A") == os.EX_OK, "it would restart for ever"


def test_the_deadline_gives_up_only_a_trial(at: Places, marks: list[Any]) -> None:
    assert slot.deadline(at, "A") == os.EX_OK and marks == []
    trial = state.Trial(slot="A", version="0.3.0", before_version="0.2.0", by="", role="", wall_s=0, phase="installed")
    state.save(at.state, State(proven="B", trial=trial))
    assert slot.deadline(at, "A") == slot.GIVEN_UP
    known = state.load(at.state)
    assert known.trial is not None and known.trial.failure == "hang"
