"""Answers the tests' questions inside the box, one line of JSON each way. It must not change anything there.

It is sent over ssh and runs with the image's own interpreter, once for many questions: on an emulated processor the
start alone takes a second.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from typing import Any

from netctl.api.client import Client

DATABASE = "/var/lib/gerbang/gerbang.db"
SOCKET = "/run/gerbang/netctl.sock"


def sql(statement: str, *values: Any) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=5)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(statement, values)]


def usage(mac: str, ip: str | None) -> tuple[int, int]:
    """(up, down) bytes that the kernel counts now for the session of ``mac``."""
    ids = {row["id"] for row in sql("SELECT id FROM session WHERE mac = ? AND ended_wall_s IS NULL", mac)}
    counters = [counter for counter in Client(SOCKET).usage().counters if counter.grant in ids]
    return sum(c.up_bytes for c in counters if ip in (None, c.ip)), sum(c.down_bytes for c in counters)


def main() -> None:
    known = {"sql": sql, "usage": usage}
    for line in sys.stdin:
        name, *values = json.loads(line)
        try:
            answer: dict[str, Any] = {"is": known[name](*values)}  # type: ignore[operator]
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
