"""Every mistake in a site.toml is found, all at once, each with file, key, sentence and hint."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import blocklist, certificate, site, sitecheck
from portal.config import DEFAULT_PLAN
from portal.sealing import OfficeKey

CODE = '[site]\ncode = "64.03.01.2001"\n'
OFFICE_LINE = OfficeKey(b"s" * 32, b"S" * 32).line


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "site.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def mistakes(folder: Path, text: str | bytes) -> dict[str, site.Mistake]:
    config, found = site.check(write(folder, text))
    assert (config is None) == bool(found)
    for mistake in found:
        assert mistake.file == str(folder / "site.toml")
        assert mistake.message.endswith("."), mistake
        assert mistake.hint, mistake
    keys = [mistake.key for mistake in found]
    assert len(set(keys)) == len(keys), f"said twice: {keys}"
    return {mistake.key: mistake for mistake in found}


FORTY = """
colour = "red"

[site]
code = "64.3.1.2001"
name = 7
timezone = "WITA"
language = "klingon"
dessa = "Muara"

[uplink]
interface = "a name with spaces"
down_kbit = "8000"
up_kbit = 2000
dns = ["203.0.113.53", "8.8.8"]
check_url = "https://example.org/"
speed = 8
follow = "yes"
min_down_kbit = 5000000000
min_up_kbit = 3000
reflectors = ["1.1.1.1", "10.77.0.300"]

[lan]
interface = 5
address = "203.0.113.1/24"
ipv6 = "yes"
lease_minutes = 1
subnet = "10.0.0.0/8"

[wifi]
ssid = ""
country = "Indonesia"
channel = 500
password = "secret"

[portal]
name = "10.77.0.1"
port = 80
tls_port = 70000
certificate = "portal.pem"
key = true
terms_version = "version one"
certficate = "/etc/portal.pem"

[wlan]
ssid = "x"

[access]
methods = ["terms", "fingerprint"]
plan = "kantor"
capacity = 0

[hours]
open = "mon-fri 16:00-22:00"

[[closed]]
first = 2026-12-25
last = 2026-12-24
reason = "Libur Natal"

[[closed]]
first = "1 January 2027"
last = 2027
reason = ""

[garden]
names = ["kaltimprov.go.id", "http://example.org/"]
networks = ["103.10.144.0/24", "0.0.0.0/0"]

[block]
names = ["gerbang"]
file = "block.txt"
reason = 3

[staff]
port = 443
certificate = "/etc/gerbang/staff.pem"
session_minutes = 1
speed_test_url = "ftp://example.org/10MB.bin"
password = "secret"

[[plan]]
id = "warga"
name = "Warga"
down_kbit = 0
up_kbit = 9000
burst_kbytes = 1
priority = "highest"
devices = 0
daily_minutes = 1441
daily_megabytes = "500"
after_budget = "go on"
slow_down_kbit = 32
slow_up_kbit = "unlimited"
hours = []

[[plan]]
id = "warga"
name = ""
down_kbit = 4000.5
up_kbit = 1000
guaranteed_kbit = 1500
session_minutes = 0
idle_minutes = 2026-11-22

[[plan]]
id = "Kantor Desa"
price = 5000
guaranteed_kbit = 4
session_minutes = -1

