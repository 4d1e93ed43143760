"""What the guest's pages ask of the gate, and how it says no. It must not know how that is done.

portal.admission.Gate is the real one.
"""

from __future__ import annotations

from typing import Protocol

from portal.domain.model import Notice, Place, Refusal, Session, Uplink, Visit


class GateError(Exception):
    """The gate could not do it. ``code`` is database, database-full, database-corrupt, netctl or busy."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} [{code}]" + (f" {hint}" if hint else ""))
        self.code = code
        self.message = message
        self.hint = hint


class Refused(Exception):
    """Somebody may not come in, for a reason that the page can say.

    ``until_wall_s``: when it will be otherwise, if that is known: opening (CLOSED), the next budget (BUDGET), the first
    moment of the code (CODE_EARLY) or its last (CODE_LATE). ``reason``: an operator's words (CLOSED). ``wait_s``:
    seconds until another attempt is looked at (ATTEMPTS).
    """

    def __init__(
        self,
        refusal: Refusal,
        *,
        until_wall_s: float | None = None,
        reason: str | None = None,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        self.until_wall_s = until_wall_s
        self.reason = reason
        self.wait_s = wait_s


class Gatekeeper(Protocol):
    """What the pages need. Every method but start and close raises GateError when the gate cannot work.

    The enter methods return when the device is let in by the kernel, and raise Refused when it may not come in.
    ``ipv4`` is the address that the request came from, None over IPv6. A device that has a running session keeps it
    where it enters as the same person, or by a tap or rule (with the address given), and leaves it where a code or
    password makes it another's. A device that an operator has blocked is refused BLOCKED, whatever it shows.
    """

    def whois(self, ip: str) -> str | None:
        """The MAC that the kernel gives for a LAN address, or None."""

    def visit(self, mac: str) -> Visit:
        """All that a page needs to know of a device, from one snapshot. Of who is online, ``left`` is that of now, with
        what the counters of all the person's devices show; as it is flushed only if netctl is away."""

    def session(self, mac: str) -> Session | None:
        """The running session of a device; one whose time is over does not run."""

    def bytes_used(self, session: Session) -> tuple[int, int]:
        """(up, down) up to now: what is flushed and what the counters show; flushed only if netctl is away."""

    def remaining_s(self, session: Session) -> float | None:
        """Seconds left, at least 0; None: no limit."""

    def enter_by_terms(self, mac: str, ipv4: str | None, terms_version: str) -> Session:
        """One tap, under the plan of access.plan. Refusals: METHOD CLOSED FULL BLOCKED BUDGET."""

    def enter_by_code(self, mac: str, ipv4: str | None, typed_text: str) -> Session:
        """With a voucher or a return code, as it was typed. A return code moves the person's session to this device.

        Refusals: those of a tap, and CODE_WRONG CODE_EARLY CODE_LATE CODE_USED ATTEMPTS. METHOD is never said: where
        the site has no vouchers, their codes are wrong ones.
        """

    def enter_by_account(self, mac: str, ipv4: str | None, name: str, password: str) -> Session:
        """With an office's name and password. Refusals: those of a tap, and ACCOUNT_WRONG DEVICES ATTEMPTS."""

    def enter_by_rule(self, mac: str, ipv4: str | None) -> Session:
        """Without a tap, where an operator's rule on this MAC says "allow" (else METHOD). Refusals: CLOSED BUDGET."""

    def renew(self, session: Session, ipv4: str | None) -> Session:
        """A running session at the address that its device has now; one that ended meanwhile comes back as it ended."""

    def wait(self, mac: str) -> Place:
        """Join the queue of a full site, or keep the place there; each call says that the device is still waiting."""

    def told_moved(self, mac: str) -> None:
        """The device's owner has read that a return code took its place; ``visit().moved_wall_s`` is None from now."""

    def notices(self) -> list[Notice]:
        """Village news to show now, the latest change first."""

    def logout(self, session: Session) -> None:
        """Returns when the kernel has closed. Ending what has ended is no error."""

    def uplink(self) -> Uplink:
        """What the meter last found of the way to the Internet."""

    def note_arrival(self, mac: str, os: str, *, saw: bool) -> None:
        """The device asked the portal, and got a page if it ``saw`` one; ``os`` is one of rollup.OS_FAMILIES.

        For the counts of the day: it costs nothing, is written sometime soon, and raises nothing.
        """

    def start(self) -> None:
        """Start the thread that commits: after the fork, once per process."""

    def close(self) -> None:
        """Finish what waits, and end the thread."""
