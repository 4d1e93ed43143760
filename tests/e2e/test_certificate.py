"""Certificates made by openssl, read as `gerbang check`, DHCP's announcement and the doctor read them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portal import certificate, report
from portal.technician.findings import teller
from portal.technician.words import english

NAME = "portal.example"
DAY_S = 86_400


def openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def make(folder: Path, days: int, *, names: str = f"DNS:{NAME}") -> tuple[Path, Path]:
    """A self-signed certificate; with negative ``days`` one that expired so long ago."""
    paths = folder / f"{days}.pem", folder / f"{days}.key"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"]
    words += ["-keyout", str(paths[1]), "-out", str(paths[0]), "-days", str(days), "-addext", f"subjectAltName={names}"]
    openssl(folder, *words)
    return paths


def test_dates_and_names_are_read(tmp_path: Path) -> None:
    found = certificate.read(*make(tmp_path, 30, names=f"DNS:{NAME},DNS:*.example,IP:10.77.0.1"))
    assert found.names == (NAME, "*.example")
    assert abs(found.not_after_s - time.time() - 30 * DAY_S) < 3600
    assert found.not_before_s <= time.time()
    assert found.announceable(time.time(), clock_trusted=True)
    assert not found.announceable(time.time() + 23.1 * DAY_S, clock_trusted=True)


@pytest.mark.parametrize(
    ("break_it", "part", "sentence"),
    [
        ("rm 30.pem", "certificate", "cannot be read: no such file or directory"),
        ("rm 30.key", "key", "cannot be read: no such file or directory"),
        ("echo nonsense > 30.pem", "certificate", "holds no certificate"),
        ("cp 30.key 30.pem", "certificate", "holds no certificate"),
        ("cp 30.pem 30.key", "key", "no usable private key"),
        ("cp 31.key 30.key", "key", "belongs to another certificate"),
        ("openssl pkcs8 -topk8 -in 30.key -out l -passout pass:x && mv l 30.key", "key", "no usable private key"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, break_it: str, part: str, sentence: str) -> None:
    paths = make(tmp_path, 30)
    make(tmp_path, 31)
    subprocess.run(["sh", "-c", break_it], cwd=tmp_path, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    with pytest.raises(certificate.CertificateError) as raised:
        certificate.read(*paths)
    assert raised.value.part == part
    assert sentence in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    ("days", "name", "mistake"),
    [(30, NAME, None), (3, NAME, None), (30, "other.example", "not for other.example"), (-3, NAME, "expired on")],
)
def test_check_and_doctor_look_into_it(tmp_path: Path, days: int, name: str, mistake: str | None) -> None:
    if days < 0:
        # openssl refuses to make what is over already; faketime is no dependency, so it is signed with dates
        openssl(tmp_path, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", "k", "-out", "r")
        (tmp_path / "index").touch()
        (tmp_path / "conf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n"
            f"x509_extensions=e\n[p]\nCN=supplied\n[e]\nsubjectAltName=DNS:{NAME}\n"
        )
        dates = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + d * DAY_S)) for d in (2 * days, days)]
        words = ["-batch", "-config", "conf", "-selfsign", "-keyfile", "k", "-in", "r", "-out", "c", "-notext"]
        openssl(tmp_path, "ca", *words, "-startdate", dates[0], "-enddate", dates[1])
        paths = tmp_path / "c", tmp_path / "k"
    else:
        paths = make(tmp_path, days)
    file = tmp_path / "site.toml"
    file.write_text(
        f'[site]\ncode = "64.03.01.2001"\n[portal]\nname = "{name}"\ncertificate = "{paths[0]}"\nkey = "{paths[1]}"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "portal.cli", "check", str(file), "--json"], capture_output=True, text=True, check=False
    )
    found = [(told["key"], told["message"]) for told in json.loads(done.stdout)["mistakes"]]
    assert done.returncode == (78 if mistake else 0)
    assert [key for key, _ in found] == (["portal.certificate"] if mistake else [])
    assert mistake is None or mistake in found[0][1]
    doctor = report._certificate("certificate", str(paths[0]), str(paths[1]), teller(english()))
    assert doctor.level == ("ok" if days > 7 else "fail")
    assert bool(doctor.fix) == (days <= 7)
