"""Puts a backup in the gateway's place: checks all of it first, changes nothing before. It must not know any table.

Run by the supervisor as ``python -m portal.restore '{...}'`` with the backup as standard input, or, where no gateway
runs, called by `gerbang restore`. Root reads the archive and writes files; databases are opened as the data directory's
owner alone, in a child.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from msgspec import structs

from portal import backup, changes, control, prepare, privileges, site, uplinkport, wholefile
from portal.backup import BackupError, Unpacked
from portal.config import SiteConfig
from portal.paths import Paths
from portal.programs import Orders, decode, encode
from portal.site import SiteErrors
from portal.store import merge, setup
from portal.store.db import StoreError
from portal.update.places import Places

MEMORY_BYTES: Final = 1024**3  # of address space: an archive made to fill the memory fills no more


@dataclass(frozen=True, slots=True)
class Wish:
    """``force_site``: also where the backup is of another site. ``keep_site``: leave site.toml as it is."""

    by: str
    role: str
    force_site: bool = False
    keep_site: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done. ``site_changed``: site.toml is the backup's now. ``keys``: those that the backup had.

    ``port``: the backup's uplink.port where no card of this box is that; it kept its own.
    """

    site: str
    version: str
    schema: int
    created_wall_s: float
    kept: str | None
    carried: int
    ended: int
    staff_from_backup: bool
    site_changed: bool
    keys: tuple[str, ...]
    port: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def stand_alone(file: IO[bytes], paths: Paths, source: Path, user: str, wish: Wish) -> Restored:
    """Restore where no gateway runs; ``source`` is the site's own site.toml. As root.

    Raises BackupError, SiteErrors, StoreError, prepare.StartError, privileges.PrivilegeError.
    """
    account = privileges.account(user)
    lock = prepare.lock(paths)  # no gateway starts meanwhile
    try:
        prepare.directory(paths.data, account.pw_uid, account.pw_gid, 0o2771)
        with _checked(file, paths, source, wish) as (unpacked, config, port):
            restored = replace(_put_in_place(unpacked, config, paths, source, wish), port=port)
            if restored.site_changed:
                source.parent.mkdir(parents=True, exist_ok=True)
                changes.keep(source, unpacked.site)
            return restored
    finally:
        os.close(lock)


def in_running_gateway(file: IO[bytes], orders: Orders, wish: Wish) -> tuple[Restored, Orders | None]:
    """The supervisor's child: what was done, and new orders where site.toml changed, which is then to be confirmed."""
    paths, source = Paths(Path(orders.run), Path(orders.data)), Path(orders.source)
    with _checked(file, paths, source, wish) as (unpacked, config, port):
        restored = replace(_put_in_place(unpacked, config, paths, paths.site, wish), port=port)
        if not restored.site_changed:
            return restored, None
        return restored, prepare.apply(unpacked.site, orders)


@contextlib.contextmanager
def _checked(
    file: IO[bytes], paths: Paths, source: Path, wish: Wish
) -> Iterator[tuple[Unpacked, SiteConfig, str | None]]:
    """The backup, unpacked, the configuration that will hold: nothing that could be wrong with them is left; and
    Restored.port."""
    with backup.working_directory(paths.data, "restore") as folder:
        unpacked = backup.unpack(file, folder)
        manifest = unpacked.manifest
        present = _site(source)
        here = None if present is None else present.site.code
        if here is not None and here != manifest.site and not wish.force_site:
            message = f"The backup is of {manifest.site} {manifest.name}; this gateway is {here}."
            raise BackupError(message.replace("  ", " "), "If this box is to become that site's: --force-site.")
        owner = paths.data.stat()
        for path in (folder, unpacked.database):
            os.chown(path, owner.st_uid, owner.st_gid)
        port = None
        if not wish.keep_site and Places().is_box:
            own = None if present is None else present.uplink.port
            text, port = uplinkport.fitted(unpacked.site, own, uplinkport.cards())
            unpacked = structs.replace(unpacked, site=text)
        made = _write_missing_keys(unpacked, wish)
        try:
            config = site.load(source) if wish.keep_site else prepare.checked(unpacked.site, source.name)
            if config.site.code != manifest.site and not wish.keep_site:
                raise BackupError("The backup's site.toml is of another site than its manifest.", "Use another backup.")
            _prepare_database(unpacked.database, paths)
        except BaseException:
            for path in made:
                path.unlink(missing_ok=True)
            raise
        yield unpacked, config, port


