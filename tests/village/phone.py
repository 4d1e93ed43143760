"""A villager's phone: its own namespace and MAC, a real DHCP lease, and what its captive browser would do.

It must not know how the gateway works; it sees DHCP, DNS, HTTP and packets, as a phone does.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.village import dns, links
from tests.village.http import Response, exchange, first_form, request_bytes
from tests.village.netns import Namespace

PROBE = "http://connectivitycheck.gstatic.com/generate_204"
INTERFACE = "wlan0"
IFA_F_TEMPORARY, IFA_F_DADFAILED, IFA_F_TENTATIVE, IFA_F_OPTIMISTIC = 0x01, 0x08, 0x40, 0x04
Socket = socket.socket  # inside Phone its method of that name hides the module
_LEASE_SCRIPT = Path(__file__).with_name("lease.sh")


@dataclass(frozen=True, slots=True)
class Lease:
    """What DHCP gave. ``captive_portal`` is option 114 (RFC 8910), None where the server sent none."""

    address: str
    prefix_length: int
    router: str
    dns: tuple[str, ...]
    lease_s: int
    captive_portal: str | None
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Login:
    """Each answer on the way from probe to status page."""

    probe: Response
    page: Response
    post: Response
    status: Response
    elapsed_s: float


class Phone:
    """One phone. Cable and switch are the village's business; ``close`` takes the namespace away."""

    def __init__(self, number: int, mac: str, *, ipv6: bool) -> None:
        self.number, self.mac = number, mac
        self.ns = Namespace(f"phone {number}")
        self.lease: Lease | None = None
        self._names: dict[tuple[str, int], str] = {}
        self._joined = False
        if not ipv6:
            self.ns.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        # As Android does: privacy addresses, and an address is used while its uniqueness is being asked (RFC 4429).
        for name, value in (("use_tempaddr", 2), ("optimistic_dad", 1), ("use_optimistic", 1)):
            self.ns.sysctl(f"net.ipv6.conf.default.{name}", value)
        self.ns.sysctl("net.ipv6.conf.default.router_solicitation_delay", 0)

    # --- joining ----------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Join the Wi-Fi: from here on IPv6 configures itself from router advertisements. Only the first call acts."""
        if not self._joined:
            links.up(self.ns, INTERFACE)
            self._joined = True

    def start_dhcp(self) -> subprocess.Popen[str]:
        """Join and start udhcpc; ``finish_dhcp`` reads what it got. Apart so that many phones can ask at once."""
        self.join()
        self._names.clear()  # another network, other names
        command = ["busybox", "udhcpc", "-f", "-q", "-n", "-i", INTERFACE, "-t", "8", "-T", "1", "-O", "114"]
        command += ["-x", f"hostname:phone-{self.number}", "-s", str(_LEASE_SCRIPT)]
        return self.ns.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish_dhcp(self, client: subprocess.Popen[str], started_s: float) -> Lease:
        """Wait for the client to end, set address and default route as the lease says."""
        out, err = client.communicate(timeout=30)
        self.ns.reap(client)
        given = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        if "ip" not in given:
            raise RuntimeError(f"phone {self.number} got no DHCP lease: {err.strip() or out.strip()}")
        captive = given.get("opt114")
        prefix = int(given.get("mask") or 32)
        self.lease = Lease(
            address=given["ip"],
            prefix_length=prefix,
            router=given["router"].split()[0],
            dns=tuple(given.get("dns", "").split()),
            lease_s=int(given["lease"]),
            captive_portal=bytes.fromhex(captive).decode() if captive else None,
            elapsed_s=time.monotonic() - started_s,
        )
        self.set_ipv4(self.lease.address, prefix, self.lease.router)
        return self.lease

    def dhcp(self) -> Lease:
        """Join, ask for a lease with a real DHCP client and use it."""
        started_s = time.monotonic()
        return self.finish_dhcp(self.start_dhcp(), started_s)

    def set_ipv4(self, address: str, prefix_length: int, router: str) -> None:
        """Use this IPv4 address alone."""

        def job(ip: Any) -> None:
            number = links.index(ip, INTERFACE)
            ip.flush_addr(index=number, family=socket.AF_INET)
            ip.addr("add", index=number, address=address, prefixlen=prefix_length)
            ip.route("replace", dst="0.0.0.0/0", gateway=router)

        links.rtnl(self.ns, job)

    @property
    def address(self) -> str:
        if self.lease is None:
            raise RuntimeError(f"phone {self.number} has no lease yet: call dhcp()")
        return self.lease.address

    def ipv6_addresses(self, *, temporary: bool | None = None) -> list[str]:
        """Usable global and unique local IPv6 addresses; ``temporary`` True or False picks by privacy extension."""
        found = []
        for address, _, flags in links.addresses(self.ns, INTERFACE, 6):
            usable = not flags & IFA_F_DADFAILED and (not flags & IFA_F_TENTATIVE or flags & IFA_F_OPTIMISTIC)
            if usable and not ipaddress.ip_address(address).is_link_local:
                is_temporary = bool(flags & IFA_F_TEMPORARY)
                if temporary is None or temporary == is_temporary:
                    found.append(address)
        return found

    def wait_ipv6(self, timeout_s: float = 10) -> list[str]:
        """Wait for SLAAC (RFC 4862), privacy address (RFC 8981) included."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if self.ipv6_addresses(temporary=True) and links.has_default_route6(self.ns):
                return self.ipv6_addresses()
            time.sleep(0.05)
        raise TimeoutError(
            f"phone {self.number} has no IPv6 address after {timeout_s} s: {links.addresses(self.ns, INTERFACE, 6)}"
        )

    def new_privacy_address(self, timeout_s: float = 5) -> str:
        """Add one more random address in the prefix, as privacy extensions do each day, and wait for its DAD."""
        prefix = ipaddress.ip_network(f"{self.wait_ipv6()[0]}/64", strict=False)
        address = str(prefix[secrets.randbits(63) | 1 << 62])
        links.add_address(self.ns, INTERFACE, f"{address}/64")
        end_s = time.monotonic() + timeout_s
        while address not in self.ipv6_addresses():
            if time.monotonic() > end_s:
                raise TimeoutError(f"{address} did not pass duplicate address detection")
            time.sleep(0.02)
        return address

    # --- talking ----------------------------------------------------------------------------------------------------

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> Socket:
        """A socket inside this phone."""
        return self.ns.socket(family, kind, proto)

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """A process inside this phone, to its end."""
        return self.ns.run(command, **options)

    def connect(self, address: str, port: int, *, timeout_s: float = 5, source: str | None = None) -> Socket:
        """A connected TCP socket; the family is the address's."""
        sock = self.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            sock.settimeout(timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source is not None:
                sock.bind((source, 0))
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def dns(
        self, name: str, kind: int = dns.A, *, server: str | None = None, timeout_s: float = 3
    ) -> tuple[int, list[str]]:
        """Ask ``server`` (the lease's first if None) once: (response code, addresses). TimeoutError without answer."""
        if server is None:
            if self.lease is None or not self.lease.dns:
                raise RuntimeError(f"phone {self.number} was given no DNS server")
            server = self.lease.dns[0]
        ident = secrets.randbits(16)
        with self.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect((server, 53))
            sock.send(dns.query(name, kind, ident))
            while True:
                got, code, found = dns.answer(sock.recv(4096), kind)
                if got == ident:
                    return code, found

    def resolve(self, host: str, family: int = 4) -> str:
        """The address of ``host`` from the lease's DNS server, kept as a phone keeps it; LookupError without one."""
        try:
            ipaddress.ip_address(host.strip("[]"))
            return host.strip("[]")
        except ValueError:
            pass
        if (host, family) not in self._names:
            code, found = self.dns(host, dns.AAAA if family == 6 else dns.A)
            if not found:
                raise LookupError(f"phone {self.number}: no IPv{family} address for {host} (DNS code {code})")
            self._names[host, family] = found[0]
        return self._names[host, family]

    def http(
        self,
        url: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        family: int = 4,
        source: str | None = None,
        timeout_s: float = 10,
    ) -> Response:
        """One request, no redirects followed. OSError as the kernel gives it (refused, reset, timed out)."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        started_s = time.monotonic()
        address = self.resolve(parts.hostname, family)
        sock = self.connect(address, parts.port or 80, timeout_s=timeout_s, source=source)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        given = {
            "User-Agent": "Mozilla/5.0 (Linux; Android 13) village",
            "Accept-Language": "id",
            "Accept-Encoding": "gzip",
        } | (headers or {})
        if body:
            given.setdefault("Content-Type", "application/x-www-form-urlencoded")
        host = given.pop("Host", parts.netloc)
        return exchange(sock, url, request_bytes(method, host, target, given, body), started_s)

    # --- what its captive browser does ------------------------------------------------------------------------------

    def login(self, probe_url: str = PROBE) -> Login:
        """Probe, follow the 302, tap the page's button, follow the 303 to the status page."""
        started_s = time.monotonic()
        probe = self.http(probe_url)
        if probe.status != 302:
            raise RuntimeError(
                f"phone {self.number}: the probe got {probe.status}, not the portal: {probe.text[:200]!r}"
            )
        page = self.http(probe.location)
        form = first_form(page)
        post = self.http(form.action, method="POST", body=form.body)
        if post.status != 303:
            raise RuntimeError(f"phone {self.number}: the tap got {post.status}: {post.text[:400]!r}")
        status = self.http(post.location)
        return Login(probe, page, post, status, time.monotonic() - started_s)

    def logout(self, portal_url: str) -> Response:
        """Open the status page and tap log out; the answer to that tap."""
        form = first_form(self.http(portal_url), "logout")
        return self.http(form.action, method="POST", body=form.body)

    def is_online(self, *, family: int = 4, timeout_s: float = 3) -> bool:
        """Would Android say so? 204 and nothing else; no answer is no."""
        try:
            return self.http(PROBE, family=family, timeout_s=timeout_s).status == 204
        except (OSError, LookupError):
            return False

    def wait_online(self, *, family: int = 4, timeout_s: float = 5) -> float:
        """Seconds until ``is_online``, trying as a phone does; TimeoutError if it never is.

        The first packet of an IPv6 address that nobody has heard of yet makes it known, and is not let through itself.
        """
        started_s = time.monotonic()
        while not self.is_online(family=family):
            if time.monotonic() - started_s > timeout_s:
                raise TimeoutError(f"phone {self.number} is not online over IPv{family} after {timeout_s} s")
            time.sleep(0.05)
        return time.monotonic() - started_s

    # --- packets of its own making ----------------------------------------------------------------------------------

    def send_frame(
        self, payload: bytes, *, destination: str, source: str | None = None, protocol: int = 0x0800
    ) -> None:
        """Put one Ethernet frame on the cable, with any source MAC."""
        octets = [bytes.fromhex(mac.replace(":", "")) for mac in (destination, source or self.mac)]
        with self.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((INTERFACE, 0))
            sock.send(b"".join(octets) + struct.pack("!H", protocol) + payload)

    def set_mac(self, mac: str) -> None:
        """Take another MAC; IPv4 address and route stay configured."""

        def job(ip: Any) -> None:
            number = links.index(ip, INTERFACE)
            ip.link("set", index=number, state="down")
            ip.link("set", index=number, address=mac)
            ip.link("set", index=number, state="up")
            if self.lease is not None:
                ip.route("replace", dst="0.0.0.0/0", gateway=self.lease.router)

        links.rtnl(self.ns, job)
        self.mac = mac

    def neighbour_mac(self, address: str) -> str | None:
        """The MAC that this phone has learned for ``address``."""

        def job(ip: Any) -> str | None:
            for entry in ip.get_neighbours(dst=address):
                found = dict(entry["attrs"]).get("NDA_LLADDR")
                if found:
                    return str(found)
            return None

        return links.rtnl(self.ns, job)

    def close(self) -> None:
        self.ns.close()
