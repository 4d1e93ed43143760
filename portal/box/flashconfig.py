"""Makes a site.toml for each line of a table of desa, all or none. It must not know how a box takes them.

The table is what Excel saves as CSV, with whatever language Windows has: separated by commas or semicolons, with a mark
in front, numbers like 8.000 or 8000,0. Its first line names keys of site.toml (`uplink.down_kbit`) or what people call
them (`unduh`).
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import tempfile
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import structs

from portal import site
from portal.box import boxcheck, tray
from portal.config import SiteConfig

MOST_LINES: Final = 2000
LIST: Final = "daftar.csv"
BY_US: Final = "Made by gerbang flash-config. Copy this file to the partition GERBANG of the card."
CALLED: Final = {
    "kode": "site.code",
    "kode desa": "site.code",
    "code": "site.code",
    "nama": "site.name",
    "nama desa": "site.name",
    "desa": "site.name",
    "name": "site.name",
    "kontak": "site.contact",
    "zona waktu": "site.timezone",
    "penyedia": "uplink.provider",
    "provider": "uplink.provider",
    "saluran": "uplink.link",
    "jenis": "uplink.kind",
    "unduh": "uplink.down_kbit",
    "unduh kbit": "uplink.down_kbit",
    "unggah": "uplink.up_kbit",
    "unggah kbit": "uplink.up_kbit",
    "vlan": "uplink.vlan",
    "alamat": "uplink.address",
    "gateway": "uplink.gateway",
    "dns": "uplink.dns",
    "pengguna": "uplink.user",
    "sandi": "uplink.password",
    "ssid": "wifi.ssid",
    "kanal": "wifi.channel",
}
ALONE: Final = ("site.code", "uplink.user", "management.address")  # no two desa have the same
YES: Final = {"ya": True, "yes": True, "true": True, "benar": True, "1": True}
NO: Final = {"tidak": False, "no": False, "false": False, "salah": False, "0": False}


@dataclass(frozen=True, slots=True)
class Wrong:
    """A mistake of the table: its line and column as a spreadsheet shows them ('' where it is no single one)."""

    line: int
    column: str
    message: str
    hint: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", column {self.column}" if self.column else "")
        return f"{where}: {self.message}\n    {self.hint}"


@dataclass(frozen=True, slots=True)
class Made:
    """One desa's file and the name of its folder."""

    folder: str
    code: str
    name: str
    text: str


def make(table: bytes, template: str) -> tuple[list[Made], list[Wrong]]:
    """All files, or all mistakes and no file. Where the table says nothing, the keys of ``template`` hold."""
    try:
        base = tomllib.loads(template)
    except tomllib.TOMLDecodeError as error:
        return [], [Wrong(0, "", f"The template is no TOML: {error}.", "`gerbang check` says more.")]
    text = tray.decode(table)
    rows = list(_rows(text))
    if not rows:
        return [], [Wrong(1, "", "The table is empty.", "Its first line names keys: site.code, site.name.")]
    (first, header), *lines = rows
    keys, wrong = _header(first, header)
    if wrong:
        return [], wrong
    if not lines or len(lines) > MOST_LINES:
        message = f"There are {len(lines)} desa in the table; 1 to {MOST_LINES} can be made at once."
        return [], [Wrong(first, "", message, "One line for each below the first.")]
    made: list[Made] = []
    seen: dict[tuple[str, str], int] = {}
    for number, (line, cells) in enumerate(lines, 1):
        document, here = _document(base, line, keys, cells)
        config, mistakes = site.check_document("site.toml", document, files=False, here=False)
        mistakes += [] if config is None else boxcheck.names("site.toml", config)
        broken = {_key_of(keys, problem) for problem in here}
        here += [_wrong(line, keys, mistake) for mistake in mistakes if mistake.key not in broken]
        here += _twice(line, keys, document, seen)
        wrong += here
        if config is not None and not here:
            made.append(_made(number, len(lines), config, document))
    return ([], wrong) if wrong else (made, [])


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that say something, each with the number of its first line in the file."""
    separator, text, skipped = _separator(text)
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    line = 1 + skipped
    for cells in reader:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield line, stripped
        line = reader.line_num + 1 + skipped


def _separator(text: str) -> tuple[str, str, int]:
    """What separates, the text, and how many lines before it were Excel's own (`sep=;`)."""
    head, _, rest = text.partition("\n")
    if found := re.fullmatch(r"sep=(.)\s*", head):
        return found[1], rest, 1
    return max(";,\t", key=head.count), text, 0


def _known() -> dict[str, structs.FieldInfo]:
    """The keys that a cell can say, by their path; plans and holidays are the template's."""
    found = {}
    for table in structs.fields(SiteConfig):
        if table.name not in site.ARRAYS:
            kind = table.type if table.required else type(table.default)
            found.update({f"{table.name}.{field.name}": field for field in structs.fields(kind)})
    return found


def _header(line: int, header: Sequence[str]) -> tuple[list[str], list[Wrong]]:
    known, wrong, keys = _known(), [], []
    for column in header:
        key = CALLED.get(" ".join(column.lower().replace("_", " ").split()), column.lower())
        if key not in known:
            import difflib  # noqa: PLC0415

            close = difflib.get_close_matches(key, [*known, *CALLED], 1, 0.6)
            hint = f"Did you mean {close[0]}?" if close else "Columns are keys of site.toml, like uplink.down_kbit."
            wrong.append(Wrong(line, column or "?", "There is no key of this name.", hint))
        elif key in keys:
            wrong.append(Wrong(line, column, f"Two columns say {key}.", "Keep one of them."))
        keys.append(key)
    if "site.code" not in keys and not wrong:
        wrong.append(Wrong(line, "", "No column says site.code.", "Call one of them site.code, or kode."))
    return keys, wrong


