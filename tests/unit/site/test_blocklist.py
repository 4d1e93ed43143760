"""Names of the block list: what is one, what falls under it, and how dnsmasq is told."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import blocklist, dnsmasq
from portal.blocklist import Blocklist
from portal.config import Block, Garden, Site, SiteConfig
from portal.paths import Paths

PATHS = Paths(Path("/run/g"), Path("/data/g"))


def config(**tables: object) -> SiteConfig:
    return SiteConfig(site=Site(code="64.03.01.2001"), **tables)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("judi.example", "judi.example"),
        (" Judi.Example. ", "judi.example"),
        ("a_b.x-y.example", "a_b.x-y.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("judi", None),
        ("", None),
        (".", None),
        (".example", None),
        ("a..b", None),
        ("-a.example", None),
        ("10.77.0.1", None),
        ("2001:db8::1", None),
        ("*.example", None),
        ("bücher.example", None),
        ("a.b/c", None),
        ("a.b\nserver=6.6.6.6", None),
        ("a.example\n", "a.example"),
        (f"{'a' * 64}.example", None),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
        (".".join(["a" * 60] * 5), None),
    ],
)
def test_what_is_a_host_name(text: str, name: str | None) -> None:
    assert blocklist.host_name(text) == name


labels = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
hosts = st.lists(labels, min_size=2, max_size=5).map(".".join).filter(lambda name: blocklist.host_name(name) == name)
lists = st.lists(hosts, max_size=30)


@given(lists, st.lists(labels, max_size=2), hosts)
def test_a_host_is_covered_when_it_or_a_name_above_it_stands_there(
    blocked: list[str], below: list[str], other: str
) -> None:
    held = Blocklist(blocked)
    for name in blocked:
        host = ".".join([*below, name])
        assert held.covers(host) or blocklist.host_name(host) is None
        assert held.covers(name.upper() + ".")
    assert held.covers(other) == any(f".{other}".endswith(f".{name}") for name in blocked)
    assert not held.covers("") and not held.covers("example") and not held.covers("10.77.0.1")


@given(lists)
def test_names_below_another_are_left_out_and_nothing_else(blocked: list[str]) -> None:
    kept = blocklist.names(Block(names=tuple(blocked)))
    assert set(kept) <= set(blocked)
    assert kept == sorted(kept)
    held = Blocklist(kept)
    for name in blocked:
        assert held.covers(name)
    for name in kept:
        assert not Blocklist([other for other in kept if other != name]).covers(name)


@given(lists)
def test_dnsmasq_is_told_every_name_once_for_each_purpose_in_lines_that_it_can_read(blocked: list[str]) -> None:
    block = Block(names=tuple(blocked))
    lines = dnsmasq.render_block(block).splitlines()
    assert all(len(line) < 1024 for line in lines)
    told: dict[str, list[str]] = {"local": [], "address": []}
    for line in filter(None, lines):
        option, _, value = line.partition("=")
        first, *names, last = value.split("/")
        assert (first, last) == ("", {"local": "", "address": "192.0.2.1"}[option])
        told[option] += names
    assert told["local"] == told["address"] == blocklist.names(block)


def test_the_file_of_many_names_is_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "block.txt"
    path.write_text("# theirs\nb.example\n\nwww.a.example # under the other\nno name\n")
    block = Block(names=("a.example",), file=str(path))
    assert blocklist.names(block) == ["a.example", "b.example"]
    held = Blocklist.load(config(block=block))
    assert held.covers("x.b.example") and held.covers("a.example") and not held.covers("c.example")


def test_a_file_that_is_gone_is_said_and_keeps_nobody_offline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert blocklist.names(Block(names=("a.example",), file=str(tmp_path / "none"))) == ["a.example"]
    assert "not in force" in caplog.text and str(tmp_path / "none") in caplog.text


def test_a_hundred_thousand_names_are_small_and_found() -> None:
    names = [f"host{number}.example" for number in range(100_000)]
    held = Blocklist(names)
    assert held._hashes.itemsize * len(held) == 800_000
    assert all(map(held.covers, names[::997]))
    assert not any(held.covers(f"host{number}.example") for number in range(100_000, 101_000))


def test_dnsmasq_opens_the_garden_by_name() -> None:
    lines = dnsmasq.render(
        config(garden=Garden(names=("Kaltimprov.go.id", "bpjs.example"))), PATHS, announce_api=False
    ).splitlines()
    assert "ipset=/kaltimprov.go.id/bpjs.example/gerbang_garden4,gerbang_garden6" in lines
    assert {"max-ttl=300", "max-cache-ttl=3600"} <= set(lines)
    without = dnsmasq.render(config(), PATHS, announce_api=False)
    assert "ipset" not in without and "ttl" not in without and "conf-file" not in without


def test_dnsmasq_reads_the_block_list_from_a_file_of_its_own() -> None:
    lines = dnsmasq.render(config(block=Block(names=("a.example",))), PATHS, announce_api=False).splitlines()
    assert "conf-file=/run/g/dnsmasq-block.conf" in lines
    assert "address=/use-application-dns.net/" in lines
    assert not [line for line in lines if "a.example" in line]
