"""Takes an uploaded file from the staff pages' user for an installation, and gives it back where that did not use it.

It must not know what is in it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from portal.update import errors, fetching, offer
from portal.update.errors import UpdateError
from portal.update.places import Places

PREFIX: Final = f"{fetching.PREFIX}upload-"
NO_GOOD: Final = frozenset({errors.BUNDLE, errors.COMPATIBLE, errors.DELTA, errors.DELTA_SLOT, errors.INSTALL})
"""It will never be installed here, or may be damaged, and would pass for the same file uploaded again. What failed for
another reason can be installed, once that is away or the force is meant."""


def take(at: Places, name: str) -> None:
    """The uploaded file is root's own from here on. Raises UpdateError.

    The directory is the staff pages' user's, who could put anything there at any time, or write on while RAUC reads. So
    it is moved first, and looked at where nobody else can change what a name means; and RAUC takes no file that
    somebody else has open for writing (its exclusive check asks for a lease).
    """
    own, again = _own(at, name), "Upload it again."
    try:
        with _folder(at) as folder:
            os.rename(name, own, src_dir_fd=folder)
        if not _is_file_of_its_own(own):
            fetching.remove(own)
            raise UpdateError(errors.BUNDLE, f"{name} is no file of its own.", again)
        os.chown(own, 0, 0, follow_symlinks=False)
        own.chmod(0o600)
    except OSError as error:
        raise UpdateError(errors.BUNDLE, f"{name} was not uploaded whole: {error.strerror}.", again) from None


@contextlib.contextmanager
def taken(at: Places, name: str) -> Iterator[Path]:
    """Where ``take`` has put it. Afterwards it is gone, or, where it may still be installed, what it was before."""
    own = _own(at, name)
    try:
        yield own
    except BaseException as error:
        if not isinstance(error, UpdateError) or error.code not in NO_GOOD:
            _give_back(at, own)
        raise
    finally:
        fetching.remove(own)


def give_back_left(at: Places) -> None:
    """What was taken for an installation that was cut off (a power cut, a kill) is what it was before. Only for where
    none is being made."""
    for own in at.update.glob(f"{PREFIX}*"):
        _give_back(at, own)
        with contextlib.suppress(OSError):
            fetching.remove(own)


def _give_back(at: Places, own: Path) -> None:
    name = own.name.removeprefix(PREFIX)
    with contextlib.suppress(OSError), _folder(at) as folder:
        if offer.is_name(name) and _is_file_of_its_own(own):
            to = os.fstat(folder)
            os.chown(own, to.st_uid, to.st_gid, follow_symlinks=False)
            os.rename(own, name, dst_dir_fd=folder)


def _is_file_of_its_own(path: Path) -> bool:
    """Neither a link nor a second name of something that must not change hands."""
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _own(at: Places, name: str) -> Path:
    return at.update / f"{PREFIX}{name}"


@contextlib.contextmanager
def _folder(at: Places) -> Iterator[int]:
    folder = os.open(at.incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)
