"""Makes one file of all that must move to a replacement gateway, and reads such a file, believing nothing in it.

It must not know how a backup is put in place (portal.restore) nor what tables hold.

The file is a tar.gz: ``manifest.json`` first, with size and SHA-256 of the others; ``site.toml``; ``gerbang.db``, a
consistent copy (sqlite.org/backup.html); and, only where they were asked for, certificates and private keys under
``keys/``. It holds people's MACs and vouchers: it is to be kept like the gateway itself.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import msgspec

from portal import site, staffkey
from portal.config import SiteConfig
from portal.paths import Paths
from portal.release import VERSION
from portal.store import db

FORMAT: Final = 1
KIND: Final = "gerbang backup"
MANIFEST: Final = "manifest.json"
SITE: Final = "site.toml"
DATABASE: Final = "gerbang.db"
KEYS: Final = ("portal.certificate", "portal.key", "staff.certificate", "staff.key")  # keys of site.toml with a path
MAX_SMALL_BYTES: Final = 1024 * 1024
MAX_DATABASE_BYTES: Final = 4 * 1024**3
_STALE_S: Final = 3600.0
# Tables left out: what means nothing on another day, what is made again from the usage log (portal.store.rollups), and
# batches for the office, which a restored database makes again of all days (up to 200 MB that nobody needs twice).
_LEFT_OUT: Final = ("staff_session", "waiting", "arrival", "outbox_batch", "outbox_epoch", "outbox_sent", "projection")
_RECORDS: Final = "record_*"


class BackupError(Exception):
    """A backup cannot be made, read or used: a sentence, and what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup is of. ``staff_key``: tells whether staff passwords in it hold on a gateway (portal.staffkey)."""

    kind: str
    format: int
    version: str
    site: str
    name: str
    schema: int
    created_wall_s: float
    staff_key: str | None
    files: dict[str, File]


class Unpacked(msgspec.Struct, frozen=True):
    """A backup whose every byte was checked. ``database`` is a file; ``keys`` contents by their key of site.toml."""

    manifest: Manifest
    site: str
    database: Path
    keys: dict[str, bytes]


def file_name(code: str, wall_s: float) -> str:
    """What a backup is called: ``gerbang-64.03.01.2001-20261124-0915.tar.gz``, on the site's clock."""
    return f"gerbang-{code}-{time.strftime('%Y%m%d-%H%M', time.localtime(wall_s))}.tar.gz"


