"""Who comes in as whom, and who must go for it: portal.domain.people."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portal.domain.model import Refusal
from portal.domain.people import Bound, Joining, Online, Way, join

A, B, C, D = (f"02:00:00:00:00:0{number}" for number in range(4))
macs = st.sampled_from([A, B, C, D])
onlines = st.lists(
    st.builds(Online, st.integers(1, 99), macs, st.integers(0, 99).map(float)), unique_by=lambda online: online.mac
)
bounds = st.lists(st.builds(Bound, macs, st.integers(0, 99).map(float)), unique_by=lambda device: device.mac)


@given(macs, st.sampled_from(Way), st.integers(1, 4), onlines, st.none() | bounds)
def test_afterwards_nobody_has_more_devices_than_allowed(
    mac: str, way: Way, limit: int, online: list[Online], bound: list[Bound] | None
) -> None:
    joining = join(mac, way, limit, online, bound)
    if joining.refusal is not None:
        assert joining == Joining(joining.refusal), "who is refused changes nothing"
        return
    assert {*joining.moved} <= {session for session in online if session.mac != mac}
    if way is Way.RULE:
        assert joining == Joining()
        return
    stay = {session.mac for session in online if session not in joining.moved}
    assert len(stay | {mac}) <= limit
    assert not joining.moved or len(stay | {mac}) == limit, "nobody goes for nothing"
    last_active = [session.active_boot_s for session in online if session.mac in stay - {mac}]
    assert all(moved.active_boot_s <= active for moved in joining.moved for active in last_active)
    if bound is not None:
        before = {device.mac for device in bound}
        after = (before - {joining.unbind}) | ({mac} if joining.bind else set())
        assert mac in after
        assert len(after) <= max(limit, len(before))
        assert joining.bind == (mac not in before)
        assert joining.unbind is None or joining.unbind in before - {mac}


@given(macs, st.integers(1, 4), onlines, st.none() | bounds, st.sampled_from([Way.TAP, Way.RETURN]))
def test_the_return_code_always_opens(
    mac: str, limit: int, online: list[Online], bound: list[Bound] | None, way: Way
) -> None:
    assert join(mac, way, limit, online, bound).refusal is None


def test_a_return_code_moves_the_one_that_was_idle_longest() -> None:
    online = [Online(1, A, 50.0), Online(2, B, 20.0), Online(3, C, 90.0)]
    assert join(D, Way.RETURN, 3, online).moved == (online[1],)
    assert join(D, Way.RETURN, 4, online) == Joining()
    assert join(B, Way.RETURN, 3, online) == Joining(), "it is online already"
    assert join(D, Way.RETURN, 2, online).moved == (online[1], online[0]), "the limit was lowered meanwhile"


def test_a_voucher_of_two_lets_two_in() -> None:
    """Each row that is written here is one that the next decision sees: the store decides in one transaction each."""
    bound: list[Bound] = []
    outcomes = []
    for mac in (A, B, C, A, D):
        joining = join(mac, Way.VOUCHER, 2, [Online(n, device.mac, 0.0) for n, device in enumerate(bound)], bound)
        outcomes.append(joining.refusal)
        if joining.bind:
            bound.append(Bound(mac, 0.0))
    assert outcomes == [None, None, Refusal.CODE_USED, None, Refusal.CODE_USED]
    assert [device.mac for device in bound] == [A, B]


def test_a_return_code_takes_the_moved_device_s_place_in_the_voucher() -> None:
    online = [Online(1, A, 50.0), Online(2, B, 20.0)]
    bound = [Bound(A, 1.0), Bound(B, 9.0)]
    assert join(C, Way.RETURN, 2, online, bound) == Joining(moved=(online[1],), bind=True, unbind=B)


def test_or_that_of_the_device_that_is_away_longest() -> None:
    """A phone with a new random MAC: the old one is bound, and will never be seen again."""
    bound = [Bound(A, 30.0), Bound(B, 10.0), Bound(C, 20.0)]
    assert join(D, Way.RETURN, 3, [], bound) == Joining(bind=True, unbind=B)
    assert join(D, Way.RETURN, 3, [Online(1, B, 5.0)], bound) == Joining(bind=True, unbind=C)
    assert join(D, Way.RETURN, 4, [Online(1, B, 5.0)], bound) == Joining(bind=True)


def test_an_account_with_all_devices_online_takes_no_more() -> None:
    online = [Online(1, A, 50.0), Online(2, B, 20.0)]
    assert join(C, Way.PASSWORD, 2, online).refusal is Refusal.DEVICES
    assert join(B, Way.PASSWORD, 2, online) == Joining()
    assert join(C, Way.PASSWORD, 3, online) == Joining()


def test_what_an_operator_allowed_counts_nobody() -> None:
    assert join(C, Way.RULE, 1, [Online(1, A, 50.0)]) == Joining()
