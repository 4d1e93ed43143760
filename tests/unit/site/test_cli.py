"""The command line: help that is in the docs, sysexits, JSON, mistakes in text. Nothing is started here."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from portal import cli, prepare, privileges

ROOT = Path(__file__).parents[3]
GOOD = '[site]\ncode = "64.03.01.2001"\n'


def gerbang(*arguments: object) -> Result:
    return CliRunner().invoke(cli.gerbang, [str(argument) for argument in arguments])


def cli_reference() -> str:
    spec = importlib.util.spec_from_file_location("cli_reference", Path(__file__).with_name("cli_reference.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.reference())


def test_the_docs_hold_the_help() -> None:
    written = (ROOT / "docs/cli.md").read_text()
    assert written == cli_reference(), "write it again: python tests/unit/site/cli_reference.py > docs/cli.md"


def test_check_says_all_mistakes_and_exits_78(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text("[site]\ncode = 5\n[lan]\nipv6 = 1\n[[plan]]\n")
    found = gerbang("check", path)
    assert found.exit_code == os.EX_CONFIG
    for key in ("site.code", "lan.ipv6", "plan[1].id", "plan[1].name"):
        assert f"{path}: {key}: " in found.stderr
    assert found.stderr.endswith("4 mistakes.\n")
    assert found.stdout == ""
    told = json.loads(gerbang("check", path, "--json").stdout)
    assert [mistake["key"] for mistake in told["mistakes"]] == ["site.code", "lan.ipv6", "plan[1].id", "plan[1].name"]
    assert all(mistake["file"] == str(path) and mistake["hint"] for mistake in told["mistakes"])


def test_check_of_a_good_file_exits_0(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(GOOD)
    assert (gerbang("check", path).exit_code, gerbang("check", path).stdout) == (0, f"{path}: no mistakes.\n")
    told = json.loads(gerbang("check", path, "--json").stdout)
    assert told["mistakes"] == []
    assert told["config"]["lan"]["address"] == "10.77.0.1/20"


def test_run_says_all_mistakes_before_it_does_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    path = tmp_path / "site.toml"
    path.write_text("[site]\ncode = 5\n[lan]\nipv6 = 1\n")
    found = gerbang("run", "--site", path, "--run-dir", tmp_path / "run", "--data-dir", tmp_path / "data")
    assert found.exit_code == os.EX_CONFIG
    assert "site.code" in found.stderr and "lan.ipv6" in found.stderr
    assert not (tmp_path / "run").exists() and not (tmp_path / "data").exists()


def test_run_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = gerbang("run", "--site", tmp_path / "site.toml")
    assert found.exit_code == os.EX_NOPERM
    assert "sudo" in found.stderr


@pytest.mark.parametrize("verb", ["guest", "meter"])
def test_internal_verbs_say_mistakes_too(tmp_path: Path, verb: str) -> None:
    found = gerbang(verb, "--site", tmp_path / "none.toml", "--run-dir", tmp_path, "--data-dir", tmp_path)
    assert found.exit_code == os.EX_CONFIG
    assert "none.toml" in found.stderr


def test_status_without_a_gateway_says_so(tmp_path: Path) -> None:
    found = gerbang("status", "--run-dir", tmp_path, "--data-dir", tmp_path, "--json")
    told = json.loads(found.stdout)
    assert found.exit_code == os.EX_UNAVAILABLE
    assert told["online"] is None and told["drift"] is None
    assert any("netctl.sock" in problem for problem in told["problems"])
    assert any("gerbang.db" in problem for problem in told["problems"])
    assert "unknown" in gerbang("status", "--run-dir", tmp_path, "--data-dir", tmp_path).stdout


def test_version() -> None:
    assert json.loads(gerbang("version", "--json").stdout)["version"]
    assert gerbang("version").stdout.startswith("gerbang ")


def test_wrong_use_exits_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gerbang", "check", "--nonsense"])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == os.EX_USAGE


def test_a_user_that_is_missing_or_root_is_refused() -> None:
    with pytest.raises(privileges.PrivilegeError, match=r"useradd --system .* no-such-user$"):
        privileges.drop("no-such-user")
    with pytest.raises(privileges.PrivilegeError, match="must not run as root"):
        privileges.drop("root")


def test_a_program_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(prepare.StartError, match=r"dnsmasq is not installed\. Install it: apt install dnsmasq-base"):
        prepare.program("dnsmasq", "dnsmasq-base")


@pytest.mark.parametrize("which", ["run", "data"])
def test_a_directory_that_holds_other_things_is_left_alone(tmp_path: Path, which: str) -> None:
    home = tmp_path / which
    home.mkdir(mode=0o755)
    (home / "thesis.odt").write_text("")
    with pytest.raises(prepare.StartError, match=r"holds other things \(thesis.odt\)"):
        prepare.directory(home, os.getuid(), os.getgid(), 0o700)
    assert home.stat().st_mode & 0o777 == 0o755
    (home / "gerbang.db").write_text("")
    prepare.directory(home, os.getuid(), os.getgid(), 0o700)
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_second_gateway_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    from portal.paths import Paths

    paths = Paths(tmp_path / "run", tmp_path / "data")
    held = prepare.lock(paths)
    try:
        with pytest.raises(prepare.StartError, match=rf"process {os.getpid()}"):
            prepare.lock(paths)
    finally:
        os.close(held)
    os.close(prepare.lock(paths))
