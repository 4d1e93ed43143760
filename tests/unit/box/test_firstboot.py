"""A first boot makes everything once, and is right after a power cut at any step; later boots change nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portal.box import commands, firstboot
from portal.box.commands import CommandError
from portal.box.places import Places


class PowerCut(BaseException):
    """The power went. No Exception, so that nothing tidies up as if it had noticed."""


class Machine:
    """Counts what could be cut off, and cuts the power at one of it. ssh-keygen is played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cut_at: int | None = None) -> None:
        self.steps = 0
        self.cut_at = cut_at
        self.commands: list[tuple[str, ...]] = []
        self.grown = 0
        fsync, rename, symlink = os.fsync, Path.rename, Path.symlink_to

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def step(*args: Any, **more: Any) -> Any:
                self.step()
                return call(*args, **more)

            return step

        monkeypatch.setattr(os, "fsync", counted(fsync))
        monkeypatch.setattr(os, "sync", self.step)
        monkeypatch.setattr(Path, "rename", counted(rename))
        monkeypatch.setattr(Path, "symlink_to", counted(symlink))
        monkeypatch.setattr(commands, "run", self.run)

    def step(self) -> None:
        if self.steps == self.cut_at:
            raise PowerCut
        self.steps += 1

    def run(self, *command: str, **_more: Any) -> str:
        self.step()
        self.commands.append(command)
        assert command[0] == "ssh-keygen"
        path = Path(command[-1])
        assert not path.exists()  # it would ask whether to overwrite, and nobody answers
        path.write_text(f"private {len(self.commands)}")
        path.chmod(0o600)
        self.step()
        Path(f"{path}.pub").write_text(f"public {len(self.commands)}")
        return ""

    def grow(self, _data: Path) -> None:
        self.step()
        self.grown += 1


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "etc/ssh").mkdir(parents=True)
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "data").mkdir()
    return Places(tmp_path)


def boot(places: Places, machine: Machine) -> None:
    firstboot.first_boot(places, machine.grow)
    firstboot.each_boot(places)


def made(places: Places) -> dict[str, bytes]:
    return {str(p.relative_to(places.root)): p.read_bytes() for p in places.data.rglob("*") if p.is_file()}


def check(places: Places) -> None:
    assert (places.identity / "secret.key").stat().st_size == 32
    assert len((places.identity / "device-uuid").read_text()) == 37
    private, public = (places.ssh / name for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"))
    assert private.read_text().split()[1] == public.read_text().split()[1]
    for secret in (private, places.identity / "secret.key", places.identity / "device-uuid"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    for closed in (places.ssh, places.identity):
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert places.made.exists()
    assert (places.root / "etc/ssh/ssh_host_ed25519_key").readlink() == private
    assert (places.root / "etc/machine-id").read_bytes() == (places.identity / "machine-id").read_bytes()
    assert not [path for path in places.data.rglob(".*") if path.is_file()], "a leftover"


def test_a_first_boot_makes_all_and_the_second_writes_nothing(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    boot(places, machine)
    check(places)
    assert machine.grown == 1
    before, steps = made(places), machine.steps
    boot(places, machine)
    assert made(places) == before
    assert (machine.steps, machine.grown) == (steps, 1)


def test_each_boot_has_the_same_machine_id(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    boot(places, Machine(monkeypatch))
    (places.root / "etc/machine-id").write_text("f" * 32 + "\n")  # the next boot's overlay has a new one
    (places.root / "etc/ssh/ssh_host_ed25519_key").unlink()
    boot(places, Machine(monkeypatch))
    assert (places.root / "etc/machine-id").read_text() == "0123456789abcdef0123456789abcdef\n"
    check(places)


def test_a_machine_that_systemd_gave_no_id_gets_one(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    (places.root / "etc/machine-id").write_text("uninitialized\n")
    boot(places, Machine(monkeypatch))
    check(places)
    assert firstboot._is_machine_id(places.root / "etc/machine-id")


def test_after_a_power_cut_at_any_step_the_next_boot_makes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, cuts = True, 0
    while cut:
        root = tmp_path / f"cut-{cuts}"
        (root / "etc/ssh").mkdir(parents=True)
        (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        (root / "data").mkdir()
        places = Places(root)
        with monkeypatch.context() as first:
            try:
                boot(places, Machine(first, cut_at=cuts))
                cut = False
            except PowerCut:
                cuts += 1
        whole = {name: data for name, data in made(places).items() if "/." not in name}
        marked = places.made.exists()
        with monkeypatch.context() as second:
            machine = Machine(second)
            boot(places, machine)
        check(places)
        after = made(places)
        for name, data in whole.items():
            if not name.endswith(".pub") or "data/ssh/ssh_host_ed25519_key" in whole:
                assert after[name] == data, f"{name} was made again after it had its place"
        assert machine.grown == (0 if marked else 1)
    assert cuts > 15


def test_a_secret_that_is_too_short_is_made_again(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    boot(places, Machine(monkeypatch))
    (places.identity / "secret.key").write_bytes(b"")
    (places.identity / "device-uuid").write_bytes(b"")
    boot(places, Machine(monkeypatch))
    check(places)


@pytest.mark.parametrize("name", ["device-uuid", "secret.key", "machine-id"])
@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", bytes(37)], ids=["empty", "no text", "zeros"])
def test_a_damaged_file_of_this_device_is_made_anew(
    places: Places, monkeypatch: pytest.MonkeyPatch, name: str, damage: bytes
) -> None:
    boot(places, Machine(monkeypatch))
    (places.identity / name).chmod(0o600)
    (places.identity / name).write_bytes(damage)
    boot(places, Machine(monkeypatch))
    check(places)
    assert firstboot._is_machine_id(places.identity / "machine-id")


def test_a_disk_that_does_not_grow_is_said_tried_again_and_keeps_nobody_offline(
    places: Places, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(_data: Path) -> None:
        raise CommandError("`resize2fs /dev/sda4` ended with status 1 and said: no")

    machine = Machine(monkeypatch)
    firstboot.first_boot(places, refused)
    assert "resize2fs" in capfd.readouterr().err
    assert not places.made.exists()
    boot(places, machine)
    check(places)
    assert machine.grown == 1


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("/dev/sda4", ("/dev/sda", "4")),
        ("/dev/vda4", ("/dev/vda", "4")),
        ("/dev/mmcblk0p4", ("/dev/mmcblk0", "4")),
        ("/dev/nvme0n1p4", ("/dev/nvme0n1", "4")),
    ],
)
def test_partitions_are_told_from_disks(device: str, found: tuple[str, str]) -> None:
    assert firstboot.partition(device) == found


def test_no_partition_is_no_guess() -> None:
    for device in ("/dev/mapper/data", "tmpfs", "/dev/sda", "/dev/loop0"):
        with pytest.raises(CommandError, match="no partition"):
            firstboot.partition(device)
