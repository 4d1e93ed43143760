"""Makes the staff process ready while it is root: key, certificate, database, first passwords. It must not know pages.

What it makes belongs to the staff pages' user alone (portal.staffkey says why), but for the first passwords, which are
root's to read.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import pwd
from collections.abc import Mapping
from pathlib import Path

from netctl.api.client import Client
from portal import privileges, selfsigned, staffkey, wholefile, wsgi
from portal.config import SiteConfig
from portal.paths import Paths
from portal.staff.app import create_app
from portal.staff.shared import Shared
from portal.staffing import FIRST_USERS
from portal.store import setup
from portal.store.db import Database, StoreError

log = logging.getLogger("gerbang.staff")

CERTIFICATE = "certificate.pem"
MAX_BODY_BYTES = 8 * 1024 * 1024
"""A backup that is put back by a browser without scripts; forms have a limit of their own (portal.staff.app)."""


def prepare(config: SiteConfig, paths: Paths, user: pwd.struct_passwd) -> wsgi.Prepared:
    """All that portal.wsgi needs to serve the staff pages as ``user``.

    A database that cannot be had is said, and the pages say so too until it is mended.

    :raises OSError: the directory for key and certificate cannot be used, or the site's own certificate
    """
    key = staffkey.load_or_make(paths.staff, user.pw_uid, user.pw_gid)
    certificate, private = config.staff.certificate, config.staff.key
    if certificate is None or private is None:
        certificate = private = str(paths.staff / CERTIFICATE)
        selfsigned.ensure(Path(certificate), names(config), user.pw_uid, user.pw_gid)
    else:
        certificate, private = privileges.credential("certificate", certificate), privileges.credential("key", private)
    tls = wsgi.tls_context(certificate, private)
    shared = Shared(config, paths, key, Database(paths.database), Client(paths.netctl_socket))
    try:
        setup.ensure(paths.database)
        _first_users(shared)
    except StoreError as error:
        log.error("%s", error)
    shared.database.close()
    return wsgi.Prepared(create_app(shared), shared, tls, "gerbang-staff", MAX_BODY_BYTES)


def names(config: SiteConfig) -> list[str]:
    """What a browser may call this gateway."""
    return [config.portal.name, "gateway.lan", str(ipaddress.IPv4Interface(config.lan.address).ip)]


def _first_users(shared: Shared) -> None:
    path = shared.paths.staff_passwords
    address = f"https://{ipaddress.IPv4Interface(shared.config.lan.address).ip}:{shared.config.staff.port}"

    def tell(passwords: Mapping[str, str]) -> None:
        text = first_passwords(address, passwords)
        wholefile.write(path, text.encode(), wholefile.PRIVATE)  # root's to read
        for line in text.splitlines():
            log.info("%s", line)

    if not shared.staffing.make_first(shared.administration("gerbang", "system"), tell) and (
        shared.staffing.all_have_own_passwords()
    ):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def first_passwords(address: str, passwords: Mapping[str, str]) -> str:
    """The paper that a technician is handed."""
    lines = [f"  {name:<10} {password:<22} {FIRST_USERS[name].value}" for name, password in passwords.items()]
    return "\n".join(
        [
            f"Halaman petugas / staff pages: {address}",
            "Kata sandi pertama; masing-masing harus diganti saat pertama kali masuk.",
            "First passwords; each must be changed at its first login.",
            *lines,
            "",
        ]
    )
