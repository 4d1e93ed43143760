"""One phone's story, step by step: join, portal, tap, shaped and counted Internet, log out, cut off.

Each step acts as a phone does, holds what it sees against what must be, and says it in a line. It must not print.
"""

from __future__ import annotations

import errno
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.village import measure
from tests.village.http import Response, first_form
from tests.village.internet import WEB, WEB6
from tests.village.phone import PROBE, Phone
from tests.village.village import Surroundings

DOWN_KBIT, UP_KBIT = 5000, 2000
PLAN = {"id": "warga", "name": "Warga", "down_kbit": DOWN_KBIT, "up_kbit": UP_KBIT}
PAGE_LIMIT_BYTES = 14 * 1024  # one initial TCP window; the project's aim is 8 KB
REFUSED_WITHIN_S = 0.5
MTU = 1500
RATE_BAND = (0.93, 1.05)  # of the plan; the bench measures it closer


class StepFailed(AssertionError):
    """A step did not see what must be."""


def expect(holds: bool, sentence: str) -> None:
    if not holds:
        raise StepFailed(sentence)


class Counting(Protocol):
    """What the steps ask a gateway: what it counts, what its queues dropped, what its database holds."""

    def usage(self, mac: str, ip: str | None = None) -> tuple[int, int]: ...
    def dropped_packets(self) -> int: ...
    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]: ...


@dataclass
class Scene:
    """What the steps share. ``measure_s``: a rate's; longer where the machine stands still now and then."""

    village: Surroundings
    phone: Phone
    gateway: Counting
    probe: Response | None = None
    page: Response | None = None
    measure_s: float = 3.0
    tap_s: float = 0.0
    portal: str = ""
    seen_up: int = 0
    seen_down: int = 0
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """``play`` returns the line that a person reads, or raises StepFailed (or what the network raised)."""

    name: str
    play: Callable[[Scene], str]


STEPS: list[Step] = []


def step(name: str) -> Callable[[Callable[[Scene], str]], Callable[[Scene], str]]:
    def remember(play: Callable[[Scene], str]) -> Callable[[Scene], str]:
        STEPS.append(Step(name, play))
        return play

    return remember


@step("join")
def join(scene: Scene) -> str:
    lease = scene.phone.dhcp()
    expect(
        lease.router == lease.dns[0] == "10.77.0.1", f"router {lease.router} and DNS {lease.dns} are not the gateway"
    )
    expect(lease.captive_portal is None, f"option 114 says {lease.captive_portal} though no certificate is configured")
    return f"DHCP lease in {_ms(lease.elapsed_s)}: {lease.address}/{lease.prefix_length}, router and DNS {lease.router}"


@step("closed")
def closed(scene: Scene) -> str:
    """Everything but the portal refuses, and at once: a phone that waits for a timeout is a phone that gives up."""
    phone = scene.phone
    https_s = refused(phone, WEB, 443)
    expect(measure.ping(phone, WEB, count=1, timeout_s=0.3) == [None], "a ping passed before login")
    said = f"before the tap, TCP 443 is refused after {_ms(https_s)}, ping gets nothing"
    if scene.village.ipv6:
        phone.wait_ipv6()
        six_s = refused(phone, WEB6, 443)
        said += f", IPv6 is refused after {_ms(six_s)}"
    return said


def refused(phone: Phone, address: str, port: int) -> float:
    """Seconds until the kernel says no; StepFailed if it says yes or nothing."""
    started_s = time.monotonic()
    try:
        phone.connect(address, port, timeout_s=3).close()
    except TimeoutError:
        raise StepFailed(f"{address} port {port} gives no answer at all: packets are dropped, not refused") from None
    except OSError as error:
        expect(error.errno in (errno.ECONNREFUSED, errno.EACCES, errno.ENETUNREACH, errno.EHOSTUNREACH), str(error))
        elapsed_s = time.monotonic() - started_s
        expect(elapsed_s < REFUSED_WITHIN_S, f"{address} port {port} is refused only after {elapsed_s:.1f} s")
        return elapsed_s
    raise StepFailed(f"{address} port {port} is open before login")


@step("probe")
def probe(scene: Scene) -> str:
    scene.probe = answer = scene.phone.http(PROBE)
    expect(answer.status == 302, f"the probe got {answer.status}, not 302")
    expect("no-store" in answer.headers.get("cache-control", ""), "the redirect may be cached")
    return f'Android\'s probe gets 302 to {answer.location} in {_ms(answer.elapsed_s)}: the phone says "Sign in"'


@step("page")
def page(scene: Scene) -> str:
    assert scene.probe is not None
    scene.page = answer = scene.phone.http(scene.probe.location)
    expect(answer.status == 200, f"the page got {answer.status}")
    expect(answer.wire_bytes <= PAGE_LIMIT_BYTES, f"the page weighs {answer.wire_bytes} bytes")
    foreign = re.findall(r'(?:src|href)="((?:https?:)?//[^"]*)', answer.text)
    expect(not foreign, f"the page loads from elsewhere: {foreign}")
    expect("<script" not in answer.text, "the page needs scripts")
    return f"the page comes in {_ms(answer.elapsed_s)}: one request, {answer.wire_bytes} bytes, no scripts"


@step("tap")
def tap(scene: Scene) -> str:
    assert scene.page is not None
    form = first_form(scene.page)
    started_s = time.monotonic()
    post = scene.phone.http(form.action, method="POST", body=form.body)
    expect(post.status == 303, f"the tap got {post.status}: {post.text[:200]}")
    first = scene.phone.http(f"http://{scene.village.internet.host}/bytes?n=1")
    scene.tap_s = time.monotonic() - started_s
    expect(first.body == b"\0", f"the first byte from the Internet did not come: {first.status}")
    status = scene.phone.http(post.location)
    expect(status.status == 200, f"the status page got {status.status}")
    scene.portal = post.location
    return f"303 after {_ms(post.elapsed_s)}, first byte from the Internet {_ms(scene.tap_s)} after the tap"


