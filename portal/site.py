"""Reads site.toml and finds all its mistakes at once. It must not know Flask, SQL, or the kernel.

``load`` looks at the text alone and gives a SiteConfig or raises SiteErrors; ``check`` also looks at the machine
(files, interfaces) and returns the mistakes. Bounds stand in portal.config, contradictions in portal.sitecheck.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, Struct, structs

from netctl.api.types import GatewayConfig
from portal import blocklist, sitecheck
from portal.config import DEFAULT_PLAN, Site, SiteConfig
from portal.paths import Paths

UNLIMITED: Final = "unlimited"
ARRAYS: Final = ("closed", "plan")  # tables that repeat
NO_CODE: Final = "00.00.00.0000"  # stands in while the rest of a file without a valid code is checked; never returned


class Mistake(Struct, frozen=True):
    """One thing wrong: the file, the key path (plans count from 1: ``plan[2].down_kbit``), a sentence, what to do."""

    file: str
    key: str
    message: str
    hint: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}: " if self.key else f"{self.file}: "
        return f"{where}{self.message}\n    {self.hint}"


class SiteErrors(Exception):
    """All mistakes of one file, at least one."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = tuple(mistakes)


def load(path: str | Path) -> SiteConfig:
    """The site's configuration from the text of this file; raises SiteErrors with all mistakes."""
    config, mistakes = check(path, files=False)
    if config is None or mistakes:
        raise SiteErrors(mistakes)
    return config


def check(path: str | Path, *, files: bool = True, here: bool = False) -> tuple[SiteConfig | None, list[Mistake]]:
    """Configuration (None with any mistake) and all mistakes of the file at ``path``.

    ``files``: also read the files that it names: certificates, keys, the block list. ``here``: also compare with this
    machine's interfaces and the networks they are in now; a file checked on another desk than the gateway's would fail
    that.
    """
    name = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Notepad marks what it saves
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return None, [Mistake(name, "", f"The file cannot be read: {why}.", "Check the path and who may read it.")]
    except UnicodeDecodeError as error:
        hint = "Save the file as UTF-8 text."
        return None, [Mistake(name, "", f"Byte {error.start + 1} of the file is not UTF-8 text.", hint)]
    return check_text(name, text, files=files, here=here)


