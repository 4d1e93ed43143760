"""Files are replaced whole or not at all, with the rights that they shall have from their first moment on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from portal import programs, wholefile


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "orders.json"
    wholefile.write(target, b"one")
    wholefile.write(target, b"two")
    assert (target.read_bytes(), mode(target)) == (b"two", 0o644)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("broken", ["fsync", "fchmod", "fchown"])
def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    target = tmp_path / "site.toml"
    wholefile.write(target, b"old", 0o600)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, broken, refuse)
        with pytest.raises(OSError, match="No space left"):
            wholefile.write(target, b"new", owner=(os.getuid(), os.getgid()))
    assert (target.read_bytes(), mode(target)) == (b"old", 0o600)
    assert list(tmp_path.iterdir()) == [target]


def test_rights_do_not_follow_the_umask_and_are_never_wider_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    chown = os.fchown

    def watch(descriptor: int, uid: int, gid: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        chown(descriptor, uid, gid)

    monkeypatch.setattr(os, "fchown", watch)
    before = os.umask(0)
    try:
        wholefile.write(tmp_path / "open", b"", 0o666, (os.getuid(), os.getgid()))
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert mode(tmp_path / "open") == 0o666


def test_who_names_no_owner_needs_no_right_to_give_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd refuses chown(2) to guest pages and meter (`~@privileged`), and they write the database's marker."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in ("fchown", "chown", "lchown"):
        monkeypatch.setattr(os, name, refuse)
    wholefile.write(tmp_path / "gerbang.db.epoch", b"one")
    assert (tmp_path / "gerbang.db.epoch").read_bytes() == b"one"


def test_a_link_that_lies_there_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "site.toml"
    victim.write_bytes(b"untouched")
    for name in (link, tmp_path / f".site.toml.{os.getpid()}.new"):
        name.symlink_to(victim)
    wholefile.write(link, b"ours")
    assert victim.read_bytes() == b"untouched"
    assert link.read_bytes() == b"ours" and not link.is_symlink()


def test_of_what_the_processes_read_only_site_toml_is_kept_from_others(tmp_path: Path) -> None:
    for name in programs.CONFIGURATIONS:
        programs.put(tmp_path, name, "text", os.getgid())
    assert {name: mode(tmp_path / name) & 0o007 for name in programs.CONFIGURATIONS} == {
        **dict.fromkeys(programs.CONFIGURATIONS, 0o004),
        "site.toml": 0,
    }
