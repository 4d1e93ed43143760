"""Makes the staff pages' own certificate, for gateways that were given none. It must not know who serves it.

Browsers warn of it once; who accepts it sees no warning until the certificate is another. So it is kept for years, and
made anew only shortly before its end or when the gateway's name or address has changed.

Run as a program, ``python -m portal.selfsigned '{...}'``, so that the 10 MB of the library are nobody's for long.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from portal import clock, wholefile

if TYPE_CHECKING:
    from cryptography import x509

VALID: Final = dt.timedelta(days=3650)
RENEW_BEFORE: Final = dt.timedelta(days=30)
LOST_CLOCK: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
"""When a certificate begins that is made while the clock shows 1970: it is shown to phones that know better."""


def ensure(path: Path, names: Sequence[str], uid: int, gid: int) -> None:
    """Make sure that ``path`` holds a certificate for ``names`` with its key, one PEM file for ``uid`` alone.

    ``names`` are host names and IP addresses. Call it as root or as that user. Raises OSError, with the child's last
    words, where it cannot be made.
    """
    told = {"path": str(path), "names": list(names), "uid": uid, "gid": gid}
    done = subprocess.run(
        (sys.executable, "-P", "-m", "portal.selfsigned", json.dumps(told)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(f"{path} could not be made: {done.stderr.strip().rpartition(chr(10))[2]}")


def is_good(pem: bytes, names: Sequence[str], now: dt.datetime) -> bool:
    """Is it for exactly these names, and for more than RENEW_BEFORE?"""
    from cryptography import x509  # noqa: PLC0415 - in the child alone

    try:
        certificate = x509.load_pem_x509_certificate(pem)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    return found == _alternatives(names) and certificate.not_valid_after_utc - now > RENEW_BEFORE


def make(names: Sequence[str], now: dt.datetime) -> bytes:
    """A new ECDSA P-256 key (PKCS 8) and a certificate that it has signed itself, PEM."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0][:64])])
    begin = now - dt.timedelta(days=1) if clock.wall_is_plausible(now.timestamp()) else LOST_CLOCK
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + VALID)
        .add_extension(_alternatives(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


def _alternatives(names: Sequence[str]) -> x509.SubjectAlternativeName:
    from cryptography import x509  # noqa: PLC0415

    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)


def _main(told: dict[str, Any]) -> None:
    path, names = Path(told["path"]), told["names"]
    now = dt.datetime.now(dt.UTC)
    if not (path.exists() and is_good(path.read_bytes(), names, now)):
        wholefile.write(path, make(names, now), wholefile.PRIVATE, (told["uid"], told["gid"]))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
