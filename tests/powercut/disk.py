"""A disk whose every write is recorded in its order, for tests that cut the power: a FUSE file that a loop device uses.

Run as ``python -m tests.powercut.disk MOUNTPOINT LOG BYTES`` it serves until it is unmounted. It knows no file system.

``disk`` in the mount point is the disk: each write to it, and each order to flush its cache, goes into LOG. A line that
is written to ``marks`` goes there too, so that what was promised to somebody stands among the writes that it rests on.
What is written to ``fault`` is what the disk does from then on: "write" refuses every write with an I/O error, as a
dying SD card does, and "none" is well again.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

DISK: Final = "disk"
MARKS: Final = "marks"
FAULT: Final = "fault"
WRITE: Final = 0
FLUSH: Final = 1
MARK: Final = 2
SECTOR_BYTES: Final = 512
_HEAD: Final = struct.Struct("<BQI")


class Record(NamedTuple):
    """``data`` is what was written at ``offset`` (WRITE), or a line (MARK)."""

    kind: int
    offset: int
    data: bytes


def records(log: Path) -> Iterator[Record]:
    """All that happened, in its order."""
    with log.open("rb") as file:
        while head := file.read(_HEAD.size):
            kind, offset, size = _HEAD.unpack(head)
            yield Record(kind, offset, file.read(size))


def serve(mountpoint: str, log: Path, size: int) -> None:
    import mfusepy

    image, out, faults = bytearray(size), log.open("wb", buffering=1 << 20), [b"none"]
    sizes = {f"/{DISK}": size, f"/{MARKS}": 0, f"/{FAULT}": 0}

    def note(kind: int, offset: int = 0, data: bytes = b"") -> None:
        out.write(_HEAD.pack(kind, offset, len(data)) + data)

    def refuse(number: int) -> None:
        raise mfusepy.FuseOSError(number)

    class Disk(mfusepy.Operations):  # type: ignore[misc, unused-ignore]
        use_ns = True

        def getattr(self, path: str, fi: Any = None) -> dict[str, int]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
            if path not in sizes:
                refuse(errno.ENOENT)
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": sizes[path]}

        def readdir(self, path: str, fi: Any) -> list[str]:
            return [".", "..", DISK, MARKS, FAULT]

        def open(self, path: str, fi: Any) -> int:
            fi.direct_io = path != f"/{DISK}"  # else the kernel cuts a line in two where its page ends
            return 0

        def truncate(self, path: str, length: int, fi: Any = None) -> None:
            if path == f"/{DISK}":
                refuse(errno.EPERM)

        def read(self, path: str, size: int, offset: int, fi: Any) -> bytes:
            return bytes(image[offset : offset + size]) if path == f"/{DISK}" else b""

        def write(self, path: str, data: bytes, offset: int, fi: Any) -> int:
            if path == f"/{MARKS}":
                note(MARK, 0, data)
            elif path == f"/{FAULT}":
                faults[0] = data.strip()
            elif faults[0] == b"write":
                refuse(errno.EIO)
            elif offset + len(data) > len(image):
                refuse(errno.ENOSPC)
            else:
                image[offset : offset + len(data)] = data
                note(WRITE, offset, data)
            return len(data)

        def fsync(self, path: str, datasync: int, fi: Any) -> None:
            if path == f"/{DISK}":
                note(FLUSH)

        def flush(self, path: str, fi: Any) -> None:
            """On closing; it says nothing of the disk's cache."""

        def destroy(self, path: str) -> None:
            out.close()

    # One thread: the log's order is the order in which the disk did it.
    mfusepy.FUSE(Disk(), mountpoint, foreground=True, nothreads=True, raw_fi=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)
