"""What a technician reads on a screen at the box."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal import site
from portal.box import boxcheck, commands, screen
from portal.box.places import Places

SITE = '[site]\ncode = "64.03.01.2001"\nname = "Muara \\\\ Wahau"\n'


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    monkeypatch.setattr(commands, "tried", lambda *command, **_: found.append(command))
    return found


def test_a_box_that_works_says_whose_it_is_and_where_its_pages_are() -> None:
    config, _ = site.check_text("site.toml", SITE, files=False, here=False)
    text = screen.of_site(config, is_new=False)
    assert "Muara \\ Wahau (64.03.01.2001)" in text and "https://10.77.0.1:8444/" in text


def test_a_new_box_says_where_it_is_set_up_and_one_that_lost_its_way_does_not() -> None:
    assert "setup page is open" in screen.of_site(None, is_new=True)
    assert "setup page" not in screen.of_site(None, is_new=False)


def test_mistakes_are_those_of_the_file_beside_site_toml() -> None:
    text = '[site]\ncode = "64.03.01.201"\n'
    _, mistakes = boxcheck.check("site.toml", text)
    shown = screen.of_mistakes("site.toml", text, mistakes, runs_on=False)
    assert "Baris 2, site.code" in shown and "\r" not in shown and "\ufeff" not in shown


def test_escapes_of_the_prompt_are_not_in_the_technician_s_hands(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    places = Places(tmp_path)
    screen.show(places, screen.DESA, "desa \\4 \x1b\\e[2J")
    assert (places.issue / "gerbang-1-desa.issue").read_text() == "desa \\\\4 \\\\e[2J"
    screen.show(places, screen.DESA, "desa \\4 \\e[2J")
    assert asked == [("agetty", "--reload")], "what is shown already is left alone"