def _document(
    base: Mapping[str, Any], line: int, keys: Sequence[str], cells: Sequence[str]
) -> tuple[dict[str, Any], list[Wrong]]:
    document = {name: dict(part) if isinstance(part, Mapping) else part for name, part in base.items()}
    known, wrong = _known(), []
    if len(cells) > len(keys) and any(cells[len(keys) :]):
        message = f"The line has {len(cells)} cells, the first line {len(keys)}."
        wrong.append(Wrong(line, "", message, "A text with the separator in it stands in quotes."))
    for key, cell in zip(keys, cells, strict=False):
        if not cell:
            continue
        table, _, name = key.partition(".")
        try:
            value = _value(key, cell, known[key])
        except ValueError as error:
            wrong.append(Wrong(line, key, str(error), "Numbers are whole, like 8000 or 8.000, without a unit."))
            continue
        document.setdefault(table, {})
        if isinstance(document[table], dict):
            document[table][name] = value
    return document, wrong


def _value(key: str, cell: str, field: structs.FieldInfo) -> Any:
    """What a cell says, as its key takes it; as text where it is neither, so that the check says why."""
    kinds = site.kinds_of(field.type)
    if key == "site.code" and re.fullmatch(r"\d{10}", cell):
        return f"{cell[:2]}.{cell[2:4]}.{cell[4:6]}.{cell[6:]}"
    if bool in kinds:
        return {**YES, **NO}.get(cell.lower(), cell)
    if int in kinds:
        return site.UNLIMITED if cell.lower() == site.UNLIMITED else whole(cell)
    if tuple in kinds:
        return re.split(r"[\s,;]+", cell)
    return cell


def whole(cell: str) -> int:
    """8000, 8.000, 8000,0 and 8.000,00 are all 8000; 8,5 is no whole number. Raises ValueError."""
    if re.fullmatch(r"\d{1,3}(\.\d{3})+(,0+)?", cell):
        return int(cell.partition(",")[0].replace(".", ""))
    if found := re.fullmatch(r"(\d+)(?:[.,]0+)?", cell):
        return int(found[1])
    raise ValueError(f'"{cell}" is not a whole number.')


def _key_of(keys: Sequence[str], problem: Wrong) -> str:
    return problem.column if problem.column in keys else ""


def _wrong(line: int, keys: Sequence[str], mistake: site.Mistake) -> Wrong:
    origin = "" if mistake.key in keys else "(the template's, or a default) "
    return Wrong(line, mistake.key, f"{origin}{mistake.message}", mistake.hint)


def _twice(
    line: int, keys: Sequence[str], document: Mapping[str, Any], seen: dict[tuple[str, str], int]
) -> Iterator[Wrong]:
    for key in ALONE:
        table, _, name = key.partition(".")
        value = document.get(table, {}).get(name) if key in keys else None
        if not isinstance(value, str):
            continue
        if (before := seen.setdefault((key, value), line)) != line:
            yield Wrong(line, key, f'"{value}" stands in line {before} already.', "Each desa has its own.")


def _made(number: int, count: int, config: SiteConfig, document: Mapping[str, Any]) -> Made:
    width = max(3, len(str(count)))
    plain = unicodedata.normalize("NFKD", config.site.name).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40]
    folder = "-".join(part for part in (f"{number:0{width}}", config.site.code, name) if part)
    return Made(folder, config.site.code, config.site.name, written(document))


def written(document: Mapping[str, Any], head: str = BY_US) -> str:
    """The document as a site.toml, with Windows' line ends, since there it is opened next."""
    lines = [f"# {head}"]
    for table, part in document.items():
        for one in part if isinstance(part, list) else (part,):
            heading = f"[[{table}]]" if isinstance(part, list) else f"[{table}]"
            lines += ["", heading, *(f"{key} = {_toml(value)}" for key, value in one.items())]
    return "\r\n".join(lines) + "\r\n"


def _toml(value: object) -> str:
    return value.isoformat() if isinstance(value, dt.date) else site.toml(value)


def listing(made: Sequence[Made]) -> bytes:
    """The list of what was made, as Excel opens it in Indonesia."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(["nomor", "kode", "desa", "folder"])
    for number, one in enumerate(made, 1):
        writer.writerow([number, one.code, _harmless(one.name), one.folder])
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def _harmless(text: str) -> str:
    """No formula: a spreadsheet would run a name that starts like one."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def write(made: Sequence[Made], out: Path) -> None:
    """All folders and the list, or nothing. Raises OSError; ``out`` must be new or empty."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as name:
        work = Path(name) / out.name
        work.mkdir(mode=0o700)  # logins of the providers are in there
        for one in made:
            (work / one.folder).mkdir()
            (work / one.folder / "site.toml").write_bytes(one.text.encode())
        (work / LIST).write_bytes(listing(made))
        work.rename(out)  # fails where there is something


def as_json(made: Sequence[Made]) -> Any:
    return msgspec.to_builtins([{"folder": one.folder, "code": one.code, "name": one.name} for one in made])
