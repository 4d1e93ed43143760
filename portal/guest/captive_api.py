"""The Captive Portal API of RFC 8908: the JSON that tells a client how it stands. It must not know Flask or the gate.

The RFC defines six keys. Four are always given; of them ``can-extend-session`` is always False, because the portal
starts a new session but does not lengthen a running one. ``seconds-remaining`` and ``bytes-remaining`` are given to a
client that is not captive and whose session has that limit, and are omitted otherwise (section 5: "SHOULD omit").
"""

from __future__ import annotations

import json

CONTENT_TYPE = "application/captive+json"


def captive_state(
    base_url: str, *, captive: bool, remaining_s: float | None = None, remaining_bytes: int | None = None
) -> bytes:
    """The document, in UTF-8.

    :param base_url: the portal's URL without the final slash, in the scheme that the client used to ask
    :param remaining_s: seconds until the session ends, None for no limit; written rounded down
    :param remaining_bytes: bytes of layer 3, both directions together, until the session ends; None for no limit
    """
    state: dict[str, bool | int | str] = {
        "captive": captive,
        "user-portal-url": f"{base_url}/",
        "venue-info-url": f"{base_url}/info",
        "can-extend-session": False,
    }
    if not captive and remaining_s is not None:
        state["seconds-remaining"] = max(0, int(remaining_s))
    if not captive and remaining_bytes is not None:
        state["bytes-remaining"] = max(0, remaining_bytes)
    return json.dumps(state).encode()
