"""Goodput against the plan, latency under that load, and fairness on a full link. It must not know the portal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from bench import traffic
from bench.line import INTERNET_ADDRESS, ClientHost, Line, grant, netctl_only, plain_nat
from bench.result import Reach, Result

RATES_MBIT = (1, 2, 5, 10, 20)
LATENCY_REACH_MS = {2: 45.0, 5: 30.0, 10: 15.0}
WAYS = ("down", "up")
UDP_OVERLOAD = 1.2
WARM_S = 2.0
GOODPUT_S = 5.0
_ports = itertools.count(20_000)


def _tcp(parts: Line, client: ClientHost, way: str) -> traffic.Flow:
    ends = (client.ns, parts.internet) if way == "up" else (parts.internet, client.ns)
    return traffic.tcp_flow(*ends, client=client.ns, server_ip=INTERNET_ADDRESS, port=next(_ports))


def _udp(parts: Line, client: ClientHost, way: str, kbit: float) -> traffic.Flow:
    ends = (client.ns, parts.internet) if way == "up" else (parts.internet, client.ns)
    return traffic.udp_flow(
        *ends, client=client.ns, client_ip=client.ip, server_ip=INTERNET_ADDRESS, port=next(_ports), kbit=kbit
    )


def _echo(parts: Line, client: ClientHost) -> traffic.Echo:
    return traffic.echo(client.ns, client.ip, parts.internet, INTERNET_ADDRESS, next(_ports))


def _idle_ms(parts: Line) -> float:
    echo = _echo(parts, parts.clients[0])
    traffic.run([], warm_s=0.2, seconds=1.5, echo=echo)
    return traffic.mean(echo.round_trips_s) * 1000


def goodput() -> Iterator[Result]:
    """Payload bits that arrive over the plan's, one user alone, each protocol and way."""
    with netctl_only([0]) as shaped:
        client = shaped.clients[0]
        for protocol, way in itertools.product(("tcp", "udp"), WAYS):
            ratios = []
            for mbit in RATES_MBIT:
                kbit = mbit * 1000
                shaped.admit([grant(0, down_kbit=kbit, up_kbit=kbit)])
                if protocol == "tcp":
                    flow = _tcp(shaped, client, way)
                else:
                    flow = _udp(shaped, client, way, kbit * UDP_OVERLOAD)
                traffic.run([flow], warm_s=WARM_S, seconds=GOODPUT_S)
                ratios.append(traffic.goodput_kbit([flow]) / kbit)
            worst = max(ratios, key=lambda ratio: abs(ratio - 1))
            each = ", ".join(f"{mbit}: {ratio:.3f}" for mbit, ratio in zip(RATES_MBIT, ratios, strict=True))
            yield Result(
                f"goodput_{protocol}_{way}",
                worst,
                "of the plan",
                Reach(0.98, 1.02),
                samples=ratios,
                note=f"the worst of {each} (Mbit/s: ratio)",
            )


def latency() -> Iterator[Result]:
    """Mean round trip of small packets of a user whose TCP fills its plan, less the idle round trip; the worse way."""
    with plain_nat([0]) as plain:
        plain_ms = _idle_ms(plain)
    with netctl_only([0]) as shaped:
        client = shaped.clients[0]
        present = {feature.name for feature in shaped.netctl.status().features if feature.present}
        leaf = next((name for name in ("cake", "fq_codel") if name in present), "bfifo")
        for mbit, reach_ms in LATENCY_REACH_MS.items():
            shaped.admit([grant(0, down_kbit=mbit * 1000, up_kbit=mbit * 1000)])
            idle_ms = _idle_ms(shaped)
            added: dict[str, list[float]] = {}
            for way in WAYS:
                echo = _echo(shaped, client)
                traffic.run([_tcp(shaped, client, way)], warm_s=WARM_S, seconds=4, echo=echo)
                added[way] = [trip * 1000 - idle_ms for trip in echo.round_trips_s]
            worse = max(WAYS, key=lambda way: traffic.mean(added[way]))
            yield Result(
                f"latency_under_load_{mbit}mbit",
                traffic.mean(added[worse]),
                "ms added",
                Reach(at_most=reach_ms),
                baseline=plain_ms,
                samples=added[worse],
                note=f"{worse}, TCP, leaf {leaf}; most {max(added[worse]):.0f} ms; the baseline is the idle round trip",
            )


def jain(rates: list[float]) -> float:
    """Jain's fairness index (DEC-TR-301): 1 when all are equal, 1/n when one has everything."""
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


def fairness() -> Iterator[Result]:
    """Ten users with the default guarantee fill a 20 Mbit/s link; one of them opens 16 flows."""
    users, link_kbit, flows_of_greedy = 10, 20_000, 16
    with netctl_only(range(users), link_down_kbit=link_kbit, link_up_kbit=link_kbit) as shaped:
        shaped.admit([grant(number, down_kbit=10_000, up_kbit=10_000) for number in range(users)])
        for way in WAYS:
            flows = [
                [_tcp(shaped, client, way) for _ in range(flows_of_greedy if number == 0 else 1)]
                for number, client in enumerate(shaped.clients)
            ]
            traffic.run([flow for own in flows for flow in own], warm_s=3, seconds=12)
            rates = [traffic.goodput_kbit(own) for own in flows]
            yield Result(
                f"fairness_{way}",
                jain(rates),
                "Jain",
                Reach(at_least=0.99),
                samples=[rate / 1000 for rate in rates],
                note=f"{sum(rates) / 1000:.1f} Mbit/s together, {rates[0] / 1000:.2f} of it for the user with 16 flows",
            )