def check_text(name: str, text: str, *, files: bool, here: bool) -> tuple[SiteConfig | None, list[Mistake]]:
    """The same for the text of a file called ``name``."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [_syntax(name, text, str(error))]
    return check_document(name, document, files=files, here=here)


def check_document(
    name: str, document: Mapping[str, Any], *, files: bool, here: bool
) -> tuple[SiteConfig | None, list[Mistake]]:
    """The same for a TOML document that was read from the file ``name``."""
    reader = _Reader(name)
    config = reader.read(document)
    for finding in sitecheck.findings(config, files=files, here=here):
        if not reader.wrong.intersection((finding.key, *finding.because)):
            reader.add(finding.key, finding.message, finding.hint)
    return (None if reader.mistakes else config), reader.mistakes


def _syntax(name: str, text: str, error: str) -> Mistake:
    what, _, where = error.removesuffix(")").partition(" (at ")
    lines = text.rstrip("\n").split("\n")
    if not where.startswith("line"):  # "end of document", or a TOML parser that says no place
        where = f"line {len(lines)}, the last"
    line = "".join(lines[int(where.split()[1].rstrip(",")) - 1 :][:1])  # an empty one at the end is not there
    hint = f"{_syntax_hint(error, line)} More may show once this is mended."
    if what == "Cannot overwrite a value":
        what = "A key or table stands twice"
    return Mistake(name, "", f"{what} ({where}).", hint)


def _syntax_hint(error: str, line: str) -> str:
    if error.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        return "Keep one of the two. Only [[plan]] and [[closed]] repeat."
    if re.search("[“”„‘’]", line):  # Word puts them there
        return 'Write straight quotes, "..." and not “...”.'
    if bare := re.fullmatch(r"\s*([\w-]+)\s*=\s*[^\s\"'#\[{][^\"']*", line):
        return f'A text stands in quotes, {bare[1]} = "..."; a switch is true or false.'
    return 'Lines read `key = value`; texts stand in "quotes", tables in [brackets].'


class _Reader:
    """Walks a TOML document along the structs, keeps what is right and notes what is wrong."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.wrong: set[str] = set()

    def add(self, key: str, message: str, hint: str) -> None:
        self.wrong.add(key)
        self.mistakes.append(Mistake(self.file, key, message, hint))

    def read(self, document: Mapping[str, Any]) -> SiteConfig:
        """A config whose wrong values are replaced by defaults; ``wrong`` has their keys."""
        tables = {field.name: field for field in structs.fields(SiteConfig)}
        self._unknown("", document, tables)
        parts: dict[str, Any] = {}
        for name, field in tables.items():
            value = document.get(name)
            if name in ARRAYS:
                parts[name] = self._array(name, field, value)
            elif isinstance(value, Mapping) or value is None:
                parts[name] = self._table(name, Site if name == "site" else field.type, value or {})
            else:
                self.add(name, f"{_describe(value)} stands where a table belongs.", f"Write [{name}] above its keys.")
                parts[name] = field.default if field.default is not NODEFAULT else Site(code=NO_CODE)
                self.wrong.update(f"{name}.{key.name}" for key in structs.fields(type(parts[name])))
        if "plan" not in document:
            # The plan that nobody wrote adapts to the line; one that somebody wrote is held to it.
            line = parts["uplink"]
            down, up = _least(DEFAULT_PLAN.down_kbit, line.down_kbit), _least(DEFAULT_PLAN.up_kbit, line.up_kbit)
            parts["plan"] = (structs.replace(DEFAULT_PLAN, down_kbit=down, up_kbit=up),)
        return SiteConfig(**parts)

    def _array(self, name: str, field: structs.FieldInfo, value: object) -> tuple[Any, ...]:
        default: tuple[Any, ...] = field.default
        if value is None:
            return default
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            hint = f"Write [[{name}]], with two brackets, above each of them."
            self.add(name, f"{name.capitalize()} is a list of tables.", hint)
            return default
        bounds = next(meta for meta in _metas(field.type) if meta.max_length is not None)
        least, most = bounds.min_length or 0, bounds.max_length or 0
        if not least <= len(value) <= most:
            message = f"[[{name}]] stands {len(value)} times; it must stand {least} to {most} times."
            self.add(name, message, "Leave them out for the default.")
        struct = next(layer for layer in _layers(field.type) if _is_struct(layer))
        return tuple(self._table(f"{name}[{number}]", struct, item) for number, item in enumerate(value, 1))

    def _table(self, name: str, struct: type[Struct], table: Mapping[str, Any]) -> Any:
        fields = {field.name: field for field in structs.fields(struct)}
        self._unknown(name, table, fields)
        values: dict[str, Any] = {}
        for key, field in fields.items():
            path = f"{name}.{key}"
            if key in table:
                try:
                    values[key] = _convert(table[key], field.type)
                    continue
                except msgspec.ValidationError:
                    expects = _expects(field.type)
                    self.add(
                        path, f"{_describe(table[key])} does not fit; it takes {expects}.", _hint(table[key], field)
                    )
            elif field.required:
                hint = f"Add a line under {_heading(name)}: {key} = {toml(_examples(field.type)[0])}"
                self.add(path, "This key is missing, and it has no default.", hint)
            if field.required:
                values[key] = NO_CODE if struct is Site else dt.date.min if dt.date in kinds_of(field.type) else ""
        return struct(**values)

    def _unknown(self, name: str, table: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        for key in table:
            if key not in known:
                what = "key" if name else ("key" if not isinstance(table[key], Mapping | list) else "table")
                self.add(
                    f"{name}.{key}" if name else key, f"There is no {what} of this name.", _suggest(name, key, known)
                )


def _convert(value: object, wanted: Any) -> Any:
    if value == UNLIMITED and _limit(wanted):
        return None
    return msgspec.convert(value, type=wanted, strict=True)


def _layers(wanted: Any) -> Iterator[Any]:
    """The type and everything that it is made of, outermost first, Annotated and unions opened."""
    yield wanted
    if hasattr(wanted, "__metadata__"):
        yield from _layers(wanted.__origin__)
    else:
        for part in typing.get_args(wanted):
            yield from _layers(part)


def _metas(wanted: Any) -> Iterator[msgspec.Meta]:
    for layer in _layers(wanted):
        yield from getattr(layer, "__metadata__", ())


def kinds_of(wanted: Any) -> set[Any]:
    known = {int, str, bool, tuple, dt.date, type(None)}
    return known.intersection(typing.get_origin(layer) or layer for layer in _layers(wanted))


def _expects(wanted: Any) -> str:
    said = next(str(meta.extra["expects"]) for meta in _metas(wanted) if meta.extra and "expects" in meta.extra)
    return said + (f', or "{UNLIMITED}"' if _limit(wanted) else "")


def _limit(wanted: Any) -> bool:
    """Is it a limit, which a site may do without by writing "unlimited"?"""
    return any(meta.extra and meta.extra.get("limit") for meta in _metas(wanted))


def _examples(wanted: Any) -> list[Any]:
    return next((meta.examples for meta in _metas(wanted) if meta.examples), ["..."])


def _hint(value: object, field: structs.FieldInfo) -> str:
    kinds = kinds_of(field.type)
    if isinstance(value, str) and (bare := _unquoted(value.strip(), kinds)):
        return f"Write it without quotes: {field.name} = {bare}"
    if value == 0 and _limit(field.type):
        return f'For no limit write {field.name} = "{UNLIMITED}"; 0 never means that.'
    if isinstance(value, str) and tuple in kinds:
        return f"Write a list: {field.name} = [{toml(value)}]"
    if field.name == "code" and isinstance(value, str | int):
        digits = "".join(filter(str.isdigit, str(value)))
        if len(digits) == 10:
            return f'Did you mean code = "{digits[:2]}.{digits[2:4]}.{digits[4:6]}.{digits[6:]}"?'
    example = field.default if field.default not in (NODEFAULT, None, ()) else _examples(field.type)[0]
    return f"For example: {field.name} = {toml(example)}" if example != "..." else "Leave the key out for the default."


def _unquoted(text: str, kinds: set[Any]) -> str | None:
    """A number, true or false that somebody has put in quotes, as it should stand there."""
    if bool in kinds and text.lower() in ("true", "false", "yes", "no"):
        return "true" if text.lower() in ("true", "yes") else "false"
    return text if int in kinds and text.isdecimal() else None


def _suggest(table: str, key: str, known: Mapping[str, Any]) -> str:
    import difflib  # noqa: PLC0415  needed for a mistake only

    if close := difflib.get_close_matches(key, known, 1, 0.6):
        return f"Did you mean {close[0]}?"
    if key in SiteConfig.__struct_fields__:
        return f"{_heading(key)} is a table of its own; write it in a line of its own."
    homes = [
        field.name
        for field in structs.fields(SiteConfig)
        if field.name != table.partition("[")[0]
        and key in {part.name for layer in _layers(field.type) if _is_struct(layer) for part in structs.fields(layer)}
    ]
    if homes:
        return "A key of this name belongs under " + " or ".join(map(_heading, homes)) + "."
    return f"{_heading(table) if table else 'The file'} knows: {', '.join(known)}."


def _is_struct(layer: object) -> bool:
    return isinstance(layer, type) and issubclass(layer, Struct)


def _heading(table: str) -> str:
    name = table.partition("[")[0]
    return f"[[{name}]]" if name in ARRAYS else f"[{name}]"


def _describe(value: object) -> str:
    """What stands in the file, in words for people: 'The text "two"', 'The number 7'."""
    if isinstance(value, bool):
        return f"The value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"The number {value}"
    if isinstance(value, str):
        return f"The text {toml(value if len(value) <= 60 else value[:57] + '...')}"
    if isinstance(value, list):
        return "A list" if value else "An empty list"
    return "A table" if isinstance(value, Mapping) else f"The date or time {value}"


def toml(value: object) -> str:
    """A value as it is written in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return msgspec.json.encode(value).decode()


def _least(one: int | None, other: int | None) -> int | None:
    return min((rate for rate in (one, other) if rate is not None), default=None)


def reference() -> str:
    """Markdown tables of every key: its default, its meaning with bounds, an example. docs/site-toml.md holds them."""
    lines: list[str] = []
    for table in structs.fields(SiteConfig):
        struct = next(layer for layer in _layers(table.type) if _is_struct(layer))
        lines += [f"## {_heading(table.name)}", "", (struct.__doc__ or "").partition("\n")[0], ""]
        lines += ["| key | default | meaning |", "|---|---|---|"]
        for field in structs.fields(struct):
            about = " ".join(meta.description for meta in _metas(field.type) if meta.description)
            example = "".join(f" Example: `{toml(shown)}`." for shown in _examples(field.type) if shown != "...")
            default = (
                "required" if field.required else "none" if field.default in (None, ()) else f"`{toml(field.default)}`"
            )
            if field.default is None and _limit(field.type):
                default = f'`"{UNLIMITED}"`'
            lines.append(f"| `{field.name}` | {default} | {about} Takes {_expects(field.type)}.{example} |")
        lines.append("")
    return "\n".join(lines)


def ula_prefix(code: str) -> str:
    """The site's own IPv6 /64 (RFC 4193): 40 bits of SHA-256 over the site code, subnet 0.

    RFC 4193 3.2.2 hashes the time and a hardware address to make collisions of two networks unlikely. The site code is
    unique by law and outlives a swapped box, so that a replaced gateway keeps its prefix.
    """
    import hashlib  # noqa: PLC0415  once, at start
    import ipaddress  # noqa: PLC0415

    digest = hashlib.sha256(b"gerbang ula\0" + code.encode()).digest()
    return str(ipaddress.IPv6Network((b"\xfd" + digest[:5] + bytes(10), 64)))


def gateway_config(
    config: SiteConfig, paths: Paths, writer_uids: tuple[int, ...], group_gid: int | None
) -> GatewayConfig:
    """What netctl is told: interfaces, addresses, rates, ports, and who may change its state besides root."""
    import ipaddress  # noqa: PLC0415  once, at start

    return GatewayConfig(
        lan_interface=config.lan.interface,
        uplink_interface=config.uplink.interface,
        lan_address=config.lan.address,
        ula_prefix=ula_prefix(config.site.code) if config.lan.ipv6 else None,
        link_down_kbit=config.uplink.down_kbit,
        link_up_kbit=config.uplink.up_kbit,
        portal_port=config.portal.port,
        portal_tls_port=config.portal.tls_port if config.portal.certificate else None,
        socket_path=str(paths.netctl_socket),
        state_path=str(paths.netctl_state),
        socket_group=group_gid,
        writers=writer_uids,
        staff_port=config.staff.port,
        garden_networks=tuple(str(ipaddress.ip_network(text)) for text in config.garden.networks),
        block_address=blocklist.ADDRESS if blocklist.is_used(config.block) else None,
        isolate=config.lan.isolate,
        log_connections=config.log.nat,
    )


if __name__ == "__main__":  # for whoever edits docs/site-toml.md
    print(reference(), end="")
