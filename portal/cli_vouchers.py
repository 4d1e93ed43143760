"""Commands for vouchers: make, list, show, void, print. It must not know how a card looks or where a code is kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portal.cli_acting import Desk, command, fields, refuse, table
from portal.cli_parts import options

if TYPE_CHECKING:
    from portal.domain.office import Batch, BatchCount, Voucher

CODES_ONLY = "-"
SUFFIXES = (".pdf", ".html")


@click.group()
def voucher() -> None:
    """Make, print and withdraw vouchers."""


def _check_out(_: click.Context, __: click.Parameter, out: str | None) -> str | None:
    """Before anything is made: codes that cannot be written down help nobody."""
    if out is None or out == CODES_ONLY:
        return out
    path = Path(out)
    if path.suffix not in SUFFIXES:
        raise click.BadParameter(f"{out!r} ends neither in .pdf nor in .html.")
    if not os.access(path if path.exists() else path.parent, os.W_OK) or path.is_dir():
        raise click.BadParameter(f"{out!r} cannot be written.")
    return out


_paper = click.option(
    "--paper",
    type=click.Choice(["a4", "receipt"]),
    default="a4",
    show_default=True,
    help="A4 cards to cut, or a receipt printer's roll of 58 mm.",
)
_validity = options(
    click.option("--valid-from", metavar="DAY", help="First day, 2026-12-31, or moment, 2026-12-31T16:00."),
    click.option("--valid-until", metavar="DAY", help="Last day, or moment.  [default: no end]"),
)


@command(
    voucher,
    "create",
    click.option("--count", type=int, required=True, help="How many, at most 1000."),
    click.option("--plan", required=True, help="The id of a plan of site.toml."),
    click.option("--devices", type=int, default=1, show_default=True, help="Devices that each lets in, for good."),
    _validity,
    click.option("--note", default="", help="What they are for; only the staff see it."),
    click.option(
        "--out",
        metavar="FILE",
        default=CODES_ONLY,
        show_default=True,
        callback=_check_out,
        help="A .pdf or .html to print; - writes the codes to standard output.",
    ),
    _paper,
)
def create(
    at: Desk,
    *,
    count: int,
    plan: str,
    devices: int,
    valid_from: str | None,
    valid_until: str | None,
    note: str,
    out: str,
    paper: str,
) -> Callable[[], None]:
    """Make a batch of vouchers, and print them."""
    made = at.acts.create_vouchers(
        count,
        plan,
        devices=devices,
        valid_from_wall_s=at.moment(valid_from),
        valid_until_wall_s=at.moment(valid_until, end=True),
        note=note,
    ).value
    batch, vouchers = made.batch, made.vouchers
    if "voucher" not in at.config.access.methods:
        click.echo('They let nobody in yet: access.methods in site.toml has no "voucher".', err=True)

    def write() -> None:
        if out != CODES_ONLY:
            _print(at, batch, vouchers, out, paper)
        said = {"batch": _batch(batch), "vouchers": [_voucher(one, at.now.wall_s) for one in vouchers]}
        if out == CODES_ONLY:
            at.answer(said, "\n".join(_shown(one) for one in vouchers))
        else:
            at.answer({**said, "file": out}, f"Batch {batch.id}: {len(vouchers)} vouchers are in {out}.")

    return write


@command(voucher, "list")
def list_(at: Desk) -> None:
    """List all batches, the newest first, with how many of each are used."""
    from portal.store import vouchers  # noqa: PLC0415

    with at.database.read() as db:
        found = vouchers.batches(db, at.now.wall_s)
    head = ("batch", "made", "plan", "devices", "until", "total", "unused", "used", "expired", "void", "note")
    rows = [
        (
            count.batch.id,
            at.when(count.batch.created_wall_s),
            count.batch.plan,
            count.batch.devices,
            at.when(count.batch.valid_until_wall_s),
            count.total,
            count.unused,
            count.used,
            count.expired,
            count.void,
            count.batch.note,
        )
        for count in found
    ]
    at.answer([_count(count) for count in found], table(head, rows) if rows else "There are no vouchers.")


@command(voucher, "show", click.argument("what", metavar="CODE|BATCH"))
def show(at: Desk, what: str) -> None:
    """Show one voucher by its code, or all of a batch by its number."""
    from portal.domain import codes  # noqa: PLC0415
    from portal.store import vouchers  # noqa: PLC0415

    if codes.parse(what) is None and what.isdecimal():
        batch, found = _batch_with_vouchers(at, int(what))
        rows = [(_shown(one), one.state(at.now.wall_s).value, f"{one.bound} of {batch.devices}") for one in found]
        said = {"batch": _batch(batch), "vouchers": [_voucher(one, at.now.wall_s) for one in found]}
        at.answer(said, table(("code", "state", "devices"), rows))
        return
    one = _by_code(at, what)
    with at.database.read() as db:
        bound = vouchers.devices_of(db, one.id)
    text = fields(
        {
            "code": _shown(one),
            "state": one.state(at.now.wall_s).value,
            "batch": one.batch.id,
            "plan": one.batch.plan,
            "devices": f"{one.bound} of {one.batch.devices} {' '.join(bound)}".rstrip(),
            "valid from": at.when(one.batch.valid_from_wall_s),
            "valid until": at.when(one.batch.valid_until_wall_s),
            "note": one.batch.note,
        }
    )
    at.answer({**_voucher(one, at.now.wall_s), "batch": _batch(one.batch), "macs": bound}, text)


@command(
    voucher,
    "void",
    click.argument("code", required=False),
    click.option("--batch", type=int, help="Withdraw all of this batch instead."),
)
def void(at: Desk, code: str | None, batch: int | None) -> None:
    """Withdraw a voucher by its code; who is online with it is cut off."""
    if (code is None) == (batch is None):
        raise click.UsageError("Name a code, or a batch with --batch.")
    if batch is not None:
        done = at.acts.void_batch(batch)
        at.done(done, {"batch": batch, "voided": done.value}, f"{done.value} vouchers of batch {batch} are void.")
        return
    one = _by_code(at, code or "")
    at.done(at.acts.void_voucher(one.id), {"id": one.id, "batch": one.batch.id}, f"{_shown(one)} is void.")


@command(
    voucher,
    "print",
    click.argument("batch", type=int),
    click.option("--out", metavar="FILE", required=True, callback=_check_out, help="A .pdf or .html."),
    _paper,
    click.option("--used", is_flag=True, help="Print those in use too."),
)
def print_(at: Desk, batch: int, out: str, paper: str, used: bool) -> Callable[[], None]:
    """Print a batch again: those that nobody has used yet."""
    from portal.domain.asking import AdministrationError  # noqa: PLC0415
    from portal.domain.office import VoucherState  # noqa: PLC0415

    found_batch, found = _batch_with_vouchers(at, batch)
    wanted = {VoucherState.UNUSED, VoucherState.USED} if used else {VoucherState.UNUSED}
    chosen = [one for one in found if one.state(at.now.wall_s) in wanted]
    if not chosen:
        raise AdministrationError("batch-spent", id=batch)
    if out == CODES_ONLY:
        said = [_voucher(one, at.now.wall_s) for one in chosen]
        return lambda: at.answer(said, "\n".join(_shown(one) for one in chosen))

    def write() -> None:
        _print(at, found_batch, chosen, out, paper)
        at.answer({"batch": batch, "vouchers": len(chosen), "file": out}, f"{len(chosen)} vouchers are in {out}.")

    return write


def _print(at: Desk, batch: Batch, vouchers: Sequence[Voucher], out: str, paper: str) -> None:
    from portal.vouchers import sheet  # noqa: PLC0415

    cards = sheet.sheet_of(at.config, batch, vouchers)
    if out.endswith(".pdf"):
        from portal.vouchers import pdf  # noqa: PLC0415

        data = pdf.render(cards, sheet.Paper(paper))
    else:
        from portal.vouchers import html  # noqa: PLC0415

        data = html.render(cards, sheet.Paper(paper)).encode()
    try:
        Path(out).write_bytes(data)
    except OSError as error:
        hint = f"They are made. Print them: gerbang voucher print {batch.id} --out FILE"
        message = f"The file {out} cannot be written: {error.strerror}."
        refuse(at.as_json, os.EX_CANTCREAT, "file", message, hint)


def _by_code(at: Desk, typed: str) -> Voucher:
    from portal.domain import codes  # noqa: PLC0415
    from portal.domain.asking import AdministrationError  # noqa: PLC0415
    from portal.store import vouchers  # noqa: PLC0415

    with at.database.read() as db:
        found = vouchers.by_code(db, codes.parse(typed) or "")
    if found is None:
        raise AdministrationError("voucher-unknown")
    return found


def _batch_with_vouchers(at: Desk, batch_id: int) -> tuple[Batch, list[Voucher]]:
    from portal.domain.asking import AdministrationError  # noqa: PLC0415
    from portal.store import vouchers  # noqa: PLC0415

    with at.database.read() as db:
        batch, found = vouchers.batch_by_id(db, batch_id), vouchers.of_batch(db, batch_id)
    if batch is None:
        raise AdministrationError("batch-unknown", id=batch_id)
    return batch, found


def _shown(one: Voucher) -> str:
    from portal.domain import codes  # noqa: PLC0415

    return codes.shown(one.code)


def _voucher(one: Voucher, wall_s: float) -> dict[str, Any]:
    return {
        "id": one.id,
        "code": _shown(one),
        "state": one.state(wall_s).value,
        "bound": one.bound,
        "voided_wall_s": one.voided_wall_s,
    }


def _batch(batch: Batch) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    return asdict(batch)


def _count(count: BatchCount) -> dict[str, Any]:
    states = ("total", "unused", "used", "expired", "void")
    return {**_batch(count.batch), **{state: getattr(count, state) for state in states}}


COMMANDS = (voucher,)
