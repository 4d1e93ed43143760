"""A table of desa becomes as many right files, or every mistake in it is named and nothing is made."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from portal.box import flashconfig, tray
from portal.cli import gerbang
from portal.site import check_text

TEMPLATE = """
[lan]
address = "10.78.0.1/20"

[[plan]]
id = "warga"
name = "Warga"
down_kbit = 3000

[[closed]]
first = 2026-12-25
reason = "Natal"
"""


def table(*rows: str) -> bytes:
    return "\r\n".join(rows).encode()


def run(tmp_path: Path, rows: bytes, *more: str) -> Result:
    (tmp_path / "desa.csv").write_bytes(rows)
    arguments = ["flash-config", "--csv", str(tmp_path / "desa.csv"), "--out", str(tmp_path / "out"), *more]
    return CliRunner().invoke(gerbang, arguments)


def test_150_desa_at_once(tmp_path: Path) -> None:
    rows = ["kode;desa;penyedia;jenis;unduh_kbit;unggah_kbit;sandi;pengguna"]
    for number in range(150):
        kind = ("dhcp;20.000;4000,0;;", f"pppoe;8000;2.000,00;rahasia {number};12{number}@telkom.net")[number % 2]
        rows.append(f'64.03.01.{2001 + number};"Desa; {number} é";Telkom;{kind}')
    (tmp_path / "site.toml").write_text(TEMPLATE)
    ran = run(tmp_path, b"\xef\xbb\xbf" + table(*rows), "--template", str(tmp_path / "site.toml"))
    assert ran.exit_code == 0, ran.output
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert len(folders) == 150
    assert (folders[0], folders[149]) == ("001-64.03.01.2001-desa-0-e", "150-64.03.01.2150-desa-149-e")
    for number, folder in enumerate(folders):
        text = tray.decode((tmp_path / "out" / folder / "site.toml").read_bytes())
        config, mistakes = check_text("site.toml", text, files=False, here=False)
        assert config is not None, mistakes
        assert config.site.code == f"64.03.01.{2001 + number}"
        assert config.site.name == f"Desa; {number} é"
        assert config.lan.address == "10.78.0.1/20"
        assert config.plan[0].down_kbit == 3000
        assert str(config.closed[0].first) == "2026-12-25"
        assert (config.uplink.down_kbit, config.uplink.up_kbit) == ((20000, 4000), (8000, 2000))[number % 2]
        assert config.uplink.kind == ("dhcp", "pppoe")[number % 2]
    listed = (tmp_path / "out/daftar.csv").read_bytes().decode("utf-8-sig")
    lines = list(csv.reader(io.StringIO(listed), delimiter=";"))
    assert len(lines) == 151
    assert lines[150] == ["150", "64.03.01.2150", "Desa; 149 é", folders[149]]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_all_mistakes_are_said_with_line_and_column_and_nothing_is_made(tmp_path: Path) -> None:
    ran = run(
        tmp_path,
        table(
            "site.code,site.name,uplink.down_kbit,uplink.dns,wifi.owe",
            "64.03.01.2001,A,8000,203.0.113.53,ya",
            "64.03.01,B,fast,203.0.113.53 8.8.8,perhaps",
            "",
            '64.03.01.2001,"two',
            'lines",9000,,',
            "6403012003,C,8000.5,,tidak",
        ),
        "--json",
    )
    assert ran.exit_code == 78
    found = {(one["line"], one["column"]) for one in json.loads(ran.stdout)["mistakes"]}
    assert found == {
        (3, "site.code"),
        (3, "uplink.down_kbit"),
        (3, "uplink.dns"),
        (3, "wifi.owe"),
        (5, "site.code"),
        (5, "site.name"),
        (7, "uplink.down_kbit"),
    }
    assert not (tmp_path / "out").exists()
    said = run(tmp_path, table("site.code", "x"))
    assert "line 2, column site.code" in said.output
    assert "nothing was written" in said.output


@pytest.mark.parametrize(
    ("header", "column", "sentence"),
    [
        ("kode;desa;nama", "nama", "Two columns"),
        ("desa;penyedia", "", "No column says site.code"),
        ("kode;uplink.down_kbits", "uplink.down_kbits", "no key"),
        ("kode;plan", "plan", "no key"),
        ("kode;", "?", "no key"),
    ],
)
def test_the_first_line_names_keys(header: str, column: str, sentence: str) -> None:
    made, wrong = flashconfig.make(table(header, "64.03.01.2001;x;y"), "")
    assert made == []
    assert [(one.line, one.column) for one in wrong] == [(1, column)]
    assert sentence in wrong[0].message
    assert wrong[0].hint


def test_no_two_desa_share_what_is_ones_own() -> None:
    rows = table(
        "kode,jenis,pengguna,sandi,management.vlan,management.address",
        "64.03.01.2001,pppoe,a@x,p,9,10.1.0.2/16",
        "64.03.01.2001,pppoe,a@x,p,9,10.1.0.2/16",
    )
    _, wrong = flashconfig.make(rows, "")
    assert [(one.line, one.column) for one in wrong] == [
        (3, "site.code"),
        (3, "uplink.user"),
        (3, "management.address"),
    ]
    assert "line 2" in wrong[0].message


def test_a_mistake_of_the_template_is_not_put_on_a_column() -> None:
    bad = '[lan]\naddress = "203.0.113.1/24"\ninterface = "eth1"\n'
    _, wrong = flashconfig.make(table("kode", "64.03.01.2001"), bad)
    assert [one.column for one in wrong] == ["lan.address"]
    assert "template" in wrong[0].message
    _, wrong = flashconfig.make(table("kode", "64.03.01.2001"), '[lan]\ninterface = "eth1"\n')
    assert [one.column for one in wrong] == ["lan.interface"]
    _, wrong = flashconfig.make(table("kode", "64.03.01.2001"), "[lan\n")
    assert "no TOML" in wrong[0].message


@pytest.mark.parametrize("text", ["8000", "8.000", "8000,0", "8.000,00", "8000.0", "8000,00"])
def test_numbers_as_spreadsheets_write_them(text: str) -> None:
    assert flashconfig.whole(text) == 8000


@pytest.mark.parametrize("text", ["8,5", "8.5", "8 Mbit", "8.0.0", "1e4", "-8", "٨٠٠٠٫٥", ""])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        flashconfig.whole(text)


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_separators_of_all_windows(separator: str) -> None:
    rows = [separator.join(line) for line in (["kode", "desa"], ["64.03.01.2001", "A"])]
    for text in (table(*rows), table(f"sep={separator}", *rows), "\n".join(rows).encode("utf-16")):
        made, wrong = flashconfig.make(text, "")
        assert wrong == []
        assert [one.code for one in made] == ["64.03.01.2001"]


def test_texts_of_the_table_cannot_become_keys_or_formulas(tmp_path: Path) -> None:
    rows = table("kode;desa", '64.03.01.2001;"=1+1"')
    assert run(tmp_path, rows).exit_code == 0
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert tomllib.loads((folder / "site.toml").read_text())["site"]["name"] == "=1+1"
    assert "'=1+1" in (tmp_path / "out/daftar.csv").read_text("utf-8-sig")


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/letter.txt").write_text("mine")
    ran = run(tmp_path, table("kode", "64.03.01.2001"))
    assert ran.exit_code == 73
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]
    assert run(tmp_path, table("kode", "64.03.01.2001"), "--template", str(tmp_path / "none")).exit_code == 66
