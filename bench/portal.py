"""Times, CPU, page size, storms and memory of the whole gateway in the village. It must not know datapath rates."""

from __future__ import annotations

import itertools
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial

from bench.crowd import crowd, go, log_out, on_disk, online, plain
from bench.office import check_grants, furnish, office_of
from bench.result import Reach, Result
from bench.staff_pages import look_at_all
from bench.visits import Visit, requests_only
from tests.village.gateway import GerbangGateway, name_of
from tests.village.internet import WEB
from tests.village.phone import Phone
from tests.village.village import Village

WARM_LOGINS = 5
SINGLE_PHONES = 20
SINGLE_ROUNDS = 5
STORM_ROUNDS = {200: 3, 500: 2}
STORM_REACH_S = {200: 1.7, 500: 5.0}
STORM_TIMEOUT_S = 60.0
# Each phone has three IPv6 addresses, and the kernel keeps 1024 unpinned neighbours for all namespaces together.
IPV6_PHONES = 200
SETTLE_S = 12.0


def _one_by_one(phones: Sequence[Phone]) -> list[Visit]:
    """Each phone on its way online after the one before; raises if one does not come through."""
    done = []
    for phone in phones:
        (visit,) = go([phone], online)
        if visit.error:
            raise RuntimeError(f"phone {phone.number}: {visit.error}")
        done.append(visit)
    return done


def _cpu_s(village: Village) -> float:
    return sum(process.cpu_s for process in village.gateway.processes())  # type: ignore[attr-defined]


def _plain_requests_ms(count: int, requests: int) -> float:
    """The same number of requests through plain NAT, one client, answered by the Internet host: median."""
    with crowd(1, gateway="nat") as village:
        script = partial(requests_only, internet_ip=WEB, count=requests)
        times = [v.ms(v.online_s) for _ in range(count) for v in go(village.phones, script)]
    return statistics.median(times)


def single() -> Iterator[Result]:
    """One client at a time: page_ms, login_ms, cpu_per_login_ms, page_gzip_bytes, page_requests."""
    page_baseline, login_baseline = _plain_requests_ms(30, 2), _plain_requests_ms(30, 4)
    with crowd(SINGLE_PHONES) as village:
        phones, url = village.phones, village.gateway.url
        _one_by_one(phones[:WARM_LOGINS])
        log_out(phones[:WARM_LOGINS], url)
        every: list[Visit] = []
        cpu_ms: list[float] = []
        for _ in range(SINGLE_ROUNDS):
            before_s = _cpu_s(village)
            every += _one_by_one(phones)
            cpu_ms.append((_cpu_s(village) - before_s) * 1000 / len(phones))
            log_out(phones, url)
    pages = [visit.ms(visit.page_s) for visit in every]
    logins = [visit.ms(visit.online_s) for visit in every]
    yield Result(
        "page_ms", statistics.median(pages), "ms", Reach(at_most=6), page_baseline, pages, "probe to whole page, median"
    )
    yield Result(
        "login_ms",
        statistics.median(logins),
        "ms",
        Reach(at_most=20),
        login_baseline,
        logins,
        "probe, page, tap, durable commit, kernel open, first byte from the Internet; median",
    )
    yield Result(
        "cpu_per_login_ms",
        statistics.fmean(cpu_ms),
        "ms",
        Reach(at_most=12),
        samples=cpu_ms,
        note=f"all processes, user and system; each sample is {SINGLE_PHONES} logins",
    )
    page = every[-1].page
    sizes = sorted({visit.page_bytes for visit in every})
    yield Result("page_gzip_bytes", sizes[-1], "bytes", Reach(at_most=8192), samples=sizes)
    yield Result(
        "page_requests", 1 + len(subresources(page)), "requests", Reach(1, 1), note=", ".join(subresources(page))
    )


def subresources(page: str) -> list[str]:
    """What a browser would fetch besides the page itself."""
    found = re.findall(r"""<(?:img|script|iframe|source|audio|video|embed)\b[^>]*\bsrc=["']?([^"'\s>]+)""", page)
    links = [
        tag for tag in re.findall(r"<link\b[^>]*>", page) if re.search(r"rel=[\"']?(?:stylesheet|icon|preload)", tag)
    ]
    found += [href for tag in links for href in re.findall(r"""href=["']?([^"'\s>]+)""", tag)]
    found += re.findall(r"""(?:url\(|@import\s)["']?([^"')\s]+)""", page)
    return [address for address in found if not address.startswith(("data:", "#"))]


def storm(count: int) -> Iterator[Result]:
    """``count`` phones at the same moment; the last one online, and how many never were."""
    ipv6 = count <= IPV6_PHONES
    with crowd(count, gateway="nat", ipv6=ipv6) as village:
        baseline_s = max(visit.online_s - visit.started_s for visit in go(village.phones, plain))
    with on_disk() as data, crowd(count, ipv6=ipv6, data_dir=data) as village:
        _one_by_one(village.phones[:WARM_LOGINS])
        log_out(village.phones[:WARM_LOGINS], village.gateway.url)
        last_s, failures = [], []
        for round_number in range(STORM_ROUNDS[count]):
            if round_number:
                log_out(village.phones, village.gateway.url)
            visits = go(village.phones, online, timeout_s=STORM_TIMEOUT_S)
            failures += [visit.error for visit in visits if visit.error]
            # a phone that failed counts as if it had come last of all, at the deadline
            last_s.append(max(STORM_TIMEOUT_S if v.error else v.online_s - v.started_s for v in visits))
        note = "probe, page, tap, online; median of the runs' last phone" + ("" if ipv6 else "; IPv4 only")
        yield Result(
            f"storm_{count}_s",
            statistics.median(last_s),
            "s",
            Reach(at_most=STORM_REACH_S[count]),
            baseline_s,
            last_s,
            note,
        )
        reasons = "; ".join(f"{n}x {reason}" for reason, n in itertools.islice(_count(failures).items(), 3))
        yield Result(f"storm_{count}_failures", len(failures), "phones", Reach(0, 0), 0, note=reasons)
        if count == max(STORM_ROUNDS):
            yield _memory(village, count)
            with office_of(village, data) as at:
                furnish(at)
                look_at_all(at, 1)
            yield _memory(village, count, "_staff", "after every staff page of every role; ")


def _count(reasons: Sequence[str | None]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for reason in reasons:
        counted[reason or ""] = counted.get(reason or "", 0) + 1
    return counted


def _memory(village: Village, sessions: int, after: str = "", note: str = "") -> Result:
    """PSS of all gateway processes with this many sessions, after the meter has been round."""
    time.sleep(SETTLE_S)
    gateway = village.gateway
    assert isinstance(gateway, GerbangGateway)
    check_grants(gateway, sessions)
    sizes = [(name_of(process), process.pss_kib / 1024) for process in gateway.processes()]
    each = ", ".join(f"{name} {size:.1f}" for name, size in sizes)
    return Result(
        f"memory_pss_{sessions}_sessions{after}_mb",
        sum(size for _, size in sizes) * 1024 * 1024 / 1_000_000,
        "MB",
        Reach(at_most=160),
        samples=[size for _, size in sizes],
        note=f"{note}{len(sizes)} processes, MiB: {each}",
    )
