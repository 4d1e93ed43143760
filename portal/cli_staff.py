"""Commands of the staff pages: who may log in, a new password, serving them. It must not know how it is done.

A new password needs the staff pages' key, which root and their own user alone can read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from portal.cli_acting import Desk, command, desk, reading, refuse, table
from portal.cli_parts import places, site_option
from portal.paths import Paths


@click.group()
def staff() -> None:
    """Users of the staff pages: operator, technician, reviewer."""


@command(staff, "list")
def staff_list(at: Desk) -> None:
    """List the users of the staff pages."""
    from portal.store import staff as store  # noqa: PLC0415

    with at.database.read() as db:
        found = store.every(db)
    said = [
        {
            "name": one.name,
            "role": one.role.value,
            "must_change": one.must_change,
            "disabled": one.disabled,
            "changed_wall_s": one.changed_wall_s,
        }
        for one in found
    ]
    rows = [
        (one.name, one.role.value, "must change" if one.must_change else "own", at.when(one.changed_wall_s))
        for one in found
    ]
    nobody = "There are no staff users; the staff pages make the first ones when they start."
    at.answer(said, table(("name", "role", "password", "changed"), rows) if rows else nobody)


@staff.command("reset")
@click.argument("name")
@reading
def staff_reset(name: str, site: Path | None, run_dir: Path, data_dir: Path, as_json: bool) -> None:
    """Give a user a new password, which is shown once and must be changed at the next login.

    Whoever is logged in under that name is logged out.
    """
    from portal import staffing, staffkey  # noqa: PLC0415

    folder = Paths(run_dir, data_dir).staff
    try:
        key = staffkey.load(folder)
    except PermissionError:
        refuse(as_json, os.EX_NOPERM, "permission", f"You may not read the key in {folder}.", "Start it with sudo.")
    except (OSError, ValueError) as error:
        hint = "The staff pages make it when they start: `gerbang run`."
        refuse(
            as_json, os.EX_UNAVAILABLE, "staff-key", f"The staff pages' key in {folder} cannot be used: {error}.", hint
        )
    with desk(site, run_dir, data_dir, as_json) as at:
        try:
            password = staffing.Staffing(at.database, key).reset(at.acts, name)
        except staffing.UnknownUserError as error:
            refuse(as_json, os.EX_DATAERR, "staff-unknown", error.message, error.hint)
        said = {"done": {"name": name, "password": password}, "warning": None}
        at.answer(said, f"The new password of {name}: {password}\nIt must be changed at the next login.")


@staff.command("serve")
@site_option
@places
@click.option("--user", default="gerbang-staff", show_default=True, help="The staff pages' unprivileged user.")
def staff_serve(site: Path, run_dir: Path, data_dir: Path, user: str) -> None:
    """Serve the staff pages (started by `run`, or by a systemd unit)."""
    from portal import serve  # noqa: PLC0415

    sys.exit(serve.serve(serve.Orders("staff", str(site), str(run_dir), str(data_dir), user)))


COMMANDS = (staff,)
