"""The check of the log's chain: any one alteration, deletion, exchange or cut is found, and the right entry named."""

from __future__ import annotations

import hashlib
import string
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from portal.domain.journal import GENESIS, Kind, Tomb, hash_of, text_of
from portal.domain.journalcheck import MAX_FINDINGS, Raw, Verdict, Wrong, pin, verify

kinds = st.sampled_from([kind for kind in Kind if kind not in (Kind.ERASURE, Kind.LOST, Kind.ACT)])
values = st.none() | st.integers(0, 1 << 40) | st.floats(0, 100) | st.text(string.printable, max_size=5)
bodies = st.dictionaries(st.sampled_from(["s", "up", "down", "plan", "state"]), values, max_size=3)


def chained(before: bytes, seq: int, kind: Kind, body: dict[str, Any], boot_ms: int = 0, wall_ms: int = 0) -> Raw:
    text = text_of(body)
    header = {"seq": seq, "kind": kind.value, "boot_id": "b", "boot_ms": boot_ms, "wall_ms": wall_ms}
    return Raw(**header, trusted=0, body=text, hash=hash_of(before, text, **header, trusted=False))


def log_of(said: list[tuple[Kind, dict[str, Any]]], before: bytes = GENESIS, first: int = 1) -> list[Raw]:
    made: list[Raw] = []
    for seq, (kind, body) in enumerate(said, first):
        made.append(chained(made[-1].hash if made else before, seq, kind, body, boot_ms=seq * 10, wall_ms=seq * 11))
    return made


logs = st.lists(st.tuples(kinds, bodies), min_size=1, max_size=12).map(log_of)


def first_of(verdict: Verdict) -> tuple[Wrong, int, int]:
    found = verdict.findings[0]
    return found.wrong, found.first, found.last


@given(logs)
def test_a_log_as_it_was_written_has_no_findings(log: list[Raw]) -> None:
    verdict = verify(log, heads=[(len(log), log[-1].hash)])
    assert (verdict.findings, verdict.more) == ((), 0)
    assert (verdict.entries, verdict.seq, verdict.hash) == (len(log), len(log), log[-1].hash)


@given(logs, st.data())
def test_any_altered_field_is_found_and_the_entry_named(log: list[Raw], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log) - 1))
    changes: dict[str, Any] = {
        "kind": data.draw(kinds).value,
        "boot_id": data.draw(st.text(max_size=3)),
        "boot_ms": data.draw(st.integers(0, 1000)),
        "wall_ms": data.draw(st.integers(0, 1000)),
        "trusted": data.draw(st.integers(0, 1)),
        "body": data.draw(bodies.map(text_of) | st.text(max_size=5)),
        "hash": data.draw(st.binary(min_size=32, max_size=32)),
    }
    name = data.draw(st.sampled_from(sorted(changes)))
    altered = log[at]._replace(**{name: changes[name]})
    assume(altered != log[at])
    verdict = verify([*log[:at], altered, *log[at + 1 :]])
    assert first_of(verdict) == (Wrong.ALTERED, at + 1, at + 1)
    assert verdict.findings[0].entry == altered


@given(logs, st.data())
def test_deleted_entries_are_named_unless_they_were_the_last_of_an_unknown_head(
    log: list[Raw], data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, len(log)))
    last = data.draw(st.integers(first, len(log)))
    left = [entry for entry in log if not first <= entry.seq <= last]
    verdict = verify(left, heads=[(len(log), log[-1].hash)])
    assert [(f.wrong, f.first, f.last) for f in verdict.findings] == [(Wrong.MISSING, first, last)]
    assert verdict.findings[0].entry == (log[last] if last < len(log) else None)
    assert bool(verify(left).findings) == (last < len(log))


@given(logs, st.data())
def test_contents_that_changed_places_are_found_at_the_first_place(log: list[Raw], data: st.DataObject) -> None:
    assume(len(log) > 1)
    a, b = sorted(data.draw(st.lists(st.integers(0, len(log) - 1), min_size=2, max_size=2, unique=True)))
    swapped = list(log)
    swapped[a], swapped[b] = log[b]._replace(seq=a + 1), log[a]._replace(seq=b + 1)
    found = first_of(verify(swapped))
    assert found == (Wrong.ORDER, a + 1, b + 1)


@given(logs, st.data())
def test_lines_that_changed_places_are_out_of_order(log: list[Raw], data: st.DataObject) -> None:
    assume(len(log) > 1)
    at = data.draw(st.integers(0, len(log) - 2))
    lines = [*log[:at], log[at + 1], log[at], *log[at + 2 :]]
    assert first_of(verify(lines)) == (Wrong.ORDER, at + 1, at + 1)


@given(logs, st.data())
def test_an_entry_told_twice_is_out_of_order(log: list[Raw], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log) - 1))
    assert first_of(verify([*log[: at + 1], *log[at:]])) == (Wrong.ORDER, at + 1, at + 1)


@given(logs, logs)
def test_another_log_of_the_same_length_is_not_the_one_whose_head_was_known(log: list[Raw], other: list[Raw]) -> None:
    assume(len(other) >= len(log) and other[len(log) - 1].hash != log[-1].hash)
    assert first_of(verify(other, heads=[(len(log), log[-1].hash)])) == (Wrong.HEAD, len(log), len(log))


