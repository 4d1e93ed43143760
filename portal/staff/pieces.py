"""Reads a piece of an upload, as the pages' script sends it (static/upload.js). It must not know of what, nor where it
is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import flask

from portal.update.errors import UpdateError

_CHUNK: Final = 65536


def told(work: Callable[[str, int], int], say: Callable[[UpdateError], str]) -> flask.Response:
    """How many bytes of the file are here, which ``work`` finds by its name and size; or what is wrong, as ``say`` has
    it."""
    try:
        return flask.jsonify({"at": work(flask.request.args.get("name", "")[:200], number("size"))})
    except UpdateError as error:
        response = flask.jsonify({"error": say(error)})
        response.status_code = 422
        return response


def body() -> Iterator[bytes]:
    """The request's, to its end and not beyond: a body that is just as large as may be is answered 413 if it is read on
    (werkzeug.wsgi.LimitedStream, where the server says that the input ends by itself)."""
    left = flask.request.content_length or 0
    while left > 0 and (data := flask.request.stream.read(min(left, _CHUNK))):
        yield data
        left -= len(data)


def number(name: str) -> int:
    """What the address says under ``name``; -1 where it is no number."""
    text = flask.request.args.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
