"""How two configurations differ, for people and for the audit trail."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portal.domain import sitechange

OLD = '[site]\ncode = "64.03.01.2001"\n[[plan]]\nid = "warga"\ndown_kbit = 5000\n[[plan]]\nid = "kantor"\n'


def test_only_what_differs_is_named_by_the_plans_own_name() -> None:
    new = OLD.replace("5000", "9000").replace('[[plan]]\nid = "kantor"\n', "") + "[hours]\nopen = ['always']\n"
    before, after = sitechange.keys(OLD, new)
    assert before == {"plan[warga].down_kbit": 5000, "plan[kantor].id": "kantor"}
    assert after == {"plan[warga].down_kbit": 9000, "hours.open": ["always"]}


def test_plans_in_another_order_are_the_same_plans() -> None:
    head, one, other = OLD.partition('[[plan]]\nid = "warga"\ndown_kbit = 5000\n')
    assert sitechange.keys(OLD, head + other + one) == ({}, {})


def test_dates_are_texts() -> None:
    _, after = sitechange.keys("", '[[closed]]\nfirst = 2026-12-25\nreason = "Natal"\n')
    assert after == {"closed[2026-12-25].first": "2026-12-25", "closed[2026-12-25].reason": "Natal"}


def test_a_diff_has_signs_and_no_file_names() -> None:
    found = sitechange.lines(OLD, OLD.replace("5000", "9000"))
    assert "-down_kbit = 5000" in found and "+down_kbit = 9000" in found
    assert not any(line.startswith(("---", "+++")) for line in found)


@given(st.text(), st.text())
def test_whatever_the_texts_are_they_differ_if_and_only_if_it_is_said(old: str, new: str) -> None:
    before, after = sitechange.keys(old, new)
    assert sitechange.keys(old, old) == ({}, {})
    if before or after:
        assert old != new
