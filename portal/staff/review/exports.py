"""Hands out the report of a month as a file, or to print. It must not know figures or formats (portal.reports does).

Each is in the audit trail before a byte of it leaves, and where that cannot be written, nothing does.
"""

from __future__ import annotations

import secrets
import tempfile
from typing import Final

import flask
from werkzeug.exceptions import NotFound

from portal.domain.staff import Role
from portal.reports import delimited, files, reading
from portal.staff.auth import me, roles
from portal.staff.handout import send
from portal.staff.review.door import blueprint, catch_up
from portal.staff.shared import shared

TYPES: Final = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
    "csv-id": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
}
TABLES: Final = ("hari", "sesi", "ringkasan")
"""Those that are offered as CSV; a workbook has all."""


@blueprint.post("/review/export/<month>.<form>")
@roles(Role.REVIEWER)
def export(month: str, form: str) -> flask.Response:
    """Field ``table``: which one, of a format that holds but one."""
    period = reading.month(month)
    table = flask.request.form.get("table", "hari")
    if period is None or form not in TYPES or table not in TABLES:
        raise NotFound
    catch_up()
    nonce = secrets.token_urlsafe(16)
    file = tempfile.TemporaryFile(dir=shared().paths.data)  # noqa: SIM115 - closed when it is sent
    try:
        with shared().database.read() as db:
            report = reading.read(db, shared().config, *period, shared().read_clock().wall_s)
            if report is None:
                raise NotFound
            files.write(report, form, table, file, nonce)
        told = {"format": form} | ({"table": table} if form in delimited.DIALECTS else {})
        shared().administration(me().name, me().role).record("report.export", f"report {report.stem}", after=told)
    except BaseException:
        file.close()
        raise
    name = f"{report.stem}-{table}.csv" if form in delimited.DIALECTS else f"{report.stem}.{form}"
    response = send(file, name, TYPES[form], as_attachment=form != files.HTML)
    if form == files.HTML:
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'"
        )
    return response
