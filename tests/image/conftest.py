"""The image under test, one booted box that most tests share, and boxes of one's own. It knows no subject."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import NewPhone, phones_of
from tests.image import radio
from tests.image.machine import PATIENCE
from tests.image.place import Place, Ready, newest
from tests.village.phone import Phone

NewPlace = Callable[..., Place]
OTHERS = {"new_place", "updated"}
# A box boots in a minute where the processors are idle, and some tests boot it a few times.
TEST_TIMEOUT_S = 1800 * PATIENCE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/image/" in item.nodeid:
            if not any(item.iter_markers("timeout")):
                item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root: it makes network namespaces"))
    # One machine runs at a time, so the shared one is used up before others are switched on.
    items.sort(key=lambda item: "tests/image/" in item.nodeid and bool(OTHERS & set(getattr(item, "fixturenames", ()))))


@pytest.fixture(scope="session")
def image() -> Path:
    return newest("x86")


@pytest.fixture(scope="session")
def shared(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The box that most tests share (SeaBIOS, with a radio): ask for ``place``."""
    with Place(image, tmp_path_factory.mktemp("shared"), credentials=radio.PLUGGED) as place:
        yield place


@pytest.fixture(scope="session")
def first_boot(shared: Place) -> Ready:
    """How the shared box's first boot went."""
    return shared.boot()


@pytest.fixture
def place(shared: Place, first_boot: Ready) -> Place:
    """The shared box, running. Whoever uses it leaves it running, and as it was."""
    shared.be_on()
    return shared


@pytest.fixture
def new_place(
    image: Path, shared: Place, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[NewPlace]:
    """Makes places with a fresh box that is off, for one test; the shared box is off meanwhile."""
    shared.be_off()
    name = re.sub(r"\W+", "-", request.node.name)[:24]
    with ExitStack() as stack:

        def new(**options: Any) -> Place:
            return stack.enter_context(Place(image, tmp_path_factory.mktemp(name), **options))

        yield new


@pytest.fixture
def new_phone(place: Place) -> Iterator[NewPhone]:
    """Hands out phones with leases; they leave the village at the end."""
    with phones_of(place) as new:
        yield new


@pytest.fixture
def phone(new_phone: NewPhone) -> Phone:
    """A phone that has joined and not logged in."""
    return new_phone()
