"""Which slot is good: every fact alone and together, at each time that matters."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from portal.paths import Paths
from portal.update import facts as facts_module
from portal.update import good, state
from portal.update.good import watch
from portal.update.places import Places
from portal.update.state import Before, Trial
from portal.update.verdict import ALWAYS, NO_SITE, Bounds, Facts, Kind, Line, Problem, judge, said_of

BOUNDS = Bounds(within_s=180, line_s=60, hold_s=10)
AT_ONCE = Bounds(within_s=0.0, line_s=0.0, hold_s=0.0)
UP = Line("wan0", present=True, address=True, reached=True)
WELL = Facts((), UP)
SERVED = Before(serving=True, line_up=True)
DRIFT = Problem("drift", "The kernel differs.")


def kind(facts: Facts, before: Before, elapsed_s: float, well_for_s: float | None = 100) -> Kind:
    return judge(facts, before, elapsed_s, well_for_s, BOUNDS).kind


def test_what_serves_for_long_enough_is_good() -> None:
    assert kind(WELL, SERVED, 12, 9.9) is Kind.WAIT
    assert kind(WELL, SERVED, 12, 10) is Kind.GOOD
    assert kind(WELL, SERVED, 500, 10) is Kind.GOOD, "late is not bad"
    assert kind(WELL, SERVED, 500, 3) is Kind.WAIT, "what has only just become well is given its time"


@pytest.mark.parametrize("problem", [DRIFT, NO_SITE, Problem("portal-silent", "."), Problem("database-newer", ".")])
def test_what_is_wrong_is_waited_for_and_then_bad(problem: Problem) -> None:
    facts = replace(WELL, problems=(problem,))
    assert kind(facts, SERVED, 179.9, None) is Kind.WAIT
    found = judge(facts, SERVED, 180, None, BOUNDS)
    assert found.kind is Kind.BAD and found.problems == (problem,)


def test_a_box_that_served_nobody_before_need_not_after() -> None:
    facts = Facts((NO_SITE,), None)
    assert kind(facts, Before(), 15, 15) is Kind.GOOD
    assert kind(facts, Before(serving=True), 180, None) is Kind.BAD


@pytest.mark.parametrize("reached", [False, None])
def test_a_providers_outage_undoes_no_update(reached: bool | None) -> None:
    facts = replace(WELL, line=replace(UP, reached=reached))
    assert kind(facts, SERVED, 59.9) is Kind.WAIT
    found = judge(facts, SERVED, 60, 60, BOUNDS)
    assert found.kind is Kind.GOOD and "no page" in found.remark
    assert kind(facts, Before(serving=True), 12) is Kind.GOOD, "it was down before: nobody waits"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (replace(UP, present=False, address=False, reached=None), "uplink-interface"),
        (replace(UP, address=False, reached=False), "uplink-address"),
        (replace(UP, address=False, reached=None), "uplink-address"),
        (None, "uplink-interface"),
    ],
)
def test_an_uplink_that_is_gone_undoes_it_where_it_was_up(line: Line | None, code: str) -> None:
    facts = replace(WELL, line=line)
    assert kind(facts, SERVED, 179) is Kind.WAIT
    found = judge(facts, SERVED, 180, 100, BOUNDS)
    assert found.kind is Kind.BAD and [problem.code for problem in found.problems] == [code]
    assert kind(facts, Before(serving=True), 12) is Kind.GOOD


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = judge(Facts((DRIFT,), replace(UP, address=False)), SERVED, 180, None, BOUNDS)
    assert [problem.code for problem in found.problems] == ["uplink-address", "drift"], "the cause first"


def test_what_was_wrong_before_the_update_does_not_undo_it_and_what_is_new_does() -> None:
    before = msgspec.structs.replace(SERVED, problems=("database-corrupt", "drift"))
    assert kind(replace(WELL, problems=(DRIFT,)), before, 12) is Kind.GOOD
    found = judge(replace(WELL, problems=(DRIFT, Problem("dns-silent", "."))), before, 180, None, BOUNDS)
    assert found.kind is Kind.BAD and [problem.code for problem in found.problems] == ["dns-silent"]


def test_only_what_is_wrong_at_each_look_was_so_before(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Problem("netctl-silent", ".")
    seen = iter([Facts((DRIFT, silent), UP), Facts((DRIFT,), UP), Facts((silent, DRIFT), UP)])
    monkeypatch.setattr(facts_module, "look", lambda _: next(seen))
    assert facts_module.before(paths, lambda _: None) == Before(serving=True, line_up=True, problems=("drift",))
    monkeypatch.setattr(facts_module, "look", lambda _: WELL)
    assert facts_module.before(paths, lambda _: pytest.fail("nothing to wait for")) == SERVED


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (None, ""),
        (UP, ""),
        (replace(UP, reached=False), ""),
        (replace(UP, address=False), "no address"),
        (replace(UP, present=False, address=False), "no uplink wan0"),
    ],
)
def test_a_line_that_somebody_on_the_spot_may_mend_is_said(line: Line | None, told: str) -> None:
    said = said_of(line)
    assert told in "".join(said[1:]) and len(said) == (2 if told else 0)


def test_line_bound_never_lasts_beyond_the_whole() -> None:
    facts = replace(WELL, line=replace(UP, reached=False))
    assert judge(facts, SERVED, 20, 20, replace(BOUNDS, within_s=20)).kind is Kind.GOOD


# --- the watch ------------------------------------------------------------------------------------------------------


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


TRIAL = Trial(slot="B", version="2", before_version="1", by="tono", role="technician", wall_s=0.0, before=SERVED)


def watched(at: Time, *seen: tuple[float, Facts], trial: Trial | None = TRIAL, bounds: Bounds = BOUNDS) -> Kind:
    """``seen``: until when, what."""

    def look() -> Facts:
        return next(facts for until, facts in seen if at.now < until)

    return watch(look, trial, bounds, at, at.sleep).kind


def test_a_gateway_that_comes_up_slowly_is_good_once_it_is_and_held() -> None:
    at = Time()
    assert watched(at, (100, Facts((DRIFT,), UP)), (1e9, WELL)) is Kind.GOOD
    assert 110 <= at.now <= 114


def test_what_crashes_again_and_again_is_never_good() -> None:
    at, broken = Time(), Facts((DRIFT,), UP)
    seen = [(t, broken if t % 8 else WELL) for t in range(2, 400, 2)]
    assert watched(at, *((float(until), facts) for until, facts in seen)) is Kind.BAD
    assert 180 <= at.now <= 190


def test_a_look_that_raises_is_a_problem_and_not_the_end() -> None:
    at = Time()

    def look() -> Facts:
        if at.now < 50:
            raise RuntimeError("a mistake")
        return WELL

    assert watch(look, TRIAL, BOUNDS, at, at.sleep).kind is Kind.GOOD

    def always() -> Facts:
        raise RuntimeError("a mistake")

    found = watch(always, TRIAL, BOUNDS, at, at.sleep)
    assert found.kind is Kind.BAD and found.problems[0].code == "look"


def test_a_proven_slot_without_a_site_is_told_at_once() -> None:
    at = Time()
    assert watched(at, (1e9, Facts((NO_SITE,), None)), trial=None) is Kind.BAD
    assert at.now == 0 and ALWAYS.serving


def test_a_proven_slot_waits_for_no_line() -> None:
    at = Time()
    down = replace(WELL, line=replace(UP, address=False, reached=False))
    assert watched(at, (1e9, down), trial=None, bounds=replace(BOUNDS, hold_s=0)) is Kind.GOOD
    assert at.now == 0


@pytest.mark.parametrize(
    ("facts", "status", "begins"),
    [
        (WELL, os.EX_OK, "ready slot=A"),
        (Facts((DRIFT,), UP), os.EX_UNAVAILABLE, "not ready slot=A"),
        (Facts((NO_SITE,), None), os.EX_OK, "not ready slot=A"),
        (Facts((NO_SITE, DRIFT), None), os.EX_UNAVAILABLE, "not ready slot=A"),
    ],
)
def test_a_boot_ends_well_where_the_box_serves_or_waits_to_be_set_up(
    facts: Facts, status: int, begins: str, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, said, marked = Places(update=tmp_path, boot=tmp_path, run=tmp_path), list[str](), list[str]()
    state.save(at.state, state.State(proven="A"))
    monkeypatch.setattr(good.facts, "look", lambda _: facts)
    monkeypatch.setattr(good.grub, "mark", lambda how, slot, _: marked.append(f"{how} {slot}"))
    monkeypatch.setattr(good, "tell", said.extend)
    monkeypatch.setattr(good.time, "sleep", lambda _: None)
    assert good.decide(at, paths, "A", "0.2.0", AT_ONCE) == status
    assert said[0].startswith(begins) and marked == ["good A"]


def test_the_line_has_time_to_come_and_is_told_then(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, said = Time(), list[str]()
    no_address = replace(UP, address=False)
    monkeypatch.setattr(good.time, "monotonic", at)
    monkeypatch.setattr(good.time, "sleep", at.sleep)
    monkeypatch.setattr(good, "tell", said.extend)
    monkeypatch.setattr(good.facts, "look", lambda _: WELL)
    monkeypatch.setattr(good.facts, "line_now", lambda _: no_address)
    assert good.decide(Places(), paths, None, "0.2.0", BOUNDS) == os.EX_OK
    assert said[0].startswith("ready") and "no address" in said[2] and at.now == 60
    said.clear()
    monkeypatch.setattr(good.facts, "line_now", lambda _: no_address if at.now < 70 else UP)
    assert good.decide(Places(), paths, None, "0.2.0", BOUNDS) == os.EX_OK
    assert len(said) == 1 and at.now == 70


@pytest.fixture
def at(tmp_path: Path) -> Places:
    return Places(update=tmp_path, boot=tmp_path, run=tmp_path)


def test_a_proven_slot_is_at_the_end_of_its_boot_whatever_is_wrong_with_it(
    at: Places, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off while it still looks, it is not counted as one that did not start."""
    state.save(at.state, state.State(proven="A", unready=6))
    monkeypatch.setattr(good.grub, "mark", lambda *_: None)

    def cut_off(_: Paths) -> Facts:
        raise KeyboardInterrupt

    monkeypatch.setattr(good.facts, "look", cut_off)
    with pytest.raises(KeyboardInterrupt):
        good.decide(at, paths, "A", "0.2.0", BOUNDS)
    assert state.load(at.state) == state.State(proven="A", unready=0)


