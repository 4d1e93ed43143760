"""Makes a system call of a child fail, or kills it there: the nth of its kind. strace does it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable
from typing import NamedTuple


class Struck(NamedTuple):
    """What became of the child: its exit code (negative: the signal), its lines, how many calls were struck."""

    code: int
    lines: list[str]
    calls: int


def traced(work: Callable[[int], None], inject: str) -> Struck:
    """Run ``work`` in a forked child under ``strace -e inject=...``.

    ``work`` is given a descriptor to write lines to. Nothing is injected before it begins.
    """
    go_read, go_write = os.pipe()
    lines_read, lines_write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(lines_read)
            os.read(go_read, 1)
            work(lines_write)
            status = 0
        finally:
            os._exit(status)
    os.close(lines_write)
    calls = inject.partition(":")[0]
    told = tempfile.NamedTemporaryFile("r")  # noqa: SIM115 - closed below
    command = ["strace", "-p", str(child), "-o", told.name, "-e", f"trace={calls}", "-e", f"inject={inject}"]
    with told, subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            assert re.search(r"attached", said), said
            os.write(go_write, b"!")
            with os.fdopen(lines_read, encoding="utf-8") as pipe:
                lines = pipe.read().splitlines()
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        finally:
            os.close(go_read)
            os.close(go_write)
        tracer.wait()
        return Struck(code, lines, told.read().count("INJECTED"))
