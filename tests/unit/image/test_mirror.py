"""Where packages come from, by what apt answers on machines that were set up in different ways."""

from __future__ import annotations

import pytest

from image import mirror
from image.errors import BuildError
from image.mirror import Mirror

# A machine with sources.list: one line for each index, those of deb-src and of other repositories among them.
ONE_LINE = """\
http://mirror.example/debian/ bookworm contrib
http://mirror.example/debian/ bookworm main
http://mirror.example/debian/ bookworm-updates main
http://security.example/debian-security/ bookworm-security main
https://packages.example/apt nodistro main
"""
# debian.sources as a fresh trixie has it: backports, and an order of its own.
DEB822 = """\
https://deb.example/debian-security/ trixie-security main
https://deb.example/debian/ trixie-backports main
https://deb.example/debian/ trixie-updates main
https://deb.example/debian/ trixie main
https://deb.example/debian/ trixie non-free-firmware
"""
BY_STATUS = "http://m.example/debian stable main\nhttp://m.example/security stable/updates main\n"


@pytest.mark.parametrize(
    ("said", "archive", "security"),
    [
        (ONE_LINE, "http://mirror.example/debian", "http://security.example/debian-security"),
        (DEB822, "https://deb.example/debian", "https://deb.example/debian-security"),
        (BY_STATUS, "http://m.example/debian", "http://m.example/security"),
    ],
)
def test_the_mirror_is_the_one_of_apt(said: str, archive: str, security: str) -> None:
    assert mirror.of_apt(said) == Mirror(archive, security)


def test_a_machine_without_a_security_archive_is_told_so() -> None:
    with pytest.raises(BuildError, match=r"no mirror of the security archive\. Name a mirror: MIRROR="):
        mirror.of_apt("http://mirror.example/debian/ bookworm main\n")


@pytest.mark.parametrize("said", ["", "http://archive.example/ubuntu noble main\n", "\n \n"])
def test_a_machine_that_is_no_debian_is_told_so(said: str) -> None:
    with pytest.raises(BuildError, match="no mirror of Debian's archive"):
        mirror.of_apt(said)


def test_a_mirror_that_is_named_is_taken_unasked() -> None:
    assert mirror.find({"MIRROR": "http://m.example/debian/"}) == Mirror(
        "http://m.example/debian", "http://m.example/debian-security"
    )
    named = {"MIRROR": "http://m.example/debian", "SECURITY_MIRROR": "http://s.example/x/"}
    assert mirror.find(named) == Mirror("http://m.example/debian", "http://s.example/x")


def test_the_image_s_suite_takes_the_place_of_the_machine_s() -> None:
    archive, security = mirror.of_apt(ONE_LINE).sources()
    assert archive.endswith("] http://mirror.example/debian trixie main non-free-firmware")
    assert security.endswith("] http://security.example/debian-security trixie-security main non-free-firmware")
