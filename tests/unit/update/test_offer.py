"""What may be installed on which box: bundles, versions, names, room."""

from __future__ import annotations

import pytest

from portal.update import errors, offer
from portal.update.rauc import Bundle
from portal.update.state import State, Trial

TRIAL = Trial(slot="B", version="2", before_version="1", by="", role="", wall_s=0)


def refusal(
    version: str, present: str = "0.2.0-1a2b3c4d", *, compatible: str = "gerbang-x86", force: bool = False
) -> str:
    found = offer.objection(Bundle(compatible, version), "gerbang-x86", present, force=force)
    return "" if found is None else found.code


@pytest.mark.parametrize("version", ["0.2.1-00000000", "0.10.0-0", "1.0", "0.2.0-5e6f7a8b", "0.2.0-1a2b3c4d-changed"])
def test_what_is_newer_or_another_build_may(version: str) -> None:
    assert refusal(version) == ""


def test_what_is_older_needs_to_be_meant_and_says_what_it_costs() -> None:
    assert refusal("0.1.9-ffffffff") == errors.DOWNGRADE
    found = offer.objection(Bundle("gerbang-x86", "0.1"), "gerbang-x86", "0.2", force=False)
    assert found is not None and "goes back to the copy" in found.message and "--force" in found.hint
    assert refusal("0.1.9-ffffffff", force=True) == ""


def test_the_same_one_and_one_that_says_nothing() -> None:
    assert refusal("0.2.0-1a2b3c4d") == errors.SAME and refusal("0.2.0-1a2b3c4d", force=True) == ""
    assert refusal("yesterday") == errors.VERSION and refusal("0.3", "yesterday") == errors.VERSION
    assert refusal("yesterday", force=True) == ""


def test_another_sort_of_box_never() -> None:
    assert refusal("0.3", compatible="gerbang-pi") == errors.COMPATIBLE
    assert refusal("0.3", compatible="gerbang-pi", force=True) == errors.COMPATIBLE


def test_nothing_is_installed_over_the_way_back() -> None:
    assert offer.readiness(State(proven="A"), "A") is None and offer.readiness(State(), "A") is None
    assert offer.readiness(State(proven="A", trial=TRIAL), "A") is None, "what waits for a restart may be replaced"
    for state in (State(proven="A", trial=TRIAL), State(proven="A")):
        found = offer.readiness(state, "B")
        assert found is not None and found.code == errors.TRIAL


@pytest.mark.parametrize(
    "name",
    [
        *("gerbang-x86-0.2.0-1a2b.raucb", "gerbang-pi_2.gdelta", "gerbang-1+2.raucb"),
        *("gerbang-x86-0.2.0 (1).raucb", "gerbang-x86-0.2.0(12).gdelta"),  # as browsers call what they fetch again
    ],
)
def test_names_of_updates(name: str) -> None:
    assert offer.is_name(name) and offer.is_delta(name) == name.endswith("gdelta")


@pytest.mark.parametrize(
    "name",
    [
        *("", "gerbang-.raucb", "x.raucb", "gerbang-x.raucb\n", "gerbang-x.img", "../gerbang-x.raucb"),
        *("gerbang-a/b.raucb", "gerbang-x.raucb.part", "gerbang-.-.raucb", "gerbang-é.raucb", "-gerbang-x.raucb"),
        *(
            "gerbang-x .raucb",
            "gerbang-x (1) (2).raucb",
            "gerbang-x (a).raucb",
            "gerbang-(1).raucb",
            "gerbang-x  (1).raucb",
        ),
    ],
)
def test_names_of_nothing(name: str) -> None:
    assert not offer.is_name(name)


def test_room() -> None:
    assert offer.room(offer.ROOM_BYTES + 5, 5) is None
    found = offer.room(offer.ROOM_BYTES + 4, 5)
    assert found is not None and found.code == errors.ROOM
