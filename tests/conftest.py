"""What all tests share: markers by folder, and a closing count of what was skipped and why. It knows no subject."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

Figures = dict[str, str]
_FIGURES = pytest.StashKey[Figures]()
HERE = Path(__file__).parent
MARKER_OF_FOLDER = {"kernel": "kernel", "e2e": "e2e", "image": "image", "pi": "image"}
APART = ("image", "pi")

# How long an example takes tells of the machine, and no test may fail of that.
settings.register_profile("gerbang", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gerbang")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in MARKER_OF_FOLDER:
            item.add_marker(MARKER_OF_FOLDER[folder])


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """The images' tests need an image. They run where their path is given; pytest asks this of no path that is."""
    return True if collection_path in [HERE / name for name in APART] else None


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """What a test has measured, by name: printed at the end, for docs/measurements.md. No figure fails a test."""
    return pytestconfig.stash.setdefault(_FIGURES, {})


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A daemon's command that ran inside a test must not leave the tests deaf to SIGTERM."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was skipped, so that a run on a poorer kernel does not read like a full one; and what was measured."""
    if found := config.stash.get(_FIGURES, {}):
        terminalreporter.section("measured")
        for name, value in found.items():
            terminalreporter.write_line(f"{name}: {value}")
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        terminalreporter.section(f"{reasons.total()} skipped, by name")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4}  {reason}")
