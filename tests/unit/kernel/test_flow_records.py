"""Records of connections on their way from the process that hears of them: whole, or counted."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from netctl.kernel.base import Flow, Sighting
from netctl.kernel.flows import RECORD, Outlet, pack, unpack

PORT = st.integers(0, 65535)


def sightings(version: int) -> st.SearchStrategy[Sighting]:
    address = st.ip_addresses(v=version).map(str)
    return st.builds(
        Sighting,
        st.sampled_from(Flow),
        st.integers(0, 1 << 50),
        st.integers(0, 255),
        address,
        PORT,
        address,
        PORT,
        address,
        PORT,
    )


ANY = st.one_of(sightings(4), sightings(6))


@given(st.lists(st.tuples(ANY, st.integers(0, 1000))))
def test_what_is_packed_is_unpacked(several: list[tuple[Sighting, int]]) -> None:
    found, lost = unpack(b"".join(pack(sighting, missed) for sighting, missed in several))
    assert lost == sum(missed for _, missed in several)
    assert [s.flow for s in found] == [s.flow for s, _ in several]
    for got, (put, _) in zip(found, several, strict=True):
        assert [ipaddress.ip_address(a) for a in (got.inner, got.outer, got.remote)] == [
            ipaddress.ip_address(a) for a in (put.inner, put.outer, put.remote)
        ]
        assert (got.at_boot_ms, got.protocol, got.inner_port, got.outer_port, got.remote_port) == (
            put.at_boot_ms,
            put.protocol,
            put.inner_port,
            put.outer_port,
            put.remote_port,
        )


@given(
    st.lists(st.one_of(ANY, st.integers(1, 50), st.none()), max_size=300),
    st.lists(st.booleans(), max_size=40),
)
def test_what_does_not_fit_into_the_pipe_is_counted_exactly(
    story: list[Sighting | int | None], room: list[bool]
) -> None:
    """Sightings, losses told by the kernel, pauses; and whether the pipe has room at each write."""
    passed = bytearray()
    waiting = iter(room)

    def write(data: bytes) -> None:
        if not next(waiting, True):
            raise BlockingIOError
        assert len(data) <= 4096
        passed.extend(data)

    outlet = Outlet(write)
    for step in story:
        match step:
            case None:
                outlet.flush()
            case int():
                outlet.lose(step)
            case _:
                outlet.put(step)
    for _ in range(len(room) + 2):
        outlet.flush()
    found, lost = unpack(bytes(passed))
    put = sum(isinstance(step, Sighting) for step in story)
    missed = sum(step for step in story if isinstance(step, int))
    assert len(found) + lost == put + missed
    assert len(passed) % RECORD.size == 0
