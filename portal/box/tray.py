"""Reads a site.toml as Windows leaves it, and writes its mistakes so that Notepad shows them. It touches no file.

It must not know which file runs. Notepad saves as UTF-8 with and without a mark, as UTF-16, on old Windows in the
system's own code page, with CRLF, and under a name that ends in .txt where the ending is hidden.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Final

from portal.site import Mistake

NAMES: Final = ("site.toml", "site.toml.txt")  # in any case: FAT does not tell it
LARGEST: Final = 1024 * 1024
_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_KINDS: Final = (
    ("This key is missing", "Kunci ini wajib ada."),
    ("There is no key", "Kunci ini tidak dikenal. Mungkin salah ketik."),
    ("There is no table", "Bagian ini tidak dikenal. Mungkin salah ketik."),
    ("does not fit; it takes", "Isi kunci ini tidak cocok."),
)
_CONTRADICTION: Final = "Isi kunci ini tidak mungkin, atau bertentangan dengan kunci lain."
_SYNTAX: Final = "Penulisan di baris ini salah."
_HINTS: Final = (  # as portal.site says them; what is TOML in them stays
    (r"Did you mean (.+)\?", r"Mungkin maksudnya \1?"),
    (r"For example: (.+)", r"Contoh: \1"),
    (r"Add a line under (\S+): (.+)", r"Tambahkan baris di bawah \1: \2"),
    (r"A key of this name belongs under (.+)\.", r"Kunci ini milik \1."),
    (r".+ knows: (.+)\.", r"Yang dikenal di sini: \1."),
    (r"Write it without quotes: (.+)", r"Tulis tanpa tanda kutip: \1"),
    (r"Write a list: (.+)", r"Tulis sebagai daftar: \1"),
    (r"For no limit write (.+); 0 never means that\.", r"Kalau tanpa batas, tulis \1, bukan 0."),
    (r"(\S+) is a table of its own; .+", r"\1 adalah bagian sendiri; tulis di baris sendiri."),
    (r"Take the key out; .+", r"Hapus kunci ini; kartu untuk uplink dipilih dengan uplink.port."),
    (r"Leave the key out for the default\.", r"Hapus kunci ini, maka nilai bawaan dipakai."),
    (r"Write straight quotes, .+", r'Pakai tanda kutip lurus "...", bukan “...”.'),
    (r"A text stands in quotes, (.+); .+", r"Teks pakai tanda kutip lurus, \1; pilihan ditulis true atau false."),
    (
        r"Keep one of the two\. .+",
        r"Ini sudah ada di atas. Hapus salah satu. Hanya [[plan]] dan [[closed]] boleh berulang.",
    ),
    (
        r"Lines read .+",
        r"Setiap baris berbentuk `kunci = nilai`; teks di dalam tanda kutip lurus "
        r'"...", bagian di dalam [kurung siku].',
    ),
)
_MORE: Final = ("More may show once this is mended.", "Kesalahan lain baru terlihat setelah ini diperbaiki.")


def choose(found: Mapping[str, float]) -> str | None:
    """Of the files in the tray, by name with the time of their last change, the one that counts: the newest."""
    ours = [name for name in found if name.lower() in NAMES]
    return max(ours, key=lambda name: (found[name], name.lower() == NAMES[0]), default=None)


def decode(data: bytes) -> str:
    """The text, with Unix's line ends. Never fails: what is no text fails as TOML, with a line that people can find."""
    if len(data) > LARGEST:
        return f"# {len(data)} bytes are too many for a configuration\n= ?\n"
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _lines(data.decode(encoding, errors="replace"))
    if b"\0" in data:
        return _lines(data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace"))
    try:
        return _lines(data.decode())
    except UnicodeDecodeError:
        return _lines(data.decode("cp1252", errors="replace"))


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_blank(text: str) -> bool:
    """Does it say nothing yet, as the example that the image brings (`code = ""`)? Then nobody has configured it."""
    try:
        return says_nothing(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return False


def says_nothing(value: object) -> bool:
    """The same of a document, or a part of it, that was read."""
    return all(map(says_nothing, value.values())) if isinstance(value, dict) else value == ""


def line_of(text: str, key: str) -> int | None:
    """The line in which a key stands, by its path (`plan[2].down_kbit`); its table's where the key itself does not."""
    table, _, name = key.rpartition(".")
    if not table:
        table, name = name, ""
    wanted, _, count = table.removesuffix("]").partition("[")
    seen, inside, heading = 0, False, None
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]?\]", line):
            seen += header[1] == wanted
            inside = header[1] == wanted and seen == int(count or 1)
            heading = heading or (number if inside else None)
        elif (inside or (not name and not heading)) and re.match(rf"\s*{re.escape(name or wanted)}\s*=", line):
            return number
    return heading


def error_text(name: str, text: str, mistakes: Sequence[Mistake], *, runs_on: bool) -> bytes:
    """SITE-ERROR.txt: Bahasa Indonesia first, English below; ``runs_on``: an older configuration goes on being used."""
    count = len(mistakes)
    lines = [
        f"{name}: {count} kesalahan. Perbaiki, simpan, lalu nyalakan alat kembali.",
        "Alat memakai pengaturan lama yang benar."
        if runs_on
        else "Alat belum bisa dipakai. Halaman penyiapan terbuka di kabel LAN dan Wi-Fi penyiapan.",
        "",
        f"{name}: {count} mistake{'s' * (count != 1)}. Mend all of them, save, and start the box again.",
        "The last good configuration goes on being used." if runs_on else "The box cannot be used yet.",
        "",
    ]
    for number, mistake in enumerate(mistakes, 1):
        lines += [*said(number, text, mistake), ""]
    return b"\xef\xbb\xbf" + "\r\n".join(lines).encode()


def said(number: int, text: str, mistake: Mistake) -> list[str]:
    """Where, what it is and what to do in Indonesian, in one line; then the English sentence, and its hint."""
    line = line_of(text, mistake.key) if mistake.key else _line_named(mistake.message)
    place = ", ".join(part for part in (f"Baris {line}" if line else "", mistake.key) if part)
    what = " ".join(part for part in (in_indonesian(mistake), hint_in_indonesian(mistake.hint)) if part)
    return [
        f"{number}. {place}: {what}" if place else f"{number}. {what}",
        f"   {mistake.message}",
        f"   {mistake.hint}",
    ]


def _line_named(message: str) -> str | None:
    """The line that a sentence about what is no TOML names itself."""
    found = re.search(r"\(line (\d+)", message)
    return found[1] if found else None


def in_indonesian(mistake: Mistake) -> str:
    """What sort of mistake it is; the sentence itself stands below it in English."""
    if not mistake.key:
        return _SYNTAX
    return next((known for start, known in _KINDS if start in mistake.message), _CONTRADICTION)


def hint_in_indonesian(hint: str) -> str:
    """What to do, where that is one of the common things; empty where the English has to do."""
    alone = hint.removesuffix(_MORE[0]).rstrip()
    said = next((found.expand(known) for form, known in _HINTS if (found := re.fullmatch(form, alone))), "")
    return f"{said} {_MORE[1]}" if said and alone != hint else said
