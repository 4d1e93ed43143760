"""What a desa's office manages: vouchers, accounts, closures, devices, audit. Values; it must not know SQL, Flask.

Moments are Unix times, UTC. None: no such bound.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class VoucherState(enum.StrEnum):
    UNUSED = "unused"
    USED = "used"  # at least one device is bound to it
    EXPIRED = "expired"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Batch:
    """Vouchers made together. ``devices``: how many devices each lets in, for good."""

    id: int
    plan: str
    devices: int
    valid_from_wall_s: float | None
    valid_until_wall_s: float | None
    note: str
    created_wall_s: float
    created_by: str


@dataclass(frozen=True, slots=True)
class Voucher:
    """One code, with what its batch says. ``bound``: devices that it has let in so far."""

    id: int
    code: str = field(repr=False)
    batch: Batch
    voided_wall_s: float | None
    bound: int

    def state(self, wall_s: float) -> VoucherState:
        """What it is at this moment. A clock that lost its time says 1970, which expires nothing."""
        if self.voided_wall_s is not None:
            return VoucherState.VOID
        if self.batch.valid_until_wall_s is not None and wall_s >= self.batch.valid_until_wall_s:
            return VoucherState.EXPIRED
        return VoucherState.USED if self.bound else VoucherState.UNUSED


@dataclass(frozen=True, slots=True)
class BatchCount:
    """A batch, and how many of its vouchers are in which state (each voucher in one)."""

    batch: Batch
    total: int
    unused: int
    used: int
    expired: int
    void: int


@dataclass(frozen=True, slots=True)
class Account:
    """Name and password of an office: kantor, sekolah, puskesmas."""

    id: int
    name: str
    password_hash: str = field(repr=False)
    plan: str
    note: str
    disabled: bool
    created_wall_s: float
    changed_wall_s: float


class ClosureKind(enum.StrEnum):
    OPEN = "open"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Closure:
    """An operator's word beside the hours of site.toml. ``until_wall_s`` None: until cancelled. Later ids win."""

    id: int
    kind: ClosureKind
    from_wall_s: float
    until_wall_s: float | None
    reason: str
    created_wall_s: float
    created_by: str
    cancelled_wall_s: float | None


@dataclass(frozen=True, slots=True)
class Device:
    """What is known of a MAC. ``rule``: ``allow``, ``block`` or None; ``rule_plan`` only with ``allow``.

    ``moved_wall_s``: a return code took its place then, and its owner has not been told.
    """

    mac: str
    person_id: int | None
    seen_wall_s: float | None
    moved_wall_s: float | None
    rule: str | None
    rule_plan: str | None
    note: str
    ruled_wall_s: float | None
    ruled_by: str | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which object, when. ``before`` and ``after`` are JSON texts; never a code, password or hash."""

    id: int
    wall_s: float
    boot_id: str
    boot_s: float
    actor: str
    role: str
    action: str
    object: str
    before: str | None
    after: str | None
