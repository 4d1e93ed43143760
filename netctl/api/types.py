"""The messages that cross the socket between the portal and netctl, as frozen structs.

They hold no behaviour and must not know the kernel, SQL or HTTP.

Units are in the names: ``*_kbit`` is kilobit (1000 bit) per second, ``*_bytes`` is bytes of layer 3,
``*_boot_s`` is seconds of CLOCK_BOOTTIME, which both sides of the socket share and which no clock change moves.
Up and down are seen from the user. ``None`` means no limit; 0 never does.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Mac = Annotated[str, Meta(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")]
Ipv4 = Annotated[str, Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$")]
Ip = Annotated[str, Meta(min_length=2, max_length=45, pattern=r"^[0-9a-f:.]+$")]
Kbit = Annotated[int, Meta(ge=8, le=100_000_000)]
Priority = Annotated[int, Meta(ge=0, le=7)]
BurstKbytes = Annotated[int, Meta(ge=1, le=1_000_000)]
GrantId = Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)]
BootSeconds = Annotated[float, Meta(ge=0)]


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every struct on the socket: immutable, keyword-only, unknown fields refused."""


class Grant(Message, frozen=True, kw_only=True):
    """One device may pass, at these rates, until then.

    ``id`` names the counters of this grant: netctl keeps it in the kernel beside the members' counters (skbmark), so
    that bytes are told apart after either side restarts. A new id for the same MAC means new counters from 0.
    ``ipv4`` is the address the device logged in from (None: it has none); its IPv6 addresses are learned by netctl.

    Where the link is full, what it has beyond everybody's guaranteed rate goes to the lowest ``priority`` first, and
    within one priority in proportion to the guaranteed rates. ``burst_kbytes`` (1000 bytes; None: none): so much may
    pass above ``down_kbit`` or ``up_kbit`` after a pause, in each direction. It passes at what the link has free: it is
    borrowed like all above the guaranteed rate, so a burst takes nothing of what others are guaranteed and never
    exceeds the link. It fills again at the plan's rate while the device sends less, at most what that rate carries in
    60 s, so that the long-run rate is the plan's. It does not raise the guaranteed rate, for a moment neither.
    """

    id: GrantId
    mac: Mac
    ipv4: Ipv4 | None
    down_kbit: Kbit | None
    up_kbit: Kbit | None
    guaranteed_kbit: Kbit = 64
    priority: Priority = 1
    burst_kbytes: BurstKbytes | None = None
    deadline_boot_s: BootSeconds | None


class DesiredState(Message, frozen=True, kw_only=True):
    """All grants at once. ``generation`` grows by at least 1 with each change within one ``epoch``.

    ``epoch`` names the database that the generations are counted in; a restored or new database has a new one.
    """

    epoch: Annotated[str, Meta(min_length=8, max_length=64)]
    generation: Annotated[int, Meta(ge=0)]
    grants: Annotated[tuple[Grant, ...], Meta(max_length=8192)]


# --- requests -------------------------------------------------------------------------------------------------------


class Apply(Message, frozen=True, kw_only=True, tag="apply"):
    """Make the kernel like this state. Write access. Answer: Applied."""

    state: DesiredState


class Plan(Message, frozen=True, kw_only=True, tag="plan"):
    """Say what Apply would do, and do nothing. Answer: Planned."""

    state: DesiredState


class Whois(Message, frozen=True, kw_only=True, tag="whois"):
    """Which MAC does the kernel's neighbour table give for this LAN address? Answer: Neighbour."""

    ip: Ip


class ReadUsage(Message, frozen=True, kw_only=True, tag="usage"):
    """The byte counters, of one grant or (None) of all. Answer: Usage."""

    grant: GrantId | None = None


class ReadStatus(Message, frozen=True, kw_only=True, tag="status"):
    """How netctl is. Answer: Status."""


class ShapeLink(Message, frozen=True, kw_only=True, tag="shape_link"):
    """Let the link's root classes have these rates from now on. Write access. Answer: Link.

    None is the configured rate. It holds until the next ShapeLink or until netctl ends.
    """

    down_kbit: Kbit | None
    up_kbit: Kbit | None


