"""Look at everything netctl needs and say, a line each, whether it is well and how to mend it; it changes nothing.

It must not know how the kernel is asked (netctl.kernel.base is all it uses) or how the lines are shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import structs

from netctl.api.client import Client
from netctl.api.errors import CONFIG, NetctlError
from netctl.api.types import GatewayConfig, Status
from netctl.config import load
from netctl.kernel.base import Kernel
from netctl.statefile import Saved

Level = Literal["ok", "warn", "fail"]
START: Final = "Start it: `systemctl start gerbang-netctl`, or `gerbang run --site FILE`."


class Finding(msgspec.Struct, frozen=True):
    """``fix`` is empty where nothing is to be done."""

    level: Level
    name: str
    message: str
    fix: str = ""


def examine(config_path: Path, make_kernel: Callable[[GatewayConfig], Kernel]) -> Iterator[Finding]:
    """Findings in the order in which things depend on each other. Nothing is raised."""
    try:
        config = load(config_path)
    except NetctlError as error:
        yield Finding("fail", "config", error.message, error.hint)
        return
    yield Finding("ok", "config", f"{config_path} is readable and does not contradict itself.")
    status = None
    try:
        status = Client(config.socket_path, timeout_s=3.0).status()
    except NetctlError as error:
        yield Finding("fail", "daemon", error.message, error.hint or START)
    else:
        yield from _daemon(status, config)
        # what stands now is right if it is as the daemon holds it, not as it was configured
        config = structs.replace(config, link_down_kbit=status.link_down_kbit, link_up_kbit=status.link_up_kbit)
    yield from _statefile(Path(config.state_path))
    yield from _kernel(config, make_kernel, status)


def _daemon(status: Status, config: GatewayConfig) -> Iterator[Finding]:
    numbers = f"generation {status.generation}, {status.grants} grants, {status.members} addresses"
    yield Finding("ok", "daemon", f"It answers (version {status.version}): {numbers}.")
    if status.problem:
        yield Finding("fail", "problem", status.problem, "See its log; it tries again at each tick.")
    for name, now, configured in (
        ("link down", status.link_down_kbit, config.link_down_kbit),
        ("link up", status.link_up_kbit, config.link_up_kbit),
    ):
        if now is None:
            yield Finding("ok", name, "Its rate is not known, so only each user's is held.")
        elif now == configured:
            yield Finding("ok", name, f"Held at {now} kbit/s, as configured.")
        else:
            yield Finding("ok", name, f"Held at {now} kbit/s now; configured is {configured or 'no'} kbit/s.")
    if status.epoch is None:
        fix = "Is the portal running? It pushes every few seconds."
        yield Finding("warn", "state", "No state was pushed in this boot yet.", fix)
    if status.drift:
        fix = "Find who else changes our rules, sets or classes; netctl mends them at each tick."
        yield Finding("warn", "drift", f"The last tick found {status.drift} differences in the kernel.", fix)
    else:
        yield Finding("ok", "drift", f"None at the last tick ({status.drift_total} since start).")


def _statefile(path: Path) -> Iterator[Finding]:
    broken = path.with_name(path.name + ".broken")
    if broken.exists():
        fix = "Look at it, then delete it."
        yield Finding("warn", "statefile", f"A broken state file was kept as {broken}.", fix)
    try:
        msgspec.json.decode(path.read_bytes(), type=Saved)
    except FileNotFoundError:
        yield Finding("warn", "statefile", f"There is no {path}.", "It is written at the portal's next push.")
    except PermissionError:
        yield Finding("warn", "statefile", f"{path} cannot be read by this user.", "Run the doctor as root.")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        yield Finding("fail", "statefile", f"{path} is unusable: {error}.", "Restart netctl: it keeps the file aside.")
    else:
        yield Finding("ok", "statefile", f"{path} is whole.")


def _kernel(
    config: GatewayConfig, make_kernel: Callable[[GatewayConfig], Kernel], status: Status | None
) -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield Finding("warn", "kernel", "Only root can look into the kernel.", "Run the doctor as root.")
        return
    try:
        kernel = make_kernel(config)
    except NetctlError as error:
        yield Finding("fail", "kernel", error.message, error.hint)
        return
    try:
        for feature in kernel.probe():
            level: Level = "ok" if feature.present else "fail" if feature.required else "warn"
            fix = "" if feature.present else "Use a kernel that has it; the image's kernel does."
            yield Finding(level, feature.name, feature.detail or "The kernel has it.", fix)
        if kernel.observe().intact:
            yield Finding("ok", "rules", "Rules, sets and root classes stand as they should.")
        elif status is None:
            yield Finding("fail", "rules", "Rules, sets or root classes are missing.", START)
        else:
            fix = "netctl mends them at the next tick; run this again, and find who changed them."
            yield Finding("fail", "rules", "Rules, sets or root classes are missing or changed.", fix)
    except NetctlError as error:
        hint = error.hint or START
        yield Finding("warn" if error.code == CONFIG else "fail", "kernel", error.message, hint)
    finally:
        kernel.close()
