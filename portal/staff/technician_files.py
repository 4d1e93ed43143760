"""The technician's pages that change or hand out files: configuration, backup, restore, bundle.

It must not know how: the supervisor changes things (portal.control), portal.backup and portal.technician make files.
"""

from __future__ import annotations

import contextlib
import ipaddress
import tempfile
from collections.abc import Callable
from typing import IO, Any, Final

import flask

from portal import backup as backups
from portal import site as sites
from portal import uplinkport
from portal.backup import BackupError
from portal.config import SiteConfig
from portal.control import UNREACHABLE, Control, ControlError, State
from portal.domain import atstart, sitechange
from portal.domain.staff import Role
from portal.staff import pieces, technician
from portal.staff.arriving import Arriving
from portal.staff.auth import me, roles
from portal.staff.frame import done, language
from portal.staff.handout import hand_out
from portal.staff.incoming import PIECE_BYTES
from portal.staff.shared import shared
from portal.staff.technician import show
from portal.store.db import StoreError
from portal.technician import bundle as bundles
from portal.technician.words import like
from portal.update import errors
from portal.update.asking import Updates
from portal.update.errors import UpdateError

blueprint = technician.blueprint
"""These pages are among the technician's."""

LARGEST_FORM: Final = 8 * 1024 * 1024  # what the process takes (portal.staff.start): of a browser without scripts
AGAIN_AFTER_S: Final = 6  # this process is renewed meanwhile
MIMETYPE: Final = "application/gzip"
_NAME: Final = "gerbang-arriving"


def _control() -> Control:
    return Control(shared().paths.control_socket)


def _record(action: str, thing: str, before: Any = None, after: Any = None) -> None:
    with contextlib.suppress(StoreError):  # it is done already
        shared().administration(me().name, me().role).record(action, thing, before, after)


# --- configuration --------------------------------------------------------------------------------------------------


@blueprint.get("/technician/config")
@roles(Role.TECHNICIAN)
def config() -> flask.Response:
    try:
        state: State | None = _control().state()
    except ControlError as error:
        if error.code != UNREACHABLE:
            raise
        state = None
    source, running = shared().paths.site, _running_text()
    if state is not None and state.pending is not None:
        return show(
            "config",
            template="trying",
            by=state.pending.by,
            left_s=max(1, round(state.pending.left_s)),
            changes=_changes_of_trial(state),
            at_start=state.at_start if _is_box() else (),
            no_card=_no_card(sites.check_text(source.name, running, files=False, here=False)[0]),
        )
    return _editor(running, state=state)


def _is_box() -> bool:
    """Does this machine read its keys of the network only as it starts? Elsewhere they say nothing."""
    return Updates().is_there


def _no_card(config: SiteConfig | None) -> str | None:
    """Its uplink.port, where that names no card of this box."""
    return config.uplink.port if config and _is_box() and uplinkport.is_missing(config.uplink.port) else None


def _running_text() -> str:
    return shared().paths.site.read_text(encoding="utf-8")


def _changes_of_trial(state: State) -> list[str]:
    """What differs from the site's own file, where this process may read that."""
    try:
        with open(state.source, encoding="utf-8") as file:  # noqa: PTH123 - a path that another process names
            return sitechange.lines(file.read(), _running_text())
    except (OSError, UnicodeDecodeError):
        return []


def _editor(text: str, status: int = 200, **values: Any) -> flask.Response:
    given: dict[str, Any] = {"state": None, "mistakes": [], "changes": None, "problem": None} | values
    state = given["state"]
    waiting = state.at_start if state is not None and _is_box() else ()
    return show("config", status, text=text, **({"at_start": (), "waiting": waiting} | given))


@blueprint.post("/technician/config")
@roles(Role.TECHNICIAN)
def change() -> flask.Response:
    """Check what is in the text area and show what would change; or, with ``do=apply``, try it."""
    text = flask.request.form.get("text", "").replace("\r\n", "\n").replace("\r", "\n")
    running = _running_text()
    # What only root may read (keys) is checked when it is applied.
    found, mistakes = sites.check_text(shared().paths.site.name, text, files=False, here=True)
    if mistakes or found is None:
        told = [{"key": mistake.key, "message": mistake.message, "hint": mistake.hint} for mistake in mistakes]
        return _editor(text, 422, mistakes=_with_lines(text, told))
    changes = sitechange.lines(running, text)
    if flask.request.form.get("do") != "apply" or not changes:
        at_start = atstart.waiting(running, text) if _is_box() else ()
        return _editor(text, changes=changes, at_start=at_start, no_card=_no_card(found))
    try:
        _control().apply(text, me().name)
    except ControlError as error:
        return _editor(text, 422, mistakes=_with_lines(text, error.mistakes), problem=error)
    _record("config.apply", "site.toml", *sitechange.keys(running, text))
    address, port = ipaddress.IPv4Interface(found.lan.address).ip, found.staff.port
    moved = str(address) not in flask.request.host or port != shared().config.staff.port
    target = f"https://{address}:{port}{flask.url_for('technician.config')}" if moved else None
    return _wait("applied", target)


