"""Commands for who comes in: accounts, sessions, devices. It must not know how it is done.

Every change goes through portal.administration, in the role "cli" and the name of who is logged in.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from portal.cli_acting import Desk, command, fields, table

if TYPE_CHECKING:
    from portal.domain.model import Session
    from portal.domain.office import Account, Device

_plan = click.option("--plan", required=True, help="The id of a plan of site.toml.")
_note = click.option("--note", default="", help="Who or what that is; only the staff see it.")
_stdin = click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from standard input, not asked.")
_mac = click.argument("mac")


# --- accounts -------------------------------------------------------------------------------------------------------


@click.group()
def account() -> None:
    """Names and passwords of offices: kantor, sekolah, puskesmas."""


@command(account, "add", click.argument("name"), _plan, _note, _stdin)
def account_add(at: Desk, name: str, plan: str, note: str, from_stdin: bool) -> None:
    """Make an account; its password is asked for."""
    done = at.acts.add_account(name, _password(from_stdin), plan, note)
    at.done(done, _account(done.value), f"The account {done.value.name} can log in.")


@command(account, "list")
def account_list(at: Desk) -> None:
    """List all accounts."""
    from portal.store import accounts  # noqa: PLC0415

    with at.database.read() as db:
        found = [(one, len(accounts.sessions_of(db, one.id))) for one in accounts.every(db)]
    rows = [
        (one.name, one.plan, "disabled" if one.disabled else "", online, at.when(one.changed_wall_s), one.note)
        for one, online in found
    ]
    said = [{**_account(one), "online": online} for one, online in found]
    head = ("name", "plan", "", "online", "changed", "note")
    at.answer(said, table(head, rows) if rows else "There are no accounts.")


@command(account, "password", click.argument("name"), _stdin)
def account_password(at: Desk, name: str, from_stdin: bool) -> None:
    """Give an account another password; who is in with the old one is cut off."""
    done = at.acts.set_account_password(name, _password(from_stdin))
    at.done(done, {"name": done.value.name}, f"The account {done.value.name} has another password.")


@command(account, "disable", click.argument("name"))
def account_disable(at: Desk, name: str) -> None:
    """Let an account in no longer; who is in with it is cut off."""
    done = at.acts.set_account_disabled(name, True)
    at.done(done, {"name": done.value.name, "disabled": True}, f"The account {done.value.name} is disabled.")


@command(account, "enable", click.argument("name"))
def account_enable(at: Desk, name: str) -> None:
    """Let an account in again."""
    done = at.acts.set_account_disabled(name, False)
    at.done(done, {"name": done.value.name, "disabled": False}, f"The account {done.value.name} can log in again.")


def _password(from_stdin: bool) -> str:
    """Never an argument: those stand in the list of processes, and in the shell's history."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _account(one: Account) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "password_hash"}


# --- sessions -------------------------------------------------------------------------------------------------------


@click.group()
def session() -> None:
    """Who is online now."""


@command(session, "list")
def session_list(at: Desk) -> None:
    """List running sessions, with bytes as of the last count."""
    from portal.domain import policy  # noqa: PLC0415
    from portal.store import sessions  # noqa: PLC0415

    with at.database.read() as db:
        found = [one for one in sessions.not_ended(db) if policy.is_running(one, at.now)]
    rows = [
        (
            one.id,
            one.mac,
            one.ipv4 or "-",
            one.plan,
            one.method,
            at.when(one.started_wall_s),
            _minutes_left(at, one),
            f"{one.up_bytes / 1e6:.1f}",
            f"{one.down_bytes / 1e6:.1f}",
        )
        for one in found
    ]
    head = ("id", "mac", "ipv4", "plan", "method", "since", "left", "up MB", "down MB")
    at.answer([_session(at, one) for one in found], table(head, rows) if rows else "Nobody is online.")


@command(session, "end", click.argument("what", metavar="ID|MAC"))
def session_end(at: Desk, what: str) -> None:
    """Disconnect a device, by its session's id or its MAC; it may come in again."""
    done = at.acts.disconnect(int(what) if what.isdecimal() and len(what) < 12 else what)
    at.done(done, {"id": done.value, "ended": True}, f"Session {done.value} has ended.")


