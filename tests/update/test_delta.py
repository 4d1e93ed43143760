"""Deltas of real files with the real zstd: made, applied, cut off, altered, resumed, and fetched over a bad line."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portal.update import delta, deltaapply, deltaformat, errors
from portal.update.errors import UpdateError
from tests.update.conftest import Server

PIECE, MARGIN = 256 * 1024, 128 * 1024
pytestmark = pytest.mark.usefixtures("needs_zstd")


@pytest.fixture(scope="module")
def made(images: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("zstd") is None:
        pytest.skip("no zstd here")
    out = tmp_path_factory.mktemp("delta") / "gerbang-test-2.gdelta"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delta, "MARGIN_BYTES", MARGIN)
        delta.make(*images, out, piece_bytes=PIECE, level=3)
    return out


def apply(source: str, old: Path, out: Path, tell: Callable[[int], object] = lambda _: None) -> None:
    with deltaapply.opened(source) as opened:
        deltaapply.rebuild(opened, deltaapply.read_head(opened), old, out, tell)


def refused(source: Path, old: Path, out: Path) -> UpdateError:
    with pytest.raises(UpdateError) as error:
        apply(str(source), old, out)
    assert not out.exists() and not out.with_name(out.name + ".part").exists(), "nothing half is left"
    return error.value


def test_it_is_small_and_makes_the_very_same_file(images: tuple[Path, Path], made: Path, tmp_path: Path) -> None:
    old, new = images
    told: list[int] = []
    apply(str(made), old, tmp_path / "out", told.append)
    assert (tmp_path / "out").read_bytes() == new.read_bytes()
    assert made.stat().st_size < 60_000, "40 000 bytes are new; none of the old ones may be sent again"
    assert told == sorted(told) and told[-1] == 100
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_slot_is_longer_than_its_image(images: tuple[Path, Path], made: Path, tmp_path: Path) -> None:
    slot = tmp_path / "slot"
    slot.write_bytes(images[0].read_bytes() + bytes(100_000))
    apply(str(made), slot, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == images[1].read_bytes()


def test_an_image_that_has_nothing_of_the_old_one(images: tuple[Path, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for old, new in ((empty, images[1]), (images[0], empty)):
        delta.make(old, new, tmp_path / "d", piece_bytes=PIECE, level=1)
        apply(str(tmp_path / "d"), old, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == new.read_bytes()


def test_the_wrong_version_is_told_so(images: tuple[Path, Path], made: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(images[0].read_bytes()[:-1] + b"!")
    assert refused(made, wrong, tmp_path / "out").code == errors.DELTA_SLOT
    wrong.write_bytes(images[0].read_bytes()[:1000])
    assert refused(made, wrong, tmp_path / "out").code == errors.DELTA_SLOT


@pytest.mark.parametrize("size", [0, 5, 9, 30, 60, 5000, -1])
def test_a_delta_that_was_cut_off(images: tuple[Path, Path], made: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "d").write_bytes(made.read_bytes()[:size])
    error = refused(tmp_path / "d", images[0], tmp_path / "out")
    assert error.code == errors.DELTA and error.hint


@pytest.mark.parametrize("at", [0, 9, 20, 100, 2500, 0.5, -1])
def test_a_delta_that_was_altered(images: tuple[Path, Path], made: Path, tmp_path: Path, at: float) -> None:
    content = bytearray(made.read_bytes())
    place = int(len(content) * at) if isinstance(at, float) else at
    content[place] ^= 0x01
    (tmp_path / "d").write_bytes(content)
    assert refused(tmp_path / "d", images[0], tmp_path / "out").code == errors.DELTA


def forged(made: Path, out: Path, change: Callable[[Any], Any]) -> Path:
    """A delta whose head says something else, with a hash that fits."""
    with made.open("rb") as file:
        head = deltaapply.read_head(deltaapply.FileSource(file))
        rest = file.read()
    out.write_bytes(deltaformat.pack(change(head)) + rest)
    return out


def piece(head: deltaformat.Head, number: int, **changes: Any) -> deltaformat.Head:
    pieces = list(head.pieces)
    pieces[number] = msgspec.structs.replace(pieces[number], **changes)
    return msgspec.structs.replace(head, pieces=tuple(pieces))


@pytest.mark.parametrize(
    "change",
    [
        lambda head: piece(head, 3, sha256="0" * 64),
        lambda head: piece(head, 3, old_offset=0),
        lambda head: piece(head, 3, old_offset=2_999_999),
        lambda head: piece(head, 3, old_bytes=1 << 40),
        lambda head: piece(head, 3, patch_bytes=0),
        lambda head: piece(head, 3, patch_sha256="../../etc/passwd"),
        lambda head: msgspec.structs.replace(head, new_sha256="0" * 64),
        lambda head: msgspec.structs.replace(head, new_bytes=head.new_bytes - 1),
        lambda head: msgspec.structs.replace(head, new_bytes=1 << 50),
        lambda head: msgspec.structs.replace(head, piece_bytes=1),
        lambda head: msgspec.structs.replace(head, pieces=head.pieces[:-1]),
    ],
)
def test_a_head_that_lies_is_found_out(
    images: tuple[Path, Path], made: Path, tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    assert refused(forged(made, tmp_path / "d", change), images[0], tmp_path / "out").code == errors.DELTA


def test_a_patch_that_unpacks_to_more_than_its_piece_is_stopped(
    images: tuple[Path, Path], made: Path, tmp_path: Path
) -> None:
    """A hundred megabytes of zeros in a few bytes."""
    (tmp_path / "zeros").write_bytes(bytes(100_000_000))
    bomb = subprocess.run(["zstd", "-q", "-c", "-19", tmp_path / "zeros"], capture_output=True, check=True).stdout
    (tmp_path / "zeros").unlink()

    with made.open("rb") as file:
        head = deltaapply.read_head(deltaapply.FileSource(file))
    head = piece(head, 0, patch_bytes=len(bomb), patch_sha256=hashlib.sha256(bomb).hexdigest())
    (tmp_path / "d").write_bytes(deltaformat.pack(head) + bomb)
    assert refused(tmp_path / "d", images[0], tmp_path / "out").code == errors.DELTA


def head_of(**changes: Any) -> deltaformat.Head:
    """Of one piece, and as large as the maker makes it."""
    mib = 1024 * 1024
    only = deltaformat.Piece(0, 48 * mib, 16 * mib + 16 * 1024, "0" * 64, "0" * 64)
    sums = {"old_sha256": "0" * 64, "new_sha256": "0" * 64}
    head = deltaformat.Head(old_bytes=640 * mib, new_bytes=16 * mib, piece_bytes=16 * mib, pieces=(only,), **sums)
    return piece(head, 0, **changes)


def test_a_head_that_would_need_more_memory_than_our_own_ever_do_is_refused() -> None:
    """It is not signed: a box of 1 GB reads what anybody on the line could have written."""
    mib = 1024 * 1024
    assert deltaformat.read(io.BytesIO(deltaformat.pack(head_of())).read) == head_of()
    larger = msgspec.structs.replace(head_of(), piece_bytes=16 * mib + 1)
    for head in (larger, head_of(old_bytes=48 * mib + 1), head_of(patch_bytes=17 * mib)):
        with pytest.raises(UpdateError) as error:
            deltaformat.read(io.BytesIO(deltaformat.pack(head)).read)
        assert error.value.code == errors.DELTA


def test_what_no_box_would_take_is_not_made(images: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="No box") as error:
        delta.make(*images, tmp_path / "d", piece_bytes=16 * 1024 * 1024 + 1, level=1)
    assert error.value.code == errors.DELTA and list(tmp_path.iterdir()) == []


def test_the_largest_pieces_that_are_made_are_within_what_zstd_may_take_for_them(tmp_path: Path) -> None:
    near, content = tmp_path / "near", os.urandom(deltaformat.MAX_PIECE_BYTES)
    near.write_bytes(os.urandom(deltaformat.MAX_OLD_BYTES - len(content)) + content)
    for new in (content, os.urandom(len(content))):
        patch = delta._patch(tmp_path, near.read_bytes(), new, delta.LEVEL)
        sums = hashlib.sha256(patch).hexdigest(), hashlib.sha256(new).hexdigest()
        told = deltaformat.Piece(0, deltaformat.MAX_OLD_BYTES, len(patch), *sums)
        head = deltaformat.Head(
            old_bytes=deltaformat.MAX_OLD_BYTES,
            old_sha256=hashlib.sha256(near.read_bytes()).hexdigest(),
            new_bytes=len(new),
            new_sha256=sums[1],
            piece_bytes=len(new),
            pieces=(told,),
        )
        (tmp_path / "d").write_bytes(deltaformat.pack(head) + patch)
        apply(str(tmp_path / "d"), near, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == new


def test_a_patch_is_never_in_memory_as_a_whole(images: tuple[Path, Path], tmp_path: Path) -> None:
    empty, new = tmp_path / "empty", images[1]
    empty.touch()
    delta.make(empty, new, tmp_path / "d", level=1)
    asked: list[int] = []

    class Watched(deltaapply.FileSource):
        def read(self, size: int) -> bytes:
            asked.append(size)
            return super().read(size)

    with (tmp_path / "d").open("rb") as file:
        source = Watched(file)
        deltaapply.rebuild(source, deltaapply.read_head(source), empty, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == new.read_bytes()
    assert max(asked) <= deltaapply.CHUNK < sum(asked)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lay down")
def test_zstd_meets_what_is_not_signed_without_rights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = b"65534 65534 65534\n"
    sums = {"old_sha256": hashlib.sha256(b"").hexdigest(), "new_sha256": hashlib.sha256(made).hexdigest()}
    only = deltaformat.Piece(0, 0, 1, hashlib.sha256(b"x").hexdigest(), sums["new_sha256"])
    head = deltaformat.Head(old_bytes=0, new_bytes=len(made), piece_bytes=4096, pieces=(only,), **sums)
    (tmp_path / "empty").touch()
    (tmp_path / "d").write_bytes(deltaformat.pack(head) + b"x")
    with tempfile.TemporaryDirectory() as name:  # nobody gets as far as tmp_path
        Path(name).chmod(0o755)
        (Path(name) / "zstd").write_text("#!/bin/sh\necho $(id -u) $(id -g) $(id -G)\n")
        (Path(name) / "zstd").chmod(0o755)
        monkeypatch.setattr(deltaapply, "ZSTD", str(Path(name) / "zstd"))
        apply(str(tmp_path / "d"), tmp_path / "empty", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == made


# --- over a line ----------------------------------------------------------------------------------------------------


@pytest.fixture
def offered(server: Server, made: Path) -> Server:
    server.content = made.read_bytes()
    return server


@pytest.mark.parametrize("ranges", [True, False])
def test_a_line_that_breaks_is_gone_on_with(
    images: tuple[Path, Path], offered: Server, tmp_path: Path, ranges: bool
) -> None:
    offered.breaks, offered.ranges = (10**6, True) if ranges else (1, False)
    apply(offered.url, images[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == images[1].read_bytes()
    if ranges:
        assert offered.sent == len(offered.content), "no byte twice"


def test_a_line_that_ends_leaves_what_was_made_and_the_next_try_goes_on(
    images: tuple[Path, Path], offered: Server, tmp_path: Path
) -> None:
    offered.lasts = len(offered.content) * 2 // 3
    with pytest.raises(UpdateError) as error:
        apply(offered.url, images[0], tmp_path / "out")
    assert error.value.code == errors.FETCH and not (tmp_path / "out").exists()
    made = deltaapply.there(tmp_path / "out")
    assert made == (tmp_path / "out.part").stat().st_size >= 2 * PIECE
    offered.lasts = 1 << 60
    apply(offered.url, images[0], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == images[1].read_bytes()
    assert deltaapply.there(tmp_path / "out") == 0 and not (tmp_path / "out.part").exists()


def test_a_rebuild_of_something_else_that_lies_there_does_no_harm(
    images: tuple[Path, Path], made: Path, tmp_path: Path
) -> None:
    for content in (b"x" * 5_000_000, images[1].read_bytes()[: 2 * PIECE] + b"y" * PIECE):
        (tmp_path / "out.part").write_bytes(content)
        apply(str(made), images[0], tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == images[1].read_bytes()


# --- as a program ---------------------------------------------------------------------------------------------------


def program(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portal.update.delta", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_makes_and_applies(images: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = images
    done = program("make", old, new, tmp_path / "d.gdelta", "--level", 1)
    assert done.returncode == 0 and "1 pieces" in done.stdout, done.stderr
    assert program("apply", tmp_path / "d.gdelta", old, tmp_path / "out").returncode == 0
    assert (tmp_path / "out").read_bytes() == new.read_bytes()
    wrong = program("apply", tmp_path / "d.gdelta", new, tmp_path / "out2")
    assert wrong.returncode == 65 and "another version" in wrong.stderr and "Traceback" not in wrong.stderr
    assert program("apply", tmp_path / "none", old, tmp_path / "out2").returncode == 66
    assert program("make", old).returncode == 64
