"""Says what an entry of the usage log is, and chains each to the one before by its hash. Pure: it knows no SQL.

Entries are only ever added. What an entry says stands in its ``body``; its header says when: by the boot clock, which
decides, and by the wall clock as it went then. An entry that tells of another moment than that of its writing names it
in its body: ``at_ms`` of the boot clock, and ``boot`` where that was another boot. Nothing here holds a MAC, a name, a
code or an address: devices are pseudonyms (portal.store.pseudonyms).
"""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

GENESIS: Final = bytes(32)
"""What stands for the hash before the first entry."""


class Kind(enum.StrEnum):
    """What an entry tells, and what its body holds. Bytes are totals of the session so far; ``s`` is its id."""

    BOOT = "boot"  # {before: boot id, seen_ms: its last heartbeat (null both in the first), clean: stopped in order}
    START = "start"  # {site, version, zone, provider, link, seen_ms: last heartbeat in this boot or null}
    STOP = "stop"  # {}: stopped in order
    CLOCK = "clock"  # {offset_ms}: wall clock minus boot clock of this boot, as NTP has set it; the last one holds
    BEGIN = "begin"  # {s, d: device's pseudonym, plan, method, after: session that it continues in a new boot, or null}
    PLAN = "plan"  # {s, plan}: a running session goes on under another plan
    INTERIM = "interim"  # {s, up, down, at_ms: when this was read}
    END = "end"  # {s, reason, up, down, at_ms, boot}
    FINAL = "final"  # {s, up, down, at_ms: when this was read}: bytes that were still under way when it ended
    UPLINK = "uplink"  # {state, failing or null, at_ms: since when}
    SAMPLE = "sample"  # {online, latency_ms or null, loss or null}: every 5 minutes
    FUNNEL = "funnel"  # {day, os: {family: [joined, saw, online]}}: of that local day so far; the last one holds
    ACT = "act"  # {id, actor, role, action, object, digest: of the audit trail's entry}
    ERASURE = "erasure"  # {class, before: first day kept, count: entries erased, first, last: their numbers}
    DROPPED = (
        "dropped"  # {batches: {class: count}, records: {kind: count}}: for the office, and nobody took them in time
    )
    LOST = "lost"  # {first, last, next: pin of the entry after (portal.domain.journalcheck)}: taken by a damaged disk


class Class(enum.StrEnum):
    """Classes of entries that are kept for so long as site.toml says. Those of no class stay: they are of no person."""

    SESSIONS = "sessions"
    SAMPLES = "samples"
    ACTS = "acts"


CLASS_OF: Final = {
    Kind.BEGIN: Class.SESSIONS,
    Kind.PLAN: Class.SESSIONS,
    Kind.INTERIM: Class.SESSIONS,
    Kind.END: Class.SESSIONS,
    Kind.FINAL: Class.SESSIONS,
    Kind.SAMPLE: Class.SAMPLES,
    Kind.ACT: Class.ACTS,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """``seq`` counts from 1 without a gap. ``boot_ms`` is CLOCK_BOOTTIME of boot ``boot_id``, ``wall_ms`` Unix time as
    the wall clock showed it; ``trusted``: NTP had set that in this boot. ``hash`` is of this entry and the one before.
    """

    seq: int
    kind: Kind
    boot_id: str
    boot_ms: int
    wall_ms: int
    trusted: bool
    body: dict[str, Any]
    hash: bytes


@dataclass(frozen=True, slots=True)
class Tomb:
    """Where entries ``first`` to ``last`` were, erased or lost; ``last_hash`` is what the next one was chained to."""

    first: int
    last: int
    last_hash: bytes


def text_of(body: dict[str, Any]) -> str:
    """The body as it is stored and hashed: JSON with sorted keys, no spaces, UTF-8."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def hash_of(
    before: bytes, body: str, *, seq: int, kind: str, boot_id: str, boot_ms: int, wall_ms: int, trusted: bool
) -> bytes:
    """SHA-256 over the hash before and the JSON array of all else, the body as its text.

    docs/export-format.md describes the same for other programs.
    """
    header = [seq, kind, boot_id, boot_ms, wall_ms, int(trusted), body]
    return hashlib.sha256(before + json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()).digest()
