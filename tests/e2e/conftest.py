"""The village that most end-to-end tests share, and phones in it. It knows no subject."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.village import story
from tests.village.gateway import GerbangGateway
from tests.village.phone import Phone
from tests.village.village import Surroundings, Village

NewPhone = Callable[[], Phone]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if "tests/e2e/" in item.nodeid:
            item.add_marker(pytest.mark.skip(reason="needs root: it makes network namespaces"))


@pytest.fixture(scope="session")
def village() -> Iterator[Village]:
    """One village for all tests that leave its gateway as they found it; it starts without phones."""
    with Village(phones=0, site={"plan": [story.PLAN]}) as v:
        yield v


@pytest.fixture(scope="module")
def own_village() -> Iterator[Village]:
    """A village for the tests of one module that kill, fill or break things."""
    with Village(phones=0, site={"plan": [story.PLAN]}) as v:
        yield v


@pytest.fixture
def gateway(village: Village) -> GerbangGateway:
    assert isinstance(village.gateway, GerbangGateway)
    return village.gateway


@contextmanager
def phones_of(village: Surroundings) -> Iterator[NewPhone]:
    """Hands out phones with leases; they leave the village at the end."""
    added: list[Phone] = []

    def new() -> Phone:
        (phone,) = village.add_phones(1)
        added.append(phone)
        phone.dhcp()
        return phone

    try:
        yield new
    finally:
        for phone in added:
            phone.close()


@pytest.fixture
def new_phone(village: Village) -> Iterator[NewPhone]:
    with phones_of(village) as new:
        yield new


@pytest.fixture
def phone(new_phone: NewPhone) -> Phone:
    """A phone that has joined and not logged in."""
    return new_phone()


def _network_of(pid: str) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink()).removeprefix("net:[").rstrip("]")
    except OSError:
        return None


def descendants(pid: int) -> set[str]:
    """Process ids of all that a process started, and what those did."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[entry.name] = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
    found = {str(pid)}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {str(pid)}


def namespaces_of(pids: set[str]) -> set[str]:
    """Inode numbers of the network namespaces that these processes are in, without this process's own."""
    return {inode for inode in map(_network_of, pids) if inode is not None} - {str(_network_of("self"))}


def processes_in(inodes: set[str]) -> list[str]:
    """Processes of this machine in one of these network namespaces, without those that have just ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _network_of(entry.name) in inodes:
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if command:
                found.append(f"{entry.name} {command}")
    return found
