"""Puts answers to phones together, and reads from a request who sends it. It must not know pages or the gate."""

from __future__ import annotations

import ipaddress

import flask

HTML = "text/html; charset=utf-8"


def answer(
    status: int,
    body: bytes,
    headers: list[tuple[str, str]],
    content_type: str = HTML,
    cache_control: str = "no-store",
) -> flask.Response:
    headers.append(("Cache-Control", cache_control))
    response = flask.Response(body, status, headers, content_type=content_type)
    response.autocorrect_location_header = False
    return response


def redirect(status: int, location: str) -> flask.Response:
    return answer(status, redirect_body(location), [("Location", location)])


def redirect_body(location: str) -> bytes:
    """For the few clients that show a redirect's body; ``location`` holds no character that HTML minds but ``&``."""
    href = location.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace('"', "%22")
    return f'<!doctype html><title>Wi-Fi</title><a href="{href}">Wi-Fi</a>\n'.encode()


def remote_ip() -> str:
    return normal_ip(flask.request.remote_addr or "")


def remote_ipv4() -> str | None:
    """The address that the request came from; None over IPv6."""
    ip = remote_ip()
    return None if ":" in ip else ip


def normal_ip(text: str) -> str:
    """One spelling per address: IPv4 that arrived on the dual-stack socket without its ::ffff: (RFC 4291, 2.5.5.2),
    IPv6 without its zone. Text that is no address comes back as it is."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip)


def is_from_elsewhere() -> bool:
    """Whether a browser says that another site sent this form (Fetch Metadata; RFC 6454). Browsers that say nothing are
    believed: they are too old to be told apart from curl, and what is at stake is a tap."""
    site = flask.request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = flask.request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2].lower() != flask.request.headers.get("Host", "").lower()
