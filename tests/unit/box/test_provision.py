"""The technician's tray: what Notepad does to a file, what is taken, what is refused and how that is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from portal import wholefile
from portal.box import boxcheck, provision, tray
from portal.box.places import Places
from portal.site import Mistake, check_text

GOOD = '[site]\ncode = "64.03.01.2001"\nname = "Désa Muara"\n'
OTHER = GOOD.replace("2001", "2002")
BAD = '[site]\ncode = "64.03.01"\n\n[uplink]\nkind = "dsl"\nspeed = 5\n'


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("boot/firmware", "data/site", "data/gerbang"):
        (tmp_path / name).mkdir(parents=True)
    return Places(tmp_path)


def take(places: Places) -> list[Mistake]:
    return provision.provision(places, places.root / "lock")


def mirror(places: Places) -> None:
    provision.mirror(places, places.root / "lock")


def put(places: Places, content: str | bytes, name: str = "site.toml", age_s: float = 0) -> None:
    path = places.firmware / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    now = path.stat().st_mtime - age_s
    os.utime(path, (now, now))


@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode(),
        GOOD.encode("utf-16"),
        b"\xfe\xff" + GOOD.encode("utf-16-be"),
        GOOD.encode("utf-16-le"),
        GOOD.encode("utf-16-be"),
        GOOD.replace("\n", "\r\n").encode("cp1252"),
        GOOD.replace("\n", "\r").encode(),
    ],
    ids=["utf-8", "bom-crlf", "utf-16", "utf-16-be", "utf-16-le-unmarked", "utf-16-be-unmarked", "ansi", "cr"],
)
def test_whatever_notepad_makes_of_it_is_the_same_configuration(places: Places, data: bytes) -> None:
    put(places, data)
    assert take(places) == []
    assert places.site.read_text() == GOOD
    assert places.site.stat().st_mode & 0o777 == 0o600, "it may hold the password of the uplink"


@pytest.mark.parametrize("name", ["SITE.TOML", "Site.toml", "site.toml.txt", "SITE.TOML.TXT"])
def test_windows_hides_endings_and_fat_forgets_capitals(places: Places, name: str) -> None:
    put(places, GOOD, name)
    assert take(places) == []
    assert places.site.read_text() == GOOD


def test_of_two_files_the_newer_counts_and_an_empty_one_never(places: Places) -> None:
    put(places, GOOD, age_s=60)
    put(places, OTHER, "site.toml.txt")
    assert take(places) == []
    assert "2002" in places.site.read_text()
    put(places, "# [site]\n# code = \n")
    assert take(places) == []
    assert "2002" in places.site.read_text()


@pytest.mark.parametrize(
    "text",
    [
        (Path(__file__).parents[3] / "image/boot/site.toml").read_text(),
        '# [site]\n# code = "64.03.01.2001"\n',
        '[site]\ncode = ""\nname = ""\n[uplink]\n',
        "",
    ],
)
def test_the_example_that_the_image_brings_is_no_configuration_and_no_mistake(places: Places, text: str) -> None:
    put(places, text)
    assert take(places) == []
    assert not places.site.exists()
    assert not places.site_error.exists()


def test_mistakes_are_all_told_where_the_file_is(places: Places, capfd: pytest.CaptureFixture[str]) -> None:
    put(places, BAD)
    assert {mistake.key for mistake in take(places)} == {"site.code", "uplink.kind", "uplink.speed"}
    told = places.site_error.read_bytes()
    assert told.startswith(b"\xef\xbb\xbf")
    assert told.count(b"\n") == told.count(b"\r\n")
    text = told.decode("utf-8-sig")
    assert "site.toml: 3 kesalahan" in text
    assert "Alat belum bisa dipakai" in text
    assert "Baris 2, site.code: Isi kunci ini tidak cocok." in text
    assert "Baris 6, uplink.speed: Kunci ini tidak dikenal." in text
    console = capfd.readouterr().err
    assert "Baris 5, uplink.kind" in console
    assert "no good site.toml yet" in console
    assert "Baris 5, uplink.kind" in (places.screen / "1-desa").read_text()
    assert not places.site.exists()


def test_with_a_mistake_the_last_good_one_runs_on_and_mending_it_ends_the_message(places: Places) -> None:
    put(places, GOOD)
    take(places)
    put(places, BAD)
    assert take(places)
    assert places.site.read_text() == GOOD
    assert "Alat memakai pengaturan lama" in places.site_error.read_text("utf-8-sig")
    assert take(places), "it is said at each boot"
    put(places, OTHER)
    assert take(places) == []
    assert places.site.read_text() == OTHER
    assert not places.site_error.exists()


def test_a_boot_with_nothing_new_writes_nothing(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (GOOD, BAD):
        put(places, content)
        take(places)
        renames: list[Path] = []
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", lambda path, *_, seen=renames: seen.append(path))
            take(places)
        assert renames == []


def test_a_box_calls_its_interfaces_itself(places: Places) -> None:
    put(places, GOOD + '[lan]\ninterface = "eth1"\n[uplink]\ninterface = "eth0"\n')
    assert [mistake.key for mistake in take(places)] == ["uplink.interface", "lan.interface"]


def test_what_staff_confirmed_goes_back_into_the_tray_and_is_not_taken_for_new(places: Places) -> None:
    put(places, GOOD)
    take(places)
    places.site.write_text(OTHER)  # as the supervisor does it
    mirror(places)
    assert places.tray.read_text() == OTHER
    assert take(places) == []
    assert places.site.read_text() == OTHER


def test_a_power_cut_before_the_copy_does_not_bring_the_old_one_back(places: Places) -> None:
    put(places, GOOD)
    take(places)
    places.site.write_text(OTHER)
    assert take(places) == []  # the next boot
    assert (places.site.read_text(), places.tray.read_text()) == (OTHER, OTHER)


def test_a_power_cut_between_copy_and_note_does_no_harm(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    put(places, GOOD)
    take(places)
    places.site.write_text(OTHER)

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(wholefile, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            mirror(places)
    assert take(places) == []
    assert (places.site.read_text(), places.tray.read_text()) == (OTHER, OTHER)


def test_work_that_was_never_taken_is_not_lost(places: Places) -> None:
    put(places, GOOD)
    take(places)
    put(places, BAD, "site.toml.txt", age_s=-60)
    take(places)
    places.site.write_text(OTHER)
    mirror(places)
    assert places.tray.read_text() == OTHER
    assert (places.firmware / "site-old.toml").read_text() == BAD
    assert not (places.firmware / "site.toml.txt").exists()
    assert not places.site_error.exists()


def told(places: Places) -> str:
    return places.site_error.read_text("utf-8-sig")


def password(places: Places, secret: str = "operator  bagu-dini\n") -> str:
    """The paper with the first passwords, as staff pages and setup page write it; as it is to stand on the card."""
    (places.gerbang / provision.PASSWORDS).write_text(secret)
    return secret.replace("\n", "\r\n")


def card(places: Places) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in places.firmware.iterdir()}


@pytest.mark.parametrize("tray", [None, "# [site]\n", GOOD], ids=["none", "blank", "taken"])
def test_what_a_power_cut_kept_from_the_card_is_on_it_after_the_next_boot(places: Places, tray: str | None) -> None:
    if tray is not None:
        put(places, tray)
    if tray == GOOD:
        take(places)
    places.site.write_text(GOOD)  # by the setup page, where the tray said nothing
    secret = password(places)
    assert take(places) == []
    assert card(places) == {"site.toml": GOOD.encode(), "STAFF-PASSWORDS.txt": secret.encode()}
    (places.gerbang / provision.PASSWORDS).unlink()
    assert take(places) == []
    assert card(places) == {"site.toml": GOOD.encode()}


def test_a_card_that_cannot_be_written_does_not_keep_the_box_from_its_configuration(
    places: Places, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    put(places, GOOD)
    password(places)
    monkeypatch.setattr(provision.firmware, "write", refused)
    assert take(places) == []
    assert places.site.read_text() == GOOD
    assert "Read-only file system" in capfd.readouterr().err


@pytest.mark.parametrize("runs", [GOOD, None], ids=["one runs", "none yet"])
def test_a_new_password_leaves_an_edit_that_was_refused_where_it_is(places: Places, runs: str | None) -> None:
    if runs is not None:
        put(places, runs)
        take(places)
    put(places, BAD)
    take(places)
    before = card(places)
    password(places)
    mirror(places)
    assert card(places) == {**before, "STAFF-PASSWORDS.txt": b"operator  bagu-dini\r\n"}
    (places.gerbang / provision.PASSWORDS).unlink()
    mirror(places)
    assert card(places) == before
    assert take(places), "it is said at each boot"


def test_an_edit_that_no_boot_has_seen_is_left_for_the_next_one(places: Places) -> None:
    put(places, GOOD)
    take(places)
    put(places, OTHER)
    password(places)
    mirror(places)
    assert places.tray.read_text() == OTHER
    assert take(places) == []
    assert places.site.read_text() == OTHER


def test_a_box_that_noted_the_tray_alone_before_it_was_updated_notes_both(places: Places) -> None:
    put(places, GOOD)
    take(places)
    places.taken.write_text(places.taken.read_text().splitlines()[0] + "\n")
    put(places, BAD)
    take(places)
    password(places)
    mirror(places)
    assert places.tray.read_text() == BAD
    places.site.write_text(OTHER)
    mirror(places)
    assert places.tray.read_text() == OTHER


@pytest.mark.parametrize("back", [GOOD, "# [site]\n", None], ids=["as it was", "blank", "removed"])
def test_an_edit_that_is_taken_back_takes_its_mistakes_with_it(places: Places, back: str | None) -> None:
    put(places, GOOD)
    take(places)
    put(places, BAD)
    assert take(places)
    assert places.site_error.exists()
    if back is None:
        places.tray.unlink()
    else:
        put(places, back)
    assert take(places) == []
    assert card(places) == {"site.toml": GOOD.encode()}


def test_on_a_new_box_an_emptied_tray_ends_the_message_too(places: Places) -> None:
    put(places, BAD)
    take(places)
    put(places, "")
    assert take(places) == []
    assert card(places) == {"site.toml": b""}


@pytest.mark.parametrize("damage", [b"\xff\xfe\xc0site", bytes(64), b""], ids=["no text", "zeros", "empty"])
def test_a_damaged_site_toml_comes_back_from_the_card(places: Places, damage: bytes) -> None:
    put(places, GOOD)
    take(places)
    places.site.write_bytes(damage)
    mirror(places)
    assert places.tray.read_text() == GOOD
    assert take(places) == []
    assert places.site.read_text() == GOOD


def test_a_damaged_site_toml_without_a_card_is_told_and_does_not_open_the_setup_page(
    places: Places, capfd: pytest.CaptureFixture[str]
) -> None:
    places.site.write_bytes(b"\xff[site]")
    assert provision.main("take", places) == os.EX_OK
    assert places.site.exists()
    assert card(places) == {}
    assert "is damaged" in capfd.readouterr().err
    assert "cannot read its configuration" in (places.screen / "1-desa").read_text()


def test_first_passwords_lie_in_the_tray_while_they_hold(places: Places) -> None:
    secret = places.gerbang / "STAFF-PASSWORDS.txt"
    secret.write_text("operator  bagu-dini\n")
    mirror(places)
    copy = places.firmware / "STAFF-PASSWORDS.txt"
    assert copy.read_bytes() == b"operator  bagu-dini\r\n"
    secret.unlink()
    mirror(places)
    assert not copy.exists()


def test_keys_are_found_in_the_text_they_stand_in() -> None:
    text = '[site]\ncode = 1\n[[plan]]\nid = "a"\n[[plan]]\n  id="a"\nname = ""\n[uplink]\n'
    assert tray.line_of(text, "site.code") == 2
    assert tray.line_of(text, "plan[2].id") == 6
    assert tray.line_of(text, "plan[1].name") == 3
    assert tray.line_of(text, "uplink.user") == 8
    assert tray.line_of(text, "wifi.ssid") is None
    assert tray.line_of("colour = 1\n[site]\n", "colour") == 1


CODE = '[site]\ncode = "64.03.01.2001"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 'site.code: Kunci ini wajib ada. Tambahkan baris di bawah [site]: code = "64.03.01.2001"'),
        ("[site]\ncode = 5", 'Baris 2, site.code: Isi kunci ini tidak cocok. Contoh: code = "64.03.01.2001"'),
        (
            "[site]\ncode = 6403012001",
            'Baris 2, site.code: Isi kunci ini tidak cocok. Mungkin maksudnya code = "64.03.01.2001"?',
        ),
        (
            CODE + 'nmae = "x"',
            "Baris 3, site.nmae: Kunci ini tidak dikenal. Mungkin salah ketik. Mungkin maksudnya name?",
        ),
        (
            CODE + "isolate = true",
            "Baris 3, site.isolate: Kunci ini tidak dikenal. Mungkin salah ketik. Kunci ini milik [lan].",
        ),
        (CODE + "[uplnk]", "Baris 3, uplnk: Bagian ini tidak dikenal. Mungkin salah ketik. Mungkin maksudnya uplink?"),
        (
            CODE + '[uplink]\ndown_kbit = "18000"',
            "Baris 4, uplink.down_kbit: Isi kunci ini tidak cocok. Tulis tanpa tanda kutip: down_kbit = 18000",
        ),
        (
            CODE + '[[plan]]\nid = "a"\nname = "A"\ndown_kbit = 0',
            "Baris 6, plan[1].down_kbit: Isi kunci ini tidak cocok. "
            'Kalau tanpa batas, tulis down_kbit = "unlimited", bukan 0.',
        ),
        (
            CODE + '[uplink]\ndns = "192.0.2.1"',
            'Baris 4, uplink.dns: Isi kunci ini tidak cocok. Tulis sebagai daftar: dns = ["192.0.2.1"]',
        ),
        (
            CODE + "zz = 1",
            "Baris 3, site.zz: Kunci ini tidak dikenal. Mungkin salah ketik. "
            "Yang dikenal di sini: code, name, timezone, language, contact.",
        ),
        (
            CODE + "lan = 1",
            "Baris 3, site.lan: Kunci ini tidak dikenal. Mungkin salah ketik. "
            "[lan] adalah bagian sendiri; tulis di baris sendiri.",
        ),
        (CODE + '[lan]\naddress = "11.0.0.1/24"', f"Baris 4, lan.address: {tray._CONTRADICTION}"),
    ],
)
def test_every_sort_of_mistake_says_in_indonesian_what_it_is_and_what_to_do(text: str, words: str) -> None:
    (mistake, *_) = check_text("site.toml", text, files=False, here=False)[1]
    assert tray.said(1, text, mistake)[0] == f"1. {words}"


def test_what_a_box_itself_finds_has_words_too() -> None:
    text = CODE + '[lan]\ninterface = "eth1"\n'
    (mistake,) = boxcheck.check("site.toml", text)[1]
    assert "Hapus kunci ini; kartu untuk uplink dipilih dengan uplink.port." in tray.said(1, text, mistake)[0]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[site]\ncode = “64.03.01.2001”\n", 2, 'Pakai tanda kutip lurus "...", bukan “...”.'),
        ('[site]\nname = "Muara”\ncode = "64.03.01.2001"\n', 2, 'Pakai tanda kutip lurus "...", bukan “...”.'),
        (
            "[site]\nname = Desa Muara\n",
            2,
            'Teks pakai tanda kutip lurus, name = "..."; pilihan ditulis true atau false.',
        ),
        (
            "[site]\ncode = 64.03.01.2001\n",
            2,
            'Teks pakai tanda kutip lurus, code = "..."; pilihan ditulis true atau false.',
        ),
        (
            CODE + "\n" + CODE,
            4,
            "Ini sudah ada di atas. Hapus salah satu. Hanya [[plan]] dan [[closed]] boleh berulang.",
        ),
        (
            CODE + CODE.partition("\n")[2],
            3,
            "Ini sudah ada di atas. Hapus salah satu. Hanya [[plan]] dan [[closed]] boleh berulang.",
        ),
        (
            "[site\n",
            1,
            'Setiap baris berbentuk `kunci = nilai`; teks di dalam tanda kutip lurus "...", bagian di dalam',
        ),
        (
            "[lan]\nisolate = True\n",
            2,
            'Teks pakai tanda kutip lurus, isolate = "..."; pilihan ditulis true atau false.',
        ),
        ('[site]\ncode = "x', 2, "Setiap baris berbentuk `kunci = nilai`"),
    ],
)
def test_what_is_no_toml_says_in_indonesian_where_and_what_to_do(text: str, line: int, words: str) -> None:
    (mistake,) = check_text("site.toml", text, files=False, here=False)[1]
    said, *english = tray.said(1, text, mistake)
    assert said.startswith(f"1. Baris {line}: Penulisan di baris ini salah. {words}")
    assert said.endswith("Kesalahan lain baru terlihat setelah ini diperbaiki.")
    assert f"(line {line}," in english[0]


def test_curly_quotes_are_told_whatever_notepad_saved_them_as(places: Places) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        put(places, "[site]\r\ncode = “64.03.01.2001”\r\n".encode(encoding))
        assert take(places)
        assert "Baris 2: " in told(places)
        assert 'Pakai tanda kutip lurus "..."' in told(places)


def test_a_file_that_is_no_text_is_a_mistake_and_not_an_end(places: Places) -> None:
    for data in (bytes(range(256)) * 8, b"\xff\xfe\x00", b"x" * (tray.LARGEST + 1)):
        put(places, data)
        assert take(places)
