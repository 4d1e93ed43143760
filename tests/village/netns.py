"""Anonymous network namespaces: made, entered and forgotten; nothing of them outlives this process, SIGKILL or not.

It must not know what a phone, a gateway or an Internet is.

A namespace here has no name below /run/netns. It lives as long as a file descriptor of this process, a socket or a
process inside it does. One long-lived thread enters namespaces (setns(2) moves one thread only), so the main thread
never leaves home, whatever interrupts it. Children are started from that thread as well: PR_SET_PDEATHSIG (prctl(2))
fires when the *thread* that forked ends, and this one ends with the process.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import queue
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x200, 0x20000, 0x40000000  # include/uapi/linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def in_mount_namespace(path: str, job: Callable[[], T]) -> T:
    """Run ``job`` in a thread of its own that sees the file systems of the mount namespace file ``path``."""
    future: Future[T] = Future()

    def inside() -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _checked(_libc.unshare(CLONE_FS), "unshare")  # root and working directory of this thread alone
                _checked(_libc.setns(fd, CLONE_NEWNS), "setns")
            finally:
                os.close(fd)
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    return future.result()


class _Keeper(threading.Thread):
    """The one thread that enters namespaces. Jobs are short: creating sockets, starting processes, netlink messages."""

    def __init__(self) -> None:
        super().__init__(name="netns-keeper", daemon=True)
        self._jobs: queue.SimpleQueue[tuple[int | None, Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._pid = os.getpid()
        self.start()

    def run(self) -> None:
        inside: int | None = None
        while True:
            fd, job, future = self._jobs.get()
            try:
                if fd is not None and fd != inside:
                    _checked(_libc.setns(fd, CLONE_NEWNET), "setns")
                result = job()
                inside = fd  # None after unshare: the next job enters its own again
                future.set_result(result)
            except BaseException as error:
                inside = None
                future.set_exception(error)
            del job, future

    def call(self, fd: int | None, job: Callable[[], T]) -> T:
        if threading.current_thread() is self:
            raise RuntimeError("a job inside a namespace cannot start another one")
        future: Future[T] = Future()
        self._jobs.put((fd, job, future))
        return future.result()


_keeper: _Keeper | None = None
_keeper_lock = threading.Lock()


def keeper() -> _Keeper:
    """The keeper thread of this process (a forked child gets its own)."""
    global _keeper  # noqa: PLW0603
    with _keeper_lock:
        if _keeper is None or _keeper._pid != os.getpid():
            _keeper = _Keeper()
        return _keeper


def _unshare() -> int:
    _checked(_libc.unshare(CLONE_NEWNET), "unshare (this needs root)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:  # SIOCSIFFLAGS, netdevice(7): lo up
        fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Namespace:
    """One network namespace with ``lo`` up. ``inode`` is what /proc/PID/ns/net of a process inside it shows."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.fd = keeper().call(None, _unshare)
        self.inode = os.fstat(self.fd).st_ino
        self._children: list[subprocess.Popen[Any]] = []

    def call(self, job: Callable[[], T]) -> T:
        """Run a short ``job`` inside and return what it returns; it blocks every other namespace meanwhile."""
        return keeper().call(self.fd, job)

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:
        """A socket that belongs to this namespace; any thread may use it afterwards."""
        return self.call(lambda: socket.socket(family, kind, proto))

    def sysctl(self, name: str, value: int | str) -> None:
        """Write ``net.ipv4.ip_forward``-like ``name``; a ``/`` stands for a dot inside an interface's name."""
        path = Path("/proc/sys") / "/".join(part.replace("/", ".") for part in name.split("."))
        self.call(lambda: path.write_text(str(value)))

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a process inside. It is killed when this process ends, however that happens.

        setpriv(1) sets the death signal; a program that changes its user afterwards loses it (prctl(2)), so
        those belong in a PID namespace (tests.village.box).
        """
        options.setdefault("stdin", subprocess.DEVNULL)
        guarded = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        child = self.call(lambda: subprocess.Popen(guarded, **options))
        self._children.append(child)
        return child

    def run(
        self, command: Sequence[str], *, timeout_s: float = 30, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end; its output is text. ``check`` raises with that output in the message."""
        pipe = subprocess.PIPE
        child = self.popen(
            command, stdin=subprocess.DEVNULL if stdin is None else pipe, stdout=pipe, stderr=pipe, text=True
        )
        try:
            out, err = child.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise
        finally:
            self.reap(child)
        if check and child.returncode != 0:
            raise RuntimeError(
                f"{self.label}: {' '.join(command)} ended with {child.returncode}: {err.strip() or out.strip()}"
            )
        return subprocess.CompletedProcess(list(command), child.returncode, out, err)

    def reap(self, child: subprocess.Popen[Any]) -> None:
        """Forget a child that has ended."""
        self._children.remove(child)

    def close(self) -> None:
        """End the processes started here and let go of the namespace."""
        if self.fd < 0:
            return
        for child in self._children:
            if child.poll() is None:
                child.kill()
        for child in self._children:
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        self._children.clear()
        fd, self.fd = self.fd, -1
        keeper().call(_home(), lambda: os.close(fd))  # the keeper leaves it first


def _home() -> int:
    """A descriptor of the namespace that this process was started in."""
    global _home_fd  # noqa: PLW0603
    if _home_fd is None:
        _home_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    return _home_fd


_home_fd: int | None = None