def test_an_installation_that_ends_while_its_slot_is_marked_is_kept(
    at: Places, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.save(at.state, state.State(proven="A", unready=1))
    installed = msgspec.structs.replace(TRIAL, phase="installed")
    waits = lambda *_: state.save(at.state, state.State(proven="A", unready=1, trial=installed))  # noqa: E731
    monkeypatch.setattr(good.grub, "mark", waits)
    monkeypatch.setattr(good.facts, "look", lambda _: WELL)
    monkeypatch.setattr(good, "tell", lambda _: None)
    assert good.decide(at, paths, "A", "1", AT_ONCE) == os.EX_OK
    assert state.load(at.state) == state.State(proven="A", unready=0, trial=installed)


def test_without_its_data_disk_a_box_says_so_and_marks_nothing(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    monkeypatch.setattr(good, "tell", said.extend)
    monkeypatch.setattr(good.grub, "mark", lambda *_: pytest.fail("marked"))
    assert good.decide(Places(update=tmp_path / "gone"), paths, "A", "0.2.0", BOUNDS) == os.EX_UNAVAILABLE
    assert said[0].startswith("not ready slot=A") and all("[data]" in line for line in said[1:])


def test_a_second_disk_is_told_beside_whatever_is_so(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, said = Places(update=tmp_path, boot=tmp_path, run=tmp_path), list[str]()
    monkeypatch.setattr(good.facts, "look", lambda _: WELL)
    monkeypatch.setattr(good.disks, "has_twin", lambda: True)
    monkeypatch.setattr(good, "tell", said.extend)
    assert good.decide(at, paths, None, "0.2.0", Bounds()) == os.EX_OK
    assert said[0].startswith("ready") and "dua disk" in said[1] and "two disks" in said[2]
