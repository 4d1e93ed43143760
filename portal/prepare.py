"""Makes everything ready for the gateway's processes and turns into their supervisor. It must not know how they work.

Checks site.toml, makes the directories, writes the configurations of netctl and dnsmasq, brings the database up to
date. All that is heavy happens here; the exec at the end gives its memory back.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from netctl.api.types import encode
from portal import blocklist, certificate, claim, clock, control, dnsmasq, privileges, site, wholefile
from portal.config import SiteConfig
from portal.logline import log
from portal.paths import Paths
from portal.processes import python
from portal.programs import ORDERS, Orders, decode, put
from portal.programs import encode as encode_orders
from portal.store import setup
from portal.store.db import StoreError

DNSMASQ_USER = "dnsmasq"
OURS = {claim.NAME, "gerbang.db", "gerbang.db.epoch", "dnsmasq", "leases"}  # by these a directory is known again


class StartError(Exception):
    """The gateway cannot be started here: ``status`` (sysexits), ``message``, and ``hint``."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.status = status
        self.message = message
        self.hint = hint


def start(path: Path, paths: Paths, user: str, keep: bool) -> NoReturn:
    """Prepare all and become the supervisor. Raises SiteErrors, StartError, PrivilegeError; nothing runs yet then."""
    orders = ready(path, paths, user, keep)
    argv = python("portal.run", encode_orders(orders))
    os.execve(argv[0], argv, environment())  # noqa: S606  no shell is what is wanted


def ready(path: Path, paths: Paths, user: str, keep: bool, *, here: bool = True) -> Orders:
    """Prepare all; the orders of who then looks after the processes, the run directory's lock among them.

    ``here`` as in portal.site.check. Raises SiteErrors, StartError, PrivilegeError.
    """
    if os.geteuid() != 0:
        raise StartError(os.EX_NOPERM, "Only root can run a gateway.", "Start it with sudo.")
    config, mistakes = site.check(path, here=here)
    if config is None:
        raise site.SiteErrors(mistakes)
    account, dnsmasq_account = privileges.account(user), privileges.account(DNSMASQ_USER)
    staff_account = privileges.account(privileges.STAFF_USER)
    orders = Orders(
        run=str(paths.run),
        data=str(paths.data),
        site=str(paths.site),
        source=str(path.absolute()),
        user=user,
        staff_user=privileges.STAFF_USER,
        group=account.pw_gid,
        writers=(staff_account.pw_uid,),
        dnsmasq=program("dnsmasq", "dnsmasq-base"),
        dnsmasq_user=f"{dnsmasq_account.pw_uid}",
        dnsmasq_group=f"{dnsmasq_account.pw_gid}",
        setpriv=program("setpriv", "util-linux"),
        keep=keep,
        lock=lock(paths),
        **_of_site(config, paths),
    )
    # The portal's group shares the database: guest and meter are one user, the staff pages another. Others may pass
    # through, as dnsmasq does to its two files, but neither list nor read.
    directory(paths.data, account.pw_uid, account.pw_gid, 0o2771)
    # dnsmasq writes its leases, the portal reads them: who has a lease, and why another has none.
    directory(paths.leases.parent, dnsmasq_account.pw_uid, account.pw_gid, 0o750)
    os.chown(paths.run, 0, account.pw_gid)
    write_configurations(path.read_text(encoding="utf-8"), config, orders)
    os.environ["TZ"] = config.site.timezone
    time.tzset()
    try:
        setup.ensure(paths.database)
    except StoreError as error:
        # Whoever is online stays so, and the page says what is wrong: a gateway that does not start helps nobody.
        log("gerbang", str(error))
    log("gerbang", f"{config.site.code} {config.site.name} on {config.lan.interface}, uplink {config.uplink.interface}")
    return orders


def write_configurations(text: str, config: SiteConfig, orders: Orders) -> None:
    """Write what the processes read when they start: the site's copy, the orders, what netctl and dnsmasq are told."""
    paths = Paths(Path(orders.run), Path(orders.data))
    writers = (pwd.getpwnam(orders.user).pw_uid, *orders.writers)
    told = site.gateway_config(config, paths, writers, orders.group)
    put(paths.run, paths.site.name, text, orders.group)
    put(paths.run, paths.netctl_config.name, msgspec.json.format(encode(told)) + b"\n", orders.group)
    write_dnsmasq(config, paths)
    put(paths.run, ORDERS, encode_orders(orders), orders.group)


def apply(text: str, orders: Orders) -> Orders:
    """Check ``text`` for this machine and write what its processes read; the orders that go with it.

    Raises SiteErrors, and nothing is written then.
    """
    paths = Paths(Path(orders.run), Path(orders.data))
    config = checked(text, Path(orders.source).name)
    following = replace(orders, **_of_site(config, paths))
    write_configurations(text, config, following)
    return following


