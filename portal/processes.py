"""What a gateway's process is, and what is asked of who looks after all of them. It must not know who that is.

Two do: portal.supervisor is their parent, portal.units asks systemd. The standard library is all it needs.
"""

from __future__ import annotations

import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from portal.loop import Loop


@dataclass(frozen=True, slots=True)
class Program:
    """How it is started, how long it may take to end before it is killed, the port whose socket is held for it
    (portal.listener), the signal by which it is renewed, and the files, by name, that are read for it as root."""

    name: str
    argv: tuple[str, ...]
    grace_s: float
    port: int | None = None
    renew_by: signal.Signals = signal.SIGTERM
    credentials: tuple[tuple[str, str], ...] = ()


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """A Python child of this installation. -P: nothing is imported from the directory that root happens to be in."""
    return (sys.executable, "-P", "-m", module, *arguments)


class Processes(Loop, ABC):
    """The loop of who looks after them.

    ``ready``: netctl was. ``on_failure`` is called with a sentence ("guest ended with status 69") for each that ended
    though nobody asked it to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ready = False
        self.on_failure: Callable[[str], object] = lambda _sentence: None

    @abstractmethod
    def reprogram(self, programs: Sequence[Program]) -> set[str]:
        """From now on these are the processes: new ones start, and are returned, others end for good.

        Those that stay run on until the caller renews them.
        """

    @abstractmethod
    def renew(self, name: str, why: str, between: Callable[[], object] | None = None) -> None:
        """End it, so that it starts again with what is there now; ``between`` is called when it has ended. Nothing is
        done where no process of this name is wanted."""

    @abstractmethod
    def lines(self) -> list[str]:
        """The last lines of the log."""
