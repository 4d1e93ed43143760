"""The queue of a full site is fair: portal.domain.waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portal.domain import waiting
from portal.domain.model import Place
from portal.domain.waiting import CALLED_KEPT_S, UNSEEN_KEPT_S, Turn, Waiter

moments = (st.integers(0, 300) | st.sampled_from([300 - int(CALLED_KEPT_S), 300 - int(UNSEEN_KEPT_S)])).map(float)


@st.composite
def queues(draw: st.DrawFn) -> list[Waiter]:
    found = []
    for number in draw(st.lists(st.integers(0, 20), unique=True)):
        since, seen, called = sorted(draw(st.tuples(moments, moments, moments)))
        found.append(Waiter(f"02:00:00:00:00:{number:02x}", since, seen, draw(st.sampled_from([None, called]))))
    return found


@given(queues(), st.none() | st.integers(1, 12), st.integers(0, 14), st.just(300.0))
def test_a_turn(queue: list[Waiter], capacity: int | None, running: int, now: float) -> None:
    turn = waiting.turn(queue, capacity, running, now)
    after = waiting.after(queue, turn, now)
    by_mac = {waiter.mac: waiter for waiter in queue}
    for waiter in queue:
        kept_since, kept_s = (
            (waiter.seen_boot_s, UNSEEN_KEPT_S)
            if waiter.called_boot_s is None
            else (waiter.called_boot_s, CALLED_KEPT_S)
        )
        assert (waiter.mac in turn.lost) == (now - kept_since >= kept_s)
    called_before = sum(w.called_boot_s is not None and w.mac not in turn.lost for w in queue)
    called = [waiter for waiter in after if waiter.called_boot_s is not None]
    assert len(called) == called_before + len(turn.called)
    if capacity is not None:
        assert running + len(called) <= max(capacity, running + called_before)
    uncalled = [waiter.since_boot_s for waiter in after if waiter.called_boot_s is None]
    if uncalled:
        assert capacity is not None
        assert running + len(called) >= capacity, "nobody waits for a place that is free"
        assert all(by_mac[mac].since_boot_s <= since for mac in turn.called for since in uncalled), "longest first"
    assert waiting.turn(after, capacity, running, now) == Turn((), ()), "a turn is done once"
    for waiter in after:
        place = waiting.place(after, waiter.mac)
        assert place is not None
        assert (
            place.called
            == (waiter.called_boot_s is not None)
            == waiting.may_enter(after, capacity, running, waiter.mac)
        )
        if not place.called:
            assert place.ahead <= sum(since <= waiter.since_boot_s for since in uncalled) - 1
    assert waiting.place(after, "somebody else") is None
    assert waiting.may_enter(after, capacity, running, "somebody else") is not waiting.is_full(after, capacity, running)


def test_places_count_from_the_front() -> None:
    queue = [Waiter("c", 3.0, 9.0), Waiter("a", 1.0, 9.0), Waiter("b", 2.0, 9.0), Waiter("k", 5.0, 9.0, 8.0)]
    assert [waiting.place(queue, mac) for mac in "abck"] == [
        Place(0, False), Place(1, False), Place(2, False), Place(0, True, 8.0 + 120)
    ]  # fmt: skip


@given(st.data())
def test_nobody_starves(data: st.DataObject) -> None:
    """Whoever keeps the page open gets in, whatever all others do: newcomers, no-shows, people who never leave."""
    capacity = data.draw(st.integers(1, 4))
    online = {f"online {n}" for n in range(capacity)}
    queue = [Waiter(f"before {n}", float(n), 0.0) for n in range(data.draw(st.integers(0, 5)))]
    ahead = len(queue)
    queue.append(Waiter("patient", 10.0, 10.0))
    for number in range((ahead + 2) * 3):
        now = 60.0 * (number + 1)
        queue = [
            waiter._replace(seen_boot_s=now) if waiter.mac == "patient" or data.draw(st.booleans()) else waiter
            for waiter in queue
        ]
        queue.append(Waiter(f"new {number}", now, now))
        online.discard(next(iter(sorted(online)), ""))
        turn = waiting.turn(queue, capacity, len(online), now)
        queue = waiting.after(queue, turn, now)
        taps = [w.mac for w in queue if w.mac == "patient" or data.draw(st.booleans())]
        for mac in taps:
            if waiting.may_enter(queue, capacity, len(online), mac):
                online.add(mac)
                queue = [waiter for waiter in queue if waiter.mac != mac]
            called = sum(waiter.called_boot_s is not None for waiter in queue)
            assert len(online) + called <= capacity
        if "patient" in online:
            return
    raise AssertionError(f"still waiting, with {ahead} before")


def test_a_lowered_capacity_breaks_no_promise() -> None:
    queue = [Waiter("called", 0.0, 0.0, 10.0), Waiter("next", 1.0, 10.0)]
    assert waiting.turn(queue, 3, 5, 11.0) == Turn((), ())
    assert waiting.may_enter(queue, 3, 5, "called")
    assert not waiting.may_enter(queue, 3, 5, "next")