@step("online")
def online(scene: Scene) -> str:
    answer = scene.phone.http(PROBE)
    expect(answer.status == 204, f"the probe got {answer.status}, not 204")
    scene.phone.connect(WEB, 443).close()
    said = f'Android\'s probe gets 204 in {_ms(answer.elapsed_s)}: the phone says "Connected"'
    if scene.village.ipv6:
        six = scene.phone.http(PROBE, family=6)
        expect(six.status == 204, f"the probe over IPv6 got {six.status}")
        said += "; over IPv6 too"
    return said


@step("download")
def download(scene: Scene) -> str:
    return _against_plan(scene, "down", measure.tcp_down, DOWN_KBIT)


@step("upload")
def upload(scene: Scene) -> str:
    return _against_plan(scene, "up", measure.tcp_up, UP_KBIT)


def _against_plan(scene: Scene, direction: str, run: Callable[..., measure.Rate], plan_kbit: int) -> str:
    plan = plan_kbit / 1000
    before, dropped_before = scene.gateway.usage(scene.phone.mac), scene.gateway.dropped_packets()
    with measure.Tap(scene.phone) as seen:
        rate = run(scene.phone, scene.village.internet.host, scene.measure_s).mbit_s
        time.sleep(0.2)  # what the shaper still holds
    after = scene.gateway.usage(scene.phone.mac)
    dropped = scene.gateway.dropped_packets() - dropped_before
    up, down = after[0] - before[0], after[1] - before[1]
    scene.seen_up += seen.up_bytes
    scene.seen_down += seen.down_bytes
    share = rate / plan
    expect(RATE_BAND[0] <= share <= RATE_BAND[1], f"{rate:.2f} Mbit/s {direction}, but the plan says {plan:g}")
    counted, total = up + down, seen.up_bytes + seen.down_bytes
    # What a full queue drops, to hold the rate, is not counted: nobody got it. Of that, the phone sees what it sent.
    expect(down == seen.down_bytes, f"the gateway counted {down} bytes down, the phone saw {seen.down_bytes}")
    lost = seen.up_bytes - up
    expect(0 <= lost <= dropped * MTU, f"of {seen.up_bytes} bytes up {up} were counted, {dropped} packets dropped")
    said = f"{rate:.2f} Mbit/s of the plan's {plan:g} ({share:.0%}); {counted:,} bytes counted, the phone saw {total:,}"
    return said + (f" and {dropped} packets were dropped to hold the rate" if dropped else "")


@step("counted")
def counted(scene: Scene) -> str:
    """Kernel and phone must agree to the byte."""
    before = scene.gateway.usage(scene.phone.mac)
    with measure.Tap(scene.phone) as seen:
        for _ in range(25):
            scene.phone.http(f"http://{scene.village.internet.host}/bytes?n=4000")
        time.sleep(0.2)
    after = scene.gateway.usage(scene.phone.mac)
    got, saw = (after[0] - before[0], after[1] - before[1]), (seen.up_bytes, seen.down_bytes)
    expect(got == saw, f"the gateway counted {got} bytes up and down, the phone saw {saw}")
    return f"at rest, to the byte: {got[0]:,} up and {got[1]:,} down on both sides"


@step("log out")
def log_out(scene: Scene) -> str:
    """In the middle of a download: the tap must stop it, not only refuse the next one."""
    phone = scene.phone
    sock = phone.connect(phone.resolve(scene.village.internet.host), 80)
    last = [time.monotonic()]
    stop = threading.Event()

    def read() -> None:
        sock.settimeout(0.2)
        while not stop.is_set():
            try:
                if not sock.recv(65536):
                    return
                last[0] = time.monotonic()
            except TimeoutError:
                continue
            except OSError:
                return

    with sock:
        sock.sendall(b"GET /bytes?seconds=20 HTTP/1.1\r\nHost: village\r\n\r\n")
        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.5)
        expect(time.monotonic() - last[0] < 0.3, "the download did not run")
        tapped_s = time.monotonic()
        answer = phone.logout(scene.portal)
        expect(answer.status == 303, f"logging out got {answer.status}")
        time.sleep(2.5)
        stop.set()
        reader.join()
    stopped_s = max(0.0, last[0] - tapped_s)
    expect(stopped_s < 2.0, f"the running download went on for {stopped_s:.1f} s")
    return f"303 after {_ms(answer.elapsed_s)}; the running download's last byte came {_ms(stopped_s)} after the tap"


@step("cut off")
def cut_off(scene: Scene) -> str:
    https_s = refused(scene.phone, WEB, 443)
    answer = scene.phone.http(PROBE)
    expect(answer.status == 302, f"the probe got {answer.status}, not 302")
    said = f"TCP 443 is refused after {_ms(https_s)}, the probe gets 302 again"
    if scene.village.ipv6:
        refused(scene.phone, WEB6, 443)
        said += ", IPv6 is refused"
    (row,) = scene.gateway.sql("SELECT * FROM session WHERE mac = ? ORDER BY id DESC LIMIT 1", scene.phone.mac)
    expect(row["end_reason"] == "logout", f"the session's end reason is {row['end_reason']}")
    expect(row["down_bytes"] >= scene.seen_down, f"the record holds {row['down_bytes']} bytes down")
    return f"{said}; on record: {row['down_bytes']:,} bytes down, {row['up_bytes']:,} up, ended by {row['end_reason']}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
