"""The Internet as the village needs it: a provider's router with router advertisements, its resolver, and the Web.

It must not know the gateway's programs or the phones.

    198.18.0.1, 2001:db8:0:1::1   the provider's router, at the other end of the gateway's uplink
    198.18.5.53, 2001:db8:5::53   the provider's resolver (a real dnsmasq)
    198.18.5.80, 2001:db8:5::80   every Web host (tests.village.webserver) but one
    198.18.5.90, 2001:db8:5::90   that one: a public service with addresses of its own
Addresses are of RFC 2544 (198.18.0.0/15) and RFC 3849 (2001:db8::/32).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.village import links
from tests.village.netns import Namespace
from tests.village.webserver import probe_answers

REPOSITORY = Path(__file__).parents[2]
ROUTER, ROUTER6 = "198.18.0.1", "2001:db8:0:1::1"
GATEWAY = "198.18.0.2"
DNS, DNS6 = "198.18.5.53", "2001:db8:5::53"
WEB, WEB6 = "198.18.5.80", "2001:db8:5::80"
SERVICE, SERVICE6 = "198.18.5.90", "2001:db8:5::90"
HOST = "www.village.example"
SERVICE_HOST = "layanan.village.example"
UPLINK = "up0"


class Internet:
    """One namespace. ``plug`` gives the cable that a gateway's uplink hangs on.

    ``lease``: the gateway asks by DHCP, and is given GATEWAY. Else gateways know their address.
    """

    host = HOST

    def __init__(self, *, ipv6: bool, lease: bool = False) -> None:
        self.ns = Namespace("internet")
        self.ipv6, self.lease = ipv6, lease
        self._dns: subprocess.Popen[Any] | None = None
        self._web: subprocess.Popen[Any] | None = None

    def plug(self, gateway: Namespace, interface: str) -> None:
        """Cable to the gateway's uplink; the router's side is up and has its addresses."""
        links.cable(self.ns, UPLINK, gateway, interface)
        self.plugged()

    def plugged(self) -> None:
        """There is a cable, whoever made it (UPLINK is the router's end): up, and with its addresses."""
        # Its link-local address must answer the first solicitation.
        self.ns.sysctl(f"net.ipv6.conf.{UPLINK}.accept_dad", 0)
        links.up(self.ns, UPLINK)
        links.add_address(self.ns, UPLINK, f"{ROUTER}/24")
        for address in (DNS, WEB, SERVICE):
            links.add_address(self.ns, "lo", f"{address}/32")
        if self.ipv6:
            self.ns.sysctl("net.ipv6.conf.all.forwarding", 1)
            links.add_address(self.ns, UPLINK, f"{ROUTER6}/64", nodad=True)
            for address in (DNS6, WEB6, SERVICE6):
                links.add_address(self.ns, "lo", f"{address}/128", nodad=True)

    def start(self) -> None:
        """Start the resolver (and router advertisements) and the Web; returns when both serve."""
        self.start_dns()
        self.start_web()

    def start_web(self) -> None:
        addresses = [WEB, SERVICE, *([WEB6, SERVICE6] if self.ipv6 else [])]
        self._web = self.ns.popen(
            [sys.executable, "-m", "tests.village.webserver", *addresses],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._web.stdout is not None
        if self._web.stdout.readline().strip() != "ready":
            raise RuntimeError("the village's Web server did not start")

    def stop_web(self) -> None:
        """The Web is gone, the way there is not."""
        self._end(self._web)

    def stop_dns(self) -> None:
        """The resolver is gone (and with it router advertisements)."""
        self._end(self._dns)

    def _end(self, program: subprocess.Popen[Any] | None) -> None:
        assert program is not None
        program.kill()
        program.wait()
        self.ns.reap(program)

    def start_dns(self) -> None:
        hosts = sorted({host for host, _ in probe_answers()} | {HOST})
        lines = ["no-resolv", "no-hosts", "bind-interfaces", f"interface={UPLINK}", "log-facility=-", "pid-file="]
        lines += [f"listen-address={address}" for address in (DNS, *([DNS6] if self.ipv6 else []))]
        lines += ["user=root", "group=root", "local=/#/"]
        # host-record and not address=: that says of a name's other types (HTTPS, 65) that there is no such name, and
        # the gateway's resolver then rightly forgets the address, too.
        web, service = ([WEB, WEB6], [SERVICE, SERVICE6]) if self.ipv6 else ([WEB], [SERVICE])
        lines += [f"host-record={host},{','.join(web)}" for host in hosts]
        lines.append(f"host-record={SERVICE_HOST},{','.join(service)}")
        if self.ipv6:
            lines += ["enable-ra", f"dhcp-range={ROUTER6[:-1]},ra-only,64,1h", f"ra-param={UPLINK},high,10,1800"]
        if self.lease:
            lines.append(f"dhcp-range={GATEWAY},{GATEWAY},255.255.255.0,1h")
            lines += ["no-ping", "leasefile-ro", "dhcp-authoritative", "quiet-dhcp"]
            given = {"router": ROUTER, "dns-server": DNS, "ntp-server": ROUTER}
            lines += [f"dhcp-option=option:{name},{address}" for name, address in given.items()]
        lines += ["quiet-ra", "quiet-dhcp6"]  # nobody reads what it says after its start
        self._dns = self.ns.popen(
            ["dnsmasq", "--keep-in-foreground", "--conf-file=-", "--log-facility=-"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._dns.stdin is not None and self._dns.stderr is not None
        self._dns.stdin.write("\n".join(lines) + "\n")
        self._dns.stdin.close()
        line = ""
        for line in self._dns.stderr:  # it says "started" once its sockets are bound
            if "started" in line:
                return
        raise RuntimeError(f"the village's resolver did not start: {line.strip()}")

    def set_line(self, down_kbit: int, queue_bytes: int) -> None:
        """Let the provider's end of the line carry so much towards the gateway, through a queue of this size."""
        links.bottleneck(self.ns, UPLINK, down_kbit, queue_bytes)

    def unplugged(self, unplugged: bool) -> None:
        """Cut (True) or mend the cable between provider and gateway."""
        state = "down" if unplugged else "up"
        links.rtnl(self.ns, lambda ip: ip.link("set", index=links.index(ip, UPLINK), state=state))

    def close(self) -> None:
        self.ns.close()
