"""What is derived from a site's configuration: netctl's and dnsmasq's, the ULA prefix, the reference in the docs."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netctl.api.types import GatewayConfig, encode
from portal import certificate, dnsmasq, site
from portal.config import Block, Garden, Lan, Portal, Site, SiteConfig, Staff, Uplink
from portal.paths import Paths

ROOT = Path(__file__).parents[3]
CONFIG = SiteConfig(site=Site(code="64.03.01.2001"))
CERTIFIED = SiteConfig(
    site=CONFIG.site, portal=Portal(name="portal.example", certificate="/c.pem", key="/k.pem", tls_port=9443)
)
PATHS = Paths(Path("/run/g"), Path("/data/g"))


def rendered(config: SiteConfig, announce_api: bool = False) -> list[str]:
    return dnsmasq.render(config, PATHS, announce_api=announce_api).splitlines()


def test_netctl_is_told_all_and_can_read_it() -> None:
    told = site.gateway_config(CERTIFIED, PATHS, writer_uids=(990, 992), group_gid=991)
    assert msgspec.json.decode(encode(told), type=GatewayConfig) == told
    assert (told.portal_port, told.portal_tls_port) == (8080, 9443)
    assert (told.writers, told.socket_group) == ((990, 992), 991)
    assert told.socket_path == "/run/g/netctl.sock"
    without = site.gateway_config(SiteConfig(site=CONFIG.site, lan=Lan(ipv6=False)), PATHS, (990,), 991)
    assert (without.portal_tls_port, without.ula_prefix) == (None, None)


OPENED = SiteConfig(
    site=CONFIG.site,
    garden=Garden(names=("kaltimprov.go.id",), networks=("103.10.144.0/24", "103.10.145.7", "2001:DB8:7::/48")),
    block=Block(names=("judi.example",)),
    staff=Staff(port=9444),
)


def test_netctl_itself_finds_no_mistake_in_it() -> None:
    from netctl import config as netctl_config

    for config in (CERTIFIED, OPENED):
        assert netctl_config.check(site.gateway_config(config, PATHS, (990,), 991)) == []


def test_netctl_is_told_of_garden_block_list_staff_pages_and_isolation() -> None:
    told = site.gateway_config(OPENED, PATHS, (990,), 991)
    assert told.garden_networks == ("103.10.144.0/24", "103.10.145.7/32", "2001:db8:7::/48")
    assert (told.block_address, told.staff_port, told.isolate) == ("192.0.2.1", 9444, True)
    plain = site.gateway_config(SiteConfig(site=CONFIG.site, lan=Lan(isolate=False)), PATHS, (990,), 991)
    assert (plain.garden_networks, plain.block_address, plain.staff_port, plain.isolate) == ((), None, 8444, False)


codes = st.from_regex(r"[1-9][0-9]\.[0-9]{2}\.[0-9]{2}\.[0-9]{4}", fullmatch=True)


@given(codes, codes)
def test_the_ula_is_a_local_slash_64_of_this_site_alone(code: str, other: str) -> None:
    network = ipaddress.IPv6Network(site.ula_prefix(code))
    assert network.prefixlen == 64
    assert network.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert (site.ula_prefix(other) == site.ula_prefix(code)) == (other == code)


def test_the_ula_never_changes_for_a_site_that_is_out_there() -> None:
    assert site.ula_prefix("64.03.01.2001") == "fdf8:f040:baf5::/64"


@given(st.integers(16, 28), st.integers(0, 2**32 - 1))
def test_the_lease_range_lies_inside_the_lan_and_leaves_the_first_addresses(prefix: int, bits: int) -> None:
    address = ipaddress.IPv4Interface((0x0A000000 | bits & 0xFFFFFF, prefix))
    first, last = dnsmasq.dhcp_range(SiteConfig(site=CONFIG.site, lan=Lan(address=str(address))))
    network = address.network
    assert network.network_address < first <= last < network.broadcast_address
    assert int(first) - int(network.network_address) - 1 == min(10, network.num_addresses // 16)
    assert int(last) - int(first) + 1 >= 12


def test_dnsmasq_serves_the_lan_alone() -> None:
    lines = rendered(CONFIG)
    assert {"interface=lan0", "except-interface=lo", "bind-dynamic", "dhcp-authoritative", "no-ping"} <= set(lines)
    assert "dhcp-range=10.77.0.11,10.77.15.254,255.255.240.0,10.77.15.255,120m" in lines
    assert "interface-name=gerbang.lan,lan0" in lines
    assert not [line for line in lines if "wan0" in line]
    assert not [line for line in lines if line.startswith(("address=", "bogus-nxdomain"))], "answers are never hijacked"


def test_resolvers_are_those_of_the_provider() -> None:
    assert "resolv-file=/etc/resolv.conf" in rendered(CONFIG)
    lines = rendered(SiteConfig(site=CONFIG.site, uplink=Uplink(dns=("203.0.113.53", "2001:db8::53"))))
    assert [line for line in lines if line.startswith(("server=", "resolv-file", "no-resolv"))] == [
        "no-resolv",
        "server=203.0.113.53",
        "server=2001:db8::53",
    ]


def test_phones_are_sent_to_the_api_only_when_told_to() -> None:
    assert not [line for line in rendered(CERTIFIED) if "api/captive" in line]
    announced = [line for line in rendered(CERTIFIED, announce_api=True) if "api/captive" in line]
    assert announced == [
        "dhcp-option-force=114,https://portal.example/api/captive",
        "dhcp-option-force=option6:103,https://portal.example/api/captive",
    ]


def test_without_ipv6_nothing_is_advertised() -> None:
    lines = rendered(SiteConfig(site=CONFIG.site, lan=Lan(ipv6=False)), announce_api=True)
    assert not [line for line in lines if "::" in line or "option6" in line or line.startswith(("enable-ra", "ra-"))]


DAY_S = 86_400


@pytest.mark.parametrize(
    ("now_s", "trusted", "announced"),
    [
        (100 * DAY_S, True, True),
        (100 * DAY_S, False, False),  # a clock that may be wrong cannot say that a certificate is valid
        (183 * DAY_S, True, True),
        (183 * DAY_S + 1, True, False),  # less than 7 days are left
        (200 * DAY_S, True, False),
        (9 * DAY_S, True, False),  # not valid yet
    ],
)
def test_the_api_is_announced_while_the_certificate_lasts_seven_days(
    now_s: int, trusted: bool, announced: bool
) -> None:
    found = certificate.Certificate(10 * DAY_S, 190 * DAY_S, ("portal.example",))
    assert found.announceable(now_s, trusted) is announced


@pytest.mark.parametrize(
    ("names", "name", "covered"),
    [
        (("portal.example",), "portal.example", True),
        (("Portal.Example",), "portal.example", True),
        (("*.example",), "portal.example", True),
        (("*.example",), "a.portal.example", False),
        (("*.example",), "example", False),
        ((), "portal.example", False),
    ],
)
def test_names_in_a_certificate(names: tuple[str, ...], name: str, covered: bool) -> None:
    assert certificate.Certificate(0, 1, names).covers(name) is covered


def test_the_reference_in_the_docs_is_that_of_the_structs() -> None:
    text = (ROOT / "docs/site-toml.md").read_text()
    assert site.reference() in text, "docs/site-toml.md: put in what `python -m portal.site` prints"


def test_every_example_in_the_docs_is_a_site(tmp_path: Path) -> None:
    text = (ROOT / "docs/site-toml.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.toml"
        path.write_text(example)
        site.load(path)