def _minutes_left(at: Desk, one: Session) -> str:
    from portal.domain import policy  # noqa: PLC0415

    left_s = policy.remaining_s(one, at.now)
    return "no end" if left_s is None else f"{int(left_s // 60)} min"


def _session(at: Desk, one: Session) -> dict[str, Any]:
    from portal.domain import policy  # noqa: PLC0415

    names = ("id", "mac", "ipv4", "plan", "method", "started_wall_s", "up_bytes", "down_bytes")
    return {**{name: getattr(one, name) for name in names}, "remaining_s": policy.remaining_s(one, at.now)}


# --- devices --------------------------------------------------------------------------------------------------------


@click.group()
def device() -> None:
    """Devices that are known, and rules for single ones."""


@command(device, "list", click.option("--rules", is_flag=True, help="Only devices that are allowed or blocked."))
def device_list(at: Desk, rules: bool) -> None:
    """List known devices, those with a rule first, then the last seen."""
    from portal.store import devices  # noqa: PLC0415

    with at.database.read() as db:
        found = devices.ruled(db) if rules else devices.every(db)
    rows = [(one.mac, at.when(one.seen_wall_s), _rule(one), one.note) for one in found]
    said = [asdict(one) for one in found]
    at.answer(said, table(("mac", "seen", "rule", "note"), rows) if rows else "There are no such devices.")


@command(device, "show", _mac)
def device_show(at: Desk, mac: str) -> None:
    """Show what is known of a device: its rule, its session, its voucher."""
    from portal.domain import asking, policy  # noqa: PLC0415
    from portal.store import devices, people, sessions  # noqa: PLC0415

    mac = asking.mac(mac)
    with at.database.read() as db:
        known = devices.by_mac(db, mac)
        running = sessions.not_ended_of(db, mac)
        person = people.by_id(db, known.person_id) if known and known.person_id else None
    if running is not None and not policy.is_running(running, at.now):
        running = None
    said = {
        "mac": mac,
        "known": None if known is None else asdict(known),
        "session": None if running is None else _session(at, running),
        "voucher_id": person.voucher_id if person else None,
        "account_id": person.account_id if person else None,
    }
    text = fields(
        {
            "mac": mac,
            "seen": "never" if known is None else at.when(known.seen_wall_s, "never"),
            "rule": "none" if known is None else _rule(known) or "none",
            "note": "" if known is None else known.note,
            "came in by": person.method if person else "-",
            "session": "none" if running is None else f"{running.id}, {_minutes_left(at, running)} left",
        }
    )
    at.answer(said, text)


@command(device, "allow", _mac, _plan, _note)
def device_allow(at: Desk, mac: str, plan: str, note: str) -> None:
    """Let a device in without a tap, under a plan of its own."""
    done = at.acts.allow(mac, plan, note)
    at.done(done, asdict(done.value), f"{done.value.mac} comes in without a tap, under {plan}.")


@command(device, "block", _mac, _note)
def device_block(at: Desk, mac: str, note: str) -> None:
    """Keep a device out, at once."""
    done = at.acts.block(mac, note)
    at.done(done, asdict(done.value), f"{done.value.mac} is blocked.")


@command(device, "clear", _mac)
def device_clear(at: Desk, mac: str) -> None:
    """Neither allow nor block a device any longer."""
    done = at.acts.unrule(mac)
    at.done(done, asdict(done.value), f"{done.value.mac} is as any other again.")


@command(device, "erase", click.argument("target", metavar="MAC|CODE"))
def device_erase(at: Desk, target: str) -> None:
    """Erase what is known of a device, at its owner's request.

    By its MAC, or by the return code that its page shows: then of all devices that came with it. Who is online there is
    cut off, and is somebody new afterwards. What the usage log tells of its sessions stays, under a pseudonym.
    """
    done = at.acts.erase_device(target)
    at.done(done, {"rows": done.value}, f"{done.value} rows are erased.")


def _rule(one: Device) -> str:
    return f"allow {one.rule_plan}" if one.rule == "allow" else one.rule or ""


COMMANDS = (account, session, device)
