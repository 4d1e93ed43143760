"""At the office: makes a delta from the slot image that boxes have to the bundle that they are to get, and tries one.

``python -m portal.update.delta make OLD.squashfs NEW.raucb OUT.gdelta``; ``apply DELTA OLD OUT`` is what a box does. It
must not know RAUC: what comes out of a delta is the signed bundle, bit by bit.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from portal.update import deltaapply, deltaformat, errors
from portal.update.deltaapply import ZSTD
from portal.update.deltaformat import Head, Piece
from portal.update.errors import UpdateError

PIECE_BYTES: Final = deltaformat.MAX_PIECE_BYTES
MARGIN_BYTES: Final = (deltaformat.MAX_OLD_BYTES - PIECE_BYTES) // 2
LEVEL: Final = 3  # what is not in the old image is compressed already: more effort saves nothing
ANCHORS: Final = 24
ANCHOR_BYTES: Final = 64


def make(old: Path, new: Path, out: Path, *, piece_bytes: int = PIECE_BYTES, level: int = LEVEL) -> Head:
    """Write the delta. Raises UpdateError, OSError; ``out`` is whole or not there."""
    before, after = old.read_bytes(), new.read_bytes()
    pieces: list[Piece] = []
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".delta-") as name:
        folder = Path(name)
        patches = folder / "patches"
        with patches.open("wb") as file:
            shift = 0
            for start in range(0, len(after), piece_bytes):
                content = after[start : start + piece_bytes]
                shift = shift_of(before, content, start, shift)
                first = min(len(before), max(0, start + shift - MARGIN_BYTES))
                near = before[first : max(first, start + shift + len(content) + MARGIN_BYTES)]
                patch = _patch(folder, near, content, level)
                file.write(patch)
                digests = (hashlib.sha256(patch).hexdigest(), hashlib.sha256(content).hexdigest())
                pieces.append(Piece(first, len(near), len(patch), *digests))
        head = Head(
            old_bytes=len(before),
            old_sha256=hashlib.sha256(before).hexdigest(),
            new_bytes=len(after),
            new_sha256=hashlib.sha256(after).hexdigest(),
            piece_bytes=piece_bytes,
            pieces=tuple(pieces),
        )
        whole = folder / "whole"
        with whole.open("wb") as target, patches.open("rb") as source:
            target.write(_packed(head))
            while data := source.read(deltaapply.CHUNK):
                target.write(data)
            target.flush()
            os.fsync(target.fileno())
        whole.rename(out)
    return head


def _packed(head: Head) -> bytes:
    """As a box would take it. Raises UpdateError for what none would."""
    packed = deltaformat.pack(head)
    try:
        deltaformat.read(io.BytesIO(packed).read)
    except UpdateError as error:
        message = f"No box would take this delta. {error.message}"
        raise UpdateError(errors.DELTA, message, "Give them the whole bundle.") from None
    return packed


def shift_of(before: bytes, content: bytes, start: int, guess: int) -> int:
    """How much further back or ahead the piece's content stood in the old image: what most of some samples say.

    ``guess``: that of the piece before, which is looked at first and holds where nothing is found.
    """
    found = []
    for at in anchors(len(content)):
        sample = content[at : at + ANCHOR_BYTES]
        if len(set(sample)) < 8:
            continue  # zeros and the like stand everywhere
        expected = start + at + guess
        where = before.find(sample, max(0, expected - MARGIN_BYTES), expected + MARGIN_BYTES)
        if where < 0:
            where = before.find(sample)
        if where >= 0:
            found.append(where - start - at)
    found.sort()
    return found[len(found) // 2] if found else guess


def anchors(size: int) -> Iterator[int]:
    if size >= ANCHOR_BYTES:
        yield from range(0, size - ANCHOR_BYTES + 1, max(1, size // ANCHORS))


def _patch(folder: Path, near: bytes, content: bytes, level: int) -> bytes:
    old, new, out = folder / "old", folder / "new", folder / "patch"
    old.write_bytes(near)
    new.write_bytes(content)
    _zstd(["-f", f"-{level}", "--no-check", f"--patch-from={old}", str(new), "-o", str(out)])
    return out.read_bytes()


def _zstd(arguments: Sequence[str]) -> None:
    try:
        done = subprocess.run([ZSTD, "-q", *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise UpdateError(errors.DELTA, f"zstd cannot be started: {error.strerror}.", "apt install zstd") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise UpdateError(errors.DELTA, f"zstd made no patch: {said}", "Is the disk full?")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def program() -> None:
    """Deltas of a box's updates."""


_FILE = click.Path(path_type=Path, dir_okay=False)


@program.command("make")
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@click.argument("out", type=_FILE)
@click.option("--level", type=click.IntRange(1, 19), default=LEVEL, show_default=True, help="zstd's level.")
def make_command(old: Path, new: Path, out: Path, level: int) -> None:
    """From the slot image OLD, as boxes have it, to the bundle NEW."""
    head = make(old, new, out, level=level)
    size = out.stat().st_size
    click.echo(
        f"{out}: {size} bytes for {head.new_bytes} ({size / max(1, head.new_bytes):.2%}), {len(head.pieces)} pieces"
    )


@program.command("apply")
@click.argument("delta")
@click.argument("old", type=_FILE)
@click.argument("out", type=_FILE)
def apply_command(delta: str, old: Path, out: Path) -> None:
    """What a box does: DELTA, a file or an address, and the image or slot OLD make the bundle OUT."""
    with deltaapply.opened(delta) as source:
        head = deltaapply.read_head(source)
        deltaapply.rebuild(source, head, old, out)
    click.echo(f"{out}: {head.new_bytes} bytes, SHA-256 {head.new_sha256}")


def main() -> None:
    try:
        program.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(os.EX_USAGE)
    except UpdateError as error:
        click.echo(f"{error.message}\n    {error.hint}", err=True)
        sys.exit(errors.EXITS.get(error.code, os.EX_UNAVAILABLE))
    except OSError as error:
        click.echo(f"{error}.", err=True)
        sys.exit(os.EX_IOERR)


if __name__ == "__main__":
    main()
