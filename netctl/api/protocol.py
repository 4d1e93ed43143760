"""Frames of the control socket: four bytes of length (big endian), then one message as JSON.

It must not know sockets, the kernel or what a message means.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec

from netctl.api.errors import BAD_REQUEST, TOO_LARGE, NetctlError
from netctl.api.types import Message, Reply, Request

MAX_BYTES: Final = 4 * 1024 * 1024
HEADER: Final = struct.Struct(">I")

_encoder = msgspec.json.Encoder()
_requests = msgspec.json.Decoder(Request)
_replies = msgspec.json.Decoder(Reply)


def pack(message: Message) -> bytes:
    """The frame of one message. Raises NetctlError ``too-large`` above MAX_BYTES."""
    body = _encoder.encode(message)
    if len(body) > MAX_BYTES:
        raise NetctlError(TOO_LARGE, f"A message of {len(body)} bytes is above the limit of {MAX_BYTES}.")
    return HEADER.pack(len(body)) + body


def body_length(header: bytes | bytearray) -> int:
    """Bytes that follow these four. Raises NetctlError ``too-large`` or ``bad-request``: the stream is lost then."""
    length: int = HEADER.unpack_from(header)[0]
    if length > MAX_BYTES:
        raise NetctlError(TOO_LARGE, f"A frame announces {length} bytes, above the limit of {MAX_BYTES}.")
    if length == 0:
        raise NetctlError(BAD_REQUEST, "A frame announces no bytes; every message has some.")
    return length


def decode_request(body: bytes | bytearray) -> Request:
    """Raises NetctlError ``bad-request`` with the path of the field that is wrong."""
    request: Request = _decode(_requests, body, "request")
    return request


def decode_reply(body: bytes | bytearray) -> Reply:
    """Raises NetctlError ``bad-request``; the two ends are then of different versions."""
    reply: Reply = _decode(_replies, body, "reply")
    return reply


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes | bytearray, what: str) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        hint = "The two ends of the socket must be of the same version."
        raise NetctlError(BAD_REQUEST, f"The {what} cannot be read: {error}.", hint) from error
