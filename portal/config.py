"""The structure of site.toml, the one file that a technician edits. It must not know Flask, SQL or the kernel.

Everything but the site code has a default. Bounds and meanings stand here, beside the key, as ``msgspec.Meta``;
portal.site reads the file, finds its mistakes with them, and prints the reference in docs/site-toml.md from them.
``None`` means no limit (in the file: ``"unlimited"``); 0 never does.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from msgspec import Meta, Struct

# \Z and not $, which a newline at the end would pass: these texts are written into other programs' configurations.
PRINTABLE = r"^[^\x00-\x1f\x7f]*\Z"
QUOTABLE = r"^[^\x00-\x1f\x7f\"\\]*\Z"  # pppd reads it between quotes
BOX = "Flashed box only."  # elsewhere the system's own network configuration says it
Interface = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=15,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z",
        extra={"expects": "the name of a network interface, as `ip link` shows it (at most 15 characters)"},
    ),
]
Kbit = Annotated[int, Meta(ge=64, le=100_000_000, extra={"expects": "kbit per second, from 64 to 100000000"})]
Port = Annotated[int, Meta(ge=1024, le=65535, extra={"expects": "a port from 1024 to 65535"})]
DayMinutes = Annotated[int, Meta(ge=1, le=1440, extra={"expects": "minutes, from 1 to 1440 (a day)"})]
Minutes = Annotated[int, Meta(ge=1, le=525_600, extra={"expects": "minutes, from 1 to 525600 (a year)"})]
Address = Annotated[
    str, Meta(max_length=18, extra={"expects": "an IPv4 address with its prefix length, like 203.0.113.10/30"})
]
Login = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=120,
        pattern=QUOTABLE,
        extra={"expects": "a text of 1 to 120 characters without quotes and backslashes"},
    ),
]
Vlan = Annotated[int, Meta(ge=1, le=4094, extra={"expects": "a VLAN number from 1 to 4094"})]
LIMIT = {"limit": True}  # in extra: the file may say "unlimited", which is None
Kbytes = Annotated[int, Meta(ge=2, le=100_000, extra={"expects": "kilobytes, from 2 to 100000"})]
Megabytes = Annotated[int, Meta(ge=1, le=10_000_000, extra={"expects": "megabytes, from 1 to 10000000"})]
DAY = {"expects": "a day like 2026-12-25"}
HOURS = {"expects": 'a list of lines like "mon-fri 16:00-22:00", or ["always"]'}
HoursLines = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=60)], ...], Meta(min_length=1, max_length=32)]
PlanId = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,31}\Z",
        extra={"expects": "1 to 32 small letters, digits, dashes or underscores, starting with a letter or digit"},
    ),
]
Path = Annotated[
    str, Meta(pattern=r"^/[^\x00-\x1f\x7f]+\Z", extra={"expects": 'the whole path of a file, starting with "/"'})
]


class Site(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The desa that this gateway stands in."""

    code: Annotated[
        str,
        Meta(
            pattern=r"^[1-9][0-9]\.[0-9]{2}\.[0-9]{2}\.[0-9]{4}\Z",
            description="The desa's code of the Ministry of Home Affairs (Kemendagri); it names this gateway.",
            examples=["64.03.01.2001"],
            extra={"expects": "a Kemendagri code like 64.03.01.2001 (province.regency.district.desa)"},
        ),
    ]
    name: Annotated[
        str,
        Meta(
            max_length=80,
            pattern=PRINTABLE,
            description="The desa's name, as the portal's page shows it.",
            examples=["Desa Muara Kaman Ulu"],
            extra={"expects": "a name of at most 80 characters"},
        ),
    ] = ""
    timezone: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="Time zone of clock times on pages and in the log: Asia/Jakarta (WIB), Asia/Makassar (WITA) "
            "or Asia/Jayapura (WIT).",
            examples=["Asia/Makassar"],
            extra={"expects": "the name of a time zone"},
        ),
    ] = "Asia/Makassar"
    language: Annotated[
        str,
        Meta(
            pattern=r"^[a-z]{2,3}(_[A-Z]{2})?\Z",
            description="Language that pages start in; a catalogue for it must exist.",
            examples=["id"],
            extra={"expects": 'a language code like "id"'},
        ),
    ] = "id"
    contact: Annotated[
        str,
        Meta(
            max_length=120,
            pattern=PRINTABLE,
            description="Where people ask for help; pages that say no name it.",
            examples=["kantor desa, jam kerja"],
            extra={"expects": "a text of at most 120 characters"},
        ),
    ] = ""


