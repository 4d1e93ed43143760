"""Fetches files over lines that break, and goes on where one ended, also after a power cut.

It must not know what is in them.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

from portal.update import errors
from portal.update.errors import UpdateError

CHUNK: Final = 256 * 1024
BITS: Final = 8
TRIES: Final = 6
PAUSE_S: Final = 2.0  # doubled with each try that brought nothing
FETCH_S: Final = 60.0
PREFIX: Final = "coming-"
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def is_url(what: str) -> bool:
    """Is it fetched from somewhere, and not a file?"""
    return what.startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class Remote:
    """What a server says of a file: its size in bytes, and what changes when the file does (RFC 9110 8.8)."""

    size: int | None
    validator: str


class UrlSource:
    """What lies at an address, from its beginning to its end. A broken connection is gone on with where it ended
    (RFC 9110 14.2); a server that knows no ranges is read anew up to there. At most ``kbit`` are taken of the line,
    since nobody shapes what comes for the box itself; None: all of it.
    """

    def __init__(self, url: str, kbit: int | None = None, sleep: Callable[[float], object] = time.sleep) -> None:
        self._url, self._sleep = url, sleep
        self._s_per_byte = 0.0 if kbit is None else BITS / 1000 / kbit
        self._due_s = time.monotonic()
        self._at = 0
        self._response: Any = None
        self._remote: Remote | None = None

    def open(self) -> Remote:
        """Ask for it once: an address that is wrong is told at once. Raises UpdateError."""
        try:
            return self._opened()
        except (OSError, http.client.HTTPException, ValueError) as error:  # the last: it is no address at all
            raise self._failed(error) from None

    def read(self, size: int) -> bytes:
        """Exactly so many bytes. Raises UpdateError once nothing has come for minutes."""
        found, tries = bytearray(), 0
        while len(found) < size:
            before = len(found)
            problem: Exception = http.client.IncompleteRead(b"")
            try:
                if self._response is None:
                    self._opened()
                while len(found) < size and (data := self._response.read(min(CHUNK, size - len(found)))):
                    found += data
                    self._at += len(data)
                    self._pace(len(data))
            except (OSError, http.client.HTTPException) as error:
                if _is_refusal(error):
                    raise self._failed(error) from None
                problem = error
            if len(found) < size:
                self.close()
                tries = 0 if len(found) > before else tries + 1
                if tries >= TRIES:
                    raise self._failed(problem)
                self._sleep(PAUSE_S * 2**tries)
        return bytes(found)

    def skip(self, size: int) -> None:
        if size:
            self.close()
            self._at += size

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response = None

    def _pace(self, size: int) -> None:
        """Wait until so many bytes may have come. A slow stretch is not made up for by a fast one."""
        now_s = time.monotonic()
        self._due_s = max(self._due_s + size * self._s_per_byte, now_s)
        if self._due_s > now_s:
            self._sleep(self._due_s - now_s)

    def _opened(self) -> Remote:
        wanted = {"Range": f"bytes={self._at}-"} if self._at else {}
        request = urllib.request.Request(self._url, headers=wanted)  # noqa: S310 - see is_url
        response = urllib.request.urlopen(request, timeout=FETCH_S)  # noqa: S310
        first, remote = _described(response)
        if self._remote not in (None, remote) or first > self._at:
            response.close()
            message = f"{self._url} is not the file any more that it was a moment ago."
            raise UpdateError(errors.FETCH, message, "Try again: it is fetched anew.")
        left = self._at - first
        while left and (data := response.read(min(CHUNK, left))):
            left -= len(data)
            self._pace(len(data))
        self._response, self._remote = response, remote
        return remote

    def _failed(self, error: Exception) -> UpdateError:
        if _is_refusal(error):
            return UpdateError(errors.FETCH, f"{self._url}: {error.reason}.", "Check the address.")
        reason = "the connection ended too soon" if isinstance(error, http.client.IncompleteRead) else error
        message = f"{self._url} cannot be fetched: {reason}."
        return UpdateError(errors.FETCH, message, "Check address and line, and try again: what has come is kept.")


def _is_refusal(error: Exception) -> TypeGuard[urllib.error.HTTPError]:
    """Would the server say the same to another try?"""
    return isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500


def _described(response: Any) -> tuple[int, Remote]:
    """With which byte an answer begins, and of which file it is."""
    headers = response.headers
    first, size = 0, headers["Content-Length"]
    if response.status == http.client.PARTIAL_CONTENT:
        found = _RANGE.fullmatch((headers["Content-Range"] or "").strip())
        if found is None:
            raise http.client.HTTPException("the server does not say which part it sends")
        first, size = int(found[1]), found[2]
    told = int(size) if size is not None and size.isascii() and size.isdigit() else None
    return first, Remote(told, f"{headers['ETag']} {headers['Last-Modified']}")


def whole(
    url: str, folder: Path, room: Callable[[int, int], object], tell: Callable[[int], object], kbit: int | None = None
) -> Path:
    """Fetch a file into ``folder``, behind what an earlier try has brought of the same one, with at most ``kbit``.

    ``room`` is called with the file's bytes and with how many of them are here, and raises where it may not come;
    ``tell`` with percent. The file's name is made of address, size and validator, so that two files never become one;
    what others left goes. Raises UpdateError, OSError.
    """
    with contextlib.closing(UrlSource(url, kbit)) as source:
        remote = source.open()
        if remote.size is None:
            message = f"{url}: the server does not say how long the file is."
            raise UpdateError(errors.FETCH, message, "Take it from another server, or from a stick.")
        path = folder / f"{PREFIX}{hashlib.sha256(f'{url} {remote}'.encode()).hexdigest()[:32]}"
        forget(folder, path)
        with path.open("ab") as file:
            there = file.tell()
            room(remote.size, there)
            source.skip(there)
            while there < remote.size:
                tell(there * 100 // remote.size)
                there += file.write(source.read(min(CHUNK, remote.size - there)))
            os.fsync(file.fileno())
    return path


def forget(folder: Path, *but: Path) -> None:
    """Take away what earlier tries have left, but for what begins with the name of one of ``but``. Raises OSError."""
    for path in folder.glob(f"{PREFIX}*"):
        if not path.name.startswith(tuple(kept.name for kept in but)):
            remove(path)


def remove(path: Path) -> None:
    """Whatever lies there, or nothing; links are not followed. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
