"""What GRUB is told: the words of its variables, where they lie, and what is said when that cannot be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portal.box import commands, firmware
from portal.box.commands import CommandError
from portal.update import errors, grub
from portal.update.errors import UpdateError

BOOT = Path("/boot/firmware")
CONFIG = Path(__file__).parents[3] / "image/boot/grub.cfg"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in its order."""
    found: list[str] = []

    @contextmanager
    def writable(path: Path) -> Iterator[None]:
        found.append(f"{path} can be written")
        yield
        found.append(f"{path} cannot be written")

    monkeypatch.setattr(firmware, "writable", writable)
    monkeypatch.setattr(commands, "run", lambda *command, **_: found.append(" ".join(command)) or "")
    return found


@pytest.mark.parametrize(
    ("how", "slot", "told"),
    [
        ("good", "A", "A_OK=1 A_TRY=0"),
        ("bad", "B", "B_OK=0 B_TRY=0"),
        ("active", "A", "A_OK=1 A_TRY=0 ORDER=A B"),
        ("active", "B", "B_OK=1 B_TRY=0 ORDER=B A"),
    ],
)
def test_a_mark_is_one_write_in_words_that_grub_reads(done: list[str], how: grub.How, slot: str, told: str) -> None:
    grub.mark(how, slot, BOOT)
    assert done == [
        "/boot/firmware can be written",
        f"/usr/local/bin/grub-editenv /boot/firmware/grubenv set {told}",
        "/boot/firmware cannot be written",
    ]
    read = next(line for line in CONFIG.read_text().splitlines() if line.startswith("load_env"))
    assert {word.partition("=")[0] for word in grub.variables(how, slot)} <= set(read.split())


def test_what_cannot_be_marked_is_one_sentence(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise CommandError("`grub-editenv` ended with status 1 and said: nothing")

    monkeypatch.setattr(commands, "run", fail)
    with pytest.raises(UpdateError, match=r"^Slot A cannot be marked good: `grub-editenv` ended") as error:
        grub.mark("good", "A", BOOT)
    assert error.value.code == errors.MARK and done == ["/boot/firmware can be written"]


def test_a_boot_partition_that_stays_read_only_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def writable(_: Path) -> Iterator[None]:
        raise CommandError("`mount` ended with status 32 and said: write-protected")
        yield

    monkeypatch.setattr(firmware, "writable", writable)
    with pytest.raises(UpdateError, match=r"^/boot/firmware cannot be made writable: `mount` ended") as error:
        grub.mark("bad", "B", BOOT)
    assert error.value.code == errors.MARK
