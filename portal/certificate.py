"""Reads what the gateway must know of its own certificate: dates, names, key. It must not know Flask or sockets.

OpenSSL is loaded inside the functions: the processes that live long and serve no TLS import this module too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ANNOUNCE_FOR_S: Final = 7 * 86_400


class CertificateError(Exception):
    """``message`` says which file cannot be used and why, ``hint`` what to do; ``part`` is certificate or key."""

    def __init__(self, part: str, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.part = part
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Certificate:
    """Validity in Unix seconds, and the DNS names it holds for (wildcards as written)."""

    not_before_s: float
    not_after_s: float
    names: tuple[str, ...]

    def covers(self, name: str) -> bool:
        """Does it hold for this host name? A wildcard stands for exactly one label (RFC 9525, 6.3)."""
        wildcard = "*." + name.partition(".")[2]
        return any(known.lower() in (name, wildcard) for known in self.names)

    def announceable(self, now_s: float, clock_trusted: bool) -> bool:
        """May DHCP send phones to the https API? Only while it stays valid for 7 more days by a clock that is right.

        A phone that is sent to an API it cannot trust shows its user an error in place of the portal.
        """
        return clock_trusted and self.not_before_s <= now_s <= self.not_after_s - ANNOUNCE_FOR_S


def read(certificate: str | Path, key: str | Path) -> Certificate:
    """The leaf certificate in a PEM file, after OpenSSL has accepted it together with its key.

    Raises CertificateError where a file is missing, unreadable, no PEM, or the key is another certificate's.
    """
    import ssl  # noqa: PLC0415  3 MB that only a gateway with a certificate needs

    for part, path in (("certificate", certificate), ("key", key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise CertificateError(
                part,
                f"The {part} {path} cannot be read: {(error.strerror or str(error)).lower()}.",
                "Put the file there, readable for root, or remove the keys certificate and key to serve plain http.",
            ) from None
    try:
        # The module's only function that returns a certificate's dates without a connection; CPython keeps it
        # for its own tests, and tests/unit/site holds that it still answers.
        fields = ssl._ssl._test_decode_cert(str(certificate))  # type: ignore[attr-defined]
    except ssl.SSLError:
        raise CertificateError(
            "certificate", f"{certificate} holds no certificate.", "It must be a PEM file: -----BEGIN CERTIFICATE-----."
        ) from None
    try:
        # An empty password: a locked key must be refused here, not asked for on a terminal that nobody watches.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message, hint = (
                f"The key {key} belongs to another certificate.",
                "Use the key that the request was made with.",
            )
        else:
            message, hint = (
                f"{key} holds no usable private key.",
                "It must be an unlocked PEM key: -----BEGIN PRIVATE KEY-----.",
            )
        raise CertificateError("key", message, hint) from None
    return Certificate(
        not_before_s=float(ssl.cert_time_to_seconds(fields["notBefore"])),
        not_after_s=float(ssl.cert_time_to_seconds(fields["notAfter"])),
        names=tuple(value for kind, value in fields.get("subjectAltName", ()) if kind == "DNS"),
    )