def _of_site(config: SiteConfig, paths: Paths) -> dict[str, Any]:
    """What of the orders follows from site.toml."""
    certificate = config.portal.certificate
    return {
        "timezone": config.site.timezone,
        "port": config.portal.port,
        "tls_port": config.portal.tls_port if certificate else None,
        "staff_port": config.staff.port,
        "certificate": certificate,
        "key": config.portal.key,
        "staff_certificate": config.staff.certificate,
        "staff_key": config.staff.key,
        "refresh": _refresh(paths) if certificate else None,
    }


def checked(text: str, name: str) -> SiteConfig:
    """The configuration in ``text``, of a file called ``name``. Raises SiteErrors with all mistakes, those here too."""
    config, mistakes = site.check_text(name, text, files=True, here=True)
    if config is None:
        raise site.SiteErrors(mistakes)
    return config


def environment() -> dict[str, str]:
    """What children get to see of this process's environment, and what makes Python frugal."""
    wanted = ("LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TMPDIR")
    kept = {name: os.environ[name] for name in wanted if name in os.environ}
    # glibc, mallopt(3): one arena; and a threshold that stays, so that the 19 MiB of a password check go back at once.
    frugal = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    return {**kept, "PATH": search_path(), "PYTHONUNBUFFERED": "1", **frugal}


def search_path() -> str:
    """Where programs are looked for; `su` without `-` leaves out the directories of the system's own."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def lock(paths: Paths) -> int:
    """A descriptor that holds the run directory for one gateway, and that the exec leaves open."""
    directory(paths.run, 0, 0, 0o751)
    try:
        descriptor = claim.claim(paths.run)
    except claim.TakenError as error:
        hint = f"Stop that one ({error}), or give this one its own --run-dir and --data-dir."
        raise StartError(os.EX_TEMPFAIL, f"Another gateway is running in {paths.run}.", hint) from None
    os.set_inheritable(descriptor, True)
    return descriptor


def directory(path: Path, uid: int, gid: int, mode: int) -> None:
    """Make it, or take over one that is empty or ours. Raises StartError for any other: it may be somebody's home."""
    path.mkdir(parents=True, exist_ok=True)
    names = {entry.name for entry in path.iterdir()} - {"lost+found"}
    if names and names.isdisjoint(OURS):
        message = f"The directory {path} holds other things ({', '.join(sorted(names)[:3])})."
        raise StartError(os.EX_CANTCREAT, message, "Name an empty one, or one that does not exist yet.")
    os.chown(path, uid, gid)
    path.chmod(mode)


def write_dnsmasq(config: SiteConfig, paths: Paths) -> None:
    """Write dnsmasq.conf for this moment: the https API is announced while its certificate and the clock are good."""
    announce = False
    if config.portal.certificate and config.portal.key:
        try:
            found = certificate.read(config.portal.certificate, config.portal.key)
            announce = found.announceable(time.time(), clock.wall_is_trusted())
        except certificate.CertificateError as error:
            log("gerbang", str(error))
    if blocklist.is_used(config.block):
        wholefile.write(paths.dnsmasq_block, dnsmasq.render_block(config.block).encode())
    wholefile.write(paths.dnsmasq_config, dnsmasq.render(config, paths, announce_api=announce).encode())


def _refresh(paths: Paths) -> tuple[str, ...]:
    return python("portal.prepare", json.dumps({"do": "refresh", "run": str(paths.run), "data": str(paths.data)}))


def program(name: str, package: str) -> str:
    if found := shutil.which(name, path=search_path()):
        return found
    raise StartError(os.EX_UNAVAILABLE, f"The program {name} is not installed.", f"Install it: apt install {package}")


def answer_of(text: str, orders: Orders) -> dict[str, Any]:
    """What the supervisor is told of a configuration that it is to try: the new orders, or all that is wrong."""
    try:
        return {"orders": encode_orders(apply(text, orders))}
    except site.SiteErrors as errors:
        return {"error": refusal_of(errors)}
    except (OSError, UnicodeEncodeError) as error:
        message = f"The configuration could not be written: {error}."
        return {"error": {"code": control.FAILED, "message": message, "hint": "Is the disk or /run full?"}}


def refusal_of(errors: site.SiteErrors) -> dict[str, Any]:
    """A ControlError's arguments for the mistakes of a configuration."""
    count = len(errors.mistakes)
    message = f"The configuration has {count} mistake{'s' * (count != 1)}; nothing was changed."
    told = [msgspec.to_builtins(mistake) for mistake in errors.mistakes]
    return {"code": control.MISTAKES, "message": message, "hint": "Mend all of them, then try again.", "mistakes": told}


def main(argument: str) -> None:
    """A child of the supervisor: ``refresh`` dnsmasq's file for this moment, or ``apply`` the site.toml on stdin."""
    told = json.loads(argument)
    if told["do"] == "refresh":
        there = Paths(Path(told["run"]), Path(told["data"]))
        write_dnsmasq(site.load(there.site), there)
        return
    print(json.dumps(answer_of(sys.stdin.read(), decode(json.dumps(told["orders"])))))


if __name__ == "__main__":
    main(sys.argv[1])
