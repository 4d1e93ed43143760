"""systemd itself on the units: does it understand them, and how exposed are they? Nothing is started."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
KINDS = (".service", ".socket", ".timer", ".target", ".path")
FILES = sorted(path for path in SYSTEMD.iterdir() if path.suffix in KINDS)
# `systemd-analyze security`, 0.0 to 10.0; systemd-networkd.service of Debian 12 has 2.8. Who must do more says why in
# its unit.
EXPOSED_AT_MOST = {
    "gerbang-control": 3.3,
    "gerbang-dnsmasq": 1.9,
    "gerbang-guest": 0.9,
    "gerbang-guest-tls": 0.9,
    "gerbang-hostapd": 2.6,
    "gerbang-housekeeping": 1.2,
    "gerbang-meter": 1.8,
    "gerbang-netctl": 2.7,
    "gerbang-netctl-wait": 0.8,
    "gerbang-prepare": 3.0,
    "gerbang-rules": 2.4,
    "gerbang-staff": 1.8,
}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_understands_every_unit(tmp_path: Path) -> None:
    """With a program that is there in place of those of the image, which it looks for."""
    copies = []
    for path in FILES:
        text = re.sub(r"^(Exec\w+=[-+!@:]*)/\S+", r"\1/bin/true", path.read_text(), flags=re.MULTILINE)
        copies.append(tmp_path / path.name)
        copies[-1].write_text(text)
    done = run("systemd-analyze", "verify", "--man=no", *map(str, copies))
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_a_mistake_in_a_unit_would_be_found(tmp_path: Path) -> None:
    wrong = tmp_path / "gerbang-wrong.service"
    wrong.write_text("[Service]\nExecStart=/bin/true\nProtectSytem=strict\n")
    assert "ProtectSytem" in run("systemd-analyze", "verify", "--man=no", str(wrong)).stderr


@pytest.mark.parametrize("name", EXPOSED_AT_MOST)
def test_a_unit_is_no_more_exposed_than_it_must_be(name: str) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", str(SYSTEMD / f"{name}.service"))
    found = re.search(rf"Overall exposure level for {name}\.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSED_AT_MOST[name], f"{name} is exposed at {found[1]}"


def test_the_users_are_made_as_setup_makes_them(tmp_path: Path) -> None:
    """build.sh: the staff pages' user is of the portal's group, with which it shares the database."""
    (tmp_path / "etc").mkdir()
    done = run("systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "gerbang.sysusers.conf"))
    assert done.returncode == 0, done.stderr
    users = {line.split(":")[0]: line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    group = next(line for line in (tmp_path / "etc/group").read_text().splitlines() if line.startswith("gerbang:"))
    for name in ("gerbang", "gerbang-staff"):
        assert users[name][3] == group.split(":")[2], name
        assert users[name][6] == "/usr/sbin/nologin", name