class Uplink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The provider's line."""

    interface: Annotated[
        Interface,
        Meta(
            description="Interface towards the provider. On a flashed box: leave the default; which port that is says "
            "`port`.",
            examples=["eth0"],
        ),
    ] = "wan0"
    kind: Annotated[
        Literal["dhcp", "static", "pppoe", "usb", "lte"],
        Meta(
            description="How the line is used: an address by `dhcp`, a `static` one, a login by `pppoe`, or by DHCP "
            "from a phone or a modem that is plugged into USB and shows itself as a network card (`usb`, `lte`). "
            f"{BOX}",
            extra={"expects": '"dhcp", "static", "pppoe", "usb" or "lte"'},
        ),
    ] = "dhcp"
    port: Annotated[
        Annotated[
            str,
            Meta(
                max_length=128,
                pattern=r"^(usb|([0-9a-f]{2}:){5}[0-9a-f]{2}|[A-Za-z0-9_.:,@]+-[A-Za-z0-9_.:,@-]+)\Z",
                extra={"expects": 'a MAC address in small letters, a path like "pci-0000:01:00.0", or "usb"'},
            ),
        ]
        | None,
        Meta(
            description="Which network card the line is plugged into: its MAC address, its path (ID_PATH, as `gerbang "
            f"ports` shows it), or `usb` for whatever is plugged into USB. Default: the built-in one whose path is the "
            f"lowest. {BOX}",
            examples=["2c:cf:67:0a:11:30"],
        ),
    ] = None
    vlan: Annotated[
        Vlan | None,
        Meta(description=f"VLAN (802.1Q) that the provider's line comes in. Default: none. {BOX}", examples=[100]),
    ] = None
    address: Annotated[
        Address | None,
        Meta(
            description=f'With kind = "static": the address that the provider has given, with its prefix length. {BOX}',
            examples=["203.0.113.10/30"],
        ),
    ] = None
    gateway: Annotated[
        Annotated[str, Meta(max_length=15, extra={"expects": "an IPv4 address like 203.0.113.9"})] | None,
        Meta(description=f'With kind = "static": the provider\'s router. {BOX}', examples=["203.0.113.9"]),
    ] = None
    user: Annotated[
        Login | None,
        Meta(
            description=f'With kind = "pppoe": the login that the provider has given. {BOX}',
            examples=["122xxxxxx@telkom.net"],
        ),
    ] = None
    password: Annotated[
        Login | None,
        Meta(
            description=f"Its password. Who holds the card or this file can read it. {BOX}",
            examples=["rahasia"],
        ),
    ] = None
    down_kbit: Annotated[
        Kbit | None,
        Meta(
            description="What the line really carries towards the desa, kbit/s. Measured, not as sold: a little less "
            "than the measured figure keeps the queue on this side, where it is shared fairly. Default: not known, "
            "the line as a whole is not shaped.",
            examples=[8000],
        ),
    ] = None
    up_kbit: Annotated[
        Kbit | None, Meta(description="The same from the desa towards the Internet, kbit/s.", examples=[2000])
    ] = None
    dns: Annotated[
        tuple[str, ...],
        Meta(
            max_length=8,
            description="Addresses of the provider's DNS resolvers. Default: those in /etc/resolv.conf.",
            examples=[["203.0.113.53"]],
            extra={"expects": 'a list of up to 8 addresses, like ["203.0.113.53"]'},
        ),
    ] = ()
    provider: Annotated[
        str,
        Meta(
            max_length=60,
            pattern=PRINTABLE,
            description="Whose line it is; reports tell providers apart by it.",
            examples=["Telkom"],
            extra={"expects": "a name of at most 60 characters"},
        ),
    ] = ""
    link: Annotated[
        Literal["fibre", "copper", "radio", "mobile", "satellite", "other"],
        Meta(
            description="What sort of line it is; reports tell sorts apart by it.",
            examples=["satellite"],
            extra={"expects": '"fibre", "copper", "radio", "mobile", "satellite" or "other"'},
        ),
    ] = "other"
    check_url: Annotated[
        str,
        Meta(
            max_length=200,
            description="Page fetched to tell whether the uplink works; must answer 204 over plain http.",
            extra={"expects": "an address that starts with http://"},
        ),
    ] = "http://connectivitycheck.gstatic.com/generate_204"
    follow: Annotated[
        bool,
        Meta(
            description="For lines whose rate changes (satellite, mobile): measure the delay to `reflectors` and keep "
            "the shaped rate of the line between the `min` rates and down_kbit, up_kbit, which must then be set.",
            extra={"expects": "true or false"},
        ),
    ] = False
    min_down_kbit: Annotated[
        Kbit | None,
        Meta(description="With `follow`: the line is never shaped below this. Default: a tenth of down_kbit."),
    ] = None
    min_up_kbit: Annotated[Kbit | None, Meta(description="The same from the desa. Default: a tenth of up_kbit.")] = None
    reflectors: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            max_length=16,
            description="With `follow`: IPv4 addresses that answer pings, best of several owners.",
            extra={"expects": 'a list of 1 to 16 IPv4 addresses, like ["1.1.1.1"]'},
        ),
    ] = ("1.1.1.1", "9.9.9.9", "8.8.8.8", "208.67.222.222", "1.0.0.1", "149.112.112.112")


