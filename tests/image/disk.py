"""A copy of the image as a box has it: larger, with files on its FAT partition. It must not know QEMU."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
SPACE = Path("/var/tmp")  # where /tmp is RAM this is a disk
CARD_BYTES = 4 << 30  # the smallest card that a technician finds in a shop
SUPERBLOCK = 1024  # of ext4 within its partition; of its fields: when it was written last, as __le32
WRITTEN_AT = SUPERBLOCK + 0x30
_STICK_FIRST = 2048  # sector of a stick's only partition


@dataclass(frozen=True, slots=True)
class Partition:
    """One of the four of an MBR."""

    kind: int
    offset: int
    size: int


def partitions(path: Path) -> list[Partition]:
    """The partition table of a disk or an image; ValueError where there is none."""
    with path.open("rb") as file:
        sector = file.read(SECTOR)
    if sector[510:] != b"\x55\xaa":
        raise ValueError(f"{path} has no partition table (MBR)")
    found = []
    for at in range(446, 510, 16):
        kind, first, count = struct.unpack_from("<4xB3xII", sector, at)
        found.append(Partition(kind, first * SECTOR, count * SECTOR))
    return found


class Disk:
    """A sparse copy of ``image``, as a card of CARD_BYTES that it was written to.

    The file has no name: it goes with this process and with whoever it handed ``path`` to, SIGKILL or not.
    """

    def __init__(self, image: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=SPACE)  # noqa: SIM115 - closed by close()
        self.path = Path(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")
        subprocess.run(["cp", "--sparse=always", str(image), str(self.path)], check=True)
        os.truncate(self._file.fileno(), CARD_BYTES)

    def close(self) -> None:
        self._file.close()

    @property
    def _fat(self) -> str:
        return f"{self.path}@@{partitions(self.path)[0].offset}"

    def _mtools(self, *words: str, stdin: bytes | None = None) -> bytes:
        done = subprocess.run([*words], input=stdin, capture_output=True, check=False)
        if done.returncode != 0:
            raise FileNotFoundError(f"{' '.join(words)}: {done.stderr.decode().strip()}")
        return done.stdout

    def put(self, name: str, data: str | bytes) -> None:
        """Write a file of the FAT partition, as a technician's laptop does. The box must be off."""
        content = data.encode() if isinstance(data, str) else data
        self._mtools("mcopy", "-o", "-i", self._fat, "-", f"::{name}", stdin=content)

    def get(self, name: str) -> bytes:
        """A file of the FAT partition; FileNotFoundError without it."""
        return self._mtools("mcopy", "-n", "-i", self._fat, f"::{name}", "-")

    def delete(self, name: str) -> None:
        self._mtools("mdel", "-i", self._fat, f"::{name}")

    def tear_superblock(self) -> None:
        """Leave half of a write of ext4's superblock on the data partition: its checksum is of the other half.

        The box must be off.
        """
        at, file = partitions(self.path)[3].offset + WRITTEN_AT, self._file.fileno()
        (written,) = struct.unpack("<I", os.pread(file, 4, at))
        os.pwrite(file, struct.pack("<I", written + 1), at)

    def names(self) -> list[str]:
        """Names on the FAT partition's first level."""
        said = self._mtools("mdir", "-b", "-i", self._fat, "::").decode()
        return sorted(line.removeprefix("::/").rstrip("/") for line in said.splitlines() if line.startswith("::/"))

    def overwrite(self, partition: int, data: bytes, at: int = 0) -> None:
        """Damage partition ``partition`` (1 to 4), or put something there. The box must be off."""
        with self.path.open("r+b") as file:
            file.seek(partitions(self.path)[partition - 1].offset + at)
            file.write(data)


def make_stick(path: Path, *files: Path) -> None:
    """A USB stick as Windows formats it, one FAT32 partition, with these files in its topmost folder."""
    first = _STICK_FIRST
    size = sum(file.stat().st_size for file in files) + (64 << 20)
    sector = bytearray(SECTOR)
    struct.pack_into("<4xB3xII", sector, 446, 0x0C, first, size // SECTOR)
    sector[510:] = b"\x55\xaa"
    path.write_bytes(sector)
    os.truncate(path, first * SECTOR + size)
    fat = f"{path}@@{first * SECTOR}"
    subprocess.run(["mformat", "-F", "-i", fat, "-T", str(size // SECTOR), "-v", "FLASHDISK", "::"], check=True)
    subprocess.run(["mcopy", "-i", fat, *map(str, files), "::"], check=True)


def read_stick(path: Path, directory: Path) -> Path:
    """All files of a stick's topmost folder, copied into ``directory``, which is made."""
    directory.mkdir()
    fat = f"{path}@@{_STICK_FIRST * SECTOR}"
    subprocess.run(["mcopy", "-i", fat, "::*", str(directory)], check=True)
    return directory
