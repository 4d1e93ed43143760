"""Key, certificate and first passwords: made once, for the right reader, and never through somebody else's door."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from portal import selfsigned, staffkey
from portal.domain.staff import Role
from portal.staff import start
from portal.staff.shared import Shared
from portal.staffing import FIRST_USERS, new_password
from portal.staffkey import StaffKey

NAMES = ["gerbang.lan", "gateway.lan", "10.77.0.1"]
NOW = dt.datetime(2030, 5, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def test_the_key_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "staff"
    first = staffkey.load_or_make(folder, os.getuid(), os.getgid())
    again = staffkey.load_or_make(folder, os.getuid(), os.getgid())
    assert first.signing == again.signing
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert staffkey.load_or_make(tmp_path / "other", os.getuid(), os.getgid()).signing != first.signing


def test_somebody_else_s_directory_is_not_used(tmp_path: Path) -> None:
    open_to_others = tmp_path / "staff"
    open_to_others.mkdir(mode=0o700)
    open_to_others.chmod(0o750)
    with pytest.raises(PermissionError, match="remove it"):
        staffkey.load_or_make(open_to_others, os.getuid(), os.getgid())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(elsewhere)
    with pytest.raises(PermissionError):
        staffkey.load_or_make(link, os.getuid(), os.getgid())
    assert list(elsewhere.iterdir()) == []


def test_what_is_derived_is_apart(key: StaffKey) -> None:
    assert key.password("ani", Role.OPERATOR, "x") != key.password("ani", Role.TECHNICIAN, "x")
    assert key.password("ani", Role.OPERATOR, "x") != key.password("anio", Role.OPERATOR, "x")
    assert key.session("t", "ani", Role.OPERATOR) != key.session("t", "ani", Role.TECHNICIAN)
    assert key.session("ta", "ni", Role.OPERATOR) != key.session("t", "ani", Role.OPERATOR)
    assert key.pseudonym("5c:e9:1e:00:00:01", "2026-11") != key.pseudonym("5c:e9:1e:00:00:01", "2026-12")
    assert len({key.pseudonym(f"5c:e9:1e:00:00:{n:02x}", "2026-11") for n in range(256)}) == 256


def test_the_certificate_is_what_browsers_take(tmp_path: Path) -> None:
    pem = selfsigned.make(NAMES, NOW)
    certificate = x509.load_pem_x509_certificate(pem)
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["gerbang.lan", "gateway.lan"]
    assert [str(ip) for ip in found.get_values_for_type(x509.IPAddress)] == ["10.77.0.1"]
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= dt.timedelta(days=3653)
    assert certificate.not_valid_before_utc <= NOW


def test_it_is_kept_until_shortly_before_its_end_or_another_name() -> None:
    pem = selfsigned.make(NAMES, NOW)
    end = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    assert selfsigned.is_good(pem, NAMES, end - 31 * DAY)
    assert not selfsigned.is_good(pem, NAMES, end - 29 * DAY)
    assert not selfsigned.is_good(pem, [*NAMES[:2], "10.78.0.1"], NOW)
    assert not selfsigned.is_good(b"nothing", NAMES, NOW)


def test_a_certificate_from_1970_is_good_when_the_clock_is_right() -> None:
    certificate = x509.load_pem_x509_certificate(selfsigned.make(NAMES, dt.datetime(1970, 1, 1, 1, tzinfo=dt.UTC)))
    assert certificate.not_valid_before_utc < dt.datetime.now(dt.UTC) < certificate.not_valid_after_utc


def test_a_new_password_is_long_enough_and_never_the_same() -> None:
    made = {new_password() for _ in range(200)}
    assert len(made) == 200
    assert {len(one) for one in made} == {20}


class TestFirstUsers:
    @pytest.fixture
    def empty(self, shared: Shared) -> Shared:
        with shared.database.write() as db:
            db.execute("DELETE FROM staff_user")
        return shared

    def test_they_are_made_once_and_the_paper_is_root_s(self, empty: Shared) -> None:
        start._first_users(empty)
        paper = empty.paths.staff_passwords
        assert paper.stat().st_mode & 0o777 == 0o600
        text = paper.read_text()
        assert "https://10.77.0.1:8444" in text
        lines = [line.split() for line in text.splitlines() if line.startswith("  ")]
        assert [(name, role) for name, _, role in lines] == [(name, role.value) for name, role in FIRST_USERS.items()]
        for name, password, _ in lines:
            token = empty.staffing.log_in(name, password)
            assert token is not None
            session = empty.staffing.session(token, click=True)
            assert session is not None
            assert session.user.must_change
        start._first_users(empty)
        assert paper.read_text() == text

    def test_the_paper_goes_at_a_start_when_all_are_changed(self, shared: Shared) -> None:
        shared.paths.staff_passwords.write_text("old")
        start._first_users(shared)
        assert not shared.paths.staff_passwords.exists()

    def test_a_link_put_there_is_not_followed(self, empty: Shared, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.write_text("untouched")
        empty.paths.staff_passwords.symlink_to(target)
        start._first_users(empty)
        assert target.read_text() == "untouched"
        assert not empty.paths.staff_passwords.is_symlink()

    def test_a_paper_that_cannot_be_written_makes_no_users(self, empty: Shared) -> None:
        def breaks(_: Mapping[str, str]) -> None:
            raise OSError("no room")

        with pytest.raises(OSError, match="no room"):
            empty.staffing.make_first(empty.administration("gerbang", "system"), breaks)
        assert empty.staffing.users() == []
