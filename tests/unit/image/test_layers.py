"""The layers as they stand fit together; and what does not fit together is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from image import disk, layers
from image.errors import BuildError
from image.targets import TARGETS

MINIMAL = 'summary = "nothing"\n'


def write(directory: Path, **texts: str) -> Path:
    for name in layers.ORDER:
        (directory / f"{name}.toml").write_text(texts.get(name, MINIMAL), encoding="utf-8")
    return directory


@pytest.mark.parametrize("target", TARGETS)
def test_the_layers_are_read_and_do_not_contradict_each_other(target: str) -> None:
    recipe = layers.recipe(target, {})
    assert {"systemd-sysv", "hostapd", "rauc", "openssh-server"} <= set(recipe.packages)
    assert recipe.alternatives == {
        "iptables": "/usr/sbin/iptables-legacy",
        "ip6tables": "/usr/sbin/ip6tables-legacy",
    }


def test_each_target_gets_its_own_kernel_and_boot_loader() -> None:
    x86, pi = (set(layers.recipe(target, {}).packages) for target in ("x86", "pi"))
    assert x86 - pi == {"amd64-microcode", "grub-efi-amd64-bin", "grub-pc-bin", "intel-microcode", "linux-image-amd64"}
    assert pi - x86 == {
        "firmware-brcm80211",
        "grub-efi-arm64-bin",
        "linux-image-arm64",
        "raspi-firmware",
        "u-boot-rpi",
    }


@pytest.mark.parametrize("target", TARGETS)
def test_every_file_of_a_layer_can_be_filled_in(target: str) -> None:
    recipe = layers.recipe(target, {})
    known = {**disk.variables(TARGETS[target]), **recipe.variables}
    for source, to in recipe.files:
        if not source.is_symlink():
            assert re.search("@[A-Z_]+@", to) is None
            layers.fill(source.read_text(encoding="utf-8"), known, str(source))


def test_ssh_takes_the_key_under_the_name_that_notepad_gives_it() -> None:
    """As site.toml.txt is taken, too."""
    text = next(path for path, to in layers.recipe("x86", {}).files if to.endswith("sshd_config.d/gerbang.conf"))
    (line,) = re.findall("^AuthorizedKeysFile (.*)$", text.read_text(), re.MULTILINE)
    at = "/boot/firmware/authorized_keys"
    assert line.split() == [".ssh/authorized_keys", at, f"{at}.txt"]


def test_each_layer_s_variable_is_named_by_a_file() -> None:
    recipe = layers.recipe("x86", {})
    texts = "".join(source.read_text(encoding="utf-8") for source, _ in recipe.files if not source.is_symlink())
    assert [name for name in recipe.variables if f"@{name}@" not in texts] == []


def test_no_directory_lies_among_the_layers_that_no_layer_reads() -> None:
    found = {path.stem for path in layers.LAYERS.iterdir()}
    assert found == set(layers.ORDER)


def test_a_variable_can_be_set_and_an_unknown_one_is_refused() -> None:
    assert layers.recipe("x86", {"WATCHDOG": "10s"}).variables["WATCHDOG"] == "10s"
    with pytest.raises(BuildError, match="variable WATCHDOF: set, but no layer has it"):
        layers.recipe("x86", {"WATCHDOF": "10s"})


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ('packages = ["iw"]\n', 'packages = ["iw"]\n', "package iw: in base and in network"),
        ("[variables]\nA = '1'\n", "[variables]\nA = '2'\n", "variable A: in base and in network"),
        ('enable = ["x.service"]\n', 'mask = ["x.service"]\n', "unit x.service: in base and in network"),
        ("[alternatives]\np = '/a'\n", "[alternatives]\np = '/b'\n", "alternative p: in base and in network"),
        ('packages = ["iw"]\n[x86]\npackages = ["iw"]\n', "", "package iw: in base and in base"),
    ],
)
def test_layers_that_contradict_each_other_are_refused(tmp_path: Path, one: str, other: str, said: str) -> None:
    write(tmp_path, base=MINIMAL + one, network=MINIMAL + other)
    with pytest.raises(BuildError, match=said):
        layers.recipe("x86", {}, tmp_path)


def test_a_table_of_the_other_target_adds_nothing(tmp_path: Path) -> None:
    write(tmp_path, base=MINIMAL + 'packages = ["iw"]\n[pi]\npackages = ["u-boot-rpi"]\n')
    assert layers.recipe("x86", {}, tmp_path).packages == ("iw",)
    assert layers.recipe("pi", {}, tmp_path).packages == ("iw", "u-boot-rpi")


def test_two_layers_with_the_same_file_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("base", "update"):
        (tmp_path / name / "rootfs/etc").mkdir(parents=True)
        (tmp_path / name / "rootfs/etc/issue").write_text(name)
    with pytest.raises(BuildError, match="file etc/issue: in base and in update"):
        layers.recipe("x86", {}, tmp_path)


def test_a_key_that_no_layer_has_is_named(tmp_path: Path) -> None:
    write(tmp_path, base=MINIMAL + 'package = ["iw"]\n')
    with pytest.raises(BuildError, match=r"base\.toml is wrong: .*`package`"):
        layers.recipe("x86", {}, tmp_path)


def test_a_variable_that_nobody_sets_is_a_mistake() -> None:
    assert layers.fill("size=@SIZE@ user@host", {"SIZE": "1"}, "a.conf") == "size=1 user@host"
    with pytest.raises(BuildError, match=r"a\.conf names the variable SIZE"):
        layers.fill("size=@SIZE@", {}, "a.conf")