def make(out: IO[bytes], paths: Paths, site_file: Path, *, keys: bool = False) -> Manifest:
    """Write a backup of the gateway in ``paths`` to ``out``. The gateway may run. Raises BackupError, StoreError.

    ``keys``: with the private keys that site.toml names, which only root can read.
    """
    try:
        text = site_file.read_text(encoding="utf-8")
        config = site.load(site_file)
    except (OSError, UnicodeDecodeError, site.SiteErrors) as error:
        raise BackupError(f"{site_file} cannot be backed up: {error}", "Mend it first: `gerbang check`.") from None
    secrets = dict(_key_files(config)) if keys else {}
    with working_directory(paths.data, "backup") as folder:
        copy = folder / DATABASE
        schema = copy_database(paths.database, copy)
        contents: dict[str, Path | bytes] = {SITE: text.encode(), DATABASE: copy}
        contents |= {f"keys/{key}": content for key, content in secrets.items()}
        manifest = Manifest(
            kind=KIND,
            format=FORMAT,
            version=VERSION,
            site=config.site.code,
            name=config.site.name,
            schema=schema,
            created_wall_s=time.time(),
            staff_key=staff_key_name(paths),
            files={name: _described(content) for name, content in contents.items()},
        )
        listed = msgspec.json.format(msgspec.json.encode(manifest))
        # A year is 115 MB; packed harder it would be a tenth smaller and take three times as long.
        with (
            gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for name, content in ({MANIFEST: listed} | contents).items():
                _add(archive, name, content, int(manifest.created_wall_s))
    return manifest


def _key_files(config: SiteConfig) -> Iterator[tuple[str, bytes]]:
    for key in KEYS:
        path = path_of(config, key)
        if path is not None:
            try:
                yield key, path.read_bytes()
            except OSError as error:
                message = f"{path} cannot be read: {error.strerror}."
                raise BackupError(message, "Only root can back up private keys; leave --keys out.") from None


def path_of(config: SiteConfig, key: str) -> Path | None:
    """The path that stands in site.toml under one of KEYS."""
    table, _, name = key.partition(".")
    value = getattr(getattr(config, table), name)
    return None if value is None else Path(value)


def staff_key_name(paths: Paths) -> str | None:
    """Tells this gateway's staff key from another's; None where there is none, or it cannot be read."""
    try:
        return staffkey.load(paths.staff).name
    except (OSError, ValueError):
        return None


def copy_database(path: Path, copy: Path) -> int:
    """A consistent copy of a database in use, but for _LEFT_OUT; its schema's version. Raises StoreError."""
    with contextlib.closing(db.connect(path)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        try:
            # In one reading transaction: else each write of another connection begins the copy anew.
            source.execute("BEGIN")
            source.execute("SELECT 1 FROM sqlite_schema").fetchone()
            source.backup(target, pages=1000, sleep=0.01)
            target.execute("PRAGMA secure_delete = ON")
            records = target.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB ?", (_RECORDS,))
            for table in (*_LEFT_OUT, *(row[0] for row in records.fetchall())):
                target.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
            target.commit()
            target.execute("PRAGMA journal_mode = DELETE")
            return db.schema_version(target)
        except sqlite3.Error as error:
            raise db.store_error(error, copy) from error


@contextlib.contextmanager
def working_directory(data: Path, purpose: str) -> Iterator[Path]:
    """A directory on the data disk for the time of one piece of work; what a power cut left of earlier ones goes."""
    prefix = f".{purpose}-"
    for old in data.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _STALE_S:
                shutil.rmtree(old)
    try:
        folder = Path(tempfile.mkdtemp(dir=data, prefix=prefix))
    except OSError as error:
        raise db.store_error(error, data) from error
    try:
        yield folder
    except OSError as error:
        raise db.store_error(error, folder) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _described(content: Path | bytes) -> File:
    if isinstance(content, bytes):
        return File(len(content), hashlib.sha256(content).hexdigest())
    with content.open("rb") as file:
        return File(content.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes, wall_s: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = 0o600, wall_s
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        return
    entry.size = content.stat().st_size
    with content.open("rb") as file:
        archive.addfile(entry, file)


# --- reading --------------------------------------------------------------------------------------------------------


def unpack(file: IO[bytes], folder: Path) -> Unpacked:
    """Read a backup to its end, its database into ``folder``. Nothing outside of that is written.

    Raises BackupError for a file of any other kind, and for one that was cut short or changed.
    """
    again = "Copy it again from where it was made; check that the copy has the same size."
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as archive:
            first = archive.next()
            if first is None or first.name != MANIFEST or not first.isreg() or first.size > MAX_SMALL_BYTES:
                raise BackupError("This file is no backup of Gerbang.", "Choose the file that `gerbang backup` made.")
            manifest = _manifest(_content(archive, first))
            small: dict[str, bytes] = {}
            while (entry := archive.next()) is not None:
                listed = manifest.files.get(entry.name)
                if listed is None or not entry.isreg() or entry.size != listed.bytes or entry.name in small:
                    raise BackupError(f"The backup holds {entry.name!r}, which its manifest does not name so.", again)
                if entry.name == DATABASE:
                    _write(archive, entry, folder / DATABASE, listed)
                    small[entry.name] = b""
                    continue
                if entry.size > MAX_SMALL_BYTES:
                    raise BackupError(f"{entry.name} in the backup is too large.", again)
                small[entry.name] = content = _content(archive, entry)
                if hashlib.sha256(content).hexdigest() != listed.sha256:
                    raise BackupError(f"{entry.name} in the backup is damaged.", again)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise BackupError("There is no room on the disk for the backup.", "Free space, then try again.") from None
        raise BackupError(f"The backup cannot be read to its end: {error}.", again) from None
    if missing := set(manifest.files) - set(small):
        raise BackupError(f"The backup lacks {', '.join(sorted(missing))}.", again)
    try:
        text = small[SITE].decode()
    except UnicodeDecodeError:
        raise BackupError("site.toml in the backup is not UTF-8 text.", again) from None
    keys = {name.removeprefix("keys/"): content for name, content in small.items() if name.startswith("keys/")}
    return Unpacked(manifest, text, folder / DATABASE, keys)


def _manifest(content: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        hint = "Choose the file that `gerbang backup` made; a newer Gerbang's needs that version."
        raise BackupError(f"The backup's manifest cannot be read: {error}.", hint) from None
    if manifest.kind != KIND or manifest.format > FORMAT:
        raise BackupError("This backup was made by a newer Gerbang.", "Install that version, then restore it.")
    known = {SITE, DATABASE, *(f"keys/{key}" for key in KEYS)}
    if not {SITE, DATABASE} <= set(manifest.files) <= known:
        raise BackupError("The backup's manifest names other files than a backup has.", "It was not made by Gerbang.")
    if manifest.files[DATABASE].bytes > MAX_DATABASE_BYTES:
        raise BackupError("The database in the backup is too large.", "It was not made by Gerbang.")
    return manifest


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    return b"" if file is None else file.read()


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path, listed: File) -> None:
    source, digest = archive.extractfile(entry), hashlib.sha256()
    assert source is not None  # noqa: S101 - a regular file, as was checked
    with path.open("xb") as target:
        while chunk := source.read(1024 * 1024):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != listed.sha256:
        raise BackupError(f"{entry.name} in the backup is damaged.", "Copy it again from where it was made.")


def as_json(manifest: Manifest) -> Mapping[str, object]:
    found: dict[str, object] = msgspec.to_builtins(manifest)
    return found
