"""Whose signature a box believes: the keys that were given, or keys of this machine's own for development.

It must not know what is signed. A development key is made once and kept in the cache: an image that trusts it says so
in its os-release, and takes no update of anybody else's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.commands import run
from image.errors import BuildError

KEY, CERTIFICATE, AUTHORITY = "GERBANG_UPDATE_KEY", "GERBANG_UPDATE_CERT", "GERBANG_UPDATE_CA"
DEVELOPMENT: Final = "development"
_YEARS_20: Final = "7300"
# P-256: OpenSSL's CMS, which RAUC signs with, refuses Ed25519.
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True, slots=True)
class Keys:
    """``authority`` is what is baked in; ``kind`` what os-release says of it."""

    key: Path
    certificate: Path
    authority: Path
    kind: str


def find(environment: Mapping[str, str], cache: Path) -> Keys:
    """The keys that the environment names, all or none of them; else development keys."""
    given = [name for name in (KEY, CERTIFICATE) if environment.get(name)]
    if not given:
        return development(cache / "keys")
    if len(given) == 1:
        missing = CERTIFICATE if given == [KEY] else KEY
        raise BuildError(os.EX_USAGE, f"{given[0]} is set, but {missing} is not.", "Set both, or neither.")
    certificate = Path(environment[CERTIFICATE])
    # A certificate that has signed itself is its own authority.
    keys = Keys(Path(environment[KEY]), certificate, Path(environment.get(AUTHORITY) or certificate), "given")
    for path in (keys.key, keys.certificate, keys.authority):
        if not path.is_file():
            raise BuildError(
                os.EX_NOINPUT, f"The update key's file {path} is not there.", f"See {KEY} in docs/image.md."
            )
    return keys


def development(directory: Path) -> Keys:
    keys = Keys(directory / "signer.key", directory / "signer.pem", directory / "authority.pem", DEVELOPMENT)
    print("image: WARNING: this image trusts this machine's development key. Whoever has it can replace what runs on")
    print(f"image: WARNING: every such box: {keys.key}. For villages set {KEY} and {CERTIFICATE}.", flush=True)
    if keys.certificate.exists():
        return keys
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    authority_key, request, extensions = (directory / name for name in ("authority.key", "signer.csr", "signer.ext"))
    subject = ("-subj", "/O=Gerbang/CN=Development authority")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    run(
        *("openssl", "req", "-x509", *_NEW_KEY, "-days", _YEARS_20, *subject, *usage),
        *("-keyout", authority_key, "-out", keys.authority),
        quiet=True,
    )
    run(
        *("openssl", "req", "-new", *_NEW_KEY, "-subj", "/O=Gerbang/CN=Development signer"),
        *("-keyout", keys.key, "-out", request),
        quiet=True,
    )
    extensions.write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n", encoding="ascii")
    partial = keys.certificate.with_suffix(".partial")
    run(
        *("openssl", "x509", "-req", "-in", request, "-CA", keys.authority, "-CAkey", authority_key, "-CAcreateserial"),
        *("-days", _YEARS_20, "-extfile", extensions, "-out", partial),
        quiet=True,
    )
    partial.rename(keys.certificate)
    return keys
