"""The builder's small decisions: versions, os-release, firmware, keys, lists of packages, files of a tree."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from image import accounts, bundle, customise, firmware, keys, release, rootfs, sbom
from image.errors import BuildError
from image.layers import Recipe

STATUS = """\
Package: libpam-systemd
Status: install ok installed
Architecture: amd64
Source: systemd (257.8-1)
Version: 257.8-1~deb13u2
Description: module
 that has more lines
 .
 and a paragraph

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: netbase
Status: install ok installed
Architecture: all
Version: 1:6.5
"""
EPOCH = 20699 * 86400 + 3600
METADATA = "Metadata-Version: 2.4\nName: Flask_Login\nVersion: 0.6.3\nLicense-Expression: MIT\n\nText\n"


def recipe(**changes: object) -> Recipe:
    empty: dict[str, object] = dict.fromkeys(
        ("packages", "enable", "disable", "mask", "firmware", "no_modules", "remove", "files"), ()
    )
    return Recipe(**{**empty, "variables": {}, "alternatives": {}, "ids": {}, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("project", "changed", "said"),
    [("0.1.0", False, "0.1.0-0123abcd"), ("0.2.0rc1+x", True, "0.2.0rc1-x-0123abcd-changed")],
)
def test_a_version_says_which_commit_and_whether_it_was_changed(project: str, changed: bool, said: str) -> None:
    assert release.name(project, "0123abcd", changed) == said


def test_os_release_keeps_debian_s_lines_and_gets_ours_once() -> None:
    text = release.os_release('ID=debian\nIMAGE_ID="other"\nVERSION_ID="13"\n', {"IMAGE_ID": "gerbang-x86"})
    assert text == 'ID=debian\nVERSION_ID="13"\nIMAGE_ID="gerbang-x86"\n'


def test_firmware_is_kept_by_name_and_by_what_a_name_leads_to() -> None:
    paths = ["rtw88/a.bin", "rtl_nic/b.fw.xz", "brcm/43455.bin", "cypress/43455.bin", "iwlwifi-1.ucode", "x/dir/c", "y"]
    links = {"brcm/43455.bin": "../cypress/43455.bin", "y": "x/dir"}
    kept = firmware.kept(paths, links, ["rtw88/**", "rtl_nic/*.fw", "brcm/*", "y"])
    assert kept == set(paths) - {"iwlwifi-1.ucode"}


def test_a_star_does_not_reach_into_directories() -> None:
    paths = ["mediatek/mt7610e.bin", "mediatek/mt76/x.bin", "mt7601u.bin"]
    assert firmware.kept(paths, {}, ["mediatek/mt76*"]) == {"mediatek/mt7610e.bin"}
    assert firmware.kept(paths, {}, ["mediatek/**"]) == {"mediatek/mt7610e.bin", "mediatek/mt76/x.bin"}
    assert firmware.unused(paths, ["mt76*", "rt2*.bin"]) == ["rt2*.bin"]


def test_links_that_lead_in_a_circle_end() -> None:
    assert firmware.kept(["a", "b"], {"a": "b", "b": "a"}, ["a"]) == {"a", "b"}


def test_modules_that_stay_are_unpacked_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[Path, ...]] = []
    monkeypatch.setattr(customise, "inside", lambda tree, *command: commands.append(command))
    kernel = tmp_path / "usr/lib/modules/6.12/kernel"
    for name in ("net/sctp/sctp.ko.xz", "net/sched/sch_htb.ko.xz"):
        (kernel / name).parent.mkdir(parents=True)
        (kernel / name).write_bytes(lzma.compress(name.encode()))
    customise.prune_modules(tmp_path, recipe(no_modules=("net/sctp", "sound")))
    assert [str(path.relative_to(kernel)) for path in kernel.rglob("*.ko*")] == ["net/sched/sch_htb.ko"]
    assert (kernel / "net/sched/sch_htb.ko").read_text() == "net/sched/sch_htb.ko.xz"
    assert commands == [("/usr/sbin/depmod", "6.12")]


def test_the_keys_are_all_given_or_none(tmp_path: Path) -> None:
    key, certificate = tmp_path / "k", tmp_path / "c"
    named = {keys.KEY: str(key), keys.CERTIFICATE: str(certificate)}
    with pytest.raises(BuildError, match="GERBANG_UPDATE_CERT is not"):
        keys.find({keys.KEY: str(key)}, tmp_path)
    with pytest.raises(BuildError, match=r"/k is not there"):
        keys.find(named, tmp_path)
    key.touch()
    certificate.touch()
    assert keys.find(named, tmp_path) == keys.Keys(key, certificate, certificate, "given")
    authority = tmp_path / "a"
    authority.touch()
    assert keys.find({**named, keys.AUTHORITY: str(authority)}, tmp_path).authority == authority


def test_a_development_key_is_made_once_and_warned_of_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/signer.pem").touch()
    found = keys.find({}, tmp_path)
    assert found.kind == "development"
    assert capsys.readouterr().out.count("WARNING") == 2


def test_the_bundle_says_what_it_is_for() -> None:
    assert bundle.manifest("gerbang-pi", "1.0").splitlines() == [
        *("[update]", "compatible=gerbang-pi", "version=1.0", ""),
        *("[bundle]", "format=verity", "", "[image.rootfs]", "filename=rootfs.img"),
    ]


def test_another_package_list_makes_another_tree() -> None:
    def key(name: str = "root", architecture: str = "amd64", packages: tuple[str, ...] = ("a", "b")) -> str:
        return rootfs.Wanted(name, architecture, packages, "essential").key

    assert key(packages=("b", "a")) == key()
    assert len({key(), key(packages=("a",)), key(architecture="arm64")}) == 3


def test_the_list_names_packages_with_their_source() -> None:
    netbase, pam = sorted(sbom.of_dpkg(STATUS), key=lambda found: found["name"], reverse=True)
    assert pam["purl"] == (
        "pkg:deb/debian/libpam-systemd@257.8-1~deb13u2?arch=amd64&distro=trixie&upstream=systemd@257.8-1"
    )
    assert netbase["purl"] == "pkg:deb/debian/netbase@1%3A6.5?arch=all&distro=trixie&upstream=netbase@1%3A6.5"


def test_the_list_is_the_same_for_the_same_image_in_whatever_order_it_was_found() -> None:
    found = [*sbom.of_dpkg(STATUS), *sbom.of_python([METADATA])]
    text = sbom.document("gerbang-x86", "1.0", 0, found)
    assert text == sbom.document("gerbang-x86", "1.0", 0, reversed(found))
    told = json.loads(text)
    assert told["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    assert told["components"][-1]["purl"] == "pkg:pypi/flask-login@0.6.3"
    assert told["components"][-1]["licenses"] == [{"expression": "MIT"}]
    assert told["serialNumber"] != json.loads(sbom.document("gerbang-x86", "1.1", 0, found))["serialNumber"]


PASSWD = (
    "root:x:0:0::/root:/bin/sh\ngerbang:x:997:998::/:/x\ngerbang-staff:x:996:998::/:/x\ndnsmasq:x:101:65534::/:/x\n"
)
GROUP = "root:x:0:\nnogroup:x:65534:\ngerbang:x:998:\n"


def test_accounts_get_the_numbers_that_a_layer_names() -> None:
    new = accounts.renumber(PASSWD, GROUP, {"gerbang": 880, "gerbang-staff": 881, "dnsmasq": 882})
    assert new.passwd.splitlines() == [
        "root:x:0:0::/root:/bin/sh",
        "gerbang:x:880:880::/:/x",
        "gerbang-staff:x:881:880::/:/x",
        "dnsmasq:x:882:65534::/:/x",
    ]
    assert new.group == "root:x:0:\nnogroup:x:65534:\ngerbang:x:880:\n"
    assert (new.users, new.groups) == ({997: 880, 996: 881, 101: 882}, {998: 880})
    again = accounts.renumber(new.passwd, new.group, {"gerbang": 880})
    assert (again.passwd, again.group) == (new.passwd, new.group)


def test_a_number_that_another_account_has_is_refused_and_so_is_an_unknown_account() -> None:
    with pytest.raises(BuildError, match="number 101 is taken by the account dnsmasq"):
        accounts.renumber(PASSWD, GROUP, {"gerbang": 101})
    with pytest.raises(BuildError, match="account _chrony, which the tree does not have"):
        accounts.renumber(PASSWD, GROUP, {"_chrony": 883})


def test_a_layer_s_files_replace_the_tree_s_and_run_where_they_should(tmp_path: Path) -> None:
    source, tree = tmp_path / "source", tmp_path / "tree"
    source.mkdir()
    (source / "conf").write_text("max=@MAX@\n")
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o700)
    (source / "link").symlink_to("../run/x")
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/resolv.conf").write_text("the builder's")
    files = ((source / "conf", "etc/a/conf"), (source / "run", "bin/run"), (source / "link", "etc/resolv.conf"))
    customise.copy_files(recipe(files=files), tree, {"MAX": "48M"})
    assert (tree / "etc/a/conf").read_text() == "max=48M\n"
    assert (tree / "etc/a/conf").stat().st_mode & 0o777 == 0o644
    assert (tree / "bin/run").stat().st_mode & 0o777 == 0o755
    assert (tree / "etc/resolv.conf").readlink() == Path("../run/x")


def test_every_file_of_systemd_has_its_place(tmp_path: Path) -> None:
    units, tree = tmp_path / "systemd", tmp_path / "tree"
    (units / "rauc.service.d").mkdir(parents=True)
    names = ("a.service", "b.socket", "c.timer", "90-gerbang.preset", "gerbang.sysusers.conf", "gerbang.tmpfiles.conf")
    for name in (*names, "rauc.service.d/gerbang.conf", "README.md"):
        (units / name).write_text(name)
    assert customise.install_units(units, tree) == ("a.service", "b.socket", "c.timer")
    assert sorted(str(path.relative_to(tree / "usr/lib")) for path in tree.rglob("*") if path.is_file()) == [
        "systemd/system-preset/90-gerbang.preset",
        "systemd/system/a.service",
        "systemd/system/b.socket",
        "systemd/system/c.timer",
        "systemd/system/rauc.service.d/gerbang.conf",
        "sysusers.d/gerbang.conf",
        "tmpfiles.d/gerbang.conf",
    ]
    assert customise.install_units(tmp_path / "missing", tree) == ()


def test_firmware_that_no_layer_names_leaves_the_tree_and_so_do_empty_directories(tmp_path: Path) -> None:
    root = tmp_path / "usr/lib/firmware"
    for name in ("rtw88/a.bin", "ath11k/big/b.bin"):
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
    customise.prune_firmware(tmp_path, recipe(firmware=("rtw88/**",)))
    assert [str(path.relative_to(root)) for path in sorted(root.rglob("*"))] == ["rtw88", "rtw88/a.bin"]


def test_an_account_with_a_password_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    shadow = tmp_path / "etc/shadow"
    shadow.write_text("root:*:1::::::\nsshd:!:1::::::\n")
    customise.lock_accounts(tmp_path, EPOCH)
    for field in ("", "$y$j9T$x"):
        shadow.write_text(f"root:{field}:1::::::\n")
        with pytest.raises(BuildError, match="account root of the tree has a password"):
            customise.lock_accounts(tmp_path, EPOCH)


def test_no_account_tells_the_day_on_which_its_package_was_fetched(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    shadow = tmp_path / "etc/shadow"
    for day in (20700, 20800):
        shadow.write_text(f"root:*:{day}:0:99999:7:::\nsshd:!:{day}::::::\n")
        customise.lock_accounts(tmp_path, EPOCH)
        assert shadow.read_text() == "root:*:20699:0:99999:7:::\nsshd:!:20699::::::\n"


def test_what_is_removed_is_removed_whole_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "usr/share/man/man1").mkdir(parents=True)
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/file").touch()
    (tmp_path / "usr/share/man/link").symlink_to(tmp_path / "keep")
    customise.remove(tmp_path, ("/usr/share/man/*", "/nothing/like/this"))
    assert list((tmp_path / "usr/share/man").iterdir()) == []
    assert (tmp_path / "keep/file").exists()
