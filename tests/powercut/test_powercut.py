"""The power goes while people log in and out: what is on the disk then is whole, and keeps what anybody was told.

The file system is cut, not the process: ext4 on a disk that records every write and flush. The gateway is started on
what 200 cuts leave, with anything that the disk's cache held lost, reordered or torn.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.powercut.namespaces import ROOT, command

SECONDS = 20
CUTS = 200
SEED = 20261124

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts file systems"),
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="needs FUSE in the kernel"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices in the kernel"),
    pytest.mark.timeout(400),
]


def run(module: str, *arguments: object) -> str:
    started = command(module, *arguments)
    done = subprocess.run(started, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("powercut")
    run("tests.powercut.record", folder, SECONDS, SEED)
    return folder


def cuts_of(recorded: Path, which: int | str, *how: str) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in run("tests.powercut.replay", recorded, which, SEED, *how).splitlines()]
    assert which == "superblock" or len(told) == which
    return told


def test_200_cuts_leave_whole_databases_every_closed_session_and_everybody_online(recorded: Path) -> None:
    told = cuts_of(recorded, CUTS)
    assert [cut for cut in told if cut["wrong"]] == []
    assert set(Counter(cut["cached"] for cut in told)) == {"all", "none", "some", "torn"}
    last = told[-1]
    assert last["closed"] > 200 and last["running"] >= 6, "people did log in and out"
    assert last["boot_s"] > 2 * 900, "long enough for bytes to be lost that must not be"


def test_a_superblock_that_was_half_written_is_made_good(recorded: Path) -> None:
    """Its checksum is of the other half, so that nothing mounts it: one cut in a thousand of those above."""
    told = cuts_of(recorded, "superblock")
    assert told and [cut for cut in told if cut["wrong"]] == []


def test_a_disk_that_lies_about_its_cache_is_found_to_lose_what_was_promised(recorded: Path) -> None:
    """Of the cuts themselves: they do find what is lost."""
    wrong = [problem for cut in cuts_of(recorded, 20, "lying") for problem in cut["wrong"]]
    found = {problem.split(":")[0].split(" ")[0] for problem in wrong}
    assert {"closed", "offline"} & found or "journal" in found, wrong


def test_a_card_that_dies_puts_nobody_out_and_keeps_what_was_answered(tmp_path: Path) -> None:
    assert json.loads(run("tests.powercut.dying", tmp_path)) == []
