"""How the bench finds the staff pages to ask for, and what it calls an overshoot. Nothing is measured here."""

from __future__ import annotations

import flask
import pytest

from bench.overshoot import over_bytes
from bench.staff_pages import USERS, pages
from portal.domain.staff import Role
from portal.staff.auth import public, roles


def small_app() -> flask.Flask:
    app = flask.Flask(__name__, static_folder=None)

    @app.get("/today")
    @roles(Role.OPERATOR, Role.TECHNICIAN)
    def today() -> str:
        return ""

    @app.get("/batch/<int:batch_id>/print")
    @roles(Role.OPERATOR)
    def sheet(batch_id: int) -> str:
        return str(batch_id)

    @app.get("/login")
    @public
    def login() -> str:
        return ""

    @app.post("/close")
    @roles(Role.OPERATOR)
    def close() -> str:
        return ""

    return app


class TestPages:
    def test_each_role_gets_its_own_and_forms_are_left_out(self) -> None:
        found = pages(small_app(), {"batch_id": 7}, {"sheet": "paper=a4"})
        assert found == {
            None: ["/login"],
            Role.OPERATOR: ["/today", "/batch/7/print", "/batch/7/print?paper=a4"],
            Role.TECHNICIAN: ["/today"],
            Role.REVIEWER: [],
        }

    def test_a_page_with_a_part_that_nobody_fills_in_is_an_error(self) -> None:
        with pytest.raises(KeyError, match="batch_id"):
            pages(small_app(), {}, {})

    def test_every_role_has_a_user_who_looks(self) -> None:
        assert set(USERS) == set(Role)


class TestOvershoot:
    def test_of_a_budget_that_stops_is_all_beyond_it(self) -> None:
        counted = [(0.0, 0), (1.0, 900), (2.0, 1100), (3.0, 1300), (9.0, 1300)]
        assert over_bytes(counted, 1000, 0.0) == 300

    def test_what_the_slow_lane_gives_is_none(self) -> None:
        counted = [(0.0, 0), (1.0, 1000), (2.0, 1200), (3.0, 1210), (4.0, 1220)]
        assert over_bytes(counted, 1000, 10.0) == 190

    def test_a_slow_lane_that_is_faster_than_it_may_be_shows(self) -> None:
        counted = [(0.0, 0), (1.0, 1000), (2.0, 1100), (3.0, 1200), (4.0, 1300)]
        assert over_bytes(counted, 1000, 10.0) == 270

    def test_a_budget_that_was_not_spent_tells_nothing(self) -> None:
        with pytest.raises(ValueError, match="999 of 1000"):
            over_bytes([(0.0, 0), (1.0, 999)], 1000, 0.0)