@given(logs, st.data())
def test_a_hash_of_which_no_number_is_known_is_looked_for_throughout(log: list[Raw], data: st.DataObject) -> None:
    known = data.draw(st.sampled_from(log)).hash
    assert verify(log, heads=[(None, known), (len(log), log[-1].hash)]).findings == ()
    assert first_of(verify(log, heads=[(None, known), (None, bytes(32))])) == (Wrong.UNKNOWN, 1, len(log))
    left = [entry for entry in log if entry.hash != known]
    assert Wrong.UNKNOWN in {found.wrong for found in verify(left, heads=[(None, known)]).findings}


def erased(log: list[Raw], *ranges: tuple[int, int]) -> list[Raw | Tomb]:
    """Without some, with tombs in their place."""
    left: list[Raw | Tomb] = [entry for entry in log if not any(first <= entry.seq <= last for first, last in ranges)]
    left += [Tomb(first, last, log[last - 1].hash) for first, last in ranges]
    return sorted(left, key=lambda item: item.first if isinstance(item, Tomb) else item.seq)


def told(log: list[Raw], kind: Kind, **body: Any) -> list[Raw]:
    return [*log, chained(log[-1].hash, len(log) + 1, kind, body)]


TEN = log_of([(Kind.SAMPLE, {"online": number}) for number in range(10)])


def test_what_was_erased_is_accounted_for_by_the_entry_that_tells_of_it() -> None:
    log = told(TEN, Kind.ERASURE, **{"class": "samples", "before": "2026-01-01", "count": 5, "first": 2, "last": 8})
    verdict = verify(erased(log, (2, 4), (7, 8)))
    assert (verdict.findings, verdict.entries, verdict.erased) == ((), 6, 5)
    assert verify(erased(log, (2, 4), (7, 8)), heads=[(None, log[3].hash)]).findings == (), "what a tomb keeps is known"


def test_more_gone_than_was_told_of_is_a_finding() -> None:
    log = told(TEN, Kind.ERASURE, **{"class": "samples", "count": 5, "first": 2, "last": 8})
    assert first_of(verify(erased(log, (2, 5), (7, 8)))) == (Wrong.UNACCOUNTED, 2, 8)
    assert first_of(verify(erased(log, (2, 4), (7, 8), (10, 10)))) == (Wrong.UNACCOUNTED, 10, 10)
    assert first_of(verify(erased(TEN, (2, 4)))) == (Wrong.UNACCOUNTED, 2, 4)


def test_an_erasure_elsewhere_accounts_for_no_entry() -> None:
    log = told(told(TEN, Kind.ERASURE, count=2, first=1, last=4), Kind.ERASURE, **{"class": "devices", "count": 9})
    assert verify(erased(log, (1, 2))).erased == 2
    assert first_of(verify(erased(log, (1, 3)))) == (Wrong.UNACCOUNTED, 1, 4)


def test_an_altered_entry_between_tombs_is_named() -> None:
    log = told(TEN, Kind.ERASURE, **{"class": "samples", "count": 5, "first": 2, "last": 8})
    items = erased(log, (2, 4), (7, 8))
    for at in (1, 5, 6, 9, 10):
        changed = [item._replace(wall_ms=5) if isinstance(item, Raw) and item.seq == at else item for item in items]
        assert first_of(verify(changed)) == (Wrong.ALTERED, at, at)


def lossy(pinned: Raw, *, gap: tuple[int, int] = (4, 6)) -> list[Raw | Tomb]:
    """As recovery leaves it where entries could not be read: what the next one was chained to is not known."""
    log = told(TEN, Kind.LOST, first=gap[0], last=gap[1], next=pin(pinned))
    return [*log[: gap[0] - 1], Tomb(*gap, GENESIS), *log[gap[1] :]]


def test_lost_entries_are_accounted_for_and_the_next_one_is_held_by_its_pin() -> None:
    verdict = verify(lossy(TEN[6]))
    assert (verdict.findings, verdict.lost) == ((), 3)
    assert first_of(verify(lossy(TEN[6]._replace(wall_ms=1)))) == (Wrong.ALTERED, 7, 7)
    altered = [item._replace(body="{}") if isinstance(item, Raw) and item.seq == 7 else item for item in lossy(TEN[6])]
    assert first_of(verify(altered)) == (Wrong.ALTERED, 7, 7)


def test_a_log_that_lost_its_tail_goes_on_after_the_tomb() -> None:
    tomb = Tomb(11, 12, GENESIS)
    on = [chained(GENESIS, 13, Kind.LOST, {"first": 11, "last": 12, "next": None})]
    assert verify([*TEN, tomb, *on]).findings == ()
    assert first_of(verify([*TEN, tomb])) == (Wrong.UNACCOUNTED, 11, 12)


def test_an_act_must_stand_in_the_audit_trail_as_it_was_noted() -> None:
    digest = hashlib.sha256(b"act").hexdigest()
    log = told(TEN, Kind.ACT, id=1, actor="siti", digest=digest)
    assert verify(log, acts={digest}).findings == ()
    assert verify(log).findings == ()
    assert first_of(verify(log, acts={digest[::-1]})) == (Wrong.AUDIT, 11, 11)


def test_a_log_that_is_altered_throughout_is_told_of_in_few_findings() -> None:
    log = [entry._replace(trusted=1) for entry in log_of([(Kind.SAMPLE, {})] * (MAX_FINDINGS + 50))]
    verdict = verify(log)
    assert (len(verdict.findings), verdict.more) == (MAX_FINDINGS, 50)
    assert first_of(verdict) == (Wrong.ALTERED, 1, 1)