class Lan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The users' side."""

    interface: Annotated[
        Interface,
        Meta(
            description="Interface towards the users. On a flashed box: leave the default, a bridge of all network "
            "cards but the uplink's, and of the radio.",
            examples=["eth1"],
        ),
    ] = "lan0"
    address: Annotated[
        str,
        Meta(
            max_length=18,
            description="The gateway's own address on the LAN with the prefix length; it sets how many devices fit. "
            "From /16 to /28, private, apart from the uplink's network.",
            examples=["10.77.0.1/20"],
            extra={"expects": "an IPv4 address with its prefix length, like 10.77.0.1/20"},
        ),
    ] = "10.77.0.1/20"
    ipv6: Annotated[
        bool,
        Meta(
            description="Give devices IPv6 too: a prefix that the provider has delegated (docs/operations.md), and a "
            "local one behind NAT, which devices use where there is no other.",
            extra={"expects": "true or false"},
        ),
    ] = True
    lease_minutes: Annotated[
        int,
        Meta(
            ge=2,
            le=10_080,
            description="How long a device keeps its address without asking again, minutes.",
            extra={"expects": "minutes, from 2 to 10080 (a week)"},
        ),
    ] = 120
    isolate: Annotated[
        bool,
        Meta(
            description="Devices reach the Internet and the gateway, not each other (ports of a LAN bridge and, with a "
            "radio of the gateway's own, its stations).",
            extra={"expects": "true or false"},
        ),
    ] = True


