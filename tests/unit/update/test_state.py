"""What follows at a boot from what is known of the slots; whole stories, boot by boot, with GRUB played along."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from portal.update import places, state
from portal.update.state import UNREADY_BOOTS, Before, Do, Outcome, State, Trial

TRIAL = Trial(
    slot="B",
    version="2",
    before_version="1",
    by="tono",
    role="technician",
    wall_s=1.0,
    phase="installed",
    before=Before(serving=True, line_up=True),
)


@dataclass
class Grub:
    """image-code's grub.cfg and what RAUC's marks do to its variables."""

    order: str = "A B"
    ok: dict[str, bool] = field(default_factory=lambda: {"A": True, "B": False})
    tried: dict[str, bool] = field(default_factory=lambda: {"A": False, "B": False})

    def start(self) -> str:
        for slot in self.order.split():
            if self.ok[slot] and not self.tried[slot]:
                self.tried[slot] = True
                return slot
        self.tried = {"A": False, "B": False}
        return next(slot for slot in self.order.split() if self.ok[slot])

    def mark(self, slot: str, *, good: bool) -> None:
        self.ok[slot], self.tried[slot] = good, False

    def activate(self, slot: str) -> None:
        self.mark(slot, good=True)
        self.order = f"{slot} {places.other(slot)}"


class Box:
    """Boots as portal.update.slot does: each boot ends well, says what is wrong, is cut off early or before it
    begins.
    """

    def __init__(self, broken: str = "") -> None:
        self.grub, self.known, self.outcomes = Grub(), State(), list[Outcome]()
        self.broken = broken  # slots that do not come to user space

    def install(self, slot: str = "B") -> None:
        self.grub.mark(slot, good=False)
        trial = msgspec.structs.replace(TRIAL, slot=slot)
        self.known = msgspec.structs.replace(self.known, trial=trial)
        self.grub.activate(slot)

    def boot(self, ends: str = "well") -> str:
        """The slot that runs when nothing restarts any more."""
        while True:
            running = self.grub.start()
            if running in self.broken:
                continue
            do, self.known, outcome = state.at_boot(self.known, running, f"version of {running}", 5.0)
            if outcome is not None:
                self.outcomes.append(outcome)
                if outcome.outcome == "back":
                    self.grub.mark(places.other(running), good=False)
            if do is Do.KEEP:
                self.grub.mark(running, good=True)
            if do is Do.RETURN:
                self.grub.activate(places.other(running))
                continue
            if ends == "cut":
                return running
            if ends == "bad" and do is Do.TRY:
                self.known = state.condemned(self.known, "drift", "The kernel differs.")
                self.grub.mark(running, good=False)
                ends = "well"
                continue
            self.grub.mark(running, good=True)
            self.known, outcome = state.proved(self.known, running, 6.0)
            if outcome is not None:
                self.outcomes.append(outcome)
            return running

    def told(self) -> list[tuple[str, str]]:
        return [(outcome.outcome, outcome.code) for outcome in self.outcomes]


def test_a_first_boot_proves_the_slot_it_runs_from() -> None:
    box = Box()
    assert box.boot() == "A" and box.known == State(proven="A") and box.told() == []


def test_a_good_update_stays() -> None:
    box = Box()
    box.boot()
    box.install()
    assert [box.boot() for _ in range(4)] == ["B"] * 4
    assert box.told() == [("done", "")] and box.known == State(proven="B")
    (done,) = box.outcomes
    assert (done.from_version, done.to_version, done.by) == ("1", "2", "tono")


def test_a_bad_update_comes_back_with_its_reason_and_is_never_tried_again() -> None:
    box = Box()
    box.boot()
    box.install()
    assert box.boot("bad") == "A"
    assert box.told() == [("back", "drift")] and box.outcomes[0].message == "The kernel differs."
    assert [box.boot("cut") for _ in range(3)] == ["A"] * 3 and box.boot() == "A"
    assert box.known.trial is None and not box.grub.ok["B"]


def test_an_update_that_does_not_start_comes_back() -> None:
    box = Box(broken="B")
    box.boot()
    box.install()
    assert box.boot() == "A" and box.told() == [("back", "not-started")] and not box.grub.ok["B"]


def test_an_update_that_is_cut_off_or_hangs_comes_back() -> None:
    box = Box()
    box.boot()
    box.install()
    assert box.boot("cut") == "B"
    assert box.boot() == "A" and box.told() == [("back", "not-ready")]


def test_cut_off_between_mark_and_record_it_is_tried_once_more() -> None:
    box = Box()
    box.boot()
    box.install()
    box.boot("cut")
    box.grub.mark("B", good=True)
    assert box.boot() == "B" and box.told() == [("done", "")]


def test_power_cuts_do_not_lead_a_proven_slot_back_to_the_old_one() -> None:
    box = Box()
    box.boot()
    box.install()
    assert box.boot() == "B"
    assert [box.boot("cut") for _ in range(UNREADY_BOOTS)] == ["B"] * UNREADY_BOOTS
    assert box.boot() == "B" and box.told() == [("done", "")] and box.known.unready == 0


def test_even_where_grub_was_cut_before_the_slot_could_be_marked() -> None:
    box = Box()
    box.boot()
    box.install()
    box.boot()
    box.grub.tried["B"] = True  # cut between GRUB and portal.update.slot: GRUB takes A now, which goes back to B
    assert box.boot() == "B" and box.told() == [("done", "")] and box.known.proven == "B"


def test_a_proven_slot_that_does_not_start_any_more_is_given_up_in_the_end() -> None:
    box = Box()
    box.boot()
    box.install()
    box.boot()
    box.broken = "B"
    assert box.boot() == "A" and box.known == State(proven="A")
    assert box.told() == [("done", ""), ("fallback", "slot-broken")]
    assert box.boot() == "A"


def test_a_proven_slot_that_hangs_late_is_given_up_too() -> None:
    box = Box()
    box.boot()
    box.install()
    box.boot()
    ran = [box.boot("cut") for _ in range(2 * UNREADY_BOOTS)]
    assert "A" in ran and box.told()[-1] == ("fallback", "slot-broken")


def test_an_installation_that_was_cut_short_changes_nothing() -> None:
    box = Box()
    box.boot()
    box.grub.mark("B", good=False)
    box.known = msgspec.structs.replace(box.known, trial=msgspec.structs.replace(TRIAL, phase="installing"))
    assert box.boot() == "A" and box.told() == [("interrupted", "interrupted")]
    assert box.known == State(proven="A")


def test_cut_off_after_the_last_write_of_an_installation_it_is_a_trial() -> None:
    box = Box()
    box.boot()
    box.install()
    box.known = msgspec.structs.replace(box.known, trial=msgspec.structs.replace(TRIAL, phase="installing"))
    assert box.boot() == "B" and box.told() == [("done", "")]


def test_an_update_of_an_update_may_go_the_other_way() -> None:
    box = Box()
    box.boot()
    box.install("B")
    box.boot()
    box.install("A")
    assert box.boot("bad") == "B" and box.told() == [("done", ""), ("back", "drift")]
    box.install("A")
    assert box.boot() == "A" and box.known == State(proven="A")


# --- on the disk ----------------------------------------------------------------------------------------------------


def test_what_is_known_survives(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert state.load(path) == State()
    state.save(path, State(proven="A", trial=TRIAL, unready=3))
    assert state.load(path) == State(proven="A", trial=TRIAL, unready=3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("text", ["", "{", '{"proven": 3}', '{"trial": {"slot": "B"}}', "\x00\x00", "[]"])
def test_what_cannot_be_read_counts_as_nothing_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert state.load(tmp_path / "state.json") == State()


def test_a_later_versions_state_is_read_too(tmp_path: Path) -> None:
    written = msgspec.to_builtins(State(proven="A", trial=TRIAL)) | {"colour": "red"}
    written["trial"]["shape"] = written["trial"]["before"]["smell"] = "odd"
    (tmp_path / "state.json").write_text(json.dumps(written))
    assert state.load(tmp_path / "state.json") == State(proven="A", trial=TRIAL), "an older slot must know its way back"