def _site(source: Path) -> SiteConfig | None:
    """What this gateway is; None where it is none yet."""
    if not source.exists():
        return None
    try:
        return site.load(source)
    except SiteErrors:
        return None


def _write_missing_keys(unpacked: Unpacked, wish: Wish) -> list[Path]:
    """Put certificates and keys where site.toml names them; a file that is there stays."""
    if wish.keep_site or not unpacked.keys:
        return []
    import tomllib  # noqa: PLC0415

    try:
        config, _ = site.check_document("site.toml", tomllib.loads(unpacked.site), files=False, here=False)
    except tomllib.TOMLDecodeError:
        config = None
    made = []
    for name, content in unpacked.keys.items() if config else ():
        path = backup.path_of(config, name) if config else None
        if path is not None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            wholefile.write(path, content, wholefile.PRIVATE if name.endswith(".key") else wholefile.READABLE)
            made.append(path)
    return made


def _prepare_database(database: Path, paths: Paths) -> None:
    def work() -> object:
        from portal.store import migrations  # noqa: PLC0415  before root is given up, to read it

        setup.become_owner_of(paths.data)
        return merge.check_and_migrate(database, migrations.migrate, database.with_name("pristine.db"))

    setup.in_child(work)


def _put_in_place(unpacked: Unpacked, config: SiteConfig, paths: Paths, present: Path, wish: Wish) -> Restored:
    """From here on nothing can be wrong any more but the disk. ``present``: the site.toml that holds until now."""
    manifest = unpacked.manifest
    staff = manifest.staff_key is not None and manifest.staff_key == backup.staff_key_name(paths)
    what = {"site": manifest.site, "created_wall_s": manifest.created_wall_s, "version": manifest.version}
    order = merge.Restore(unpacked.database, manifest.created_wall_s, staff, wish.by, wish.role, what)

    def work() -> object:
        setup.become_owner_of(paths.data)
        return asdict(merge.replace_with(paths.database, order))

    told = setup.in_child(work)
    assert isinstance(told, dict)  # noqa: S101 - what was just made
    merged = merge.Merged(**told)
    return Restored(
        site=config.site.code,
        version=manifest.version,
        schema=manifest.schema,
        created_wall_s=manifest.created_wall_s,
        kept=merged.kept,
        carried=merged.carried,
        ended=merged.ended,
        staff_from_backup=staff,
        site_changed=not wish.keep_site and _text(present) != unpacked.site,
        keys=tuple(sorted(unpacked.keys)),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def answer_of(file: IO[bytes], told: Mapping[str, Any]) -> dict[str, Any]:
    """What the supervisor is told: what was restored and the new orders, or why nothing was."""
    orders = decode(json.dumps(told["orders"]))
    wish = Wish(told["by"], told.get("role", "technician"), bool(told["force_site"]), bool(told["keep_site"]))
    try:
        restored, following = in_running_gateway(file, orders, wish)
    except SiteErrors as errors:
        return {"error": prepare.refusal_of(errors)}
    except (BackupError, StoreError) as error:
        return {"error": {"code": control.FAILED, "message": error.message, "hint": error.hint}}
    except (OSError, MemoryError, KeyError) as error:
        return {"error": {"code": control.FAILED, "message": f"The backup was not restored: {error!r}.", "hint": ""}}
    return {"restored": restored.as_json(), "orders": following and encode(following)}


def account_name() -> str:
    """Who sits at this command line, for the audit trail."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(json.dumps(answer_of(sys.stdin.buffer, json.loads(sys.argv[1]))))
