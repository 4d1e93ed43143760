"""Commands of updates: how they stand, installing one, what was. It must not know how it is done."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from portal.cli_acting import login_name, refuse, table
from portal.cli_parts import json_option, places, print_json
from portal.paths import Paths

if TYPE_CHECKING:
    from portal.update.errors import UpdateError
    from portal.update.installing import Order


@click.group()
def update() -> None:
    """Updates of a box: the version that runs, the one on trial, the way back."""


@update.command("status")
@places
@json_option
def update_status(run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Say which version runs, whether an update is on trial, and how the last one ended.

    Exit status 69 on a machine that was not installed from an image.
    """
    from portal.update import errors  # noqa: PLC0415
    from portal.update import places as spots  # noqa: PLC0415
    from portal.update.errors import UpdateError  # noqa: PLC0415
    from portal.update.service import standing  # noqa: PLC0415

    if spots.running_slot() is None:
        hint = "Only an installed image can be updated."
        _refused(UpdateError(errors.NO_BOX, "This machine has no slots.", hint), as_json)
    found = standing(spots.Places(), Paths(run_dir, data_dir))
    if as_json:
        print_json(found)
        return
    click.echo(f"Version {found['version']} runs from slot {found['slot']}.")
    for line in _standing(found):
        click.echo(line)


def _standing(found: dict[str, Any]) -> list[str]:
    lines, trial, progress = [], found["trial"], found["progress"]
    if progress is not None and not progress["ended"]:
        lines.append(f"Being installed: {progress['what']}, {progress['percent']} %, {progress['step']}.")
    elif trial is not None and trial["slot"] == found["slot"]:
        lines.append("It is on trial: unless it is found to be good, the box goes back to the other slot.")
    elif trial is not None:
        lines.append(f"Version {trial['version']} is installed in slot {trial['slot']} and runs after the next start.")
    if (last := found["last"]) is not None:
        lines.append(f"The last update, {_when(last['wall_s'])}: {_ending(last)}")
    if (back := found["went_back"]) is not None:
        parts = ", ".join(f"{'?' if n is None else n} {name.replace('_', ' ')}" for name, n in back["lost"].items())
        lines.append(
            f"The database went back to how it was on {_when(back['since_wall_s'])}. Not in it: {parts}. "
            f"They are kept in {back['kept']}."
        )
    return lines


def _ending(told: dict[str, Any]) -> str:
    said = {
        "done": f"went up to {told['to_version']} from {told['from_version']}.",
        "back": f"came back to {told['from_version']} from {told['to_version']}:",
        "interrupted": f"{told['to_version']} was not installed:",
        "failed": f"{told['to_version']} was not installed:",
        "fallback": "the usual slot was given up:",
    }.get(told["outcome"], told["outcome"])
    return f"{said} {told['message']}".strip() + (f" [{told['code']}]" if told["code"] else "")


def _when(wall_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(wall_s))


@update.command("install")
@click.argument("what", metavar="[FILE-OR-URL]", required=False)
@click.option("--force", is_flag=True, help="Also a version that is older than the running one, or the same.")
@click.option("--reboot", is_flag=True, help="Restart the box once it is installed.")
@places
@json_option
def update_install(
    *, what: str | None, force: bool, reboot: bool, run_dir: Path, data_dir: Path, as_json: bool
) -> None:
    """Install a signed bundle (.raucb) or a delta (.gdelta) into the slot that does not run.

    FILE-OR-URL may be left out where one USB stick with one bundle in its topmost folder is in. The box goes on as it
    is until it restarts; then the new version is on trial, and unless it is found to be good the old one runs again.
    """
    from portal.update import errors, fetching, installing, stick  # noqa: PLC0415
    from portal.update import places as spots  # noqa: PLC0415
    from portal.update.errors import UpdateError  # noqa: PLC0415
    from portal.update.slot import restart  # noqa: PLC0415

    if os.geteuid() != 0:
        _refused(UpdateError(errors.DENIED, "Only root can update the box.", "Start it with sudo."), as_json)
    at, paths = spots.Places(), Paths(run_dir, data_dir)
    try:
        installing.running_slot()
        if what is None:
            name = _the_one_on_a_stick(at)
            with stick.mounted(at.run / "stick", name) as file:
                done = _install(at, paths, installing.Order(str(file), login_name(), "cli", force), as_json)
        else:
            whole = what if fetching.is_url(what) else str(Path(what).absolute())
            done = _install(at, paths, installing.Order(whole, login_name(), "cli", force), as_json)
    except UpdateError as error:
        _refused(error, as_json)
    if as_json:
        print_json({"slot": done.slot, "from": done.from_version, "to": done.to_version, "reboot": reboot})
    else:
        click.echo(f"{done.to_version} is in slot {done.slot}; {done.from_version} runs until the box restarts.")
        click.echo("It restarts now." if reboot else "Restart it when it disturbs nobody: sudo systemctl reboot")
    if reboot:
        restart()


def _install(at: Any, paths: Paths, order: Order, as_json: bool) -> Any:
    from portal.update import installing  # noqa: PLC0415

    last = -1

    def tell(percent: int, step: str) -> None:
        nonlocal last
        if not as_json and percent != last:
            last = percent
            click.echo(f"{percent:3} % {step}", err=True)

    return installing.install(at, paths, order, tell)


def _the_one_on_a_stick(at: Any) -> str:
    from portal.update import errors, stick  # noqa: PLC0415
    from portal.update.errors import UpdateError  # noqa: PLC0415

    found = stick.offered(at.run / "stick")
    if not found:
        raise UpdateError(errors.NO_STICK, "No stick has an update.", "Name a file or an address, or put a stick in.")
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise UpdateError(errors.NO_STICK, f"There are several: {names}.", "Leave one on the stick, or name a file.")
    return found[0].name


@update.command("history")
@json_option
def update_history(as_json: bool) -> None:
    """Say how all updates of this box ended, by whom they were begun, from what, to what."""
    from portal.update import places as spots  # noqa: PLC0415
    from portal.update import records  # noqa: PLC0415

    found = records.history(spots.Places())
    if as_json:
        print_json(found)
        return
    rows = [
        (_when(one["wall_s"]), one["outcome"], one["from_version"], one["to_version"], one["by"], one["code"])
        for one in found
    ]
    click.echo(table(("when", "how", "from", "to", "by", "code"), rows) if rows else "There was no update yet.")


def _refused(error: UpdateError, as_json: bool) -> NoReturn:
    from portal.update import errors  # noqa: PLC0415

    refuse(as_json, errors.EXITS.get(error.code, os.EX_UNAVAILABLE), error.code, error.message, error.hint)


COMMANDS: tuple[click.Command, ...] = (update,)
