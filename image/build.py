"""Builds an image, from the layers to the files in the output directory. It must not know any step's details."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image import binfmt, bootloader, bundle, customise, disk, keys, layers, mirror, release, rootfs, sbom, wheels
from image.commands import run
from image.errors import BuildError
from image.targets import Target

REPOSITORY: Final = Path(__file__).parent.parent
BLOCK: Final = "128K"
ZSTD_LEVEL: Final = "-9"


@dataclass(frozen=True, slots=True)
class Options:
    """``variables`` take the place of the layers' defaults; ``fresh`` fetches Debian's packages anew."""

    output: Path
    cache: Path
    variables: Mapping[str, str]
    fresh: bool


def build(target: Target, options: Options) -> Path:
    """Build ``target``; the image's path. Raises BuildError."""
    if os.geteuid() != 0:
        raise BuildError(os.EX_NOPERM, "Building an image needs root: its files are root's.", "Use sudo.")
    recipe = layers.recipe(target.name, options.variables)
    made = release.of(REPOSITORY)
    signing = keys.find(os.environ, options.cache)
    facts = {"IMAGE_ID": f"gerbang-{target.name}", "IMAGE_VERSION": made.version, "IMAGE_KEY": signing.kind}
    known = {**disk.variables(target), **recipe.variables}
    base = f"gerbang-{made.version}-{target.name}"
    options.cache.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    work = options.cache / f"work-{target.name}"
    with alone(options.cache / f"{target.name}.lock"), umask(), binfmt.foreign(target):
        if work.exists():
            shutil.rmtree(work)
        work.mkdir()
        tree = make_tree(target, recipe, made, options, work)
        with step("files, units and firmware"):
            dress(tree, recipe, known, signing)
            customise.lock_accounts(tree, made.epoch)
            customise.name_release(tree, facts)
        with step("initrd"):
            customise.make_initrd(tree, made.epoch)
        with step("boot loader"):
            files = bootloader.fill_partition(target, tree, work / "stage")
        with step("bytecode"):
            wheels.compile_all(tree)
        customise.remove(tree, recipe.remove)
        customise.forget(tree)
        components = list(sbom.of_tree(tree, wheels.ENVIRONMENT))
        root = work / "stage/root.squashfs"
        with step("root file system"):
            squash(tree, root, made.epoch)
        disk.check_slot(root.stat().st_size)
        with step("disk"):
            image = assemble(target, f"{base}.img", files, work, made.epoch)
        path = options.output / image.name
        with step("bundle, compression and lists"):
            move(image, path)
            told = bundle.manifest(f"gerbang-{target.name}", made.version)
            bundle.make(root, told, signing, work, path.with_suffix(".raucb"))
            pack(path)
            listed = sbom.document(f"gerbang-{target.name}", made.version, made.epoch, components)
            path.with_suffix(".cdx.json").write_text(listed, encoding="utf-8")
        shutil.rmtree(work)
    report(path)
    return path


def make_tree(target: Target, recipe: layers.Recipe, made: release.Release, options: Options, work: Path) -> Path:
    """Debian's packages and the product's Python."""
    where = mirror.find(os.environ)
    wanted = rootfs.Wanted("root", target.architecture, recipe.packages, "essential")
    tree, shop, fetched = work / "tree", work / "shop", options.cache / f"wheels-{target.architecture}"
    python = Path(sys.executable)
    with step("Debian"):
        rootfs.unpack(rootfs.tarball(wanted, where, options.cache, made.epoch, options.fresh), tree)
    with step("a workshop for Python"):
        tar = rootfs.tarball(wheels.workshop(target), where, options.cache, made.epoch, options.fresh)
        rootfs.unpack(tar, shop)
    with step("Python packages"):
        wheels.download(python, target, fetched)
        wheels.own_wheel(python, REPOSITORY, work, fetched, made.epoch)
        wheels.install(shop, tree, fetched, made.epoch)
    shutil.rmtree(shop)
    return tree


def dress(tree: Path, recipe: layers.Recipe, known: Mapping[str, str], signing: keys.Keys) -> None:
    """The layers' files, the product's units, and only what is needed of the rest."""
    customise.copy_files(recipe, tree, known)
    shutil.copyfile(signing.authority, tree / "etc/rauc/keyring.pem")
    customise.install_documents(REPOSITORY / "docs", tree / "usr/share/doc/gerbang")
    units = customise.install_units(REPOSITORY / "systemd", tree)
    for program in ("gerbang", "netctl"):
        (tree / "usr/bin" / program).symlink_to(f"/{wheels.ENVIRONMENT}/bin/{program}")
    customise.switch_units(tree, recipe, units)
    customise.prune_firmware(tree, recipe)
    customise.prune_modules(tree, recipe)


def squash(tree: Path, path: Path, epoch: int) -> None:
    """gzip, since GRUB reads the kernel out of it and knows no zstd there. One time for all files, the commit's.

    Small files are not packed together: whoever reads one would unpack all of its block, and Python reads hundreds.
    """
    run(
        *("mksquashfs", tree, path, "-comp", "gzip", "-b", BLOCK, "-no-fragments"),
        *("-noappend", "-no-progress", "-quiet", "-xattrs"),
        *("-mkfs-time", str(epoch), "-all-time", str(epoch)),
    )


def assemble(target: Target, name: str, files: list[str], work: Path, epoch: int) -> Path:
    """genimage takes all from the stage, and mounts nothing."""
    stage = work / "stage"
    for path in sorted(stage.rglob("*")):
        os.utime(path, (epoch, epoch))
    config = work / "genimage.cfg"
    config.write_text(disk.genimage(target, name, "root.squashfs", files, epoch), encoding="utf-8")
    (work / "nothing").mkdir()
    run(
        *("genimage", "--loglevel", "0", "--config", config, "--inputpath", stage, "--outputpath", work / "out"),
        *("--rootpath", work / "nothing", "--tmppath", work / "tmp"),
        # Times within the two file systems: mtools and mke2fs know these.
        env={"SOURCE_DATE_EPOCH": str(epoch), "E2FSPROGS_FAKE_TIME": str(epoch), "TZ": "UTC"},
    )
    return work / "out" / name


def pack(image: Path) -> None:
    """What is downloaded: compressed, with its sum, and with the map of blocks that are worth writing."""
    packed = image.with_name(f"{image.name}.zst")
    run("zstd", "--quiet", "--force", ZSTD_LEVEL, "--threads=0", image, "-o", packed)
    with packed.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    packed.with_name(f"{packed.name}.sha256").write_text(f"{digest}  {packed.name}\n", encoding="ascii")
    run("bmaptool", "--quiet", "create", "--output", image.with_suffix(".bmap"), image)


def move(source: Path, destination: Path) -> None:
    """With its holes, also to another file system."""
    destination.unlink(missing_ok=True)
    run("cp", "--sparse=always", source, destination)
    source.unlink()


def report(image: Path) -> None:
    for path in sorted(image.parent.glob(f"{image.stem}.*")):
        print(f"image: {path.stat().st_size / 1e6:8.1f} MB  {path}", flush=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"image: {name} ...", flush=True)
    yield
    print(f"image: {name}: {time.monotonic() - began:.0f} s", flush=True)


@contextmanager
def umask() -> Iterator[None]:
    """Modes in an image are not the builder's habit."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Two builds of a kind would use the same directories."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"Another build uses {lock.parent}."
            raise BuildError(os.EX_TEMPFAIL, message, "Wait for it, or give --cache another directory.") from error
        yield
