"""Says which processes a gateway is made of: for each its command line, user and time to end. It starts none of them.

It must not know site.toml: portal.prepare reads that, and gives Orders, which hold all that the command lines need.
"""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from portal import wholefile
from portal.processes import Program, python

CONFIGURATIONS = ("site.toml", "netctl.json", "dnsmasq.conf", "dnsmasq-block.conf", "orders.json")
"""Files of the run directory that the processes read when they start."""
ORDERS = "orders.json"
_SITE_MODE = 0o640  # it may hold passwords of the uplink's and the radio's; of the others, dnsmasq reads some


@dataclass(frozen=True, slots=True)
class Orders:
    """What who looks after the processes is told. ``dnsmasq`` and ``setpriv`` are paths of programs; ``lock`` is an
    open descriptor, and for the supervisor alone.

    ``source``: the site's own configuration, which a confirmed change is written to; ``site`` its copy that the
    processes read. ``group`` and ``writers``: who may open the control socket, and which users it obeys besides root.
    ``tls_port`` None: no https for guests. ``certificate``: the file that guest-tls is started again for when it
    changes, ``key`` its key; ``staff_certificate`` and ``staff_key``: None where the staff pages make their own.
    ``refresh``: the command that writes dnsmasq's configuration again (None: nothing in it depends on time).
    """

    run: str
    data: str
    site: str
    source: str
    user: str
    staff_user: str
    group: int
    writers: tuple[int, ...]
    timezone: str
    dnsmasq: str
    dnsmasq_user: str
    dnsmasq_group: str
    setpriv: str
    port: int
    tls_port: int | None
    staff_port: int
    keep: bool
    lock: int
    certificate: str | None = None
    key: str | None = None
    staff_certificate: str | None = None
    staff_key: str | None = None
    refresh: tuple[str, ...] | None = None


def encode(orders: Orders) -> str:
    return json.dumps(asdict(orders))


def decode(text: str) -> Orders:
    told = json.loads(text)
    told["writers"] = tuple(told["writers"])
    told["refresh"] = tuple(told["refresh"]) if told["refresh"] else None
    return Orders(**told)


def put(run: Path, name: str, content: str | bytes, group: int) -> None:
    """Write one of CONFIGURATIONS; ``group`` is the portal's. Raises OSError."""
    data = content.encode() if isinstance(content, str) else content
    if name == "site.toml":
        wholefile.write(run / name, data, _SITE_MODE, (-1, group))
    else:
        wholefile.write(run / name, data)


def housekeeping(orders: Orders, supervisor: int) -> tuple[str, ...]:
    """What runs once an hour, and does not outlive process ``supervisor``."""
    told = {"site": orders.site, "run": orders.run, "data": orders.data, "user": orders.staff_user}
    return python("portal.housekeeping", json.dumps({**told, "parent": supervisor}))


def programs(orders: Orders, supervisor: int) -> list[Program]:
    """The gateway's processes in the order in which they start. None of them outlives process ``supervisor``.

    netctl dies by SIGKILL, so that what is in the kernel stays and nobody is cut off: the next one takes it over.
    dnsmasq never is root: it gets its capabilities beforehand, because the kernel forgets the tie to the parent when a
    process changes its user.
    """
    run, privileges = Path(orders.run), "-all,+net_admin,+net_raw,+net_bind_service"
    dnsmasq_as = (
        *("--reuid", orders.dnsmasq_user, "--regid", orders.dnsmasq_group, "--clear-groups", "--no-new-privs"),
        *(f"--{kind}={privileges}" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
    )

    def portal(role: str, user: str) -> tuple[str, ...]:
        told = {"site": orders.site, "run": orders.run, "data": orders.data, "user": user, "parent": supervisor}
        return python("portal.serve", json.dumps({"role": role, **told}))

    keep = ("--keep",) if orders.keep else ()
    netctl = python("netctl", "daemon", "--config", str(run / "netctl.json"), *keep)
    dnsmasq = (orders.dnsmasq, "--keep-in-foreground", f"--conf-file={run / 'dnsmasq.conf'}")
    found = [
        Program("netctl", (orders.setpriv, "--pdeathsig", "KILL", "--", *netctl), 20, renew_by=signal.SIGKILL),
        Program("dnsmasq", (orders.setpriv, "--pdeathsig", "TERM", *dnsmasq_as, "--", *dnsmasq), 3),
        Program("meter", portal("meter", orders.user), 10),
        Program("guest", portal("guest", orders.user), 5, orders.port),
    ]
    if orders.tls_port is not None:
        files = _files(orders.certificate, orders.key)
        found.append(Program("guest-tls", portal("guest-tls", orders.user), 5, orders.tls_port, credentials=files))
    files = _files(orders.staff_certificate, orders.staff_key)
    return [*found, Program("staff", portal("staff", orders.staff_user), 5, orders.staff_port, credentials=files)]


def _files(certificate: str | None, key: str | None) -> tuple[tuple[str, str], ...]:
    return () if certificate is None or key is None else (("certificate", certificate), ("key", key))
