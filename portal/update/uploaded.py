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

from portal.update import errors
from portal.update.errors import UpdateError
from portal.update.fetching import PREFIX
from portal.update.places import Places

NO_GOOD: Final = frozenset({errors.BUNDLE, errors.COMPATIBLE, errors.DELTA, errors.DELTA_SLOT, errors.INSTALL})
"""It will never be installed here, or may be damaged, and would pass for the same file uploaded again. What failed for
another reason can be installed, once that is away or the force is meant."""


def take(at: Places, name: str) -> None:
    """The uploaded file is root's own from here on. Raises UpdateError.

    The directory is the staff pages' user's, who could put a link there, or write on while RAUC reads: a link is not
    followed, and RAUC takes no file that somebody else has open for writing (its exclusive check asks for a lease).
    """
    again = "Upload it again."
    try:
        with _folder(at) as folder:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                    raise UpdateError(errors.BUNDLE, f"{name} is no file of its own.", again)
                os.fchown(file, 0, 0)
                os.fchmod(file, 0o600)
            finally:
                os.close(file)
            os.rename(name, _own(at, name), src_dir_fd=folder)
    except OSError as error:
        raise UpdateError(errors.BUNDLE, f"{name} was not uploaded whole: {error.strerror}.", again) from None


@contextlib.contextmanager
def taken(at: Places, name: str) -> Iterator[Path]:
    """Where ``take`` has put it. Afterwards it is gone, or, where it may still be installed, what it was before."""
    own = _own(at, name)
    try:
        yield own
    except UpdateError as error:
        if error.code not in NO_GOOD:
            _give_back(at, own, name)
        raise
    finally:
        own.unlink(missing_ok=True)


def _give_back(at: Places, own: Path, name: str) -> None:
    with contextlib.suppress(OSError), _folder(at) as folder:
        to = os.fstat(folder)
        os.chown(own, to.st_uid, to.st_gid, follow_symlinks=False)
        os.rename(own, name, dst_dir_fd=folder)


def _own(at: Places, name: str) -> Path:
    return at.update / f"{PREFIX}upload{Path(name).suffix}"


@contextlib.contextmanager
def _folder(at: Places) -> Iterator[int]:
    folder = os.open(at.incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)
