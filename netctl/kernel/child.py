"""Run a part of this package as a process of its own, as a rule once: an order in, a report out. It must not know what
it does.

Orders and reports are structs, as JSON on stdin and stdout. A report has an ``error``, empty where all went well.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from netctl.api.errors import KERNEL, UNSUPPORTED, NetctlError

TIMEOUT_S: Final = 30.0
INSTALL: Final = "It is Debian's package iptables that is missing: apt install iptables"


def start(module: str, *, stderr: int | None = None) -> subprocess.Popen[bytes]:
    """A process of this package with pipes for stdin and stdout; its complaints go to the log where not asked for."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    # -P: nothing is imported from the directory that root happens to stand in
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": path},
    )


class Child:
    """Started at once, told its order, asked for its report; killed on error."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process = start(module, stderr=subprocess.PIPE)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def order(self, order: msgspec.Struct) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(BrokenPipeError):  # it has died: its stderr will say why
            self._process.stdin.write(msgspec.json.encode(order))
            self._process.stdin.flush()

    def report(self, kind: type[Any]) -> Any:
        """Wait for its report and return it. Raises NetctlError where it failed."""
        try:
            output, complaint = self._process.communicate(timeout=TIMEOUT_S)
            report = msgspec.json.decode(output, type=kind)
        except subprocess.TimeoutExpired as exc:
            raise NetctlError(KERNEL, f"{self._module} took longer than {TIMEOUT_S:.0f} s") from exc
        except msgspec.MsgspecError as exc:
            last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise NetctlError(KERNEL, f"{self._module} ended with code {self._process.returncode}: {last[0]}") from exc
        if report.error and self._process.returncode == os.EX_UNAVAILABLE:
            raise NetctlError(UNSUPPORTED, report.error, INSTALL)
        if report.error:
            raise NetctlError(KERNEL, report.error)
        return report
