"""Makes a box's root file system of Debian's tree: the layers' files, the product's units, what stays and what starts.

It must not know what a unit does. What is done here is done in the tree alone, by the tree's own programs.
"""

from __future__ import annotations

import lzma
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from image import accounts, firmware
from image.commands import inside
from image.errors import BuildError
from image.layers import Recipe, fill
from image.release import os_release

UNITS: Final = (".service", ".socket", ".timer", ".target", ".path", ".mount")
# Where each file of systemd/ that is no unit has its place.
PLACES: Final = {
    ".preset": "usr/lib/systemd/system-preset/{name}",
    ".sysusers.conf": "usr/lib/sysusers.d/{stem}.conf",
    ".tmpfiles.conf": "usr/lib/tmpfiles.d/{stem}.conf",
}


def copy_files(recipe: Recipe, tree: Path, known: Mapping[str, str]) -> None:
    """The layers' files, with the variables filled in."""
    for source, to in recipe.files:
        path = tree / to
        make_directories(path.parent)
        path.unlink(missing_ok=True)
        if source.is_symlink():
            path.symlink_to(source.readlink())
            continue
        path.write_text(fill(source.read_text(encoding="utf-8"), known, str(source)), encoding="utf-8")
        path.chmod(0o755 if os.access(source, os.X_OK) and source.stat().st_mode & 0o100 else 0o644)


def make_directories(path: Path) -> None:
    """As everybody may read them, whatever umask the build runs under."""
    if not path.exists():
        make_directories(path.parent)
        path.mkdir()
        path.chmod(0o755)


def install_documents(directory: Path, destination: Path) -> None:
    """What units point to, for who has only the box."""
    for path in sorted(directory.glob("*.md")):
        _install(path, destination / path.name)


def install_units(directory: Path, tree: Path) -> tuple[str, ...]:
    """The product's units, their drop-ins, presets, users and directories; the units' names."""
    units = []
    for path in sorted(directory.glob("*")) if directory.is_dir() else ():
        if path.is_dir() and path.name.endswith(".d"):
            for drop_in in sorted(path.glob("*.conf")):
                _install(drop_in, tree / "usr/lib/systemd/system" / path.name / drop_in.name)
        elif path.suffix in UNITS:
            _install(path, tree / "usr/lib/systemd/system" / path.name)
            units.append(path.name)
        else:
            for ending, place in PLACES.items():
                if path.name.endswith(ending):
                    _install(path, tree / place.format(name=path.name, stem=path.name.removesuffix(ending)))
    return tuple(units)


def _install(source: Path, path: Path) -> None:
    make_directories(path.parent)
    shutil.copyfile(source, path)
    path.chmod(0o644)


def switch_units(tree: Path, recipe: Recipe, units: Iterable[str]) -> None:
    """Users first: units name them. The product's units follow its preset, Debian's the layers."""
    inside(tree, "/usr/bin/systemd-sysusers")
    accounts.pin(tree, recipe.ids)
    for unit in units:
        inside(tree, "/usr/bin/systemctl", "--quiet", "preset", unit)
    for verb, names in (("enable", recipe.enable), ("disable", recipe.disable), ("mask", recipe.mask)):
        if names:
            inside(tree, "/usr/bin/systemctl", "--quiet", verb, *names)
    for name, path in recipe.alternatives.items():
        inside(tree, "/usr/bin/update-alternatives", "--quiet", "--set", name, path)


def prune_firmware(tree: Path, recipe: Recipe) -> None:
    root = tree / "usr/lib/firmware"
    found = [path for path in root.rglob("*") if path.is_symlink() or path.is_file()]
    names = [str(path.relative_to(root)) for path in found]
    links = {str(path.relative_to(root)): str(path.readlink()) for path in found if path.is_symlink()}
    for pattern in firmware.unused(names, recipe.firmware):
        print(f"image: no firmware is called {pattern}", flush=True)
    keep = firmware.kept(names, links, recipe.firmware)
    for path, name in zip(found, names, strict=True):
        if name not in keep:
            path.unlink()
    for path in sorted((path for path in root.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def prune_modules(tree: Path, recipe: Recipe) -> None:
    """What a gateway has no use for is neither loaded at each boot, by udev, nor by whoever plugs something in.

    The rest is unpacked. Debian's are xz, and for each one the kernel clears 8 MB for its dictionary before it begins
    (lib/xz/xz_dec_lzma2.c); what packs the whole root unpacks them at a fraction of that.
    """
    remove(tree, (f"usr/lib/modules/*/kernel/{name}" for name in recipe.no_modules))
    for packed in sorted(tree.glob("usr/lib/modules/*/kernel/**/*.ko.xz")):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    inside(tree, "/usr/sbin/depmod", _kernel(tree))


def _kernel(tree: Path) -> str:
    kernels = sorted(path.name for path in (tree / "usr/lib/modules").iterdir())
    if len(kernels) != 1:
        raise BuildError(os.EX_SOFTWARE, f"The tree has {len(kernels)} kernels, and needs one: {', '.join(kernels)}.")
    return kernels[0]


def remove(tree: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for path in sorted(tree.glob(pattern.lstrip("/"))):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def name_release(tree: Path, facts: dict[str, str]) -> None:
    path = tree / "usr/lib/os-release"
    path.write_text(os_release(path.read_text(encoding="utf-8"), facts), encoding="utf-8")


def lock_accounts(tree: Path, epoch: int) -> None:
    """There is no password, so none can be guessed: every account's field is one that no password gives.

    The day of its last change (shadow(5)) is the commit's, not the day on which Debian's package made the account.
    """
    path = tree / "etc/shadow"
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        account, field, _changed, *rest = line.split(":")
        if not field.startswith(("*", "!")):
            raise BuildError(os.EX_SOFTWARE, f"The account {account} of the tree has a password.", "Find out why.")
        lines.append(":".join((account, field, str(epoch // 86400), *rest)))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def make_initrd(tree: Path, epoch: int) -> None:
    """Once, since the layers say what is in it, and under names that stay the same: the boot loader's."""
    kernel = _kernel(tree)
    # mkinitramfs brings down times after the epoch and leaves those before it: a day on which packages were fetched.
    for path in tree.rglob("*"):
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    (tree / f"boot/initrd.img-{kernel}").unlink(missing_ok=True)
    inside(tree, "/usr/sbin/update-initramfs", "-c", "-k", kernel, env={"SOURCE_DATE_EPOCH": str(epoch)})
    for name in ("vmlinuz", "initrd.img"):
        link = tree / "boot" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"{name}-{kernel}")


def forget(tree: Path) -> None:
    """What belongs to one machine: each makes its own."""
    (tree / "etc/machine-id").write_text("", encoding="ascii")
    (tree / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    # /etc and /var are of the same day as /usr (systemd-update-done(8)): else each boot would bring them up to it.
    for name in ("etc/.updated", "var/.updated"):
        (tree / name).write_text("", encoding="ascii")
    for name in ("proc", "sys", "dev", "run", "tmp", "boot/firmware", "data", "var/lib/gerbang"):
        make_directories(tree / name)