class Wifi(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The radio, where the gateway has one of its own."""

    enabled: Annotated[
        bool,
        Meta(
            description=f"Use the gateway's own radio as access point. It carries 7 or 8 devices on a Raspberry Pi; an "
            f"access point of its own on the LAN carries more. {BOX}",
            extra={"expects": "true or false"},
        ),
    ] = True
    ssid: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=32,
            pattern=PRINTABLE,
            description="Name of the network that phones see.",
            extra={"expects": "a name of 1 to 32 bytes"},
        ),
    ] = "Wi-Fi Desa"
    country: Annotated[
        str,
        Meta(
            pattern=r"^[A-Z]{2}\Z",
            description="Country whose radio rules hold (ISO 3166).",
            extra={"expects": 'two capital letters, like "ID"'},
        ),
    ] = "ID"
    band: Annotated[
        Literal["2.4", "5"] | None,
        Meta(
            description="Band in GHz. 2.4 reaches farther and every phone has it; 5 is faster and quieter. Where the "
            f"radio has only the other one, that is used. Default: that of `channel`, else 2.4. {BOX}",
            examples=["2.4"],
            extra={"expects": '"2.4" or "5"'},
        ),
    ] = None
    channel: Annotated[
        Annotated[int, Meta(ge=1, le=177, extra={"expects": "a channel number from 1 to 177"})] | None,
        Meta(description="Radio channel. Default: one that suits the band, the same at each boot.", examples=[6]),
    ] = None
    owe: Annotated[
        bool,
        Meta(
            description='Encrypt for phones that can do so without a password (OWE, "Enhanced Open"), beside the open '
            f"network of the same name. Where the radio cannot, the network is open alone. {BOX}",
            extra={"expects": "true or false"},
        ),
    ] = True
    max_stations: Annotated[
        Annotated[int, Meta(ge=1, le=500, extra={"expects": "a number of devices, from 1 to 500"})] | None,
        Meta(
            description=f"Most devices on the radio at once. Default: what the radio can. {BOX}",
            examples=[30],
        ),
    ] = None


class Management(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may reach the box itself with ssh: from the provider's side only, never from the users'."""

    ssh_from: Annotated[
        tuple[str, ...],
        Meta(
            max_length=16,
            description="Networks whose machines may log in with ssh, with a key of `authorized_keys`. `[]`: nobody. "
            f"{BOX}",
            examples=[["10.20.0.0/16"]],
            extra={"expects": 'a list of up to 16 networks, like ["10.0.0.0/8"]'},
        ),
    ] = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    vlan: Annotated[
        Vlan | None,
        Meta(
            description=f"A VLAN (802.1Q) on the uplink's port for the office alone. Default: none. {BOX}",
            examples=[99],
        ),
    ] = None
    address: Annotated[
        Address | None,
        Meta(
            description=f"This box's address in that VLAN. Default: it asks there by DHCP. {BOX}",
            examples=["10.20.0.12/24"],
        ),
    ] = None


class Portal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The page that users meet."""

    name: Annotated[
        str,
        Meta(
            max_length=253,
            pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+\Z",
            description="Host name of the portal; the gateway's DNS answers it with its own address. With a "
            "certificate: the name in it.",
            extra={"expects": "a host name in small letters with at least one dot, like gerbang.lan"},
        ),
    ] = "gerbang.lan"
    port: Annotated[Port, Meta(description="Port the portal listens on for http (the rules lead 80 to it).")] = 8080
    tls_port: Annotated[
        Port, Meta(description="Port the portal listens on for https, with a certificate (443 leads to it).")
    ] = 8443
    certificate: Annotated[
        Path | None,
        Meta(
            description="Certificate of `name` with its chain, a PEM file. Default: none, plain http only.",
            examples=["/etc/gerbang/portal.pem"],
        ),
    ] = None
    key: Annotated[
        Path | None,
        Meta(description="Private key of the certificate, a PEM file.", examples=["/etc/gerbang/portal.key"]),
    ] = None
    terms_version: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]{1,32}\Z",
            description="Version of the terms of use; stored with each login. Change it when the terms change.",
            extra={"expects": "1 to 32 letters, digits, dots, dashes or underscores"},
        ),
    ] = "1"


class Access(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How people come in, and how many at once."""

    methods: Annotated[
        tuple[Literal["terms", "voucher", "account"], ...],
        Meta(
            min_length=1,
            max_length=3,
            description="Ways in: `terms` is one tap under the terms of use, `voucher` a printed code, `account` name "
            "and password of an office.",
            extra={"expects": 'a list of "terms", "voucher" and "account"'},
        ),
    ] = ("terms",)
    plan: Annotated[
        PlanId | None,
        Meta(description="Plan of those who come in by `terms`. Default: the first plan.", examples=["warga"]),
    ] = None
    capacity: Annotated[
        Annotated[int, Meta(ge=1, le=8000, extra={"expects": "a number of devices, from 1 to 8000"})] | None,
        Meta(
            description="Most devices online at once; who comes later waits in a queue. Plans whose priority is `high` "
            "come in all the same.",
            extra=LIMIT,
        ),
    ] = None


class Hours(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the site is open to plans that have no hours of their own."""

    open: Annotated[
        HoursLines,
        Meta(
            description="Days and times, on the clock of site.timezone. Days are mon tue wed thu fri sat sun, alone or "
            "as mon-fri, before one or more times; 20:00-02:00 reaches into the next day; 24:00 ends a day. "
            "Days that no line names are closed.",
            examples=[["mon-fri 16:00-22:00", "sat sun 08:00-12:00 13:00-22:00"]],
            extra=HOURS,
        ),
    ] = ("always",)


class Closed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A holiday or closure, whole days: all plans but those that are open always."""

    first: Annotated[
        dt.date,
        Meta(description="First day.", examples=[dt.date(2026, 12, 25)], extra=DAY),
    ]
    last: Annotated[
        dt.date | None,
        Meta(description="Last day. Default: the first.", examples=[dt.date(2027, 1, 1)], extra=DAY),
    ] = None
    reason: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=80,
            pattern=PRINTABLE,
            description="Why; the page shows it.",
            examples=["Libur Natal"],
            extra={"expects": "a text of 1 to 80 characters"},
        ),
    ]


