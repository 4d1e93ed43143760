"""The image under test, one booted box that most tests share, and boxes of one's own. It knows no subject."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.image.place import Place, Ready
from tests.village.internet import REPOSITORY
from tests.village.phone import Phone

NewPhone = Callable[[], Phone]
NewPlace = Callable[..., Place]
# A box boots in a minute, and some tests boot it a few times.
TEST_TIMEOUT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/image/" in item.nodeid:
            if not any(item.iter_markers("timeout")):
                item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root: it makes network namespaces"))


@pytest.fixture(scope="session")
def image() -> Path:
    """The image that `./build.sh image x86` has made: the newest in dist/, or what GERBANG_IMAGE names."""
    named = os.environ.get("GERBANG_IMAGE")
    if named:
        return Path(named)
    found = sorted((REPOSITORY / "dist").glob("gerbang-*-x86.img"), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.fail("there is no image in dist/. Build it: sudo ./build.sh image x86", pytrace=False)
    return found[-1]


def _places(image: Path, factory: pytest.TempPathFactory, name: str) -> Iterator[NewPlace]:
    with ExitStack() as stack:

        def new(**options: Any) -> Place:
            return stack.enter_context(Place(image, factory.mktemp(name), **options))

        yield new


@pytest.fixture
def new_place(
    image: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[NewPlace]:
    """Makes places with a fresh box that is off, for one test."""
    yield from _places(image, tmp_path_factory, re.sub(r"\W+", "-", request.node.name)[:24])


@pytest.fixture(scope="session")
def first_boot(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Ready]]:
    """The box that most tests share (SeaBIOS), and how its first boot went."""
    for new in _places(image, tmp_path_factory, "shared"):
        place = new()
        yield place, place.boot()


@pytest.fixture(scope="session")
def place(first_boot: tuple[Place, Ready]) -> Place:
    """The shared box. Whoever uses it leaves it running, and as it was."""
    return first_boot[0]


@pytest.fixture
def new_phone(place: Place) -> Iterator[NewPhone]:
    """Hands out phones with leases; they leave the village at the end."""
    added: list[Phone] = []

    def new() -> Phone:
        (phone,) = place.add_phones(1)
        added.append(phone)
        phone.dhcp()
        return phone

    yield new
    for phone in added:
        phone.close()


@pytest.fixture
def phone(new_phone: NewPhone) -> Phone:
    """A phone that has joined and not logged in."""
    return new_phone()