def _with_lines(text: str, mistakes: Any) -> list[dict[str, Any]]:
    return [{**mistake, "line": sitechange.line_of(text, mistake["key"])} for mistake in mistakes]


def _wait(why: str, target: str | None = None) -> flask.Response:
    """A page for the seconds in which this process starts again; then it goes on by itself."""
    title = like(language().code).text(f"wait.{why}.title")
    target = target or flask.url_for("technician.config")
    return show("config", template="wait", title=title, why=why, target=target, seconds=AGAIN_AFTER_S)


@blueprint.post("/technician/config/confirm")
@roles(Role.TECHNICIAN)
def confirm() -> flask.Response:
    try:
        _control().confirm(me().name)
    except ControlError as error:
        return _editor(_running_text(), 409, problem=error)
    _record("config.confirm", "site.toml")
    return done("technician.config", "config-kept")


@blueprint.post("/technician/config/revert")
@roles(Role.TECHNICIAN)
def revert() -> flask.Response:
    try:
        _control().revert(me().name)
    except ControlError as error:
        return _editor(_running_text(), 409, problem=error)
    _record("config.revert", "site.toml")
    return _wait("reverted")


# --- backup, restore, bundle ----------------------------------------------------------------------------------------


@blueprint.get("/technician/backup")
@roles(Role.TECHNICIAN)
def backup() -> flask.Response:
    return _backup_page()


def _backup_page(status: int = 200, **values: Any) -> flask.Response:
    given: dict[str, Any] = {"problem": None, "mistakes": [], "restored": None} | values
    return show("backup", status, piece=PIECE_BYTES, **given)


@blueprint.post("/technician/backup")
@roles(Role.TECHNICIAN)
def make_backup() -> flask.Response:
    at = shared()
    name = backups.file_name(at.config.site.code, at.read_clock().wall_s)
    _record("backup.make", "backup")
    return _file(name, lambda file: backups.make(file, at.paths, at.paths.site))


@blueprint.post("/technician/bundle")
@roles(Role.TECHNICIAN)
def make_bundle() -> flask.Response:
    at = shared()
    name = backups.file_name(at.config.site.code, at.read_clock().wall_s).replace("gerbang-", "gerbang-diagnosis-")
    return _file(name, lambda file: bundles.make(file, at.paths, at.paths.site))


def _file(name: str, work: Callable[[IO[bytes]], object]) -> flask.Response:
    try:
        return hand_out(name, MIMETYPE, work)
    except BackupError as error:
        return _backup_page(500, problem=error)


# Piece by piece, as updates come: the backup of a year is larger than a request may be.


def _arriving() -> Arriving:
    """The process's one, made when it is first asked for."""
    found: Arriving = flask.current_app.extensions.setdefault(_NAME, Arriving(shared().paths.data))
    return found


@blueprint.get("/technician/restore/piece")
@roles(Role.TECHNICIAN)
def backup_arrived() -> flask.Response:
    """For the page's script: how much of an upload is here already."""
    return pieces.told(_arriving().arrived, _why)


@blueprint.post("/technician/restore/piece")
@roles(Role.TECHNICIAN)
def backup_piece() -> flask.Response:
    """One piece of a backup, as the request's body."""
    return pieces.told(
        lambda name, size: _arriving().add(name, size, pieces.number("at"), pieces.body()),
        _why,
    )


backup_piece.largest_body = PIECE_BYTES  # type: ignore[attr-defined]


def _why(error: UpdateError) -> str:
    return like(language().code).text(f"update.{'why-room' if error.code == errors.ROOM else 'upload-failed'}")


@blueprint.post("/technician/restore")
@roles(Role.TECHNICIAN)
def restore() -> flask.Response:
    """Hand the uploaded file to the supervisor, open: no path of this process's choosing is ever read by root."""
    form = flask.request.form
    file = _uploaded()
    if file is None:
        return _backup_page(422, missing=True)
    with file:
        try:
            found = _control().restore(
                file.fileno(),
                me().name,
                me().role,
                force_site=form.get("force_site") == "1",
                keep_site=form.get("what") != "all",
            )
        except ControlError as error:  # what arrived in pieces stays, to try again
            return _backup_page(422, problem=error, mistakes=error.mistakes)
    _arriving().forget()
    return _backup_page(restored=found)


restore.largest_body = LARGEST_FORM  # type: ignore[attr-defined]


def _uploaded() -> IO[bytes] | None:
    """The file of the form, or the one that came in pieces before; None: there is none."""
    upload, form = flask.request.files.get("file"), flask.request.form
    if upload is None or not upload.filename:
        size = form.get("size", "")[:15]
        return _arriving().open(form.get("name", "")[:200], int(size)) if size.isdecimal() else None
    file = tempfile.TemporaryFile(dir=shared().paths.data)  # noqa: SIM115 - whoever asked closes it
    upload.save(file)
    file.seek(0)
    return file