class Garden(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The walled garden: what everybody reaches before login, slowly, and at closed hours."""

    names: Annotated[
        tuple[str, ...],
        Meta(
            max_length=200,
            description="Host names, each with all names below it.",
            examples=[["kaltimprov.go.id"]],
            extra={"expects": 'a list of host names, like ["kaltimprov.go.id"]'},
        ),
    ] = ()
    networks: Annotated[
        tuple[str, ...],
        Meta(
            max_length=200,
            description="Addresses or networks, IPv4 or IPv6.",
            examples=[["103.10.144.0/24"]],
            extra={"expects": 'a list of addresses or networks, like ["103.10.144.0/24"]'},
        ),
    ] = ()


class Block(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names that the gateway's resolver does not give, for a school: a page says why on http, https is refused."""

    names: Annotated[
        tuple[str, ...],
        Meta(
            max_length=1000,
            description="Host names, each with all names below it.",
            examples=[["judi.example"]],
            extra={"expects": 'a list of host names, like ["judi.example"]'},
        ),
    ] = ()
    file: Annotated[
        Path | None,
        Meta(
            description="A text file of more of them, one a line; what follows a # is left out. Up to some 100000.",
            examples=["/etc/gerbang/block.txt"],
        ),
    ] = None
    reason: Annotated[
        str,
        Meta(
            max_length=120,
            pattern=PRINTABLE,
            description="Why; the page shows it.",
            extra={"expects": "a text of at most 120 characters"},
        ),
    ] = "Situs ini ditutup untuk jaringan sekolah."


class Staff(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pages of operator, technician and reviewer: https only, from the LAN."""

    port: Annotated[Port, Meta(description="Port of the staff pages.")] = 8444
    certificate: Annotated[
        Path | None,
        Meta(description="Certificate with its chain, a PEM file. Default: one that the gateway makes itself."),
    ] = None
    key: Annotated[Path | None, Meta(description="Private key of the certificate, a PEM file.")] = None
    session_minutes: Annotated[
        int,
        Meta(
            ge=5,
            le=720,
            description="A staff login ends after so long without a click, minutes; after 12 hours in any case.",
            extra={"expects": "minutes, from 5 to 720"},
        ),
    ] = 30
    speed_test_url: Annotated[
        str,
        Meta(
            max_length=200,
            description="File that the technician's speed test fetches, plain http, 10 MB or more. Default: no test.",
            examples=["http://speedtest.example/10MB.bin"],
            extra={"expects": "an address that starts with http://"},
        ),
    ] = ""


Days = Annotated[int, Meta(ge=1, le=3660, extra={"expects": "days, from 1 to 3660 (ten years)"})]


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The usage log: how long what is kept on this gateway. What is past that is erased each night, with a record."""

    devices_days: Annotated[
        Days,
        Meta(
            description="Devices' own addresses (MAC), return codes and what each person used, after they were last "
            "seen. Rules on a device, vouchers and accounts stay."
        ),
    ] = 35
    sessions_days: Annotated[
        Days, Meta(description="Records of sessions, under a pseudonym that changes each month.")
    ] = 400
    samples_days: Annotated[Days, Meta(description="Five-minute samples of the line.")] = 400
    acts_days: Annotated[Days, Meta(description="What the staff did.")] = 1830
    nat: Annotated[
        bool,
        Meta(
            description="Also keep who spoke with which address and port when, sealed for the office (office.key must "
            "be set): no names, no contents. Only where the law asks for it.",
            extra={"expects": "true or false"},
        ),
    ] = False
    nat_days: Annotated[Days, Meta(description="How long that is kept.")] = 90
    nat_megabytes: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Most that it takes up; the oldest goes first, and is counted.",
            extra={"expects": "megabytes, from 1 to 100000"},
        ),
    ] = 500
    outbox_days: Annotated[Days, Meta(description="Batches for the office, taken or not.")] = 90
    outbox_megabytes: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Most that batches for the office take up; the oldest samples go first, sessions last.",
            extra={"expects": "megabytes, from 1 to 10000"},
        ),
    ] = 200


