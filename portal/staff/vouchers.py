"""Vouchers: batches and their codes, making, printing and withdrawing them. It must not know how a card looks."""

from __future__ import annotations

import secrets
from typing import Final

import flask
import werkzeug

from portal.domain import asking, codes
from portal.domain.asking import AdministrationError
from portal.domain.office import Batch, BatchCount, Voucher, VoucherState
from portal.domain.staff import Role
from portal.staff import forms
from portal.staff.auth import me, roles
from portal.staff.frame import done, language, moment, now_wall_s, render, sentence_of
from portal.staff.shared import shared
from portal.store import vouchers as store
from portal.vouchers import html
from portal.vouchers.sheet import Paper, sheet_of

blueprint = flask.Blueprint("vouchers", __name__)

STAFF: Final = (Role.OPERATOR, Role.TECHNICIAN)
PER_PAGE: Final = 50
BATCHES: Final = 30


@blueprint.get("/vouchers")
@roles(*STAFF)
def vouchers() -> flask.Response:
    """All batches; with ``?code=`` what is known of one code."""
    return _page()


def _page(status: int = 200, problem: str | None = None) -> flask.Response:
    code = flask.request.args.get("code", "")
    with shared().database.read() as db:
        batches = store.batches(db, now_wall_s())
        parsed = codes.parse(code)
        found = None if parsed is None else store.by_code(db, parsed)
    return render(
        "vouchers.html",
        status,
        problem=problem,
        given=flask.request.form,
        batches=[_batch_row(count) for count in batches[:BATCHES]],
        more=len(batches) - BATCHES,
        plans=shared().config.plan,
        most=asking.MAX_VOUCHERS,
        code=code,
        found=None if found is None else _voucher_row(found),
        enabled="voucher" in shared().config.access.methods,
    )


def _batch_row(count: BatchCount) -> dict[str, str | int]:
    batch = count.batch
    return {
        "id": batch.id,
        "name": batch.note or language().text("vouchers.nameless", number=str(batch.id)),
        "made": moment(batch.created_wall_s),
        "plan": shared().rules.plan(batch.plan).name,
        "total": count.total,
        "unused": count.unused,
        "used": count.used,
        "gone": count.expired + count.void,
    }


def _voucher_row(voucher: Voucher) -> dict[str, str | int | bool]:
    words, state = language(), voucher.state(now_wall_s())
    return {
        "id": voucher.id,
        "batch": voucher.batch.id,
        "code": codes.shown(voucher.code),
        "state": words.text(f"voucher.{state.value}"),
        "bound": words.text("vouchers.bound", bound=str(voucher.bound), devices=str(voucher.batch.devices)),
        "can_void": state is not VoucherState.VOID,
    }


@blueprint.post("/vouchers")
@roles(*STAFF)
def create() -> flask.Response:
    try:
        made = (
            shared()
            .administration(me().name, me().role)
            .create_vouchers(
                forms.number("count", asking.MAX_VOUCHERS),
                forms.text("plan"),
                devices=forms.number("devices", asking.MAX_DEVICES),
                valid_from_wall_s=forms.moment("valid_from"),
                valid_until_wall_s=forms.moment("valid_until", end=True),
                note=forms.text("note"),
            )
        )
    except AdministrationError as error:
        return _page(422, sentence_of(error))
    return done("vouchers.batch", "vouchers-made", batch_id=made.value.batch.id)


@blueprint.get("/vouchers/<int:batch_id>")
@roles(*STAFF)
def batch(batch_id: int) -> flask.Response:
    """One batch, PER_PAGE codes at a time."""
    page = max(1, flask.request.args.get("page", 1, type=int))
    found, codes_of = _batch(batch_id)
    pages = max(1, -(-len(codes_of) // PER_PAGE))
    page = min(page, pages)
    rows = [_voucher_row(voucher) for voucher in codes_of[(page - 1) * PER_PAGE : page * PER_PAGE]]
    left = sum(voucher.state(now_wall_s()) is not VoucherState.VOID for voucher in codes_of)
    valid = {
        "from": None if found.valid_from_wall_s is None else moment(found.valid_from_wall_s),
        "until": None if found.valid_until_wall_s is None else moment(found.valid_until_wall_s),
    }
    return render(
        "batch.html",
        title=found.note or language().text("vouchers.nameless", number=str(found.id)),
        batch=found,
        plan=shared().rules.plan(found.plan).name,
        made=moment(found.created_wall_s),
        valid=valid,
        rows=rows,
        total=len(codes_of),
        left=left,
        page=page,
        pages=pages,
    )


def _batch(batch_id: int) -> tuple[Batch, list[Voucher]]:
    with shared().database.read() as db:
        found = store.batch_by_id(db, batch_id)
        if found is None:
            raise AdministrationError("batch-unknown", id=batch_id)
        return found, store.of_batch(db, batch_id)


@blueprint.get("/vouchers/<int:batch_id>/print")
@roles(*STAFF)
def sheet(batch_id: int) -> flask.Response:
    """The sheet as a page that the browser prints: ``?paper=a4``, or ``receipt`` for a roll of 58 mm.

    Withdrawn and expired codes are left out.
    """
    try:
        paper = Paper(flask.request.args.get("paper", Paper.A4))
    except ValueError:
        raise werkzeug.exceptions.NotFound from None
    found, all_codes = _batch(batch_id)
    usable = [
        voucher for voucher in all_codes if voucher.state(now_wall_s()) in (VoucherState.UNUSED, VoucherState.USED)
    ]
    nonce = secrets.token_urlsafe(16)
    response = flask.Response(html.render(sheet_of(shared().config, found, usable), paper, nonce), mimetype="text/html")
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'"
    )
    return response


@blueprint.post("/vouchers/<int:batch_id>/void")
@roles(*STAFF)
def void_batch(batch_id: int) -> flask.Response:
    made = shared().administration(me().name, me().role).void_batch(batch_id)
    return done("vouchers.batch", "batch-void", late=made.warning is not None, batch_id=batch_id)


@blueprint.post("/vouchers/<int:batch_id>/<int:voucher_id>/void")
@roles(*STAFF)
def void(batch_id: int, voucher_id: int) -> flask.Response:
    made = shared().administration(me().name, me().role).void_voucher(voucher_id)
    return done("vouchers.batch", "voucher-void", late=made.warning is not None, batch_id=batch_id)
