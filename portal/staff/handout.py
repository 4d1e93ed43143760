"""Hands out files that are made as somebody asks for them. It must not know what is in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import IO

import flask

from portal.staff.shared import shared


def hand_out(name: str, mimetype: str, work: Callable[[IO[bytes]], object]) -> flask.Response:
    """What ``work`` writes: a nameless file on the data disk, handed out and gone. Raises what ``work`` raises."""
    file = tempfile.TemporaryFile(dir=shared().paths.data)  # noqa: SIM115 - closed when it is sent
    try:
        work(file)
    except BaseException:
        file.close()
        raise
    return send(file, name, mimetype)


def send(file: IO[bytes], name: str, mimetype: str, *, as_attachment: bool = True) -> flask.Response:
    """All of ``file``, which is closed at the end. It is sent from the disk, since its length is said
    (portal.worker)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    response = flask.send_file(file, mimetype=mimetype, as_attachment=as_attachment, download_name=name)
    response.content_length = size
    return response