class ReadLink(Message, frozen=True, kw_only=True, tag="link"):
    """How the link is shaped now and what has passed it. Answer: Link."""


class Dump(Message, frozen=True, kw_only=True, tag="dump"):
    """Everything that netctl finds of its own in the kernel, as stable text lines. Answer: Dumped."""


class TakeConnections(Message, frozen=True, kw_only=True, tag="take_connections"):
    """What was seen of members' connections after number ``after`` of ``stream``, ``most`` at most.

    Write access. Answer: Connections. What is before that number is forgotten; the same may be asked again until a
    later one is given. A ``stream`` that is not the present one stands for the beginning.
    """

    stream: str = ""
    after: Annotated[int, Meta(ge=0)] = 0
    most: Annotated[int, Meta(ge=0, le=10_000)] = 0


Request = Apply | Plan | Whois | ReadUsage | ReadStatus | ShapeLink | ReadLink | Dump | TakeConnections

# --- replies --------------------------------------------------------------------------------------------------------


class Applied(Message, frozen=True, kw_only=True, tag="applied"):
    """``generation`` is in force in the kernel (it may be newer than the one asked for); ``ops`` changes were made."""

    generation: int
    ops: int


class Planned(Message, frozen=True, kw_only=True, tag="planned"):
    """The operations, one stable line each, in the order in which Apply would do them."""

    ops: tuple[str, ...]


class Neighbour(Message, frozen=True, kw_only=True, tag="neighbour"):
    """``mac`` is None where the kernel knows no valid neighbour for ``ip`` on the LAN."""

    ip: Ip
    mac: Mac | None


class Counter(Message, frozen=True, kw_only=True):
    """Bytes and packets (layer 3) of one address of one grant since the grant's counters began.

    Up is counted for each address, where its packets are admitted. Down is counted for all addresses together, when a
    packet has left the device's queue towards it (what a full queue drops nobody got), under the number of that queue's
    class, written as an address that nobody has: 0.0.0.16 (RFC 1122, 3.2.1.3).

    ``(boot_id, grant, ip)`` names the counter. Within that name it grows; netctl restores it when it re-adds a
    member. Only if netctl lost its memory may it go down: then the reader counts the new value from 0. Counters of
    members that were removed stay in the reply for a while, so that a poll after a logout still finds the last bytes.
    """

    grant: GrantId
    ip: Ip
    up_bytes: int
    down_bytes: int
    up_packets: int
    down_packets: int


class Usage(Message, frozen=True, kw_only=True, tag="usage_is"):
    boot_id: str
    counters: tuple[Counter, ...]


class Feature(Message, frozen=True, kw_only=True):
    """One thing that this kernel has or lacks, found by trying it: ``detail`` says what follows from a lack."""

    name: str
    present: bool
    required: bool
    detail: str


class Status(Message, frozen=True, kw_only=True, tag="status_is"):
    """``drift`` counts differences between desired and kernel state found by the last tick, before it mended them.

    ``link_*_kbit`` are the rates in force of the link's root classes, None where they are not known.
    """

    version: str
    boot_id: str
    epoch: str | None
    generation: int
    grants: int
    members: int
    drift: int
    drift_total: int
    last_apply_ms: float
    uptime_s: float
    lan_interface: str
    uplink_interface: str
    lan_prefixes: tuple[str, ...]
    features: tuple[Feature, ...]
    problem: str | None = None
    link_down_kbit: Kbit | None = None
    link_up_kbit: Kbit | None = None


class Link(Message, frozen=True, kw_only=True, tag="link_is"):
    """The rates of the link's root classes (None: not shaped as a whole) and the bytes that left through each.

    The bytes are those of whole frames, Ethernet headers counted, unlike all others here: rates and bytes of the
    link are the provider's. They are counted after the queue, so no dropped packet is among them. They start from 0
    again when the shaper is set up anew.
    """

    down_kbit: Kbit | None
    up_kbit: Kbit | None
    down_bytes: int
    up_bytes: int


