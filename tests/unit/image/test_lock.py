"""The image's Python packages are those that pyproject.toml asks for, each pinned by hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from image import wheels

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = {lock.name: lock.read_text(encoding="utf-8") for lock in (wheels.LOCK, wheels.BUILD_LOCK)}


def pinned(text: str) -> dict[str, Version]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+) \\$", text, re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


def of_image(requirement: Requirement) -> bool:
    environment = {
        **default_environment(),
        "python_version": wheels.PYTHON,
        "python_full_version": f"{wheels.PYTHON}.0",
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize("text", PROJECT["project"]["dependencies"])
def test_the_lock_satisfies_what_the_project_asks_for(text: str) -> None:
    requirement = Requirement(text)
    if not of_image(requirement):
        pytest.skip(f"not for Python {wheels.PYTHON}")
    versions = pinned(LOCKS[wheels.LOCK.name])
    name = canonicalize_name(requirement.name)
    assert name in versions, "renew the lock: ./build.sh image lock"
    assert requirement.specifier.contains(versions[name]), "renew the lock: ./build.sh image lock"


@pytest.mark.parametrize("text", PROJECT["build-system"]["requires"])
def test_the_build_lock_satisfies_what_building_asks_for(text: str) -> None:
    requirement = Requirement(text)
    assert requirement.specifier.contains(pinned(LOCKS[wheels.BUILD_LOCK.name])[canonicalize_name(requirement.name)])


def test_the_project_s_own_python_is_old_enough_for_the_image_s() -> None:
    requirement = Requirement(f"python{PROJECT['project']['requires-python']}")
    assert requirement.specifier.contains(f"{wheels.PYTHON}.0")


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_a_version_and_its_hashes(name: str) -> None:
    entries = re.split(r"\n(?! )", LOCKS[name].strip())
    assert entries[0].startswith("# Written by `./build.sh image lock`")
    for entry in entries[1:]:
        first, *rest = entry.split(" \\\n")
        assert re.fullmatch(r"[a-z0-9._-]+==[0-9][^\s;]*", first), (
            "a version, and no condition: amd64 and arm64 are alike"
        )
        assert rest
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in rest)


@pytest.mark.parametrize("name", LOCKS)
def test_no_registry_s_name_stands_in_a_lock(name: str) -> None:
    assert "://" not in LOCKS[name]
    assert "index" not in re.sub(r"hash=sha256:\w+", "", LOCKS[name])