class Office(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The office that reviews the usage log; its reports carry this."""

    name: Annotated[
        str,
        Meta(
            max_length=120,
            pattern=PRINTABLE,
            description="The office's name: letterhead and producer of the figures.",
            extra={"expects": "a name of at most 120 characters"},
        ),
    ] = "Dinas Komunikasi dan Informatika"
    address: Annotated[
        str,
        Meta(
            max_length=200,
            pattern=PRINTABLE,
            description="The letterhead's second line.",
            examples=["Jalan Basuki Rahmat 41, Samarinda"],
            extra={"expects": "a text of at most 200 characters"},
        ),
    ] = ""
    key: Annotated[
        str | None,
        Meta(
            description="The office's public key, the line that `gerbang office key` printed there "
            "(docs/operations.md). What leaves is sealed for its owner. Default: none, nothing leaves but by a "
            "reviewer's hand.",
            extra={"expects": "the line that `gerbang office key` printed"},
        ),
    ] = None
    classification: Annotated[
        Literal["terbuka", "terbatas", "rahasia"],
        Meta(
            description="Classification that reports carry.",
            extra={"expects": '"terbuka", "terbatas" or "rahasia"'},
        ),
    ] = "terbatas"


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a class of users gets."""

    id: Annotated[
        PlanId,
        Meta(description="Short name that never changes; the usage log refers to it.", examples=["warga"]),
    ]
    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=60,
            pattern=PRINTABLE,
            description="The plan's name, as people see it.",
            examples=["Warga"],
            extra={"expects": "a name of 1 to 60 characters"},
        ),
    ]
    down_kbit: Annotated[
        Kbit | None, Meta(description="Most that one device gets towards it, kbit/s.", extra=LIMIT)
    ] = None
    up_kbit: Annotated[Kbit | None, Meta(description="Most that one device gets from it, kbit/s.", extra=LIMIT)] = None
    guaranteed_kbit: Annotated[
        int,
        Meta(
            ge=8,
            le=100_000_000,
            description="What one device gets at least while the line is full, kbit/s.",
            extra={"expects": "kbit per second, from 8 to 100000000"},
        ),
    ] = 64
    burst_kbytes: Annotated[
        Kbytes | None,
        Meta(
            description="What may pass at once at the line's own speed after a pause, kilobytes, each way. Default: a "
            "few packets."
        ),
    ] = None
    priority: Annotated[
        Literal["low", "normal", "high"],
        Meta(
            description="Who is served first with what the line has beyond the guarantees; `high` also comes in "
            "when the site is full.",
            extra={"expects": '"low", "normal" or "high"'},
        ),
    ] = "normal"
    devices: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Devices of one person or account at once. A voucher has its own number.",
            extra={"expects": "a number of devices, from 1 to 1000"},
        ),
    ] = 1
    session_minutes: Annotated[
        Minutes | None, Meta(description="Time online after one login, minutes.", extra=LIMIT)
    ] = 480
    idle_minutes: Annotated[
        Minutes | None, Meta(description="A session ends after so long without traffic, minutes.", extra=LIMIT)
    ] = 60
    daily_minutes: Annotated[
        DayMinutes | None, Meta(description="Budget of a person's time online in one local day, minutes.", extra=LIMIT)
    ] = None
    daily_megabytes: Annotated[
        Megabytes | None,
        Meta(description="Budget of a person's data in one local day, both ways, megabytes (10^6 bytes).", extra=LIMIT),
    ] = None
    after_budget: Annotated[
        Literal["slow", "stop"],
        Meta(
            description="With the day's budget used up: go on at the slow rates, or stop until midnight.",
            extra={"expects": '"slow" or "stop"'},
        ),
    ] = "slow"
    slow_down_kbit: Annotated[Kbit, Meta(description="Rate after the budget, towards the device, kbit/s.")] = 256
    slow_up_kbit: Annotated[Kbit, Meta(description="Rate after the budget, from the device, kbit/s.")] = 128
    hours: Annotated[
        HoursLines | None,
        Meta(
            description='When this plan is open, as in [hours]. Default: the site\'s hours. `["always"]` is never '
            "closed, by no holiday and no operator.",
            examples=[["mon-sat 07:00-17:00"]],
            extra=HOURS,
        ),
    ] = None


DEFAULT_PLAN = Plan(id="warga", name="Warga", down_kbit=5000, up_kbit=2000)


class SiteConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of site.toml. There is at least one plan."""

    site: Site
    uplink: Uplink = Uplink()
    lan: Lan = Lan()
    wifi: Wifi = Wifi()
    management: Management = Management()
    portal: Portal = Portal()
    access: Access = Access()
    hours: Hours = Hours()
    closed: Annotated[tuple[Closed, ...], Meta(max_length=200)] = ()
    garden: Garden = Garden()
    block: Block = Block()
    staff: Staff = Staff()
    log: Log = Log()
    office: Office = Office()
    plan: Annotated[tuple[Plan, ...], Meta(min_length=1, max_length=64)] = (DEFAULT_PLAN,)