class Dumped(Message, frozen=True, kw_only=True, tag="dumped"):
    lines: tuple[str, ...]


class Connection(Message, frozen=True, kw_only=True, array_like=True):
    """A connection of a member was seen to begin, to be open or to end. See netctl.kernel.base.Sighting."""

    flow: Literal["begin", "open", "end"]
    at_boot_ms: Annotated[int, Meta(ge=0)]
    grant: GrantId
    protocol: Annotated[int, Meta(ge=0, le=255)]
    inner: Ip
    inner_port: Annotated[int, Meta(ge=0, le=65535)]
    outer: Ip
    outer_port: Annotated[int, Meta(ge=0, le=65535)]
    remote: Ip
    remote_port: Annotated[int, Meta(ge=0, le=65535)]


class Connections(Message, frozen=True, kw_only=True, tag="connections_are"):
    """Those after the number asked for, in order; ``last`` is the last one's number, ``waiting`` are still to be taken.

    ``stream`` names this row of numbers (None: the log of connections is off); it began at ``since_boot_ms``, and what
    was seen until ``until_boot_ms`` is in it, but for at least ``lost`` sightings since its beginning.
    """

    boot_id: str
    stream: str | None
    since_boot_ms: int
    until_boot_ms: int
    records: tuple[Connection, ...]
    last: int
    waiting: int
    lost: int


class Failure(Message, frozen=True, kw_only=True, tag="failure"):
    """The request was not carried out. Codes stand in netctl.api.errors."""

    code: str
    message: str
    hint: str


Reply = Applied | Planned | Neighbour | Usage | Status | Link | Dumped | Connections | Failure

# --- configuration --------------------------------------------------------------------------------------------------

Interface = Annotated[str, Meta(min_length=1, max_length=15, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Port = Annotated[int, Meta(ge=1, le=65535)]


class GatewayConfig(Message, frozen=True, kw_only=True):
    """All that netctl is told at start, as a JSON file that `gerbang` writes from site.toml.

    ``lan_address`` is the gateway's own address with its prefix length, ``10.77.0.1/20``. ``ula_prefix`` is the
    /64 that the LAN always has, beside one that the uplink may delegate (None: no IPv6 on the LAN). Rates of the link:
    None means not known, so not shaped as a whole. ``writers`` are the user ids that may change state besides root;
    every user who can open the socket may read.

    ``staff_port``: where the staff pages listen, reached from the LAN alone (None: nowhere). ``garden_networks``: IPv4
    and IPv6 networks that everybody reaches without a login, beside the addresses that dnsmasq puts into the sets
    gerbang_garden4 and gerbang_garden6. ``block_address``: what blocked names resolve to; its port 80 is the portal,
    all else of it is refused, to members too. ``isolate``: the ports of a LAN bridge exchange no frames with each
    other. The group ``socket_group`` may ping (net.ipv4.ping_group_range). ``log_connections``: what is seen of
    members' connections is kept for TakeConnections.
    """

    lan_interface: Interface
    uplink_interface: Interface
    lan_address: str
    ula_prefix: str | None
    link_down_kbit: Kbit | None
    link_up_kbit: Kbit | None
    portal_port: Port
    portal_tls_port: Port | None
    socket_path: str
    state_path: str
    socket_group: int | None = None
    writers: tuple[int, ...] = ()
    tick_s: Annotated[float, Meta(ge=0.1, le=60)] = 5.0
    connections_per_device: Annotated[int, Meta(ge=4, le=1000)] = 24
    dns_per_device_per_s: Annotated[int, Meta(ge=1, le=1000)] = 20
    staff_port: Port | None = None
    garden_networks: tuple[str, ...] = ()
    block_address: Ipv4 | None = None
    isolate: bool = False
    log_connections: bool = False


def encode(message: Message) -> bytes:
    """The JSON text of one message, without framing (netctl.api.protocol adds it)."""
    return msgspec.json.encode(message)
