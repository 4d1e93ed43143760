"""The demo: sets the virtual village up, plays one phone's story with times, then lets you be that phone.

It must not know how steps are played or judged; that is tests.village.story.

    python -m tests.village.demo [--once]
"""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time
from typing import NoReturn

from tests.village import story
from tests.village.gateway import GerbangGateway
from tests.village.mirror import Mirror
from tests.village.phone import Phone
from tests.village.village import Village

OPENING = """\
A village, all of it real and all of it inside this machine: an Internet with its own DNS and Web, a gateway that
runs `gerbang run`, an access point, and one phone. Nothing here touches this machine's own network.
"""


def _stop(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def play(village: Village, phone: Phone, *, colour: bool) -> bool:
    """Play and print the whole story; False at the first step that does not hold."""
    good, bad, plain = ("\033[32m", "\033[31m", "\033[0m") if colour else ("", "", "")
    assert isinstance(village.gateway, GerbangGateway)
    scene = story.Scene(village, phone, village.gateway)
    for number, step in enumerate(story.STEPS, 1):
        begun_s = time.monotonic()
        print(f"{number:3}  {step.name:<9} ", end="", flush=True)
        try:
            said = step.play(scene)
        except Exception as error:
            print(f"{bad}FAILED{plain} after {time.monotonic() - begun_s:.1f} s")
            print(f"\nThe step '{step.name}' did not hold: {error or repr(error)}", file=sys.stderr)
            return False
        lines = textwrap.wrap(said, 96)
        print(f"{good}ok{plain} {time.monotonic() - begun_s:5.1f} s  {lines[0]}")
        for line in lines[1:]:
            print(" " * 25 + line)
    return True


def main(arguments: list[str]) -> int:
    """Exit status 0: every step held (and, without --once, the watcher left with Ctrl-C)."""
    if set(arguments) - {"--once"}:
        print("usage: python -m tests.village.demo [--once]", file=sys.stderr)
        return os.EX_USAGE
    if os.geteuid() != 0:
        print("The demo makes network namespaces, which needs root. Run: sudo ./build.sh demo", file=sys.stderr)
        return os.EX_NOPERM
    once = "--once" in arguments
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told us to ignore it
    print(OPENING)
    begun_s = time.monotonic()
    try:
        village = Village(phones=1, site={"plan": [story.PLAN]})
    except Exception as error:
        print(f"The village could not be set up: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    with village:
        print(f"     village   up {time.monotonic() - begun_s:5.1f} s  Internet, gateway, access point and phone\n")
        phone = village.phones[0]
        if not play(village, phone, colour=sys.stdout.isatty()):
            print(f"\nThe gateway's log ended with:\n{_tail(village)}", file=sys.stderr)
            return 1
        print(f"\nEvery step held, {time.monotonic() - begun_s:.0f} s in all.")
        if once:
            return 0
        with Mirror(phone, village.gateway.url) as mirror:
            print(
                f"\nNow be the phone. Open  {mirror.url}  in this machine's browser: you see what the phone sees, and"
                "\nyour tap opens the gate for the phone. Ctrl-C ends the village and leaves nothing behind.\n"
            )
            watch(village, phone)
    print("Everything is gone: processes, namespaces, files.")
    return 0


def watch(village: Village, phone: Phone) -> None:
    """Say when the phone goes online or offline, until Ctrl-C."""
    was: bool | None = None
    try:
        while True:
            now = phone.is_online()
            if now != was:
                state = "online: the Internet answers it" if now else "not online: it gets the portal"
                print(f"     {time.strftime('%H:%M:%S')}  the phone is {state}", flush=True)
                was = now
            time.sleep(1)
    except KeyboardInterrupt:
        print()


def _tail(village: Village) -> str:
    assert isinstance(village.gateway, GerbangGateway)
    return "\n".join("  " + line for line in village.gateway.log().splitlines()[-15:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