[[plan]]
id = "sekolah"
name = "Sekolah"
down_kbit = 1000
daily_minutes = 120
slow_down_kbit = 2000
guaranteed_kbit = 200
"""

MISTAKEN = {
    "site": ["code", "name", "timezone", "language", "dessa"],
    "uplink": [
        *(
            "interface",
            "down_kbit",
            "dns",
            "check_url",
            "speed",
            "follow",
            "min_down_kbit",
            "min_up_kbit",
            "reflectors",
        ),
    ],
    "lan": ["interface", "address", "ipv6", "lease_minutes", "subnet"],
    "wifi": ["ssid", "country", "channel", "password"],
    "portal": ["name", "port", "tls_port", "certificate", "key", "terms_version", "certficate"],
    "access": ["methods", "capacity"],  # whether there is a plan "kantor" is not known: plan[3].id is wrong itself
    "hours": ["open"],
    "closed[1]": ["last"],
    "closed[2]": ["first", "last", "reason"],
    "garden": ["names", "networks"],
    "block": ["names", "file", "reason"],
    "staff": ["port", "key", "session_minutes", "speed_test_url", "password"],
    "plan[1]": [
        *("down_kbit", "up_kbit", "burst_kbytes", "priority", "devices", "daily_minutes", "daily_megabytes"),
        *("after_budget", "slow_down_kbit", "slow_up_kbit", "hours"),
    ],
    "plan[2]": ["id", "name", "down_kbit", "guaranteed_kbit", "session_minutes", "idle_minutes"],
    "plan[3]": ["id", "name", "price", "guaranteed_kbit", "session_minutes"],
    "plan[4]": ["slow_down_kbit", "guaranteed_kbit"],
}
FORTY_KEYS = {"colour", "wlan", *(f"{table}.{key}" for table, keys in MISTAKEN.items() for key in keys)}


def test_a_file_of_many_mistakes_gives_them_all_and_nothing_else(tmp_path: Path) -> None:
    found = mistakes(tmp_path, FORTY)
    assert len(FORTY_KEYS) >= 40
    assert set(found) == FORTY_KEYS


@pytest.mark.parametrize(
    ("text", "key", "sentence", "hint"),
    [
        ("", "site.code", "missing", 'code = "64.03.01.2001"'),
        ('[site]\ncode = "6403012001"', "site.code", "Kemendagri", '"64.03.01.2001"'),
        ("[site]\ncode = 6403012001", "site.code", "number 6403012001", '"64.03.01.2001"'),
        ("site = 5", "site", "table", "[site]"),
        (CODE + "nmae = 'x'", "site.nmae", "no key", "Did you mean name?"),
        (CODE + "lease_minutes = 5", "site.lease_minutes", "no key", "[lan]"),
        (CODE + "down_kbit = 5", "site.down_kbit", "no key", "[uplink] or [[plan]]"),
        (CODE + "[uplnk]", "uplnk", "no table", "Did you mean uplink?"),
        (CODE + 'timezone = "WIB"', "site.timezone", "WIB", "Asia/Jakarta"),
        (CODE + 'timezone = "Asia/Macassar"', "site.timezone", "Asia/Macassar", "Asia/Makassar"),
        (CODE + 'timezone = "../../etc/passwd"', "site.timezone", "no time zone", "Asia/"),
        (CODE + 'timezone = "Asia"', "site.timezone", "no time zone", "Asia/"),
        (CODE + 'language = "kge"', "site.language", "catalogue", "en, id"),
        (CODE + 'language = "../x"', "site.language", "language code", "id"),
        (CODE + '[uplink]\ndown_kbit = "8000"', "uplink.down_kbit", "text", "down_kbit = 8000"),
        (CODE + "[uplink]\ndown_kbit = 63", "uplink.down_kbit", "from 64", "8000"),
        (CODE + '[uplink]\ndns = "1.1.1.1"', "uplink.dns", "list", 'dns = ["1.1.1.1"]'),
        (CODE + '[uplink]\ndns = ["10.77.3.3"]', "uplink.dns", "inside the LAN", "provider"),
        (CODE + '[uplink]\ndns = ["0.0.0.0"]', "uplink.dns", "resolver", "provider"),
        (CODE + '[uplink]\ncheck_url = "http://a b/"', "uplink.check_url", "http://", "generate_204"),
        (CODE + '[uplink]\ncheck_url = "http://x:99999/"', "uplink.check_url", "http://", "generate_204"),
        (CODE + '[uplink]\ninterface = "lan0"', "lan.interface", "same interface, lan0", "its own"),
        (CODE + '[lan]\naddress = "10.77.0.1"', "lan.address", "prefix length", "10.77.0.1/20"),
        (CODE + '[lan]\naddress = "10.0.0.1/8"', "lan.address", "/8 is too large", "/16"),
        (CODE + '[lan]\naddress = "10.0.0.1/29"', "lan.address", "/29 is too small", "/28"),
        (CODE + '[lan]\naddress = "10.77.0.0/20"', "lan.address", "network's own", "10.77.0.1"),
        (CODE + '[lan]\naddress = "10.77.15.255/20"', "lan.address", "broadcast", "10.77.0.1"),
        (CODE + '[lan]\naddress = "36.86.0.1/20"', "lan.address", "not a private address", "10.0.0.0/8"),
        (CODE + '[lan]\naddress = "127.0.0.1/20"', "lan.address", "not a private address", "10.0.0.0/8"),
        (CODE + '[lan]\ninterface = "lan0\\n"', "lan.interface", "network interface", "lan0"),
        (CODE + 'name = "a\\nb"', "site.name", "name", "example"),
        (CODE + '[uplink]\ndns = ["fe80::1%x\\ny"]', "uplink.dns", "resolver", "provider"),
        (CODE + '[portal]\nname = "a.b\\n"', "portal.name", "host name", "gerbang.lan"),
        (CODE + '[lan]\nipv6 = "no"', "lan.ipv6", "true or false", "ipv6 = false"),
        (CODE + '[wifi]\nssid = "ååååååååååååååååå"', "wifi.ssid", "34 bytes", "Shorten"),
        (CODE + "[portal]\nport = 8443", "portal.tls_port", "both use port 8443", "8080"),
        (CODE + "[portal]\nport = 5353", "portal.port", "multicast DNS", "8080"),
        (CODE + "[portal]\nport = 443", "portal.port", "from 1024", "8080"),
        (CODE + '[portal]\nname = "gerbang.local"', "portal.name", "multicast DNS", "gerbang.lan"),
        (CODE + '[portal]\nname = "gerbang"', "portal.name", "dot", "gerbang.lan"),
        (CODE + '[portal]\ncertificate = "/x.pem"', "portal.key", "without its key", "key ="),
        (CODE + '[portal]\nkey = "/x.pem"', "portal.certificate", "without its certificate", "certificate ="),
        (CODE + '[plan]\nid = "a"', "plan", "list of tables", "[[plan]]"),
        (CODE + "plan = []", "site.plan", "no key", "[[plan]] is a table of its own"),
        ("plan = []\n" + CODE, "plan", "0 times", "default"),
        (CODE + '[[plan]]\nid = "a"', "plan[1].name", "missing", "[[plan]]"),
        (
            CODE + '[[plan]]\nid = "a"\nname = "A"\n[[plan]]\nid = "a"\nname = "B"',
            "plan[2].id",
            "already that of plan[1]",
            "own id",
        ),
        (CODE + "[uplink]\nfollow = true", "uplink.follow", "down_kbit and up_kbit", "at its best"),
        (CODE + "[uplink]\nfollow = true\nup_kbit = 900", "uplink.follow", "highest: down_kbit", "at its best"),
        (CODE + "[uplink]\nup_kbit = 900\nmin_up_kbit = 901", "uplink.min_up_kbit", "up_kbit = 900 at most", "900 or"),
        (CODE + '[uplink]\nreflectors = ["dns.google"]', "uplink.reflectors", "not an IPv4 address", "1.1.1.1"),
        (CODE + '[uplink]\nreflectors = ["2606:4700::1"]', "uplink.reflectors", "not an IPv4 address", "1.1.1.1"),
        (CODE + '[uplink]\nreflectors = ["10.77.9.9"]', "uplink.reflectors", "inside the LAN", "well-known"),
        (CODE + '[uplink]\nreflectors = ["127.0.0.1"]', "uplink.reflectors", "answers no ping", "well-known"),
        (CODE + '[access]\nmethods = ["terms", "terms"]', "access.methods", '"terms" stands there twice', "once"),
        (CODE + '[access]\nmethods = ["sms"]', "access.methods", '"voucher"', 'methods = ["terms"]'),
        (CODE + '[access]\nplan = "kantor"', "access.plan", 'no plan "kantor"', "There are: warga"),
        (CODE + "[access]\ncapacity = 0", "access.capacity", 'or "unlimited"', 'capacity = "unlimited"'),
        (CODE + '[hours]\nopen = ["mon-fri 16:00-25:00"]', "hours.open", "25:00", "docs/site-toml.md"),
        (CODE + '[hours]\nopen = ["senin 08:00-12:00"]', "hours.open", "senin", "docs/site-toml.md"),
        (
            CODE + '[[plan]]\nid = "a"\nname = "A"\nhours = ["always", "mon 08:00-09:00"]',
            "plan[1].hours",
            "always",
            "docs/site-toml.md",
        ),
        (CODE + '[hours]\nopen = "mon 8:00"', "hours.open", "list of lines", 'open = ["mon 8:00"]'),
        (CODE + '[[closed]]\nreason = "x"', "closed[1].first", "missing", "first = 2026-12-25"),
        (CODE + "[[closed]]\nfirst = 2027-01-01", "closed[1].reason", "missing", '"Libur Natal"'),
        (
            CODE + '[[closed]]\nfirst = "25.12.2026"\nreason = "x"\nlast = 2026-12-31',
            "closed[1].first",
            "takes a day like 2026-12-25",
            "first = 2026-12-25",
        ),
        (
            CODE + '[[closed]]\nfirst = 2027-01-02\nlast = 2027-01-01\nreason = "x"',
            "closed[1].last",
            "The last day, 2027-01-01, comes before the first, 2027-01-02",
            "single day",
        ),
        (
            CODE + "[[closed]]\nfirst = 2027-01-02T08:00:00\nreason = 'x'",
            "closed[1].first",
            "takes a day",
            "2026-12-25",
        ),
        (CODE + '[closed]\nfirst = 2027-01-02\nreason = "x"', "closed", "list of tables", "[[closed]]"),
        (CODE + '[garden]\nnames = ["*.example.org"]', "garden.names", '"*.example.org", is not', "no *"),
        (CODE + '[garden]\nnames = ["id"]', "garden.names", '"id", is not a host name', "with a dot"),
        (CODE + '[garden]\nnames = ["10.0.0.7"]', "garden.names", "not a host name", "no address"),
        (CODE + '[garden]\nnames = ["a.b/c"]', "garden.names", "not a host name", "no address"),
        (CODE + '[garden]\nnames = ["a.b\\nserver=6.6.6.6"]', "garden.names", "not a host name", "no address"),
        (CODE + '[garden]\nnetworks = ["example.org"]', "garden.networks", "not an address or network", "`names`"),
        (CODE + '[garden]\nnetworks = ["0.0.0.0/0"]', "garden.networks", "so large", "without login"),
        (CODE + '[garden]\nnetworks = ["128.0.0.0/1"]', "garden.networks", "so large", "without login"),
        (CODE + '[garden]\nnetworks = ["::/0"]', "garden.networks", "so large", "without login"),
        (CODE + '[garden]\nnetworks = ["103.10.144.7/24"]', "garden.networks", "bits set", '"103.10.144.0/24"'),
        (CODE + '[garden]\nnetworks = ["10.77.4.0/24"]', "garden.networks", "overlaps the LAN", "isolate"),
        (CODE + '[garden]\nnetworks = ["10.0.0.0/8"]', "garden.networks", "overlaps the LAN", "isolate"),
        (CODE + '[garden]\nnetworks = ["fe80::/64"]', "garden.networks", "behind the uplink", "out"),
        (CODE + '[block]\nnames = ["judi"]', "block.names", "not a host name", "with a dot"),
        (CODE + '[block]\nnames = ["gerbang.lan"]', "block.names", "portal's own name", "Take that entry out"),
        (CODE + '[portal]\nname = "a.b.c"\n[block]\nnames = ["B.c."]', "block.names", "portal's own name", "Take"),
        (
            CODE + '[garden]\nnames = ["www.judi.example"]\n[block]\nnames = ["judi.example"]',
            "garden.names",
            "www.judi.example, is blocked by block.names",
            "one of the two",
        ),
        (CODE + '[block]\nfile = "list.txt"', "block.file", "whole path", "/etc/gerbang/block.txt"),
        (CODE + '[block]\nfile = "/none/list.txt"', "block.file", "no such file", "leave the key out"),
        (CODE + "[staff]\nport = 8080", "staff.port", "port 8080, which is portal.port", "8444"),
        (CODE + "[staff]\nport = 8443", "staff.port", "port 8443, which is portal.tls_port", "8444"),
        (CODE + "[staff]\nport = 5353", "staff.port", "multicast DNS", "8080"),
        (CODE + '[staff]\ncertificate = "/x.pem"', "staff.key", "without its key", "key ="),
        (CODE + '[staff]\nkey = "/x.pem"', "staff.certificate", "without its certificate", "certificate ="),
        (CODE + '[staff]\ncertificate = "/x.pem"\nkey = "/x.key"', "staff.certificate", "/x.pem cannot be read", "key"),
        (CODE + '[staff]\nspeed_test_url = "https://x/y"', "staff.speed_test_url", "http://", "plain http"),
        (
            CODE + '[[plan]]\nid = "a"\nname = "A"\ndaily_minutes = 1441',
            "plan[1].daily_minutes",
            "1 to 1440 (a day)",
            "out for the default",
        ),
        (
            CODE + '[[plan]]\nid = "a"\nname = "A"\ndown_kbit = 200\ndaily_megabytes = 100',
            "plan[1].slow_down_kbit",
            "256 kbit/s after the budget is more than the plan's down_kbit = 200 before",
            "200 or less",
        ),
        (
            CODE + '[[plan]]\nid = "a"\nname = "A"\nguaranteed_kbit = 200\ndaily_minutes = 60',
            "plan[1].guaranteed_kbit",
            "slow_up_kbit = 128 at most",
            "128 or less",
        ),
        (
            CODE + '[uplink]\nup_kbit = 500\n[[plan]]\nid = "a"\nname = "A"\nup_kbit = 501',
            "plan[1].up_kbit",
            "501 kbit/s is faster than the line (uplink.up_kbit = 500)",
            "500 or less",
        ),
        (
            CODE + '[[plan]]\nid = "a"\nname = "A"\nguaranteed_kbit = 600\nup_kbit = 500',
            "plan[1].guaranteed_kbit",
            "up_kbit = 500 at most",
            "500 or less",
        ),
        (
            CODE + '[uplink]\ndown_kbit = 100\n[[plan]]\nid = "a"\nname = "A"\nguaranteed_kbit = 200',
            "plan[1].guaranteed_kbit",
            "more than the line",
            "100 or less",
        ),
        (
            CODE + '[[plan]]\nid = "a"\nname = "A"\nidle_minutes = 0',
            "plan[1].idle_minutes",
            'or "unlimited"',
            'idle_minutes = "unlimited"',
        ),
        (
            CODE + f'[office]\nkey = "{OFFICE_LINE[:-1]}{"a" if OFFICE_LINE[-1] != "a" else "b"}"',
            "office.key",
            "A letter of the office key is wrong",
            "gerbang office key",
        ),
        (CODE + f'[office]\nkey = "{OFFICE_LINE[:-9]}"', "office.key", "104 letters", "the whole line"),
        (CODE + '[office]\nkey = ""', "office.key", 'begins with "gerbang-office-1-"', "the whole line"),
        (CODE + "[log]\nnat = true", "log.nat", "no office key to seal it for", "gerbang office key"),
    ],
)
def test_one_mistake(tmp_path: Path, text: str, key: str, sentence: str, hint: str) -> None:
    found = mistakes(tmp_path, text)
    assert list(found) == [key]
    assert sentence in found[key].message
    assert hint in found[key].hint


def test_the_line_of_the_office_is_no_mistake(tmp_path: Path) -> None:
    assert mistakes(tmp_path, CODE + f'[office]\nkey = "{OFFICE_LINE}"') == {}
    assert mistakes(tmp_path, CODE + f'[office]\nkey = "{OFFICE_LINE.upper()}"') == {}
    assert mistakes(tmp_path, CODE + f'[log]\nnat = true\n[office]\nkey = "{OFFICE_LINE}"') == {}


def test_the_mark_that_notepad_puts_in_front_is_no_mistake(tmp_path: Path) -> None:
    """An office checks the very file that a technician will carry."""
    assert mistakes(tmp_path, b"\xef\xbb\xbf" + CODE.replace("\n", "\r\n").encode()) == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (CODE + "name = unquoted", "line 3"),
        (CODE + 'code = "64.03.01.2002"', "stands twice (line 3"),
        (CODE + CODE, "line 3"),
        (CODE + '[site]\nname = "x"', "line 3"),
        (b'[site]\ncode = "64.03.01.2001"\nname = "Desa \xe9"', "UTF-8"),
        (CODE + '[[plan]\nid = "a"', "line 3"),
        (CODE + 'name = """never closed', "line"),
    ],
)
def test_a_file_that_is_not_toml_gives_the_place(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    found = mistakes(tmp_path, text)
    assert list(found) == [""]
    assert sentence in found[""].message


@pytest.mark.parametrize(
    "plan",
    [
        "down_kbit = 200\n",  # no budget: nobody ever gets the slow rates
        'down_kbit = 200\ndaily_minutes = 60\nafter_budget = "stop"\n',
        "down_kbit = 200\nup_kbit = 100\ndaily_minutes = 60\nslow_down_kbit = 200\nslow_up_kbit = 100\n",
        "daily_minutes = 1440\n",
    ],
)
def test_slow_rates_matter_only_after_a_budget(tmp_path: Path, plan: str) -> None:
    assert mistakes(tmp_path, CODE + '[[plan]]\nid = "a"\nname = "A"\n' + plan) == {}


def block_file(folder: Path, content: bytes) -> dict[str, site.Mistake]:
    (folder / "block.txt").write_bytes(content)
    return mistakes(folder, CODE + f'[block]\nfile = "{folder}/block.txt"\n')


def test_a_list_of_blocked_names_is_read(tmp_path: Path) -> None:
    assert block_file(tmp_path, b"# a comment\n\nJudi.Example. # theirs\r\nb.example\n") == {}
    for content, sentence in (
        (
            b"a.example\n0.0.0.0 b.example\nc d\n",
            'Line 2 of {0}, "0.0.0.0 b.example", is not a host name. Nor are 1 more',
        ),
        (b"a.example\n\xff", "byte 11 is not utf-8 text"),
        (b"a.example\nlan\n", 'Line 2 of {0}, "lan", is not a host name.'),
        (b"a.example\ngerbang.lan\n", "portal's own name"),
        (b"a" * (blocklist.MOST_BYTES + 1), "larger than 32 mib"),
    ):
        found = block_file(tmp_path, content)
        assert list(found) == ["block.file"]
        assert sentence.format(tmp_path / "block.txt") in found["block.file"].message
    assert site.load(tmp_path / "site.toml").block.file, "the text alone has no mistake"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(site.SiteErrors) as raised:
            site.load(path)
        assert [mistake.file for mistake in raised.value.mistakes] == [str(path)]


def test_the_plan_nobody_wrote_fits_a_slow_line(tmp_path: Path) -> None:
    config = site.load(write(tmp_path, CODE + "[uplink]\ndown_kbit = 2000\nup_kbit = 500"))
    assert (config.plan[0].down_kbit, config.plan[0].up_kbit) == (2000, 500)
    assert site.load(write(tmp_path, CODE)).plan == (DEFAULT_PLAN,)


def test_a_line_too_slow_for_the_guarantee_of_the_plan_nobody_wrote(tmp_path: Path) -> None:
    assert site.load(write(tmp_path, CODE + "[uplink]\nup_kbit = 64")).plan[0].guaranteed_kbit == 64


def test_unlimited_is_none_and_only_for_limits(tmp_path: Path) -> None:
    plan = '[[plan]]\nid = "a"\nname = "A"\nsession_minutes = "unlimited"\ndown_kbit = "unlimited"\n'
    config = site.load(write(tmp_path, CODE + plan))
    assert config.plan[0].session_minutes is None
    assert config.plan[0].down_kbit is None
    assert list(mistakes(tmp_path, CODE + '[lan]\nlease_minutes = "unlimited"')) == ["lan.lease_minutes"]


CERTIFIED = CODE + '[portal]\nname = "portal.example"\ncertificate = "/c.pem"\nkey = "/k.pem"\n'


def valid_for(days: float, *names: str) -> certificate.Certificate:
    import time

    return certificate.Certificate(time.time() - 86_400 * 30, time.time() + 86_400 * days, names)


@pytest.mark.parametrize(
    ("found", "keys"),
    [
        (valid_for(90, "portal.example"), []),
        (valid_for(90, "*.example"), []),
        (valid_for(3, "portal.example"), []),  # DHCP will not announce it, but it can be served
        (valid_for(-1, "portal.example"), ["portal.certificate"]),
        (valid_for(90, "other.example"), ["portal.certificate"]),
        (certificate.CertificateError("key", "No key.", "Find it."), ["portal.key"]),
    ],
)
def test_the_certificate_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: object, keys: list[str]
) -> None:
    def read(*_: object) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(certificate, "read", read)
    assert list(mistakes(tmp_path, CERTIFIED)) == keys
    assert site.load(tmp_path / "site.toml").portal.name == "portal.example"  # the text alone has no mistake


ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wan0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
wan0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
lan0\t00004D0A\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0
"""


def test_a_lan_that_overlaps_the_uplink_is_found_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitecheck, "interfaces", lambda: ["lo", "lan0", "wan0"])
    monkeypatch.setattr(sitecheck, "routes", lambda: sitecheck.parse_routes(ROUTES))
    _, found = site.check(write(tmp_path, CODE), here=True)
    assert [mistake.key for mistake in found] == ["lan.address"]
    assert "10.77.0.0/20 overlaps 10.77.0.0/24, which is at the uplink" in found[0].message
    assert "10.78.0.1/20" in found[0].hint
    assert site.check(tmp_path / "site.toml")[1] == []
    _, found = site.check(write(tmp_path, CODE + '[lan]\naddress = "192.168.5.1/24"'), here=True)
    assert found == []


def test_an_interface_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitecheck, "interfaces", lambda: ["lo", "eth0", "wlan0"])
    monkeypatch.setattr(sitecheck, "routes", list)
    _, found = site.check(write(tmp_path, CODE), here=True)
    assert [mistake.key for mistake in found] == ["lan.interface", "uplink.interface"]
    assert "eth0, wlan0" in found[0].hint


values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=30), st.dates(), st.just("unlimited")
)
keys = st.sampled_from(sorted({key.rpartition(".")[2] for key in FORTY_KEYS}))
tables = st.dictionaries(keys, st.one_of(values, st.lists(values, max_size=2)), max_size=4)
documents = st.dictionaries(
    st.sampled_from([*site.SiteConfig.__struct_fields__, "other"]),
    st.one_of(values, tables, st.lists(tables, max_size=3)),
)


@given(documents)
def test_no_document_whatever_breaks_the_check(document: dict[str, object]) -> None:
    config, found = site.check_document("site.toml", document, files=False, here=False)
    assert (config is None) == bool(found)
    for mistake in found:
        assert "Traceback" not in str(mistake)
