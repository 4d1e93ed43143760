"""Seals what leaves the box for the office, and signs it. It must not know what is sealed, nor SQL.

The office has one key with two halves: what is sealed for the first (X25519, HPKE of RFC 9180) only the office opens;
with the second (Ed25519, RFC 8032) it signs orders. Its public line stands in site.toml. Each gateway has a signing key
of its own (Ed25519), made on the device and never copied from it. docs/export-format.md has it all for other programs.

The library is loaded where it is needed: it costs some 10 MB, and site.toml is checked without it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portal import staffkey, wholefile

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hpke

OFFICE_LINE: Final = "gerbang-office-1"
SECRET_FORMAT: Final = "gerbang-office-secret"  # noqa: S105 - the name of a format
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MIN_PASSPHRASE: Final = 16  # characters
SIGNING_FILE: Final = "signing"
_CHECK_BYTES: Final = 6  # one wrong line in 2^48 passes
_GROUP: Final = 8  # letters between two dashes
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648, 6; no 0 1 8 9
_ARGON2: Final = {"memory_kib": 65_536, "passes": 3, "lanes": 4}  # RFC 9106's second choice
_MAX_ARGON2: Final = {"memory_kib": 4_194_304, "passes": 64, "lanes": 64}


class SealingError(Exception):
    """A key, signature or sealed text is not what it should be: a sentence, and what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class OfficeKey:
    """The public half: 32 bytes each. ``sealing`` is X25519, ``signing`` Ed25519."""

    sealing: bytes
    signing: bytes

    @property
    def line(self) -> str:
        """What stands in site.toml under office.key: RFC 4648's base32 of both and of a checksum, in groups."""
        keys = self.sealing + self.signing
        text = base64.b32encode(keys + _checksum(keys)).decode().lower()
        return "-".join((OFFICE_LINE, *(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.sealing + self.signing)


def _checksum(keys: bytes) -> bytes:
    return hashlib.sha256(OFFICE_LINE.encode() + keys).digest()[:_CHECK_BYTES]


def fingerprint(public: bytes) -> str:
    """Names a public key to people: the head of its SHA-256, 20 hexadecimal digits in groups of 4."""
    text = hashlib.sha256(public).hexdigest()[:20]
    return "-".join(text[at : at + 4] for at in range(0, 20, 4))


def parse_office_key(line: str) -> OfficeKey:
    """The key in a line; case, spaces and dashes do not matter. Raises SealingError that says what is wrong with it."""
    text = "".join(line.split()).lower()
    if not text.startswith(OFFICE_LINE):
        if text.startswith(OFFICE_LINE.rpartition("-")[0]):
            raise SealingError(
                "This office key is of a newer sort.", "Install the Gerbang that made it, or a newer one."
            )
        raise SealingError(f'An office key begins with "{OFFICE_LINE}-".', _HINT)
    text = text.removeprefix(OFFICE_LINE).replace("-", "")
    if wrong := next((letter for letter in text if letter not in _ALPHABET), None):
        raise SealingError(f'The office key holds "{wrong}", which no key has; letters and 2 to 7 only.', _HINT)
    expected = (2 * KEY_BYTES + _CHECK_BYTES) * 8 // 5
    if len(text) != expected:
        raise SealingError(f"The office key has {len(text)} letters after its name, not {expected}.", _HINT)
    decoded = base64.b32decode(text.upper())
    keys, check = decoded[: 2 * KEY_BYTES], decoded[2 * KEY_BYTES :]
    if not secrets.compare_digest(check, _checksum(keys)):
        raise SealingError("A letter of the office key is wrong: its checksum does not fit.", _HINT)
    return OfficeKey(keys[:KEY_BYTES], keys[KEY_BYTES:])


_HINT: Final = "Copy the whole line that `gerbang office key` printed at the office."


# --- sealing --------------------------------------------------------------------------------------------------------


def load() -> None:
    """Load the ciphers now: for who will give up the right to read them from the disk."""
    import cryptography.exceptions  # noqa: F401, PLC0415
    from cryptography.hazmat.primitives.ciphers import aead  # noqa: F401, PLC0415

    nobody = OfficeSecret(bytes(KEY_BYTES), bytes(KEY_BYTES))
    nobody.open(b"", seal(nobody.key, b"", b""))  # the libraries load parts of their own at first use


def suite() -> hpke.Suite:
    """DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305: fast where the processor has no AES, as on a Pi 4."""
    from cryptography.hazmat.primitives import hpke  # noqa: PLC0415

    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def seal(office: OfficeKey, info: bytes, content: bytes) -> bytes:
    """``content`` for the office alone: HPKE in base mode, single shot; 32 bytes of key share, then the ciphertext.

    ``info`` says what this is, and is needed again to open it: nothing passes for something else.
    """
    from cryptography.hazmat.primitives.asymmetric import x25519  # noqa: PLC0415

    return suite().encrypt(content, x25519.X25519PublicKey.from_public_bytes(office.sealing), info)


# --- the office's own half ------------------------------------------------------------------------------------------


class OfficeSecret:
    """The private half, which is at the office only. It opens what was sealed for it, and signs orders to gateways."""

    def __init__(self, sealing: bytes, signing: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric import ed25519, x25519  # noqa: PLC0415

        self._sealing = x25519.X25519PrivateKey.from_private_bytes(sealing)
        self._signing = ed25519.Ed25519PrivateKey.from_private_bytes(signing)
        self._bytes = sealing + signing
        self.key = OfficeKey(
            self._sealing.public_key().public_bytes_raw(), self._signing.public_key().public_bytes_raw()
        )

    def open(self, info: bytes, sealed: bytes) -> bytes:
        """What ``seal`` was given. Raises SealingError where it was for another office or thing, or is altered."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        try:
            return suite().decrypt(sealed, self._sealing, info)
        except (InvalidTag, ValueError):
            raise SealingError(
                "This cannot be opened: it was sealed for another key, or altered since.",
                "Use the office's private key whose public line stood in site.toml then.",
            ) from None

    def sign(self, purpose: str, message: bytes) -> bytes:
        return self._signing.sign(_framed(purpose, message))

    def locked(self, passphrase: str) -> bytes:
        """The file that keeps it: JSON, both halves under ChaCha20-Poly1305 with a key that Argon2id makes."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415

        salt, nonce = os.urandom(16), os.urandom(12)
        sealed = ChaCha20Poly1305(_stretched(passphrase, salt, **_ARGON2)).encrypt(
            nonce, self._bytes, self.key.line.encode()
        )
        told = {
            "format": SECRET_FORMAT,
            "version": 1,
            "public": self.key.line,
            "argon2id": {**_ARGON2, "salt": salt.hex()},
            "chacha20poly1305": {"nonce": nonce.hex(), "sealed": sealed.hex()},
        }
        return json.dumps(told, indent=2).encode() + b"\n"


def new_office_secret() -> OfficeSecret:
    return OfficeSecret(os.urandom(KEY_BYTES), os.urandom(KEY_BYTES))


def objection(passphrase: str) -> str | None:
    """What is wrong with a passphrase; None: nothing. What it protects must stand guesses by whoever has the file."""
    if len(passphrase) < MIN_PASSPHRASE:
        return f"The passphrase has {len(passphrase)} characters; {MIN_PASSPHRASE} at least, like four or five words."
    return None


def unlock(content: bytes, passphrase: str) -> OfficeSecret:
    """What ``locked`` made. Raises SealingError."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415

    other = "Choose the file that `gerbang office key` wrote."
    try:
        told = json.loads(content)
        if told["format"] != SECRET_FORMAT or told["version"] != 1:
            raise SealingError("This private key is of a newer sort.", "Install the Gerbang that made it.")
        costs = {name: int(told["argon2id"][name]) for name in _ARGON2}
        salt = bytes.fromhex(told["argon2id"]["salt"])
        nonce, sealed = (bytes.fromhex(told["chacha20poly1305"][name]) for name in ("nonce", "sealed"))
        public = str(told["public"])
        if any(not 0 < cost <= _MAX_ARGON2[name] for name, cost in costs.items()) or len(nonce) != 12:
            raise ValueError
        stretched = _stretched(passphrase, salt, **costs)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SealingError("This file is no private key of an office.", other) from None
    try:
        both = ChaCha20Poly1305(stretched).decrypt(nonce, sealed, public.encode())
    except InvalidTag:
        raise SealingError("The passphrase is wrong, or the file was altered.", "Try again; mind capitals.") from None
    return OfficeSecret(both[:KEY_BYTES], both[KEY_BYTES:])


def _stretched(passphrase: str, salt: bytes, *, memory_kib: int, passes: int, lanes: int) -> bytes:
    from argon2.exceptions import HashingError  # noqa: PLC0415
    from argon2.low_level import Type, hash_secret_raw  # noqa: PLC0415

    secret = unicodedata.normalize("NFC", passphrase).encode()
    try:
        return hash_secret_raw(secret, salt, passes, memory_kib, lanes, KEY_BYTES, Type.ID)
    except HashingError as error:
        raise ValueError(str(error)) from None


# --- signing --------------------------------------------------------------------------------------------------------


class SigningKey:
    """The gateway's own. ``public`` is 32 bytes; ``fingerprint`` is what the office notes of it."""

    def __init__(self, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        self.fingerprint = fingerprint(self.public)

    def sign(self, purpose: str, message: bytes) -> bytes:
        """64 bytes. What is signed for one purpose is no signature for another."""
        return self._key.sign(_framed(purpose, message))


def verify(public: bytes, purpose: str, message: bytes, signature: bytes) -> bool:
    """Did the owner of this Ed25519 key sign it for this purpose?"""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, _framed(purpose, message))
    except (InvalidSignature, ValueError):
        return False
    return True


def _framed(purpose: str, message: bytes) -> bytes:
    return purpose.encode() + b"\0" + message


def load_signing(directory: Path) -> SigningKey:
    """The key that ``load_or_make_signing`` made. Raises OSError, ValueError."""
    return SigningKey((directory / SIGNING_FILE).read_bytes())


def load_or_make_signing(directory: Path, uid: int, gid: int) -> SigningKey:
    """The gateway's key in ``directory`` (Paths.staff), made first where it is missing, as the staff pages' key is.

    Raises OSError where it cannot be had. As root or as that user.
    """
    staffkey.make_directory(directory, uid, gid)
    path = directory / SIGNING_FILE
    if not path.exists():
        wholefile.write(path, os.urandom(KEY_BYTES), wholefile.PRIVATE, (uid, gid))
    return load_signing(directory)
