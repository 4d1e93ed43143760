"""Gives up root, for good or for a while, and ties a child's life to its parent's. It must not know what for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path

PORTAL_USER = "gerbang"
STAFF_USER = "gerbang-staff"
"""Of the portal's group: the staff pages share the database with the guest pages, and nothing else."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38


class PrivilegeError(Exception):
    """A user is missing or the kernel refuses: ``message`` says which, ``hint`` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint


def account(user: str) -> pwd.struct_passwd:
    """The system's entry for ``user``; PrivilegeError says how to make one that is missing."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        group = f"--gid {PORTAL_USER}" if user == STAFF_USER else "--user-group"
        raise PrivilegeError(
            f"There is no user {user} on this machine.",
            f"Make it: useradd --system {group} --no-create-home --shell /usr/sbin/nologin {user}",
        ) from None


def drop(user: str, parent: int | None = None) -> None:
    """Become ``user`` without any way back: groups, ids, no_new_privs, umask 027. Does nothing for ids held already.

    Files that the process still needs must be open or loaded before. ``parent``: the process whose end this one must
    not outlive; it then gets SIGTERM. That is asked for last, because the kernel forgets it whenever ids change.
    Raises PrivilegeError where something is refused.
    """
    entry = account(user)
    if entry.pw_uid == 0:
        raise PrivilegeError(f"{user} is root; the portal must not run as root.", "Use --user gerbang.")
    if os.getresuid() != (entry.pw_uid,) * 3:
        if os.geteuid() != 0:
            raise PrivilegeError(f"Only root can become {user}.", "Start it with sudo.")
        os.setgroups([])
        os.setresgid(*(entry.pw_gid,) * 3)
        os.setresuid(*(entry.pw_uid,) * 3)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o027)
    if parent is not None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the kernel was asked, so no signal will come
            os.kill(os.getpid(), signal.SIGTERM)


def credential(name: str, path: str) -> str:
    """Where to read what stands at ``path``: systemd may have read it as root and put it there for this process alone,
    under ``name`` (LoadCredential, systemd.exec(5))."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    given = Path(directory) / name if directory else None
    return str(given) if given is not None and given.exists() else path


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        error = os.strerror(ctypes.get_errno())
        raise PrivilegeError(
            f"The kernel refused prctl({option}): {error}.", "A Linux kernel of version 3.5 or later is needed."
        )


@contextlib.contextmanager
def as_owner_of(directory: Path) -> Iterator[None]:
    """For a while, root works with no more rights than the user who owns ``directory``; others as they are.

    So a link that this user put there leads root nowhere, and what is made there is theirs. It is not for good, unlike
    ``drop``: load before what the source tree may hide from them, and call it before any thread is started.
    """
    owner = directory.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
